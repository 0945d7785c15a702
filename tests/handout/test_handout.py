"""The hand-out: nothing of the solutions in it, blanks that speak, and nothing else that differs.

With the solutions put back it is the committed notebook and helpers, byte for byte, beside the same
checks and digits: so what test_mistakes.py shows of those holds for the hand-out. How each blank
fails when it is the only one is shown there, too.
"""

import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from instructor.cells import is_check
from instructor.files import read_notebook
from instructor.handout import ANSWER, REGION, blanked
from project import NOTEBOOK, ROOT, instructor

STUB = re.compile(r"(?m)^( *)(# Step .*\n)?raise NotImplementedError\(\".* not written yet.*\"\)$")
# Lines that solutions share with given cells, or that the texts give away on purpose.
COMMONPLACE = {
    *("", "try:", "with torch.no_grad():"),
    *("super().__init__()", "return q_mean, q_log_std", "q_mean, q_log_std = encoder(x)"),
    "return history",
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
    files = {path.relative_to(handout).as_posix() for path in handout.rglob("*.*")}
    checks = {path for path in files if re.fullmatch(r"vae_checks/\w+\.py", path)}
    digits = {path for path in files if re.fullmatch(r"data/[\w-]+\.gz", path)}
    assert len(checks) == len([*ROOT.glob("vae_checks/*.py")]) and len(digits) == 4
    assert files - checks - digits == set(
        "vae_assignment.ipynb vae_helpers.py vae_digits.py requirements.txt README.md pytest.ini "
        "vae_explorer/__init__.py vae_explorer/template.html "
        "tests/helpers/test_densities.py tests/helpers/test_samplers.py".split()
    )
    for path in files - {"vae_assignment.ipynb", "vae_helpers.py", "README.md", "pytest.ini"}:
        assert (handout / path).read_bytes() == (ROOT / path).read_bytes()
    readme = (handout / "README.md").read_text()
    assert "| *all* |" in readme and "{" not in readme


def test_no_line_of_a_solution_is_left(handout, notebook):
    sources = [cell.source for cell in notebook.cells] + [(ROOT / "vae_helpers.py").read_text()]
    secret = [region[2] for source in sources for region in REGION.finditer(source)]
    secret += [cell.source for cell in notebook.cells if cell.id == "why-logit-means"]
    secret = {line.strip() for text in secret for line in text.splitlines()} - COMMONPLACE
    assert len(secret) > 70
    left = read_notebook(handout / NOTEBOOK.name).cells
    texts = [cell.source for cell in left]
    texts += [path.read_text() for path in handout.rglob("*") if path.suffix in (".py", ".md")]
    assert not secret & {line.strip() for text in texts for line in text.splitlines()}
    assert not [line for line in secret if len(line) > 15 and any(line in text for text in texts)]
    assert all(cell.get("outputs", []) == [] for cell in left)
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
    blank = read_notebook(handout / NOTEBOOK.name)
    said = "is not written yet: see '|is not defined: write it, or|nothing was trained"
    with kernel_for(blank, PYTHONPATH=str(handout)) as kernel:
        language = kernel.client.wait_for_reply(kernel.client.kc.kernel_info())
        assert blank.metadata.language_info == language["content"]["language_info"]
        name = kernel.client.km.kernel_spec.display_name
        kernelspec = {"name": "python3", "display_name": name, "language": "python"}
        assert blank.metadata.kernelspec == kernelspec
        kernel.run_all(until="check-bernoulli")
        for cell in kernel.cells[kernel.index["check-bernoulli"] :]:
            if cell.cell_type == "code":
                try:
                    kernel.run(cell.id)
                    assert not is_check(cell.id)
                except CellExecutionError as error:
                    kind = said if is_check(cell.id) else "not written yet|^name '"
                    assert re.search(kind, error.evalue), cell.id
                    assert not is_check(cell.id) or cell.outputs[0].traceback == [error.evalue]


def test_a_student_can_run_the_tests(handout, tmp_path):
    shutil.copytree(handout, tmp_path / "handout")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    place = {"cwd": tmp_path / "handout", "capture_output": True, "text": True}
    words = "sample_gaussian is not written yet: see 'A stable Bernoulli density', 3."
    assert words in subprocess.run(command, **place).stdout
    (tmp_path / "handout" / "vae_helpers.py").write_text(solved_helpers(handout))
    assert subprocess.run(command, **place).returncode == 0


def test_the_table_of_points_is_that_of_the_checks(notebook):
    parts, table = {}, notebook.cells[0].source
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = (re.findall("(?m)^#+ (.*)", cell.source) or [heading])[-1]
        elif is_check(cell.id):
            call = re.search(r"checks\.(\w+)", cell.source)[1]
            parts.setdefault(heading, []).append(f"`{call}` {cell.metadata.nbgrader.points}")
    rows = re.findall(r"(?m)^\|(.*)\|.*\|(.*\d.*)\|.*\|$", table)
    found = {part.strip(): checks.strip() for part, checks in rows}
    assert found == {part: ", ".join(calls) for part, calls in parts.items()} | {"*all*": "100"}


@pytest.mark.parametrize("source", [
    "### BEGIN SOLUTION\nx = 1",
    "x = 1\n### END SOLUTION",
    "### END SOLUTION\nx = 1\n### BEGIN SOLUTION",
    "## begin solution\nx = 1\n## end solution",
    "### BEGIN SOLUTION x\nx = 1\n### END SOLUTION",
])  # fmt: skip
def test_marks_that_are_not_in_pairs_are_an_error(source):
    with pytest.raises(ValueError, match="^elbo: each ### BEGIN SOLUTION needs its ### END SOL"):
        blanked(source, "elbo", ["# Heading"])


def test_a_folder_that_is_there_is_left_as_it_is(handout):
    result = instructor("handout", handout)
    assert result.returncode == 1 and "exists already: remove it" in result.stderr
    assert len(result.stderr.splitlines()) == 1
