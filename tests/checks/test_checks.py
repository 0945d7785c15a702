"""How the checks speak: of blanks, of library-made probability, and with nothing but a message."""

import os

import nbformat
import pytest
import torch
from IPython.core.oinspect import getsource
from nbclient.exceptions import CellExecutionError
from torch import nn

from project import NOTEBOOK, ROOT
from vae_checks import Checks
from vae_checks.library import NoLibraryProbability

DIRECTIONS = "It is still blank: see 'Implementing the model', 1."


def is_not_implemented(*arguments):
    raise NotImplementedError


def has_directions(*arguments):
    raise NotImplementedError(DIRECTIONS)


BLANKS = [
    (lambda *arguments: None, "not written yet"),
    (lambda *arguments: ..., "not written yet"),
    (is_not_implemented, "^is_not_implemented is not written yet.$"),
    (has_directions, f"^{DIRECTIONS}$"),
    (None, "^NAME is not written yet.$"),
    (..., "^NAME is not written yet.$"),
]
CHECKS = {  # and what each looks at
    **{name: name for name in "log_prior decoder log_likelihood log_q encoder elbo train".split()},
    **{name: f"{name}_log_density" for name in ("bernoulli", "gaussian", "joint")},
    **{"samplers": "sample_gaussian", "gradients": "elbo"},
}


@pytest.mark.parametrize("blank, message", BLANKS)
@pytest.mark.parametrize("check, name", CHECKS.items())
def test_every_check_knows_a_blank(check, name, blank, message, capsys):
    if name in ("encoder", "decoder") and callable(blank):  # as a module
        network = nn.Linear(1, 1)
        network.forward, blank = blank, network
    names = {"SEED": 2, "DEVICE": torch.device("cpu"), name: blank}
    others = {"binarized_mnist": torch.zeros(600, 784), "batches": []}
    with pytest.raises(AssertionError, match=message.replace("NAME", name)):
        getattr(Checks(names | others), check)()
    assert capsys.readouterr().out == ""


# Calls of library-made probability with means p in (0, 1), under whatever name.
FORBIDDEN_CALLS = [
    "torch.bernoulli(p)",
    "p.clone().bernoulli_(0.5)",
    "[*map(torch.poisson, [p])]",
    "nn.MSELoss()(p, p)",
    "nn.functional.binary_cross_entropy(p, p)",
    "nn.functional.kl_div(p, p, reduction='sum')",
    "torch.distributions.kl_divergence(*2 * [torch.distributions.Bernoulli(p)])",
    "made.log_prob(p)",
]
FREE_CALLS = ["p.log_softmax(0)", "torch.empty(3).normal_()", "Own().log_prob(p)"]


class Own:
    def log_prob(self, p):
        return p + torch.randn(3)


@pytest.mark.parametrize("source", FORBIDDEN_CALLS + FREE_CALLS)
def test_library_made_probability_is_seen_when_it_is_called(source):
    names = {"p": torch.tensor([0.2, 0.3, 0.7]), "torch": torch, "nn": nn, "Own": Own}
    names["made"] = torch.distributions.Normal(0.0, 1.0)
    with NoLibraryProbability("log_q"):
        if source in FREE_CALLS:
            assert eval(source, names).shape == (3,)
        else:
            with pytest.raises(AssertionError, match="log_q calls .*, which is library-made"):
                eval(source, names)


# In a kernel ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernel(kernel_for):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with kernel_for(notebook, PYTHONPATH=os.pathsep.join([".", str(ROOT)])) as kernel:
        kernel.evaluate(f"import shutil\nshutil.copy({str(ROOT / 'vae_helpers.py')!r}, '.')")
        kernel.run_all(until="check-log-prior")
        yield kernel


def error_of(kernel, definition, check="check-log-prior"):
    kernel.evaluate(definition)
    with pytest.raises(CellExecutionError):
        kernel.run(check)
    return kernel.cell(check).outputs[-1]


def test_a_failure_shows_its_message_and_nothing_else(kernel):
    error = error_of(kernel, "def log_prior(z):\n    return (z**2).sum(dim=1)")
    assert "log_prior(z): got" in error.evalue and error.traceback == [error.evalue]


def test_an_error_in_a_students_line_shows_that_line_and_none_of_the_check(kernel):
    error = error_of(kernel, "def log_prior(z):\n    return z.sum(dim=7)")
    shown = "\n".join(error.traceback)
    assert error.ename == "IndexError" and "z.sum" in shown.replace("\x1b[39m", "")
    assert "vae_checks" not in shown and "__torch_function__" not in shown


def test_an_edited_helper_is_used_at_once(kernel):
    edit = """
helpers = Path("vae_helpers.py")
helpers.write_text(helpers.read_text().replace(" - log_std", " + log_std"))
"""
    assert "Does log_std have the wrong sign" in error_of(kernel, edit, "check-gaussian").evalue


def test_a_check_shows_how_it_works():
    assert "the paper's estimator A" in getsource(Checks({}).elbo)
