"""Execute a notebook the way its stored outputs are made.

The terminal shows the running cell and its progress bar. The result holds no times and nothing of
this machine, so that two executions differ only where results do.
"""

import os
import subprocess

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from instructor.assignment import NOTEBOOK
from instructor.check import require_consistent
from instructor.files import ROOT, read_notebook, write_whole
from instructor.page import html_page
from vae_digits import load_digits

# The run whose outputs are stored, where these variables are not set.
AS_COMMITTED = {"VAE_DATASET": "mnist", "VAE_EPOCHS": "100"}


class Client(NotebookClient):
    """A client that shows on the terminal which cell runs, and the bar that the cell draws."""

    def show(self, text):
        print(f"\r\033[K{text}", end="", flush=True)

    def process_message(self, message, cell, cell_index):
        text = message["content"].get("text", "")
        if "\r" in text:
            self.show(text.rstrip().rpartition("\r")[2])
        return super().process_message(message, cell, cell_index)


def execute(path, environment):
    """Run every cell of the notebook in the file; returns it with its new outputs.

    Raises: CellExecutionError where a cell fails, RuntimeError where one writes to stderr,
    ValueError for a file that is no notebook, or one without cell ids.
    """
    notebook = read_notebook(path)
    if any("id" not in cell for cell in notebook.cells):
        raise ValueError(f"The cells of {path} have no ids: save it with a recent Jupyter first.")
    client = Client(
        notebook,
        timeout=None,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.on_cell_execute = lambda cell, cell_index: client.show(
        f"cell {cell_index + 1} of {len(notebook.cells)}: {cell.id}"
    )
    client.execute(env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
    for cell in notebook.cells:
        if any(output.get("name") == "stderr" for output in cell.get("outputs", [])):
            raise RuntimeError(f"Cell {cell.id} writes to stderr.")
    notebook.metadata.language_info.pop("version", None)  # of this machine's Python
    return notebook


def execute_file(notebook=None, result=None):
    """Execute a notebook's file into another (.ipynb or .html), or the assignment's in place.

    In place it stands for the committed run, of 100 epochs on MNIST, unless VAE_DATASET or
    VAE_EPOCHS say otherwise.
    Raises: OSError or ValueError, before anything runs, for a result that cannot be written, an
    assignment that does not agree with itself, or digits that are not there; RuntimeError for all
    that keeps the result from being written later.
    """
    source = notebook or ROOT / NOTEBOOK
    target = result or source
    if target.suffix not in (".ipynb", ".html"):
        raise ValueError(f"{target} must end in .ipynb or .html.")
    if target.is_dir() or not os.access(target.parent, os.W_OK):
        raise OSError(f"{target} cannot be written: is its folder there?")
    environment = {}
    if not result:
        environment = {name: os.environ.get(name, value) for name, value in AS_COMMITTED.items()}
        print("The stored run:", *(f"{name}={value}" for name, value in environment.items()))
    if source.resolve() == ROOT / NOTEBOOK:
        require_consistent(outputs=False)
        load_digits(dataset=environment.get("VAE_DATASET"))  # which fails at once, if it does
    try:
        executed = execute(source.resolve(), environment)
        text = html_page(executed) if target.suffix == ".html" else nbformat.writes(executed) + "\n"
        write_whole(target, text)
    except (CellExecutionError, OSError, RuntimeError, ValueError) as error:
        raise RuntimeError(f"\n{error}\n{target} was not written.") from None
    print(f"\r\033[K{target} is written.")
