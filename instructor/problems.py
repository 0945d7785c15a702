"""What is wrong with a handed-in notebook that running it does not tell.

nbval compares a notebook with itself. It cannot see that a check was changed and run again, or that
outputs were stripped: with nothing stored there is nothing to compare.
"""

import re

from instructor.assignment import (
    CHECKS,
    assignment_cells,
    is_check,
    is_to_write,
    names_of_cells,
    names_of_pictures,
    points_of_checks,
    sections_with_pictures,
    shows_a_picture,
)
from instructor.source import defined_names, library_names, python_of
from vae_checks.library import FORBIDDEN

USES_CHECKS = "uses what the checks are made of, which know the solution: see what it does"


def problems_of(notebook):
    """One line for each problem: cells not run, checks changed, library-made probability, ...

    The cells must have ids: see submitted_cells.identify.
    """
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    names = names_of_cells(notebook.cells)
    yield from not_run(cells, names)
    yield from checks_changed(cells)
    yield from library_made(cells, names)
    for id, cell in cells.items():
        if "checks" in defined_names(cell.source) and id != CHECKS:
            yield f"checks, in {names[id]}, is the name that the checks use: choose another"
        if not is_check(id) and uses_checks(python_of(cell.source)):
            yield f"{names[id]} {USES_CHECKS}"
    shown = pictures_shown(notebook)
    if missing := [name for id, name in names_of_pictures().items() if id not in shown]:
        yield f"not shown: {'; '.join(missing)}"


def uses_checks(source):
    """Whether a source names the package of the checks but to import Checks."""
    return bool(re.search(r"\bvae_checks\b(?! import Checks\b)", source))


def not_run(cells, names):
    found = [id for id, cell in cells.items() if cell.source.strip() and was_not_run(cell)]
    if found:
        others = f", and so did {len(found) - 1} more" if found[1:] else ""
        yield f"{names[found[0]]} was not run, or lost its outputs{others}: run all cells and save"


def was_not_run(cell):
    ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
    return cell.execution_count is None or (ignored and not cell.outputs)


def checks_changed(cells):
    checks = [CHECKS, *points_of_checks()]
    if missing := [id for id in checks if id not in cells]:
        yield f"missing: {', '.join(missing)}; copy from the assignment what has been deleted"
    there = [id for id in checks if id in cells]
    for id in there:
        original = assignment_cells()[id]
        tags, given_tags = (cell.metadata.get("tags", []) for cell in (cells[id], original))
        if cells[id].source != original.source or not set(tags) <= set(given_tags):
            yield f"{id} is not as it is in the assignment: restore this cell"
    if [id for id in cells if id in checks] != there:
        yield "the check cells are not in the order of the assignment"


def library_made(cells, names):
    """Densities and samplers that a library has written out, and the first cell that uses each."""
    written = {id: cell.source for id, cell in cells.items() if not is_check(id)}
    found = library_names("\n".join(map(python_of, written.values())))
    for name in sorted(filter(FORBIDDEN.fullmatch, found)):
        id = next(id for id, source in written.items() if name in library_names(source))
        remark = "is library-made probability: write the density or sample out"
        yield f"{name}, in {names[id]}, {remark}"


def pictures_shown(notebook):
    """The ids of the assignment's cells of pictures whose sections show one.

    A picture counts in each cell of its section but those that are given: in the student's own.
    """
    section, shown = None, set()
    for cell in notebook.cells:
        original = assignment_cells().get(cell.id)
        if original:
            section = sections_with_pictures()[cell.id]
        if (original is None or is_to_write(original)) and shows_a_picture(cell):
            shown.add(section)
    return shown
