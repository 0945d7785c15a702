"""What all checks share: how they are run, how they compare numbers, and how they speak."""

import contextlib
import functools
import math
import sys
import traceback
from pathlib import Path
from types import TracebackType

import torch

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
SUMMED = "Did you sum too often, not at all, or along the wrong dimension?"
NUMPY = "NumPy cuts the gradient: use torch's functions"


class CheckFailed(AssertionError):
    """The message of a check about a mistake. IPython and Jupyter show the message alone."""

    def _render_traceback_(self):
        return [str(self)]


# Running -------------------------------------------------------------------------------------


def check(function):
    """Make a method of Checks of a function that checks a notebook.

    A blank is reported as not written yet. An error in the student's own code passes through, with
    the student's lines of its traceback. PyTorch's global source of noise is left as it was.
    """

    @functools.wraps(function)
    def checked(self):
        __tracebackhide__ = True
        self.passed[function.__name__] = False
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
            if "Can't call numpy()" in str(error):  # of a tensor with a gradient
                raise CheckFailed(f"{students_line(error)}{NUMPY}.") from None
            raise error.with_traceback(students_part(error.__traceback__)) from None
        self.passed[function.__name__] = True

    return checked


def uncompiled():
    """A context in which compiled functions and networks run as they were written."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled; to import it takes a second
        return contextlib.nullcontext()
    return torch.compiler.set_stance("force_eager")


def students_part(trace):
    """The traceback without the frames of this package and of PyTorch; None if none are left."""
    if trace is None:
        return None
    rest = students_part(trace.tb_next)
    if not is_students(trace.tb_frame.f_code.co_filename):
        return rest
    return TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)


def is_students(file):
    others = Path(__file__).parent, Path(torch.__file__).parent
    return not any(Path(file).is_relative_to(folder) for folder in others)


def students_line(error):
    """Function and source of the student's last line in the traceback of an error."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if is_students(f.filename)]
    if not frames:
        return ""
    line = f", '{frames[-1].line}'" if frames[-1].line else ""
    return f"{frames[-1].name}{line}: "


def require(passed, diagnosis):
    if not passed:
        raise CheckFailed(diagnosis.strip())


# Comparing -----------------------------------------------------------------------------------


def is_blank(value):
    return value is None or value is ...


def same(a, b, tolerance=1e-4):
    """Equal up to the rounding of single precision, with room for a long sum."""
    if a.shape != b.shape:
        return False
    return torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance, equal_nan=True)


def require_shape(name, got, shape, question=""):
    require(not is_blank(got), f"{name}: got {got}. Is it not written yet, or is a return missing?")
    kind = type(got).__name__
    hint = f" {NUMPY}." if type(got).__module__.startswith("numpy") else ""
    require(torch.is_tensor(got), f"{name}: got a {kind}, expected a tensor.{hint}")
    shapes = f"got the shape {tuple(got.shape)}, expected {tuple(shape)}"
    require(got.shape == torch.Size(shape), f"{name}: {shapes}. {question}")


def require_same(name, got, exact, mistakes={}, otherwise="", tolerance=1e-4):
    """Compare with the exact values; where they differ, ask about the mistake that explains it.

    mistakes: questions, each with the values that its mistake leads to; or a function that makes
        them, where that takes time.
    """
    if same(got, exact, tolerance):
        return
    mistakes = mistakes() if callable(mistakes) else mistakes
    mistakes = {**mistakes, "Does it have the wrong sign?": -exact}
    error = (got - exact).abs() / (1 + exact.abs())
    worst = error.nan_to_num(math.inf, math.inf).argmax()
    values = f"got {got.flatten()[worst]:.6g}, expected {exact.flatten()[worst]:.6g}"
    explained = [q for q, values in mistakes.items() if same(got, values, tolerance)]
    if not torch.isfinite(got).all():
        otherwise = "Does it overflow, or take the logarithm of zero or of a negative number?"
    raise CheckFailed(f"{name}: {values}. {[*explained, otherwise][0]}".strip())


def require_values(name, got, exact, mistakes={}, otherwise=""):
    require_shape(name, got, exact.shape, SUMMED)
    require_same(name, got, exact, mistakes, otherwise)
    print(f"ok: {name} has the correct values")


def require_function(name, got, exact, mistakes, otherwise="", **arguments):
    """Compare the values, then the gradients with respect to the arguments."""
    require_values(name, got, exact, mistakes, otherwise)
    cut = "Is it cut off by detach, no_grad, item or NumPy?"
    require(got.requires_grad, f"{name}: the values are correct, but have no gradient. {cut}")
    for argument, at in arguments.items():
        found, expected = (gradients_of(v.sum(), [at])[0] for v in (got, exact))
        place = at.flatten()[(found - expected).abs().nan_to_num(math.inf).argmax()]
        what = f"{name}: the gradient with respect to {argument} at {argument} = {place:.4g}"
        require_same(what, found, expected, {}, f"Is {argument} detached or clamped there?")
    print(f"ok: its gradient with respect to {', '.join(arguments)} is correct")


def gradients_of(value, variables):
    """The gradient of value with respect to each variable, zero where they are not connected."""
    if not value.requires_grad:
        return [torch.zeros_like(v) for v in variables]
    options = {"allow_unused": True, "retain_graph": True, "materialize_grads": True}
    return torch.autograd.grad(value, variables, **options)
