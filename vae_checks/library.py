"""Library-made probability, which the assignment forbids: what counts as such, and who uses it."""

import dis
import inspect
import re
from types import CodeType, FunctionType

from torch import nn

# Modules, functions and losses in which a library has written a density or a sampler out.
FORBIDDEN = re.compile(
    r"distributions?|scipy|pyro|numpyro|log_prob|logpdf|normal|bernoulli_?|binomial|multinomial|"
    r"poisson|kl_div|\w*cross_entropy\w*|(mse|l1|smooth_l1|huber|\w*nll)_loss|\w*Loss"
)

STUDENTS_MODULES = ("__main__", "vae_helpers")


def forbidden_name(function):
    """The first forbidden name that a function or module uses, directly or through others; or None.

    Only what the student wrote is followed, not the library's own code.
    """
    functions = functions_of(function)
    for function in functions:  # which grows while it is gone through
        for code in code_objects(function.__code__):
            for instruction in dis.get_instructions(code):
                names, value = str(instruction.argval), None
                if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                    value = function.__globals__.get(instruction.argval)
                    names = qualified_name(value)
                elif not re.match("LOAD_(ATTR|METHOD)|IMPORT_", instruction.opname):
                    continue
                functions += [f for f in functions_of(value) if f not in functions]
                for name in names.split("."):
                    if FORBIDDEN.fullmatch(name):
                        return name


def functions_of(value):
    """The functions that the student wrote for this value: itself, or its class's methods."""
    value = inspect.unwrap(getattr(value, "func", value))  # a functools.partial has its function
    if isinstance(value, nn.Module):
        value = type(value)
    found = vars(value).values() if isinstance(value, type) else [value]
    return [f for f in found if isinstance(f, FunctionType) and f.__module__ in STUDENTS_MODULES]


def code_objects(code):
    """The code of a function and of all functions defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from code_objects(constant)


def qualified_name(value):
    """Module and name of what a library defines, or its class, whatever the notebook calls it."""
    named = value if hasattr(value, "__name__") else type(value)
    module = getattr(named, "__module__", None)
    return "" if module in STUDENTS_MODULES else f"{module}.{named.__name__}"
