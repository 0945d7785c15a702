"""Runs as text in the student's kernel: what the grader does there between the cells.

It gives no value back, so that nothing passes through what the student may have changed: how values
are displayed, print, or sys.stdout. Where something is wrong it raises an error.
"""

import os
import sys
from importlib import util

from IPython import get_ipython


class KernelEnds(Exception):
    """The kernel will end in a moment, since a cell has asked for that."""


def find_modules_last_in(folder):
    """The student's files come last on Python's path, so that they shadow nothing."""
    sys.path.append(folder)


def settle(environment):
    """After a cell: what the grading was told of digits and epochs counts, not what the cell set.

    Raises: KernelEnds.
    """
    os.environ.update(environment)
    if get_ipython().exit_now:
        raise KernelEnds


def load_checks(folder):
    """Load the package of checks anew from the folder, and make `checks` of it."""
    for name in [*sys.modules]:
        if name.partition(".")[0] == "vae_checks":
            del sys.modules[name]
    place = f"{folder}/vae_checks"
    file = f"{place}/__init__.py"
    spec = util.spec_from_file_location("vae_checks", file, submodule_search_locations=[place])
    package = util.module_from_spec(spec)
    sys.modules["vae_checks"] = package
    spec.loader.exec_module(package)
    notebook = get_ipython().user_ns
    notebook["checks"] = package.Checks(notebook)
