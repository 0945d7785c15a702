"""What all checks share: how they are run, how they compare numbers, and how they speak."""

import functools
import math
import traceback
from pathlib import Path

import torch

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


# Comparing -----------------------------------------------------------------------------------


def same(a, b, tolerance=1e-4):
    """Equal up to the rounding of single precision, with room for a long sum."""
    return a.shape == b.shape and ((a - b).abs() <= tolerance * (1 + b.abs())).all().item()


def require(passed, verdict, diagnosis):
    """Print the verdict, or raise the diagnosis."""
    if not passed:
        raise CheckFailed(diagnosis.strip())
    print("ok:", verdict)


def require_shape(name, got, shape, question=""):
    if is_blank(got):
        raise CheckFailed(f"{name}: got {got}: is it not written yet, or is a return missing?")
    if not torch.is_tensor(got):
        raise CheckFailed(f"{name}: got a {type(got).__name__}, expected a tensor.")
    if got.shape != torch.Size(shape):
        shapes = f"{name}: got the shape {tuple(got.shape)}, expected {tuple(shape)}."
        raise CheckFailed(f"{shapes} {question}".strip())


def require_values(name, got, exact, mistakes={}, otherwise=""):
    """Compare with the exact values; where they differ, ask about the mistake that explains it.

    mistakes: a question about each mistake, with the values that it leads to.
    """
    require_shape(name, got, exact.shape, SUMMED)
    if same(got, exact):
        return print(f"ok: {name} has the correct values")
    worst = (got - exact).abs().nan_to_num(math.inf, math.inf).argmax()
    found = f"got {got.flatten()[worst]:.6g}, expected {exact.flatten()[worst]:.6g}."
    raise CheckFailed(f"{name}: {found} {explanation(got, exact, mistakes) or otherwise}".strip())


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
        if round(n) and abs(n - round(n)) < 1e-3:
            times = "" if round(n) == 1 else f"{round(n)} times "
            return f"The difference is {times}1/2 log(2 pi): is the normalizing constant correct?"
        return "The difference is the same everywhere: is a constant wrong?"
    if same(ratio, ratio.mean().expand_as(got)):
        return f"It is {ratio.mean():.4g} times as large everywhere: is a factor wrong?"
    return ""


def require_gradients(name, got, exact, **arguments):
    """Compare the gradients with respect to the arguments with those of the exact values."""
    require(
        got.requires_grad,
        f"{name} can be differentiated",
        f"{name}: got no gradient. Is it cut off by detach, no_grad or item?",
    )
    for argument, values in arguments.items():
        found, expected = (gradients_of(v.sum(), [values])[0] for v in (got, exact))
        worst = (found - expected).abs().nan_to_num(math.inf).argmax()
        at, found_there, expected_there = (
            t.flatten()[worst].item() for t in (values, found, expected)
        )
        question = f"Is {argument} detached or clamped there?"
        if math.isnan(found_there):
            question = "Does torch.where, or a factor 0, meet an infinite derivative there?"
        require(
            same(found, expected),
            f"its gradient with respect to {argument} is correct",
            f"{name}: the values are correct, but at {argument} = {at:.4g} the gradient with "
            f"respect to {argument} is {found_there:.4g}, expected {expected_there:.4g}. "
            + question,
        )


def gradients_of(value, variables):
    """The gradient of value with respect to each variable, zero where they are not connected."""
    if not value.requires_grad:
        return [torch.zeros_like(v) for v in variables]
    return torch.autograd.grad(
        value, variables, allow_unused=True, retain_graph=True, materialize_grads=True
    )
