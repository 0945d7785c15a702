"""What all checks share: how they are run, how they compare numbers, and how they speak."""

import functools
import math
import traceback
from pathlib import Path

import torch

Dz, Dh, Ddata = 2, 500, 28**2  # as the assignment asks for
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
SUMMED = "Did you sum too often, not at all, or along the wrong dimension?"


class CheckFailed(AssertionError):
    """What a check says of a mistake. IPython and Jupyter show its message alone."""

    def _render_traceback_(self):
        return [str(self)]


def check(function):
    """Make a method of Checks of a function of the notebook; no source of a check is ever shown.

    A blank is 'not written yet'. An error in the student's own code passes through, with the
    student's part of its traceback. PyTorch's global source of noise is left as it was.
    """

    @functools.wraps(function)
    def checked(self):
        __tracebackhide__ = True
        try:
            gpus = [self.notebook.DEVICE] if self.notebook.DEVICE.type == "cuda" else []
            with torch.random.fork_rng(gpus):
                function(self.notebook)
        except NotImplementedError as blank:
            name = traceback.extract_tb(blank.__traceback__)[-1].name
            raise CheckFailed(str(blank) or f"{name} is not written yet.") from None
        except CheckFailed as failure:
            raise failure.with_traceback(None) from None
        except Exception as error:
            raise error.with_traceback(students_part(error.__traceback__)) from None

    return checked


def students_part(trace):
    """The traceback without the frames of this package; whole if there are no others."""
    here, whole, rest = Path(__file__).parent, trace, []
    while trace:
        if Path(trace.tb_frame.f_code.co_filename).parent != here:
            rest.append(trace)
        trace = trace.tb_next
    for frame, following in zip(rest, [*rest[1:], None]):
        frame.tb_next = following
    return rest[0] if rest else whole


def is_blank(value):
    return value is None or value is ...


def require(passed, diagnosis):
    if not passed:
        raise CheckFailed(diagnosis.strip())


# Comparing -----------------------------------------------------------------------------------


def same(a, b, tolerance=1e-4):
    """Equal up to the rounding of single precision, with room for a long sum."""
    return a.shape == b.shape and ((a - b).abs() <= tolerance * (1 + b.abs())).all().item()


def require_shape(name, got, shape, question=""):
    require(not is_blank(got), f"{name}: got {got}. Is it not written yet, or is a return missing?")
    require(torch.is_tensor(got), f"{name}: got a {type(got).__name__}, expected a tensor.")
    shapes = f"got the shape {tuple(got.shape)}, expected {tuple(shape)}"
    require(got.shape == torch.Size(shape), f"{name}: {shapes}. {question}")


def require_values(name, got, exact, mistakes={}, otherwise=""):
    """Compare with the exact values; where they differ, ask about the mistake that explains it.

    mistakes: a question about each mistake, with the values that it leads to.
    """
    require_shape(name, got, exact.shape, SUMMED)
    worst = (got - exact).abs().nan_to_num(math.inf, math.inf).argmax()
    values = f"got {got.flatten()[worst]:.6g}, expected {exact.flatten()[worst]:.6g}"
    if not same(got, exact):
        question = explanation(got, exact, mistakes) or otherwise
        raise CheckFailed(f"{name}: {values}. {question}".strip())
    print(f"ok: {name} has the correct values")


def explanation(got, exact, mistakes):
    """The question about the mistake that explains all of the values, or an empty text."""
    for question, values in {"Does it have the wrong sign?": -exact, **mistakes}.items():
        if same(got, values):
            return question
    if not torch.isfinite(got).all():
        return "Does it overflow, or take the logarithm of zero or of a negative number?"
    difference, ratio = (got - exact).double(), (got / exact).double()
    if same(difference, difference.mean().expand_as(got)):
        n = abs(difference.mean().item()) / HALF_LOG_2PI
        if abs(n - 1) < 1e-3:
            return "The difference is 1/2 log(2 pi): did you leave out the normalizing constant?"
        return f"The difference is {n:.4g} times 1/2 log(2 pi) everywhere: is a constant wrong?"
    if same(ratio, ratio.mean().expand_as(got)):
        return f"It is {ratio.mean():.4g} times as large everywhere: is a factor wrong?"
    return ""


def require_gradients(name, got, exact, **arguments):
    """Compare the gradients with respect to the arguments with those of the exact values."""
    cut = "Is it cut off by detach, no_grad or item?"
    require(got.requires_grad, f"{name}: the values are correct, but have no gradient. {cut}")
    for argument, at in arguments.items():
        found, expected = (gradients_of(v.sum(), [at])[0] for v in (got, exact))
        worst = (found - expected).abs().nan_to_num(math.inf).argmax()
        place, slope, right = (t.flatten()[worst].item() for t in (at, found, expected))
        question = f"Is {argument} detached or clamped there?"
        if math.isnan(slope):
            question = "Does torch.where, or a factor 0, meet an infinite derivative there?"
        require(
            same(found, expected),
            f"{name}: the values are correct, but at {argument} = {place:.4g} the gradient with "
            f"respect to {argument} is {slope:.4g}, expected {right:.4g}. {question}",
        )
    print(f"ok: its gradient with respect to {', '.join(arguments)} is correct")


def gradients_of(value, variables):
    """The gradient of value with respect to each variable, zero where they are not connected."""
    if not value.requires_grad:
        return [torch.zeros_like(v) for v in variables]
    options = {"allow_unused": True, "retain_graph": True, "materialize_grads": True}
    return torch.autograd.grad(value, variables, **options)
