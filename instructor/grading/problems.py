"""What is wrong with a handed-in notebook that running it does not tell.

nbval compares a notebook with itself. It cannot see that a check was changed and run again, or that
outputs were stripped: with nothing stored there is nothing to compare.
"""

import re

from instructor.cells import LAST_PART, PICTURES, is_check
from instructor.grading.restored import given
from instructor.grading.source import defined_names, library_names, python_of
from vae_checks.library import FORBIDDEN


def problems_of(notebook):
    """One line for each problem: cells not run, checks changed, library-made probability, ...

    The cells must have ids: see restored.identify.
    """
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    yield from not_run(cells)
    yield from checks_changed(cells)
    for id, cell in cells.items():
        if "checks" in defined_names(cell.source) and id != "checks":
            yield f"checks, in {id}, is the name that the checks use: choose another"
    written = {id: python_of(cell.source) for id, cell in cells.items() if not is_check(id)}
    yield from (f"{id} {USES_CHECKS}" for id in written if uses_checks(written[id]))
    found = library_names("\n".join(written.values()))
    for name in sorted(filter(FORBIDDEN.fullmatch, found)):
        id = next(id for id, source in written.items() if name in library_names(source))
        yield f"{name}, in {id}, is library-made probability: write the density or sample out"
    section, shown = None, set()
    for cell in notebook.cells:
        section = cell.id if cell.id in {*PICTURES, LAST_PART} else section
        outputs = [output.get("data", {}) for output in cell.get("outputs", [])]
        if any(kind.startswith("image/") for data in outputs for kind in data):
            shown.add(section)
    yield from (f"{PICTURES[id]}, is missing" for id in PICTURES if id not in shown)


USES_CHECKS = "uses what the checks are made of, which know the solution: see what it does"


def uses_checks(source):
    """Whether a source names the package of the checks but to import Checks."""
    return bool(re.search(r"\bvae_checks\b(?! import Checks\b)", source))


def not_run(cells):
    found = [id for id, cell in cells.items() if cell.source.strip() and was_not_run(cell)]
    if found:
        others = f", and so did {len(found) - 1} more" if found[1:] else ""
        yield f"{found[0]} was not run, or lost its outputs{others}: run all cells and save"


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
