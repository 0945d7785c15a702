"""Execute a notebook in place, the way the committed outputs are made.

    .venv/bin/python instructor/execute.py [NOTEBOOK]

The default is vae_assignment.ipynb. The file is only written if every cell ran. It then holds no
times and nothing of this machine, so that two executions differ where the results do. The terminal
shows the running cell, and what it reports while it runs.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[1]


class Client(NotebookClient):
    """A client that shows on the terminal which cell runs, and each line that the cell redraws."""

    def show(self, text, end=""):
        print(f"\r\033[K{text}"[:100], end=end, flush=True)

    def process_message(self, message, cell, cell_index):
        if message["msg_type"] == "update_display_data":
            self.show(message["content"]["data"].get("text/plain", ""))
        return super().process_message(message, cell, cell_index)


def execute(path):
    notebook = nbformat.read(path, as_version=4)
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
    client.execute()
    for cell in notebook.cells:
        if any(output.get("name") == "stderr" for output in cell.get("outputs", [])):
            sys.exit(f"\n{path} is left as it was: cell {cell.id} writes to stderr")
    notebook.metadata.language_info = {"name": "python"}  # without this machine's version
    nbformat.write(notebook, path)
    client.show(f"{path.name} is executed", end="\n")


if __name__ == "__main__":
    try:
        execute(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "vae_assignment.ipynb"))
    except CellExecutionError as error:
        sys.exit(f"\nthe notebook is left as it was:\n{error}")
