"""Where the project is, reading a notebook, and writing a file that nobody finds half written."""

import codecs
import json
import os
from pathlib import Path

import nbformat
from nbformat.v4.rwbase import rejoin_lines

ROOT = Path(__file__).resolve().parents[1]

CELL_FIELDS = {  # by the kind of cell, those that the notebook format knows
    "code": ("id", "cell_type", "metadata", "source", "outputs", "execution_count"),
    "markdown": ("id", "cell_type", "metadata", "source", "attachments"),
    "raw": ("id", "cell_type", "metadata", "source", "attachments"),
}
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path):
    """The text of a file. Raises: OSError, and ValueError for one that is not in UTF-8."""
    content = path.read_bytes()
    if content.startswith(UTF_16) or b"\0" in content[:100]:
        raise ValueError(f"{path.name} is in the encoding UTF-16: save it in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path.name} is not in UTF-8: see line {place}") from None


def read_notebook(path, left_out=None):
    """The notebook in the file, with the ids that its cells have, if they have some.

    left_out: a list that gets a line for each thing that is not in the notebook format and is left
    out of the result; without this list such a thing is an error.
    Raises: OSError for a file that cannot be read, ValueError for one that is no notebook.
    """
    found = []
    try:
        text = read_text(path)
        if not text.lstrip().startswith("{"):
            raise ValueError(f"it begins with {text[:30]!r}, not with a brace")
        text = json.dumps(json.loads(text), ensure_ascii=False)
        text = text.encode(errors="replace").decode()  # without halves of pairs of surrogates
        content = json.loads(text)
        if content.get("nbformat") == 4:
            notebook = notebook_of(content, found)
        else:
            notebook = nbformat.convert(nbformat.reader.reads(text), to_version=4)
    except OSError:
        raise
    except Exception as error:  # seen: KeyError, AttributeError, TypeError, RecursionError, ...
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path.name} cannot be read as a notebook: {reason}") from None
    if found and left_out is None:
        raise ValueError(f"{path.name} is not in the notebook format: {found[0]}")
    if left_out is not None:
        left_out += found
    return notebook


def notebook_of(content, left_out):
    """The notebook that was read as JSON, cell by cell, with what can be read of each."""
    cells = []
    for number, cell in enumerate(content["cells"], start=1):
        try:
            cells.append(cell_in_format(cell, number, left_out))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            left_out.append(f"cell {number} cannot be read: {error!r:.100}")
    if content["cells"] and not cells:
        raise ValueError(left_out[0])
    metadata = content.get("metadata") or {}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
    return rejoin_lines(nbformat.from_dict(notebook))


def cell_in_format(cell, number, left_out):
    """The cell as the notebook format has it; what editors leave out is put in.

    Raises: KeyError, TypeError or another error for what is no cell.
    """
    kind = cell["cell_type"] if cell["cell_type"] in CELL_FIELDS else "raw"
    known = {key: value for key, value in cell.items() if key in CELL_FIELDS[kind]}
    for key, value in cell.items():
        if key not in known and value:
            left_out.append(f"cell {number} has a field {key!r} that no {kind} cell has")
    source = known.get("source", "")
    known["source"] = source if isinstance(source, str) else "".join(source)
    known["cell_type"] = kind
    metadata = known.get("metadata") or {}
    known["metadata"] = {key: value for key, value in metadata.items() if value is not None}
    if not isinstance(known.get("id", ""), str):
        del known["id"]
    if "tags" in known["metadata"]:
        known["metadata"]["tags"] = valid_tags(known["metadata"]["tags"], number, left_out)
    if not isinstance(known["metadata"].get("nbgrader", {}), dict):
        del known["metadata"]["nbgrader"]
        left_out.append(f"nbgrader's metadata of cell {number}")
    if not known.get("attachments") or not is_valid(known, "attachments"):
        known.pop("attachments", None)
    if kind == "code":
        count = known.get("execution_count")
        known["execution_count"] = count if isinstance(count, int) else None
        outputs = known.get("outputs") or []
        known["outputs"] = [output for output in outputs if is_valid_output(output)]
        if len(known["outputs"]) < len(outputs):
            left_out.append(f"an output of cell {number} that is not in the notebook format")
    return known


def valid_tags(tags, number, left_out):
    """Those of a cell's tags that the format allows: texts without a comma."""
    tags = tags if isinstance(tags, list) else [tags]
    valid = [tag for tag in tags if isinstance(tag, str) and tag and "," not in tag]
    if len(valid) < len(tags):
        left_out.append(f"a tag of cell {number} that is not in the notebook format")
    return list(dict.fromkeys(valid))


def is_valid_output(output):
    """Whether a cell's output is in the notebook format."""
    try:
        nbformat.validate(output, ref="output", version=4, version_minor=5)
    except nbformat.ValidationError:
        return False
    return True


def is_valid(cell, field):
    """Whether this field of a text cell is as the format says."""
    value = cell[field]
    bundles = value.values() if isinstance(value, dict) else [None]
    return all(isinstance(bundle, dict) for bundle in bundles)


def write_whole(path, text):
    """Write the text under another name first, so that the old file stays until all is there."""
    unfinished = path.with_name(f"{path.name[:100]}.{os.getpid()}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8", errors="replace")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
