"""Executing a notebook into another, a page, or in place: the same bytes, all or nothing."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from instructor.cells import LAST_GRADED, cell_of
from instructor.files import read_notebook, write_whole
from instructor.page import html_page
from project import NOTEBOOK, ROOT, instructor, notebook_of


def test_two_executions_store_the_same_bytes(tmp_path):
    notebook = read_notebook(NOTEBOOK)
    del notebook.cells[notebook.cells.index(cell_of(notebook, LAST_GRADED)) + 1 :]
    nbformat.write(notebook, tmp_path / "source.ipynb")
    # PASSIVE: beside another process, threads that wait by spinning slow both many times over.
    run = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE", "VAE_EPOCHS": "1"}
    first, second = tmp_path / "first.ipynb", tmp_path / "second.ipynb"
    for path in (first, second):
        result = instructor("execute", tmp_path / "source.ipynb", path, **run)
        assert result.returncode == 0, result.stderr
    for a, b in zip(read_notebook(first).cells, read_notebook(second).cells):
        assert a == b, a.id
    assert first.read_bytes() == second.read_bytes()


def test_nbdiff_shows_what_changed_cell_by_cell_and_nothing_else(tmp_path):
    notebook = read_notebook(NOTEBOOK)
    notebook.metadata.kernelspec = {"name": "other", "display_name": "Other"}
    notebook.metadata.language_info.version = "3.99"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        cell.metadata["collapsed"] = True
        cell.execution_count += 7
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count += 7

    def difference():
        nbformat.write(notebook, tmp_path / "other.ipynb")
        paths = [tmp_path / "difference.json", NOTEBOOK, tmp_path / "other.ipynb"]
        program = Path(sys.executable).with_name("nbdiff")
        subprocess.run([program, "--out", *paths], cwd=ROOT, check=True)
        return json.loads(paths[0].read_text())

    assert difference() == []
    for number, cell in enumerate(code):
        cell.source, cell.outputs = f"written_anew = {number}", []
    [cells] = difference()
    assert [change["op"] for change in cells["diff"]] == ["patch"] * len(code)


NO_IDS = '{"cells": [{"cell_type": "code", "source": "1"}], "metadata": {}, "nbformat": 4}'


@pytest.mark.parametrize("notebook, message", [
    (notebook_of("import sys\nprint('noise', file=sys.stderr)"), "Cell cell-1 writes to stderr."),
    (notebook_of("1 / 0"), "ZeroDivisionError"),
    (NO_IDS, "have no ids: save it with a recent Jupyter first."),
    ("{ this is none", "notebook.ipynb cannot be read as a notebook"),
])  # fmt: skip
def test_what_fails_is_not_stored(notebook, message, tmp_path):
    path = tmp_path / "notebook.ipynb"
    path.write_text(notebook if isinstance(notebook, str) else nbformat.writes(notebook))
    before = path.read_bytes()
    result = instructor("execute", path)
    assert result.returncode == 1 and message in result.stderr
    assert f"{path} was not written." in result.stderr
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("target, message", [
    ("nowhere/x.html", "cannot be written: is its folder there?"),
    ("x.pdf", "must end in .ipynb or .html."),
])  # fmt: skip
def test_a_wrong_target_is_said_before_anything_runs(target, message, tmp_path):
    nbformat.write(notebook_of("open('ran', 'w')"), tmp_path / "x.ipynb")
    result = instructor("execute", tmp_path / "x.ipynb", tmp_path / target)
    assert result.returncode == 1 and message in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "ran").exists()


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
