"""The notebook as the checks see it: the student's names, numbers to try them with, stand-ins."""

import inspect
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch import nn

from . import reference
from .checking import Ddata, Dh, Dz, is_blank, require
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

        Called in another way than the text says, they are the student's own.
        """
        decoder = networks.get("decoder") or self.namespace.get("decoder")
        correct = reference.functions(decoder)
        stand_ins = {n: either(f, self.namespace.get(n)) for n, f in correct.items() if n != name}
        sizes = {"Dz": Dz, "Dh": Dh, "Ddata": Ddata}  # log_prior stands above the cell with them
        return self.replaced(name, **stand_ins, **networks, **sizes)

    @contextmanager
    def replaced(self, name, **stand_ins):
        """A context in which the function of this name finds the stand-ins, for the student's own.

        It finds them by their names, as default arguments, and a network wherever else it is kept.
        """
        function, own = self.namespace.get(name), {n: self.namespace.get(n) for n in stand_ins}
        with ExitStack() as stack:
            stack.enter_context(mock.patch.dict(self.namespace, stand_ins))
            if defaults := getattr(function, "__defaults__", None):
                by_id = {id(own[n]): stand_ins[n] for n in own}
                defaults = tuple(by_id.get(id(value), value) for value in defaults)
                stack.enter_context(mock.patch.object(function, "__defaults__", defaults))
            for network, stand_in in zip(own.values(), stand_ins.values()):
                if isinstance(network, nn.Module) and isinstance(stand_in, nn.Module):
                    forward = mock.patch.object(network, "forward", stand_in.forward)
                    stack.enter_context(forward)
            yield


def either(correct, own):
    """The correct function, or the student's own for arguments that are not those of the text."""

    def function(*args, **kwargs):
        try:
            return correct(*args, **kwargs)
        except (AttributeError, TypeError):
            return own(*args, **kwargs)

    return function
