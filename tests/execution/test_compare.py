"""Comparing the pictures of two notebooks."""

import base64
import io

import nbformat
import numpy as np
import pytest
from PIL import Image

from instructor.cells import LAST_GRADED, SCATTER, cell_of
from instructor.files import read_notebook
from project import NOTEBOOK, instructor


def test_each_picture_is_compared_by_its_colours(tmp_path):
    notebook = read_notebook(NOTEBOOK)

    def change(id, make):
        [data] = [output.data for output in cell_of(notebook, id).outputs if "data" in output]
        png, picture = io.BytesIO(), Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
        make(picture).save(png, format="png")
        data["image/png"] = base64.b64encode(png.getvalue()).decode()
        return picture.size

    width, height = change("held-out-codes", lambda picture: picture.rotate(90, expand=True))
    red = np.uint8([255, 0, 0, 0]) * (np.arange(611) < 70)[:, None, None]
    change(SCATTER, lambda picture: Image.fromarray(np.array(picture) ^ red))
    change(LAST_GRADED, lambda picture: picture.convert("RGBA"))
    cell_of(notebook, "training-curve").outputs = []
    nbformat.write(notebook, tmp_path / "other.ipynb")
    result = instructor("compare", NOTEBOOK, tmp_path / "other.ipynb")
    verdicts = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    sizes = f"sizes differ, {width} x {height} and {height} x {width} pixels"
    assert verdicts.pop("held-out-codes") == sizes
    assert verdicts.pop(SCATTER).startswith(f"{70 / 611:.1%} of the pixels differ, by ")
    assert verdicts.pop("training-curve") == "1 and 0 pictures"
    assert LAST_GRADED in verdicts and set(verdicts.values()) == {"same"}
    assert result.returncode == 1 and instructor("compare", NOTEBOOK, NOTEBOOK).returncode == 0


@pytest.mark.parametrize("name", ["missing.ipynb", "broken.ipynb"])
def test_what_cannot_be_compared_is_said_in_one_line(name, tmp_path):
    (tmp_path / "broken.ipynb").write_text("{")
    result = instructor("compare", NOTEBOOK, tmp_path / name)
    assert result.returncode == 1 and name in result.stderr
    assert len(result.stderr.splitlines()) == 1
