"""Comparing the pictures of two notebooks."""

import base64
import io
import subprocess
import sys

import nbformat
import numpy as np
from PIL import Image

from instructor.cells import SCATTER, cell_of
from instructor.compare import compare
from instructor.files import read_notebook
from project import NOTEBOOK, ROOT, notebook_of


def encoded(picture):
    """The picture as a notebook stores it."""
    png = io.BytesIO()
    picture.save(png, format="png")
    return base64.b64encode(png.getvalue()).decode()


def test_pictures_are_compared(tmp_path):
    notebook = read_notebook(NOTEBOOK)
    output = cell_of(notebook, SCATTER).outputs[0]
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))))
    picture[:70, :, 0] ^= 255
    output.data["image/png"] = encoded(Image.fromarray(picture))
    cell_of(notebook, "training-curve").outputs = []
    nbformat.write(notebook, tmp_path / "other.ipynb")
    verdicts = compare(NOTEBOOK, tmp_path / "other.ipynb")
    share = 70 / len(picture)
    assert verdicts.pop(SCATTER).startswith(f"{share:.1%} of the pixels differ, by ")
    assert verdicts.pop("training-curve") == "1 and 0 pictures"
    assert set(verdicts.values()) == {"same"}


def test_pictures_are_compared_by_their_colours_however_they_are_stored(tmp_path):
    grey = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    for mode in ("L", "RGB", "RGBA", "P"):
        data = {"image/png": encoded(grey.convert(mode))}
        notebook = notebook_of("")
        notebook.cells[0].outputs = [nbformat.v4.new_output("display_data", data)]
        nbformat.write(notebook, tmp_path / f"{mode}.ipynb")
        assert compare(tmp_path / "L.ipynb", tmp_path / f"{mode}.ipynb") == {"cell-1": "same"}


def run(*paths):
    command = [sys.executable, "-m", "instructor", "compare", *paths]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_command_exits_with_1_where_pictures_differ(tmp_path):
    nbformat.write(notebook_of(""), tmp_path / "none.ipynb")
    assert run(NOTEBOOK, NOTEBOOK).returncode == 0
    assert run(NOTEBOOK, tmp_path / "none.ipynb").returncode == 1


def test_what_cannot_be_compared_is_said_in_one_line(tmp_path):
    (tmp_path / "broken.ipynb").write_text("{")
    for name in ("missing.ipynb", "broken.ipynb"):
        result = run(NOTEBOOK, tmp_path / name)
        assert result.returncode == 1 and len(result.stderr.strip().splitlines()) == 1
        assert name in result.stderr
