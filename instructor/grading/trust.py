"""Runs as text in the student's kernel: makes `checks` anew, and lists what they rest on.

Before the first cell and around each check, the functions of the checks, of Python, of PyTorch and
of the shell are listed with their identities. Where one differs later, somebody has replaced it:
the student, or the library itself, which is no forgery (torch.compile wraps Module.__init__).
"""

import builtins
import copy
import inspect
import json
import math
import sys
import traceback
from pathlib import Path
from types import CodeType, FunctionType
from unittest import mock

import numpy
import torch
from IPython import get_ipython

import vae_checks  # noqa: F401
import vae_digits  # noqa: F401

# What magics (%%capture) and recipes replace; no check calls it.
NOT_CHECKED = {"sys_excepthook", "CustomTB", "load", "save"}


def what_checks_rest_on():
    """Yields name, whether it is of the checks themselves, and value."""
    shell = get_ipython()
    own = [module for name, module in sys.modules.items() if name.split(".")[0] == "vae_checks"]
    classes = [value for module in own for value in vars(module).values() if inspect.isclass(value)]
    own += [value for value in classes if value.__module__.startswith("vae_checks")]
    libraries = [builtins, inspect, json, math, mock.patch, numpy, torch, torch.autograd]
    libraries += [torch.nn.functional, torch.random, copy, traceback, shell, shell.kernel]
    instances = [torch.nn.Parameter(), torch.nn.Module(), torch.overrides.TorchFunctionMode()]
    instances += [mock.patch.dict({}), shell, shell.kernel]
    for value in instances:
        libraries += type(value).__mro__[:-1]
    for owner in own + libraries:
        is_own = owner in own
        yield f"vae_checks {id(owner)}" if is_own else "", is_own, owner
        owner_name = getattr(owner, "__name__", type(owner).__name__)
        for name, value in vars(owner).items():
            is_checked = callable(value) and name not in NOT_CHECKED
            if is_checked or (is_own and not name.startswith("__")):
                yield f"{owner_name}.{name}", is_own, value


def identity(value, is_own):
    """Changes if it is another object, or a function with another body, or with other contents."""
    if is_own and not callable(value) and not inspect.ismodule(value):
        return repr(value)  # what the checks compare with
    parts = [value]
    if is_own and isinstance(value, FunctionType):
        parts += [cell.cell_contents for cell in value.__closure__ or ()]
        parts += [value.__defaults__, value.__kwdefaults__]
    return [[id(part), id(getattr(part, "__code__", None))] for part in parts]


def is_the_librarys(value, known):
    """Whether a library put this there: its class, or a new function that its own files define.

    known: the ids of all that was there before the first cell; a function of these was moved.
    """
    if inspect.isclass(value):
        return id(value) in known
    if not isinstance(value, FunctionType) or id(value) in known:
        return False
    file = Path(value.__code__.co_filename)
    if not any(file.is_relative_to(prefix) for prefix in (sys.prefix, sys.base_prefix)):
        return False
    contents = [cell.cell_contents for cell in value.__closure__ or ()]
    inner = [part for part in contents if isinstance(part, FunctionType) and id(part) not in known]
    try:
        codes = codes_in(compile(file.read_text(), file, "exec"))
    except (OSError, SyntaxError):  # a function that was generated
        return False
    return value.__code__ in codes and all(is_the_librarys(part, known) for part in inner)


def codes_in(code):
    """The code object and all that are nested in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_in(constant)


def is_harmless(added, known_names):
    """Whether what was added has a name that nothing had before, so that it replaces nothing."""
    name = added.rpartition(".")[2]
    return not name.startswith("__") and name not in known_names


def make_checks(notebook, before):
    """Make `checks` in the student's namespace; what differs from before, as JSON.

    before: the same answer, from before the first cell; empty at that time.
    """
    notebook["checks"] = sys.modules["vae_checks"].Checks(notebook)
    found = {name: (value, is_own) for name, is_own, value in what_checks_rest_on()}
    now = {name: identity(*pair) for name, pair in found.items()}
    changed = [name for name in {**before, **now} if now.get(name) != before.get(name)]
    if before:
        known_names = {n.rpartition(".")[2] for n in before if not n.startswith("vae_checks")}
        changed = [name for name in changed if name in before or not is_harmless(name, known_names)]
        known = {
            id for parts in before.values() if isinstance(parts, list) for id in sum(parts, [])
        }
        librarys = {n for n in changed if n in found and is_the_librarys(found[n][0], known)}
        changed = [name for name in changed if name not in librarys]
    return json.dumps({name: now.get(name) for name in changed})
