"""Which cell is which, whatever an editor made of the ids, and given cells back in their places."""

import re

import pytest

from instructor.cells import ELBO, cell_of, is_check
from instructor.files import read_notebook
from instructor.grading.restored import given, identify, put_back
from project import NOTEBOOK, code_cell

LOG_PRIOR = "ce50c994-90af-11eb-3fc1-a3eea9cda1a2"


@pytest.fixture
def notebook():
    """The assignment as a student hands it in: solved, without the marks of solutions."""
    notebook = read_notebook(NOTEBOOK)
    for cell in notebook.cells:
        cell.source = re.sub(r"(?m)^[ \t]*### (BEGIN|END) SOLUTION[ \t]*\n?", "", cell.source)
    return notebook


def position(notebook, id):
    return notebook.cells.index(cell_of(notebook, id))


def delete_a_check(notebook):
    del notebook.cells[position(notebook, "check-elbo")]


def edit_a_check(notebook):
    cell_of(notebook, "check-elbo").source = "print('ok')"


def duplicate_a_check(notebook):
    notebook.cells.append(cell_of(notebook, "check-elbo").copy())


def move_a_check(notebook):
    notebook.cells.insert(0, notebook.cells.pop(position(notebook, "check-elbo")))


def turn_a_check_into_text(notebook):
    cell_of(notebook, "check-elbo").cell_type = "markdown"


def remove_ids(notebook):
    for cell in notebook.cells:
        del cell["id"]


def rewrite_ids(notebook):
    for number, cell in enumerate(notebook.cells):
        cell.id = f"new-{number}"


def remove_ids_and_metadata(notebook):
    for cell in notebook.cells:
        del cell["id"]
        cell.metadata = {}


def copy_every_cell(notebook):
    notebook.cells = [cell.copy() for cell in notebook.cells for _ in range(2)]


def write_elbo_differently(notebook):
    cell_of(notebook, ELBO).source = "def elbo(x):\n    return joint(x) - entropy(x)"
    remove_ids_and_metadata(notebook)


@pytest.mark.parametrize("change", [
    delete_a_check, edit_a_check, duplicate_a_check, move_a_check, turn_a_check_into_text,
    remove_ids, rewrite_ids, remove_ids_and_metadata, copy_every_cell, write_elbo_differently,
], ids=lambda change: change.__name__)  # fmt: skip
def test_given_cells_are_put_back_in_their_places(notebook, change):
    correct = [c.id for c in put_back(notebook)]
    change(notebook)
    remark = identify(notebook)
    assert bool(remark) == ("_ids" in change.__name__ or change is write_elbo_differently)
    cells = put_back(notebook)
    ids = [cell.id for cell in cells]
    assert len(set(ids)) == len(ids)
    plots = {"db18e7e2-90bb-11eb-18e5-87e4f094123d"}  # defines no name of its own
    lost = plots if "metadata" in change.__name__ or change is write_elbo_differently else set()
    assert [id for id in ids if id in correct] == [id for id in correct if id not in lost]
    for cell in cells:
        if is_check(cell.id):
            assert (cell.cell_type, cell.source) == ("code", given()[cell.id].source)


def test_ids_are_the_same_at_each_reading(tmp_path, notebook):
    path = tmp_path / "x.ipynb"
    text = NOTEBOOK.read_text().replace('"id": "check-elbo",', '"id": "check-joint",')
    path.write_text(text.replace('   "id": "check-log-prior",\n', ""))
    first, second = (read_notebook(path) for _ in range(2))
    identify(first), identify(second)
    assert [cell.id for cell in first.cells] == [cell.id for cell in second.cells]
    assert {"check-log-prior", "check-elbo", "check-joint"} <= {cell.id for cell in first.cells}


@pytest.mark.parametrize("where", ["check-encoder", "check-gradients"])
def test_an_earlier_attempt_in_an_added_cell_confuses_nobody(notebook, where):
    own = cell_of(notebook, ELBO).source
    attempt = code_cell("def elbo(x):\n    return x.mean()", "x")
    notebook.cells.insert(position(notebook, where) + 1, attempt)
    remove_ids_and_metadata(notebook)
    identify(notebook)
    cells = put_back(notebook)
    assert next(cell for cell in cells if cell.id == ELBO).source == own
    ids = [cell.id for cell in cells]
    place = next(i for i, cell in enumerate(cells) if cell.source == attempt.source)
    assert (place < ids.index(ELBO)) == (where == "check-encoder")


def test_what_a_student_added_stays_where_it_was(notebook):
    index = position(notebook, "check-elbo")
    notebook.cells.insert(index + 1, code_cell("1 + 1", "second"))
    notebook.cells.insert(0, code_cell("import this", "first"))
    identify(notebook)
    cells = put_back(notebook)
    assert cells[0].id == "first"
    ids = [cell.id for cell in cells]
    assert ids[ids.index("second") - 1] == "check-elbo"


def test_code_typed_into_a_checks_cell_runs_before_the_check(notebook):
    solution = cell_of(notebook, LOG_PRIOR).source
    cell_of(notebook, LOG_PRIOR).source = "# below"
    cell_of(notebook, "check-log-prior").source = f"{solution}\n\nchecks.log_prior()"
    identify(notebook)
    cells = {cell.id: cell.source for cell in put_back(notebook)}
    ids = [*cells]
    assert cells["edited-check-log-prior"].strip() == solution.strip()
    assert ids[ids.index("edited-check-log-prior") + 1] == "check-log-prior"


def test_an_edited_setting_runs_before_the_given_one(notebook):
    cell_of(notebook, "run-settings").source += "\nMY_OWN = 3"
    ids = [cell.id for cell in put_back(notebook)]
    assert ids[ids.index("run-settings") - 1] == "edited-run-settings"
    assert not {"edited-checks", "edited-check-elbo"} & set(ids)
