"""What becomes of a notebook's cells, whatever an editor or a student made of them."""

import re
from copy import deepcopy

import nbformat
import pytest
from instructor.cells import ELBO, LAST_GRADED, LAST_PART, PICTURES, SCATTER, TRAINING, cell_of
from instructor.grading.problems import problems_of
from instructor.grading.restored import identify, put_back

from instructor.files import read_notebook
from project import NOTEBOOK, code_cell

BS, LOG_PRIOR = "9e7e46b0-8e84-11eb-1648-0f033e4e6068", "ce50c994-90af-11eb-3fc1-a3eea9cda1a2"
IMPORTS = "d402633e-8c18-11eb-119d-017ad87927b0"
GIVEN = {cell.id: cell for cell in read_notebook(NOTEBOOK).cells}


def graded(notebook):
    """The cells that the grader runs, by their ids, and its remarks on the notebook."""
    remarks = [identify(notebook), *problems_of(notebook)]
    cells = put_back(notebook)
    assert len({cell.id for cell in cells}) == len(cells)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell.id) for cell in notebook.cells)
    return {cell.id: cell for cell in cells}, [remark for remark in remarks if remark]


@pytest.fixture(scope="module")
def solved():
    """The assignment as a student hands it in, without the marks of solutions; its cells' ids."""
    notebook = read_notebook(NOTEBOOK)
    for cell in notebook.cells:
        cell.source = re.sub(r"(?m)^[ \t]*### (BEGIN|END) SOLUTION[ \t]*\n?", "", cell.source)
    return notebook, [*graded(notebook)[0]]


@pytest.fixture
def notebook(solved):
    return deepcopy(solved[0])


def position(notebook, id):
    return notebook.cells.index(cell_of(notebook, id))


def set_cell(id, **fields):
    return lambda notebook: cell_of(notebook, id).update(fields)


def each_cell(change):
    return lambda notebook: [change(number, cell) for number, cell in enumerate(notebook.cells)]


def lose_metadata(number, cell):
    del cell["id"]
    cell.metadata = {}


def write_elbo_differently(notebook):
    cell_of(notebook, next(iter(PICTURES))).source += "\n\nSee below."
    cell_of(notebook, ELBO).source = "def elbo(x):\n    return joint(x) - entropy(x)"
    each_cell(lose_metadata)(notebook)


def add_an_odd_id(notebook):  # which nbformat refuses
    notebook.cells.append(cell_of(notebook, BS).copy())
    notebook.cells[-1].id = "a b"


def copy_every_cell(notebook):
    notebook.cells = [cell.copy() for cell in notebook.cells for _ in range(2)]


def add(source, execution_count=99):
    cell = code_cell(source, "added", execution_count=execution_count)
    return lambda notebook: notebook.cells.append(cell.copy())


OWN_DENSITY = """
class Normal:
    def log_prob(self, z):
        self.distribution = z
        return self.distribution
def kl_div(p, q):
    return Normal().log_prob(p).sum()
Normal().kl_div = kl_div
"""
SVG = nbformat.v4.new_output("display_data", {"image/svg+xml": "<svg/>"})
LIBRARY = "from torch.distributions import Normal"
NAMED, BY_A_LIBRARY = "checks, in added, is the name that", "in added, is library-made probability"
CHANGED, LOST = "check-elbo is not as it is in the assignment", "its cells have lost their ids"
CHANGES = {  # what was done to the notebook, and the first remark
    "nothing": (lambda notebook: None, None),
    "check deleted": (lambda n: n.cells.pop(position(n, "check-elbo")), "check-elbo is missing"),
    "check edited": (set_cell("check-elbo", source="print('ok')"), CHANGED),
    "check tagged": (set_cell("check-elbo", metadata={"tags": ["nbval-ignore-output"]}), CHANGED),
    "check a text": (set_cell("check-elbo", cell_type="markdown"), "check-elbo is missing"),
    "check moved": (
        lambda n: n.cells.insert(0, n.cells.pop(position(n, "check-elbo"))),
        "the check cells are not in the order",
    ),
    "an id twice": (lambda n: cell_of(n, "check-elbo").update(id="check-joint"), None),
    "no ids": (each_cell(lambda _, cell: cell.pop("id")), LOST),
    "no ids, no metadata": (each_cell(lose_metadata), LOST),
    "elbo written differently": (write_elbo_differently, LOST),
    "every cell copied": (copy_every_cell, "checks, in own-7, is the name that the checks use"),
    "no outputs": (
        each_cell(lambda _, cell: cell.update(outputs=[], execution_count=None)),
        f"{IMPORTS} was not run, or lost its outputs, and so did",
    ),
    "no output": (set_cell(TRAINING, outputs=[]), f"{TRAINING} was not run, or lost its outputs"),
    "no picture": (
        lambda n: [cell_of(n, id).update(outputs=[]) for id in (SCATTER, "held-out-codes")],
        "picture 1, the digits in the latent space, is missing",
    ),
    "a picture in another format": (set_cell(LAST_GRADED, outputs=[SVG]), None),
    "no last picture": (set_cell(LAST_GRADED, outputs=[]), "picture 4, the latent space as a map"),
    "an odd id": (add_an_odd_id, None),
    "a class called checks": (add("if BS:\n    class checks:\n        elbo = print"), NAMED),
    "an import as checks": (add("from unittest.mock import Mock as checks"), NAMED),
    "a library, help": (add(f"{LIBRARY}\nBS?"), f"distributions, {BY_A_LIBRARY}"),
    "a library, magics": (add(f"%%time\n{LIBRARY}\nx = %time 1"), f"distributions, {BY_A_LIBRARY}"),
    "a library's sampler": (add("torch.bernoulli(x)"), f"bernoulli, {BY_A_LIBRARY}"),
    "own densities": (add(OWN_DENSITY), None),
    "a check called": (add("checks.bernoulli()"), None),
    "code of the checks": (add("from vae_checks import reference"), "added uses what the checks"),
    "an empty cell": (add("", execution_count=None), None),
    "a comment": (add("# to be continued"), None),
    "no Python": (add("def f(a, a):\n    pass"), None),
    "a long sum": (add(" + ".join(["1"] * 5000)), None),
}


@pytest.mark.parametrize("change, remark", CHANGES.values(), ids=CHANGES)
def test_each_cell_is_known_and_the_given_ones_are_put_back(notebook, solved, change, remark):
    change(notebook)
    cells, remarks = graded(notebook)
    assert remarks[0].startswith(remark) if remark else remarks == []
    found, correct = [id for id in cells if id in solved[1]], solved[1]
    assert [*GIVEN][len(correct)] == LAST_PART  # which is given, and takes long
    has_metadata = any(cell.metadata for cell in notebook.cells)
    assert found == [id for id in correct if has_metadata or id != SCATTER]  # it defines no name
    for id in [id for id in cells if id.startswith("check-")]:
        assert (cells[id].cell_type, cells[id].source) == ("code", GIVEN[id].source)


@pytest.mark.parametrize("where", ["check-encoder", "check-gradients"])
def test_an_earlier_attempt_in_an_added_cell_confuses_nobody(notebook, where):
    own = cell_of(notebook, ELBO).source
    attempt = code_cell("def elbo(x):\n    return x.mean()", "x")
    notebook.cells.insert(position(notebook, where) + 1, attempt)
    each_cell(lose_metadata)(notebook)
    cells = graded(notebook)[0]
    sources = [cell.source for cell in cells.values()]
    assert cells[ELBO].source == own
    assert (sources.index(attempt.source) < sources.index(own)) == (where == "check-encoder")


def test_added_cells_stay_in_their_places_and_edits_of_a_given_one_run_before_it(notebook):
    notebook.cells.insert(position(notebook, "check-elbo") + 1, code_cell("1 + 1", "second"))
    notebook.cells.insert(0, code_cell("import this", "first"))
    solution = cell_of(notebook, LOG_PRIOR).source
    cell_of(notebook, LOG_PRIOR).source = "# below"
    cell_of(notebook, "check-log-prior").source = f"{solution}\n\nchecks.log_prior();"
    cell_of(notebook, IMPORTS).source += "\nimport google.colab\nimport numpy"
    for id in (BS, "checks", TRAINING):  # the training is not run twice
        cell_of(notebook, id).source += "\nMY_OWN = 3"
    cells = graded(notebook)[0]
    ids = [*cells]
    assert ids[0] == "first" and ids[ids.index("second") - 1] == "check-elbo"
    edited = [f"edited-0-{IMPORTS}", f"edited-1-{IMPORTS}", f"edited-0-{BS}"]
    assert [id for id in ids if "edited" in id] == [*edited, "edited-0-check-log-prior"]
    assert cells["edited-0-check-log-prior"].source.startswith("def log_prior(z):")
    assert ids[ids.index("edited-0-check-log-prior") + 1] == "check-log-prior"
    assert cells[f"edited-0-{BS}"].source == "MY_OWN = 3"
    assert ids[ids.index(f"edited-0-{BS}") + 1] == BS
