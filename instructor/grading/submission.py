"""A student's notebook in the grade book: its cells, the tests of her helpers, row and page."""

import json
import os
import shutil
import time
from collections import defaultdict
from pathlib import Path

from nbval.plugin import IPyNbFile

from instructor.cells import TRAINING
from instructor.grading.feedback import page_of
from instructor.grading.gradebook import POINTS, write
from instructor.grading.handed_in import Refused, find_ids, given, problems_of, put_back, read
from instructor.grading.plugin import SECONDS_PER_CELL, Cell, Notebook, Step
from instructor.grading.sandbox import ROOT, Box, Kernel

SECONDS_PER_EPOCH = 30  # of the training
SECONDS_PER_NOTEBOOK = 600  # for its other cells together
TRUST = Path(__file__).with_name("trust.py").read_text()
TRUST = f"(lambda names: exec({TRUST!r}, names) or names['answer'])({{'notebook': globals()}})"
MOST_TEXT = 2000  # characters of a message
TESTS_OF_HELPERS = ["test_densities.py", "test_samplers.py"]


class Submission(Notebook):
    """A student's work and what came of it: messages by cell, remarks, test results."""

    box, why_no_kernel = None, "the kernel did not start"

    def collect(self):
        self.student, folder = self.config.gradebook.student_of(self.path)
        self.files = self.path.parent if folder else None
        self.cells, self.remarks, self.tests = [], [], []
        self.passed, self.messages = set(), {}
        try:
            notebook = read(self.path)
            self.remarks = [*find_ids(notebook), *problems_of(notebook)]
            self.cells = put_back(notebook)
        except Exception as error:  # Refused, or what a strange file leads to: it costs one row
            reason = "" if isinstance(error, Refused) else f"it cannot be graded: {type(error)}: "
            self.remarks.insert(0, f"{reason}{error}")
        for number, cell in enumerate(self.cells):
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
                options = defaultdict(bool)  # outputs are not compared
                yield GradedCell.from_parent(
                    self, name=cell.id, cell_num=number, cell=cell, options=options
                )
        if self.cells and self.files:
            yield Step.from_parent(self, name="helpers", run=self.test_helpers)
        yield Step.from_parent(self, name="grade", run=self.grade)

    def setup(self):
        if not self.cells:
            return
        self.seconds_left = SECONDS_PER_NOTEBOOK
        self.box = Box(self.files, self.config.gradebook.hidden)
        try:
            timeout = self.config.option.nbval_kernel_startup_timeout
            self.kernel = Kernel("python3", timeout, box=self.box)
            self.trusted = json.loads(self.kernel.ask(TRUST))
            self.kernel.ask(f"__import__('sys').path.insert(0, {str(self.box.work)!r})")
        except Exception as error:  # whatever it is, there will be a row
            self.why_no_kernel += f": {error}"

    def teardown(self):
        IPyNbFile.teardown(self)
        if self.box:
            self.box.remove()

    def seconds_for(self, id):
        seconds = min(SECONDS_PER_CELL, max(1, self.seconds_left))
        if id == TRAINING:
            seconds = SECONDS_PER_CELL + SECONDS_PER_EPOCH * int(os.environ["VAE_EPOCHS"])
        return min(seconds, self.config.option.nbval_cell_timeout)

    def make_checks(self):
        """Put the project's checks in place, unless she has replaced something they rest on."""
        now = json.loads(self.kernel.ask(TRUST))
        replaced = [n for n in {**self.trusted, **now} if now.get(n) != self.trusted.get(n)]
        if replaced:
            raise RuntimeError(f"no verdict: {', '.join(replaced[:3])} was replaced")

    def test_helpers(self, step):
        """The project's tests of densities and samplers, on her helpers, in a fresh box."""
        box = Box(self.files, self.config.gradebook.hidden)
        try:
            tests = [shutil.copy(ROOT / "tests" / name, box.folder) for name in TESTS_OF_HELPERS]
            options = "-q --tb=no -rf --noconftest -p no:cacheprovider --color=no -c /dev/null"
            paths = ["--rootdir", box.folder, "-o", f"pythonpath={box.work}", *tests]
            self.tests = box.run("-m", "pytest", *options.split(), *paths, timeout=120) or [""]
        finally:
            box.remove()
        if "passed" not in self.tests[-1] or "failed" in self.tests[-1]:
            self.remarks.append(f"the tests of vae_helpers.py: {self.tests[-1]}")

    def grade(self, step):
        """Write her page, and when it is there her row."""
        points = {id: POINTS[id] for id in POINTS if id in self.passed}
        errors = [f"{id}: {text}" for id, text in self.messages.items() if "edited-" not in id]
        self.remarks = errors + self.remarks
        book = self.config.gradebook
        try:
            write(book.folder / f"{self.student}.html", page_of(self, points))
        except Exception as error:  # such as a picture that is none
            self.remarks.append(f"the page could not be made: {error!r:.200}")
        book.write_row(self.student, points, self.remarks)
        step.user_properties.append(("student", self.student))


class GradedCell(Cell):
    """A cell that runs; a check between two looks at what it rests on."""

    def runtest(self):
        work, started, self.test_outputs = self.parent, time.monotonic(), []
        try:
            if not work.kernel:
                raise RuntimeError(work.why_no_kernel)
            if self.name in POINTS:
                work.make_checks()
            super().runtest()
            if work.kernel.reply["status"] != "ok":  # an error of which nbval was not told
                raise RuntimeError("{ename}: {evalue}".format_map(work.kernel.reply))
            if self.name in POINTS:
                work.make_checks()
                self.require_verdicts()
            work.passed.add(self.name)
        except Exception as error:
            work.messages[self.name] = self.message_of(error)[:MOST_TEXT]
            if work.kernel and not work.kernel.is_alive():
                work.kernel = None
                work.why_no_kernel = f"not run, since the kernel ended in {self.name}: {error}"
            raise
        finally:
            self.cell.outputs = self.test_outputs
            if self.name != TRAINING:
                work.seconds_left -= time.monotonic() - started

    def message_of(self, error):
        raised = [o for o in self.test_outputs if o.output_type == "error"]
        if not raised or "exception" not in str(error):
            return str(error)
        name = "" if raised[-1].ename in ("CheckFailed", "AssertionError") else raised[-1].ename
        return f"{name}: {raised[-1].evalue}".removeprefix(": ")

    def require_verdicts(self):
        """The check printed what it prints in the assignment, whatever else she prints there."""
        printed, expected = (
            "".join(output.get("text", "") for output in outputs)
            for outputs in (self.test_outputs, given()[self.name].outputs)
        )
        if missing := [line for line in expected.splitlines() if line not in printed]:
            raise RuntimeError(f"no verdict: it did not print {missing[0]!r}")
