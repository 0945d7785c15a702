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

DIRECTIONS = "log_prior is still blank: see 'Implementing the model', 1."


def is_not_implemented(*arguments):
    raise NotImplementedError


def has_directions(*arguments):
    raise NotImplementedError(DIRECTIONS)


def checks_of(**names):
    return Checks({"SEED": 2, "DEVICE": torch.device("cpu"), **names})


BLANKS = [
    (lambda *arguments: None, "not written yet"),
    (lambda *arguments: ..., "not written yet"),
    (is_not_implemented, "is_not_implemented is not written yet."),
    (has_directions, DIRECTIONS),
    (None, "log_prior is not written yet."),
    (..., "log_prior is not written yet."),
]
CHECKS = {
    "bernoulli": "bernoulli_log_density",
    "gaussian": "gaussian_log_density",
    "samplers": "sample_gaussian",
    "log_likelihood": "log_likelihood",
    "joint": "joint_log_density",
    "log_q": "log_q",
    "elbo": "elbo",
    "gradients": "elbo",
    "train": "train",
    "decoder": "decoder",
    "encoder": "encoder",
}


@pytest.mark.parametrize("blank, message", BLANKS)
def test_a_blank_is_not_written_yet(blank, message, capsys):
    with pytest.raises(AssertionError) as caught:
        checks_of(log_prior=blank).log_prior()
    assert message in str(caught.value) and capsys.readouterr().out == ""


@pytest.mark.parametrize("blank", [blank for blank, _ in BLANKS])
@pytest.mark.parametrize("check, name", CHECKS.items())
def test_every_check_knows_a_blank(check, name, blank):
    names = {"binarized_mnist": torch.zeros(600, 784), "batches": []}
    if name in ("encoder", "decoder") and callable(blank):  # as a module
        network, function = nn.Linear(1, 1), blank
        network.forward = function
        blank = network
    with pytest.raises(AssertionError, match="not written yet|is still blank"):
        getattr(checks_of(**{**names, name: blank}), check)()


def test_a_name_that_is_missing_is_said():
    with pytest.raises(AssertionError, match="^log_q is not defined: write it, or run the cell"):
        checks_of().log_q()


# Calls of library-made probability with means p in (0, 1), under whatever name.
FORBIDDEN_CALLS = {
    "a function": "torch.bernoulli(p)",
    "a method": "p.bernoulli()",
    "in place": "p.clone().bernoulli_(0.5)",
    "mapped": "[*map(torch.poisson, [p])]",
    "partial": "__import__('functools').partial(torch.normal, 0.0)(p)",
    "a loss": "nn.MSELoss()(p, p)",
    "a loss's function": "nn.functional.binary_cross_entropy(p, p)",
    "a divergence": "nn.functional.kl_div(p, p, reduction='sum')",
    "a density": "torch.distributions.Normal(p, p).log_prob(p)",
    "a closed form": "torch.distributions.kl_divergence(*2 * [torch.distributions.Bernoulli(p)])",
    "an object made before": "made.log_prob(p)",
}
FREE = (
    "p.log_softmax(0)",
    "nn.functional.softplus(p)",
    "torch.empty(3).normal_()",
    "Own().log_prob(p)",
)


class Own:
    def log_prob(self, p):
        return normal(p)


def normal(p):
    return p + torch.randn(3)


@pytest.mark.parametrize(
    "source", [*FORBIDDEN_CALLS.values(), *FREE], ids=[*FORBIDDEN_CALLS, *FREE]
)
def test_library_made_probability_is_seen_when_it_is_called(source):
    names = {"p": torch.tensor([0.2, 0.3, 0.7]), "torch": torch, "nn": nn, "Own": Own}
    names["made"] = torch.distributions.Normal(0.0, 1.0)
    with NoLibraryProbability("log_q"):
        if source in FREE:
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
    return kernel.cells[kernel.index[check]].outputs[-1]


def test_a_failure_shows_its_message_and_nothing_else(kernel):
    error = error_of(kernel, "def log_prior(z):\n    return (z**2).sum(dim=1)")
    assert "log_prior(z): got" in error.evalue and error.traceback == [error.evalue]


def test_an_error_in_a_students_line_shows_that_line_and_none_of_the_check(kernel):
    error = error_of(kernel, "def log_prior(z):\n    return z.sum(dim=7)")
    shown = "\n".join(error.traceback)
    assert error.ename == "IndexError" and "z.sum" in shown.replace("\x1b[39m", "")
    assert "vae_checks" not in shown and "__torch_function__" not in shown


def test_a_students_names_do_not_collide_with_those_of_the_checks(kernel):
    kernel.evaluate("""
kept = log_prior
same = check = require = gradients_of = numbers = lambda *_: None
def log_prior(z):
    return -0.5 * (z**2).sum(dim=1) - math.log(2 * math.pi)
""")
    assert (
        "ok: log_prior(z) has the correct values" in kernel.run("check-log-prior").outputs[0].text
    )
    assert kernel.evaluate("print(same is check and log_prior is not kept)") == "True\n"


EDIT = """
from pathlib import Path
source = Path("vae_helpers.py").read_text()
for old, new in {changes!r}:
    source = source.replace(old, new)
Path("vae_helpers.py").write_text(source)
"""


def test_an_edited_helper_is_used_at_once_or_refused(kernel):
    edits = {
        "Does log_std have the wrong sign": [(" - log_std", " + log_std")],
        "vae_helpers.py could not be reloaded": [
            (" + log_std", " - log_std"),
            ("import math", "import no_such_module"),
        ],
        r"vae_helpers.py, line \d+: invalid syntax": [("def gaussian", "def def gaussian")],
    }
    for message, changes in edits.items():
        kernel.evaluate(EDIT.format(changes=changes))
        with pytest.raises(CellExecutionError, match=message):
            kernel.run("check-gaussian")


def test_a_check_shows_how_it_works():
    assert "the paper's estimators A and B" in getsource(checks_of().elbo)
