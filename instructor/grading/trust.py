"""Runs in the student's kernel, as text: makes `checks` anew, and says what the checks rest on.

Before her first cell and around each check, the functions of the checks, of Python, of PyTorch and
of the shell are listed with their identities. Those that differ later she has replaced.
"""

import builtins
import inspect
import json
import math
import sys
from unittest import mock

import numpy
import torch
from IPython import get_ipython

import vae_checks  # noqa: F401
import vae_digits  # noqa: F401


def identity(member):
    """Changes if it is another object, or a function with another body, or with other contents."""
    parts = [member]
    if inspect.isfunction(member) and member.__module__.startswith("vae_checks"):
        parts += [cell.cell_contents for cell in member.__closure__ or ()]
    return [[id(part), id(getattr(part, "__code__", None))] for part in parts]


def what_checks_rest_on():
    shell = get_ipython()
    own = [module for name, module in sys.modules.items() if name.split(".")[0] == "vae_checks"]
    owners = own + [builtins, inspect, json, math, mock.patch, numpy, torch, torch.autograd]
    owners += [torch.nn.functional, shell, shell.kernel]
    for value in (
        sys.modules["vae_checks"].Checks({}),
        torch.nn.Parameter(),
        torch.nn.Module(),
        mock.patch.dict({}),
    ):
        owners += type(value).__mro__[:-1]
    owners += type(shell).__mro__[:-1] + type(shell.kernel).__mro__[:-1]
    found = {"vae_checks": [id(module) for module in own]}
    for owner in owners:
        owner_name = getattr(owner, "__name__", type(owner).__name__)
        for name, member in vars(owner).items():
            if callable(member):
                found[f"{owner_name}.{name}"] = identity(member)
            elif owner in own and not name.startswith("__"):
                found[f"{owner_name}.{name}"] = repr(member)  # what the checks compare with
    return json.dumps(found)


notebook["checks"] = sys.modules["vae_checks"].Checks(notebook)  # noqa: F821
answer = what_checks_rest_on()
