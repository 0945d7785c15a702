"""The notebook as the tests use it: its cells, and a way to run them in a real kernel."""

import os
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "vae_assignment.ipynb"
MNIST_FILES = ROOT / "data" / "MNIST" / "raw"

# The environment of a kernel that runs the notebook in any folder, in seconds, on one core.
SMALL_RUN = {
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "VAE_DATASET": "embedded",
    "VAE_EPOCHS": "2",
}


@pytest.fixture
def notebook():
    """The committed notebook; a test may change its copy."""
    return nbformat.read(NOTEBOOK, as_version=4)


class Kernel:
    """Cells of one notebook and a kernel to run them in."""

    def __init__(self, client):
        self.client = client
        self.cells = client.nb.cells
        self.index = {cell.id: i for i, cell in enumerate(self.cells)}

    def run(self, id):
        """Run the cell with this id; returns it, with its new outputs."""
        return self.client.execute_cell(self.cells[self.index[id]], self.index[id])

    def run_all(self, after=None, until=None):
        """Run the code cells in order, of those after the id `after` and before the id `until`."""
        first = self.index[after] + 1 if after else 0
        for cell in self.cells[first : self.index.get(until)]:
            if cell.cell_type == "code":
                self.run(cell.id)

    def evaluate(self, source):
        """What a further cell with this source prints; the cell does not stay."""
        self.cells.append(nbformat.v4.new_code_cell(source))
        cell = self.client.execute_cell(self.cells[-1], len(self.cells) - 1)
        self.cells.pop()
        return "".join(o.text for o in cell.outputs if o.output_type == "stream")


@pytest.fixture(scope="session")
def kernel_for(tmp_path_factory):
    """Context manager that starts a kernel for a notebook, by default for a small run.

    It runs in an empty folder, so that nothing that the notebook saves lands in the project.
    """

    @contextmanager
    def start(notebook, **environment):
        client = NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            coalesce_streams=True,
            resources={"metadata": {"path": str(tmp_path_factory.mktemp("kernel"))}},
        )
        with client.setup_kernel(env={**os.environ, **SMALL_RUN, **environment}):
            yield Kernel(client)

    return start


@pytest.fixture(scope="session")
def executed(kernel_for):
    """The whole notebook, run on the embedded digits, with its kernel still alive."""
    with kernel_for(nbformat.read(NOTEBOOK, as_version=4)) as kernel:
        kernel.run_all()
        yield kernel
