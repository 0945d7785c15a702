"""`pytest --nbval` on one notebook: what passes, what fails, and what ends."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import nbformat
import pytest

from instructor.cells import LAST_GRADED, SCATTER, cell_of
from instructor.files import read_notebook
from project import NOTEBOOK, ROOT, SMALL_RUN, notebook_of, plain_environment

BS = "9e7e46b0-8e84-11eb-1648-0f033e4e6068"


def nbval(folder, *options):
    """Run the notebooks in the folder; for each the texts of its tests, empty if they passed."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "--nbval", folder, "-p", "no:cacheprovider"]
    command += ["-c", ROOT / "pyproject.toml", "-p", "instructor.nbval_plugin", "--color=no"]
    result = subprocess.run(
        [*command, "--junitxml", report, *options],
        cwd=folder,
        env=plain_environment() | SMALL_RUN,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode in (0, 1), result.stdout + result.stderr
    notebooks = {}
    for test in ET.parse(report).iter("testcase"):
        problems = [child.text for child in test if child.tag in ("failure", "error")]
        name = test.get("classname").split(".")[-2]
        notebooks.setdefault(name, {})[test.get("name")] = "\n".join(problems)
    return notebooks


def test_each_wrong_cell_fails_and_no_other(tmp_path):
    notebook = read_notebook(NOTEBOOK)
    del notebook.cells[notebook.cells.index(cell_of(notebook, LAST_GRADED)) + 1 :]
    notebook.metadata.kernelspec = {"name": "not-here", "display_name": "Another"}
    # One thing wrong in each of these cells, none of which the cells below it need.
    cell_of(notebook, "check-log-prior").outputs[0].text += "quite\n"
    cell_of(notebook, "check-joint").outputs = []
    cell_of(notebook, BS).source += "\nprint('more')"
    cell_of(notebook, "training-curve").source += "\n1 / 0"
    cell_of(notebook, SCATTER).source = "plt.close()"
    nbformat.write(notebook, tmp_path / "wrong.ipynb")
    tests = nbval(tmp_path)["wrong"]
    code = [cell.id for cell in notebook.cells if cell.cell_type == "code"]
    assert list(tests) == ["handed-in", *code]
    texts = {id: text for id, text in tests.items() if text}
    assert set(texts) == {"check-log-prior", "check-joint", BS, "training-curve", SCATTER}
    assert "quite" in texts["check-log-prior"] and "more" in texts[BS]
    assert "ZeroDivisionError" in texts["training-curve"]
    assert "Missing output fields" in texts[SCATTER]


OWN_HELPERS = """
import importlib.util, os, vae_helpers
assert vae_helpers.OWN and os.listdir() == ["vae_helpers.py"]
assert importlib.util.find_spec("vae_checks")  # without importing PyTorch, which takes long
open("new", "w")
"""
SMALL = {
    "own_helpers": [OWN_HELPERS],
    "endless": ["1", "while True:\n    pass", "2"],
    "stubborn": ["1", "while True:\n    try: input()\n    except BaseException: pass"],
    "printing": ["1", "while True:\n    try: print(1)\n    except BaseException: pass"],
    "caught": ["1", "try:\n    while True: pass\nexcept KeyboardInterrupt: pass"],
    "dead": ["1", "import os\nos._exit(1)", "2"],
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    for name, sources in SMALL.items():
        nbformat.write(notebook_of(*sources), folder / f"{name}.ipynb")
    no_ids = notebook_of("1")
    del no_ids.cells[0]["id"], no_ids.cells[0]["metadata"]
    (folder / "no_ids.ipynb").write_text(json.dumps(no_ids))
    (folder / "broken.ipynb").write_text("{ this is none")
    (folder / "vae_helpers.py").write_text("OWN = True")
    texts = nbval(folder, "--nbval-cell-timeout", "2")
    assert set(texts) == {*SMALL, "no_ids", "broken"} and not (folder / "new").exists()
    return texts


def test_the_helpers_beside_the_notebook_are_used_in_a_folder_of_its_own(small):
    assert small["own_helpers"]["cell-1"] == ""


@pytest.mark.parametrize("name", ["endless", "stubborn", "printing", "caught", "dead"])
def test_an_endless_or_dead_cell_ends(name, small):
    texts = small[name]
    assert "check-elbo is missing" in texts["handed-in"] and not texts["cell-1"]
    reason = "the kernel died in this cell" if name == "dead" else "Timeout of 2 seconds"
    assert reason in texts["cell-2"]


def test_a_file_that_cannot_be_run_says_why(small):
    assert "cannot be read as a notebook" in small["broken"]["handed-in"]
    assert "its cells have no ids" in small["no_ids"]["handed-in"]
