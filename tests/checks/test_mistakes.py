"""The notebook's checks against the catalogue: each mistake costs its own check, none cries wolf.

By default with one seed, and most mistakes are put to their own check alone: that takes a minute.
With VAE_SWEEP=1 the seeds are 0, 1 and 2, and all checks look at everything.
"""

import contextlib
import io
import os
import re
import sys
import traceback
import types
from functools import cache

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

import vae_digits
from instructor.assignment import is_check, is_graded
from instructor.blanks import REGION, blanked, with_texts
from instructor.handout import put_blanks
from instructor.source import defined_names
from mistakes import HELPERS, MISTAKES, RIGHT, Change
from project import NOTEBOOK, ROOT, TRAINING, changed
from vae_checks import Checks

SWEEP = "VAE_SWEEP" in os.environ


@cache
def cells():
    """Id and source of the code cells that a class is graded with, without magics."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if is_graded(cell)]
    sources = code_of(notebook)
    sources.pop("heldout-iwae", None)  # it only prints, and takes half a second
    return sources


def code_of(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return {cell.id: re.sub("(?m)^%.*", "", cell.source) for cell in code}


compiled = cache(compile)
CELL_OF = {name: id for id, source in cells().items() for name in [id, *defined_names(source)]}
CELL_OF[HELPERS] = HELPERS
IN_PICTURES = list(cells())[list(cells()).index(TRAINING) + 1 :]


@cache
def digits(n):
    """The embedded digits, or the first n of them."""
    d = vae_digits.load_digits(dataset="embedded")
    return d._replace(train_images=d.train_images[:n], train_labels=d.train_labels[:n])


class Classroom:
    """A notebook with changes, run cell by cell, on few digits, drawing nothing."""

    def __init__(self, seed, n_digits, changes, namespace):
        if "torch._dynamo" in sys.modules:  # names that it has put into another namespace
            torch.compiler.reset()
        self.digits, sources = digits(n_digits), {HELPERS: (ROOT / HELPERS).read_text(), **cells()}
        self.namespace = {"__name__": "__main__", **namespace}
        self.namespace["checks"] = Checks(self.namespace)
        for change in [Change("run-settings", "SEED = 2\n", f"SEED = {seed}\n"), *changes]:
            place = CELL_OF[change.place]
            if change.replaces is None:
                sources[place] = f"{sources[place]}\n{change.code}"
            else:
                sources[place] = changed(sources[place], change.replaces, change.code)
        self.helpers, self.cells = types.ModuleType("vae_helpers"), sources
        exec(compiled(sources.pop(HELPERS), HELPERS, "exec"), vars(self.helpers))

    def run(self, checks=None, after=None, until=None):
        """Run the cells after one and down to another, of the checks these or all.

        Returns the error of each cell that fails.
        """
        ids, errors = list(self.cells), {}
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
            patch.setitem(sys.modules, "vae_helpers", self.helpers)
            patch.setattr(vae_digits, "load_digits", lambda: self.digits)
            for id in ids[after and ids.index(after) + 1 : until and ids.index(until) + 1]:
                if is_check(id) and checks is not None and id not in checks:
                    continue
                try:
                    exec(compiled(self.cells[id], id, "exec"), self.namespace)
                except Exception as error:
                    errors[id] = error
                if "show_grid" in self.namespace:
                    self.namespace["show_grid"] = lambda images, titles: None  # a second each
                plt.close("all")
        return errors


@pytest.fixture(scope="module", autouse=True)
def surroundings(tmp_path_factory):
    """What the cells find outside a kernel: a shell to display in, a folder, settings."""
    with pytest.MonkeyPatch.context() as patch:
        plt.switch_backend("agg")
        InteractiveShell.instance()
        patch.chdir(tmp_path_factory.mktemp("folder"))
        patch.setenv("VAE_EPOCHS", "1")
        yield
    InteractiveShell.clear_instance()
    trained.cache_clear()


@cache
def trained(seed):
    """The names of the solved notebook after the training."""
    room = Classroom(seed, 2000, [], {})
    assert not room.run(checks=[], until=TRAINING)
    return room.namespace


def failures(seed, changes, checks=None, until="check-iwae", n_digits=600):
    """The error of each cell that fails, by default down to the last check of functions.

    The training and check-result are left out there: they take what the functions do.
    """
    torch.manual_seed(seed)
    place = CELL_OF[changes[0].place]
    if place in IN_PICTURES:
        before = [TRAINING, *IN_PICTURES][IN_PICTURES.index(place)]
        room = Classroom(seed, 2000, changes, trained(seed))
        last = checks[-1] if checks else None
        return room.run(checks=[], after=TRAINING, until=before) | room.run(checks, before, last)
    room = Classroom(seed, n_digits, changes, {})
    if until == "check-iwae":
        del room.cells[TRAINING], room.cells["check-result"]
        del room.cells["training-curve"]
    return room.run(checks, until=until)


def with_seeds(entries):
    """Each entry with its seeds, as pytest's parameters; skipped if its exercise is not there."""
    for number, entry in enumerate(entries):
        places = {change.place for change in entry.changes}
        is_there = places <= {*CELL_OF} and entry.check in {None, *cells()}
        marks = pytest.mark.skipif(not is_there, reason=f"the notebook lacks one of {places}")
        for seed in range(3) if SWEEP else [2]:
            name = f"{entry.name}, seed {seed}"
            yield pytest.param(seed, number, entry, id=name, marks=marks)


@pytest.mark.parametrize("seed, number, entry", [*with_seeds(MISTAKES)])
def test_a_mistake_costs_its_own_check_and_no_other(seed, number, entry):
    if SWEEP or number % 16 == 0:
        errors = failures(seed, entry.changes)
    else:
        errors = failures(seed, entry.changes, [entry.check], until=entry.check)
    assert [id for id in errors if is_check(id)] == [entry.check], errors
    error = errors[entry.check]
    # A check says what is wrong, or it was what it called that failed; it does not stumble itself.
    stumbled = "vae_checks" in traceback.extract_tb(error.__traceback__)[-1].filename
    assert isinstance(error, AssertionError) or not stumbled, f"not diagnosed: {error!r}"
    assert len(str(error)) > 20 and entry.says in str(error), str(error)


@pytest.mark.parametrize("seed, number, entry", [*with_seeds(RIGHT)])
def test_a_correct_solution_passes(seed, number, entry):
    if SWEEP or number % 8 == 0:
        assert not failures(seed, entry.changes, until=None, n_digits=None)
    elif number % 2 == 0:
        assert not failures(seed, entry.changes)
    else:
        ids = [*cells()]
        place = CELL_OF[entry.changes[0].place]
        below = [] if place == HELPERS else ids[ids.index(place) :]
        own = next(filter(is_check, below), "check-samplers")
        assert not failures(seed, entry.changes, until=own)


def test_a_network_made_anew_after_the_training_is_noticed():
    again = [
        Change("saved-parameters", None, "LATER = 1"),
        Change(TRAINING, None, "encoder = Encoder().to(DEVICE)"),
    ]
    errors = failures(2, again, ["check-result"], until="check-result", n_digits=None)
    assert "Was a cell that makes a network run again" in str(errors["check-result"])


def blanks():
    """Each blank of the hand-out as a change to the assignment: place, solution, blank."""
    notebook, helpers = nbformat.read(NOTEBOOK, as_version=4), (ROOT / HELPERS).read_text()
    texts = [text for _, text in with_texts(notebook)]
    put_blanks(notebook)
    blank_of = code_of(notebook)
    stubs = re.findall("(?m)^ +raise NotImpl.*", blanked(helpers, texts))
    solutions = [region[0] for region in REGION.finditer(helpers)]
    changes = [Change(id, source, blank_of[id]) for id, source in cells().items()]
    changes += map(Change, [HELPERS] * 4, solutions, stubs)
    return [change for change in changes if change.replaces != change.code]


@pytest.mark.parametrize("change", blanks(), ids=lambda change: change.place)
def test_a_blank_says_what_is_missing_and_where_its_text_stands(change):
    place, _, blank = change
    ids = ["check-samplers"] if place == HELPERS else [*cells()][[*cells()].index(place) :]
    until = next((id for id in ids if is_check(id)), ids[-1])
    errors = failures(2, [change], None if place == HELPERS else [until], until)
    said = str(next(iter(errors.values())))
    assert said in blank and re.search(r"not written yet: see '.+'(, \d)?\.$", said)
