"""The grade book: a class graded by the command, its table and its pages."""

import json
import re
import runpy
import socket
import sys
import tempfile

import nbformat
import pytest
from instructor.cells import ELBO, cell_of
from instructor.grading.limits import Limits

from grade_book import remarks, rows_of
from instructor.files import read_notebook
from instructor.grading.gradebook import GradeBook
from instructor.grading.grader import POINTS, Result
from instructor.grading.roster import Submission
from instructor.grading.sandbox import why_no_sandbox
from project import NOTEBOOK, ROOT, changed, code_cell, instructor

HELPERS = (ROOT / "vae_helpers.py").read_text()


def points(row):
    """The checks that gave points, and how many."""
    return {id: int(row[id]) for id in POINTS if row[id] != "0"}


# A class -----------------------------------------------------------------------------------------

MARKUP = "<script>alert(1)</script><style>body { display: none }</style> [a](javascript:b)"
TEXT = MARKUP + "\n\n![a](attachment:a.png) $\\text{<style>x</style>}$ <meta http-equiv=refresh>"
DISPLAY = "from IPython.display import display\ndisplay({'image/png': '\"><script>'}, raw=True)"

LIBRARY = {  # what libraries change in themselves, which is no forgery, before each of the checks
    "check-gaussian": "torch.compile(nn.Linear(2, 2), backend='eager')(torch.ones(1, 2))",
    "check-samplers": "torch.set_default_dtype(torch.float64); torch.set_default_device('cpu')",
    "check-log-prior": "torch.set_default_dtype(torch.float32); checks = 'of their own'",
    "check-decoder": "torch.func.vmap(torch.sin)(torch.ones(3))\n"
    "torch.jit.trace(nn.Linear(1, 1), torch.ones(1))",
    "check-log-likelihood": "%xmode Plain\n%precision 3\n%colors NoColor\n%matplotlib inline",
    "check-joint": "import torch._dynamo, torch.fx; torch.fx.symbolic_trace(nn.Linear(1, 1))",
}

FORGE = """
import builtins, inspect, io, sys, unittest.mock, vae_checks.checking as c
main, shell, replaced = sys.modules["__main__"], get_ipython(), []
def replace(owner, name, value):
    replaced.append((owner, name, getattr(owner, name), name in vars(owner) or "__" in name))
    setattr(owner, name, value)
def undo():
    while replaced:
        owner, name, old, is_own = replaced.pop()
        setattr(owner, name, old) if is_own else delattr(owner, name)
def within(function, *what):
    return lambda *arguments: replace(*what) or function(*arguments)
"""
FORGED = [  # before which check something is replaced, how it is named, and what it is
    ("samplers", "Checks.elbo", "type(checks), 'elbo', lambda *_: print('ok')"),
    ("samplers", "torch.equal", "torch, 'equal', torch.no_grad()(lambda *_: True)"),
    ("samplers", "builtins.print", "builtins, 'print', lambda *_: 0"),
    ("log-prior", "torch.equal", "torch, 'equal', torch.is_tensor"),
    ("log-prior", "Tensor.all", "torch.Tensor, 'all', torch.Tensor.any"),
    ("decoder", "Checks.elbo", "inspect.unwrap(type(checks).elbo), '__code__', replace.__code__"),
    ("decoder", "checking.Dh", "c, 'Dh', 1"),
    ("log-likelihood", "checking.students_part", "c.students_part, '__defaults__', (1,)"),
    ("log-likelihood", "Module.__call__", "nn.Module, '__call__', lambda *_: 0"),
    ("log-likelihood", "Shell.showtraceback", "shell, 'showtraceback', lambda *_, **__: 0"),
    ("joint", "torch.all", "torch, 'all', eval(compile('lambda *_: 1', torch.__file__, 'eval'))"),
    ("joint", "patch.dict", "unittest.mock.patch, 'dict', lambda *_: 0"),
    ("log-q", "checking.require", "main, 'log_q', within(log_q, c, 'require', lambda *_: 0)"),
    ("elbo", "it did not print", "main, 'elbo', within(elbo, sys, 'stdout', io.StringIO())"),
    ("gradients", "vae_checks", "sys, 'modules', {'vae_checks': type('', (), {'Checks': print})}"),
]

HARMLESS = """import os, torch
os.environ["VAE_DATASET"] = "mnist"
torch.Tensor.np = lambda self: self.detach().numpy()
assert os.listdir("data") == ["own.txt"]"""

ATTEMPTS = {  # at what the sandbox forbids; nothing is changed where one succeeds
    "network": "import socket; socket.create_connection(('127.0.0.1', {port}), 5)",
    "processes": "from pathlib import Path\n"  # that of the command
    "min(p for p in Path('/proc').glob('[1-9]*/cmdline') if b'\\0grade\\0' in p.read_bytes())",
    "system": "open('/etc/passwd', 'a')",
    "libraries": "import torch; open(torch.__file__, 'a')",
    "checks": "open('/assignment/vae_checks/__init__.py', 'a')",
    "another-module": "open('/assignment/vae_helpers.py', 'a')",
    "project": f"open({str(ROOT / 'README.md')!r})",
    "memory": "bytearray(7 << 30)",
    "disk": "open('large', 'wb').truncate(2 << 30)",
    "shared-memory": "import os; os.posix_fallocate(os.open('/dev/shm/x', 66), 0, 300 << 20)",
}
SEES = f"""
import os, sys, torch
from pathlib import Path
def files(top):
    return [str(Path(folder, name)) for folder, _, names in os.walk(top) for name in names]
assert "own" in Path("own.txt").read_text() and "SECRET" not in os.environ
assert [name for name in files({str(ROOT)!r}) if "/.venv/" not in name] == []
seen = os.environ["HOME"], sys.prefix  # which may lie in /tmp, too
assert [name for name in files("/tmp") if not name.startswith(seen)] == []
assert set(os.listdir("/assignment")) == {{"vae_checks", "vae_digits.py", "vae_explorer", "data"}}
"""


def insert(notebook, before, source, id="own"):
    cell = code_cell(source, id, execution_count=99)
    notebook.cells.insert(notebook.cells.index(cell_of(notebook, before)), cell)


@pytest.fixture(scope="module")
def a_class(tmp_path_factory):
    """A class of three whose notebooks run and two whose do not: folder, output, rows."""
    folder = tmp_path_factory.mktemp("graded")
    careless, forged, cut = (read_notebook(NOTEBOOK) for _ in range(3))
    careless.cells.remove(cell_of(careless, "check-elbo"))
    careless.cells.insert(40, cell_of(careless, "check-joint").copy())
    cell_of(careless, ELBO).source += "\nprint('their elbo')"
    for id, source in LIBRARY.items():
        insert(careless, id, source)
    insert(careless, "run-settings", HARMLESS, "harmless")
    insert(careless, "check-samplers", "%%capture\n1", "captured")
    careless.cells[0].update(metadata=None, id=None)
    insert(careless, "check-train", f"print({MARKUP!r})\n{DISPLAY}")
    careless.cells.insert(0, nbformat.v4.new_markdown_cell(TEXT))
    insert(forged, "check-samplers", FORGE)
    for check in {check for check, *_ in FORGED} | {"encoder"}:
        insert(forged, f"check-{check}", "undo()")
    for check, _, what in FORGED:
        insert(forged, f"check-{check}", f"replace({what})")
    insert(forged, "check-train", "undo(); exit()")
    insert(cut, "check-decoder", "exit()", "-1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        if not why_no_sandbox():
            for name, source in ({"sees": SEES} | ATTEMPTS).items():
                source = source.replace("{port}", str(server.getsockname()[1]))
                insert(forged, "run-settings", source, f"try-{name}")
        names = ["conftest", "torch", "vae_checks", "sitecustomize"]  # which are never imported
        files = {
            "ada [late]/src/vae_helpers.py": f"{HELPERS}\nimport own_constants\n",
            "ada [late]/src/own_constants.py": "",
            "ada [late]/data/own.txt": "own",
            "eve/vae_helpers.py": changed(HELPERS, "- log_std - 0.5", "- 0.5"),
            "eve/own.txt": "own",
            **{f"eve/{name}.py": "raise SystemExit" for name in names},
            "broken.ipynb": '{"cells": [{}], "metadata": {}, "nbformat": 4}',
            "notes.pdf": "",
        }
        for name, cells in ("ada [late]", careless), ("eve", forged), ("=ian <b>", cut):
            # Not by nbformat, which would give new ids to copies of cells.
            files[f"{name}/vae_assignment.ipynb"] = json.dumps(cells)
        for name, text in files.items():
            (folder / "class" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "class" / name).write_text(text, encoding="utf-8-sig")
        (folder / "class" / "nobody").mkdir()
        arguments = ["grade", folder / "class", "--to", folder / "grades", "-n", "2"]
        result = instructor(*arguments, VAE_EPOCHS="1", SECRET="1")
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result.stdout, rows_of(folder)


def test_correct_work_has_full_marks_whatever_became_of_the_given_cells(a_class):
    row = a_class[2]["ada [late]"]
    assert points(row) == POINTS and (row["score"], row["max_score"]) == ("100", "100")
    assert row["remarks"] == "check-elbo is missing: copy this cell from the assignment"


def test_a_mistake_or_what_a_student_replaced_gives_no_points_for_the_check_and_is_named(a_class):
    folder, _, rows = a_class
    said = remarks(folder, "eve")
    verdict = "(?m)^.*check-{}.*: no verdict: .*{}".format
    assert not [pair for *pair, _ in FORGED if not re.search(verdict(*pair), said)], said
    passed = ["check-bernoulli", "check-encoder"]
    assert points(rows["eve"]) == {id: POINTS[id] for id in passed}
    assert "check-gaussian: " in said and "try-checks uses what the checks are made of" in said
    assert re.search(r"the tests of vae_helpers.py: \d+ failed, \d+ passed", said)


@pytest.mark.sandbox
@pytest.mark.skipif(bool(why_no_sandbox()), reason=why_no_sandbox())
def test_the_sandbox_has_the_students_files_the_checks_and_the_digits_and_nothing_else(a_class):
    said = remarks(a_class[0], "eve")
    stopped = re.findall(r"(?m)^try-(\S+): \w*Error", said)
    assert sorted(stopped) == sorted(ATTEMPTS) and "try-sees: " not in said, said


def test_what_cannot_be_run_has_a_row_that_says_why_or_a_line(a_class):
    folder, printed, rows = a_class
    row = rows["'=ian <b>"]
    assert points(row) == {"check-log-prior": 4} and row["remarks"] == "'-1: it ended the kernel"
    said = remarks(folder, "%3Dian %3Cb%3E")
    assert "check-gaussian, check-samplers: no vae_helpers.py was handed in" in said
    assert "check-lattice: not run, since the kernel ended in -1" in said
    assert "no notebooks are there: hand in one, vae_assign" in rows["nobody"]["remarks"]
    assert "broken.ipynb cannot be read as a notebook" in rows["broken"]["remarks"]
    assert rows["nobody"]["score"] == rows["broken"]["score"] == "0"
    assert "5 students, 5 to be graded with VAE_DATASET=embedded VAE_EPOCHS=1" in printed
    assert "not a submission: notes.pdf" in printed and "ada [late]: 100 of 100" in printed
    assert "<li>notes.pdf</li>" in (folder / "grades" / "index.html").read_text()


def test_the_pages_need_no_network_and_show_verdicts_pictures_and_no_markup(a_class):
    folder = a_class[0] / "grades"
    pages = {path.name: path.read_text() for path in folder.glob("*.html")}
    for page in pages.values():
        assert not re.search(r"(src|href)=[\"']?(https?:)?//|<b></h1>|<b></title>", page)
    assert '<a href="ada%20%5Blate%5D.html">ada [late]</a>' in pages["index.html"]
    page = pages["ada [late].html"]
    assert page.count('class="verdict passed"') == len(POINTS) and "verdict failed" not in page
    figures = page.count("<figcaption>handed in")
    assert page.count("data:image/png") == 2 * figures - 1 >= 9  # one that the student added
    assert page.count("&lt;script&gt;") >= 2 and "alert(1)" in page
    assert not re.search("<script|href=.javascript|<style>body|<style>x|<meta http-equiv=.?r", page)
    assert "this picture is missing" in page
    assert 'class="verdict failed" id="check-gaussian"' in pages["eve.html"]


# Without kernels ---------------------------------------------------------------------------------


@pytest.fixture
def grade(tmp_path, monkeypatch, capsys):
    """Runs the command in this process; what was said."""
    for name in ("VAE_DATASET", "VAE_EPOCHS"):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)

    def grade(*options):
        command = ["instructor", "grade", *options, tmp_path / "class", "--to", tmp_path / "grades"]
        monkeypatch.setattr(sys, "argv", [str(argument) for argument in command])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module("instructor", run_name="__main__")
        return ended.value.code or capsys.readouterr().out

    (tmp_path / "class").mkdir()
    return grade


def test_parts_share_a_folder_and_only_what_changed_is_graded_again(grade, tmp_path, monkeypatch):
    folder, names = tmp_path / "class", ["ada/a", "bob", "cy", "=1+1", "+1", "-1", "@x"]
    (folder / "ada").mkdir()
    for name in names:
        (folder / f"{name}.ipynb").write_text("{")  # cannot be read, which is quick
    for k, n in ("1/3", 3), ("2/3", 2), ("3/3", 2):
        settings = "with VAE_DATASET=embedded VAE_EPOCHS=5"
        assert f"{n} students, {n} to be graded {settings}" in grade("--part", k)
    rows = rows_of(tmp_path)
    assert set(rows) == {"ada", "bob", "cy", "'=1+1", "'+1", "'-1", "'@x"}  # no formulas
    assert "7 students, 0 to be graded" in grade()
    for path in folder.glob("*1*"):
        path.unlink()
    (folder / "ada" / "vae_helpers.py").write_text("")
    (folder / "bob.ipynb").write_text("{{")
    row = tmp_path / "grades" / "rows" / "cy.json"
    row.write_text(row.read_text().replace('"version": "', '"version": "of another notebook '))
    row.with_name("gone.json").write_text("half a r")
    assert "4 students, 3 to be graded" in grade() and set(rows_of(tmp_path)) == set(rows)
    (folder / "ada" / "vae_helpers.py").rename(folder / "ada" / "utils.py")
    assert "4 students, 1 to be graded" in grade()
    assert "4 students, 4 to be graded" in grade("--regrade")
    monkeypatch.setenv("VAE_EPOCHS", "3")
    assert "4 students, 4 to be graded" in grade()


@pytest.mark.parametrize("options, epochs, message", [
    *((["--part", part], "5", f"--part {part} must be K/N") for part in ("0/2", "3/2", "1", "1/0")),
    (["-n", "0"], "5", "-n 0 must be 1 or more"),
    (["nowhere"], "5", "nowhere is not there"),
    (["-n", "1"], "0", "VAE_EPOCHS must be 1 or more, not '0'"),
])  # fmt: skip
def test_a_wrong_option_is_said(options, epochs, message, grade, monkeypatch):
    monkeypatch.setenv("VAE_EPOCHS", epochs)
    assert grade(*options).startswith(message)


def test_a_path_too_long_for_sockets_is_said(grade, tmp_path, monkeypatch):
    (tmp_path / ("x" * 80)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 80)))
    assert "is too long a path: set TMPDIR to a shorter one." in grade()


def test_a_page_of_an_earlier_version_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr("instructor.grading.gradebook.student_page", lambda *_: 1 / 0)
    (tmp_path / "rows").mkdir()
    (tmp_path / "a.html").write_text("an earlier version")
    book = GradeBook(tmp_path, {}, Limits())
    book.write_row("a", Submission("a"), Result())
    assert not (tmp_path / "a.html").exists()
    assert "the page could not be made: ZeroDivisionError" in book.row("a")["remarks"][0]
