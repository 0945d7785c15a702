"""Editing vae_helpers.py while the kernel runs: what is called, and what a traceback quotes."""

import os
import re
import time

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from project import NOTEBOOK, ROOT, changed

CALL = "gaussian_log_density(*torch.zeros(3, 1))"
SOLUTION = "return -0.5 * math.log(2 * math.pi) - log_std"
HELPERS = (ROOT / "vae_helpers.py").read_text()
LINE = HELPERS.split(SOLUTION)[0].count("\n") + 1


@pytest.fixture(scope="module")
def edit_and_run(kernel_for, tmp_path_factory):
    """A function that edits a copy of the helpers and then runs a cell in a kernel that uses it."""
    folder = tmp_path_factory.mktemp("beside")
    helpers = folder / "vae_helpers.py"
    helpers.write_text(HELPERS)
    path = os.pathsep.join(map(str, (folder, ROOT)))
    with kernel_for(nbformat.read(NOTEBOOK, as_version=4), PYTHONPATH=path) as kernel:
        kernel.run_all(until="data")

        def run(cell, right=SOLUTION, wrong=SOLUTION, above=""):
            helpers.write_text(above + changed(HELPERS, right, wrong))
            # The reloader looks at the time of modification.
            os.utime(helpers, ns=(time.time_ns(), time.time_ns()))
            return kernel.evaluate(cell)

        yield run


def failure(run, *arguments):
    """The traceback of a cell that fails, without colours."""
    with pytest.raises(CellExecutionError) as caught:
        run(*arguments)
    return re.sub(r"\x1b\[[\d;]*m", "", str(caught.value))


def test_an_edited_function_is_called_in_the_next_cell(edit_and_run):
    before = float(edit_and_run(f"print({CALL}.item())"))
    after = float(edit_and_run(f"print({CALL}.item())", "return -0.5", "return 10 - 0.5"))
    assert after - before == pytest.approx(10, abs=1e-5)


@pytest.mark.parametrize("above", ["", "# one\n# two\n# three\n"])
def test_a_traceback_quotes_the_line_at_fault(edit_and_run, above):
    wrong = f"half = 0.5\n    z.has_no_such_name\n    {SOLUTION}"
    shown = failure(edit_and_run, CALL, SOLUTION, wrong, above)
    (quoted,) = re.findall(r"(?m)^-+> (\d+) +(z\..*)$", shown)
    assert quoted == (str(above.count("\n") + LINE + 1), "z.has_no_such_name")
    assert "Error retrieving source" not in shown


@pytest.mark.parametrize("wrong, above, says", [
    ("return (", "", f"vae_helpers.py, line {LINE}: SyntaxError: '(' was never closed"),
    (SOLUTION, "\n1 / 0\n", "vae_helpers.py, line 2: ZeroDivisionError: division by zero"),
])  # fmt: skip
def test_helpers_that_cannot_be_read_are_not_checked(edit_and_run, wrong, above, says):
    shown = failure(edit_and_run, "checks.gaussian()", SOLUTION, wrong, above)
    assert says in shown
    assert "ok:" not in shown


def test_a_function_that_was_renamed_is_not_checked_as_it_was(edit_and_run):
    shown = failure(edit_and_run, "checks.gaussian()", "def gaussian_log_density(", "def gaussian(")
    assert "gaussian_log_density is no longer defined in vae_helpers.py" in shown
    assert "ok:" not in shown
