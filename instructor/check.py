"""Whether the assignment agrees with itself, before it is executed, handed out or used for grades.

Facts about a cell stand in its metadata. What repeats them for people (the table in the first cell,
the texts that ask for something) is compared with them here.
"""

import re

from instructor.assignment import HELPERS, NOTEBOOK, has_tag, is_to_write, names_of_cells
from instructor.blanks import BEGIN, REGION, blanked, names_of, with_texts
from instructor.files import ROOT, read_notebook
from vae_checks import Checks

CALL = re.compile(r"checks\.(\w+)\(\)")
TABLE = re.compile(r"(?m)(?:^\|.*\n?)+")
POINTS = re.compile(r"`(\w+)` (\d+)")
NAME = re.compile(r"`(\w+)`")
TOTAL = re.compile(r"\| *(\d+) *\|")
ATTACHMENT = re.compile(r"\(attachment:([^)]+)\)")


def require_consistent(outputs=True):
    """What the assignment consists of, in one line.

    outputs: whether the notebook must hold those of a whole run.
    Raises: ValueError with a line for each place that does not fit.
    """
    notebook = read_notebook(ROOT / NOTEBOOK)
    helpers = (ROOT / HELPERS).read_text("utf-8")
    problems = [*problems_of_edition(notebook, helpers, outputs)]
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise ValueError(f"{NOTEBOOK} does not agree with itself:\n{listed}")
    points = [role_of(cell)["points"] for cell in notebook.cells if is_check(cell)]
    sources = [helpers, *(cell.source for cell in notebook.cells)]
    n_blanks = sum(len(REGION.findall(source)) for source in sources)
    n_pictures = sum(has_tag(cell, "picture") for cell in notebook.cells)
    return f"{len(points)} checks, {sum(points)} points, {n_blanks} blanks, {n_pictures} pictures"


def problems_of_edition(notebook, helpers, outputs=True):
    """A line for each place of the notebook, or of the helpers' source, that does not fit."""
    problems = [*problems_of_ids(notebook)]
    if problems:  # all else is said of cells by their ids
        yield from problems
        return
    names = names_of_cells(notebook.cells)
    yield from problems_of_first_cell(notebook, helpers)
    for cell in notebook.cells:
        problems = [*problems_of_role(cell), *problems_of_attachments(cell)]
        if outputs and cell.cell_type == "code":
            problems += problems_of_outputs(cell)
        yield from (f"{names[cell.id]}: {problem}" for problem in problems)
    yield from problems_of_all_checks(notebook)
    yield from problems_of_blanks(notebook, helpers, names)
    n_training = sum(has_tag(cell, "training") for cell in notebook.cells)
    if n_training != 1:
        yield f"{n_training} cells have the tag `training`, expected one: the cell that trains"


def role_of(cell):
    return cell.metadata.get("nbgrader", {})


def problems_of_ids(notebook):
    ids = [cell.get("id") for cell in notebook.cells]
    if None in ids:
        yield f"{ids.count(None)} cells have lost their ids: restore them from an earlier version"
    for id in dict.fromkeys(ids):
        if id and ids.count(id) > 1:
            yield f"{id} is the id of {ids.count(id)} cells"
    known = {cell.get("id"): role_of(cell).get("grade_id") for cell in notebook.cells}
    changed = [id for id, grade_id in known.items() if id and grade_id and id != grade_id]
    if changed:
        example = f"{changed[0]} for {known[changed[0]]}"
        yield f"{len(changed)} cells have other ids than nbgrader's `grade_id`: {example}"


def is_check(cell):
    """Whether this cell gives points to what a student wrote."""
    return cell.cell_type == "code" and role_of(cell).get("grade", False)


# The first cell ----------------------------------------------------------------------------------


def title_of(first_text):
    return re.search(r"(?m)^# (.*)", first_text)[1]


def table_of_points(first_text):
    """The table that lists checks and their points; empty if there is none."""
    tables = [table.strip() for table in TABLE.findall(first_text)]
    return next((table for table in tables if POINTS.search(table)), "")


def problems_of_first_cell(notebook, helpers):
    """Its title, and its table against the points in the metadata and against the blanks."""
    text = notebook.cells[0].source
    if not re.search(r"(?m)^# ", text):
        yield "the first cell has no title, a line that begins with #"
    table = table_of_points(text)
    if not table:
        yield "the first cell has no table with the points of checks, such as `elbo` 10"
        return
    in_table = {name: int(points) for name, points in POINTS.findall(table)}
    in_metadata = {}
    for cell in notebook.cells:
        call = CALL.search(cell.source)
        if is_check(cell) and call:
            in_metadata[call[1]] = role_of(cell).get("points")
    for name in dict.fromkeys([*in_metadata, *in_table]):
        if in_table.get(name) != in_metadata.get(name):
            given = "but there is no such check"
            if name in in_metadata:
                given = f"{in_metadata[name]} in the check's metadata"
            listed = in_table.get(name, "no")
            yield f"{name}: {listed} points in the table of the first cell, {given}"
    tasks = [name for row in table.splitlines() for name in NAME.findall(row.split("|")[2])]
    sources = [helpers, *(cell.source for cell in notebook.cells)]
    regions = [region for source in sources for region in REGION.finditer(source)]
    written = {name for region in regions for name in names_of(region)}
    for name in tasks:
        if name not in written:
            yield f"{name} is a task in the table of the first cell, but no blank defines it"
    total, in_last_row = sum(in_table.values()), TOTAL.search(table.splitlines()[-1])
    if not in_last_row:
        yield f"the table of the first cell has no total in its last row: {total}"
    elif int(in_last_row[1]) != total:
        yield f"the points in the table of the first cell add up to {total}, not {in_last_row[1]}"


# Each cell ---------------------------------------------------------------------------------------


def problems_of_role(cell):
    """Whether its metadata say what its source and id say: a check, a solution, a picture."""
    role, call = role_of(cell), CALL.fullmatch(cell.source.strip())
    if is_check(cell):
        if not call or not hasattr(Checks, call[1]):
            yield f"it has points, but does not call a check of vae_checks: {cell.source[:40]!r}"
        if not isinstance(role.get("points"), int):
            yield "its metadata have no points"
        if has_tag(cell, "not-graded"):
            yield "it has points and the tag `not-graded`: remove one of them"
        if not role.get("locked"):
            yield "it is a check, but its metadata do not lock it"
    elif cell.id.startswith("check-"):
        yield "it is a check, but its metadata do not say so: nbgrader's `grade` and `points`"
    elif call and call[1] != "summary":
        yield "it calls a check: its id has to begin with check-, and its metadata to have points"
    if cell.cell_type == "code" and (BEGIN in cell.source) != is_to_write(cell):
        yield f"{BEGIN} and the metadata, nbgrader's `solution`, disagree"


def problems_of_attachments(cell):
    for name in ATTACHMENT.findall(cell.source):
        if name not in cell.get("attachments", {}):
            yield f"the picture {name} is not attached to it"


def problems_of_outputs(cell):
    outputs, tags = cell.outputs, cell.metadata.get("tags", [])
    if cell.source.strip() and cell.execution_count is None:
        yield "it was not executed: run `python -m instructor execute`"
    elif any(output.output_type == "error" for output in outputs):
        yield "it stores an error"
    elif not outputs and (is_check(cell) or "nbval-ignore-output" in tags):
        yield "its outputs are missing: run `python -m instructor execute`"
    elif "picture" in tags and not any("image/png" in o.get("data", {}) for o in outputs):
        yield "it has the tag `picture`, but stores none"


# All of them -------------------------------------------------------------------------------------


def problems_of_all_checks(notebook):
    calls = [cell.source.strip() for cell in notebook.cells if is_check(cell)]
    for call in dict.fromkeys(calls):
        if calls.count(call) > 1:
            yield f"{call} stands in {calls.count(call)} cells"


def problems_of_blanks(notebook, helpers, names):
    """Whether all marks are in pairs, and a text asks for each solution."""
    for cell, text in with_texts(notebook):
        if cell.cell_type == "code":
            try:
                blanked(cell.source, [text], has_tag(cell, "picture"))
            except ValueError as problem:
                yield f"{names[cell.id]}: {problem}"
    try:
        blanked(helpers, [text for _, text in with_texts(notebook)])
    except ValueError as problem:
        yield f"{HELPERS}: {problem}"
