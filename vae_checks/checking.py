"""What all checks share: how they see the notebook, compare numbers, and say what is wrong."""

import functools
import math
import traceback
from pathlib import Path
from unittest import mock

import torch
from torch import nn

from .library import forbidden_name

Dz, Dh, Ddata = 2, 500, 28**2  # as the assignment asks for
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class CheckFailed(AssertionError):
    """What a check says of a mistake. IPython and Jupyter show its message alone."""

    def _render_traceback_(self):
        return [str(self)]


def check(method):
    """Make a check of a method: a blank is 'not written yet', and no source of a check is shown.

    An error in the student's own code passes through, with the student's part of its traceback.
    """

    @functools.wraps(method)
    def checked(self):
        __tracebackhide__ = True
        try:
            method(self)
        except NotImplementedError as blank:
            function = traceback.extract_tb(blank.__traceback__)[-1].name
            raise CheckFailed(str(blank) or f"{function} is not written yet.") from None
        except CheckFailed as failure:
            raise failure.with_traceback(None) from None
        except Exception as error:
            raise error.with_traceback(beyond_the_checks(error.__traceback__)) from None

    return checked


def beyond_the_checks(frames):
    """The traceback from the first frame on that is not in this package; whole if all are."""
    rest = frames
    while rest and Path(rest.tb_frame.f_code.co_filename).parent == Path(__file__).parent:
        rest = rest.tb_next
    return rest or frames


def is_blank(value):
    return value is None or value is ...


class Names:
    """The notebook's names, looked up when a check needs them: notebook.elbo."""

    def __init__(self, namespace):
        self._namespace = namespace

    def __getattr__(self, name):
        if name not in self._namespace:
            raise CheckFailed(f"{name} is not defined: write it, or run the cell that defines it.")
        value = self._namespace[name]
        if is_blank(value):
            raise CheckFailed(f"{name} is not written yet.")
        if forbidden := forbidden_name(value):
            raise CheckFailed(
                f"{name} uses {forbidden}, which is library-made probability: write the density or "
                "the sample out."
            )
        return value


class Checker:
    """What the checks of every part need: the notebook's names, and numbers to try them with."""

    def __init__(self, namespace):
        self.namespace = namespace
        self.notebook = Names(namespace)

    @property
    def device(self):
        return self.notebook.DEVICE

    def generator(self, number):
        """A freshly seeded source of noise; other seeds of the notebook give other noise."""
        return torch.Generator(self.device).manual_seed(self.notebook.SEED + number)

    def numbers(self, *shape, seed):
        """Normal random numbers in double precision: generic, where special ones would agree."""
        noise = self.generator(seed)
        return torch.randn(shape, generator=noise, dtype=torch.float64, device=self.device)

    def pixels(self, n, seed):
        """n generic binary images, (n, Ddata)."""
        return (self.numbers(n, Ddata, seed=seed) > 0.6).double()

    def network(self, n_in, n_out, seed):
        """A random network, unlike those that training starts with: there some mistakes cancel."""
        weights = self.numbers(n_in, 30, seed=seed) / math.sqrt(n_in)
        biases = self.numbers(30, seed=seed + 1)
        outputs = 0.5 * self.numbers(30, n_out, seed=seed + 2)
        return lambda v: torch.tanh(v.double() @ weights + biases) @ outputs - 0.7

    def replaced(self, **functions):
        """A context in which the notebook's functions find these under the names given."""
        modules = {name: nn.Module() for name in functions}
        for name, function in functions.items():
            modules[name].forward = function  # network(x) and network.forward(x) are the same
        return mock.patch.dict(self.namespace, modules)


# Comparing -----------------------------------------------------------------------------------


def same(a, b, tolerance=1e-4):
    """Equal up to the rounding of single precision, with room for a long sum."""
    return a.shape == b.shape and ((a - b).abs() <= tolerance * (1 + b.abs())).all().item()


def require(passed, verdict, diagnosis):
    """Print the verdict, or raise the diagnosis."""
    if not passed:
        raise CheckFailed(diagnosis)
    print("ok:", verdict)


def require_shape(name, got, shape, clue=""):
    if is_blank(got):
        raise CheckFailed(f"{name} is {got}: not written yet, or is a return missing?")
    if not torch.is_tensor(got):
        raise CheckFailed(f"{name} must be a tensor, not {type(got).__name__}.")
    if got.shape != torch.Size(shape):
        shapes = f"{name} has the shape {tuple(got.shape)}, not {tuple(shape)}"
        raise CheckFailed(f"{shapes}: {clue}" if clue else f"{shapes}.")


def require_values(name, got, exact, mistakes={}, otherwise="compare it with its equation"):
    """Compare with the exact values; where they differ, name the mistake that explains it."""
    clue = "is something summed too often, not at all, or along the wrong dimension?"
    require_shape(name, got, exact.shape, clue)
    if same(got, exact):
        return print(f"ok: {name} has the right values")
    difference, ratio = got - exact, got / exact
    mistakes = {"the sign is wrong": -exact, **mistakes}
    clue = next((mistake for mistake, values in mistakes.items() if same(got, values)), otherwise)
    if not torch.isfinite(got).all():
        clue = "it is not finite everywhere: does it overflow, or take the logarithm of 0 or less?"
    elif clue == otherwise and got.numel() > 1:
        if same(difference, difference.mean().expand_as(got)):
            constants = difference.mean().item() / HALF_LOG_2PI
            clue = f"it is off by {constants:.3g} times 1/2 log(2 pi): the normalizing constant?"
        elif same(ratio, ratio.mean().expand_as(got)):
            clue = f"it is {ratio.mean():.4g} times as large: a factor, or a mean for a sum?"
    worst = difference.abs().nan_to_num(math.inf).argmax()
    numbers = f"{got.flatten()[worst]:.6g} where {exact.flatten()[worst]:.6g} is right"
    raise CheckFailed(f"{name} is wrong, {numbers}: {clue}")


def require_gradients(name, got, exact, **arguments):
    """Compare the gradients with respect to the arguments with those of the exact values."""
    require(
        got.requires_grad,
        f"{name} can be differentiated",
        f"{name} has no gradient: is it cut off (detach, no_grad, item)?",
    )
    for argument, values in arguments.items():
        found, right = (gradients_of(v.sum(), [values])[0] for v in (got, exact))
        require(
            same(found, right),
            f"its gradient with respect to {argument} is right",
            f"{name} has the right values, but not its gradient with respect to {argument}: is "
            f"{argument} cut off (detach, no_grad) or clamped?",
        )


def gradients_of(value, variables):
    """The gradient of value with respect to each variable, zero where they are not connected."""
    if not value.requires_grad:
        return [torch.zeros_like(v) for v in variables]
    return torch.autograd.grad(
        value, variables, allow_unused=True, retain_graph=True, materialize_grads=True
    )
