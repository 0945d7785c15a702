"""Write the students' folder: the assignment with blanks, and all that it needs.

What stands between ### BEGIN SOLUTION and ### END SOLUTION in the notebook and in vae_helpers.py is
replaced by a line that says, when it is run, what is not written yet and where its text stands; so
is a whole text cell that is a solution in nbgrader's metadata. The cells that students are not to
change cannot be edited or deleted in Jupyter. The folder must not exist.
"""

import re
import shutil
import symtable
from pathlib import Path
from textwrap import indent

import nbformat
from ipykernel.ipkernel import IPythonKernel

from instructor.files import ROOT

NOTEBOOK, HELPERS = "vae_assignment.ipynb", "vae_helpers.py"
COPIED = [
    "requirements.txt",
    "vae_digits.py",
    *(path.relative_to(ROOT) for path in sorted(ROOT.glob("vae_checks/*.py"))),
    "vae_explorer/__init__.py",
    "vae_explorer/template.html",
    *(path.relative_to(ROOT) for path in sorted(ROOT.glob("data/*.gz"))),
    *(path.relative_to(ROOT) for path in sorted(ROOT.glob("tests/helpers/*.py"))),
]
FOR_STUDENTS = Path(__file__).with_name("for_students")  # README.md and pytest.ini

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
MARK = re.compile(r"(?mi)^.*\b(?:BEGIN|END)\W+SOLUTION.*$")  # misspelled ones, too
REGION = re.compile(rf"(?ms)^( *){BEGIN}\n(.*?)^ *{END}$")
HEADING = re.compile(r"(?m)^#+ (.*)")
ITEM = re.compile(r"(?ms)^(\d+)\. (.*?)(?=^\S|\Z)")  # of a list in a text
POINTS = re.compile(r"(?m)^\| part \|.*\n(?:\|.*\n)+")
ANSWER = "*Write your answer here.*"


def blanked(source, where, texts):
    """The source with a blank for each solution.

    where: names the source in an error; texts: those that may ask for the solution, in order.
    Raises: ValueError for marks that are not in pairs.
    """
    marks = [mark.strip() for mark in MARK.findall(source)]
    if marks != [BEGIN, END] * (len(marks) // 2):
        raise ValueError(f"{where}: each {BEGIN} needs its {END}, both alone on their lines.")

    def blank(region):
        margin, solution = region.groups()
        above = source[: region.start()]
        names = re.findall(r"(?m)^def (\w+)", above)[-1:] if margin else assigned(solution)
        names, place, step = task(names, texts)
        listed = ", ".join(names)
        message = f"{listed} {'is' if len(names) == 1 else 'are'} not written yet: see {place}."
        label = f"# Step {step}: {listed}\n" if step and not margin else ""
        return indent(f'{label}raise NotImplementedError("{message}")', margin)

    return REGION.sub(blank, source)


def assigned(source):
    """The names that a cell assigns at its top level, in order."""
    symbols = symtable.symtable(source, "cell", "exec").get_symbols()
    return [symbol.get_name() for symbol in symbols if symbol.is_assigned()]


def task(names, texts):
    """Those of the names that a text asks for, the place where it does, and the item's number."""
    for text in texts:
        heading, items = HEADING.search(text)[1], ITEM.findall(text)
        for number, item in items:
            if asked_for := [name for name in names if re.search(rf"`{name}\b", item)]:
                return asked_for, f"'{heading}', {number}", number
    if items:  # no name that the text gives: it draws what the steps before have computed
        return ["the plot"], f"'{heading}', {number}", number
    return names, f"'{heading}'", None


def notebook_with_blanks(notebook):
    """Put blanks for the solutions, and leave the outputs out, in place."""
    text = None
    for cell in notebook.cells:
        role = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            blank = blanked(cell.source, f"{NOTEBOOK}, cell {cell.id}", [text])
            if (blank != cell.source) != role.get("solution", False):
                raise ValueError(f"{NOTEBOOK}, cell {cell.id}: its marks and metadata disagree.")
            cell.source = blank
        elif role.get("solution"):
            cell.source = ANSWER
        elif HEADING.search(cell.source):
            text = cell.source
        if role.get("locked"):
            cell.metadata |= {"editable": False, "deletable": False}


def make_handout(folder, root=ROOT):
    """Write the hand-out of the project in root into a new folder.

    Raises: ValueError for marks that do not fit, FileExistsError for a folder that is there.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists already: remove it, or name another folder.")
    notebook = nbformat.read(root / NOTEBOOK, as_version=4)
    texts = [cell.source for cell in notebook.cells if ITEM.search(cell.source)]
    points = POINTS.search(notebook.cells[0].source)[0].strip()
    notebook_with_blanks(notebook)
    # JupyterLab writes this as soon as the notebook is opened: where it differs (it names this
    # Python's version), the notebook is marked as modified.
    notebook.metadata.language_info = IPythonKernel.language_info
    helpers = blanked((root / HELPERS).read_text(), HELPERS, texts)
    shutil.copytree(FOR_STUDENTS, folder)
    readme = (FOR_STUDENTS / "README.md").read_text()
    (folder / "README.md").write_text(readme.replace("{points}", points))
    (folder / HELPERS).write_text(helpers)
    nbformat.write(notebook, folder / NOTEBOOK)
    for name in COPIED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, folder / name)
