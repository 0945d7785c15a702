"""Code that takes too much or does not end: the cell is stopped and named, with or without a
sandbox. What the sandbox hides and what is no forgery is shown by the class in test_gradebook.py.
"""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from html import unescape

import nbformat
import psutil
import pytest

from instructor.grading.sandbox import why_no_sandbox
from project import SMALL_RUN, code_cell, plain_environment

LOG_PRIOR = "ce50c994-90af-11eb-3fc1-a3eea9cda1a2"
SLEEP = f"8{os.getpid():08}"  # seconds, by which these tests' own processes are known
POPEN = f"import subprocess; subprocess.Popen(['sleep', '{SLEEP}'], start_new_session=True)"
HANDLERS = "get_ipython().kernel.shell_handlers"
LOOP = "while True: pass"

WITH_SMALL_LIMITS = """
from pathlib import Path
from instructor.grading.gradebook import grade_class
from instructor.grading.limits import MB, Limits
limits = Limits(cell=2, grace=4, startup=60, printed=MB // 5, memory=800 * MB, processes=40)
grade_class([Path("class").absolute()], Path("grades"), 2, limits=limits)
"""


def start(folder, students, command=("-c", WITH_SMALL_LIMITS), **environment):
    """Start to grade students, each with a notebook of these cells: ids and sources."""
    for student, cells in students.items():
        notebook = nbformat.v4.new_notebook(cells=[code_cell(s, id) for id, s in cells.items()])
        (folder / "class" / student).mkdir(parents=True)
        nbformat.write(notebook, folder / "class" / student / "vae_assignment.ipynb")
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=plain_environment(**SMALL_RUN) | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def rows_of(folder):
    with open(folder / "grades" / "grades.csv") as file:
        return {row["student_id"]: row for row in csv.DictReader(file)}


def graded(folder, students, **environment):
    """What was printed, and each student's remarks by the cells that they name."""
    process = start(folder, students, **environment)
    printed = process.communicate(timeout=300)[0]
    assert process.returncode == 0, printed
    remarks = {}
    for student, row in rows_of(folder).items():
        page = (folder / "grades" / f"{student}.html").read_text()
        found = re.findall("<li>([^:<]+): (.*?)</li>", page, re.S)
        remarks[student] = {id: unescape(text) for id, text in found}
    return printed, remarks


def is_asleep():
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return any(SLEEP in command for command in commands)


GREEDY = {  # the cells of a student, each with what is said of it
    "endless": {
        "endless": (LOOP, "Timeout of 2 seconds exceeded"),
        "unspeakable": ("import os; raise ValueError('\\ud800')", "UnicodeEncodeError"),
        "fuse": (f"{HANDLERS}['execute_request'] = lambda *_: os._exit(0)", "the kernel died"),
        "after": ("1", ""),
    },
    "stubborn": {
        "stubborn": (
            f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{LOOP}",
            "the kernel was stopped: stubborn could not be interrupted",
        ),
    },
    "printing": {
        "printing": ("while True: print('x' * 1000)", "it printed more than 0.2 MB"),
    },
    "hoarding": {
        "hoarding": (
            "import mmap\nm = mmap.mmap(-1, 1 << 30)\nfor _ in '123': m.write(bytes(300 << 20))\n"
            f"{LOOP}",
            "it took more than 0.8 GB of memory",
        ),
    },
    "forking": {
        "forking": (
            f"for _ in range(50): {POPEN}\n{LOOP}",
            "it started more than 40 processes|BlockingIOError",
        ),
        "after": ("exit()", ""),
    },
}


@pytest.mark.sandbox
@pytest.mark.skipif(bool(why_no_sandbox()), reason=why_no_sandbox())
def test_a_cell_that_takes_too_much_ends_and_is_named(tmp_path):
    sources = {name: {id: s for id, (s, _) in cells.items()} for name, cells in GREEDY.items()}
    remarks = graded(tmp_path, sources)[1]
    expected = [(name, *cell) for name, cells in GREEDY.items() for cell in cells.items()]
    found = {(name, id): remarks[name].get(id, "") for name, id, _ in expected}
    assert not [(e, found[e[:2]]) for e in expected if not re.search(e[2][1], found[e[:2]])]
    assert not is_asleep()


def test_without_bubblewrap_the_rest_works_and_a_line_says_so(tmp_path):
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho not permitted >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    students = {
        "ada": {
            "cores": f"import os; assert os.environ['OMP_NUM_THREADS'] == '{threads}'",
            "endless": LOOP,
            LOG_PRIOR: "log_prior = lambda z: -(z**2 / 2 + math.log(2 * math.pi) / 2).sum(dim=1)",
            "check-log-prior": "checks.log_prior()",
            "end": "exit()",
        },
        "killer": {"kills": "import os; os.kill(os.getppid(), 9)"},
    }
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    printed, remarks = graded(tmp_path, students, PATH=path)
    assert "NO SANDBOX (bubblewrap does not run here: not permitted). Students' code can" in printed
    assert "Timeout of 2 seconds exceeded" in remarks["ada"]["endless"]
    assert "cores" not in remarks["ada"] and rows_of(tmp_path)["ada"]["score"] == "4"
    assert "its process ended with -9" in remarks["killer"]["it could not be graded"]


def test_ctrl_c_ends_all_and_keeps_the_rows(tmp_path):
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    students = {"ada": {"end": "exit()"}, "bob": {"sleeps": f"{POPEN}\n{LOOP}"}}
    command = ["-m", "instructor", "grade", tmp_path / "class", "--to", "grades"]
    process = start(tmp_path, students, command, TMPDIR=str(scratch))
    deadline = time.monotonic() + 60
    while not (is_asleep() and (tmp_path / "grades" / "ada.html").exists()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    printed = process.communicate(timeout=20)[0]
    assert process.returncode == 1
    assert "Stopped. Start the command again to grade the others." in printed
    assert not is_asleep() and not [*scratch.glob("vae-*")]
    assert [*rows_of(tmp_path)] == ["ada"]
