"""The notebook's checks against the catalogue: each mistake costs its own check, none cries wolf.

By default with one seed, and a mistake is put to its own check alone, those in DIAGNOSES to all.
With VAE_SWEEP=1 the seeds are 0 to 9 for the objective, 0 to 2 for others; with seed 0 all look.
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
from instructor.cells import LAST_GRADED, TRAINING, is_check
from instructor.grading.source import defined_names
from instructor.handout import ITEM, REGION, blanked, notebook_with_blanks
from mistakes import HELPERS, MISTAKES, RIGHT
from project import NOTEBOOK, ROOT, changed
from vae_checks import Checks

SWEEP = "VAE_SWEEP" in os.environ


@cache
def cells():
    """Id and source of the code cells down to the last one that is graded, without magics."""
    sources = code_of(nbformat.read(NOTEBOOK, as_version=4))
    ids = list(sources)
    return {id: sources[id] for id in ids[: ids.index(LAST_GRADED) + 1]}


def code_of(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return {cell.id: re.sub("(?m)^%.*", "", cell.source) for cell in code}


compiled = cache(compile)
CELL_OF = {name: id for id, source in cells().items() for name in [id, *defined_names(source)]}
IN_PICTURES = list(cells())[list(cells()).index(TRAINING) + 1 :]


@cache
def digits(n):
    """The embedded digits, or the first n of them."""
    d = vae_digits.load_digits(dataset="embedded")
    return d._replace(train_images=d.train_images[:n], train_labels=d.train_labels[:n])


class Classroom:
    """A notebook with changes (place, old, new), run cell by cell, on few digits, drawing nothing.

    Where old is None, new is code that runs right after the cell or at the end of the helpers.
    """

    def __init__(self, seed, n_digits, changes, namespace):
        self.digits, self.cells, self.helpers = digits(n_digits), dict(cells()), {}
        seeded = ("run-settings", "SEED = 2\n", f"SEED = {seed}\n")
        self.namespace = {"__name__": "__main__", **namespace}
        self.namespace["checks"] = Checks(self.namespace)
        for place, old, new in [seeded, *changes]:
            is_helper = place == HELPERS
            source = (ROOT / HELPERS).read_text() if is_helper else self.cells[CELL_OF[place]]
            source = f"{source}\n{new}" if old is None else changed(source, old, new)
            if is_helper:
                self.helpers["vae_helpers"] = module = types.ModuleType("vae_helpers")
                exec(compiled(source, HELPERS, "exec"), module.__dict__)
            else:
                self.cells[CELL_OF[place]] = source

    def run(self, checks=None, after=None, until=None):
        """Run the cells after one and down to another, of the checks these or all.

        Returns the error of each cell that fails.
        """
        ids, errors = list(self.cells), {}
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
            patch.setattr(vae_digits, "load_digits", lambda: self.digits)
            for name, module in self.helpers.items():  # PyTorch's own late imports must stay
                patch.setitem(sys.modules, name, module)
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


def failures(seed, changes, checks=None, until="check-train", n_digits=600):
    """The error of each cell that fails, by default down to the last check of functions."""
    torch.manual_seed(seed)
    place = CELL_OF.get(changes[0][0])
    if place in IN_PICTURES:
        before = [TRAINING, *IN_PICTURES][IN_PICTURES.index(place)]
        room = Classroom(seed, 2000, changes, trained(seed))
        return room.run(checks=[], after=TRAINING, until=before) | room.run(checks, before)
    return Classroom(seed, n_digits, changes, {}).run(checks, until=until)


def with_seeds(entries):
    """Each entry with its seeds, as pytest's parameters."""
    for number, entry in enumerate(entries):
        seeds = range(10 if entry[1] in ("elbo", "log_q") else 3) if SWEEP else [2]
        for seed in seeds:
            yield pytest.param(seed, number, entry, id=f"{entry[0]}, seed {seed}")


@pytest.mark.parametrize("seed, number, entry", [*with_seeds(MISTAKES)])
def test_a_mistake_costs_its_own_check(seed, number, entry):
    name, place, old, new, expected = entry
    expected = expected.split()
    every_check = seed == 0 or name in DIAGNOSES
    errors = failures(seed, [(place, old, new)], None if every_check else expected)
    checks = [id for id in errors if is_check(id)]
    assert checks[:1] == expected[:1] and {*checks} <= {*expected}, errors
    error = errors[expected[0]]
    # A check says what is wrong, or it was what it called that failed; it does not stumble itself.
    stumbled = "vae_checks" in traceback.extract_tb(error.__traceback__)[-1].filename
    assert isinstance(error, AssertionError) or not stumbled, f"not diagnosed: {error!r}"
    assert len(str(error)) > 20 and DIAGNOSES.get(name, "") in str(error), str(error)


# What some mistakes must be called: the commonest, and those whose diagnosis once led astray.
DIAGNOSES = {
    "hidden layer detached": "no gradient reaches its hidden layer. Is something detached?",
    "noise times torch.exp(log_std / 2)": "log_std taken for the log of the variance",
    "epsilon inside both logarithms": "never falls below -23.03, the logarithm of 1e-10",
    "piecewise, with a gradient that is nan": "got nan, expected",
    "clamp and an absolute value": "its gradient at y = 0: got -1, expected -0.5. Do you use abs",
    "prior as gaussian_log_density(z, zero, zero + 1).sum(dim=1)": "Did you pass log_std = 1?",
    "prior as -0.5 * (z**2).sum(dim=1) - 0.5 * math.log(2 * math.pi)": "constant once, not",
    "ELBO as (log_joint + log_prior(z) - log_q_z).mean()": "Is log p(z) in it twice?",
    "ELBO as (log_joint + log_q_z).mean()": "Does log q(z | x) have the wrong sign?",
    "beta -1": "Does the KL have the wrong sign?",
    "KL as -.5 * (1 + 2 * s - m**2 - s.exp()).sum(1)": "sigma where sigma squared belongs",
    "mean and log_std exchanged": "Are q_mean and q_log_std exchanged?",
    "z as torch.randn_like(q_mean)": "Is z drawn from the prior?",
    "ELBO with x * p.log() + (1 - x) * (1 - p).log()": "logarithm of zero",
    "encoder returns q_mean, q_mean": "Is the same layer used for several?",
    "encoder returns q_mean, torch.tanh(q_log_std)": "Did you apply tanh to it?",
    "Tanh(), nn.Dropout(0.2) for tanh": "Is there dropout in it?",
    "encoder returns None": "Does forward end in return q_mean, q_log_std",
    "encoder returns q_mean, q_log_std.exp()": "Did you apply exp to it?",
    "one uniform number for all pixels": "Is the mean compared with one number for all",
    "binary samples as (uniform < torch.sigmoid(mean)).to(mean.dtype)": "Did you apply a sigmoid?",
    "joint as log_prior(z) + log_likelihood(z, x)": "Are x and z exchanged?",
    "N_EPOCHS in train": "Is N_EPOCHS used, where train is given n_epochs?",
    "history of tensors with a gradient": "Is .item() left out?",
    "Adam with weight_decay=1e-5": "Is there weight decay",
    "make_grid with its padding": "Pass padding=0",
    "picture.flip(0)": "Is the picture upside down?",
    "a library's density": "log_q calls torch.distributions, which is library-made probability",
    "a loss of torch.nn": "log_likelihood calls binary_cross_entropy_with_logits, which",
    "a plain function": "decoder must be a module",
    "layers that are not registered": "decoder: got 0 parameters, expected 394,284",
    "ReLU() for tanh": "Is there ReLU between its layers, not tanh?",
}


@pytest.mark.parametrize("seed, number, entry", [*with_seeds(RIGHT)])
def test_a_correct_solution_passes(seed, number, entry):
    _, place, old, new, *more = entry
    to_the_end = {"until": None, "n_digits": None} if SWEEP or number % 8 == 0 else {}
    assert not failures(seed, [(place, old, new), *(more[0] if more else [])], **to_the_end)


def test_each_name_is_of_one_entry():
    names = [entry[0] for entry in MISTAKES + RIGHT]
    assert len(names) == len({*names}) and {*DIAGNOSES} <= {*names}


def test_a_network_made_anew_after_the_training_is_noticed():
    again = [("saved-parameters", None, "LATER = 1"), (TRAINING, None, "encoder = Encoder()")]
    errors = failures(2, again, ["check-result"], until="check-result", n_digits=None)
    assert "Was a cell that makes a network run again" in str(errors["check-result"])


def blanks():
    """Each blank of the hand-out as a change to the assignment: place, solution, blank."""
    notebook, helpers = nbformat.read(NOTEBOOK, as_version=4), (ROOT / HELPERS).read_text()
    texts = [cell.source for cell in notebook.cells if ITEM.search(cell.source)]
    notebook_with_blanks(notebook)
    blank_of = code_of(notebook)
    stubs = re.findall("(?m)^ +raise NotImpl.*", blanked(helpers, HELPERS, texts))
    solutions = [region[0] for region in REGION.finditer(helpers)]
    changes = [(id, source, blank_of[id]) for id, source in cells().items()]
    changes += zip([HELPERS] * 4, solutions, stubs, strict=True)
    return [change for change in changes if change[1] != change[2]]


@pytest.mark.parametrize("place, old, blank", blanks())
def test_a_blank_says_what_is_missing_and_where_its_text_stands(place, old, blank):
    until, checks = "check-samplers", None
    if place != HELPERS:
        ids = list(cells())
        until = next(id for id in ids[ids.index(place) :] if is_check(id) or id == ids[-1])
        checks = [until]
    errors = failures(2, [(place, old, blank)], checks, until)
    said = str(next(iter(errors.values())))
    assert said in blank and re.search(r"not written yet: see '.+'(, \d)?\.$", said)
