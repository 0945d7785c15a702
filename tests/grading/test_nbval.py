"""`pytest --nbval` on one notebook: what passes, what fails, and what ends."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import nbformat

from instructor.assignment import cell_of
from instructor.files import read_notebook
from project import LAST_GRADED, NOTEBOOK, ROOT, SCATTER, notebook_of, small_environment

BS = "9e7e46b0-8e84-11eb-1648-0f033e4e6068"


def nbval(folder, *options):
    """Run the notebooks in the folder; for each the texts of its tests, empty if they passed."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "--nbval", folder, "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, "--color=no", "--junitxml", report, *options],
        cwd=ROOT,
        env=small_environment(),
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
    # One thing is wrong in each of these cells, none of which the cells below it need.
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


def test_the_plugin_is_found_for_a_notebook_in_a_hand_out_elsewhere(tmp_path):
    ini = ROOT / "instructor" / "for_students" / "pytest.ini"
    (tmp_path / "pytest.ini").write_text(ini.read_text())
    nbformat.write(notebook_of("1"), tmp_path / "vae_assignment.ipynb")
    tests = nbval(tmp_path)["vae_assignment"]
    assert [*tests] == ["handed-in", "cell-1"]
    assert "missing: checks, check-bernoulli" in tests["handed-in"]


SMALL = {
    "own_helpers": [
        "import importlib.util, os, vae_helpers\n"
        "assert vae_helpers.OWN and os.listdir() == ['vae_helpers.py']\n"
        "assert importlib.util.find_spec('vae_checks')\nopen('new', 'w')"
    ],
    "endless": ["1", "while True:\n    pass", "2"],
    "stubborn": ["1", "while True:\n    try: input()\n    except BaseException: pass"],
    "printing": ["1", "while True:\n    try: print(1)\n    except BaseException: pass"],
    "caught": ["1", "try:\n    while True: pass\nexcept KeyboardInterrupt: pass"],
    "dead": ["1", "import os\nos._exit(1)", "2"],
}


def test_an_endless_or_dead_cell_ends_and_a_file_that_is_none_says_why(tmp_path):
    for name, sources in SMALL.items():
        nbformat.write(notebook_of(*sources), tmp_path / f"{name}.ipynb")
    no_ids = notebook_of("1")
    del no_ids.cells[0]["id"], no_ids.cells[0]["metadata"]
    (tmp_path / "no_ids.ipynb").write_text(json.dumps(no_ids))
    (tmp_path / "broken.ipynb").write_text("{ this is none")
    (tmp_path / "vae_helpers.py").write_text("OWN = True")
    texts = nbval(tmp_path, "--nbval-cell-timeout", "2", "-n", "4", "--dist", "loadfile")
    assert set(texts) == {*SMALL, "no_ids", "broken"}
    assert texts["own_helpers"]["cell-1"] == "" and not (tmp_path / "new").exists()
    for name in ("endless", "stubborn", "printing", "caught", "dead"):
        assert "check-elbo, " in texts[name]["handed-in"] and not texts[name]["cell-1"]
        reason = "the kernel died in this cell" if name == "dead" else "Timeout of 2 seconds"
        assert reason in texts[name]["cell-2"]
    assert "cannot be read as a notebook" in texts["broken"]["handed-in"]
    assert "its cells have no ids" in texts["no_ids"]["handed-in"]
