"""Write the students' folder, or a .zip of it: the assignment with blanks, and all that it needs.

A solution between ### BEGIN SOLUTION and ### END SOLUTION in the notebook or in vae_helpers.py is
replaced by a line that says, when it is run, what is not written yet and which text asks for it; a
text cell that is a solution in nbgrader's metadata becomes a blank answer. The cells that students
are not to change cannot be edited or deleted in Jupyter.
"""

import re
import shutil
import tempfile
from pathlib import Path

import nbformat
from ipykernel.ipkernel import IPythonKernel

from instructor.assignment import HANDED_OUT, HELPERS, NOTEBOOK, files_of, has_tag, is_to_write
from instructor.blanks import blanked, with_texts
from instructor.check import require_consistent, table_of_points, title_of
from instructor.files import ROOT, read_notebook

FOR_STUDENTS = Path(__file__).with_name("for_students")  # README.md and pytest.ini
ANSWER = "*Write your answer here.*"
# The rest of requirements.txt is for instructors and graders alone.
INSTRUCTORS_REQUIREMENTS = re.compile(r"(?ms)^# Instructors and graders.*")


def make_handout(target):
    """Write the hand-out into a new folder or, if its name ends in .zip, into a new .zip.

    Raises: ValueError for an assignment that does not agree with itself, FileExistsError for a
    target that is there.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists already: remove it, or give another name.")
    require_consistent()
    if target.suffix == ".zip":
        with tempfile.TemporaryDirectory() as scratch:
            write_folder(Path(scratch, "handout"))
            shutil.make_archive(target.with_suffix(""), "zip", Path(scratch, "handout"))
    else:
        write_folder(target)


def write_folder(folder):
    notebook = read_notebook(ROOT / NOTEBOOK)
    texts = [text for _, text in with_texts(notebook)]
    first_text = notebook.cells[0].source
    folder.mkdir(parents=True)
    for path in files_of(HANDED_OUT):
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    shutil.copyfile(FOR_STUDENTS / "pytest.ini", folder / "pytest.ini")

    readme = (FOR_STUDENTS / "README.md").read_text("utf-8")
    readme = readme.replace("{title}", title_of(first_text))
    readme = readme.replace("{points}", table_of_points(first_text))
    (folder / "README.md").write_text(readme, "utf-8")

    requirements = (ROOT / "requirements.txt").read_text("utf-8")
    requirements = INSTRUCTORS_REQUIREMENTS.sub("", requirements).strip() + "\n"
    (folder / "requirements.txt").write_text(requirements, "utf-8")

    helpers = blanked((ROOT / HELPERS).read_text("utf-8"), texts)
    (folder / HELPERS).write_text(helpers, "utf-8")
    put_blanks(notebook)
    nbformat.write(notebook, folder / NOTEBOOK)


def put_blanks(notebook):
    """Put blanks for the solutions, and leave the outputs out, in place."""
    for cell, text in with_texts(notebook):
        if cell.cell_type == "code":
            cell.source = blanked(cell.source, [text], has_tag(cell, "picture"))
            cell.outputs, cell.execution_count = [], None
        elif is_to_write(cell):
            cell.source = ANSWER
        if cell.metadata.get("nbgrader", {}).get("locked"):
            cell.metadata |= {"editable": False, "deletable": False}
    # JupyterLab writes this as soon as the notebook is opened: where it differs (it names this
    # Python's version), the notebook is marked as modified.
    notebook.metadata.language_info = IPythonKernel.language_info
