"""Runs the notebook's cells with a change in them, and says which checks fail."""

import contextlib
import io
import re
import sys
import types
from functools import cache
from unittest import mock

import matplotlib.pyplot as plt
import nbformat

import vae_digits
from instructor.cells import LAST_GRADED, TRAINING
from mistakes import HELPERS, IMPORTS
from project import NOTEBOOK, ROOT, changed
from vae_checks import Checks


@cache
def cells():
    """Id and source of the code cells down to the last one that is graded."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    sources = {c.id: c.source for c in notebook.cells if c.cell_type == "code"}
    sources[IMPORTS] = re.sub("(?m)^%.*", "", sources[IMPORTS])  # magics
    ids = list(sources)
    return {id: sources[id] for id in ids[: ids.index(LAST_GRADED) + 1]}


@cache
def code_of(source, name):
    return compile(source, name, "exec")


def helpers_with(right, wrong):
    """The module vae_helpers with this change."""
    source = (ROOT / HELPERS).read_text()
    module = types.ModuleType("vae_helpers")
    exec(code_of(changed(source, right, wrong) if right else source + wrong, HELPERS), module.__dict__)
    return module


class Classroom:
    """A notebook whose cells are run one by one, on few digits, without drawing."""

    def __init__(self, seed=2, n_digits=None, change=None):
        self.cells = dict(cells())
        self.cells["run-settings"] = changed(
            self.cells["run-settings"], "SEED = 2\n", f"SEED = {seed}\n"
        )
        self.namespace = {"__name__": "__main__"}
        self.failures = {}  # the error of each cell that fails
        self.digits = small_digits(n_digits)
        self.modules = {}
        for place, right, wrong in change or []:
            if place == HELPERS:
                self.modules["vae_helpers"] = helpers_with(right, wrong)
            elif right is None:
                self.cells[place] += "\n" + wrong
            elif right is ...:
                self.cells[place] = wrong
            else:
                self.cells[place] = changed(self.cells[place], right, wrong)

    def run(self, after=None, until=None):
        """Run the cells after one and down to another; those that fail are noted."""
        ids = list(self.cells)
        first = ids.index(after) + 1 if after else 0
        last = ids.index(until) + 1 if until else len(ids)
        with (
            mock.patch.dict(sys.modules, self.modules),
            mock.patch.object(vae_digits, "load_digits", lambda: self.digits),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            for id in ids[first:last]:
                try:
                    exec(code_of(self.cells[id], id), self.namespace)
                except Exception as error:
                    self.failures[id] = error
                if "show_grid" in self.namespace:
                    self.namespace["show_grid"] = lambda images, titles: None  # a second each
                    self.namespace["show"] = lambda picture, alt: None
                plt.close("all")
        return self

    def with_changes(self, changes):
        """A copy, to go on with other cells; the functions stay those of this one."""
        copy = Classroom(change=changes)
        copy.namespace = dict(self.namespace)
        copy.namespace["checks"] = Checks(copy.namespace)
        return copy


@cache
def small_digits(n):
    d = vae_digits.load_digits(dataset="embedded")
    return d if n is None else d._replace(
        train_images=d.train_images[:n], train_labels=d.train_labels[:n],
        test_images=d.test_images[: n // 4], test_labels=d.test_labels[: n // 4],
    )
