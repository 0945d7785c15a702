"""The notebook as the checks see it: the student's names, numbers to try them with, stand-ins."""

import runpy
import sys
import traceback
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
from IPython.utils.capture import capture_output

from . import reference
from .checking import CheckFailed, is_blank, require
from .library import NoLibraryProbability

TWO_DIMENSIONS = (
    "got Dz = {}: the pictures, the quadrature and the explorer need two latent dimensions, Dz = 2."
)


class Layers(NamedTuple):
    """How many inputs, hidden units and outputs a network has."""

    n_in: int
    n_hidden: int
    n_out: int


class Notebook:
    """Its names, looked up when a check needs them: notebook.elbo.

    Whatever can be called comes so that library-made probability fails in it.
    """

    def __init__(self, namespace):
        self.namespace = namespace

    def __getattr__(self, name):
        value = self.value(name)
        if not callable(value):
            return value

        def watched(*args, **kwargs):
            with NoLibraryProbability(name):
                return value(*args, **kwargs)

        return watched

    def value(self, name):
        """The value of a name as it is: the networks themselves, for one."""
        missing = f"{name} is not defined: write it, or run the cell that defines it."
        require(name in self.namespace, missing)
        value = self.namespace[name]
        require(not is_blank(value), f"{name} is not written yet.")
        return value

    @property
    def Dz(self):
        Dz = self.value("Dz")
        require(Dz == 2, TWO_DIMENSIONS.format(Dz))
        return Dz

    def layers(self, name):
        """The sizes of the decoder or the encoder that the text asks for."""
        Dz, Dh, Ddata = self.Dz, self.Dh, self.Ddata
        return Layers(Dz, Dh, Ddata) if name == "decoder" else Layers(Ddata, Dh, 2 * Dz)

    def noise(self, number):
        """A freshly seeded source of noise: the same in every run of a check."""
        return torch.Generator(self.DEVICE).manual_seed(number)

    def seed(self, number):
        """Seed PyTorch's source of noise, and those that the notebook's names hold."""
        torch.manual_seed(number)
        for value in self.namespace.values():
            if isinstance(value, torch.Generator):
                value.manual_seed(number)

    def numbers(self, *shape, seed, dtype=torch.float64):
        """Normal random numbers: generic ones, where special ones would agree by chance."""
        return torch.randn(shape, generator=self.noise(seed), dtype=dtype, device=self.DEVICE)

    def pixels(self, n, seed):
        """n generic binary images, (n, Ddata)."""
        return (self.numbers(n, self.Ddata, seed=seed, dtype=torch.float32) > 0.6).float()

    def alone(self, name, **networks):
        """A context in which this function is the student's, and those that it calls are correct.

        networks: those that the names decoder and encoder stand for.
        """
        decoder = networks.get("decoder", self.namespace.get("decoder"))
        correct = reference.functions(decoder, self.Dz, self.Ddata)
        own = self.namespace
        stand_ins = {n: reference_or_own(f, own.get(n)) for n, f in correct.items() if n != name}
        return self.replaced(**stand_ins, **networks)

    def replaced(self, **stand_ins):
        """A context in which these names of the notebook stand for other values."""
        return mock.patch.dict(self.namespace, stand_ins)


def reference_or_own(correct, own):
    """The correct function, or the student's own if it is called with other arguments."""

    def function(*args, **kwargs):
        try:
            return correct(*args, **kwargs)
        except (AttributeError, TypeError):
            return own(*args, **kwargs)

    return function


def require_current(notebook, *names):
    """See that vae_helpers.py, as it is now, can be imported and defines the functions.

    After an edit that breaks it, the notebook still holds the functions from before the edit.
    Raises: CheckFailed with file and line.
    """
    file = getattr(sys.modules.get("vae_helpers"), "__file__", None)
    if file is None or not Path(file).exists():
        return
    try:
        with capture_output():
            defined = runpy.run_path(file, run_name="vae_helpers")
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
        line = frames[-1].lineno if frames else getattr(error, "lineno", "?")
        message = f"{type(error).__name__}: {getattr(error, 'msg', error)}"
        raise CheckFailed(
            f"{Path(file).name}, line {line}: {message}. "
            "The file cannot be imported, so nothing in it was checked."
        ) from None
    for name in names:
        own = getattr(notebook.namespace.get(name), "__module__", "") != "vae_helpers"
        gone = f"{name} is no longer defined in {Path(file).name}. Was it renamed or removed?"
        require(own or name in defined, gone)
