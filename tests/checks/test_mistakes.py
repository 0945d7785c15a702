"""The notebook's checks against the catalogue: each mistake costs its own check, none cries wolf.

By default with one seed, and a mistake is put to its own check alone, those in DIAGNOSES to all.
With VAE_SWEEP=1 the seeds are 0 to 9 for the objective, 0 to 2 for others; with seed 0 all look.
"""

import os
import re
import tempfile
import traceback
from collections import Counter
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from classroom import Classroom, cells
from instructor.cells import TRAINING, is_check
from instructor.handout import REGION, make_handout
from mistakes import ELBO, HELPERS, LOG_Q, MISTAKES, RIGHT
from project import NOTEBOOK, ROOT

SWEEP = "VAE_SWEEP" in os.environ
OBJECTIVE = (ELBO, LOG_Q)
IN_PICTURES = list(cells())[list(cells()).index(TRAINING) + 1 :]


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
    """The solved notebook down to the training."""
    room = Classroom(seed, 2000, [])
    assert not room.run(checks=[], until=TRAINING)
    return room


def failures(seed, changes, checks=None, until="check-train", n_digits=600):
    """The error of each cell that fails, by default down to the last check of functions."""
    torch.manual_seed(seed)
    place = changes[0][0]
    if place in IN_PICTURES:
        before = IN_PICTURES[IN_PICTURES.index(place) - 1] if place != IN_PICTURES[0] else TRAINING
        room = trained(seed).copy(changes)
        return room.run(checks=[], after=TRAINING, until=before) | room.run(checks, before)
    return Classroom(seed, n_digits, changes).run(checks, until=until)


def with_seeds(entries):
    """Each entry with its seeds, as pytest's parameters."""
    for number, entry in enumerate(entries):
        seeds = range(10 if entry[1] in OBJECTIVE else 3) if SWEEP else [2]
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
    "noise times torch.exp(log_std / 2)": "log_std taken for the log of the variance",
    "epsilon inside both logarithms": "never falls below -23.03, the logarithm of 1e-10",
    "piecewise, with a gradient that is nan": "is nan, expected",
    "clamp and an absolute value": "at y = 0 the gradient is -1 for x = 0 and 1 for x = 1",
    "log_std of ones in the prior": "Did you pass log_std = 1?",
    "constant once, not for each dimension": "The difference is 1/2 log(2 pi): did you count",
    "prior twice in the ELBO": "did you give log p(z) the factor 2 instead of 1?",
    "ELBO as (log_joint + log_q_z).mean()": "does log q(z | x) have the wrong sign?",
    "KL added": "does KL(q || p(z)) have the wrong sign?",
    "KL with sigma for its square": "Did you write sigma where sigma squared belongs?",
    "mean and log_std exchanged": "Are q_mean and q_log_std exchanged?",
    "z as torch.randn_like(q_mean)": "Is z drawn from the prior?",
    "naive Bernoulli in the ELBO": "is the Bernoulli density computed from the mean",
    "one head for both outputs": "Is the same layer, or column of it, used twice?",
    "encoder returns q_mean, torch.tanh(q_log_std)": "Did you apply tanh to it?",
    "dropout in the decoder": "Is there dropout in it?",
    "encoder returns nothing": "Does forward end in return q_mean, q_log_std",
    "encoder returns q_mean, q_log_std.exp()": "Did you apply exp to it?",
    "one uniform number for all pixels": "Is the mean compared with one number for all",
    "a sigmoid in sample_bernoulli": "Did you apply a sigmoid?",
    "x and z exchanged in the joint": "Are x and z exchanged?",
    "N_EPOCHS in train": "Is N_EPOCHS used, where train is given n_epochs?",
    "history of tensors with a gradient": "Is .item() left out?",
    "Adam with weight_decay=1e-5": "Is there weight decay",
    "make_grid with its padding": "Pass padding=0",
    "picture.flip(0)": "Is the picture upside down?",
    "a library's density": "log_q calls torch.distributions, which is library-made probability",
    "a loss of torch.nn": "log_likelihood calls binary_cross_entropy_with_logits, which",
    "a plain function": "decoder must be a module",
    "layers that are not registered": "decoder: got 0 parameters, expected 394,284",
    "ReLU for tanh": "between its layers is ReLU, expected tanh",
}


@pytest.mark.parametrize("seed, number, entry", [*with_seeds(RIGHT)])
def test_a_correct_solution_passes(seed, number, entry):
    _, place, old, new, *more = entry
    to_the_end = {"until": None, "n_digits": None} if SWEEP or number % 8 == 0 else {}
    assert not failures(seed, [(place, old, new), *(more[0] if more else [])], **to_the_end)


def test_the_catalogue_is_large():
    names = Counter(entry[0] for entry in MISTAKES + RIGHT)
    assert len(MISTAKES) >= 240 and len(RIGHT) >= 80 and set(names.values()) == {1}
    assert set(DIAGNOSES) <= set(names)


def test_a_network_made_anew_after_the_training_is_noticed():
    again = [("saved-parameters", None, "LATER = 1"), (TRAINING, None, "encoder = Encoder()")]
    errors = failures(2, again, ["check-result"], until="check-result", n_digits=None)
    assert "Was a cell that makes a network run again" in str(errors["check-result"])


@cache
def blanks():
    """Each blank of the hand-out as a change to the assignment, and the cell where it must fail."""
    with tempfile.TemporaryDirectory() as folder:
        handout = Path(folder, "handout")
        make_handout(handout)
        handed_out = nbformat.read(handout / NOTEBOOK.name, as_version=4).cells
        stubs = re.findall("(?m)^ +raise NotImpl.*", (handout / HELPERS).read_text())
    solved, found = nbformat.read(NOTEBOOK, as_version=4).cells, []
    for i, (cell, blank) in enumerate(zip(solved, handed_out, strict=True)):
        if cell.cell_type == "code" and cell.source != blank.source:
            fails = cell.id
            if "\n    raise NotImpl" in blank.source:  # a function fails when the check calls it
                fails = next(c.id for c in solved[i:] if is_check(c.id))
            found.append((cell.id, cell.source, blank.source, fails))
    solutions = [region[0] for region in REGION.finditer((ROOT / HELPERS).read_text())]
    checks = ["check-bernoulli", "check-gaussian", "check-samplers", "check-samplers"]
    found += zip([HELPERS] * 4, solutions, stubs, checks, strict=True)
    return [(*blank, re.search(r'Error\("(.*)"\)', blank[2])[1]) for blank in found]


@pytest.mark.parametrize("place, old, blank, cell, message", blanks(), ids=[b[4] for b in blanks()])
def test_blank_says_what_is_missing(place, old, blank, cell, message):
    if place in cells():
        old = cells()[place]
    errors = failures(2, [(place, old, blank)], [cell], until=cell if cell != HELPERS else None)
    assert str(next(iter(errors.values()))) == message and next(iter(errors)) == cell


def test_each_blank_says_where_its_text_stands():
    messages = [message for *_, message in blanks()]
    assert len(set(messages)) == len(messages) == 27
    assert all(re.search(r"not written yet: see '.+'(, \d)?\.$", message) for message in messages)
