"""Reading a notebook, and writing a file so that nobody finds it half written."""

import os

import nbformat


def read_notebook(path):
    """The notebook in the file, in the current format. Raises: ValueError if it is none."""
    try:
        return nbformat.reads(path.read_text("utf-8-sig"), as_version=4)
    except (nbformat.reader.NotJSONError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a notebook: {error}") from None


def write_whole(path, text):
    """Write the text under another name first, so that the old file stays until all is there."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8", errors="replace")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
