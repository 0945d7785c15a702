"""What can be seen of a handed-in notebook without running it, and its given cells put back.

nbval compares a notebook with itself. It cannot see that a check was changed and run again, or that
outputs were stripped: with nothing stored there is nothing to compare.
"""

import ast
import re
import symtable
from copy import deepcopy
from functools import cache

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from instructor.cells import LAST_GRADED, PICTURES, TRAINING, is_check
from instructor.grading.sandbox import ROOT
from vae_checks.library import FORBIDDEN

NOTEBOOK = "vae_assignment.ipynb"
LARGEST = 50 * 2**20  # bytes


class Refused(Exception):
    """Why a notebook cannot be graded, in one line."""


def read(path):
    if path.stat().st_size > LARGEST:
        raise Refused(f"{path.name} has more than {LARGEST >> 20} MB: what does it print?")
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # whatever a broken file leads to
        reason = " ".join(str(error).split())[:200]
        raise Refused(f"{path.name} cannot be read as a notebook: {reason}") from None


@cache
def given():
    """The cells of the assignment itself, by id."""
    return {cell.id: cell for cell in read(ROOT / NOTEBOOK).cells}


def is_hers(cell):
    """Whether it is for the student to fill in this cell of the assignment."""
    return "### BEGIN SOLUTION" in cell.source


# What is wrong with it -----------------------------------------------------------------------


def problems_of(notebook):
    """One line for each problem: cells not run, checks changed, library-made probability, ..."""
    if any("id" not in cell for cell in notebook.cells):
        yield "its cells have no ids: it must be made from the assignment, by a recent Jupyter"
        return
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    trees = {id: parsed(cell.source) for id, cell in cells.items()}
    not_run = [id for id, cell in cells.items() if trees[id].body and was_not_run(cell)]
    if not_run:
        others = f", and so did {len(not_run) - 1} more" if not_run[1:] else ""
        yield f"{not_run[0]} was not run, or lost its outputs{others}: run all cells and save"
    yield from checks_changed(cells)
    for id, tree in trees.items():
        if "checks" in defined_names(tree) and id != "checks":
            yield f"checks, in {id}, is the name that the checks use: choose another"
        found = set() if is_check(id) else library_names(tree)  # checks.bernoulli() is no library's
        for name in sorted(filter(FORBIDDEN.fullmatch, found)):
            yield f"{name}, in {id}, is library-made probability: write the density or sample out"
    section, shown = None, set()
    for cell in notebook.cells:
        section = cell.id if cell.id in PICTURES else section
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            shown.add(section)
    yield from (f"{PICTURES[id]}, is missing" for id in PICTURES if id not in shown)


def was_not_run(cell):
    ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
    return cell.execution_count is None or (ignored and not cell.outputs)


def checks_changed(cells):
    checks = [id for id in given() if is_check(id) or id == "checks"]
    for id in checks:
        if id not in cells:
            yield f"{id} is missing: copy this cell from the assignment"
        elif cells[id].source != given()[id].source or cells[id].metadata.get("tags"):
            yield f"{id} is not as it is in the assignment: restore this cell"
    if [id for id in cells if id in checks] != [id for id in checks if id in cells]:
        yield "the check cells are not in the order of the assignment"


def parsed(source):
    """The syntax tree of a cell, what only IPython understands translated."""
    source = re.sub(r"\A\s*%%.*", "", source)  # a cell magic, whose cell would become a string
    try:
        source = TransformerManager().transform_cell(source)
        compile(source, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
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


# Put back ------------------------------------------------------------------------------------


def put_back(notebook):
    """The cells of her notebook in the assignment's order, with the given code cells as given.

    A cell that she added stays behind the cell that it stood behind. A given cell that she edited
    runs first as she left it (what she imports or defines there is needed), then as it was given.
    The last part, below picture 4, is left out: it is given, and not graded.
    """
    hers, added, place = {}, {None: []}, None
    for number, cell in enumerate(deepcopy(notebook.cells)):
        if cell.id in given() and cell.id not in hers:
            place, added[cell.id] = cell.id, []
            hers[place] = cell
        else:
            added[place].append(renamed(cell, number))
    cells = added[None]
    for id, original in given().items():
        mine = [hers[id]] if id in hers else []
        if original.cell_type == "code" and not is_hers(original):
            edited = mine and mine[0].source != original.source
            runs_first = edited and not is_check(id) and id not in ("checks", TRAINING)
            mine = [renamed(cell, "edited") for cell in mine if runs_first] + [deepcopy(original)]
        cells += mine + added.get(id, [])
        if id == LAST_GRADED:
            break
    return cells


def renamed(cell, prefix):
    """With an id that no other cell has, the same in every process."""
    return nbformat.from_dict({**cell, "id": f"{prefix}-{cell.id}"})


def find_ids(notebook):
    """Give the cells the assignment's ids, by their source or by the names that they define.

    Nothing if they have some; else one line that says so. Refused where it is not certain.
    """
    cells = notebook.cells
    if any(cell.get("id") in given() for cell in cells):
        return
    sources = {id: cell.source.split() for id, cell in given().items()}
    for cell in cells:
        matches = [id for id, source in sources.items() if source == cell.source.split()]
        cell.id = matches[0] if matches else "cell"
        sources.pop(cell.id, None)
    rest = [cell for cell in cells if cell.id == "cell" and cell.cell_type == "code"]
    for id in [id for id in sources if is_hers(given()[id]) and names_of_its_own(id)]:
        names = names_of_its_own(id)
        overlaps = [len(names & defined_names(parsed(cell.source))) for cell in rest]
        if overlaps.count(max(overlaps, default=0)) != 1:
            which = ", ".join(sorted(names))
            raise Refused(f"its cells lost their ids, and it is not certain which defines {which}")
        rest[overlaps.index(max(overlaps))].id = id
    yield "its cells have lost their ids: they were recognized by what they hold"


@cache
def names_of_its_own(id):
    """The names that this cell of the assignment defines, and no other."""
    code = [cell for cell in given().values() if cell.cell_type == "code"]
    names = {cell.id: defined_names(parsed(cell.source)) - {"_"} for cell in code}
    return names.pop(id, set()).difference(*names.values())
