"""Where the project is, reading a notebook, and writing a file that nobody finds half written."""

import json
import os
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]


def read_notebook(path):
    """The notebook in the file, with the ids that its cells have, if they have some.

    Raises: OSError for a file that cannot be read, ValueError for one that is no notebook.
    """
    try:
        text = path.read_text("utf-8-sig")
        if not text.lstrip().startswith("{"):
            raise ValueError(f"it begins with {text[:30]!r}, not with a brace")
        content = json.loads(text)
        for cell in content.get("cells", []):  # what an editor left out, or wrote in its own way
            metadata = cell.get("metadata") or {}
            cell["metadata"] = {key: value for key, value in metadata.items() if value is not None}
            if not isinstance(cell.get("id", ""), str):
                del cell["id"]
            if cell["cell_type"] == "code":
                cell["outputs"] = cell.get("outputs") or []
                cell.setdefault("execution_count", None)
            elif cell["cell_type"] != "markdown" and content.get("nbformat") == 4:
                cell["cell_type"] = "raw"
        text = json.dumps(content, ensure_ascii=False).encode(errors="replace").decode()
        notebook = nbformat.convert(nbformat.reader.reads(text), to_version=4)
        if not all(isinstance(cell.source, str) for cell in notebook.cells):
            raise ValueError("the source of a cell is no text")
        return notebook
    except OSError:
        raise
    except Exception as error:  # seen: KeyError, AttributeError, TypeError, RecursionError, ...
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path.name} cannot be read as a notebook: {reason}") from None


def write_whole(path, text):
    """Write the text under another name first, so that the old file stays until all is there."""
    unfinished = path.with_name(f"{path.name[:100]}.{os.getpid()}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8", errors="replace")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
