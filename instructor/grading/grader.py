"""Grades one submission: its cells are run in a box, and each check gives its points or none."""

import re
import shutil
from dataclasses import dataclass, field

from instructor.assignment import (
    HELPERS,
    NOTEBOOK,
    SHOWN,
    TESTS_OF_HELPERS,
    assignment_cells,
    checks_of_helpers,
    files_of,
    is_check,
    names_of_cells,
    points_of_checks,
)
from instructor.files import read_notebook, read_text
from instructor.grading.roster import printable
from instructor.grading.sandbox import Box
from instructor.grading.session import CellFailed, KernelEnded, Session
from instructor.grading.submitted_cells import identify, put_back
from instructor.limits import FILE_SIZE, MB, MESSAGE
from instructor.problems import USES_CHECKS, problems_of, uses_checks

RUN_TESTS = """
import os, sys
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # which takes longer than the tests
import pytest
sys.path.append(sys.argv[1])  # last, so that no file of the student's shadows a library
options = "-q --tb=no -rf --noconftest -p no:cacheprovider --color=no --rootdir"
sys.exit(pytest.main([*options.split(), *sys.argv[2:]]))
"""
NOT_WRITTEN = re.compile(
    r"(?:NotImplementedError: )?([\w, ]+) (?:is|are) not (?:written yet|defined: write it)"
)


class NoVerdict(Exception):
    """Why nothing can be said about the student's work."""


@dataclass
class Result:
    """What came of a submission: the cells as they ran, messages by cell, remarks, test results."""

    cells: list = field(default_factory=list)
    files: dict = field(default_factory=dict)  # those beside the notebook, by their paths
    helpers: str = ""  # the source, as it was handed in
    messages: dict = field(default_factory=dict)
    remarks: list = field(default_factory=list)
    tests: list = field(default_factory=list)
    passed: set = field(default_factory=set)  # checks
    not_run: set = field(default_factory=set)  # cells
    not_graded: str = ""  # why there is no verdict, if there is none

    def points(self):
        """The points of each check that passed."""
        return {id: worth for id, worth in points_of_checks().items() if id in self.passed}

    def names(self):
        """The names of the cells, by id."""
        return names_of_cells(self.cells)

    def all_remarks(self):
        """The remarks, and the messages: each once, with the names of the cells that it is about.

        What failed only because the work is not finished is one line.
        """
        if self.not_graded:
            return [f"not graded: {self.not_graded}"[:MESSAGE], *self.remarks]
        names, cells_with = self.names(), {}
        blanks = [NOT_WRITTEN.match(message) for message in self.messages.values()]
        blanks = [name for match in blanks if match for name in match[1].split(", ")]
        n_unfinished = 0
        for id, message in self.messages.items():
            if blanks and (NOT_WRITTEN.match(message) or message.startswith("NameError: ")):
                n_unfinished += 1
            else:
                name = id if is_check(id) else names.get(id, id)
                cells_with.setdefault(message, []).append(name)
        errors = [f"{', '.join(cells)}: {message}" for message, cells in cells_with.items()]
        if blanks:
            listed = ", ".join(dict.fromkeys(blanks))
            errors.insert(0, f"not written yet: {listed} ({n_unfinished} cells fail for that)")
        return [text[:MESSAGE] for text in errors + self.remarks]


def grade(submission, n_epochs, limits):
    """Run a submission; the result says what came of it, whatever was handed in."""
    result = Result(remarks=[*submission.remarks])
    try:
        grade_into(result, submission, n_epochs, limits)
    except NoVerdict as reason:
        result.not_graded = str(reason)
    except OSError as error:  # of this machine's disk
        result.not_graded = f"{error}"
    return result


def grade_into(result, submission, n_epochs, limits):
    """Grade a submission into the result. Raises: NoVerdict, OSError."""
    if submission.problem:
        raise NoVerdict(submission.problem)
    left_out = []
    try:
        path = the_notebook(submission)
        notebook = read_notebook(submission.files[path], left_out)
    except ValueError as error:
        result.remarks.insert(0, str(error))
        return
    result.remarks += [f"left out of {printable(path.name)}: {text}" for text in left_out]
    if lost_ids := identify(notebook):
        result.remarks.append(lost_ids)
    result.remarks += problems_of(notebook)
    result.cells, result.not_run = put_back(notebook)
    result.files, left_out = files_for_box(submission, path)
    result.remarks += left_out
    language = notebook.metadata.get("language_info", {})
    run(result, limits, n_epochs, language.get("version") if isinstance(language, dict) else None)
    if HELPERS in result.files:
        result.remarks += remarks_on_helpers(result)
        if not checks_of_helpers() <= result.passed:  # then the tests may say more
            test_helpers(result, limits)
    else:
        result.passed -= checks_of_helpers()
        missing = f"no {HELPERS} was handed in, or more than one: run with the assignment's"
        result.messages |= dict.fromkeys(sorted(checks_of_helpers()), missing)


def the_notebook(submission):
    """The path of the one notebook.

    Raises: ValueError if there is none, or several in one folder, or a huge one; NoVerdict if there
    are several in folders of their own: it may be the work of several students.
    """
    paths = submission.notebooks()
    if not paths:
        found = ", ".join(printable(path.name) for path in submission.files) or "nothing"
        raise ValueError(f"no notebook is there: hand in {NOTEBOOK} (found: {found})"[:MESSAGE])
    if len(paths) > 1:
        names = ", ".join(printable(str(path)) for path in paths)
        if len({path.parent for path in paths}) > 1:
            raise NoVerdict(
                f"notebooks lie in folders of their own: {names}. If {submission.student} is a "
                f"group of students, give it by itself: grade {submission.place}"
            )
        raise ValueError(f"{len(paths)} notebooks are there: hand in one, {NOTEBOOK} ({names})")
    if submission.files[paths[0]].stat().st_size > FILE_SIZE:
        raise ValueError(f"{paths[0]} has more than {FILE_SIZE // MB} MB: what does it print?")
    return paths[0]


def files_for_box(submission, notebook):
    """The files that notebook and helpers may use, by the paths that they get in the box.

    The helpers may lie in another folder than the notebook; what lies beside them comes along
    unless something else has its path. Returns the files, and a line for each that is left out.
    """
    helpers = submission.copies_of(HELPERS)
    helpers = [path for path in helpers if path.parent == notebook.parent] or helpers
    files, folders, left_out = {}, set(), []
    if len(helpers) == 1:
        files[HELPERS] = submission.files[helpers[0]]
    else:
        helpers = []
    for folder in dict.fromkeys(path.parent for path in [notebook, *helpers]):
        for path, file in submission.files.items():
            if not path.is_relative_to(folder) or path.suffix == ".ipynb":
                continue
            place = path.relative_to(folder)
            name, parents = str(place), {str(parent) for parent in place.parents} - {"."}
            if name in files:
                continue
            if file.stat().st_size > FILE_SIZE:
                left_out.append(f"{path} was left out: it has more than {FILE_SIZE // MB} MB")
            elif name in folders or parents & set(files):
                left_out.append(f"{path} was left out: a file and a folder have the same path")
            else:
                files[name] = file
                folders |= parents
    return files, left_out


def run(result, limits, n_epochs, python):
    """Run the cells, as long as there is a kernel, and note the checks that pass.

    Raises: NoVerdict if the kernel does not start, OSError of a box that cannot be made.
    """
    code = [
        cell for cell in result.cells if cell.cell_type == "code" and cell.id not in result.not_run
    ]
    for cell in code:
        cell.outputs, cell.execution_count = [], None
    provided = SHOWN if HELPERS in result.files else [*SHOWN, HELPERS]
    with Box(result.files, provided, limits) as box:
        result.remarks += box.left_out
        session = Session(result.cells, box, limits, n_epochs, python)
        try:
            with session.running():
                for cell in code:
                    run_cell(session, cell, result)
        except KernelEnded as error:
            result.messages[error.id] = str(error)
            result.passed.discard(error.id)
            name = result.names()[error.id]
            judged = result.passed | {*result.messages}
            rest = f"not run, since the kernel ended in {name}"
            result.messages |= {id: rest for id in points_of_checks() if id not in judged}
        except RuntimeError as error:  # of jupyter_client: no answer from a kernel that starts
            raise NoVerdict(str(error)) from None


def run_cell(session, cell, result):
    """Run a cell, and note the message of one that fails, and the check that passes."""
    try:
        if is_check(cell.id):
            session.load_checks(cell)
        session.run(cell)
        if is_check(cell.id):
            require_printed(cell)
            result.passed.add(cell.id)
    except CellFailed as error:
        result.messages[cell.id] = str(error)


def require_printed(cell):
    """See that a check printed what it prints in the assignment. Raises: CellFailed."""
    printed, expected = (
        "".join(output.get("text", "") for output in outputs)
        for outputs in (cell.outputs, assignment_cells()[cell.id].outputs)
    )
    for line in expected.splitlines():
        if line not in printed:
            raise CellFailed(f"no verdict: it did not print {line!r}")


def remarks_on_helpers(result):
    """What is to be said of the source of the helpers, which the result gets."""
    try:
        result.helpers = read_text(result.files[HELPERS])
    except ValueError as error:
        result.helpers = result.files[HELPERS].read_text(errors="replace")
        return [f"{error}"]
    return [f"{HELPERS} {USES_CHECKS}"] if uses_checks(result.helpers) else []


def test_helpers(result, limits):
    """Run the project's tests of densities and samplers on the student's helpers, in a new box."""
    with Box(result.files, SHOWN, limits) as box:
        (box.folder / "pytest.ini").write_text("[pytest]\n")  # and none of the student's
        tests = [shutil.copy(test, box.folder) for test in files_of([TESTS_OF_HELPERS])]
        arguments = ["-c", RUN_TESTS, box.work, box.folder, "-c", box.folder / "pytest.ini", *tests]
        result.tests = box.run(*arguments, seconds=limits.helpers) or [""]
    counts = [line for line in result.tests if re.search(r"\d (passed|failed|error)", line)]
    summary = [*result.tests, *counts][-1]
    if "passed" not in summary or "failed" in summary:
        result.remarks.append(f"the tests of {HELPERS}: {summary}")
