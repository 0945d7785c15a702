"""Which cell of a handed-in notebook is which of the assignment's, and the given cells put back."""

import re
from copy import deepcopy
from functools import cache

from nbformat.v4 import new_code_cell

from instructor.cells import LAST_PART, TRAINING, is_check
from instructor.files import ROOT, read_notebook
from instructor.grading.source import defined_names, statements


@cache
def given():
    """The cells of the assignment itself, by id."""
    return {cell.id: cell for cell in read_notebook(ROOT / "vae_assignment.ipynb").cells}


def is_to_write(cell):
    """Whether the student is to fill in this code cell of the assignment."""
    return "### BEGIN SOLUTION" in cell.source


def identify(notebook):
    """Give each cell the id of the cell of the assignment that it is, or one of its own, in place.

    A cell is known by its id, else by nbgrader's (Colab and VS Code keep it in the metadata), else
    by its source or heading, else, where the student is to write it, by the names that it defines.
    All ids are the same at each reading. Returns a remark if the ids were lost, else None.
    """
    cells, place_of = notebook.cells, {}

    def claim(key_of):
        for place, cell in enumerate(cells):
            id = key_of(cell)
            if id in given() and id not in place_of and place not in place_of.values():
                place_of[id] = place

    claim(lambda cell: cell.get("id"))
    lost = not place_of
    claim(lambda cell: cell.metadata.get("nbgrader", {}).get("grade_id"))
    for look in (words, heading):
        ids = {look(cell): id for id, cell in reversed(given().items()) if look(cell)}
        claim(lambda cell: ids.get(look(cell)))
    for id in [id for id, cell in given().items() if is_to_write(cell) and id not in place_of]:
        place = best_match(id, cells, place_of)
        if place is not None:
            place_of[id] = place
    id_at = {place: id for id, place in place_of.items()}
    used = set(given())
    for place, cell in enumerate(cells):
        own = cell.get("id", "")
        is_free = own not in used and not is_check(own) and re.fullmatch(r"[\w-]{1,64}", own, re.A)
        cell.id = id_at.get(place) or (own if is_free else f"own-{place}")
        used.add(cell.id)
    return "its cells have lost their ids: they were recognized by what they hold" if lost else None


def words(cell):
    return " ".join(cell.source.split())


def heading(cell):
    return (
        cell.cell_type == "markdown" and cell.source.startswith("#") and cell.source.split("\n")[0]
    )


def best_match(id, cells, place_of):
    """The place of the cell that defines most of what the cell `id` is to define, or None.

    Of several, which may be earlier attempts, it is the last one above the check of that cell: when
    the notebook is run from top to bottom, that one counts.
    """
    overlaps = {
        place: len(names_of_its_own(id) & defined_names(cell.source))
        for place, cell in enumerate(cells)
        if cell.cell_type == "code" and place not in place_of.values()
    }
    ids = [*given()]
    checks = [place_of[i] for i in ids[ids.index(id) :] if is_check(i) and i in place_of]
    matches = [place for place, overlap in overlaps.items() if overlap]
    above = [place for place in matches if place < min(checks, default=len(cells))]
    return max(above or matches, key=lambda place: (overlaps[place], place), default=None)


@cache
def names_of_its_own(id):
    """The names that this cell of the assignment defines, and no other."""
    code = [cell for cell in given().values() if cell.cell_type == "code"]
    names = {cell.id: defined_names(cell.source) - {"_"} for cell in code}
    return names.pop(id, set()).difference(*names.values())


def put_back(notebook):
    """The cells of an identified notebook in the assignment's order, with the given code as given.

    A cell that the student added stays behind the cell that it stood behind. Before a given cell
    that they edited runs what is new in it, since what it defines is needed. The last part, below
    picture 4, is left out: it is not graded.
    """
    handed_in, added, place = {}, {None: []}, None
    for cell in notebook.cells:
        if cell.id in given():
            place, added[cell.id] = cell.id, []
            handed_in[place] = cell
        else:
            added[place].append(cell)
    cells = added[None]
    for id, original in given().items():
        if id == LAST_PART:
            break
        if original.cell_type == "code" and not is_to_write(original):
            if id in handed_in and id not in ("checks", TRAINING):
                cells += edited(handed_in[id], original)
            cells.append(deepcopy(original))
        elif id in handed_in:
            cells.append(handed_in[id])
        cells += added.get(id, [])
    return cells


def edited(cell, original):
    """What is new in a given cell that the student edited, as cells of one statement each.

    So what fails (a platform's own import, say) does not take the rest with it.
    """
    given_parts = statements(original.source)
    parts = statements(cell.source) if cell.cell_type == "code" else []
    new = [part for part in parts if part not in given_parts]
    return [new_code_cell(part, id=f"edited-{n}-{cell.id}") for n, part in enumerate(new)]
