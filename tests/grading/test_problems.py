"""What can be seen of a handed-in notebook without running it."""

import pytest

from instructor.cells import SCATTER, TRAINING, cell_of
from instructor.files import read_notebook
from instructor.grading.problems import problems_of
from project import NOTEBOOK, code_cell

BS = "9e7e46b0-8e84-11eb-1648-0f033e4e6068"
LIBRARY = "from torch.distributions import Normal"
OWN_DENSITY = """
class Normal:
    def log_prob(self, z):
        self.distribution = z
        return self.distribution
def kl_div(p, q):
    return Normal().log_prob(p).sum()
Normal().kl_div = kl_div
"""


@pytest.fixture
def notebook():
    return read_notebook(NOTEBOOK)


def test_nothing_is_wrong_with_the_assignment_itself(notebook):
    assert [*problems_of(notebook)] == []


def strip_outputs(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def strip_one_output(notebook):
    cell_of(notebook, TRAINING).outputs = []


def remove_check(notebook):
    notebook.cells.remove(cell_of(notebook, "check-elbo"))


def change_check(notebook):
    cell_of(notebook, "check-elbo").source = "print('ok')"


def tag_check(notebook):
    cell_of(notebook, "check-elbo").metadata["tags"] = ["nbval-ignore-output"]


def move_check(notebook):
    cell = cell_of(notebook, "check-elbo")
    notebook.cells.remove(cell)
    notebook.cells.append(cell)


def remove_picture(notebook):
    for id in (SCATTER, "held-out-codes"):
        cell_of(notebook, id).outputs = []


def add(source):
    def change(notebook):
        cell_of(notebook, BS).source += f"\n{source}"

    return change


def time_a_library(notebook):
    cell = cell_of(notebook, BS)
    cell.source = f"%%time\n{cell.source}\n{LIBRARY}\nx = %time 1"


@pytest.mark.parametrize("change, problem", [
    (strip_outputs, "d402633e-8c18-11eb-119d-017ad87927b0 was not run, or lost its outputs"),
    (strip_one_output, f"{TRAINING} was not run, or lost its outputs"),
    (remove_check, "check-elbo is missing"),
    (change_check, "check-elbo is not as it is in the assignment"),
    (tag_check, "check-elbo is not as it is in the assignment"),
    (move_check, "the check cells are not in the order of the assignment"),
    (add("if BS:\n    class checks:\n        elbo = print"), f"checks, in {BS}, is the name that"),
    (add("from unittest.mock import Mock as checks"), f"checks, in {BS}, is the name that"),
    (add(LIBRARY), f"distributions, in {BS}, is library-made probability"),
    (add(f"{LIBRARY}\nBS?"), f"distributions, in {BS}, is library-made probability"),
    (add("torch.bernoulli(x)"), f"bernoulli, in {BS}, is library-made probability"),
    (time_a_library, f"distributions, in {BS}, is library-made probability"),
    (remove_picture, "picture 1, the digits in the latent space, is missing"),
])  # fmt: skip
def test_a_notebook_that_was_tampered_with_is_seen(notebook, change, problem):
    change(notebook)
    assert [*problems_of(notebook)][0].startswith(problem)


@pytest.mark.parametrize(
    "source",
    ["# to be continued", "def f(a, a):\n    pass", "1 +", " + ".join(["1"] * 5000), OWN_DENSITY],
    ids=["empty", "no Python", "broken", "long", "own density"],
)
def test_what_is_no_problem(source, notebook):
    notebook.cells.append(code_cell(source, "scratch", execution_count=99))
    assert [*problems_of(notebook)] == []
