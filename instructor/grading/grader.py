"""Grades one submission: its cells are run in a box, and each check gives its points or none."""

import re
import shutil
from dataclasses import dataclass, field

from instructor.cells import HELPERS_CHECKS, is_check
from instructor.files import read_notebook
from instructor.grading.limits import FILE_SIZE, MB, MESSAGE
from instructor.grading.problems import USES_CHECKS, problems_of, uses_checks
from instructor.grading.restored import given, identify, put_back
from instructor.grading.roster import HELPERS, NOTEBOOK
from instructor.grading.sandbox import PROVIDED, ROOT, Box
from instructor.grading.session import CellFailed, KernelEnded, Session

POINTS = {
    id: cell.metadata.get("nbgrader", {}).get("points", 0)
    for id, cell in given().items()
    if is_check(id)
}
TESTS_OF_HELPERS = """
import sys, pytest
sys.path.append(sys.argv[1])  # last, so that no file of the student's shadows a library
options = "-q --tb=no -rf --noconftest -p no:cacheprovider --color=no -c /dev/null --rootdir"
sys.exit(pytest.main([*options.split(), *sys.argv[2:]]))
"""


@dataclass
class Result:
    """What came of a submission: the cells as they ran, messages by cell, remarks, test results."""

    cells: list = field(default_factory=list)
    helpers: str = ""  # the source, as it was handed in
    messages: dict = field(default_factory=dict)
    remarks: list = field(default_factory=list)
    tests: list = field(default_factory=list)
    passed: set = field(default_factory=set)  # checks

    def points(self):
        return {id: worth for id, worth in POINTS.items() if id in self.passed}

    def all_remarks(self):
        """The messages, each once with the cells that it is about, and the remarks."""
        ids = {}
        for id, message in self.messages.items():
            ids.setdefault(message, []).append(id)
        errors = [f"{', '.join(ids[message])}: {message}" for message in ids]
        return [text[:MESSAGE] for text in errors + self.remarks]


def grade(submission, n_epochs, limits):
    """Run a submission; the result says what came of it, whatever was handed in."""
    result = Result()
    try:
        path = the_notebook(submission)
        notebook = read_notebook(submission.files[path])
        lost_ids = identify(notebook)
        result.remarks += [lost_ids] * bool(lost_ids) + [*problems_of(notebook)]
        result.cells = put_back(notebook)
    except Exception as error:  # beside ValueError seen: AttributeError, TypeError of no real cells
        result.remarks.insert(0, f"it cannot be graded: {error}")
        return result
    files = beside(submission, path)
    run(result, files, limits, n_epochs)
    if HELPERS in files:
        result.helpers = files[HELPERS].read_text("utf-8-sig", errors="replace")
        result.remarks += [f"{HELPERS} {USES_CHECKS}"] * uses_checks(result.helpers)
        test_helpers(result, files, limits)
    else:
        result.passed -= HELPERS_CHECKS
        missing = f"no {HELPERS} was handed in, or more than one: run with the assignment's"
        result.messages |= dict.fromkeys(sorted(HELPERS_CHECKS), missing)
    return result


def the_notebook(submission):
    """The path of the one notebook. Raises: ValueError if there is none, or more, or a huge one."""
    if submission.problem:
        raise ValueError(submission.problem)
    paths = submission.notebooks()
    if len(paths) != 1:
        names = ", ".join(map(str, paths or submission.files)) or "nothing"
        count = len(paths) or "no"
        raise ValueError(f"{count} notebooks are there: hand in one, {NOTEBOOK} (found: {names})")
    if submission.files[paths[0]].stat().st_size > FILE_SIZE:
        raise ValueError(f"{paths[0]} has more than {FILE_SIZE // MB} MB: what does it print?")
    return paths[0]


def beside(submission, notebook):
    """The files that notebook and helpers may use, by the paths that they get in the box."""
    helpers = submission.copies_of(HELPERS)
    helpers = [path for path in helpers if path.parent == notebook.parent] or helpers
    helpers, files = helpers if len(helpers) == 1 else [], {}
    for folder in [path.parent for path in [*helpers, notebook]]:
        for path, file in submission.files.items():
            is_used = path.is_relative_to(folder) and path.suffix != ".ipynb"
            if is_used and file.stat().st_size <= FILE_SIZE:
                files[str(path.relative_to(folder))] = file
    return files | {HELPERS: submission.files[path] for path in helpers}


def run(result, files, limits, n_epochs):
    """Run the cells, as long as there is a kernel, and note the checks that pass."""
    code = [cell for cell in result.cells if cell.cell_type == "code"]
    for cell in code:
        cell.outputs, cell.execution_count = [], None
    try:
        with (
            Box(files, PROVIDED if HELPERS in files else [*PROVIDED, HELPERS], limits) as box,
            Session(result.cells, box, limits, n_epochs).running() as session,
        ):
            for cell in code:
                try:
                    run_cell(session, cell)
                    result.passed |= {cell.id} & {*POINTS}
                except CellFailed as error:
                    result.messages[cell.id] = str(error)
        return
    except KernelEnded as error:
        result.messages[error.id] = str(error)
        result.passed.discard(error.id)
        rest = f"not run, since the kernel ended in {error.id}"
    except Exception as error:  # seen: RuntimeError (no answer), OSError (no bwrap, no disk)
        rest = f"no verdict: {error}"
    judged = result.passed | {*result.messages}
    result.messages |= {id: rest for id in POINTS if id not in judged}


def run_cell(session, cell):
    """Run a cell; around a check, see that nothing that it rests on was replaced."""
    session.restore_settings()  # which also notices a kernel that has ended since the last cell
    if cell.id not in POINTS:
        return session.run(cell)
    session.make_checks()
    session.run(cell)
    session.make_checks()
    printed, expected = (
        "".join(output.get("text", "") for output in outputs)
        for outputs in (cell.outputs, given()[cell.id].outputs)
    )
    for line in expected.splitlines():
        if line not in printed:
            raise CellFailed(f"no verdict: it did not print {line!r}")


def test_helpers(result, files, limits):
    """Run the project's tests of densities and samplers on the student's helpers, in a new box."""
    with Box(files, PROVIDED, limits) as box:
        tests = [shutil.copy(test, box.folder) for test in ROOT.glob("tests/helpers/test_*.py")]
        arguments = ["-c", TESTS_OF_HELPERS, box.work, box.folder, *tests]
        result.tests = box.run(*arguments, seconds=limits.helpers) or [""]
    counts = [line for line in result.tests if re.search(r"\d (passed|failed|error)", line)]
    summary = [*result.tests, *counts][-1]
    if "passed" not in summary or "failed" in summary:
        result.remarks.append(f"the tests of {HELPERS}: {summary}")
