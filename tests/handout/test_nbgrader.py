"""The assignment in nbgrader, as it is: generated, and graded as the checks would."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from instructor.cells import cell_of
from instructor.files import read_notebook
from instructor.handout import ANSWER, make_handout
from project import NOTEBOOK, ROOT, SMALL_RUN, changed

api = pytest.importorskip("nbgrader.api", reason="nbgrader is in instructor/requirements.txt")
pytestmark = pytest.mark.nbgrader

# The helpers come with each submission; all other files are those of the course.
CONFIG = """
c = get_config()
c.CourseDirectory.course_id = "course"
c.Autograde.exclude_overwriting = {"vae": ["vae_helpers.py"]}
"""
WRONG = {  # in a cell of the notebook, and in one of the last ones; one is in the helpers, too
    "ce50c994-90af-11eb-3fc1-a3eea9cda1a2": (".sum(dim=1)", ".mean(dim=1)"),
    "3a0e1d5a-90c2-11eb-16a7-8f9de1ea09e4": ("ticks.flip(0)", "ticks"),
}


def nbgrader(folder, *arguments):
    """Run nbgrader, which starts alembic, which lies beside this Python, by its name."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run = SMALL_RUN | {"VAE_EPOCHS": "1", "PYTHONPATH": "", "PATH": path}
    command = [sys.executable, "-m", "nbgrader", *arguments]
    result = subprocess.run(
        command, cwd=folder, env={**os.environ, **run}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course whose source is the hand-out with the committed notebook in it."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "nbgrader_config.py").write_text(CONFIG)
    make_handout(folder / "handout")
    shutil.copytree(folder / "handout", folder / "source" / "vae")
    shutil.copy(NOTEBOOK, folder / "source" / "vae")
    nbgrader(folder, "generate_assignment", "vae")
    return folder


def grades(course, student, notebook, helpers):
    """nbgrader's points for each check of a student who hands this in."""
    folder = course / "submitted" / student / "vae"
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / NOTEBOOK.name)
    (folder / "vae_helpers.py").write_text(helpers)
    nbgrader(course, "autograde", "vae", "--create", "--student", student)
    with api.Gradebook(f"sqlite:///{course}/gradebook.db", "course") as gradebook:
        submission = gradebook.find_submission("vae", student)
        grades = {grade.name: grade.score for grade in submission.notebooks[0].grades}
        assert (submission.max_score, submission.score) == (100, sum(grades.values()))
    return {id: score for id, score in grades.items() if id.startswith("check-")}


def test_what_it_generates_holds_no_solution(course):
    released = read_notebook(course / "release" / "vae" / NOTEBOOK.name)
    handed_out = read_notebook(course / "handout" / NOTEBOOK.name)
    for cell, ours in zip(released.cells, handed_out.cells, strict=True):
        if not cell.metadata.get("nbgrader", {}).get("solution"):
            assert cell.source == ours.source
        elif cell.cell_type == "markdown":
            assert (cell.source, ours.source) == ("YOUR ANSWER HERE", ANSWER)
        else:
            theirs = re.sub("# YOUR CODE HERE\n *raise NotImpl.*", "BLANK", cell.source)
            assert theirs == re.sub("(# Step .*\n)?raise NotImpl.*", "BLANK", ours.source)


def test_right_work_has_full_marks_and_a_mistake_costs_its_check(course):
    notebook, helpers = read_notebook(NOTEBOOK), (ROOT / "vae_helpers.py").read_text()
    assert sum(grades(course, "right", notebook, helpers).values()) == 100
    for id, change in WRONG.items():
        cell_of(notebook, id).source = changed(cell_of(notebook, id).source, *change)
    helpers = changed(helpers, " - log_std - ", " + log_std - ")
    found = grades(course, "wrong", notebook, helpers)
    lost = {"check-gaussian", "check-log-prior", "check-lattice"}
    assert lost <= {id for id, score in found.items() if not score}  # training suffers, too
    assert found["check-bernoulli"] == 10 and found["check-decoder"] == 6


def test_an_untouched_handout_gets_nothing(course):
    notebook = read_notebook(course / "handout" / NOTEBOOK.name)
    helpers = (course / "handout" / "vae_helpers.py").read_text()
    assert set(grades(course, "blank", notebook, helpers).values()) == {0}
