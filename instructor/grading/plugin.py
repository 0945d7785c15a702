"""Makes `pytest --nbval` grade notebooks of this assignment as they are, one or a whole folder.

nbval runs the cells and compares what they print with what is stored. Added here: every notebook
runs on a fresh kernel of this environment, in a folder of its own, with its share of the cores; a
dead or endless cell ends; and a first test, "handed-in", fails where comparing a notebook with
itself sees nothing: outputs stripped, pictures missing, checks changed.
"""

import os
import tempfile
import time
from pathlib import Path
from queue import Empty

import pytest
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile

from instructor.cells import TRAINING
from instructor.grading.handed_in import problems_of

ROOT = Path(__file__).parents[2]
SECONDS_PER_CELL = 120  # but for the training
GRACE = 10  # seconds to end after an interrupt
SILENCE = 60  # seconds without an output before a cell counts as hung; nbval's 5 are too few

# Two processes that both use every core slow each other down many times over.
workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if workers > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, os.cpu_count() // workers)))


def pytest_configure(config):
    if config.option.nbval or config.option.nbval_lax:
        # Wherever a notebook lies, it uses this project's helpers, checks and digits.
        paths = [str(ROOT), os.environ.get("PYTHONPATH")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    collectors = yield
    return [
        Notebook.from_parent(parent, path=file_path) if isinstance(found, IPyNbFile) else found
        for found in collectors
    ]


class Notebook(IPyNbFile):
    """A notebook: the test "handed-in", then a test for each code cell, named by the cell's id."""

    nb = None

    def collect(self):
        try:
            cells = [*super().collect()]
            problems = [*problems_of(self.nb)]
        except Exception as error:  # whatever a broken file leads to
            cells, problems = [], [f"it cannot be read as a notebook: {error}"]
        yield HandedIn.from_parent(self, name="handed-in", problems=problems)
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
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.kernel = Kernel(
            self.config.option.nbval_kernel_name or CURRENT_ENV_KERNEL_NAME,
            cwd=self.folder.name,
            startup_timeout=self.config.option.nbval_kernel_startup_timeout,
        )
        self.setup_sanitize_files()

    def teardown(self):
        super().teardown()
        if self.nb is not None:
            self.folder.cleanup()


class HandedIn(pytest.Item):
    """What can be said of a notebook without running it."""

    def __init__(self, problems, **arguments):
        super().__init__(**arguments)
        self.problems = problems

    def runtest(self):
        if self.problems:
            pytest.fail("\n".join(self.problems), pytrace=False)

    def reportinfo(self):
        return self.path, None, f"{self.path.name}: {self.name}"


class Cell(IPyNbCell):
    """A code cell: runs in time, without an error, and prints what is stored."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.output_timeout = SILENCE

    def runtest(self):
        option = self.config.option
        given, timed_out_before = option.nbval_cell_timeout, self.parent.timed_out
        if self.name != TRAINING:
            option.nbval_cell_timeout = min(given, SECONDS_PER_CELL)
        self.parent.kernel.deadline = time.monotonic() + option.nbval_cell_timeout + GRACE
        try:
            super().runtest()
            if self.parent.timed_out > timed_out_before:  # it took the interrupt for its end
                self.raise_cell_error(f"Timeout of {option.nbval_cell_timeout:g} seconds exceeded")
        finally:
            option.nbval_cell_timeout = given

    def reportinfo(self):
        return self.path, None, f"{self.path.name}: {self.name}"


class Kernel(RunningKernel):
    """A kernel whose death is noticed at once, and that is not listened to for ever."""

    deadline = float("inf")

    def get_message(self, stream, timeout=None):
        if time.monotonic() > self.deadline:  # it goes on printing after it was interrupted
            raise Empty
        return super().get_message(stream, timeout)

    def await_reply(self, msg_id, timeout=None):
        end = time.monotonic() + timeout
        while True:
            try:
                return super().await_reply(msg_id, timeout=1)
            except Empty:
                if not self.is_alive():
                    raise RuntimeError("the kernel died in this cell") from None
                if time.monotonic() > end:
                    raise
