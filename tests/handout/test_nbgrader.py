"""The assignment in nbgrader, as it is: generated, validated, and graded as the checks would."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from instructor.cells import LAST_GRADED
from instructor.handout import ANSWER, make_handout
from project import NOTEBOOK, ROOT, SMALL_RUN

api = pytest.importorskip("nbgrader.api", reason="nbgrader is in instructor/requirements.txt")
pytestmark = pytest.mark.nbgrader

# The helpers come with each submission; all other files are those of the course.
CONFIG = """
c = get_config()
c.CourseDirectory.course_id = "course"
c.Autograde.exclude_overwriting = {"vae": ["vae_helpers.py"]}
"""


@pytest.fixture(scope="module", autouse=True)
def alembic_on_path():
    """nbgrader starts alembic, which lies beside this Python, by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        yield


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


def nbgrader(folder, *arguments):
    """What nbgrader says; it must not fail."""
    environment = {**os.environ, **SMALL_RUN, "VAE_EPOCHS": "1", "PYTHONPATH": ""}
    command = [sys.executable, "-m", "nbgrader", *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def submit(course, student, changes):
    """Hand in the solved assignment but for these changes: file or cell, right, wrong."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    helpers = (ROOT / "vae_helpers.py").read_text()
    for place, right, wrong in changes:
        if place == "vae_helpers.py":
            helpers = changed(helpers, right, wrong)
        else:
            cell = next(cell for cell in notebook.cells if cell.id == place)
            cell.source = changed(cell.source, right, wrong)
    folder = course / "submitted" / student / "vae"
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / NOTEBOOK.name)
    (folder / "vae_helpers.py").write_text(helpers)
    return folder


def changed(source, right, wrong):
    assert source.count(right) == 1
    return source.replace(right, wrong)


def grades(course, student):
    """nbgrader's points for each check of a student."""
    nbgrader(course, "autograde", "vae", "--create", "--student", student)
    with api.Gradebook(f"sqlite:///{course}/gradebook.db", "course") as gradebook:
        submission = gradebook.find_submission("vae", student)
        grades = {grade.name: grade.score for grade in submission.notebooks[0].grades}
        assert (submission.max_score, submission.score) == (100, sum(grades.values()))
    return {id: score for id, score in grades.items() if id.startswith("check-")}


def points_of_passed_checks(submission, kernel_for):
    """The points of each check of a submission, counted by running its cells without nbgrader."""
    points = {}
    notebook = nbformat.read(submission / NOTEBOOK.name, as_version=4)
    with kernel_for(notebook, VAE_EPOCHS="1", PYTHONPATH=f"{submission}:{ROOT}") as kernel:
        graded = kernel.cells[: kernel.index[LAST_GRADED] + 1]
        for cell in [cell for cell in graded if cell.cell_type == "code"]:
            try:
                kernel.run(cell.id)
                passed = True
            except CellExecutionError:
                passed = False
            if cell.id.startswith("check-"):
                points[cell.id] = passed * cell.metadata.nbgrader.points
    return points


def test_the_committed_notebook_is_valid(course):
    folder = course / "validated"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "MNIST"))
    assert "Success" in nbgrader(folder, "validate", NOTEBOOK.name)


def test_what_it_generates_holds_no_solution(course):
    released = nbformat.read(course / "release" / "vae" / NOTEBOOK.name, as_version=4)
    handed_out = nbformat.read(course / "handout" / NOTEBOOK.name, as_version=4)
    for cell, ours in zip(released.cells, handed_out.cells, strict=True):
        if not cell.metadata.get("nbgrader", {}).get("solution"):
            assert cell.source == ours.source
        elif cell.cell_type == "markdown":
            assert (cell.source, ours.source) == ("YOUR ANSWER HERE", ANSWER)
        else:
            theirs = re.sub(
                "# YOUR CODE HERE\n *raise NotImplementedError\\(\\)", "BLANK", cell.source
            )
            assert theirs == re.sub("(# Step .*\n)?raise NotImpl.*", "BLANK", ours.source)


WRONG = [  # in the helpers, in a cell of the notebook, and in one of the last ones
    ("vae_helpers.py", " - log_std - ", " + log_std - "),
    ("ce50c994-90af-11eb-3fc1-a3eea9cda1a2", ".sum(dim=1)", ".mean(dim=1)"),
    ("3a0e1d5a-90c2-11eb-16a7-8f9de1ea09e4", "ticks.flip(0)", "ticks"),
]


@pytest.mark.parametrize("changes, lost", [
    ([], set()),
    (WRONG, {"check-gaussian", "check-log-prior", "check-lattice"}),
], ids=["right", "wrong"])  # fmt: skip
def test_it_gives_the_points_of_the_checks_that_pass(changes, lost, course, kernel_for, request):
    student = request.node.callspec.id
    submission = submit(course, student, changes)
    found = grades(course, student)
    assert found == points_of_passed_checks(submission, kernel_for)
    assert lost <= {id for id in found if not found[id]} and found["check-bernoulli"] == 10
    assert changes or sum(found.values()) == 100


def test_an_untouched_handout_gets_nothing(course):
    shutil.copytree(course / "handout", course / "submitted" / "blank" / "vae")
    assert set(grades(course, "blank").values()) == {0}
