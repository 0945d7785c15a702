"""A cell that takes too much or does not end is stopped and named, with or without a sandbox."""

import os
import re
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest

from grade_book import remarks, rows_of
from instructor.grading.sandbox import why_no_sandbox
from project import code_cell, small_environment

COMMAND = ["-m", "instructor", "grade", "--to", "grades"]
WITH_SMALL_LIMITS = """
import os, sys
from pathlib import Path
from instructor.grading.gradebook import grade_class
from instructor.limits import GB, MB, Limits
sizes = {"printed": MB // 5, "memory": 3 * GB // 2, "processes": 40}
limits = Limits(cell=5, grace=8, startup=float(os.environ.get("STARTUP", 60)), **sizes)
if __name__ == "__main__":
    sys.exit(grade_class([Path(sys.argv[1])], Path("grades"), 2, limits=limits))
"""
LOG_PRIOR = "ce50c994-90af-11eb-3fc1-a3eea9cda1a2"
LOOP = "while True: pass"
SLEEP = f"8{os.getpid():08}"  # seconds, by which these tests' own processes are known
POPEN = f"import subprocess; subprocess.Popen(['sleep', '{SLEEP}'], start_new_session=True)"


def start(folder, students, command=("-c", WITH_SMALL_LIMITS), **environment):
    """Start to grade students, each with a notebook of these cells: ids and sources."""
    for student, cells in students.items():
        notebook = nbformat.v4.new_notebook(cells=[code_cell(s, id) for id, s in cells.items()])
        (folder / "class" / student).mkdir(parents=True)
        nbformat.write(notebook, folder / "class" / student / "vae_assignment.ipynb")
    return subprocess.Popen(
        [sys.executable, *command, folder / "class"],
        cwd=folder,
        env={k: v for k, v in small_environment(**environment).items() if v},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def graded(folder, students, not_graded=0, **environment):
    """What was printed, and the remarks on all students; how many there is no verdict on."""
    process = start(folder, students, **environment)
    printed = process.communicate(timeout=500)[0]
    assert process.returncode == not_graded, printed
    return printed, "\n".join(remarks(folder, student) for student in students)


def is_asleep():
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return any(SLEEP in command for command in commands)


def ends(condition):
    deadline = time.monotonic() + 200
    while condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return not condition()


GREEDY = {  # the cells of each student; the one who takes longest comes first
    "a": {"stubborn": f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{LOOP}"},
    "b": {
        "endless": LOOP,
        "unspeakable": "import os; raise ValueError('\\ud800')",
        "fuse": "handlers = get_ipython().kernel.shell_handlers\n"
        "handlers['execute_request'] = lambda *_: os._exit(0)",
        "after": "1",
    },
    "c": {"forking": f"for _ in range(50): {POPEN}\n{LOOP}", "last": "exit()"},
    "d": {  # in quick steps, and a loop until it is noticed
        f"hoarding-{n}": f"import mmap; m{n} = mmap.mmap(-1, 1 << 28); m{n}.write(bytes(1 << 28))"
        for n in range(6)
    }
    | {"hoarding-6": LOOP},
    "e": {"printing": "while True: print('x' * 1000)"},
}
REASONS = {
    "endless": "Timeout of 5 seconds exceeded",
    "unspeakable": "UnicodeEncodeError",
    "fuse": "the kernel died in this cell",
    "stubborn": "the kernel was stopped: this cell could not be interrupted",
    "printing": "it printed more than 0.2 MB",
    "hoarding-\\d": "it took more than 1.5 GB of memory",
    "forking": "it started more than 40 processes|BlockingIOError",
}


@pytest.mark.sandbox
@pytest.mark.skipif(bool(why_no_sandbox()), reason=why_no_sandbox())
def test_a_cell_that_takes_too_much_ends_and_is_named(tmp_path):
    said = graded(tmp_path, GREEDY)[1]
    assert not [id for id in REASONS if not re.search(f"(?m)^{id}: .*({REASONS[id]})", said)], said
    assert ends(is_asleep)


def with_bubblewrap(folder, script):
    """The PATH with this script in the place of bubblewrap."""
    (folder / "bwrap").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bwrap").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_a_kernel_that_does_not_start_leaves_no_process(tmp_path):
    path = with_bubblewrap(tmp_path, f'case "$*" in *true) ;; *) exec sleep {SLEEP} ;; esac')
    printed, said = graded(tmp_path, {"ada": {"cell": "1"}}, 1, PATH=path, STARTUP="2")
    assert "not graded: Kernel didn't respond in 2 seconds" in said
    assert "NOT GRADED: 1 of 1" in printed
    assert ends(is_asleep)


def test_without_bubblewrap_the_rest_works_and_a_line_says_so(tmp_path):
    path = with_bubblewrap(tmp_path, "echo not permitted >&2\nexit 1")
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    ada = {
        "cores": f"import os; assert os.environ['OMP_NUM_THREADS'] == '{threads}'",
        "endless": LOOP,
        LOG_PRIOR: "log_prior = lambda z: -(z**2 / 2 + math.log(2 * math.pi) / 2).sum(dim=1)",
        "check-log-prior": "checks.log_prior()",
        "last": "exit()",
    }
    students = {"ada": ada, "killer": {"kills": "import os; os.kill(os.getppid(), 9)"}}
    # The command sets the number of threads.
    printed, said = graded(tmp_path, students, 1, PATH=path, OMP_NUM_THREADS="")
    assert "NO SANDBOX (bubblewrap does not run here: not permitted). Students' code can" in printed
    assert "endless: Timeout of 5 seconds exceeded" in said and "cores: " not in said
    rows = rows_of(tmp_path)
    assert rows["ada"]["score"] == "4"
    assert rows["killer"]["score"] == "" and "process that graded it ended with -9" in said


def test_ctrl_c(tmp_path):  # ends all, and keeps the rows; the path of a socket must be short
    (tmp_path / "tmp").mkdir()
    students = {"ada": {"last": "exit()"}, "bob": {"sleeps": f"{POPEN}\n{LOOP}"}}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where pytest ran with "&"
    process = start(tmp_path, students, COMMAND, TMPDIR=str(tmp_path / "tmp"))
    table = tmp_path / "grades" / "grades.csv"
    assert ends(lambda: not (is_asleep() and table.exists()))
    os.killpg(process.pid, signal.SIGINT)
    printed = process.communicate(timeout=200)[0]
    assert process.returncode == 1
    assert "Stopped. Start the command again to grade the others." in printed
    assert "Traceback" not in printed
    assert ends(is_asleep) and not [*(tmp_path / "tmp").glob("vae-*")]
    assert [*rows_of(tmp_path)] == ["ada"] and not (tmp_path / "grades" / "bob.html").exists()
