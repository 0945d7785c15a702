"""The notebook's checks against typical mistakes: each is caught where it is made, none cries wolf.

The cells run in this process, in order, with one mistake in them. The checks above the mistake are
left out, and no grids are drawn; the training is one epoch on the embedded digits. A blank of the
hand-out is a mistake, too.
"""

import os
import re
import sys
import tempfile
import traceback
import types
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

import vae_digits
from instructor.cells import LAST_GRADED
from instructor.handout import REGION, make_handout
from mistakes import HELPERS, MISTAKES, RIGHT
from project import NOTEBOOK, ROOT

SEED = os.environ.get("VAE_TEST_SEED", "2")
IMPORTS = "d402633e-8c18-11eb-119d-017ad87927b0"


@pytest.fixture(scope="module", autouse=True)
def surroundings(tmp_path_factory):
    """What the cells find outside a kernel: a shell to display in, a folder, settings."""
    with pytest.MonkeyPatch.context() as patch:
        plt.switch_backend("agg")
        InteractiveShell.instance()
        patch.chdir(tmp_path_factory.mktemp("folder"))
        patch.setenv("VAE_EPOCHS", "1")
        digits = vae_digits.load_digits(dataset="embedded")
        patch.setattr(vae_digits, "load_digits", lambda: digits)
        yield
    InteractiveShell.clear_instance()


@pytest.fixture(scope="module")
def cells():
    """Id and source of the code cells, with the seed that is tested."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    sources = {c.id: c.source for c in notebook.cells if c.cell_type == "code"}
    assert "SEED = 2\n" in sources["run-settings"]
    sources["run-settings"] = sources["run-settings"].replace("SEED = 2\n", f"SEED = {SEED}\n")
    sources[IMPORTS] = re.sub("(?m)^%.*", "", sources[IMPORTS])  # magics
    return sources


def changed(source, right, wrong):
    assert source.count(right) == 1, f"{right!r} is there {source.count(right)} times"
    return source.replace(right, wrong)


def first_failure(cells, place, right, wrong, monkeypatch):
    """Run the cells with the change: the id of the one that fails and its error, or two Nones."""
    cells = dict(cells)
    if place == HELPERS:
        source = changed((ROOT / HELPERS).read_text(), right, wrong)
        module = types.ModuleType("vae_helpers")
        module.__file__ = str(ROOT / HELPERS)
        exec(compile(source, HELPERS, "exec"), module.__dict__)
        monkeypatch.setitem(sys.modules, "vae_helpers", module)
        place = "check-bernoulli"
    else:
        cells[place] = changed(cells[place], right, wrong)
    namespace = {"__name__": "__main__"}
    above = True
    for id, source in cells.items():
        above = above and id != place
        if id.startswith("check-") and above:
            continue
        try:
            exec(compile(source, id, "exec"), namespace)
        except Exception as error:
            return id, error
        if "show_grid" in namespace:
            namespace["show_grid"] = lambda images, titles: None  # a second each
        plt.close("all")
        if id == LAST_GRADED:  # the last part is given, checks nothing, and takes a minute
            break
    return None, None


@pytest.mark.parametrize("name, place, right, wrong, check", MISTAKES, ids=[m[0] for m in MISTAKES])
def test_mistake_is_caught(name, place, right, wrong, check, cells, monkeypatch, record_table):
    torch.manual_seed(int(SEED))
    failed, error = first_failure(cells, place, right, wrong, monkeypatch)
    record_table(name, failed, error)
    assert failed == check, f"caught by {failed}: {error!r}"
    # A check says what is wrong, or it was what it called that failed; it does not stumble itself.
    stumbled = "vae_checks" in traceback.extract_tb(error.__traceback__)[-1].filename
    assert isinstance(error, AssertionError) or not stumbled, f"not diagnosed: {error!r}"
    assert len(str(error)) > 20 and DIAGNOSES.get(name, "") in str(error)


# What some mistakes must be called: those whose diagnosis once led astray.
DIAGNOSES = {
    "fixed threshold": "fixed threshold, not with uniform noise",
    "torch.normal": "sample_gaussian uses normal, which is library-made probability",
    "torch.bernoulli": "sample_bernoulli uses bernoulli, which is library-made probability",
    "cross-entropy of a library": "log_likelihood uses binary_cross_entropy_with_logits, which",
    "a library's loss under another name": "log_likelihood uses binary_cross_entropy_with_logits",
    "a library's density": "log_q uses distributions, which is library-made probability",
    "a plain function": "decoder must be a module",
    "encoder a plain function": "encoder must be a module",
    "encoder a class": "it is a class: make an object of it",
    "encoder returns sigma": "q_log_std is never negative: is it the exp or softplus",
    "encoder returns softplus": "q_log_std is never negative: is it the exp or softplus",
    "train ELBO alone in the history": "must return a list with a pair of numbers for each epoch",
    "batches indexed, which they cannot be": "'Batches' object is not subscriptable",
    "not permuted": "are the dimensions not permuted before reshaping?",
    "tiles transposed": "is each tile transposed?",
    "gradient in a picture": "inside `with torch.no_grad():`",
    "bytes for the means in the picture": "are these bytes, where numbers from 0 to 1",
}


@pytest.mark.parametrize("name, place, right, wrong", RIGHT, ids=[r[0] for r in RIGHT])
def test_right_solution_passes(name, place, right, wrong, cells, monkeypatch):
    failed, error = first_failure(cells, place, right, wrong, monkeypatch)
    assert failed is None, f"refused by {failed}: {error!r}"


def blanks():
    """Each blank of the hand-out as a change to the assignment, and the cell where it must fail."""
    with tempfile.TemporaryDirectory() as folder:
        handout = Path(folder, "handout")
        make_handout(handout)
        handed_out = nbformat.read(handout / NOTEBOOK.name, as_version=4).cells
        stubs = re.findall("(?m)^ +raise NotImpl.*", (handout / HELPERS).read_text())
    solved = nbformat.read(NOTEBOOK, as_version=4).cells
    for i, (cell, blank) in enumerate(zip(solved, handed_out, strict=True)):
        if cell.cell_type == "code" and cell.source != blank.source:
            fails = cell.id
            if "\n    raise NotImpl" in blank.source:  # a function fails when the check calls it
                fails = next(c.id for c in solved[i:] if c.id.startswith("check-"))
            yield cell.id, cell.source, blank.source, fails
    solutions = [region[0] for region in REGION.finditer((ROOT / HELPERS).read_text())]
    checks = ["check-bernoulli", "check-gaussian", "check-samplers", "check-samplers"]
    yield from zip([HELPERS] * 4, solutions, stubs, checks, strict=True)


BLANKS = [(*blank, re.search(r'Error\("(.*)"\)', blank[2])[1]) for blank in blanks()]


@pytest.mark.parametrize("place, right, blank, cell, message", BLANKS, ids=[b[4] for b in BLANKS])
def test_blank_says_what_is_missing(place, right, blank, cell, message, cells, monkeypatch):
    failed, error = first_failure(cells, place, right, blank, monkeypatch)
    assert (failed, str(error)) == (cell, message)


def test_each_blank_says_where_its_text_stands():
    messages = {message: blank for _, _, blank, _, message in BLANKS}
    assert len(messages) == len(BLANKS) == 27
    for message in (
        "sample_gaussian is not written yet: see 'A stable Bernoulli density', 3.",
        "log_prior is not written yet: see 'Implementing the model', 1.",
        "train is not written yet: see 'Training'.",
        "lattice is not written yet: see 'Picture 4: the latent space as a map', 1.",
        "the plot is not written yet: see 'Picture 3: reconstructions', 2.",
    ):
        assert message in messages
    assert messages[message].startswith("# Step 2: the plot\nraise NotImplementedError(")


@pytest.fixture(scope="module")
def record_table():
    """Collects and at the end prints the table: mistake, caught by, message."""
    rows = []
    # Not the error itself: it keeps alive all that was there when it was raised.
    yield lambda name, failed, error: rows.append((name, failed, str(error).splitlines()[0]))
    print(f"\n{'mistake':45} {'caught by':24} message")
    for name, failed, message in rows:
        print(f"{name:45} {failed or 'NOTHING':24} {message}")
