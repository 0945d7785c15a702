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
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from instructor.assignment import GRADED_WITH, files_of, points_of_checks
from instructor.check import require_consistent
from instructor.files import ROOT, write_whole
from instructor.grading.feedback import class_page, student_page
from instructor.grading.grader import Result, grade
from instructor.grading.roster import read_submissions
from instructor.grading.sandbox import why_no_sandbox
from instructor.limits import SCRATCH_PATH, Limits
from vae_digits import load_digits


def grade_class(
    arguments, folder, processes, part="1/1", regrade=False, names=None, limits=Limits()
):
    """Grade what is in folders, notebooks and .zip files, each student in a process of their own.

    A row is on disk as soon as a student is done; students whose row is up to date are left out.
    part: "K/N" is each N-th student, from the K-th on; several parts may share the folder.
    names: a pattern for the names of entries, with the groups student and file.
    Returns how many students could not be graded.
    Raises: ValueError for a wrong part or setting, or for an assignment that does not agree with
    itself; RuntimeError for digits that are not there; FileNotFoundError for an argument.
    """
    first, step = part_of(part)
    if folder.resolve() in [argument.resolve() for argument in arguments]:
        raise ValueError(f"--to {folder} is the folder of the submissions: name another one.")
    require_consistent()
    book = GradeBook(folder.resolve(), settings(processes), limits)
    load_digits()  # so that wrong digits are one error, not each student's
    (book.folder / "rows").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vae-", ignore_cleanup_errors=True) as book.scratch:
        if len(book.scratch) > SCRATCH_PATH:
            raise ValueError(f"{book.scratch} is too long a path: set TMPDIR to a shorter one.")
        scratch = Path(book.scratch)
        book.submissions, book.others = read_submissions(arguments, scratch, book.folder, names)
        own = list(book.submissions.items())[first - 1 :: step]
        to_do = [item for item in own if regrade or not book.is_up_to_date(*item)]
        print(f"{len(own)} students, {len(to_do)} to be graded with {book.said_settings()}")
        for line in book.others:
            print(f"not a submission: {line}")
        if n_rows := book.n_rows_of_others():
            print(f"{n_rows} rows in {book.folder / 'rows'} are of students who are not among them")
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
    not_graded = [name for name, _ in own if "score" not in book.row(name)]
    if not_graded:
        print(f"NOT GRADED: {len(not_graded)} of {len(own)}. Start the command again to try again.")
    return len(not_graded)


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
    if Path(os.environ["VAE_DATASET"]).is_dir():  # seen from the folder of each kernel, too
        os.environ["VAE_DATASET"] = str(Path(os.environ["VAE_DATASET"]).resolve())
    # Two processes that both use every core slow each other down many times over.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, n_cores() // processes)))
    version = sha256()
    for file in files_of(GRADED_WITH):
        version.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    variables = {name: os.environ[name] for name in ("VAE_DATASET", "VAE_EPOCHS")}
    return variables | {"version": version.hexdigest()[:12]}


def n_cores():
    """The cores that this process may use, of which a cluster's scheduler may give it a few."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def process_context():
    """How processes are started: from a server that has imported all, where the system has one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():  # on Windows
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["instructor.grading.gradebook"])
    return context


def grade_apart(book, name, submission):
    """Grade a submission in a process of its own, and write its row; what to say of it."""
    started = time.time()
    process = process_context().Process(target=grade_here, args=(book, name, submission))
    try:
        process.start()
        process.join()
        if book.is_stopped:
            return "stopped"
        if process.exitcode:
            reason = f"the process that graded it ended with {process.exitcode}"
            book.write_row(name, submission, Result(not_graded=reason))
        row = book.row(name)
        if row.get("extra_data", {}).get("graded_at", 0) < started:
            return "not graded: its row could not be written"
    except OSError as error:  # no process, or no room on the disk
        return f"not graded: {error}"
    if "score" not in row:
        return row["output"].partition("\n")[0]
    return f"{row['score']} of {row['extra_data']['max_score']}"


def grade_here(book, name, submission):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C only the command is told, and it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends its students, which clean up
    tempfile.tempdir = book.scratch  # which goes in the end, however this process ends
    try:
        result = grade(submission, int(book.settings["VAE_EPOCHS"]), book.limits)
    except Exception as error:  # of the grader, for which the student is not to blame
        result = Result(not_graded=f"the grader failed with {error!r}")
    book.write_row(name, submission, result)


@dataclass
class GradeBook:
    """The folder of the grade book, and what a run of the command has to do with it."""

    folder: Path
    settings: dict
    limits: Limits
    scratch: str = ""  # a folder that is removed when the command ends
    submissions: dict = field(default_factory=dict)  # of this call, by the names of their rows
    others: list = field(default_factory=list)
    is_stopped: bool = False

    def __getstate__(self):  # for the process of one student, which does not need the others'
        return self.__dict__ | {"submissions": {}}

    def said_settings(self):
        return " ".join(f"{n}={value}" for n, value in self.settings.items() if n != "version")

    def row_file(self, name):
        return self.folder / "rows" / f"{name}.json"

    def row(self, name):
        """The student's row; an empty one if there is none that this version could have written."""
        try:
            row = json.loads(self.row_file(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return row if "extra_data" in row else {}

    def n_rows_of_others(self):
        return sum(path.stem not in self.submissions for path in self.folder.glob("rows/*.json"))

    def is_up_to_date(self, name, submission):
        row = self.row(name)
        if "score" not in row:
            return False
        made_of = (submission.student, submission.digest(), self.settings)
        own = row["extra_data"]
        return (own.get("student_id"), own.get("files"), own.get("settings")) == made_of

    def write_row(self, name, submission, result):
        """Write the student's page, and when it is there the row."""
        page = self.folder / f"{name}.html"
        page.unlink(missing_ok=True)  # it belongs to an earlier version of the row
        remarks = result.all_remarks()
        try:
            html = student_page(submission.student, result, self.said_settings())
            write_whole(page, html)
        except Exception as error:  # seen: ValueError of a picture that is none, OSError
            remarks.append(f"the page could not be made: {error!r:.200}")
        row = results(result, remarks)
        row["extra_data"] = {
            "student_id": submission.student,
            "max_score": sum(points_of_checks().values()),
            "passed": sorted(result.passed),
            "remarks": remarks,
            "page": page.name if page.exists() else None,
            "files": submission.digest() if not result.not_graded else None,
            "settings": self.settings,
            "graded_at": time.time(),
        }
        write_whole(self.row_file(name), json.dumps(row, indent=1))

    def write_table(self):
        """Write the table and the class's page of the rows that are there, whoever wrote them."""
        with FileLock(self.folder / "rows" / ".lock"):  # whoever comes last has seen all rows
            rows = [row for name in self.submissions if (row := self.row(name))]
            rows.sort(key=lambda row: row["extra_data"]["student_id"])
            text = io.StringIO()
            table = csv.writer(text, lineterminator="\n")
            checks = points_of_checks()
            table.writerow(["student_id", *checks, "score", "max_score", "remarks"])
            for row in rows:
                own = row["extra_data"]
                points = {test["name"]: test["score"] for test in row["tests"]}
                remark = " ".join("".join(own["remarks"][:1]).split())
                table.writerow(
                    [
                        no_formula(own["student_id"]),
                        *(points.get(id, "") for id in checks),
                        row.get("score", ""),
                        own["max_score"],
                        no_formula(remark),
                    ]
                )
            write_whole(self.folder / "grades.csv", text.getvalue())
            html = class_page(rows, checks, self.said_settings(), self.others)
            write_whole(self.folder / "index.html", html)


def results(result, remarks):
    """A row in the form of Gradescope's results.json; without a score if there is no verdict."""
    output = "\n".join(remarks)
    if result.not_graded:
        return {"output": output, "output_format": "text", "tests": []}
    tests = []
    for id, points in points_of_checks().items():
        has_passed = id in result.passed
        tests.append(
            {
                "name": id,
                "score": points if has_passed else 0,
                "max_score": points,
                "status": "passed" if has_passed else "failed",
                "output": "" if has_passed else result.messages.get(id, ""),
                "output_format": "text",
            }
        )
    score = sum(test["score"] for test in tests)
    return {"score": score, "output": output, "output_format": "text", "tests": tests}


def no_formula(text):
    """The text so that a spreadsheet does not take it for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
