"""What all checks share: how they are run, how they compare numbers, and how they speak."""

import contextlib
import functools
import math
import sys
import traceback
from pathlib import Path
from types import TracebackType

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
            with torch.random.fork_rng(gpus), uncompiled():
                function(self.notebook)
        except NotImplementedError as blank:
            name = traceback.extract_tb(blank.__traceback__)[-1].name
            raise CheckFailed(str(blank) or f"{name} is not written yet.") from None
        except CheckFailed as failure:
            raise failure.with_traceback(None) from None
        except Exception as error:
            raise error.with_traceback(students_part(error.__traceback__)) from None

    return checked


def uncompiled():
    """A context in which nothing is compiled anew for stand-ins, and what was is not used."""
    if "torch._dynamo" not in sys.modules:  # nothing was; it takes a second to import
        return contextlib.nullcontext()
    return torch.compiler.set_stance("force_eager")


def students_part(trace):
    """The traceback without the frames of this package; None if there are no others."""
    if trace is None:
        return None
    rest, file = students_part(trace.tb_next), trace.tb_frame.f_code.co_filename
    if Path(file).parent == Path(__file__).parent:
        return rest
    return TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)


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


def require_same(name, got, exact, mistakes={}, otherwise="", tolerance=1e-4):
    """Compare with the exact values; where they differ, ask about the mistake that explains it.

    mistakes: a question about each mistake, with the values that it leads to.
    """
    mistakes = {"Does it have the wrong sign?": -exact, **mistakes}
    error = (got - exact).abs() / (1 + exact.abs())
    worst = error.nan_to_num(math.inf, math.inf).argmax()
    values = f"got {got.flatten()[worst]:.6g}, expected {exact.flatten()[worst]:.6g}"
    question = explanation(got, mistakes, otherwise, tolerance)
    require(same(got, exact, tolerance), f"{name}: {values}. {question}")


def explanation(got, mistakes, otherwise, tolerance):
    """The question about the mistake that explains all of the values."""
    if not torch.isfinite(got).all():
        otherwise = "Does it overflow, or take the logarithm of zero or of a negative number?"
    explained = (q for q, values in mistakes.items() if same(got, values, tolerance))
    return next(explained, otherwise)


def require_function(name, got, exact, mistakes, otherwise="", **arguments):
    """Compare the values, then the gradients with respect to the arguments."""
    require_values(name, got, exact, mistakes, otherwise)
    cut = "Is it cut off by detach, no_grad or item?"
    require(got.requires_grad, f"{name}: the values are correct, but have no gradient. {cut}")
    for argument, at in arguments.items():
        found, expected = (gradients_of(v.sum(), [at])[0] for v in (got, exact))
        place = at.flatten()[(found - expected).abs().nan_to_num(math.inf).argmax()]
        what = f"{name}: the gradient with respect to {argument} at {argument} = {place:.4g}"
        require_same(what, found, expected, {}, f"Is {argument} detached or clamped there?")
    print(f"ok: its gradient with respect to {', '.join(arguments)} is correct")


def require_values(name, got, exact, mistakes={}, otherwise=""):
    require_shape(name, got, exact.shape, SUMMED)
    require_same(name, got, exact, mistakes, otherwise)
    print(f"ok: {name} has the correct values")


def gradients_of(value, variables):
    """The gradient of value with respect to each variable, zero where they are not connected."""
    if not value.requires_grad:
        return [torch.zeros_like(v) for v in variables]
    options = {"allow_unused": True, "retain_graph": True, "materialize_grads": True}
    return torch.autograd.grad(value, variables, **options)
