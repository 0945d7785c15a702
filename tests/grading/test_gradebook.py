"""The grade book: a class graded by the command, its table and its pages."""

import base64
import json
import multiprocessing
import re
import runpy
import socket
import sys
import tempfile

import nbformat
import pytest

from grade_book import remarks, rows_of
from instructor.assignment import cell_of, points_of_checks
from instructor.files import read_notebook
from instructor.grading.feedback import student_page
from instructor.grading.gradebook import GradeBook, grade_class, grade_here, process_context
from instructor.grading.grader import Result
from instructor.grading.roster import Submission
from instructor.grading.sandbox import link_or_copy, why_no_sandbox
from instructor.limits import Limits
from project import ELBO, NOTEBOOK, ROOT, SCATTER, changed, code_cell, instructor

POINTS = points_of_checks()
HELPERS = (ROOT / "vae_helpers.py").read_text()
LOG_PRIOR = "ce50c994-90af-11eb-3fc1-a3eea9cda1a2"
HELPERS_CHECKS = {"check-bernoulli", "check-gaussian", "check-samplers"}


def insert(notebook, before, source, id="own"):
    cell = code_cell(source, id, execution_count=99)
    notebook.cells.insert(notebook.cells.index(cell_of(notebook, before)), cell)


def passed(row):
    """The checks that gave points, each all of its own."""
    found = {id: int(row[id] or 0) for id in POINTS if row[id] != "0"}
    assert found == {id: POINTS[id] for id in found}
    return set(found)


# A class -----------------------------------------------------------------------------------------
#
# Each student shows one behaviour. A notebook of a few cells is graded with all given ones put
# back; it ends the kernel behind the cells that matter, so that it takes few seconds.

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
seen = {{"vae_checks", "vae_digits.py", "vae_explorer", "data", "vae_helpers.py"}}
assert set(os.listdir("/assignment")) == seen
"""


NEVER_IMPORTED = ["conftest", "torch", "vae_checks", "sitecustomize"]
MARKUP = "<script>alert(1)</script><style>body { display: none }</style> [a](javascript:b)"
TEXT = MARKUP + "\n\n![a](attachment:a.png) $\\text{<style>x</style>}$ <meta http-equiv=refresh>"
DISPLAY = "from IPython.display import display\ndisplay({'image/png': '\"><script>'}, raw=True)"

# What students do to their kernel for reasons of their own.
DEBUGGING_AIDS = """
torch.Tensor.__repr__ = lambda self: f'{tuple(self.shape)}'
torch.Tensor.cuda = lambda self: self
torch.compile = lambda function, **options: function
shell = get_ipython()
shell.showtraceback = lambda *_, **__: print('something went wrong')
shell.display_formatter.formatters['text/plain'].for_type(str, lambda *_: 1 / 0)
exec = list = dict = sum = print
os.environ['VAE_DATASET'] = 'mnist'
"""
FORGED = """
import vae_checks.checking
type(checks).log_prior = lambda self: print('ok: log_prior(z) has the correct values')
vae_checks.checking.require = lambda *_: None
checks = 'their own'
"""
RIGHT = "def log_prior(z):\n    return -(z**2 + math.log(2 * math.pi)).sum(dim=1) / 2"
WRONG = "def log_prior(z):\n    return -(z**2).sum(dim=1) / 2"
ODD_ERRORS = {  # cells, and what is said of them
    "silent": (
        "class Stop(Exception):\n    def _render_traceback_(self): pass\nraise Stop",
        "silent: Stop in this cell",
    ),
    "bare": (
        "values = []\nassert len(values) == 100",
        "bare: AssertionError in line 2: assert len",
    ),
    "no-data": (
        "get_ipython().display_pub.publish(data={'text/plain': 3})",
        "no-data: 1 of its outputs could not be read",
    ),
    "new-syntax": ("x = t'{', ", "new-syntax: SyntaxError: .*Python 3.99.1, and here with 3"),
    "exits": (
        "import IPython\nIPython.Application.instance().kernel.do_shutdown(True)",
        "exits: it ended the kernel",
    ),
}


def small_notebook(cells, **metadata):
    """A notebook of these cells, by id, behind which the kernel ends."""
    cells = [code_cell(source, id, execution_count=1) for id, source in cells.items()]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    return nbformat.writes(notebook)


@pytest.fixture(scope="module")
def a_class(tmp_path_factory):
    """A class: folder, output, rows."""
    folder = tmp_path_factory.mktemp("graded")
    whole = read_notebook(NOTEBOOK)
    for cell in whole.cells:
        cell.execution_count = 1 if cell.cell_type == "code" else None
    whole.cells.remove(cell_of(whole, "check-elbo"))
    whole.cells.insert(40, cell_of(whole, "check-joint").copy())
    cell_of(whole, ELBO).source += "\nprint('their elbo')"
    insert(whole, "check-samplers", "%%capture\n1", "captured")
    insert(whole, "check-train", f"print({MARKUP!r})\n{DISPLAY}")
    whole.cells[0].update(metadata=None, id=None)
    whole.cells.insert(0, nbformat.v4.new_markdown_cell(TEXT))
    files = {
        "whole [late]/vae_assignment.ipynb": json.dumps(whole),
        "whole [late]/src/vae_helpers.py": f"{HELPERS}\nimport own_constants\n",
        "whole [late]/src/own_constants.py": "",
        "wrong helpers/vae_helpers.py": changed(HELPERS, "- log_std - 0.5", "- 0.5"),
        "utf-16/vae_helpers.py": HELPERS.encode("utf-16"),
        "broken.ipynb": '{"cells": [{}], "metadata": {}, "nbformat": 4}',
        "group/ada/vae_assignment.ipynb": "{}",
        "group/bo/vae_assignment.ipynb": "{}",
        "notes.pdf": "",
        **{f"sandbox/{name}.py": "raise SystemExit" for name in NEVER_IMPORTED},
        "sandbox/own.txt": "own",
    }
    end = {"check-joint": "", "end": "exit()"}
    notebooks = {
        "wrong helpers": {"check-samplers": "", "end": "exit()"},
        "utf-16": {"check-samplers": "", "end": "exit()"},
        "aids": {"run-settings": DEBUGGING_AIDS, LOG_PRIOR: RIGHT, "check-log-prior": "", **end},
        "forged": {LOG_PRIOR: WRONG, "forge": FORGED, "check-log-prior": "", **end},
        "silenced": {LOG_PRIOR: RIGHT, "mute": "print = 0\nimport io\nsys.stdout = io.StringIO()"},
        "odd errors": {id: source for id, (source, _) in ODD_ERRORS.items()},
        "=ian <b>": {"run-settings": "", "-1": "exit()"},
    }
    notebooks["silenced"] |= {"check-log-prior": "", **end}
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        attempts = {"sees": SEES} | ATTEMPTS if not why_no_sandbox() else {}
        notebooks["sandbox"] = {
            f"try-{name}": source.replace("{port}", port) for name, source in attempts.items()
        }
        notebooks["sandbox"] |= {"run-settings": "", "end": "exit()"}
        for name, cells in notebooks.items():
            language = {"language_info": {"name": "python", "version": "3.99.1"}}
            files[f"{name}/vae_assignment.ipynb"] = small_notebook(cells, **language)
        for name, content in files.items():
            path = folder / "class" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                content = content.encode("utf-8-sig")
            path.write_bytes(content)
        (folder / "class" / "nobody").mkdir()
        arguments = ["grade", folder / "class", "--to", folder / "grades", "-n", "2"]
        result = instructor(*arguments, VAE_EPOCHS="1", SECRET="1")
    assert result.returncode == 1, result.stdout + result.stderr  # the group
    return folder, result.stdout, rows_of(folder)


def test_correct_work_has_full_marks_whatever_became_of_the_given_cells(a_class):
    row = a_class[2]["whole [late]"]
    assert passed(row) == set(POINTS), row["remarks"]
    assert (row["score"], row["max_score"]) == ("100", "100")
    assert row["remarks"].startswith("missing: check-elbo; copy from the assignment")


def test_a_mistake_in_the_helpers_costs_its_check_and_is_named(a_class):
    folder, _, rows = a_class
    assert passed(rows["wrong helpers"]) == {"check-bernoulli", "check-samplers"}
    said = remarks(folder, "wrong helpers")
    assert "check-gaussian: " in said
    assert re.search(r"the tests of vae_helpers.py: \d+ failed, \d+ passed", said)


def test_helpers_in_another_encoding_are_named(a_class):
    folder, _, rows = a_class
    assert passed(rows["utf-16"]) == set()
    assert "vae_helpers.py is in the encoding UTF-16: save it in UTF-8" in remarks(folder, "utf-16")


def test_what_students_change_in_their_kernel_costs_nothing(a_class):
    assert passed(a_class[2]["aids"]) == {"check-log-prior"}


def test_checks_that_were_replaced_are_loaded_afresh(a_class):
    folder, _, rows = a_class
    assert passed(rows["forged"]) == set()
    said = remarks(folder, "forged")
    assert re.search(r"(?m)^check-log-prior: log_prior\(z\): got .* expected", said), said
    assert "forge uses what the checks are made of" in said


def test_a_check_that_prints_nothing_gives_no_points(a_class):
    folder, _, rows = a_class
    assert passed(rows["silenced"]) == set()
    assert "check-log-prior: no verdict: it did not print 'ok: log_prior" in remarks(
        folder, "silenced"
    )


def test_an_error_ends_in_its_own_cell_and_is_said(a_class):
    said = remarks(a_class[0], "odd errors")
    for _, message in ODD_ERRORS.values():
        assert re.search(message.replace(":", r"( \(.*\))?:", 1), said), (message, said)


@pytest.mark.sandbox
@pytest.mark.skipif(bool(why_no_sandbox()), reason=why_no_sandbox())
def test_the_sandbox_has_the_students_files_the_checks_and_the_digits_and_nothing_else(a_class):
    said = remarks(a_class[0], "sandbox")
    stopped = re.findall(r"(?m)^try-(\S+)(?: \(.*\))?: \w*Error", said)
    assert sorted(stopped) == sorted(ATTEMPTS), said
    assert not re.search("(?m)^try-sees.*Error", said), said
    assert "try-checks uses what the checks are made of" in said


def test_without_helpers_their_checks_give_nothing_and_the_end_of_the_kernel_is_named(a_class):
    folder, _, rows = a_class
    row = rows["'=ian <b>"]  # no formula
    assert passed(row) == set() and row["remarks"].startswith("'-1")
    said = remarks(folder, "%3Dian %3Cb%3E")
    assert re.search(r"-1( \(.*\))?: it ended the kernel", said)
    assert (
        "check-bernoulli, check-gaussian, check-samplers: no vae_helpers.py was handed in" in said
    )
    assert "check-lattice: not run, since the kernel ended in -1" in said


def test_what_is_no_work_has_no_points_a_remark_or_a_line(a_class):
    folder, printed, rows = a_class
    assert "no notebook is there: hand in vae_assignment.ipynb" in rows["nobody"]["remarks"]
    assert "broken.ipynb cannot be read as a notebook" in rows["broken"]["remarks"]
    assert rows["nobody"]["score"] == rows["broken"]["score"] == "0"
    assert "not a submission: notes.pdf: no notebook, helpers, folder or .zip" in printed
    assert "<li>notes.pdf: no notebook" in (folder / "grades" / "index.html").read_text()


def test_a_group_is_no_verdict_and_says_what_to_give(a_class):
    folder, printed, rows = a_class
    assert rows["group"]["score"] == rows["group"]["check-elbo"] == ""
    assert f"give it by itself: grade {folder / 'class' / 'group'}" in rows["group"]["remarks"]
    assert f"NOT GRADED: 1 of {len(rows)}. Start the command again" in printed
    assert "group: not graded: notebooks lie in folders of their own" in printed


def test_a_row_is_a_results_file_of_gradescopes(a_class):
    rows = a_class[0] / "grades" / "rows"
    row = json.loads((rows / "wrong helpers.json").read_text())
    assert set(row) == {"score", "output", "output_format", "tests", "extra_data"}
    assert [test["name"] for test in row["tests"]] == [*POINTS]
    for test in row["tests"]:
        assert test["max_score"] == POINTS[test["name"]]
        is_right = test["name"] in ("check-bernoulli", "check-samplers")
        assert test["status"] == ("passed" if is_right else "failed")
        assert test["score"] == (test["max_score"] if is_right else 0)
        assert bool(test["output"]) == (not is_right)
    assert row["score"] == POINTS["check-bernoulli"] + POINTS["check-samplers"]
    assert "score" not in json.loads((rows / "group.json").read_text())


def test_the_pages_need_no_network_and_show_verdicts_pictures_and_no_markup(a_class):
    folder = a_class[0] / "grades"
    pages = {path.name: path.read_text() for path in folder.glob("*.html")}
    for page in pages.values():
        assert not re.search(r"(src|href)=[\"']?(https?:)?//|<b></h1>|<b></title>", page)
    assert '<a href="whole%20%5Blate%5D.html">whole [late]</a>' in pages["index.html"]
    page = pages["whole [late].html"]
    assert page.count('class="verdict passed"') == len(POINTS) and "verdict failed" not in page
    assert f"{POINTS['check-elbo']} of {POINTS['check-elbo']}" in page
    figures = page.count("<figcaption>the student's")
    assert page.count("data:image/png") == 2 * figures - 1 >= 9  # one that the student added
    assert page.count("&lt;script&gt;") >= 2 and "alert(1)" in page
    assert not re.search("<script|href=.javascript|<style>body|<style>x|<meta http-equiv=.?r", page)
    assert "this picture is missing" in page
    assert 'class="verdict failed" id="check-gaussian"' in pages["wrong helpers.html"]


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


def test_what_the_machine_could_not_do_is_no_verdict_and_is_done_again(tmp_path, monkeypatch):
    def disk_is_full(*_):
        raise OSError(28, "No space left on device")

    (tmp_path / "rows").mkdir()
    ada = Submission("ada")
    book = GradeBook(tmp_path, {"VAE_EPOCHS": "1"}, Limits(), submissions={"ada": ada})
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)
    with monkeypatch.context() as patch:
        patch.setattr("instructor.grading.gradebook.grade", disk_is_full)
        grade_here(book, "ada", ada)
    assert "score" not in book.row("ada") and not book.is_up_to_date("ada", ada)
    assert "not graded: the grader failed with OSError(28" in book.row("ada")["output"]
    book.write_table()
    assert ',100,"not graded: ' in (tmp_path / "grades.csv").read_text()
    assert "1 could not be graded" in " ".join((tmp_path / "index.html").read_text().split())
    grade_here(book, "ada", ada)
    assert book.row("ada")["score"] == 0 and book.is_up_to_date("ada", ada)


def test_a_row_that_cannot_be_written_ends_nothing(grade, tmp_path, monkeypatch):
    for name in ("ada", "bob"):
        (tmp_path / "class" / f"{name}.ipynb").write_text("{")
    (tmp_path / "grades" / "rows" / "ada.json").mkdir(parents=True)
    assert grade() == 1
    assert [*rows_of(tmp_path)] == ["bob"]


def test_processes_are_started_as_the_system_can(grade, tmp_path, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    assert process_context().get_start_method() == "spawn"
    (tmp_path / "class" / "ada.ipynb").write_text("{")
    assert "ada: 0 of " in grade("-n", "1")


def test_without_rights_to_link_the_projects_files_are_copied(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("a required privilege is not held by the client")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    for name in ("vae_checks", "vae_digits.py"):
        link_or_copy(ROOT / name, tmp_path / name)
    assert (tmp_path / "vae_checks" / "__init__.py").is_file()
    assert (tmp_path / "vae_digits.py").read_text() == (ROOT / "vae_digits.py").read_text()


def test_names_that_the_terminal_cannot_print_end_nothing(tmp_path):
    (tmp_path / "class" / "Łukasz").mkdir(parents=True)
    arguments = ["grade", tmp_path / "class", "--to", tmp_path / "grades", "-n", "1"]
    result = instructor(*arguments, PYTHONIOENCODING="ascii")
    assert result.returncode == 0 and "\\u0141ukasz: 0 of" in result.stdout, result.stderr
    assert [*rows_of(tmp_path)] == ["Łukasz"]


def test_the_grade_book_is_not_the_folder_of_submissions(tmp_path):
    with pytest.raises(ValueError, match="is the folder of the submissions"):
        grade_class([tmp_path / "class"], tmp_path / "class", processes=1)


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
    printed = grade()
    assert "4 students, 3 to be graded" in printed
    assert f"4 rows in {tmp_path / 'grades' / 'rows'} are of students who are not" in printed
    assert set(rows_of(tmp_path)) == {"ada", "bob", "cy", "'@x"}
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


PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
    "RU5ErkJggg=="
)
SHOWN = {  # what a text names as a picture, and what the page makes of it
    "![sketch](sketch.png)": f'src="data:image/png;base64,{PIXEL}"',
    '<img width="40" src="./my%20sketch.png">': f'src="data:image/png;base64,{PIXEL}"',
    "![sketch](other.png)": "[the picture other.png is not shown: it was not handed in]",
    "![sketch](https://a.b/c.png)": "is not shown: the page fetches nothing",
    "![sketch](notes.tiff)": "[the picture notes.tiff is not shown: see the file]",
}


@pytest.mark.parametrize("source, shown", SHOWN.items())
def test_a_text_shows_the_pictures_that_lie_beside_the_notebook(source, shown, tmp_path):
    files = {name: tmp_path / name for name in ("sketch.png", "my sketch.png", "notes.tiff")}
    for path in files.values():
        path.write_bytes(base64.b64decode(PIXEL))
    text = nbformat.v4.new_markdown_cell(f"MY ANSWER {source}", id="answers-evidence")
    page = student_page("ada", Result(cells=[text], files=files), "")
    assert "MY ANSWER" in page and shown in page
    assert not re.search("src=.(http|sketch|other|my)", page)


def test_pictures_in_other_formats_are_shown_or_named():
    plotly = "application/vnd.plotly.v1+json"
    svg = '<svg onload="alert(1)"></svg>'
    data = [{"image/svg+xml": svg}, {plotly: {}, "text/plain": "Figure"}]
    outputs = [nbformat.v4.new_output("display_data", each) for each in data]
    page = student_page("ada", Result(cells=[code_cell("1", "own", outputs=outputs)]), "")
    encoded = base64.b64encode(svg.encode()).decode()
    assert f'<img src="data:image/svg+xml;base64,{encoded}"' in page and "<svg" not in page
    assert f"[not shown: {plotly}]" in page


def test_the_references_pictures_say_what_they_are():
    page = student_page("ada", Result(cells=[cell_of(read_notebook(NOTEBOOK), SCATTER)]), "")
    assert re.search(r"<figcaption>the assignment's, after epoch \d+: train ELBO -\d", page)


def test_unfinished_work_is_one_remark():
    cells = [code_cell("1", id) for id in ("own", "own-2", "check-elbo", "other")]
    messages = {
        "own": "NotImplementedError: encoder is not written yet: see 'One encoder', 1.",
        "own-2": "NameError: name 'encoder' is not defined",
        "check-elbo": "elbo is not written yet.",
        "other": "ValueError: no",
    }
    said = Result(cells=cells, messages=messages).all_remarks()
    assert said == [
        "not written yet: encoder, elbo (3 cells fail for that)",
        "other: ValueError: no",
    ]


def test_a_page_of_an_earlier_version_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr("instructor.grading.gradebook.student_page", lambda *_: 1 / 0)
    (tmp_path / "rows").mkdir()
    (tmp_path / "a.html").write_text("an earlier version")
    book = GradeBook(tmp_path, {}, Limits())
    book.write_row("a", Submission("a"), Result())
    assert not (tmp_path / "a.html").exists()
    assert (
        "the page could not be made: ZeroDivisionError" in book.row("a")["extra_data"]["remarks"][0]
    )
