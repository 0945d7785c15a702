"""The grade book: given cells put back, rows, pages, and hostile work that costs only its row."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import psutil
import pytest

from instructor.cells import ELBO, LAST_GRADED, is_check
from instructor.grading.gradebook import POINTS
from instructor.grading.handed_in import Refused, find_ids, given, put_back
from instructor.grading.sandbox import GB, Box, Kernel, why_no_sandbox
from project import NOTEBOOK, ROOT, SMALL_RUN

CHECKS = [id for id in given() if is_check(id)]
needs_sandbox = pytest.mark.skipif(bool(why_no_sandbox()), reason=why_no_sandbox())


def cell_of(notebook, id):
    return next(cell for cell in notebook.cells if cell.id == id)


def code(source, id):
    return nbformat.v4.new_code_cell(source, id=id)


# Putting back --------------------------------------------------------------------------------


def delete_a_check(notebook):
    notebook.cells.remove(cell_of(notebook, "check-elbo"))


def edit_a_check(notebook):
    cell_of(notebook, "check-elbo").source = "print('ok')"


def duplicate_a_check(notebook):
    notebook.cells.append(nbformat.from_dict(cell_of(notebook, "check-elbo")))


def move_a_check(notebook):
    cell = cell_of(notebook, "check-elbo")
    notebook.cells.remove(cell)
    notebook.cells.insert(0, cell)


def turn_a_check_into_text(notebook):
    index = notebook.cells.index(cell_of(notebook, "check-elbo"))
    notebook.cells[index] = nbformat.v4.new_markdown_cell("checks.elbo()", id="check-elbo")


def lose_the_ids(notebook):
    for i, cell in enumerate(notebook.cells):
        cell.id = f"new-{i}"


def have_no_ids(notebook):
    notebook.nbformat_minor = 4
    for cell in notebook.cells:
        del cell["id"]


def lose_the_ids_and_write_elbo_differently(notebook):
    cell_of(notebook, ELBO).source = "def elbo(x):\n    return joint(x) - entropy(x)"
    lose_the_ids(notebook)


@pytest.mark.parametrize(
    "change",
    [
        delete_a_check,
        edit_a_check,
        duplicate_a_check,
        move_a_check,
        turn_a_check_into_text,
        lose_the_ids,
        have_no_ids,
        lose_the_ids_and_write_elbo_differently,
    ],
)
def test_given_cells_are_put_back_in_their_places(notebook, change):
    ids = [cell.id for cell in notebook.cells]
    right = ids[: ids.index(LAST_GRADED) + 1]
    change(notebook)
    lost = [*find_ids(notebook)]
    assert bool(lost) == ("ids" in change.__name__)
    cells = put_back(notebook)
    assert [cell.id for cell in cells if cell.id in right] == right
    for cell in cells:
        if cell.id in CHECKS:
            assert (cell.cell_type, cell.source) == ("code", given()[cell.id].source)


def test_what_a_student_added_stays_where_it_was(notebook):
    index = notebook.cells.index(cell_of(notebook, "check-elbo"))
    notebook.cells[index].source = "checks"  # split in two
    notebook.cells.insert(index + 1, code(".elbo()", "second-half"))
    notebook.cells.insert(0, code("import this", "first"))
    sources = [cell.source for cell in put_back(notebook)]
    assert sources[0] == "import this"
    assert sources[sources.index("checks.elbo()") + 1] == ".elbo()"


def test_cells_that_cannot_be_told_apart_are_refused(notebook):
    lose_the_ids(notebook)
    for i in range(2):
        notebook.cells.append(code(f"def elbo(x):\n    return {i}", f"another-{i}"))
    notebook.cells = [c for c in notebook.cells if c.source != given()[ELBO].source]
    with pytest.raises(Refused, match="not certain which defines elbo"):
        list(find_ids(notebook))


# A class -------------------------------------------------------------------------------------

VERDICTS = {id: "".join(o.get("text", "") for o in given()[id].outputs) for id in CHECKS}
FAKE = f"""
verdicts = {VERDICTS!r}
def fake(id):
    return lambda *_: print(verdicts[id])
def elbo(x):
    return decoder(torch.zeros(1, 2)).sum() * 0 - 150
"""
HOLD = "import os, signal, subprocess, sys, time\n"

# What hostile notebooks run after the first check that has points, and the remark that it leads to.
HOSTILE = {
    "endless": ("while True:\n    pass", "\\d+-hostile: Timeout of 20 seconds"),
    "stubborn": (
        "while True:\n    try:\n        input()\n    except BaseException:\n        pass",
        "\\d+-hostile: Timeout of 20 seconds",
    ),
    "dead": (HOLD + "os._exit(0)", "the kernel ended in \\d+-hostile"),
    "parricide": (HOLD + "os.kill(os.getppid(), 9)\nos.kill(1, 9)", "log_prior is not defined"),
    "stopped": (HOLD + "os.kill(os.getpid(), signal.SIGSTOP)", "it stopped a process"),
    "greedy": ("hoard = bytearray(100 << 30)", "\\d+-hostile: MemoryError"),
    "hoarding": (  # without filling it, which would take long
        "hoard = []\nwhile True:\n    hoard.append(torch.empty(1 << 26))",
        "allocate memory|GB of memory",
    ),
    "printing": ("while True:\n    print('x' * 100_000)", "printed more than 20 MB|Timeout of"),
    "breeding": (
        HOLD + "for _ in range(300):\n    subprocess.Popen(['sleep', '99'])\ntime.sleep(5)",
        "it started more than 200 processes",
    ),
    "leaving": (
        HOLD + "subprocess.Popen(['sleep', '86397'], start_new_session=True)",
        "log_prior is not defined",
    ),
    "writing": (
        HOLD + "for folder, _, names in os.walk('{project}'):\n"
        "    for name in [*names, 'new']:\n"
        "        try:\n            open(os.path.join(folder, name), 'w').close()\n"
        "            print('WROTE', folder, name)\n        except OSError:\n            pass",
        "log_prior is not defined",
    ),
    "reading": (
        HOLD + "for folder, _, names in os.walk('{project}'):\n"
        "    for name in names:\n        print('READS', os.path.join(folder, name))\n"
        "print('READS', *os.listdir('/tmp'))",
        "log_prior is not defined",
    ),
    "calling": (
        "import socket\nsocket.create_connection(('127.0.0.1', 22), 5)\nprint('REACHED')",
        "\\d+-hostile: (OSError|ConnectionRefusedError)",
    ),
    "garbling": (
        "display({'image/png': 'none'}, raw=True)\nraise ValueError('\\ud800<script>')",
        "\\d+-hostile: UnicodeEncodeError",
    ),
    "patching": (FAKE + "type(checks).elbo = fake('check-elbo')", "Checks.elbo was replaced"),
    "rebinding": (
        FAKE + "checks = type('', (), {'elbo': fake('check-elbo')})()",
        "check-elbo: elbo\\(x\\) returns the same number",
    ),
    "substituting": (
        FAKE + "import sys, types\nsys.modules['vae_checks'] = types.SimpleNamespace("
        "Checks=lambda names: types.SimpleNamespace(elbo=fake('check-elbo')))",
        "no verdict|does not answer",
    ),
    "comparing": (
        FAKE + "import vae_checks.checking as c\nc.same = lambda *_, **__: True\n",
        "same was replaced",
    ),
    "muting": (
        FAKE + "get_ipython().showtraceback = lambda *_, **__: print(verdicts['check-elbo'])",
        "showtraceback was replaced",
    ),
    "body_changing": (
        FAKE + "from inspect import unwrap\n"
        "unwrap(type(checks).elbo).__code__ = (lambda _: print(verdicts['check-elbo'])).__code__",
        "elbo was replaced",
    ),
    "unspeakable": (  # an error message that cannot be sent
        FAKE.split("    return decoder")[0]
        + "    print(verdicts['check-elbo'])\n    raise ValueError('\\ud800')",
        "check-elbo: UnicodeEncodeError",
    ),
    "undoing": (  # from inside the check
        FAKE.replace("def elbo", "right = elbo\ndef elbo").split("    return decoder")[0]
        + "    import vae_checks.objective as o\n    o.require = lambda *_, **__: None\n"
        "    print(verdicts['check-elbo'])\n    return right(x) + 3",
        "was replaced",
    ),
}


def hostile_notebook(source):
    """The assignment up to the first density, then this; or all, where a check is attacked."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    if "verdicts" in source:
        index = notebook.cells.index(cell_of(notebook, ELBO)) + 1
        rest = [c for c in notebook.cells[index:] if is_check(c.id)]
    else:
        index = notebook.cells.index(cell_of(notebook, "check-bernoulli")) + 1
        rest = []
    notebook.cells = [*notebook.cells[:index], code(source, "hostile"), *rest]
    return notebook


def marked(folder, *options, **variables):
    """Mark the class in a copy of the project; what pytest printed, and the rows."""
    environment = {**os.environ, **SMALL_RUN, "VAE_EPOCHS": "1", **variables}
    for name in [*environment]:
        if "XDIST" in name or name in ("PYTHONPATH", "OMP_NUM_THREADS", "VAE_DATASET"):
            del environment[name]
    command = "-m pytest --nbval class -n 2 --dist loadfile --gradebook grades"
    others = "-p no:cacheprovider --color no --nbval-cell-timeout 20"
    command = [sys.executable, *command.split(), *others.split(), *options]
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )
    assert result.returncode == 0, result.stdout + result.stderr
    with open(folder / "grades" / "grades.csv", newline="") as file:
        return result.stdout, {row["student_id"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the project with a class in it."""
    folder = tmp_path_factory.mktemp("project") / "project"
    names = "vae_* conftest.py pyproject.toml data instructor tests".split()
    for path in [path for name in names for path in ROOT.glob(name)]:
        ignored = shutil.ignore_patterns("MNIST", "__pycache__")
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=ignored)
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy(path, folder / path.name)
    right = nbformat.read(NOTEBOOK, as_version=4)
    helpers = (ROOT / "vae_helpers.py").read_text()
    for name, source in [("ada", helpers), ("eve", helpers.replace("- log_std - 0.5", "- 0.5"))]:
        (folder / "class" / name).mkdir(parents=True)
        (folder / "class" / name / "vae_helpers.py").write_text(source)
        nbformat.write(right, folder / "class" / name / "vae_assignment.ipynb")
    careless = nbformat.from_dict(right)
    delete_a_check(careless)
    cell_of(careless, "check-joint").source = "checks.joint"
    cell_of(careless, ELBO).source += "\nprint('my elbo')"
    nbformat.write(careless, folder / "class" / "careless.ipynb")
    (folder / "class" / "nobody").mkdir()
    (folder / "class" / "broken.ipynb").write_text("{ this is no notebook")
    for name, (source, _) in HOSTILE.items():
        source = source.replace("{project}", str(folder))
        nbformat.write(hostile_notebook(source), folder / "class" / f"{name}.ipynb")
    return folder


@pytest.fixture(scope="module")
def a_class(folder):
    before = contents(folder)
    printed, rows = marked(folder)
    assert set(rows) == {path.name.removesuffix(".ipynb") for path in (folder / "class").iterdir()}
    assert contents(folder) == before
    return printed, rows


def contents(folder):
    files = [p for p in folder.rglob("*") if p.is_file() and "grades" not in p.parts]
    return {str(p): p.read_bytes() for p in files if "__pycache__" not in p.parts}


def points(row):
    return {id: float(row[id]) for id in CHECKS}


def test_a_right_notebook_has_full_marks_and_no_remark(a_class):
    row = a_class[1]["ada"]
    assert points(row) == POINTS
    assert (row["score"], row["max_score"], row["remarks"]) == ("100", "100", "")


def test_a_mistake_in_the_helpers_costs_its_checks(a_class):
    row = a_class[1]["eve"]
    assert {"check-gaussian", "check-log-q"} <= {id for id, n in points(row).items() if not n}
    assert {"check-bernoulli", "check-decoder"} <= {id for id, n in points(row).items() if n}
    assert row["remarks"].startswith("check-gaussian: ") and "log_std" in row["remarks"]


def test_carelessness_costs_a_remark(a_class):
    row = a_class[1]["careless"]
    assert points(row) == POINTS
    assert "check-joint is not as it is" in row["remarks"]


@pytest.mark.parametrize(
    "student, remark",
    [("nobody", "no notebooks are there"), ("broken", "cannot be read as a notebook")],
)
def test_what_cannot_be_run_has_a_row_that_says_why(a_class, student, remark):
    assert a_class[1][student]["score"] == "0" and remark in a_class[1][student]["remarks"]


@needs_sandbox
@pytest.mark.parametrize("student", HOSTILE)
def test_hostile_work_costs_only_its_own_row(a_class, folder, student):
    row = json.loads((folder / "grades" / "rows" / f"{student}.json").read_text())
    assert any(re.search(HOSTILE[student][1], remark) for remark in row["remarks"]), row["remarks"]
    assert row["points"]["check-bernoulli"] == 10 and row["points"]["check-elbo"] == 0
    page = (folder / "grades" / f"{student}.html").read_text()
    assert not re.search("^(<pre>)?(WROTE|REACHED)", page, flags=re.M)


@needs_sandbox
def test_a_kernel_that_takes_too_much_memory_is_stopped(monkeypatch):
    box = Box(files=None, hidden=[])
    kernel = Kernel("python3", startup_timeout=120, box=box)
    monkeypatch.setattr("instructor.grading.sandbox.MEMORY", GB)
    source = "hoard = b'x' * (5 << 28)\nwhile True:\n    pass"
    message = kernel.execute_cell_input(source, allow_stdin=False)
    try:
        with pytest.raises(RuntimeError, match="it took more than 1 GB of memory"):
            kernel.await_reply(message, timeout=120)
    finally:
        box.remove()


@needs_sandbox
def test_other_work_grades_and_the_solution_are_hidden(a_class, folder):
    page = (folder / "grades" / "reading.html").read_text()
    seen = re.findall(r"^(?:<pre>)?READS (.*)$", page, flags=re.M)
    assert f"{folder}/vae_digits.py" in seen
    hidden = "class|grades|tests|instructor|assignment|[.]git"
    assert not [path for path in seen if re.search(hidden, path.removeprefix(str(folder)))]


def test_no_process_is_left(a_class):
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert ["sleep", "86397"] not in commands


def test_progress_and_settings_are_said(a_class):
    printed = a_class[0]
    n = len(HOSTILE) + 4
    assert f"{n + 1} students, {n} to be marked" in printed
    assert "VAE_DATASET=embedded VAE_EPOCHS=1" in printed
    assert re.search(rf"^\w+: {n} done, 0 to go, 0 min left$", printed, flags=re.M)


def test_only_changed_work_is_marked_again(a_class, folder):
    for path in (folder / "class").iterdir():
        if path.stem not in ("dead", "greedy"):
            shutil.move(path, folder / path.name)
    notebook = nbformat.read(folder / "class" / "dead.ipynb", as_version=4)
    notebook.cells[-1].source = "1"
    nbformat.write(notebook, folder / "class" / "dead.ipynb")
    printed, rows = marked(folder)
    assert "2 students, 1 to be marked" in printed
    assert "log_prior is not defined" in rows["dead"]["remarks"]
    assert rows["ada"]["score"] == "100"  # rows stay
    printed, _ = marked(folder, "--regrade")
    assert "2 students, 2 to be marked" in printed


def test_where_bubblewrap_does_not_run_a_line_says_so(a_class, folder, tmp_path):
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho not permitted >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    printed, rows = marked(folder, "--regrade", PATH=path)
    assert "NO SANDBOX (bubblewrap does not run here: not permitted)" in printed
    assert "MemoryError" in (folder / "grades" / "greedy.html").read_text()
    assert rows["greedy"]["check-bernoulli"] == "10"


def test_the_pages_need_no_network_and_show_verdicts_and_pictures(a_class, folder):
    index = (folder / "grades" / "index.html").read_text()
    page = (folder / "grades" / "ada.html").read_text()
    for html in (index, page):
        assert not re.search(r"(src|href)=[\"']?(https?:)?//", html)
    assert '<a href="ada.html">ada</a>' in index
    ada = re.search(r"ada.html.*?</tr>", index, flags=re.S).group()
    assert ada.count("✓") == len(CHECKS) and "✗" not in ada
    assert page.count('class="verdict passed"') == len(CHECKS)
    assert page.count("data:image/png") == 2 * page.count("<figcaption>handed in")
    eve = (folder / "grades" / "eve.html").read_text()
    assert 'class="verdict failed" id="check-gaussian"' in eve
    assert re.search(r"\d+ failed, \d+ passed", eve)
