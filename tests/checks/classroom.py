"""Runs the notebook's cells in this process with a change in them, and says which of them fail."""

import contextlib
import io
import re
import sys
import types
from functools import cache
from unittest import mock

import matplotlib.pyplot as plt
import nbformat
import pytest

import vae_digits
from instructor.cells import LAST_GRADED, is_check
from mistakes import HELPERS, IMPORTS
from project import NOTEBOOK, ROOT, changed
from vae_checks import Checks


@cache
def cells():
    """Id and source of the code cells down to the last one that is graded, without magics."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    sources = {c.id: c.source for c in notebook.cells if c.cell_type == "code"}
    sources[IMPORTS] = re.sub("(?m)^%.*", "", sources[IMPORTS])
    ids = list(sources)
    return {id: sources[id] for id in ids[: ids.index(LAST_GRADED) + 1]}


@cache
def compiled(source, name):
    return compile(source, name, "exec")


@cache
def digits(n):
    """The embedded digits, or the first n of them."""
    d = vae_digits.load_digits(dataset="embedded")
    return d._replace(train_images=d.train_images[:n], train_labels=d.train_labels[:n])


class Classroom:
    """A notebook with changes (place, old, new), run cell by cell, on few digits, drawing nothing.

    Where old is None, new is code that runs right after the cell or at the end of the helpers.
    """

    def __init__(self, seed, n_digits, changes):
        self.digits, self.cells, self.helpers = digits(n_digits), dict(cells()), {}
        settings = self.cells["run-settings"]
        self.cells["run-settings"] = changed(settings, "SEED = 2\n", f"SEED = {seed}\n")
        self.namespace = {"__name__": "__main__"}
        self.change(changes)

    def change(self, changes):
        for place, old, new in changes:
            is_helper = place == HELPERS
            source = (ROOT / HELPERS).read_text() if is_helper else self.cells[place]
            source = f"{source}\n{new}" if old is None else changed(source, old, new)
            if is_helper:
                self.helpers["vae_helpers"] = module = types.ModuleType("vae_helpers")
                exec(compiled(source, HELPERS), module.__dict__)
            else:
                self.cells[place] = source

    def copy(self, changes):
        """A copy to go on with, in which other cells are changed; its functions are the same."""
        other = Classroom(2, None, changes)
        other.namespace = dict(self.namespace)
        other.namespace["checks"] = Checks(other.namespace)
        return other

    def run(self, checks=None, after=None, until=None):
        """Run the cells after one and down to another, of the checks these or all.

        Returns the error of each cell that fails.
        """
        ids, errors = list(self.cells), {}
        with (
            pytest.MonkeyPatch.context() as patch,
            mock.patch.object(vae_digits, "load_digits", lambda: self.digits),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            for name, module in self.helpers.items():
                patch.setitem(sys.modules, name, module)
            for id in ids[after and ids.index(after) + 1 : until and ids.index(until) + 1]:
                if is_check(id) and checks is not None and id not in checks:
                    continue
                try:
                    exec(compiled(self.cells[id], id), self.namespace)
                except Exception as error:
                    errors[id] = error
                if "show_grid" in self.namespace:
                    self.namespace["show_grid"] = lambda images, titles: None  # a second each
                plt.close("all")
        return errors
