"""How the checks speak: of blanks, of library-made probability, and with nothing but a message."""

import os
import re
import sys
import types
from types import SimpleNamespace

import nbformat
import pytest
import torch
from IPython.core.oinspect import getsource
from nbclient.exceptions import CellExecutionError
from torch import nn

from project import NOTEBOOK, ROOT
from vae_checks import Checks, reference
from vae_checks.library import NoLibraryProbability
from vae_checks.networks import tanh_layers

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
    **{"samplers": "sample_gaussian", "gradients": "elbo", "iwae": "log_weights"},
}
CPU = torch.device("cpu")
SIZES = {"Dz": 2, "Dh": 500, "Ddata": 784}


@pytest.mark.parametrize("blank, message", BLANKS)
@pytest.mark.parametrize("check, name", CHECKS.items())
def test_every_check_knows_a_blank(check, name, blank, message, capsys):
    if name in ("encoder", "decoder") and callable(blank):  # as a module
        network = nn.Linear(1, 1)
        network.forward, blank = blank, network
    names = {"SEED": 2, "DEVICE": CPU, **SIZES, name: blank}
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


class LibraryPrior(nn.Module):
    def forward(self, z):
        return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)


def test_library_made_probability_is_seen_in_a_module():
    with pytest.raises(AssertionError, match="log_prior calls torch.distributions"):
        Checks({"DEVICE": CPU, **SIZES, "log_prior": LibraryPrior()}).log_prior()


# What is put into a notebook, and taken out again --------------------------------------------


def networks():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(784, 500), nn.Tanh(), nn.Linear(500, 4))

        def forward(self, x):
            return self.layers(x).chunk(2, dim=1)

    return Encoder(), nn.Sequential(nn.Linear(2, 500), nn.Tanh(), nn.Linear(500, 784))


def state(names):
    networks = names["encoder"], names["decoder"]
    parameters = [p for network in networks for p in network.parameters()]
    return {
        "weights": [p.detach().clone() for p in parameters],
        "gradients": [p.grad.clone() for p in parameters],
        "modes": [module.training for network in networks for module in network.modules()],
        "names": dict(names),
    }


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("check", ["elbo", "gradients", "iwae", "train", "encoder", "decoder"])
def test_a_check_leaves_the_notebook_as_it_was(check, error):
    def stop(*arguments):
        if error:
            raise error

    encoder, decoder = networks()
    names = {"SEED": 2, "DEVICE": CPU, **SIZES, "BS": 200, "encoder": encoder, "decoder": decoder}
    names |= {"elbo": stop, "log_weights": stop, "binarized_mnist": torch.zeros(600, 784)}
    names |= {"batches": [], "train": stop, "history": [(1.0, 2.0)], "loss": len}
    for p in [*encoder.parameters(), *decoder.parameters()]:
        p.grad = torch.ones_like(p)
    encoder.eval()
    before, noise = state(names), torch.get_rng_state()
    if check in ("encoder", "decoder"):
        getattr(Checks(names), check)()
    else:
        with pytest.raises(error or AssertionError):
            getattr(Checks(names), check)()
    after = state(names)
    assert torch.equal(torch.get_rng_state(), noise) and after["modes"] == before["modes"]
    assert all(map(torch.equal, after["weights"], before["weights"]))
    assert all(map(torch.equal, after["gradients"], before["gradients"]))
    assert after["names"].keys() == before["names"].keys()
    assert all(after["names"][name] is value for name, value in before["names"].items())


def test_other_sizes_are_checked_and_another_dimension_is_refused(capsys):
    names = {"DEVICE": CPU, **SIZES, "Dh": 30, "Ddata": 64}
    names["decoder"] = nn.Sequential(nn.Linear(2, 30), nn.Tanh(), nn.Linear(30, 64))
    Checks(names).decoder()
    assert "2 inputs, 30 tanh units and 64 outputs" in capsys.readouterr().out
    names["Dz"] = 3
    with pytest.raises(AssertionError, match="explorer need two latent dimensions, Dz = 2"):
        Checks(names).decoder()


def test_layers_with_a_fixed_affine_map_behind_them_are_read_off():
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 30), nn.Linear(30, 64)

        def forward(self, z):
            return 3 * self.b(torch.tanh(self.a(z))) - 2

    decoder, z = Decoder().requires_grad_(False), torch.randn(50, 2)
    W1, b1, W2, b2 = tanh_layers(decoder, 2, 64)
    exact = torch.tanh(z @ W1.T + b1) @ W2.T + b2
    assert torch.allclose(decoder(z), exact, atol=1e-4)
    with pytest.raises(AssertionError):
        tanh_layers(nn.Sequential(nn.Linear(2, 30), nn.ReLU(), nn.Linear(30, 64)), 2, 64)


def test_the_summary_lists_passed_failed_and_not_run(capsys):
    checks = Checks({"DEVICE": CPU, **SIZES, "log_prior": LibraryPrior()})
    names = "bernoulli_log_density", "gaussian_log_density", "sample_gaussian"
    checks.notebook.namespace |= {name: getattr(reference, name) for name in names}
    checks.gaussian()
    with pytest.raises(AssertionError):
        checks.log_prior()
    capsys.readouterr()
    checks.summary()
    passed, failed, not_run = capsys.readouterr().out.splitlines()
    assert passed == "passed: gaussian" and failed == "failed: log_prior"
    assert not_run.startswith("not run: bernoulli, samplers, decoder") and "iwae" in not_run


@pytest.mark.parametrize(
    "source, message",
    [
        ("x = (\n", r"^vae_helpers.py, line 1: SyntaxError: '\(' was never closed"),
        ("\nimport no_such_module\n", "^vae_helpers.py, line 2: ModuleNotFoundError"),
        ("y = 1\n", None),
    ],
)
def test_helpers_that_cannot_be_imported_are_not_checked(tmp_path, monkeypatch, source, message):
    module = types.ModuleType("vae_helpers")
    module.__file__ = str(tmp_path / "vae_helpers.py")
    (tmp_path / "vae_helpers.py").write_text(source)
    monkeypatch.setitem(sys.modules, "vae_helpers", module)
    checks = Checks({"DEVICE": CPU, "gaussian_log_density": reference.gaussian_log_density})
    if message is None:
        return checks.gaussian()
    with pytest.raises(AssertionError, match=message):
        checks.gaussian()


def test_a_density_that_cancels_passes_with_a_note(capsys):
    def density(x, y):
        return x * y - nn.functional.softplus(y)

    Checks({"DEVICE": CPU, "bernoulli_log_density": density}).bernoulli()
    assert "note: for x = 1 and y = 60 it returns 0" in capsys.readouterr().out


def test_unknown_digits_have_no_threshold(capsys):
    encoder, decoder = networks()
    digits = (torch.rand(40, 784) > 0.98).float()
    names = {"SEED": 2, "DEVICE": CPU, **SIZES, "encoder": encoder, "decoder": decoder}
    names |= {
        "binarized_mnist": digits[:30],
        "heldout_mnist": digits[30:],
        "history": 99 * [(-1, -9.0)],
    }
    names |= {"batches": [digits[:30]], "heldout_elbo": lambda: -9.0}
    names["digits"] = SimpleNamespace(name="my digits")
    Checks(names).result()
    assert "note: what a training on my digits reaches is not known" in capsys.readouterr().out
    names["batches"] = [digits]
    with pytest.raises(AssertionError, match="Were held-out digits trained on?"):
        Checks(names).result()
    names["batches"], names["digits"].name = [digits[:30]], "MNIST"
    with pytest.raises(AssertionError, match="Did the training end early"):
        Checks(names).result()


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


INNER = """
class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(Dz, Dh)
    def forward(self, z):
        return self.a(z.long())
decoder = Decoder()
"""


def test_an_error_inside_pytorch_shows_the_students_line_and_none_of_pytorch(kernel):
    shown = "\n".join(error_of(kernel, INNER, "check-decoder").traceback)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "self.a(z.long())" in shown and "must have the same dtype" in shown
    assert "_call_impl" not in shown and "F.linear" not in shown and "vae_checks" not in shown


def test_an_edited_helper_is_used_at_once(kernel):
    edit = """
helpers = Path("vae_helpers.py")
helpers.write_text(helpers.read_text().replace(" - log_std", " + log_std"))
"""
    assert "Does log_std have the wrong sign" in error_of(kernel, edit, "check-gaussian").evalue


def test_a_check_shows_how_it_works():
    assert "the paper's estimator A" in getsource(Checks({}).elbo)
