"""The hand-out: nothing of the solutions in it, blanks that speak, and nothing else that differs.

With the solutions put back it is the committed notebook and helpers, byte for byte, beside the same
checks and digits: so what test_mistakes.py shows of those holds for the hand-out. How each blank
fails when it is the only one is shown there, too.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from instructor.assignment import is_check
from instructor.blanks import REGION, blanked
from instructor.files import read_notebook
from instructor.handout import ANSWER
from project import NOTEBOOK, ROOT, instructor

STUB = re.compile(r"(?m)^( *)(# Step .*\n)?raise NotImplementedError\(\".* not written yet.*\"\)$")
# Lines that solutions share with given cells, or that the texts give away on purpose.
COMMONPLACE = {
    *("", "try:", "with torch.no_grad():"),
    *("super().__init__()", "return q_mean, q_log_std", "q_mean, q_log_std = encoder(x)"),
    *("optimizer.zero_grad()", "optimizer.step()"),  # of any optimizer; the last part has one, too
}


@pytest.fixture(scope="module")
def handout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder") / "handout"
    assert instructor("handout", folder).returncode == 0
    return folder


def with_solutions(blank, source):
    """The blank source with the solutions of the other put in its place."""
    put_back = (region[0] for region in REGION.finditer(source))
    return STUB.sub(lambda stub: next(put_back), blank)


def solved_helpers(handout):
    helpers = (ROOT / "vae_helpers.py").read_text()
    return with_solutions((handout / "vae_helpers.py").read_text(), helpers)


def test_it_holds_what_a_student_needs_and_nothing_else(handout):
    patterns = """vae_digits.py vae_checks/*.py vae_explorer/__init__.py data/*.gz
        vae_explorer/template.html tests/helpers/*.py""".split()
    copies = {path.relative_to(ROOT) for pattern in patterns for path in ROOT.glob(pattern)}
    written = "vae_assignment.ipynb vae_helpers.py README.md pytest.ini requirements.txt".split()
    written = map(Path, written)
    files = {path.relative_to(handout) for path in handout.rglob("*.*")}
    assert files == copies.union(written)
    for path in copies:
        assert (handout / path).read_bytes() == (ROOT / path).read_bytes()


def test_no_line_of_a_solution_is_left(handout, notebook):
    sources = [cell.source for cell in notebook.cells] + [(ROOT / "vae_helpers.py").read_text()]
    secret = [region[2] for source in sources for region in REGION.finditer(source)]
    secret += [cell.source for cell in notebook.cells if cell.id == "why-logit-means"]
    secret = {line.strip() for text in secret for line in text.splitlines()} - COMMONPLACE
    assert len(secret) > 70
    texts = [cell.source for cell in read_notebook(handout / NOTEBOOK.name).cells]
    texts += [path.read_text() for path in handout.rglob("*") if path.suffix in (".py", ".md")]
    assert not secret & {line.strip() for text in texts for line in text.splitlines()}
    assert not [line for line in secret if len(line) > 15 and any(line in text for text in texts)]
    assert not any("SOLUTION" in text for text in texts)


def test_with_the_solutions_put_back_it_is_the_committed_assignment(handout, notebook):
    assert solved_helpers(handout).encode() == (ROOT / "vae_helpers.py").read_bytes()
    blank = read_notebook(handout / NOTEBOOK.name)
    for cell, solved in zip(blank.cells, notebook.cells, strict=True):
        cell.source = with_solutions(cell.source, solved.source)
        if cell.source == ANSWER:
            cell.source = solved.source
        if cell.metadata.get("nbgrader", {}).get("locked"):
            assert (cell.metadata.pop("editable"), cell.metadata.pop("deletable")) == (False, False)
        if cell.cell_type == "code":
            solved.outputs, solved.execution_count = [], None
    blank.metadata.language_info = notebook.metadata.language_info  # without a version
    assert nbformat.writes(blank) == nbformat.writes(notebook)


def test_untouched_every_blank_and_check_says_what_is_missing(handout, kernel_for):
    with kernel_for(read_notebook(handout / NOTEBOOK.name), PYTHONPATH=str(handout)) as kernel:
        kernel.allow_errors = True
        kernel.run_all()
    code = [cell for cell in kernel.nb.cells if cell.cell_type == "code"]
    errors = {cell.id: o for cell in code for o in cell.outputs if o.output_type == "error"}
    assert next(iter(errors)) == "check-bernoulli"
    assert {cell.id for cell in code if is_check(cell.id)} <= {*errors}
    said = "is not written yet: see '|is not defined: write it, or|nothing was trained"
    for id, error in errors.items():
        assert re.search(said if is_check(id) else "not written yet|^name '", error.evalue), id
        assert not is_check(id) or error.traceback == [error.evalue], id


def test_a_student_can_run_the_tests(handout, tmp_path):
    shutil.copytree(handout, tmp_path / "handout")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    place = {"cwd": tmp_path / "handout", "capture_output": True, "text": True}
    words = "sample_gaussian is not written yet: see 'A stable Bernoulli density', 3."
    assert words in subprocess.run(command, **place).stdout
    (tmp_path / "handout" / "vae_helpers.py").write_text(solved_helpers(handout))
    assert subprocess.run(command, **place).returncode == 0


def test_the_readme_has_title_and_points_of_the_first_cell(handout, notebook):
    readme = (handout / "README.md").read_text()
    title, *_ = notebook.cells[0].source.splitlines()
    rows = [line for line in notebook.cells[0].source.splitlines() if "`elbo` 10" in line]
    assert readme.startswith(f"{title}\n")
    assert rows and rows[0] in readme


def test_a_zip_holds_what_the_folder_holds(handout, tmp_path):
    assert instructor("handout", tmp_path / "handout.zip").returncode == 0
    shutil.unpack_archive(tmp_path / "handout.zip", tmp_path / "unpacked")
    files = {path.relative_to(handout): path.read_bytes() for path in handout.rglob("*.*")}
    unpacked = tmp_path / "unpacked"
    assert files == {p.relative_to(unpacked): p.read_bytes() for p in unpacked.rglob("*.*")}


def test_students_need_not_install_what_only_instructors_use(handout):
    students, all = (
        set((folder / "requirements.txt").read_text().splitlines()) for folder in (handout, ROOT)
    )
    assert students < all
    assert not [
        line for line in students if re.match("nbval|nbdime|psutil|latex2mathml|pyzmq", line)
    ]


@pytest.mark.parametrize("source", [
    "### BEGIN SOLUTION\nx = 1",
    "x = 1\n### END SOLUTION",
    "### END SOLUTION\nx = 1\n### BEGIN SOLUTION",
    "## begin solution\nx = 1\n## end solution",
    "### BEGIN SOLUTION x\nx = 1\n### END SOLUTION",
])  # fmt: skip
def test_marks_that_are_not_in_pairs_are_an_error(source):
    with pytest.raises(ValueError, match="^each ### BEGIN SOLUTION needs its ### END SOLUTION"):
        blanked(source, ["# Heading\n\n1. Write `x`."])
