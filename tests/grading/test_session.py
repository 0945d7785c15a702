"""A kernel in a box: what students' code may take, reach and replace. No notebook is needed."""

import os
import time

import psutil
import pytest

from instructor.grading.grader import run_cell
from instructor.grading.limits import MB, Limits
from instructor.grading.sandbox import PROVIDED, ROOT, Box, why_no_sandbox
from instructor.grading.session import CellFailed, KernelEnded, Session
from project import code_cell

SHORT = Limits(cell=2, grace=5, printed=MB // 5, memory=800 * MB)
needs_sandbox = pytest.mark.skipif(bool(why_no_sandbox()), reason=why_no_sandbox())


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


class Running:
    """A session with a helper file in its box, and cells that are made as they are needed."""

    def __init__(self, box, limits):
        self.session = Session([], box, limits, n_epochs=1)

    def run(self, source, id="cell"):
        """Run a new cell; what it prints."""
        cell = code_cell(source, id)
        self.session.nb.cells.append(cell)
        self.session.run(cell)
        return "".join(output.get("text", "") for output in cell.outputs)


@pytest.fixture
def start(tmp_path):
    """Starts a kernel, for no checks, in a box that is removed at the end."""
    yield from starting(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A kernel for all that leaves it as it was."""
    for start in starting(tmp_path_factory.mktemp("files")):
        running = start(Limits(grace=20))
        running.session.begin()
        yield running


def starting(folder):
    (folder / "torch.py").write_text("raise ImportError('the student\\'s')")
    (folder / "vae_checks.py").write_text("raise ImportError('the student\\'s')")
    (folder / "vae_helpers.py").write_text("OWN = True")
    (folder / "sitecustomize.py").write_text("raise SystemExit")
    boxes, contexts = [], []

    def start(limits):
        files = {path.name: path for path in folder.glob("*.py")}
        boxes.append(Box(files, PROVIDED, limits))
        running = Running(boxes[-1], limits)
        contexts.append(running.session.running())
        contexts[-1].__enter__()
        return running

    yield start
    for box, context in zip(boxes, contexts):
        context.__exit__(None, None, None)
        box.remove()


# What it reaches -------------------------------------------------------------------------------


def test_no_file_of_the_students_shadows_a_library_or_the_checks(shared):
    source = "import torch, vae_checks, vae_helpers\nprint(torch.__name__, vae_helpers.OWN)"
    assert shared.run(source) == "torch True\n"


def test_an_error_is_told_with_its_type_and_others_run_on(shared):
    with pytest.raises(CellFailed, match="^ZeroDivisionError: division by zero$"):
        shared.run("1 / 0")
    with pytest.raises(CellFailed, match="^what is wrong$"):
        shared.run("raise AssertionError('what is wrong')")
    assert shared.run("print(1)") == "1\n"


@needs_sandbox
@pytest.mark.sandbox
@pytest.mark.parametrize("source", [
    "import socket; socket.create_connection(('127.0.0.1', 22), 5)",
    "open('/etc/new', 'w')",
    f"open({str(ROOT / 'README.md')!r})",
    "import os; os.kill(os.getppid(), 0); open('/assignment/vae_helpers.py', 'w')",
    f"import os; os.kill(1, 9); os.kill(os.getppid(), 9); os.kill({os.getpid()}, 0)",
    "open('/assignment/vae_checks/__init__.py', 'w')",
    "bytearray(100 << 30)",
], ids=range(7))  # fmt: skip
def test_what_it_cannot_do(source, shared):
    with pytest.raises(CellFailed, match="Error: "):
        shared.run(source)


@needs_sandbox
@pytest.mark.sandbox
def test_of_the_project_it_sees_the_checks_and_the_digits(shared):
    walk = "import os\nfor f, d, names in os.walk({!r}):\n    d[:] = set(d) - {{'.venv'}}\n"
    walk += "    for name in names: print(os.path.join(f, name))"
    assert shared.run(walk.format(str(ROOT))) == ""
    box = shared.session.box.folder
    assert all(str(box) in path for path in shared.run(walk.format("/tmp")).splitlines())
    seen = shared.run(walk.format("/assignment")).splitlines()
    assert {path.split("/")[2] for path in seen} == set(PROVIDED)


# What the checks rest on -------------------------------------------------------------------------

REPLACED = {  # where, the name, and what is put there
    "a check": ("type(checks)", "elbo", "lambda *_: print('ok')"),
    "a check, by Python's print": ("type(checks)", "elbo", "print"),
    "a check's code": ("__import__('inspect').unwrap(type(checks).elbo)", "__code__", "F.__code__"),
    "a number that is compared with": ("__import__('vae_checks.checking').checking", "Dh", "1"),
    "a function of torch": ("torch", "equal", "lambda *_: True"),
    "a function of torch, by another": ("torch", "equal", "torch.is_tensor"),
    "a method of a tensor": ("torch.Tensor", "all", "torch.Tensor.any"),
    "a method of modules": ("torch.nn.Module", "__call__", "lambda *_: 0"),
    "a function of Python": ("__import__('builtins')", "print", "lambda *_: 0"),
    "how errors are shown": ("get_ipython()", "showtraceback", "lambda *_, **__: print('ok')"),
    "the handler of errors": ("get_ipython()", "CustomTB", "lambda *_: 0"),
    "what patches": ("__import__('unittest.mock').mock.patch", "dict", "lambda *_: 0"),
}  # fmt: skip


@pytest.mark.parametrize("where, name, what", REPLACED.values(), ids=REPLACED)
def test_what_a_student_replaced_is_seen(where, name, what, shared):
    # On an instance, or in a class that inherits the name, there is nothing to be set again.
    put_back = f"setattr(owner, {name!r}, old) if is_own else delattr(owner, {name!r})"
    shared.run(f"import torch\nF = lambda _: 0\nowner, name = {where}, {name!r}")
    shared.run("old, is_own = getattr(owner, name), name in [*vars(owner), '__code__']")
    shared.run(f"setattr(owner, name, {what})")
    with pytest.raises(CellFailed, match="no verdict: .* was replaced"):
        shared.session.make_checks()
    shared.run(put_back)
    shared.session.make_checks()


def test_another_module_in_the_place_of_the_checks_is_seen(shared):
    shared.run("import sys, types\nold = sys.modules['vae_checks']")
    shared.run("sys.modules['vae_checks'] = types.SimpleNamespace(Checks=old.Checks)")
    with pytest.raises((CellFailed, RuntimeError)):
        shared.session.make_checks()
    shared.run("sys.modules['vae_checks'] = old")
    shared.session.make_checks()


def test_checks_of_the_students_are_put_aside(shared):
    shared.run("checks = 1")
    shared.session.make_checks()
    assert shared.run("print(type(checks).__name__)") == "Checks\n"


FROM_INSIDE = {  # what log_prior does while it is checked, and how the grader sees it
    "a check undone": ("c.require = lambda *_: None", "checking.require was replaced"),
    "a check silenced": ("sys.stdout = io.StringIO()", "no verdict: it did not print"),
}


@pytest.mark.parametrize("attack, reason", FROM_INSIDE.values(), ids=FROM_INSIDE)
def test_a_check_that_is_attacked_from_inside_gives_no_points(attack, reason, shared):
    shared.run(f"""
import io, math, sys, torch, vae_checks.checking as c
SEED, DEVICE = 2, torch.device("cpu")
def log_prior(z):
    {attack}
    return -0.5 * (z**2).sum(dim=1) - math.log(2 * math.pi)
require, stdout = c.require, sys.stdout
""")
    cell = code_cell("checks.log_prior()", "check-log-prior")
    shared.session.nb.cells.append(cell)
    with pytest.raises(CellFailed, match=reason):
        run_cell(shared.session, cell)
    shared.run("c.require, sys.stdout = require, stdout")
    shared.session.make_checks()


@pytest.mark.parametrize("source", [
    "torch.compile(nn.Linear(2, 2), backend='eager')(torch.ones(1, 2))",
    "torch.set_default_dtype(torch.float64); torch.set_default_dtype(torch.float32)",
    "torch.set_default_dtype(torch.float64)",
    "torch.set_default_device('cpu')",
    "torch.func.vmap(torch.sin)(torch.ones(3)); torch.jit.trace(nn.Linear(1, 1), torch.ones(1))",
    "%xmode Plain\n%precision 3\n%config InlineBackend.figure_format = 'svg'",
    "%load_ext autoreload\n%autoreload 2\n%matplotlib inline\n%colors NoColor",
    "import torch._dynamo, torch.fx; torch.fx.symbolic_trace(nn.Linear(1, 1))",
], ids=range(8))  # fmt: skip
def test_what_a_library_replaces_in_itself_is_no_forgery(source, shared):
    cell = f"import torch; from torch import nn\n{source}" if source[0] != "%" else source
    shared.run(cell)
    shared.session.make_checks()


# What it takes -----------------------------------------------------------------------------------

OVER = {  # a cell, and why it fails or the kernel ends
    "endless": ("while True: pass", CellFailed, "Timeout of 2 seconds exceeded"),
    "stubborn": (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
        CellFailed,
        "Timeout of 2 seconds exceeded",
    ),
    "printing": ("while True: print('x' * 1000)", KernelEnded, "it printed more than 0.2 MB"),
    "hoarding": (
        "import mmap\nm = mmap.mmap(-1, 3 << 29)\nwhile True: m.write(bytes(1 << 20))",
        KernelEnded,
        "it took more than",
    ),
    "stopped": ("import os; os.kill(os.getpid(), 19)", KernelEnded, "it stopped a process"),
    "dead": ("import os; os._exit(0)", KernelEnded, "the kernel died in this cell"),
    "exit": ("exit()", KernelEnded, "it ended the kernel"),
    "unspeakable": ("raise ValueError('\\ud800')", CellFailed, "UnicodeEncodeError"),
}


@needs_sandbox
@pytest.mark.sandbox
@pytest.mark.parametrize("source, error, reason", OVER.values(), ids=OVER)
def test_a_cell_that_takes_too_much_ends(source, error, reason, start):
    running = start(SHORT)
    started = time.monotonic()
    with pytest.raises(error, match=reason) as caught:
        running.run(source, "greedy")
        running.run("1", "next")
    assert getattr(caught.value, "id", "greedy") == "greedy"
    assert time.monotonic() - started < 25


def test_the_cell_that_ends_the_kernel_later_is_named(start):
    running = start(SHORT)
    running.run("import os, threading; threading.Timer(0.3, os._exit, [0]).start()", "fuse")
    time.sleep(1)
    with pytest.raises(KernelEnded) as caught:
        running.run("1", "next")
    assert caught.value.id == "fuse"


@needs_sandbox
@pytest.mark.sandbox
def test_no_process_is_left(start, tmp_path):
    running = start(Limits(processes=20))
    running.run("import subprocess; subprocess.Popen(['sleep', '86397'], start_new_session=True)")
    with pytest.raises(KernelEnded, match="more than 20 processes|died"):
        running.run("for _ in range(40): subprocess.Popen(['sleep', '86397'])\nwhile True: pass")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and is_running("86397"):
        time.sleep(0.1)
    assert not is_running("86397")


def test_a_kernel_that_fails_to_start_leaves_nothing(monkeypatch):
    box = Box({}, PROVIDED, Limits(startup=1))
    monkeypatch.setattr(box, "command", lambda *_: ["sleep", "86398"])
    session = Session([], box, box.limits, n_epochs=1)
    with pytest.raises(RuntimeError), session.running():
        pass
    assert not is_running("86398")
    box.remove()


def is_running(word):
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return any(word in argument for command in commands for argument in command)


def test_without_bubblewrap_only_links_to_the_project_are_there(monkeypatch, tmp_path):
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho not permitted >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    why_no_sandbox.cache_clear()
    try:
        assert why_no_sandbox() == "bubblewrap does not run here: not permitted"
        for start in starting(tmp_path):
            running = start(Limits(cell=2, grace=20))
            running.session.begin()
            assert running.run("import vae_checks, vae_helpers; print(vae_helpers.OWN)") == "True\n"
            running.session.make_checks()
            with pytest.raises(CellFailed, match="Timeout"):
                running.run("while True: pass")
    finally:
        monkeypatch.undo()
        why_no_sandbox.cache_clear()
