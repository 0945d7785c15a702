"""Which cell of a handed-in notebook is which of the assignment's, and the given cells put back."""

import re
from copy import deepcopy

from nbformat.v4 import new_code_cell

from instructor.assignment import CHECKS, assignment_cells, is_graded, is_to_write, is_training
from instructor.source import statements


def identify(notebook):
    """Give each cell the id of the cell of the assignment that it is, or one of its own, in place.

    A cell is known by its id, else by nbgrader's (Colab and VS Code keep it in the metadata), else,
    if it was given, by its source. All ids are the same at each reading.
    Returns a remark if the ids were lost, else None.
    """
    id_at, place_of = {}, {}  # of the cells that are known

    def claim(id_for):
        for place, cell in enumerate(notebook.cells):
            id = id_for(cell)
            if id in assignment_cells() and id not in place_of and place not in id_at:
                id_at[place], place_of[id] = id, place

    claim(lambda cell: cell.get("id"))
    ids_are_lost = not place_of
    claim(lambda cell: cell.metadata.get("nbgrader", {}).get("grade_id"))
    given = [cell for cell in assignment_cells().values() if not is_to_write(cell)]
    id_of_source = {words(cell): cell.id for cell in given}
    claim(lambda cell: id_of_source.get(words(cell)))

    used = set(assignment_cells())
    for place, cell in enumerate(notebook.cells):
        own = cell.get("id", "")
        if place in id_at:
            cell.id = id_at[place]
        elif own in used or not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", own):
            cell.id = f"own-{place}"
        used.add(cell.id)
    if ids_are_lost:
        return "its cells have lost their ids: the given ones were recognized by what they hold"
    return None


def words(cell):
    """The source of a cell, whatever an editor has done to its spaces."""
    return " ".join(cell.source.split())


def put_back(notebook):
    """The cells of an identified notebook in the assignment's order, with the given code as given.

    A cell that the student added stays behind the cell that it stood behind. Before a given cell
    that they edited runs what is new in it, since what it defines is needed. Given code that is not
    graded is left out, and what the student added behind it is not to be run.
    Returns the cells, and the ids of those that are not to be run.
    """
    handed_in, added, place = {}, {None: []}, None
    for cell in notebook.cells:
        if cell.id in assignment_cells():
            place = cell.id
            handed_in[place], added[place] = cell, []
        else:
            added[place].append(cell)

    cells, not_run, runs = added[None], set(), True
    for id, original in assignment_cells().items():
        if original.cell_type != "code" or is_to_write(original):
            if id in handed_in:
                cells.append(handed_in[id])
        elif is_graded(original):
            if id in handed_in and id != CHECKS and not is_training(id):
                cells += edited(handed_in[id], original)
            cells.append(deepcopy(original))
        if original.cell_type == "code":
            runs = is_graded(original)
        cells += added.get(id, [])
        if not runs:
            not_run |= {cell.id for cell in added.get(id, [])}
    return cells, not_run


def edited(cell, original):
    """What is new in a given cell that the student edited, as cells of one statement each.

    So what fails (a platform's own import, say) does not take the rest with it.
    """
    given_parts = statements(original.source)
    parts = statements(cell.source) if cell.cell_type == "code" else []
    new = [part for part in parts if part not in given_parts]
    return [new_code_cell(part, id=f"edited-{n}-{cell.id}") for n, part in enumerate(new)]
