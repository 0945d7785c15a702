"""The grade book: who is to be marked, a row for each student, and a page about the class.

    .venv/bin/pytest --nbval submissions -n 2 --dist loadfile --gradebook grades

`submissions` holds a folder for each student, with her notebook and her vae_helpers.py, or plain
notebooks, which use the project's helpers.
"""

import csv
import io
import json
import os
import time
from hashlib import sha256
from pathlib import Path

import jinja2
import pytest

from instructor.cells import is_check
from instructor.grading.handed_in import NOTEBOOK, given
from instructor.grading.sandbox import why_no_sandbox

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True
)
TEMPLATES.tests["contains"] = lambda ids, id: id in ids
POINTS = {
    id: cell.metadata.get("nbgrader", {}).get("points", 1)
    for id, cell in given().items()
    if is_check(id)
}


class GradeBook:
    """Also a plugin of pytest, in the process that hands the notebooks out."""

    def __init__(self, config):
        if not config.option.nbval:
            raise pytest.UsageError("--gradebook marks notebooks: give --nbval, too")
        os.environ.setdefault("VAE_DATASET", "embedded")
        os.environ.setdefault("VAE_EPOCHS", "5")
        self.settings = " ".join(f"{v}={os.environ[v]}" for v in ("VAE_DATASET", "VAE_EPOCHS"))
        self.folder = Path(config.option.gradebook).absolute()
        self.students = students_in(config.args)
        self.hidden = {self.folder, *(path.parent for path in self.students.values())}
        if hasattr(config, "workerinput"):
            config.args = config.workerinput["to_do"]
            return
        (self.folder / "rows").mkdir(parents=True, exist_ok=True)
        marked = {} if config.option.regrade else {r["student_id"]: r["files"] for r in self.rows()}
        config.args = []
        for student, path in self.students.items():
            if digest_of(path) != marked.get(student):
                notebook, problem = notebook_in(path)
                if problem:
                    self.write_row(student, {}, [problem])
                else:
                    config.args.append(str(notebook))
        config.option.tbstyle, config.option.reportchars = "no", ""  # the pages say what is wrong
        self.config, self.to_do, self.done = config, len(config.args), 0
        self.started = time.monotonic()
        self.write_table()
        config.pluginmanager.register(self, "gradebook")

    def student_of(self, notebook):
        """Whose notebook this is, and whether it was handed in with a folder."""
        inside = (s for s, path in self.students.items() if notebook.is_relative_to(path))
        student = next(inside)
        return student, self.students[student] != notebook

    def write_row(self, student, points, remarks):
        row = {"student_id": student, "passed": [*points]}  # some are worth no points
        row |= {"points": {id: points.get(id, 0) for id in POINTS}}
        row |= {"score": sum(points.values()), "max_score": sum(POINTS.values())}
        row |= {"remarks": remarks, "files": digest_of(self.students[student])}
        write(self.folder / "rows" / f"{student}.json", json.dumps(row, indent=1))

    def rows(self):
        return [json.loads(p.read_text()) for p in sorted((self.folder / "rows").glob("*.json"))]

    def write_table(self):
        rows, text = self.rows(), io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["student_id", *POINTS, "score", "max_score", "remarks"])
        for row in rows:
            row["remark"] = " ".join("".join(row["remarks"][:1]).split())
            row["page"] = (self.folder / f"{row['student_id']}.html").exists()
            points = [row["points"].get(id, 0) for id in POINTS]
            scores = [row[name] for name in ("score", "max_score", "remark")]
            table.writerow([row["student_id"], *points, *scores])
        write(self.folder / "grades.csv", text.getvalue())
        page = TEMPLATES.get_template("index.html.j2")
        html = page.render(rows=rows, points=POINTS, settings=self.settings)
        write(self.folder / "index.html", html)

    def say(self, line):
        self.config.pluginmanager.get_plugin("terminalreporter").write_line(line)

    # What pytest calls -----------------------------------------------------------------------

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node):
        node.workerinput["to_do"] = node.config.args

    def pytest_report_header(self):
        yield f"grade book: {len(self.students)} students, {self.to_do} to be marked"
        yield f"grade book: {self.settings}"
        if reason := why_no_sandbox():
            yield (
                f"grade book: NO SANDBOX ({reason}). Students' code can read and write what you "
                "can; only its time, its output and its memory are limited."
            )

    def pytest_report_teststatus(self, report):
        return report.outcome, "", ""  # a line for each student instead

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.nodeid.endswith("::grade"):
            self.done += 1
            to_go = self.to_do - self.done
            minutes = (time.monotonic() - self.started) / self.done * to_go / 60
            student = dict(report.user_properties).get("student", report.nodeid)
            self.write_table()
            self.say(f"{student}: {self.done} done, {to_go} to go, {minutes:.0f} min left")

    def pytest_sessionfinish(self, session, exitstatus):
        self.say(f"The grade book: {self.folder / 'index.html'}")
        if exitstatus in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.OK  # wrong work is no failure of grading


def students_in(arguments):
    """The folder or notebook of each student, by the name of either."""
    students = {}
    for argument in (Path(a).absolute() for a in arguments):
        hers = argument.is_file() or any(
            (argument / n).exists() for n in (NOTEBOOK, "vae_helpers.py")
        )
        for path in [argument] if hers else sorted(argument.iterdir()):
            if path.name.startswith(".") or not (path.is_dir() or path.suffix == ".ipynb"):
                continue
            student = path.name.removesuffix(".ipynb")
            if student in students:
                raise pytest.UsageError(f"{students[student]} and {path}: the same student twice?")
            students[student] = path
    return students


def notebook_in(path):
    """A student's notebook and None, or None and what is wrong, in one line."""
    if path.is_file():
        return path, None
    found = [p for p in sorted(path.rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
    found = [p for p in found if p.name == NOTEBOOK] or found
    if len(found) != 1:
        return None, f"{len(found) or 'no'} notebooks are there: hand in one, {NOTEBOOK}"
    if not found[0].with_name("vae_helpers.py").is_file():
        return None, f"vae_helpers.py is missing beside {found[0].name}"
    return found[0], None


def digest_of(path):
    """Another one if any of a student's files changes."""
    digest = sha256()
    for file in sorted([path] if path.is_file() else path.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(path)}\n{file.stat().st_size}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def write(path, text):
    """Write the file so that nobody finds it half written."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8", errors="replace")
    unfinished.replace(path)
