"""What is wrong with a notebook as it was handed in, as far as it shows without running it.

nbval compares a notebook with itself. It cannot see that a check was changed and run again, or that
outputs were stripped: with nothing stored there is nothing to compare.
"""

import ast
import re
import symtable
from functools import cache
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from instructor.cells import PICTURES, is_check
from vae_checks.library import FORBIDDEN

ASSIGNMENT = Path(__file__).parents[2] / "vae_assignment.ipynb"


@cache
def given_cells():
    """The sources of the cells that every notebook must still have: the checks and their set-up."""
    cells = nbformat.read(ASSIGNMENT, as_version=4).cells
    return {cell.id: cell.source for cell in cells if is_check(cell.id) or cell.id == "checks"}


def problems_of(notebook):
    """One line for each problem: cells not run, checks changed, library-made probability, ..."""
    if any("id" not in cell for cell in notebook.cells):
        yield "its cells have no ids: it must be made from the assignment, by a recent Jupyter"
        return
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    trees = {id: parsed(cell.source) for id, cell in cells.items()}
    yield from not_run(cells, trees)
    yield from checks_changed(cells, trees)
    for id in [id for id in trees if id not in given_cells()]:  # checks.bernoulli() is none
        for name in sorted(filter(FORBIDDEN.fullmatch, library_names(trees[id]))):
            yield f"{name}, in {id}, is library-made probability: write the density or sample out"
    yield from pictures_missing(notebook)


def not_run(cells, trees):
    for id, cell in cells.items():
        ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
        if trees[id].body and (cell.execution_count is None or (ignored and not cell.outputs)):
            first_line = cell.source.splitlines()[0]
            yield f"{id} was not run, or lost its outputs: run all cells and save ({first_line})"


def checks_changed(cells, trees):
    given = given_cells()
    for id, source in given.items():
        if id not in cells:
            yield f"{id} is missing: copy this cell from the assignment"
        elif cells[id].source != source or cells[id].metadata.get("tags"):
            yield f"{id} is not as it is in the assignment: restore this cell"
    if [id for id in cells if id in given] != [id for id in given if id in cells]:
        yield "the check cells are not in the order of the assignment"
    for id, tree in trees.items():
        if id not in given and "checks" in defined_names(tree):
            yield f"checks, in {id}, is the name that the checks use: choose another"


def pictures_missing(notebook):
    section, shown = None, set()
    for cell in notebook.cells:
        section = cell.id if cell.id in PICTURES else section
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            shown.add(section)
    for section, picture in PICTURES.items():
        if section not in shown:
            yield f"{picture}, is missing"


def parsed(source):
    """The syntax tree of a cell, what only IPython understands translated."""
    source = re.sub(r"\A\s*%%.*", "", source)  # a cell magic, whose cell would become a string
    try:
        source = TransformerManager().transform_cell(source)
        compile(source, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        return ast.parse(source)
    except SyntaxError:
        return ast.parse("...")  # running it will tell


def defined_names(tree):
    """The names that a cell itself, not a function in it, defines or imports."""
    symbols = symtable.symtable(ast.unparse(tree), "cell", "exec").get_symbols()
    return {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()}


def library_names(tree):
    """The parts of all names that a cell imports, and of all attributes that it uses."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in [getattr(node, "module", ""), *(alias.name for alias in node.names)]:
                names |= set((name or "").split("."))
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
    return names
