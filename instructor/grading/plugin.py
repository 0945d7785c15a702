"""Makes `pytest --nbval` grade notebooks of this assignment as they are, one or a whole folder.

nbval runs the cells and compares what they print with what is stored. Added here: every notebook
runs on a fresh kernel of this environment, in a folder of its own, with its share of the cores; a
dead or endless cell ends; and a first test, "handed-in", fails where comparing a notebook with
itself sees nothing: outputs stripped, pictures missing, checks changed.

With `--gradebook FOLDER` a class is marked: see gradebook.py.
"""

import os
import tempfile
import time

import pytest
from nbval.kernel import CURRENT_ENV_KERNEL_NAME
from nbval.plugin import IPyNbCell, IPyNbFile

from instructor.cells import TRAINING
from instructor.grading.handed_in import problems_of, read
from instructor.grading.sandbox import ROOT, Kernel

SECONDS_PER_CELL = 120  # but for the training
GRACE = 10  # seconds to end after an interrupt

# Two processes that both use every core slow each other down many times over.
workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if workers > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, os.cpu_count() // workers)))


def pytest_addoption(parser):
    options = parser.getgroup("nbval")
    options.addoption("--gradebook", metavar="FOLDER", help="with --nbval: mark a class")
    options.addoption("--regrade", action="store_true", help="mark again who is marked already")


def pytest_configure(config):
    if config.option.gradebook:
        from instructor.grading.gradebook import GradeBook

        config.gradebook = GradeBook(config)
    elif config.option.nbval or config.option.nbval_lax:
        # Wherever a notebook lies, it uses this project's helpers and digits.
        paths = [str(ROOT), os.environ.get("PYTHONPATH")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    kind = Notebook
    if parent.config.option.gradebook:
        from instructor.grading.submission import Submission as kind
    collectors = yield
    return [
        kind.from_parent(parent, path=file_path) if isinstance(found, IPyNbFile) else found
        for found in collectors
    ]


class Notebook(IPyNbFile):
    """A notebook: the test "handed-in", then a test for each code cell, named by the cell's id."""

    nb = None

    def collect(self):
        try:
            problems = [*problems_of(read(self.path))]
            cells = [*super().collect()]
        except Exception as error:  # Refused, or what a strange file leads to
            cells, problems = [], [str(error)]
        yield Step.from_parent(self, name="handed-in", run=lambda step: fail_for(problems))
        for cell in cells:
            yield Cell.from_parent(
                self,
                name=cell.cell.get("id", cell.name),
                cell_num=cell.cell_num,
                cell=cell.cell,
                options=cell.options,
            )

    def setup(self):
        if self.nb is None:
            return
        option = self.config.option
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.kernel = Kernel(
            option.nbval_kernel_name or CURRENT_ENV_KERNEL_NAME,
            option.nbval_kernel_startup_timeout,
            cwd=self.folder.name,
        )
        self.setup_sanitize_files()

    def teardown(self):
        super().teardown()
        if self.nb is not None:
            self.folder.cleanup()

    def seconds_for(self, id):
        given = self.config.option.nbval_cell_timeout
        return given if id == TRAINING else min(given, SECONDS_PER_CELL)


class Step(pytest.Item):
    """A test that is no cell."""

    def __init__(self, run, **arguments):
        super().__init__(**arguments)
        self.run = run

    def runtest(self):
        self.run(self)

    def reportinfo(self):
        return self.path, None, f"{self.path.name}: {self.name}"


def fail_for(problems):
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


class Cell(IPyNbCell):
    """A code cell: runs in time, without an error, and prints what is stored."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.output_timeout = 60  # nbval's 5 s are short for a loaded machine

    def runtest(self):
        option = self.config.option
        given, timed_out_before = option.nbval_cell_timeout, self.parent.timed_out
        option.nbval_cell_timeout = self.parent.seconds_for(self.name)
        self.parent.kernel.deadline = time.monotonic() + option.nbval_cell_timeout + GRACE
        try:
            super().runtest()
            if self.parent.timed_out > timed_out_before:  # it took the interrupt for its end
                self.raise_cell_error(f"Timeout of {option.nbval_cell_timeout:g} seconds exceeded")
        finally:
            option.nbval_cell_timeout = given

    def reportinfo(self):
        return self.path, None, f"{self.path.name}: {self.name}"
