"""What becomes of a notebook's cells, whatever an editor or a student made of them."""

import json
import re
from copy import deepcopy

import nbformat
import pytest

from instructor.assignment import assignment_cells, cell_of, is_to_write, names_of_cells
from instructor.files import read_notebook
from instructor.grading.submitted_cells import identify, put_back
from instructor.problems import problems_of
from project import ELBO, LAST_GRADED, NOTEBOOK, SCATTER, TRAINING, code_cell

BS, LOG_PRIOR = "9e7e46b0-8e84-11eb-1648-0f033e4e6068", "ce50c994-90af-11eb-3fc1-a3eea9cda1a2"
IMPORTS = "d402633e-8c18-11eb-119d-017ad87927b0"


def graded(notebook):
    """The cells that the grader runs, by their ids, and its remarks on the notebook."""
    remarks = [identify(notebook), *problems_of(notebook)]
    cells, _ = put_back(notebook)
    assert len({cell.id for cell in cells}) == len(cells)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell.id) for cell in notebook.cells)
    return {cell.id: cell for cell in cells}, [remark for remark in remarks if remark]


@pytest.fixture(scope="module")
def solved():
    """The assignment as a student hands it in, without the marks of solutions; its cells' ids."""
    notebook = read_notebook(NOTEBOOK)
    for cell in notebook.cells:
        cell.source = re.sub(r"(?m)^[ \t]*### (BEGIN|END) SOLUTION[ \t]*\n?", "", cell.source)
        if cell.cell_type == "code":
            cell.execution_count = 1
            cell.outputs = cell.outputs or [nbformat.v4.new_output("stream", text="done\n")]
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


def add_an_odd_id(notebook):  # which nbformat refuses
    notebook.cells.append(cell_of(notebook, BS).copy())
    notebook.cells[-1].id = "a b"


def move_the_picture(notebook):
    outputs = cell_of(notebook, SCATTER).outputs
    cell_of(notebook, SCATTER).outputs = []
    place = position(notebook, "held-out-codes") + 1
    notebook.cells.insert(place, code_cell("1", "own", outputs=outputs, execution_count=99))


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
QUESTIONS = "added (Before you hand in)"
NAMED = f"checks, in {QUESTIONS}, is the name that"
BY_A_LIBRARY = f"in {QUESTIONS}, is library-made probability"
CHANGED, LOST = "check-elbo is not as it is in the assignment", "its cells have lost their ids"
NOT_SHOWN = "not shown: Picture 1: the digits in the latent space"
CHANGES = {  # what was done to the notebook, and the first remark
    "nothing": (lambda notebook: None, None),
    "check deleted": (lambda n: n.cells.pop(position(n, "check-elbo")), "missing: check-elbo;"),
    "check edited": (set_cell("check-elbo", source="print('ok')"), CHANGED),
    "check tagged": (set_cell("check-elbo", metadata={"tags": ["nbval-ignore-output"]}), CHANGED),
    "check a text": (set_cell("check-elbo", cell_type="markdown"), "missing: check-elbo;"),
    "check moved": (
        lambda n: n.cells.insert(0, n.cells.pop(position(n, "check-elbo"))),
        "the check cells are not in the order",
    ),
    "an id twice": (lambda n: cell_of(n, "check-elbo").update(id="check-joint"), None),
    "no ids": (each_cell(lambda _, cell: cell.pop("id")), LOST),
    "no ids, no metadata": (each_cell(lose_metadata), LOST),
    "every cell copied": (
        copy_every_cell,
        "is the name that the checks use",
    ),
    "no outputs": (
        each_cell(lambda _, cell: cell.update(outputs=[], execution_count=None)),
        "was not run, or lost its outputs, and so did",
    ),
    "no output": (
        set_cell(TRAINING, outputs=[]),
        "history (Training) was not run, or lost its outputs:",
    ),
    "no picture but the given one": (set_cell(SCATTER, outputs=[]), NOT_SHOWN),
    "the picture in an added cell": (move_the_picture, None),
    "a picture in another format": (set_cell(LAST_GRADED, outputs=[SVG]), None),
    "no last picture": (
        set_cell(LAST_GRADED, outputs=[]),
        "not shown: Picture 4: the latent",
    ),
    "an odd id": (add_an_odd_id, None),
    "a class called checks": (add("if BS:\n    class checks:\n        elbo = print"), NAMED),
    "an import as checks": (add("from unittest.mock import Mock as checks"), NAMED),
    "a library, help": (add(f"{LIBRARY}\nBS?"), f"distributions, {BY_A_LIBRARY}"),
    "a library, magics": (add(f"%%time\n{LIBRARY}\nx = %time 1"), f"distributions, {BY_A_LIBRARY}"),
    "a library's sampler": (add("torch.bernoulli(x)"), f"bernoulli, {BY_A_LIBRARY}"),
    "own densities": (add(OWN_DENSITY), None),
    "a check called": (add("checks.bernoulli()"), None),
    "code of the checks": (add("from vae_checks import reference"), f"{QUESTIONS} uses what the"),
    "an empty cell": (add("", execution_count=None), None),
    "a comment": (add("# to be continued"), None),
    "no Python": (add("def f(a, a):\n    pass"), None),
    "a long sum": (add(" + ".join(["1"] * 5000)), None),
}


@pytest.mark.parametrize("change, remark", CHANGES.values(), ids=CHANGES)
def test_each_cell_is_known_and_the_given_ones_are_put_back(notebook, solved, change, remark):
    change(notebook)
    has_metadata = any(cell.metadata for cell in notebook.cells)
    cells, remarks = graded(notebook)
    assert remark in remarks[0] if remark else remarks == []
    known = [id for id in cells if id in solved[1]]
    written = [id for id in solved[1] if is_to_write(assignment_cells()[id])]
    lost = [] if has_metadata else written  # these are not known, and stay where they were
    assert known == [id for id in solved[1] if id not in lost]
    for id in [id for id in cells if id.startswith("check-")]:
        assert (cells[id].cell_type, cells[id].source) == ("code", assignment_cells()[id].source)


def test_without_ids_and_metadata_all_runs_in_the_order_in_which_it_stands(notebook, solved):
    sources = [cell.source for cell in graded(deepcopy(notebook))[0].values()]
    each_cell(lose_metadata)(notebook)
    cells, remarks = graded(notebook)
    assert [cell.source for cell in cells.values()] == sources
    assert [remark for remark in remarks if "its cells have lost their ids" in remark] == remarks


def test_what_is_not_graded_is_left_out_but_its_texts_and_a_check_in_it_are_graded(
    notebook, monkeypatch
):
    own, check = code_cell("1 + 1", "own"), code_cell("checks.more()", "check-more")
    last_check = "check-lattice"
    texts = [cell.id for cell in notebook.cells if cell.cell_type == "markdown"]
    cells = dict(assignment_cells())
    exercise = code_cell("more = 1", "more", metadata={"nbgrader": {"solution": True}})
    monkeypatch.setattr("instructor.grading.submitted_cells.assignment_cells", lambda: cells)
    cells |= {"more": exercise, "check-more": check}  # below the cells that are not graded
    notebook.cells.insert(position(notebook, "ladder") + 1, own)
    notebook.cells += [exercise.copy(), check.copy(), code_cell("2 + 2", "own-2")]
    identify(notebook)
    put, not_run = put_back(notebook)
    ids = [cell.id for cell in put]
    assert [id for id in ids if id in texts] == texts
    assert ids[ids.index(last_check) :].count("ladder") == 0
    assert not_run == {"own"} and "own" in ids
    assert ids[-3:] == ["more", "check-more", "own-2"]


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


def test_a_cell_is_named_so_that_one_finds_it(notebook):
    notebook.cells.insert(position(notebook, ELBO) + 1, code_cell("1", "own"))
    names = names_of_cells(notebook.cells)
    assert names[ELBO] == "elbo (The estimate and its gradient)"
    assert names["own"] == "own (The estimate and its gradient)"
    assert names["encoder"] == "encoder (One encoder for all digits)"
    assert not [name for name in names.values() if re.match("[0-9a-f]{8}-", name)]


ODD = {  # what was done to a cell as JSON, and what is said to be left out
    "outputs of a text": (0, {"outputs": []}, None),
    "a field of an editor": (1, {"inputCollapsed": True}, "cell 2 has a field 'inputCollapsed'"),
    "no data": (1, {"outputs": [{"output_type": "display_data", "data": None}]}, "an output of"),
    "an output of no form": (1, {"outputs": [{"a": 1}, 3]}, "an output of cell 2 that is not in"),
    "no outputs": (1, {"outputs": None, "execution_count": "x"}, None),
    "a tag with a comma": (1, {"metadata": {"tags": ["a,b", "c"]}}, "a tag of cell 2"),
    "no metadata": (1, {"metadata": None, "id": None}, None),
    "metadata of nbgrader's that are none": (1, {"metadata": {"nbgrader": 1}}, "nbgrader's"),
    "no text": (1, {"source": 3}, "cell 2 cannot be read: TypeError"),
    "lines": (1, {"source": ["a = 1\n", "b"]}, None),
    "half a character": (1, {"source": "'\ud800'"}, None),
    "an attachment that is none": (0, {"attachments": {"a.png": 3}}, None),
}


@pytest.mark.parametrize("place, fields, said", ODD.values(), ids=ODD)
def test_an_odd_cell_spoils_no_other(place, fields, said, tmp_path):
    cells = [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "x"},
        {"cell_type": "code", "id": "b", "metadata": {}, "source": "y", "outputs": []},
        {"cell_type": "code", "id": "c", "metadata": {}, "source": "z", "outputs": []},
    ]
    cells[place] |= fields
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    (tmp_path / "odd.ipynb").write_text(json.dumps(content))
    left_out = []
    notebook = read_notebook(tmp_path / "odd.ipynb", left_out)
    assert notebook.cells[-1].source == "z"
    assert all(isinstance(cell.source, str) for cell in notebook.cells)
    nbformat.write(notebook, tmp_path / "written.ipynb")
    if said:
        assert left_out[0].startswith(said)
        with pytest.raises(ValueError, match="is not in the notebook format"):
            read_notebook(tmp_path / "odd.ipynb")
    else:
        assert left_out == [] and read_notebook(tmp_path / "odd.ipynb").cells


@pytest.mark.parametrize("content, reason", [
    (b"", "it begins with ''"),
    (b"print(1)", "not with a brace"),
    (b'{"nbformat": 4}', "'cells'"),
    (b'{"nbformat": 4, "cells": [{}]}', "cell 1 cannot be read"),
    ("文".encode("utf-16"), "is in the encoding UTF-16"),
    ("{}".encode("utf-16"), "is in the encoding UTF-16: save it in UTF-8"),
    (b'{\n"\xff', "is not in UTF-8: see line 2"),
])  # fmt: skip
def test_a_file_that_is_no_notebook_says_why(content, reason, tmp_path):
    (tmp_path / "x.ipynb").write_bytes(content)
    with pytest.raises(ValueError, match=f"x.ipynb cannot be read as a notebook: .*{reason}"):
        read_notebook(tmp_path / "x.ipynb", [])
