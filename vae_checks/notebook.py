"""The notebook as the checks see it: the student's names, numbers to try them with, stand-ins."""

import functools
import inspect
from pathlib import Path
from types import CodeType, FunctionType
from unittest import mock

import torch
from torch import nn

from . import reference
from .checking import CheckFailed, is_blank
from .library import NoLibraryProbability
from .reference import Ddata


class Notebook:
    """Its names, looked up when a check needs them: notebook.elbo.

    A function of the student's is returned so that library-made probability fails in it.
    """

    def __init__(self, namespace):
        self.namespace = namespace

    def __getattr__(self, name):
        if name not in self.namespace:
            raise CheckFailed(f"{name} is not defined: write it, or run the cell that defines it.")
        value = self.namespace[name]
        if is_blank(value):
            raise CheckFailed(f"{name} is not written yet.")
        if isinstance(value, nn.Module) or inspect.isclass(value) or not callable(value):
            return value
        require_reloaded(value)

        @functools.wraps(value)
        def watched(*args, **kwargs):
            with NoLibraryProbability(name):
                return value(*args, **kwargs)

        return watched

    def noise(self, number):
        """A freshly seeded source of noise; other seeds of the notebook give other noise."""
        return torch.Generator(self.DEVICE).manual_seed(self.SEED + number)

    def numbers(self, *shape, seed, dtype=torch.float64):
        """Normal random numbers: generic ones, where special ones would agree by chance."""
        return torch.randn(shape, generator=self.noise(seed), dtype=dtype, device=self.DEVICE)

    def pixels(self, n, seed):
        """n generic binary images, (n, Ddata)."""
        return (self.numbers(n, Ddata, seed=seed, dtype=torch.float32) > 0.6).float()

    def replaced(self, **values):
        """A context in which the notebook's functions find these under the names given."""
        return mock.patch.dict(self.namespace, values)

    def alone(self, name, **networks):
        """A context in which only this function is the student's, and all others are correct.

        It is the context of functions that find others under the names that the text fixes, and
        call them as it says; any other call reaches the student's own.
        """
        decoder = networks.get("decoder", self.namespace.get("decoder"))
        others = reference.functions(decoder)
        others.pop(name, None)
        stand_ins = {
            other: stand_in(function, self.namespace.get(other))
            for other, function in others.items()
        }
        return self.replaced(**stand_ins, **networks)


def stand_in(correct, own):
    """The correct function, but the student's own where it is called with other arguments."""
    signature = inspect.signature(correct)

    @functools.wraps(correct)
    def either(*args, **kwargs):
        try:
            signature.bind(*args, **kwargs)
        except TypeError:
            return (own or correct)(*args, **kwargs)
        return correct(*args, **kwargs)

    return either


# Files that were edited ------------------------------------------------------------------------


def require_reloaded(function):
    """Refuse to judge a function whose file has another version of it than the one loaded.

    Where an edited file cannot be reloaded, autoreload says so and goes on with the old code.
    """
    function = inspect.unwrap(function)
    if not isinstance(function, FunctionType) or function.__module__ == "__main__":
        return
    file = Path(function.__code__.co_filename)
    if not file.is_file():
        return
    try:
        module = compile(file.read_bytes(), file, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise CheckFailed(
            f"{file.name}, line {error.lineno}: {error.msg}. Python cannot read the file, and the "
            "notebook still has it as it was before: mend this line, and run the check again."
        ) from None
    written = [c for c in constants(module, CodeType) if c.co_name == function.__name__]
    if written and all(fingerprint(c) != fingerprint(function.__code__) for c in written):
        raise CheckFailed(
            f"{file.name} could not be reloaded after it was changed, and the notebook still has "
            f"{function.__name__} as it was before: mend what stops it (run `import {file.stem}` "
            "in a new notebook to see), or restart the kernel."
        )


def constants(code, kind):
    return [constant for constant in code.co_consts if isinstance(constant, kind)]


def fingerprint(code):
    """What a function does, wherever in its file it stands."""
    plain = [c for c in code.co_consts if not isinstance(c, CodeType | frozenset)]
    inner = [fingerprint(c) for c in constants(code, CodeType)]
    return code.co_code, repr(plain), code.co_names, code.co_varnames, inner
