"""Makes `pytest --nbval NOTEBOOK` fit this assignment.

nbval runs the cells and compares what they print with what is stored. Added here: the kernel is one
of this environment, in a folder of its own with the vae_helpers.py that lies beside the notebook,
or else this project's; a dead or endless cell ends; and a first test, "handed-in", fails where
comparing a notebook with itself sees nothing: outputs stripped, pictures missing, checks changed.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path
from queue import Empty

import nbval.plugin
import pytest
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile

from instructor.assignment import HELPERS, is_training
from instructor.files import ROOT, read_notebook
from instructor.limits import Limits
from instructor.problems import problems_of

LIMITS = Limits()


class WatchedKernel(RunningKernel):
    """A kernel in a folder of its own, whose death is noticed, and that is not heard for ever."""

    deadline = float("inf")

    def __init__(self, kernel_name, cwd, startup_timeout):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        if (helpers := Path(cwd, HELPERS)).is_file():
            shutil.copy(helpers, self.folder.name)
        with pytest.MonkeyPatch.context() as patch:
            paths = [self.folder.name, str(ROOT), os.environ.get("PYTHONPATH")]
            patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
            try:
                super().__init__(kernel_name, self.folder.name, startup_timeout)
            except RuntimeError:  # died at once: another kernel that started took one of its ports
                super().__init__(kernel_name, self.folder.name, startup_timeout)

    def get_message(self, stream, timeout=None):
        if time.monotonic() > self.deadline:  # it goes on printing after it was interrupted
            raise Empty
        return super().get_message(stream, timeout)

    def await_reply(self, msg_id, timeout=None):
        for _ in range(round(timeout)):
            try:
                return super().await_reply(msg_id, timeout=1)
            except Empty:
                if not self.is_alive():
                    raise RuntimeError("the kernel died in this cell") from None
        raise Empty

    def stop(self):
        super().stop()
        self.folder.cleanup()


nbval.plugin.RunningKernel = WatchedKernel


def pytest_configure(config):
    config.option.nbval_current_env = True  # whatever kernel the notebook names


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    collectors = yield
    return [
        Notebook.from_parent(parent, path=file_path) if isinstance(found, IPyNbFile) else found
        for found in collectors
    ]


class Notebook(IPyNbFile):
    """The test "handed-in", then a test for each code cell, named by the cell's id."""

    def collect(self):
        yield HandedIn.from_parent(self, name="handed-in")
        try:
            cells = [*super().collect()]
        except Exception:  # whatever a broken file leads to; handed-in says what
            return
        for cell in cells:
            yield Cell.from_parent(
                self,
                name=cell.cell.get("id", cell.name),
                cell_num=cell.cell_num,
                cell=cell.cell,
                options=cell.options,
            )


class HandedIn(pytest.Item):
    def runtest(self):
        try:
            problems = []
            notebook = read_notebook(self.path, problems)
            if any("id" not in cell for cell in notebook.cells):
                raise ValueError("its cells have no ids: save it with a recent Jupyter")
            problems += problems_of(notebook)
        except ValueError as error:
            problems = [str(error)]
        if problems:
            pytest.fail("\n".join(problems), pytrace=False)

    def reportinfo(self):
        return self.path, None, f"{self.path.name}: {self.name}"


class Cell(IPyNbCell):
    """A code cell: runs in time, without an error, and prints what is stored."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.output_timeout = LIMITS.grace  # nbval's 5 s are short for a loaded machine

    def runtest(self):
        option, timed_out_before = self.config.option, self.parent.timed_out
        given = option.nbval_cell_timeout
        if not is_training(self.name):
            option.nbval_cell_timeout = min(given, LIMITS.cell)
        seconds = option.nbval_cell_timeout + LIMITS.grace
        self.parent.kernel.deadline = time.monotonic() + seconds
        try:
            super().runtest()
            if self.parent.timed_out > timed_out_before:  # it took the interrupt for its end
                self.raise_cell_error(f"Timeout of {option.nbval_cell_timeout:g} seconds exceeded")
        finally:
            option.nbval_cell_timeout = given

    def reportinfo(self):
        return self.path, None, f"{self.path.name}: {self.name}"
