"""The notebook as the tests use it: its cells, and a way to run them in a real kernel."""

import os
from contextlib import contextmanager

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from instructor.assignment import cell_of
from project import NOTEBOOK, SMALL_RUN

# Two processes that each use every core slow one another many times over.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture
def notebook():
    """The committed notebook; a test may change its copy."""
    return nbformat.read(NOTEBOOK, as_version=4)


class Kernel(NotebookClient):
    """Cells of one notebook and a kernel to run them in."""

    def index(self, id):
        return [cell.id for cell in self.nb.cells].index(id)

    def cell(self, id):
        """The cell with this id, with its outputs as they are."""
        return cell_of(self.nb, id)

    def run(self, id):
        """Run the cell with this id; returns it, with its new outputs."""
        return self.execute_cell(self.cell(id), self.index(id))

    def run_all(self, after=None, until=None):
        """Run the code cells in order, of those after the id `after` and before the id `until`."""
        first = self.index(after) + 1 if after else 0
        for cell in self.nb.cells[first : self.index(until) if until else None]:
            if cell.cell_type == "code":
                self.run(cell.id)

    def evaluate(self, source):
        """What a further cell with this source prints; the cell does not stay."""
        self.nb.cells.append(nbformat.v4.new_code_cell(source))
        try:
            cell = self.execute_cell(self.nb.cells[-1], len(self.nb.cells) - 1)
        finally:
            self.nb.cells.pop()
        return "".join(o.text for o in cell.outputs if o.output_type == "stream")


@pytest.fixture(scope="session")
def kernel_for(tmp_path_factory):
    """Context manager that starts a kernel for a notebook, by default for a small run.

    It runs in an empty folder, so that nothing that the notebook saves lands in the project.
    """

    @contextmanager
    def start(notebook, **environment):
        folder = {"metadata": {"path": str(tmp_path_factory.mktemp("kernel"))}}
        kernel = Kernel(
            notebook, timeout=300, kernel_name="python3", coalesce_streams=True, resources=folder
        )
        with kernel.setup_kernel(env={**os.environ, **SMALL_RUN, **environment}):
            yield kernel

    return start
