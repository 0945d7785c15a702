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
from project import NOTEBOOK, ROOT, SMALL_RUN, notebook_of, plain_environment


def instructor(*arguments, **options):
    options = {"cwd": ROOT, "env": plain_environment() | SMALL_RUN, **options}
    command = [sys.executable, "-m", "instructor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def executions(tmp_path_factory):
    """The paths of two executions of the notebook down to picture 4, one epoch, two threads."""
    folder = tmp_path_factory.mktemp("executions")
    notebook = read_notebook(NOTEBOOK)
    del notebook.cells[notebook.cells.index(cell_of(notebook, LAST_GRADED)) + 1 :]
    nbformat.write(notebook, folder / "source.ipynb")
    # PASSIVE: beside another process, threads that wait by spinning slow both many times over.
    threads = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE", "VAE_EPOCHS": "1"}
    paths = folder / "first.ipynb", folder / "second.ipynb"
    for path in paths:
        environment = plain_environment() | SMALL_RUN | threads
        result = instructor("execute", folder / "source.ipynb", path, env=environment)
        assert result.returncode == 0, result.stderr
    return paths


def test_two_executions_store_the_same_bytes(executions):
    first, second = (read_notebook(path) for path in executions)
    for a, b in zip(first.cells, second.cells):
        assert a == b, a.id
    assert executions[0].read_bytes() == executions[1].read_bytes()


def nbdiff(a, b, folder):
    """The difference that nbdime finds, with this project's settings."""
    out = folder / "difference.json"
    program = Path(sys.executable).with_name("nbdiff")
    subprocess.run([program, "--out", out, a, b], cwd=ROOT, check=True)
    return json.loads(out.read_text())


def test_nbdiff_shows_nothing_where_nothing_changed(tmp_path):
    notebook = read_notebook(NOTEBOOK)
    notebook.metadata.kernelspec = {"name": "other", "display_name": "Other"}
    notebook.metadata.language_info.version = "3.99"
    for cell in notebook.cells:
        cell.metadata["collapsed"] = True
        if cell.cell_type == "code":
            cell.execution_count += 7
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count += 7
    nbformat.write(notebook, tmp_path / "noisy.ipynb")
    assert nbdiff(NOTEBOOK, tmp_path / "noisy.ipynb", tmp_path) == []


def test_nbdiff_matches_the_cells_by_their_ids(tmp_path):
    notebook = read_notebook(NOTEBOOK)
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.source, cell.outputs = f"written_anew = {i}", []
    nbformat.write(notebook, tmp_path / "student.ipynb")
    [cells] = nbdiff(NOTEBOOK, tmp_path / "student.ipynb", tmp_path)
    assert {change["op"] for change in cells["diff"]} == {"patch"}
    assert len(cells["diff"]) == sum(cell.cell_type == "code" for cell in notebook.cells)


# All or nothing ----------------------------------------------------------------------------------

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
    notebook = nbformat.v4.new_notebook()
    text = r"$x^2$, $\left( <$ and $$x_1_2$$ ![a](attachment:a.png) ![b](attachment:b.png)"
    pixel = {"image/png": "iVBORw0KGgo="}
    cell = nbformat.v4.new_markdown_cell(text, attachments={"b.png": pixel})
    notebook.cells = [cell]
    html = html_page(notebook)
    assert html.count("<math ") == 1
    assert r"<code>\left( &lt;</code>" in html and "<code>x_1_2</code>" in html
    assert "[a: this picture is missing]" in html and "data:image/png;base64,iVBORw0KGgo" in html


@pytest.mark.parametrize("command", ["", "execute", "handout", "grade", "compare"])
def test_every_command_has_a_help_text(command):
    result = instructor(*command.split(), "--help")
    assert result.returncode == 0 and len(result.stdout) > 200
