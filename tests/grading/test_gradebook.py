"""The grade book: a class graded by the command, its rows, table and pages."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from instructor.cells import ELBO, HELPERS_CHECKS, cell_of, is_check
from instructor.files import read_notebook
from instructor.grading.feedback import student_page
from instructor.grading.gradebook import GradeBook, grade_class, n_cores, no_formula
from instructor.grading.grader import POINTS, Result
from instructor.grading.limits import Limits
from instructor.grading.restored import given
from instructor.grading.roster import Submission
from project import NOTEBOOK, ROOT, changed, code_cell, plain_environment

MARKUP = "<script>alert(1)</script><style>body { display: none }</style> [a](javascript:b) "


def command(folder, *options):
    """Grade folder/class into folder/grades by the command; what it printed, and the rows."""
    arguments = ["-m", "instructor", "grade", folder / "class", "--to", folder / "grades", *options]
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=plain_environment(VAE_EPOCHS="1", OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout, rows_of(folder)


def rows_of(folder):
    with open(folder / "grades" / "grades.csv", newline="", encoding="utf-8") as file:
        return {row["student_id"]: row for row in csv.DictReader(file)}


def points(row):
    return {id: float(row[id]) for id in POINTS}


@pytest.fixture(scope="module")
def a_class(tmp_path_factory):
    """A class of three whose notebooks run and two whose do not: folder, output, rows."""
    folder = tmp_path_factory.mktemp("graded")
    helpers = (ROOT / "vae_helpers.py").read_text()
    careless = read_notebook(NOTEBOOK)
    careless.cells.remove(cell_of(careless, "check-elbo"))
    careless.cells.insert(40, cell_of(careless, "check-joint").copy())
    cell_of(careless, ELBO).source += "\nprint('my elbo')"
    text = nbformat.v4.new_markdown_cell(MARKUP + "\n\n![a](attachment:a.png)", id="own-text")
    own = code_cell(f"print({MARKUP!r})", "own-print", execution_count=99)
    careless.cells[60:60] = [text, own]
    wrong = read_notebook(NOTEBOOK)
    index = wrong.cells.index(cell_of(wrong, "check-codes"))
    wrong.cells.insert(index, code_cell("exit()", "own-exit", execution_count=99))
    for name, notebook, source in [
        ("ada [late]", careless, helpers),
        ("eve", wrong, changed(helpers, "- log_std - 0.5", "- 0.5")),
        ("=ian", careless, None),
    ]:
        (folder / "class" / name).mkdir(parents=True)
        text = json.dumps(notebook)  # nbformat would give new ids to copies of cells
        (folder / "class" / name / NOTEBOOK.name).write_text(text, encoding="utf-8-sig")
        if source:
            (folder / "class" / name / "vae_helpers.py").write_text(source)
    (folder / "class" / "eve" / "conftest.py").write_text("import not_there")
    (folder / "class" / "nobody").mkdir()
    (folder / "class" / "broken.ipynb").write_text('{"cells": [{}], "metadata": {}, "nbformat": 4}')
    (folder / "class" / "notes.pdf").write_text("")
    printed, rows = command(folder, "-n", "2")
    return folder, printed, rows


def test_correct_work_has_full_marks_whatever_became_of_the_given_cells(a_class):
    row = a_class[2]["ada [late]"]
    assert points(row) == POINTS and (row["score"], row["max_score"]) == ("100", "100")
    assert row["remarks"] == "check-elbo is missing: copy this cell from the assignment"


def test_a_mistake_costs_its_check_and_the_cell_that_ends_the_kernel_is_named(a_class):
    row = json.loads((a_class[0] / "grades" / "rows" / "eve.json").read_text())
    assert row["points"]["check-gaussian"] == 0 and row["points"]["check-bernoulli"] == 10
    assert "check-gaussian: " in row["remarks"][0]
    assert "own-exit: it ended the kernel" in row["remarks"]
    assert row["points"]["check-lattice"] == 0
    assert [r for r in row["remarks"] if "tests of vae_helpers.py: " in r and " failed" in r]


def test_without_helpers_their_checks_give_no_points(a_class):
    row = a_class[2]["'=ian"]
    assert {id for id, n in points(row).items() if n < POINTS[id]} == HELPERS_CHECKS
    assert "no vae_helpers.py was handed in" in row["remarks"]


@pytest.mark.parametrize("student, remark", [
    ("nobody", "no notebooks are there: hand in one, vae_assignment.ipynb (found: nothing)"),
    ("broken", "broken.ipynb cannot be read as a notebook"),
])  # fmt: skip
def test_what_cannot_be_run_has_a_row_that_says_why(a_class, student, remark):
    assert a_class[2][student]["score"] == "0" and remark in a_class[2][student]["remarks"]


def test_progress_and_what_is_no_submission_are_said(a_class):
    folder, printed, _ = a_class
    assert "5 students, 5 to be graded with VAE_DATASET=embedded VAE_EPOCHS=1" in printed
    assert "not a submission: notes.pdf" in printed and "ada [late]: 100 of 100" in printed
    assert "<li>notes.pdf</li>" in (folder / "grades" / "index.html").read_text()


def test_the_pages_need_no_network_and_show_verdicts_and_pictures(a_class):
    folder = a_class[0] / "grades"
    index, page = (folder / "index.html").read_text(), (folder / "ada [late].html").read_text()
    for html in (index, page):
        assert not re.search(r"(src|href)=[\"']?(https?:)?//", html)
    assert '<a href="ada%20%5Blate%5D.html">ada [late]</a>' in index
    assert page.count('class="verdict passed"') == len(POINTS) and "verdict failed" not in page
    assert page.count("data:image/png") == 2 * page.count("<figcaption>handed in") >= 10
    eve = (folder / "eve.html").read_text()
    assert 'class="verdict failed" id="check-gaussian"' in eve
    assert re.search(r"\d+ failed, \d+ passed", eve)


def test_a_students_markup_stays_text_and_a_missing_picture_leaves_a_gap(a_class):
    page = (a_class[0] / "grades" / "ada [late].html").read_text()
    assert page.count("&lt;script&gt;") >= 2 and "alert(1)" in page
    assert not re.search("<script|href=.javascript|<style>body", page)
    assert "this picture is missing" in page


def test_a_picture_that_is_none_and_a_text_with_markup_make_a_page():
    cell = code_cell("1", "own")
    cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": '"><script>'})]
    equation = nbformat.v4.new_markdown_cell(r"$\text{<style>x</style>}$ <meta http-equiv=refresh>")
    page = student_page("<b>", Result(cells=[cell, equation]), POINTS, "")
    assert not re.search("<script|<style>x|<meta http-equiv=.?refresh|<b></h1>", page)


# Without kernels ---------------------------------------------------------------------------------


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """Grades a class of notebooks that cannot be read, which is quick; what was printed."""
    for name in "abcdefg":
        (tmp_path / "class").mkdir(exist_ok=True)
        (tmp_path / "class" / f"{name}.ipynb").write_text("{")
    for name in ("VAE_DATASET", "VAE_EPOCHS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)

    def quick(capsys, **options):
        grade_class([tmp_path / "class"], tmp_path / "grades", 2, **options)
        return capsys.readouterr().out, rows_of(tmp_path)

    return quick


def test_only_what_changed_is_graded_again(quick, tmp_path, capsys, monkeypatch):
    assert "7 students, 7 to be graded" in quick(capsys)[0]
    assert "7 students, 0 to be graded" in quick(capsys)[0]
    (tmp_path / "class" / "a.ipynb").write_text("{{")
    shutil.move(tmp_path / "class" / "b.ipynb", tmp_path)
    printed, rows = quick(capsys)
    assert "6 students, 1 to be graded" in printed and set(rows) == set("abcdefg")
    assert "6 to be graded" in quick(capsys, regrade=True)[0]
    monkeypatch.setenv("VAE_EPOCHS", "3")
    assert "6 to be graded" in quick(capsys)[0]
    (tmp_path / "grades" / "rows" / "c.json").write_text("half a r")
    assert "1 to be graded" in quick(capsys)[0]


def test_a_page_of_an_earlier_version_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr("instructor.grading.gradebook.student_page", lambda *_: 1 / 0)
    (tmp_path / "rows").mkdir()
    (tmp_path / "a.html").write_text("an earlier version")
    book = GradeBook(tmp_path, {}, Limits())
    book.write_row("a", Submission("a"), Result())
    assert not (tmp_path / "a.html").exists()
    assert "the page could not be made: ZeroDivisionError" in book.row("a")["remarks"][0]


def test_parts_share_a_folder(quick, tmp_path, capsys):
    for k in (1, 2, 3):
        printed, rows = quick(capsys, part=f"{k}/3")
        assert f"{(7 - k) // 3 + 1} students" in printed
    assert set(rows) == set("abcdefg")


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_wrong_part_is_said(part, quick, capsys):
    with pytest.raises(ValueError, match=f"--part {part} must be K/N, such as 2/4"):
        quick(capsys, part=part)


@pytest.mark.parametrize("epochs", ["0", "five"])
def test_a_wrong_number_of_epochs_is_said(epochs, quick, capsys, monkeypatch):
    monkeypatch.setenv("VAE_EPOCHS", epochs)
    with pytest.raises(ValueError, match="VAE_EPOCHS must be 1 or more"):
        quick(capsys)


def test_a_process_that_dies_costs_its_row(quick, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("instructor.grading.gradebook.grade_here", os._exit)
    rows = quick(capsys)[1]
    assert {row["remarks"] for row in rows.values()} == {
        "it could not be graded: its process ended with 1"
    }


def test_cores_are_those_of_this_process():
    assert n_cores() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_a_formula_is_defused(text):
    assert no_formula(text) == f"'{text}" and no_formula(f"a{text}") == f"a{text}"


def test_the_points_are_those_of_the_checks():
    assert set(POINTS) == {id for id in given() if is_check(id)} and sum(POINTS.values()) == 100
