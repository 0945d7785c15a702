"""The assignment in nbgrader, as it is: generated, and graded as the checks would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from instructor.assignment import cell_of
from instructor.files import read_notebook
from instructor.handout import make_handout
from project import NOTEBOOK, ROOT, changed, small_environment

api = pytest.importorskip("nbgrader.api", reason="nbgrader is in instructor/requirements.txt")
pytestmark = pytest.mark.nbgrader

# The helpers come with each submission; all other files are those of the course.
CONFIG = """
c = get_config()
c.CourseDirectory.course_id = "course"
c.Autograde.exclude_overwriting = {"vae": ["vae_helpers.py"]}
"""


def nbgrader(folder, *arguments):
    """Run nbgrader, which starts alembic, which lies beside this Python, by its name."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = small_environment(VAE_EPOCHS="1", PYTHONPATH="", PATH=path)
    command = [sys.executable, "-m", "nbgrader", *arguments]
    result = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course whose source is the hand-out with the committed notebook in it."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "nbgrader_config.py").write_text(CONFIG)
    make_handout(folder / "source" / "vae")
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


def test_right_work_has_full_marks_and_a_mistake_costs_its_check(course):
    notebook, helpers = read_notebook(NOTEBOOK), (ROOT / "vae_helpers.py").read_text()
    assert sum(grades(course, "right", notebook, helpers).values()) == 100
    cell = cell_of(notebook, "ce50c994-90af-11eb-3fc1-a3eea9cda1a2")
    cell.source = changed(cell.source, ".sum(dim=1)", ".mean(dim=1)")
    helpers = changed(helpers, " - log_std - ", " + log_std - ")
    found = grades(course, "wrong", notebook, helpers)
    assert found["check-gaussian"] == found["check-log-prior"] == 0  # and training suffers
    assert found["check-bernoulli"] == 9 and found["check-decoder"] == 6


def test_what_it_generates_gets_nothing(course):
    notebook = read_notebook(course / "release" / "vae" / NOTEBOOK.name)
    helpers = (course / "release" / "vae" / "vae_helpers.py").read_text()
    assert set(grades(course, "blank", notebook, helpers).values()) == {0}
