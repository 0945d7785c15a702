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
from vae_checks.library import forbidden_name

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


@pytest.mark.parametrize("blank, message", BLANKS)
def test_a_blank_is_not_written_yet(blank, message, capsys):
    with pytest.raises(AssertionError) as caught:
        checks_of(log_prior=blank).log_prior()
    assert message in str(caught.value) and capsys.readouterr().out == ""


@pytest.mark.parametrize("blank", [blank for blank, _ in BLANKS])
@pytest.mark.parametrize(
    "check, name",
    [
        ("bernoulli", "bernoulli_log_density"),
        ("gaussian", "gaussian_log_density"),
        ("samplers", "sample_gaussian"),
        ("log_likelihood", "log_likelihood"),
        ("joint", "joint_log_density"),
        ("log_q", "log_q"),
        ("elbo", "elbo"),
        ("gradients", "elbo"),
        ("train", "train"),
        ("decoder", "decoder"),
        ("encoder", "encoder"),
    ],
)
def test_every_check_knows_a_blank(check, name, blank):
    names = {
        "encoder": nn.Linear(784, 4),
        "decoder": nn.Linear(2, 784),
        "binarized_mnist": torch.zeros(600, 784),
        "batches": [],
    }
    if name in ("encoder", "decoder") and callable(blank):  # as a module
        network, function = nn.Linear(1, 1), blank
        network.forward = function
        blank = network
    with pytest.raises(AssertionError, match="not written yet|is still blank"):
        getattr(checks_of(**{**names, name: blank}), check)()


def test_a_name_that_is_missing_is_said():
    with pytest.raises(AssertionError, match="^log_q is not defined: write it, or run the cell"):
        checks_of().log_q()


# A function f that uses library-made probability, under whatever name, itself or through others.
HIDDEN = {
    "in a function": "f = lambda z: torch.normal(0, 1, z.shape)",
    "under another name": "from torch.distributions import Normal as N\nf = lambda z: N(0, 1)",
    "in a module of another name": "import torch.distributions as d\nf = lambda z: d.Normal(0, 1)",
    "in a loss made before": "criterion = nn.MSELoss()\nf = lambda z: criterion(z, z)",
    "in a nested function": "f = lambda z: [torch.poisson(v) for v in z]",
    "in a function called": "def g(z): return torch.bernoulli(z)\nf = lambda z: g(z)",
    "in a partial function": "from functools import partial\nf = partial(lambda z: z.bernoulli())",
    "in a module": """
class M(nn.Module):
    def forward(self, z):
        return nn.functional.kl_div(z, z)
f = M()""",
}


@pytest.mark.parametrize("source", HIDDEN.values(), ids=HIDDEN)
def test_library_made_probability_is_seen(source):
    namespace = {"__name__": "__main__", "torch": torch, "nn": nn}
    exec(source, namespace)
    assert forbidden_name(namespace["f"])


def test_what_a_student_calls_normal_is_no_library():
    namespace = {"__name__": "__main__"}
    exec("def normal(z): return z.sum()\nf = lambda z: normal(z)", namespace)
    assert forbidden_name(namespace["f"]) is None


# In a kernel ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernel(kernel_for):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with kernel_for(notebook) as kernel:
        kernel.run_all(until="check-log-prior")
        yield kernel


def error_of(kernel, definition, check="check-log-prior"):
    kernel.evaluate(definition)
    with pytest.raises(CellExecutionError):
        kernel.run(check)
    return kernel.cells[kernel.index[check]].outputs[-1]


def test_a_failure_shows_its_message_and_nothing_else(kernel):
    error = error_of(kernel, "def log_prior(z):\n    return (z**2).sum(dim=1)")
    assert "log_prior(z) is wrong" in error.evalue and error.traceback == [error.evalue]


def test_an_error_in_a_students_line_shows_that_line_and_none_of_the_check(kernel):
    error = error_of(kernel, "def log_prior(z):\n    return z.summ(dim=1)")
    shown = "\n".join(error.traceback)
    assert error.ename == "AttributeError" and "z.summ" in shown.replace("\x1b[39m", "")
    assert "vae_checks" not in shown and "exact" not in shown


def test_a_students_names_do_not_collide_with_those_of_the_checks(kernel):
    kernel.evaluate("""
kept = log_prior
same = check = require = gradients_of = numbers = lambda *_: None
def log_prior(z):
    return -0.5 * (z**2).sum(dim=1) - math.log(2 * math.pi)
""")
    assert "ok: log_prior(z) has the right values" in kernel.run("check-log-prior").outputs[0].text
    assert kernel.evaluate("print(same is check and log_prior is not kept)") == "True\n"


def test_an_edited_helper_is_used_at_once(notebook, kernel_for):
    with kernel_for(notebook, PYTHONPATH=os.pathsep.join([".", str(ROOT)])) as kernel:
        kernel.evaluate(f"import shutil\nshutil.copy({str(ROOT / 'vae_helpers.py')!r}, '.')")
        kernel.run_all(until="check-samplers")
        kernel.evaluate("""
from pathlib import Path
source = Path("vae_helpers.py").read_text()
Path("vae_helpers.py").write_text(source.replace(" - log_std", " + log_std"))
""")
        with pytest.raises(CellExecutionError, match="does log_std have the wrong sign"):
            kernel.run("check-gaussian")


def test_a_check_shows_how_it_works():
    assert "The latent space has two dimensions, so the ELBO" in getsource(checks_of().elbo)
