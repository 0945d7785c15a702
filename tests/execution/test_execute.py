"""Executing a notebook: the same bytes, all or nothing. What differs between two, and wrong use."""

import base64
import io
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from instructor.assignment import cell_of
from instructor.files import write_whole
from instructor.page import html_page
from project import LAST_GRADED, NOTEBOOK, ROOT, SCATTER, changed, instructor, notebook_of


def test_two_executions_store_the_same_bytes(notebook, tmp_path):
    del notebook.cells[notebook.cells.index(cell_of(notebook, LAST_GRADED)) + 1 :]
    nbformat.write(notebook, tmp_path / "source.ipynb")
    # PASSIVE: beside another process, threads that wait by spinning slow both many times over.
    run = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE", "VAE_EPOCHS": "1"}
    first, second = tmp_path / "first.ipynb", tmp_path / "second.ipynb"
    for path in (first, second):
        result = instructor("execute", tmp_path / "source.ipynb", path, **run)
        assert result.returncode == 0, result.stderr
    assert first.read_bytes() == second.read_bytes()


def test_nbdiff_shows_what_changed_cell_by_cell_and_nothing_else(notebook, tmp_path):
    notebook.metadata.kernelspec = {"name": "other", "display_name": "Other"}
    notebook.metadata.language_info.version = "3.99"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code):
        cell.metadata["collapsed"] = True
        cell.execution_count += 7
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count += 7
        cell.source = f"written_anew = {number}"
    nbformat.write(notebook, tmp_path / "other.ipynb")
    program, result = Path(sys.executable).with_name("nbdiff"), tmp_path / "difference.json"
    command = [program, "--out", result, NOTEBOOK, tmp_path / "other.ipynb"]
    subprocess.run(command, cwd=ROOT, check=True)
    [cells] = json.loads(result.read_text())
    changes = [(cell["op"], [part["key"] for part in cell["diff"]]) for cell in cells["diff"]]
    assert changes == len(code) * [("patch", ["source"])]


def test_each_picture_is_compared_by_its_colours(notebook, tmp_path):
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
    lines = [line.rpartition(": ") for line in result.stdout.splitlines()]
    verdicts = {name.split()[0]: verdict for name, _, verdict in lines}
    place = {cell.id: f"/cells/{place}" for place, cell in enumerate(notebook.cells)}
    sizes = f"sizes differ, {width} x {height} and {height} x {width} pixels"
    assert verdicts.pop(place["held-out-codes"]) == sizes
    assert verdicts.pop(place[SCATTER]).startswith(f"{70 / 611:.1%} of the pixels differ, by ")
    assert verdicts.pop(place["training-curve"]) == "1 and 0 pictures"
    assert place[LAST_GRADED] in verdicts and set(verdicts.values()) == {"same"}
    named = f"{place[SCATTER]} ax (Picture 1: the digits in the latent space): "
    assert named in result.stdout
    assert result.returncode == 1 and instructor("compare", NOTEBOOK, NOTEBOOK).returncode == 0


@pytest.mark.parametrize("source, message", [
    ("import sys\nprint('noise', file=sys.stderr)", "Cell cell-1 writes to stderr."),
    ("1 / 0", "ZeroDivisionError"),
    (None, "have no ids: save it with a recent Jupyter first."),
])  # fmt: skip
def test_what_fails_is_not_stored(source, message, tmp_path):
    path = tmp_path / "notebook.ipynb"
    nbformat.write(notebook_of(source or "1"), path)
    if not source:
        path.write_text(changed(path.read_text(), '"id": "cell-1",', ""))
    before = path.read_bytes()
    result = instructor("execute", path)
    assert result.returncode == 1 and message in result.stderr
    assert f"{path} was not written." in result.stderr
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("command, message", [
    ("execute x.ipynb nowhere/x.html", "nowhere/x.html cannot be written: is its folder there?"),
    ("execute x.ipynb x.pdf", "x.pdf must end in .ipynb or .html."),
    ("compare x.ipynb missing.ipynb", "missing.ipynb"),
    ("compare x.ipynb broken.ipynb", "broken.ipynb cannot be read as a notebook"),
    ("handout .", "exists already: remove it"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_line_before_anything_is(command, message, tmp_path):
    nbformat.write(notebook_of("open('ran', 'w')"), tmp_path / "x.ipynb")
    (tmp_path / "broken.ipynb").write_text("{")
    before = {*tmp_path.iterdir()}
    name, *paths = command.split()
    result = instructor(name, *(tmp_path / path for path in paths))
    assert result.returncode == 1 and message in result.stderr
    assert len(result.stderr.splitlines()) == 1 and {*tmp_path.iterdir()} == before


def test_where_writing_fails_the_old_file_stays(tmp_path, monkeypatch):
    path = tmp_path / "grades.csv"
    write_whole(path, "old")
    monkeypatch.setattr(Path, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_whole(path, "new")
    assert path.read_text() == "old" and [*tmp_path.iterdir()] == [path]


def test_a_page_has_a_gap_where_an_equation_or_a_picture_cannot_be_set():
    text = r"$x^2$, $\left( <$ and $$x_1_2$$ ![a](attachment:a.png) ![b](attachment:b.png)"
    pixel = {"image/png": "iVBORw0KGgo="}
    cell = nbformat.v4.new_markdown_cell(text, attachments={"b.png": pixel})
    html = html_page(nbformat.v4.new_notebook(cells=[cell]))
    gaps = [r"<code>\left( &lt;</code>", "<code>x_1_2</code>", "[a: this picture is missing]"]
    assert not [gap for gap in gaps if gap not in html]
    assert html.count("<math ") == 1 and "data:image/png;base64,iVBORw0KGgo" in html


@pytest.mark.parametrize("command", ["", "execute", "handout", "grade", "compare"])
def test_every_command_has_a_help_text(command):
    result = instructor(*command.split(), "--help")
    assert result.returncode == 0 and len(result.stdout) > 200
