"""`python -m instructor check`: the assignment agrees with itself, and what half a change says."""

from copy import deepcopy

import pytest

from instructor.assignment import HELPERS, cell_of
from instructor.check import problems_of_edition, require_consistent
from project import ROOT, changed

ELBO = "ccf226b8-90b6-11eb-15a2-d30c9e27aebb"
SCATTER = "db18e7e2-90bb-11eb-18e5-87e4f094123d"


def source(id, right, wrong):
    """A change of one piece of a cell's source."""

    def change(notebook):
        cell = cell_of(notebook, id)
        cell.source = changed(cell.source, right, wrong)

    return change


def role(id, key, value):
    """A change of one entry of nbgrader's metadata."""

    def change(notebook):
        cell_of(notebook, id).metadata.nbgrader[key] = value

    return change


def tags(id, *tags):
    def change(notebook):
        cell_of(notebook, id).metadata["tags"] = [*tags]

    return change


def attribute(id, name, value):
    def change(notebook):
        cell_of(notebook, id)[name] = value

    return change


def no_metadata(notebook):
    cell_of(notebook, "check-elbo").metadata = {}


def not_a_solution(notebook):
    cell = cell_of(notebook, ELBO)
    cell.source, cell.metadata = "def elbo(x):\n    return x.mean()", {}


def no_ids(notebook):
    for cell in notebook.cells:
        del cell["id"]


def no_elbo_exercise(notebook):
    gone = (ELBO, "check-elbo", "check-gradients")
    notebook.cells = [cell for cell in notebook.cells if cell.id not in gone]


def check_twice(notebook):
    again = deepcopy(cell_of(notebook, "check-elbo"))
    again.id = again.metadata.nbgrader.grade_id = "check-again"
    notebook.cells.append(again)


def other_ids(notebook):
    """As after a tool that keeps metadata, but not ids."""
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"


CHANGES = {
    "ids lost": (no_ids, "cells have lost their ids"),
    "other ids": (other_ids, "other ids than nbgrader's `grade_id`: cell-1 for d402633e-"),
    "an id twice": (attribute("encoder", "id", ELBO), f"{ELBO} is the id of 2 cells"),
    "points in the metadata alone": (
        role("check-elbo", "points", 12),
        "elbo: 10 points in the table of the first cell, 12 in the check's metadata",
    ),
    "points in the table alone": (
        lambda notebook: source(notebook.cells[0].id, "`elbo` 10", "`elbo` 12")(notebook),
        "elbo: 12 points in the table of the first cell, 10 in the check's metadata",
    ),
    "the total": (
        lambda notebook: source(notebook.cells[0].id, "| 100 |", "| 101 |")(notebook),
        "add up to 100, not 101",
    ),
    "the title": (
        lambda notebook: source(notebook.cells[0].id, "# Assignment 3", "Assignment 3")(notebook),
        "the first cell has no title",
    ),
    "an exercise removed": (
        no_elbo_exercise,
        "elbo: 10 points in the table of the first cell, but there is no such check",
    ),
    "a solution without marks and metadata": (
        not_a_solution,
        "elbo is a task in the table of the first cell, but no blank defines it",
    ),
    "a check's metadata lost": (no_metadata, "it is a check, but its metadata do not say so"),
    "a check that does not exist": (
        source("check-elbo", "checks.elbo()", "checks.elboo()"),
        "does not call a check of vae_checks: 'checks.elboo()'",
    ),
    "points among the ungraded": (
        tags("check-elbo", "not-graded"),
        "it has points and the tag `not-graded`",
    ),
    "a check that is not locked": (role("check-elbo", "locked", False), "do not lock it"),
    "a check twice": (check_twice, "checks.elbo() stands in 2 cells"),
    "marks without metadata": (role(ELBO, "solution", False), "`solution`, disagree"),
    "metadata without marks": (
        attribute(ELBO, "source", "def elbo(x):\n    return x.mean()"),
        "`solution`, disagree",
    ),
    "half of the marks": (
        source(ELBO, "    ### END SOLUTION", ""),
        "each ### BEGIN SOLUTION needs its ### END SOLUTION",
    ),
    "a text that does not ask": (
        source("the-estimate", "`elbo(x)`**, this", "`estimate(x)`**, this"),
        "no numbered item of the text above asks for elbo",
    ),
    "a text without items": (
        source("the-estimate", "1. Write **`elbo(x)`**", "Write **`elbo(x)`**"),
        "asks for elbo",
    ),
    "two trainings": (tags("encoder", "training"), "2 cells have the tag `training`"),
    "a picture that is not stored": (
        attribute(SCATTER, "outputs", []),
        "`picture`, but stores none",
    ),
    "a cell that was not executed": (
        attribute(ELBO, "execution_count", None),
        "elbo (The estimate and its gradient): it was not executed",
    ),
    "a check's output": (attribute("check-elbo", "outputs", []), "its outputs are missing"),
    "an attachment": (
        attribute("2093080c-8e85-11eb-1cdb-b35eb40e3949", "attachments", {}),
        "the picture model.png is not attached to it",
    ),
}  # fmt: skip


def test_the_assignment_agrees_with_itself():
    require_consistent()


@pytest.mark.edition
def test_what_this_edition_consists_of():
    assert require_consistent() == "18 checks, 100 points, 29 blanks, 4 pictures"


@pytest.mark.parametrize("change, says", CHANGES.values(), ids=CHANGES)
def test_a_half_done_change_is_refused_with_its_place(change, says, notebook):
    change(notebook)
    problems = [*problems_of_edition(notebook, (ROOT / HELPERS).read_text())]
    assert any(says in problem for problem in problems), problems
    assert all("\n" not in problem for problem in problems)


def test_a_helper_that_no_text_asks_for_is_refused(notebook):
    helpers = (ROOT / HELPERS).read_text()
    helpers = changed(helpers, "def sample_bernoulli(", "def draw_bernoulli(")
    assert [*problems_of_edition(notebook, helpers)] == [
        "sample_bernoulli is a task in the table of the first cell, but no blank defines it",
        "vae_helpers.py: no numbered item of the text above asks for draw_bernoulli",
    ]
