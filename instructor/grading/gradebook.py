"""The grade book: a row for each student, a table, and a page about the class."""

import csv
import io
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from instructor.files import write_whole
from instructor.grading.feedback import class_page, student_page
from instructor.grading.grader import POINTS, Result, grade
from instructor.grading.limits import SCRATCH_PATH, Limits
from instructor.grading.roster import read_submissions
from instructor.grading.sandbox import ROOT, why_no_sandbox

# With another version of one of these a submission is graded again.
GRADED_WITH = ["vae_assignment.ipynb", "vae_helpers.py", "vae_digits.py", "vae_checks/*.py"]


def grade_class(arguments, folder, processes, part="1/1", regrade=False, limits=Limits()):
    """Grade what is in folders, notebooks and .zip files, each student in a process of their own.

    A row is on disk as soon as a student is done; students whose row is up to date are left out.
    part: "K/N" is each N-th student, from the K-th on; several parts may share the folder.
    Raises: ValueError for a wrong part or setting, FileNotFoundError for an argument.
    """
    first, step = part_of(part)
    book = GradeBook(folder.resolve(), settings(processes), limits)
    (book.folder / "rows").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vae-", ignore_cleanup_errors=True) as book.scratch:
        if len(book.scratch) > SCRATCH_PATH:
            raise ValueError(f"{book.scratch} is too long a path: set TMPDIR to a shorter one.")
        submissions, book.others = read_submissions(arguments, Path(book.scratch), book.folder)
        own = list(submissions.items())[first - 1 :: step]
        to_do = [item for item in own if regrade or not book.is_up_to_date(*item)]
        print(f"{len(own)} students, {len(to_do)} to be graded with {book.said_settings()}")
        for name in book.others:
            print(f"not a submission: {name}")
        if reason := why_no_sandbox():
            print(
                f"NO SANDBOX ({reason}). Students' code can read and write what you can; only its "
                "time, its output and its memory are limited."
            )
        with ThreadPoolExecutor(processes) as pool:
            running = {pool.submit(grade_apart, book, *item): item for item in to_do}
            try:
                for done in tqdm(as_completed(running), total=len(running), unit="student"):
                    book.write_table()
                    tqdm.write(f"{running[done][1].student}: {done.result()}")
            except KeyboardInterrupt:
                book.is_stopped = True
                pool.shutdown(wait=False, cancel_futures=True)
                for child in multiprocessing.active_children():
                    child.terminate()
                raise KeyboardInterrupt("Start the command again to grade the others.") from None
    book.write_table()
    print(f"The grade book: {book.folder / 'index.html'}")


def part_of(text):
    """The numbers K and N of "K/N"."""
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
    if not match or int(match[1]) > int(match[2]):
        raise ValueError(f"--part {text} must be K/N, such as 2/4, with K from 1 to N.")
    return int(match[1]), int(match[2])


def settings(processes):
    """What a row is made with; sets the environment of the kernels."""
    os.environ.setdefault("VAE_DATASET", "embedded")
    os.environ.setdefault("VAE_EPOCHS", "5")
    if not re.fullmatch(r"[1-9]\d*", os.environ["VAE_EPOCHS"]):
        raise ValueError(f"VAE_EPOCHS must be 1 or more, not {os.environ['VAE_EPOCHS']!r}.")
    if processes < 1:
        raise ValueError(f"-n {processes} must be 1 or more.")
    # Two processes that both use every core slow each other down many times over.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, n_cores() // processes)))
    version = sha256()
    for file in sorted(file for pattern in GRADED_WITH for file in ROOT.glob(pattern)):
        version.update(file.read_bytes())
    variables = {name: os.environ[name] for name in ("VAE_DATASET", "VAE_EPOCHS")}
    return variables | {"version": version.hexdigest()[:12]}


def n_cores():
    """The cores that this process may use, of which a cluster's scheduler may give it a few."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def grade_apart(book, name, submission):
    """Grade a submission in a process of its own, and write its row; what to say of it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["instructor.grading.gradebook"])
    process = context.Process(target=grade_here, args=(book, name, submission))
    process.start()
    process.join()
    if book.is_stopped:
        return "stopped"
    if process.exitcode:
        reason = f"it could not be graded: its process ended with {process.exitcode}"
        book.write_row(name, submission, Result(remarks=[reason]))
    row = book.row(name)
    return f"{row['score']} of {row['max_score']}"


def grade_here(book, name, submission):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C only the command is told, and it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends its students, which clean up
    tempfile.tempdir = book.scratch  # which goes in the end, however this process ends
    result = grade(submission, int(book.settings["VAE_EPOCHS"]), book.limits)
    book.write_row(name, submission, result)


@dataclass
class GradeBook:
    """The folder of the grade book, and what a run of the command has to do with it."""

    folder: Path
    settings: dict
    limits: Limits
    scratch: str = ""  # a folder that is removed when the command ends
    others: list = ()
    is_stopped: bool = False

    def said_settings(self):
        return " ".join(f"{n}={value}" for n, value in self.settings.items() if n != "version")

    def row_file(self, name):
        return self.folder / "rows" / f"{name}.json"

    def row(self, name):
        """The student's row; an empty one if there is none, or it cannot be read."""
        try:
            return json.loads(self.row_file(name).read_text())
        except (OSError, ValueError):
            return {}

    def is_up_to_date(self, name, submission):
        row = self.row(name)
        return (row.get("files"), row.get("settings")) == (submission.digest(), self.settings)

    def write_row(self, name, submission, result):
        """Write the student's page, and when it is there the row."""
        page, remarks = self.folder / f"{name}.html", result.all_remarks()
        page.unlink(missing_ok=True)  # it belongs to an earlier version of the row
        points = result.points()
        try:
            html = student_page(submission.student, result, POINTS, self.said_settings())
            write_whole(page, html)
        except Exception as error:  # seen: ValueError of a picture that is none, OSError
            remarks.append(f"the page could not be made: {error!r:.200}")
        row = {
            "student_id": submission.student,
            "passed": [*points],  # some checks are worth no points
            "points": {id: points.get(id, 0) for id in POINTS},
            "score": sum(points.values()),
            "max_score": sum(POINTS.values()),
            "remarks": remarks,
            "page": page.name if page.exists() else None,
            "files": submission.digest(),
            "settings": self.settings,
        }
        write_whole(self.row_file(name), json.dumps(row, indent=1))

    def write_table(self):
        """Write the table and the class's page of all rows that are there, whoever wrote them."""
        with FileLock(self.folder / "rows" / ".lock"):  # whoever comes last has seen all rows
            rows = [self.row(path.stem) for path in self.folder.glob("rows/*.json")]
            rows = sorted(filter(None, rows), key=lambda row: row["student_id"])
            text = io.StringIO()
            table = csv.writer(text, lineterminator="\n")
            table.writerow(["student_id", *POINTS, "score", "max_score", "remarks"])
            for row in rows:
                row["remark"] = " ".join("".join(row["remarks"][:1]).split())
                points = [row["points"].get(id, 0) for id in POINTS]
                scores = [row["score"], row["max_score"], no_formula(row["remark"])]
                table.writerow([no_formula(row["student_id"]), *points, *scores])
            write_whole(self.folder / "grades.csv", text.getvalue())
            html = class_page(rows, POINTS, self.said_settings(), self.others)
            write_whole(self.folder / "index.html", html)


def no_formula(text):
    """The text so that a spreadsheet does not take it for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
