"""The notebook as the checks see it: the student's names, numbers to try them with, stand-ins."""

import ast
import inspect
from pathlib import Path
from types import CodeType, FunctionType
from unittest import mock

import torch
from torch import nn

from . import reference
from .checking import CheckFailed, Ddata, is_blank, require
from .library import NoLibraryProbability


class Notebook:
    """Its names, looked up when a check needs them: notebook.elbo.

    A function of the student's comes so that library-made probability fails in it.
    """

    def __init__(self, namespace):
        self.namespace = namespace

    def __getattr__(self, name):
        missing = f"{name} is not defined: write it, or run the cell that defines it."
        require(name in self.namespace, missing)
        value = self.namespace[name]
        require(not is_blank(value), f"{name} is not written yet.")
        if isinstance(value, nn.Module) or inspect.isclass(value) or not callable(value):
            return value
        require_reloaded(value)

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

    def alone(self, name, **networks):
        """A context in which this function is the student's, and those that it calls are correct.

        It finds them under the names that the text fixes. Called in another way than the text
        says, they are the student's own.
        """
        decoder = networks.get("decoder") or self.namespace.get("decoder")
        correct = reference.functions(decoder)
        stand_ins = {n: either(f, self.namespace.get(n)) for n, f in correct.items() if n != name}
        return mock.patch.dict(self.namespace, {**stand_ins, **networks})


def either(correct, own):
    """The correct function, or the student's own where the arguments are not those of the text."""
    signature = inspect.signature(correct)

    def function(*args, **kwargs):
        try:
            signature.bind(*args, **kwargs)
        except TypeError:
            return own(*args, **kwargs)
        return correct(*args, **kwargs)

    return function


def require_reloaded(function):
    """Refuse to judge a function whose file holds another version of it than the one loaded.

    Where an edited file cannot be reloaded, autoreload says so and goes on with the old code.
    """
    function = inspect.unwrap(function)
    if not isinstance(function, FunctionType) or function.__module__ == "__main__":
        return
    file = Path(function.__code__.co_filename)
    if not file.is_file():
        return
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError as error:
        where = f"{file.name}, line {error.lineno}: {error.msg}"
        raise CheckFailed(f"{where}. Mend it: until then the file is used as it was.") from None
    nodes = [node for node in tree.body if getattr(node, "name", "") == function.__name__]
    alone = ast.Module(nodes, [])  # as autoreload compiles it; Python compiles the whole file
    parts = [compile(part, file, "exec", dont_inherit=True).co_consts for part in (tree, alone)]
    codes = [c for part in parts for c in part if isinstance(c, CodeType)]
    written = [what_it_does(c) for c in codes if c.co_name == function.__name__]
    require(
        not written or what_it_does(function.__code__) in written,
        f"{file.name} could not be reloaded after a change: {function.__name__} is still the one "
        "of before. Mend the error that the last cells show, or restart the kernel.",
    )


def what_it_does(code):
    """A function's code, wherever in its file it stands."""
    plain = [c for c in code.co_consts if not isinstance(c, CodeType | frozenset)]
    inner = [what_it_does(c) for c in code.co_consts if isinstance(c, CodeType)]
    return code.co_code, repr(plain), code.co_names, code.co_varnames, inner
