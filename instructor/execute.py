"""Execute the assignment in place, the way its stored outputs are made: MNIST, 100 epochs.

    .venv/bin/python instructor/execute.py [NOTEBOOK]

Or, with a second file, leave the notebook alone and write what came out, as a notebook or as HTML.
Then VAE_DATASET and VAE_EPOCHS may change the run:

    .venv/bin/python instructor/execute.py NOTEBOOK RESULT.html

The terminal shows the running cell and its progress bar. A file is written only if every cell ran.
It holds no times and nothing of this machine, so that two executions differ only where results do.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from page import html_page

NOTEBOOK = Path(__file__).resolve().parents[1] / "vae_assignment.ipynb"
AS_COMMITTED = {"VAE_DATASET": "mnist", "VAE_EPOCHS": "100"}


class Client(NotebookClient):
    """A client that shows on the terminal which cell runs, and the bar that the cell draws."""

    def show(self, text, end=""):
        print(f"\r\033[K{text}", end=end, flush=True)

    def process_message(self, message, cell, cell_index):
        text = message["content"].get("text", "")
        if "\r" in text:
            self.show(text.rstrip().rpartition("\r")[2])
        return super().process_message(message, cell, cell_index)


def execute(path, environment):
    """Run every cell of the notebook in the file; returns it with its new outputs."""
    notebook = nbformat.read(path, as_version=4)
    if any("id" not in cell for cell in notebook.cells):
        raise ValueError("Its cells have no ids: save it with a recent Jupyter first.")
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
    client.execute(env={**os.environ, **environment})
    for cell in notebook.cells:
        if any(output.get("name") == "stderr" for output in cell.get("outputs", [])):
            raise RuntimeError(f"cell {cell.id} writes to stderr")
    notebook.metadata.language_info = {"name": "python"}  # without this machine's version
    return notebook


def write(notebook, path):
    """Write the notebook, as HTML where the name ends so; the old file stays until all is there."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        if path.suffix == ".html":
            unfinished.write_text(html_page(notebook), encoding="utf-8")
        else:
            nbformat.write(notebook, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def main(source=NOTEBOOK, result=None):
    environment = {} if result else AS_COMMITTED
    result = Path(result or source)
    try:
        notebook = execute(Path(source).resolve(), environment)
        write(notebook, result)
    except (CellExecutionError, OSError, RuntimeError, ValueError) as error:
        sys.exit(f"\n{error}\n{result} was not written.")
    print(f"\r\033[K{result} is written.")


if __name__ == "__main__":
    if len(sys.argv) > 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
