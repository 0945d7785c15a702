"""The assignment: which files belong to it, and what its notebook says about its cells.

Everything that tools know about a cell stands in the notebook, in nbgrader's metadata (`grade`,
`points`, `solution`) and in tags:

training          trains the networks: it gets more time, and is not run twice
picture           must show a picture, which is named by the heading above
checks-helpers    checks what the student wrote in vae_helpers.py
not-graded        is given and takes long: the grader does not run it
"""

import re
from functools import cache

from instructor.files import ROOT, read_notebook
from instructor.source import first_name

NOTEBOOK, HELPERS = "vae_assignment.ipynb", "vae_helpers.py"

# Files, as patterns below ROOT. What a student's code needs beside the student's own two files:
SHARED = ["vae_checks/*.py", "vae_digits.py", "vae_explorer/*.*", "data/*.gz"]
TESTS_OF_HELPERS = "tests/helpers/test_*.py"
# What a hand-out is made of beside the two files with blanks:
HANDED_OUT = ["requirements.txt", *SHARED, TESTS_OF_HELPERS]
# With another version of one of these a submission is graded again:
GRADED_WITH = [NOTEBOOK, HELPERS, *SHARED, TESTS_OF_HELPERS, "instructor/**/*.py"]
GRADED_WITH += ["instructor/grading/templates/*"]
# What the sandbox shows: the files and folders in ROOT that hold the shared ones, and any digits
# that were downloaded into them.
SHOWN = sorted({pattern.split("/")[0] for pattern in SHARED})


def files_of(patterns, root=ROOT):
    """The paths of the files that match one of the patterns below root, sorted."""
    return sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()})


# Cells -------------------------------------------------------------------------------------------

CHECKS = "checks"  # the id of the cell that makes the object of this name


@cache
def assignment_cells():
    """The cells of the assignment's notebook, by id."""
    return {cell.id: cell for cell in read_notebook(ROOT / NOTEBOOK).cells}


@cache
def points_of_checks():
    """The points of each check, by the id of its cell, in the notebook's order."""
    code = [cell for cell in assignment_cells().values() if cell.cell_type == "code"]
    roles = {cell.id: cell.metadata.get("nbgrader", {}) for cell in code}
    return {id: role.get("points", 0) for id, role in roles.items() if role.get("grade")}


def is_check(id):
    """Whether the assignment's cell with this id checks what a student wrote."""
    return id in points_of_checks()


def checks_of_helpers():
    """The ids of the checks of vae_helpers.py."""
    return {id for id, cell in assignment_cells().items() if has_tag(cell, "checks-helpers")}


def is_training(id):
    """Whether the assignment's cell with this id trains the networks."""
    return id in assignment_cells() and has_tag(assignment_cells()[id], "training")


def is_graded(cell):
    """Whether the grader runs this cell of the assignment."""
    return not has_tag(cell, "not-graded")


def is_to_write(cell):
    """Whether the student is to write this cell of the assignment."""
    return cell.metadata.get("nbgrader", {}).get("solution", False)


def has_tag(cell, tag):
    return tag in cell.metadata.get("tags", [])


@cache
def names_of_pictures():
    """The name of each picture, the heading above it, by the id of the cell that shows it."""
    headings = headings_of(assignment_cells().values())
    cells = assignment_cells().items()
    return {id: headings[id] for id, cell in cells if has_tag(cell, "picture")}


@cache
def sections_with_pictures():
    """For each cell of the assignment in the section of a picture, the id of the picture's cell."""
    headings = headings_of(assignment_cells().values())
    picture_below = {heading: id for id, heading in names_of_pictures().items()}
    return {id: picture_below.get(heading) for id, heading in headings.items()}


# The cells of any notebook -----------------------------------------------------------------------


def cell_of(notebook, id):
    """The notebook's cell with this id."""
    return next(cell for cell in notebook.cells if cell.get("id") == id)


def headings_of(cells):
    """The text of the last heading down to each of the cells, by id."""
    headings, heading = {}, ""
    for cell in cells:
        if cell.cell_type == "markdown":
            found = re.findall(r"(?m)^#+ +(.*?) *#*$", cell.source)
            heading = found[-1] if found else heading
        headings[cell.id] = heading
    return headings


def names_of_cells(cells):
    """A name for each of the cells, by id: "elbo (The estimate and its gradient)".

    A cell is called by its id, or where that is a number by the first name that it defines.
    """
    headings = headings_of(cells)
    names = {}
    for cell in cells:
        name = cell.id
        if re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", cell.id):
            first_line = cell.source.strip().partition("\n")[0]
            name = first_name(cell.source) or first_line[:40] or cell.id
        heading = headings[cell.id]
        names[cell.id] = f"{name} ({heading})" if heading and name != heading else name
    return names


def pictures_of(cell):
    """The PNG pictures that a cell stores, as base64 text."""
    found = (output.get("data", {}).get("image/png") for output in cell.get("outputs", []))
    return [png.strip() for png in found if png]


def shows_a_picture(cell):
    """Whether a cell stores a picture in any format."""
    data = [output.get("data", {}) for output in cell.get("outputs", [])]
    return any(kind.startswith("image/") for each in data for kind in each)
