"""Grading with nbval and comparing executions: what passes, what fails, what differs."""

import base64
import copy
import io
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from instructor.cells import LAST_GRADED, SCATTER, TRAINING
from instructor.compare import compare
from instructor.grading.handed_in import problems_of
from instructor.page import html_page
from project import NOTEBOOK, ROOT, SMALL_RUN

BS = "9e7e46b0-8e84-11eb-1648-0f033e4e6068"


def cell_of(notebook, id):
    return next(cell for cell in notebook.cells if cell.id == id)


def notebook_of(*sources):
    """A small notebook, not executed."""
    cells = [nbformat.v4.new_code_cell(s, id=f"cell-{i}") for i, s in enumerate(sources, start=1)]
    return nbformat.v4.new_notebook(cells=cells)


# What can be seen without running ------------------------------------------------------------


def test_nothing_is_wrong_with_the_assignment_itself(notebook):
    assert [*problems_of(notebook)] == []


def strip_outputs(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def strip_one_output(notebook):
    cell_of(notebook, TRAINING).outputs = []


def remove_check(notebook):
    notebook.cells.remove(cell_of(notebook, "check-elbo"))


def change_check(notebook):
    cell = cell_of(notebook, "check-elbo")
    cell.source = "print('ok')"


def tag_check(notebook):
    cell_of(notebook, "check-elbo").metadata["tags"] = ["nbval-ignore-output"]


def move_check(notebook):
    cell = cell_of(notebook, "check-elbo")
    notebook.cells.remove(cell)
    notebook.cells.append(cell)


def redefine_checks(notebook):
    cell_of(notebook, BS).source += "\nif BS:\n    class checks:\n        elbo = print"


def import_checks(notebook):
    cell_of(notebook, BS).source += "\nfrom unittest.mock import Mock as checks"


def use_a_library(notebook):
    cell_of(notebook, BS).source += "\nfrom torch.distributions import Normal"


def hide_a_library_by_a_magic(notebook):
    cell_of(notebook, BS).source += "\nfrom torch.distributions import Normal\nBS?"


def hide_a_library_by_a_timer(notebook):
    cell = cell_of(notebook, BS)
    cell.source = f"%%time\n{cell.source}\nfrom torch.distributions import Normal\nx = %time 1"


def remove_ids(notebook):
    for cell in notebook.cells:
        del cell["id"]


def remove_picture(notebook):
    cell_of(notebook, SCATTER).outputs = []
    cell_of(notebook, "held-out-codes").outputs = []


@pytest.mark.parametrize(
    "change, problem",
    [
        (strip_outputs, "d402633e-8c18-11eb-119d-017ad87927b0 was not run, or lost its outputs"),
        (strip_one_output, f"{TRAINING} was not run, or lost its outputs"),
        (remove_check, "check-elbo is missing"),
        (change_check, "check-elbo is not as it is in the assignment"),
        (tag_check, "check-elbo is not as it is in the assignment"),
        (move_check, "the check cells are not in the order of the assignment"),
        (redefine_checks, f"checks, in {BS}, is the name that the checks use"),
        (import_checks, f"checks, in {BS}, is the name that the checks use"),
        (use_a_library, f"distributions, in {BS}, is library-made probability"),
        (hide_a_library_by_a_magic, f"distributions, in {BS}, is library-made probability"),
        (hide_a_library_by_a_timer, f"distributions, in {BS}, is library-made probability"),
        (remove_ids, "its cells have no ids"),
        (remove_picture, "picture 1, the digits in the latent space, is missing"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_notebook_that_was_tampered_with_is_seen(notebook, change, problem):
    change(notebook)
    assert [*problems_of(notebook)][0].startswith(problem)


@pytest.mark.parametrize("source", ["# to be continued", "def f(a, a):\n    pass", "1 +"])
def test_a_cell_that_is_empty_or_no_python_is_no_problem(source, notebook):
    """Running it tells."""
    cell = nbformat.v4.new_code_cell(source, id="scratch", execution_count=99)
    notebook.cells.append(cell)
    assert [*problems_of(notebook)] == []


# A class of notebooks, graded at once --------------------------------------------------------


def without_the_last_part(notebook):
    """A copy that ends with picture 4: what follows takes long, and one notebook shows it."""
    notebook = copy.deepcopy(notebook)
    del notebook.cells[notebook.cells.index(cell_of(notebook, LAST_GRADED)) + 1 :]
    return notebook


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Grades a folder of notebooks, two at a time: for each, what failed of its tests."""
    folder = tmp_path_factory.mktemp("project")
    modules = [
        "vae_assignment.ipynb",
        "vae_checks",
        "vae_digits.py",
        "vae_explorer",
        "vae_helpers.py",
    ]
    for name in ["conftest.py", "pyproject.toml", "data", "instructor", *modules]:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("MNIST"))
        else:
            shutil.copy(ROOT / name, folder / name)
    right = nbformat.read(NOTEBOOK, as_version=4)
    right.metadata.kernelspec = {"name": "not-here", "display_name": "A kernel of the student"}
    # One thing wrong in each of these cells, none of which the cells below it need.
    wrong = without_the_last_part(right)
    verdict = cell_of(wrong, "check-log-prior").outputs[0]
    verdict.text = verdict.text.replace("right", "quite right")
    cell_of(wrong, "check-joint").outputs = []
    cell_of(wrong, BS).source += "\nprint('more')"
    cell_of(wrong, "training-curve").source += "\n1 / 0"
    cell_of(wrong, SCATTER).source = "plt.close()"
    stripped = without_the_last_part(right)
    strip_outputs(stripped)
    handed_in = {
        "right": right,
        "wrong": wrong,
        "stripped": stripped,
        "endless": notebook_of("1", "while True:\n    pass", "2"),
        "stubborn": notebook_of(
            "1", "while True:\n    try:\n        input()\n    except BaseException:\n        pass"
        ),
        "printing": notebook_of(
            "1", "while True:\n    try:\n        print(1)\n    except BaseException:\n        pass"
        ),
        "caught": notebook_of(
            "1", "try:\n    while True:\n        pass\nexcept KeyboardInterrupt:\n    pass"
        ),
        "dead": notebook_of("1", "import os\nos._exit(1)", "2"),
    }
    # It sees this project's helpers, an empty folder, and its share of the cores.
    handed_in["surroundings"] = notebook_of(
        "import os, vae_helpers\nassert os.listdir() == []\n"
        "assert os.environ['OMP_NUM_THREADS'] == str(max(1, os.cpu_count() // 2))"
    )
    (folder / "class").mkdir()
    for name, notebook in handed_in.items():
        nbformat.write(notebook, folder / "class" / f"{name}.ipynb")
    (folder / "class" / "broken.ipynb").write_text("{ this is no notebook")

    environment = {**os.environ, **SMALL_RUN}
    for name in [*environment]:
        if "XDIST" in name or name in ("PYTHONPATH", "OMP_NUM_THREADS"):
            del environment[name]
    command = "-m pytest --nbval class -n 2 --dist loadfile --junitxml grades.xml --color no"
    result = subprocess.run(
        [sys.executable, *command.split(), "--nbval-cell-timeout", "50"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == 1, result.stdout
    tests = {}
    for test in ET.parse(folder / "grades.xml").iter("testcase"):
        name = test.get("classname").split(".")[1]
        problems = [child.text for child in test if child.tag in ("failure", "error")]
        tests.setdefault(name, {})[test.get("name")] = "\n".join(problems)
    assert set(tests) == {*handed_in, "broken"}
    failed = {name: {id: text for id, text in ids.items() if text} for name, ids in tests.items()}
    return tests, failed


def test_a_right_notebook_passes_whatever_its_kernel_is_called(graded, notebook):
    tests, failed = graded
    ids = [cell.id for cell in notebook.cells if cell.cell_type == "code"]
    assert list(tests["right"]) == ["handed-in", *ids]
    assert failed["right"] == {}


def test_each_wrong_cell_fails_and_no_other(graded):
    failed = graded[1]["wrong"]
    assert set(failed) == {"check-log-prior", "check-joint", BS, "training-curve", SCATTER}
    assert "quite right" in failed["check-log-prior"]
    assert "more" in failed[BS]
    assert "ZeroDivisionError" in failed["training-curve"]
    assert "Missing output fields" in failed[SCATTER]


def test_each_notebook_has_the_helpers_a_folder_and_its_share_of_the_cores(graded):
    assert set(graded[1]["surroundings"]) == {"handed-in"}


def test_stripped_outputs_fail(graded):
    failed = graded[1]["stripped"]
    assert set(failed) == {"handed-in"} and "was not run" in failed["handed-in"]


@pytest.mark.parametrize(
    "name, message",
    [
        ("endless", "Timeout of 50 seconds exceeded"),
        ("stubborn", "Timeout of 50 seconds exceeded"),
        ("printing", "Timeout of 50 seconds exceeded|it printed more than 20 MB"),
        ("caught", "Timeout of 50 seconds exceeded"),
        ("dead", "the kernel died in this cell"),
    ],
)
def test_an_endless_or_dead_cell_costs_only_its_notebook(graded, name, message):
    tests, failed = graded
    assert "check-elbo is missing" in failed[name]["handed-in"]
    assert "cell-1" in tests[name] and "cell-1" not in failed[name]
    assert re.search(message, failed[name]["cell-2"])


def test_a_broken_file_costs_only_itself(graded):
    assert "cannot be read as a notebook" in graded[1]["broken"]["handed-in"]


# Two executions ------------------------------------------------------------------------------


def execute(path, threads):
    subprocess.run(
        [sys.executable, "-m", "instructor", "execute", NOTEBOOK, path],
        # PASSIVE: beside another process, threads that wait by spinning slow both many times over.
        env={
            **os.environ,
            **SMALL_RUN,
            "OMP_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": "PASSIVE",
        },
        check=True,
        capture_output=True,
    )
    return nbformat.read(path, as_version=4)


@pytest.fixture(scope="module")
def executions(tmp_path_factory):
    """The notebook executed twice with one thread and twice with two: notebooks and paths."""
    folder = tmp_path_factory.mktemp("executions")
    paths = {(t, i): folder / f"{t}_threads_{i}.ipynb" for t in (1, 2) for i in (1, 2)}
    return {key: (execute(path, key[0]), path) for key, path in paths.items()}


@pytest.mark.parametrize("threads", [1, 2])
def test_two_executions_store_the_same_bytes(executions, threads):
    (first, first_path), (second, second_path) = (executions[threads, i] for i in (1, 2))
    for a, b in zip(first.cells, second.cells):
        assert a == b, a.id
    assert first_path.read_bytes() == second_path.read_bytes()
    assert set(compare(first_path, second_path).values()) == {"same"}


def test_with_other_threads_only_numbers_and_pictures_differ(executions):
    for a, b in zip(executions[1, 1][0].cells, executions[2, 1][0].cells):
        if "nbval-ignore-output" not in a.metadata.get("tags", []):
            for cell in (a, b):
                for output in cell.get("outputs", []):
                    output.get("data", {}).pop("image/png", None)
            assert a == b, a.id


def run_script(name, *arguments, **options):
    script = ROOT / "instructor" / name
    return subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, **options
    )


def assert_not_stored(notebook, message, folder, **options):
    """Execute a notebook in place: it must end with the message and change nothing."""
    nbformat.write(notebook, folder / "notebook.ipynb")
    before = (folder / "notebook.ipynb").read_bytes()
    result = run_script("execute.py", folder / "notebook.ipynb", **options)
    assert result.returncode == 1 and message in result.stderr
    assert (folder / "notebook.ipynb").read_bytes() == before
    assert len(list(folder.iterdir())) == 1


def test_an_equation_that_cannot_be_set_is_shown_as_it_is_written():
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_markdown_cell(r"$x^2$, $\left( <$ and $$x_1_2$$")]
    html = html_page(notebook)
    assert html.count("<math ") == 1
    assert r"<code>\left( &lt;</code>" in html and "<code>x_1_2</code>" in html


@pytest.mark.parametrize(
    "source, message",
    [
        ("import sys\nprint('noise', file=sys.stderr)", "cell cell-1 writes to stderr"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_what_fails_or_writes_to_stderr_is_not_stored(source, message, tmp_path):
    assert_not_stored(notebook_of(source), message, tmp_path)


def test_a_notebook_without_ids_is_not_stored(tmp_path):
    notebook = notebook_of("1")
    notebook.nbformat_minor = 4
    remove_ids(notebook)
    assert_not_stored(notebook, "\nIts cells have no ids: save it", tmp_path)


def test_on_a_full_disk_the_old_notebook_stays(tmp_path):
    resource = pytest.importorskip("resource", reason="limits the size of files on Unix")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    source = "print('more than fits. ' * 10_000)"
    assert_not_stored(notebook_of(source), "File too large", tmp_path, preexec_fn=limit)


def nbdiff(a, b, folder):
    """The difference that nbdime finds, with this project's settings."""
    out = folder / "difference.json"
    subprocess.run(
        [Path(sys.executable).with_name("nbdiff"), "--out", out, a, b], cwd=ROOT, check=True
    )
    return json.loads(out.read_text())


def test_nbdiff_shows_nothing_where_nothing_changed(executions, tmp_path):
    first, second = (executions[1, i][1] for i in (1, 2))
    notebook = nbformat.read(second, as_version=4)
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
    assert nbdiff(first, second, tmp_path) == []
    assert nbdiff(first, tmp_path / "noisy.ipynb", tmp_path) == []


def test_nbdiff_matches_the_cells_by_their_ids(notebook, tmp_path):
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.source, cell.outputs = f"written_anew = {i}", []
    nbformat.write(notebook, tmp_path / "student.ipynb")
    [cells] = nbdiff(NOTEBOOK, tmp_path / "student.ipynb", tmp_path)
    assert {change["op"] for change in cells["diff"]} == {"patch"}
    assert len(cells["diff"]) == sum(cell.cell_type == "code" for cell in notebook.cells)


def encoded(picture):
    """The picture as a notebook stores it."""
    png = io.BytesIO()
    picture.save(png, format="png")
    return base64.b64encode(png.getvalue()).decode()


def test_pictures_are_compared(notebook, tmp_path):
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


def test_what_cannot_be_compared_is_said_in_one_line(tmp_path):
    result = run_script("compare_pictures.py", NOTEBOOK, tmp_path / "missing.ipynb")
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("These cannot be compared: ") and "missing" in result.stderr
