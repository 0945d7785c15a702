"""Whose work it is: the submissions in what an instructor downloads from Moodle, Canvas or mail.

The rules are the tables in docs/grading.md. Links are not followed, and nothing that was handed in
is run or imported here: files are only read.
"""

import os
import re
import stat
import tempfile
import zipfile
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath
from unicodedata import normalize
from urllib.parse import quote

from instructor.assignment import HELPERS, NOTEBOOK
from instructor.limits import FILE_SIZE, MB, UNPACKED_SIZE

# What browsers, systems and learning platforms make of the name of a copy.
COPY_BEFORE = r"(?:copy of |kopie von )?"
COPY_AFTER = r"(?:-\d{1,2}|[ _-]*\(\d+\)|[ _-]*(?:copy|kopie)[ _-]*\d*)*"

# Names that a learning platform gives, of files or of folders. Of several attempts of a student,
# which have a group `attempt`, the last one counts.
PLATFORMS = [
    # Moodle: First Last_12345_assignsubmission_file_vae_assignment.ipynb
    r"(?P<student>.+_\d+)_assignsubmission_[a-z]+(?:_(?P<file>.*))?",
    # Canvas: lastfirst_LATE_12345_67890_vae_assignment.ipynb, with another number for each file
    r"(?P<student>[^_]+(?:_LATE)?_\d{3,}|anon(?:_LATE)?_[^_]+)_\d{3,}_(?P<file>.+)",
    # Blackboard: Assignment 3_ada01_attempt_2024-03-01-10-11-12_vae_assignment.ipynb
    r"[^_]*_(?P<student>.+)_attempt_(?P<attempt>[\d-]{19})(?:_(?P<file>.+)|(?P<text>\.txt))?",
    # Brightspace: 12345-67890 - Ada Doe - Mar 1, 2024 1011 AM - vae_assignment.ipynb
    r"(?P<number>\d+)-\d+ - (?P<student>.+?) - (?P<attempt>[^-]*\d{4} \d{3,4} [AP]M)"
    r"(?: - (?P<file>.+))?",
]
# ILIAS: the folder whose entries are the students' (Doe_Ada_ada01_12345), beside tables for grades
ENTRIES_OF_ILIAS = {"Abgaben", "Submissions"}

PASSED_OVER = {"__MACOSX", "__pycache__", "site-packages", "Thumbs.db", "desktop.ini"}
NOT_READABLE = "it cannot be read here"
LEVELS = 4  # of .zip files in each other


@dataclass
class Submission:
    """What a student handed in: files by their paths, or why there can be no verdict on them."""

    student: str  # the name as it is shown
    place: str = ""  # where it was found, to be given on the command line
    files: dict = field(default_factory=dict)
    problem: str = ""
    remarks: list = field(default_factory=list)

    def copies_of(self, name):
        """The paths of the files called `name`, else like a copy of it, else with it in theirs."""
        return copies_of(name, self.files) or copies_of(name, self.files, ".*", ".*")

    def notebooks(self):
        """The paths of the notebooks of which one is to be graded: if all goes well, one."""
        paths = self.copies_of(NOTEBOOK)
        paths = paths or [path for path in self.files if path.suffix == ".ipynb"]
        above = [p for p in paths if all(other.is_relative_to(p.parent) for other in paths)]
        exact = [path for path in above if path.name == NOTEBOOK]
        return exact or above or paths

    def digest(self):
        """Another one if any of the files changes."""
        digest = sha256(self.problem.encode())
        for path, file in sorted(self.files.items()):
            status = file.stat()
            content = file.read_bytes() if status.st_size <= FILE_SIZE else b""
            digest.update(os.fsencode(f"{path}\n{status.st_size}\n") + content)
        return digest.hexdigest()


@dataclass
class Owner:
    """Whose an entry is, by its name."""

    student: str
    file: str = ""  # the file's own name, without the student's
    attempt: tuple = ()  # the later, the larger
    is_told: bool = False  # by a platform's pattern, or by the instructor's


def copies_of(name, paths, before=COPY_BEFORE, after=COPY_AFTER):
    """Those of the paths whose names are like a copy's of `name`."""
    stem, suffix = name.split(".")
    pattern = rf"{before}{stem}{after}\.{suffix}"
    return [path for path in paths if re.fullmatch(pattern, path.name, re.I)]


# Arguments ---------------------------------------------------------------------------------------


def read_submissions(arguments, scratch, grades, names=None):
    """All submissions in folders, notebooks and .zip files, and what else is there.

    scratch: an empty folder for what is unpacked; grades: the grade book's, which is no submission;
    names: a pattern with the groups student and file for the names of entries.
    Returns a dictionary of submissions, by the names of their rows' files, and a list of lines.
    Raises: FileNotFoundError for an argument, ValueError for two folders of one name.
    """
    for argument in arguments:
        if not argument.exists():
            raise FileNotFoundError(f"{argument} is not there.")
    patterns = [re.compile(pattern, re.I | re.S) for pattern in PLATFORMS]
    if names:
        patterns.insert(0, pattern_of(names))
    roster = Roster(scratch, patterns)
    for place in dict.fromkeys(argument.resolve() for argument in arguments):
        if place != grades:
            roster.add_argument(place, grades)
    return roster.finish()


def pattern_of(names):
    """The instructor's pattern. Raises: ValueError."""
    try:
        pattern = re.compile(names, re.S)
    except re.error as error:
        raise ValueError(f"--names {names} is no regular expression: {error}.") from None
    if "student" not in pattern.groupindex:
        raise ValueError(f"--names {names} needs a group (?P<student>...).")
    return pattern


class Roster:
    """Collects the submissions of the arguments, one after the other."""

    def __init__(self, scratch, patterns):
        self.scratch, self.patterns = scratch, patterns
        self.submissions = {}  # by the student
        self.attempts = {}  # by the student: the last one
        self.folders = {}  # by the student: the folder that was given for them
        self.others = []

    def add_argument(self, place, grades):
        """A notebook is one student's; so is a folder or .zip with NOTEBOOK in it; or a class."""
        if place.is_dir():
            files = files_below(place, grades)
        elif is_zip(place):
            files = self.unpacked(place)
        else:
            files = {PurePosixPath(): place}
        if PurePosixPath() in files or self.owner_of(place.name).is_told:
            self.add_entry(place.name, files, place)
            return
        outer, files = without_outer_folders(files, self.patterns)
        if is_ones(files):
            self.add_entry(outer.name or place.name, files, place / outer)
        else:
            self.add_class(files, place / outer)

    def add_class(self, files, place):
        """Each entry of a class is a student's."""
        for name, inside in entries_of(files).items():
            if name in ENTRIES_OF_ILIAS and PurePosixPath() not in inside:
                self.add_class(inside, place / name)
            else:
                self.add_entry(name, inside, place / name)

    def add_entry(self, name, files, place):
        """Add the files of one entry to its student's: by their paths in a folder, or one file.

        A file that is an entry itself has the path ".".
        """
        owner, file = self.owner_of(name), files.get(PurePosixPath())
        if file == "":
            self.others.append(f"{printable(name)}: a link, or no file")
        elif isinstance(file, str):  # it cannot be read
            self.keep(owner, {PurePosixPath(name): file}, place)
        elif file is None:
            self.keep(owner, files, place)
        elif is_zip(PurePosixPath(name)):
            self.add_zip(owner, self.unpacked(file), place)
        elif owner.is_told or is_work(name):
            self.keep(owner, {PurePosixPath(owner.file): file}, place)
        else:
            self.others.append(f"{printable(name)}: no notebook, helpers, folder or .zip")

    def add_zip(self, owner, files, place):
        """A .zip among others is a student's, or a platform's, with several students' files."""
        if file := files.get(PurePosixPath()):  # why it cannot be unpacked
            files = {PurePosixPath(place.name): file}
        inside = without_outer_folders(files, self.patterns)[1]
        names = entries_of(inside)
        if any(self.owner_of(name).is_told for name in names) and not is_ones(inside):
            if not owner.is_told:
                self.add_class(inside, place)
                return
        self.keep(owner, files, place)

    def keep(self, owner, files, place):
        """Put files to the student's others; of several attempts only the last one's stay.

        Raises: ValueError for a folder of the same name as one elsewhere.
        """
        student = owner.student
        if place.is_dir():
            other = self.folders.setdefault(student, place)
            if other.parent != place.parent:
                above = os.path.commonpath([other, place])
                raise ValueError(
                    f"Two folders are called {student}: {other} and {place}. Give {above}, if what "
                    "is in it are the students' folders, or grade one after the other into grade "
                    "books of their own."
                )
        new = Submission(student, printable(str(place)))
        submission = self.submissions.setdefault(student, new)
        last = self.attempts.setdefault(student, owner.attempt)
        if owner.attempt != last:
            remark = "there are several attempts: the last one was graded"
            if owner.attempt > last:
                submission = self.submissions[student] = new
                self.attempts[student] = owner.attempt
            if remark not in submission.remarks:
                submission.remarks.append(remark)
            if owner.attempt < last:
                return
        add_files(submission.files, files)

    def owner_of(self, name):
        """Whose an entry of this name is."""
        for pattern in self.patterns:
            match = pattern.fullmatch(decoded(os.fsencode(name), "cp1252"))
            if match and match["student"]:
                found = match.groupdict()
                student = re.sub("_LATE(?=_|$)", "", found["student"])
                if found.get("number"):
                    student = f"{student}_{found['number']}"
                file = found.get("file") or f"text{found.get('text') or ''}"
                return Owner(printable(student), file, time_of(found.get("attempt")), True)
        return Owner(printable(student_in(name)), own_name(name))

    def unpacked(self, zip_file):
        return unpacked(PurePosixPath(), zip_file, self.scratch)

    def finish(self):
        """The submissions by the names of their rows' files, and what is no submission."""
        for student, submission in [*self.submissions.items()]:
            unpack_within(submission, self.scratch)
            drop_unreadable(submission)
            files = submission.files
            if files and not submission.notebooks() and all(is_helpers(path) for path in files):
                name = Path(submission.place).name
                self.others.append(f"{name}: helpers without a notebook of the same name")
                del self.submissions[student]
                continue
            note_other_notebooks(submission)
        return with_file_names(self.submissions.values()), self.others


# Names -------------------------------------------------------------------------------------------


def student_in(name):
    """The student in a name that no platform gave: without suffix and the assignment's names."""
    path = PurePosixPath(name)
    stem = path.stem if path.suffix.lower() in (".ipynb", ".py", ".zip") else name
    token = rf"{COPY_BEFORE}vae_(?:assignment|helpers)(?:{COPY_AFTER}(?=[ _-]|$))?"
    match = re.search(token, stem, re.I)
    if not match:
        return stem
    before, after = stem[: match.start()], stem[match.end() :]
    between = re.match("[ _-]*", after)[0] or re.search("[ _-]*$", before)[0]
    before, after = before.rstrip(" _-"), after.lstrip(" _-")
    return f"{before}{between}{after}" if before and after else before or after or stem


def own_name(name):
    """The name of a loose file without the student's: NOTEBOOK, HELPERS or as it is."""
    for wanted in (NOTEBOOK, HELPERS):
        if copies_of(wanted, [PurePosixPath(name)], ".*", ".*"):
            return wanted
    return name


def time_of(attempt):
    """What orders the attempts of a student in time, as a tuple; empty for no attempt."""
    if attempt is None:
        return ()
    for form in ("%b %d, %Y %I%M %p", "%B %d, %Y %I%M %p", "%d %B, %Y %I%M %p"):
        try:
            hour = re.sub(r"\b(\d{3}) ([AP]M)", r"0\1 \2", attempt)
            return (datetime.strptime(hour, form).isoformat(),)
        except ValueError:
            pass
    return (attempt,)


def is_helpers(path):
    return path.name == HELPERS


def is_work(name):
    """Whether a loose file of this name is part of a submission."""
    return name.endswith(".ipynb") or own_name(name) == HELPERS


def is_zip(path):
    return path.suffix.lower() == ".zip"


def is_passed_over(name):
    """Whether it is hidden, or what systems and tools leave behind."""
    return name[0] == "." or name in PASSED_OVER


def decoded(raw, otherwise):
    try:
        return normalize("NFC", raw.decode())
    except UnicodeDecodeError:
        return normalize("NFC", raw.decode(otherwise, errors="replace"))


def printable(name):
    """A file's name as well as it can be shown: not all are UTF-8, or printable."""
    text = decoded(os.fsencode(name), "cp1252")
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def with_file_names(submissions):
    """The submissions by names that any disk takes, no two the same, in the students' order."""
    named = {}
    for submission in sorted(submissions, key=lambda s: s.student):
        student = submission.student
        safe = (c if c.isalnum() or c in " ._-()[]@+," else quote(c, safe="") for c in student)
        name = "".join(safe)
        if len(name.encode()) > 120 or name.casefold() in {"index", *map(str.casefold, named)}:
            name = f"{name[:30]}-{sha256(student.encode()).hexdigest()[:8]}"
        named[name] = submission
    return named


# Files -------------------------------------------------------------------------------------------
#
# They are kept by their paths in a folder or .zip: where each can be read, or a text that says why
# it cannot; None for a folder.


def files_below(folder, grades=None):
    """All files and folders below a folder, without links and what is no file."""
    files, places = {}, [folder]
    for found in places:
        path = PurePosixPath(found.relative_to(folder))
        try:
            mode = found.lstat().st_mode
            if stat.S_ISDIR(mode) and found != grades:
                files[path] = None
                names = [name for name in sorted(os.listdir(found)) if not is_passed_over(name)]
                places += [found / name for name in names]
            elif stat.S_ISREG(mode):
                found.open("rb").close()
                files[path] = found
            elif found != grades:
                files[path] = ""  # a link or a pipe, which is named if it is an entry
        except OSError as error:
            files[path] = f"{NOT_READABLE}: {error.strerror}"
    if problem := files.pop(PurePosixPath()):
        raise OSError(f"{folder}: {problem}")
    return files


def entries_of(files):
    """The names directly in a folder, with the files in each by their paths in it."""
    entries = {}
    for path, file in files.items():
        inside = entries.setdefault(path.parts[0], {})
        rest = PurePosixPath(*path.parts[1:])
        if file is not None or rest.parts:
            inside[rest] = file
    return entries


def without_outer_folders(files, patterns=()):
    """The path of the innermost folder that holds all, and the files in it.

    A folder that a platform named is a student's: it is none of these.
    """
    outer = PurePosixPath()
    while len(entries := entries_of(files)) == 1:
        name, inside = entries.popitem()
        is_told = any(pattern.fullmatch(name) for pattern in patterns)
        if not inside or PurePosixPath() in inside or is_told:
            break
        outer, files = outer / name, inside
    return outer, files


def is_ones(files):
    """Whether the notebook lies directly in this folder, which then is one student's."""
    return bool(copies_of(NOTEBOOK, [path for path in files if len(path.parts) == 1]))


def add_files(files, more):
    """Add more files; one whose path is taken moves to a folder of its own, so that both stay."""
    for path, file in more.items():
        while file and files.get(path):
            path = path.parent / f"({len(files)})" / path.name
        files[path] = file or files.get(path)


def unpacked(path, zip_file, scratch, room=UNPACKED_SIZE):
    """The files in a .zip, each unpacked under a number; no link. An error is its path's."""
    files, folder = {}, Path(tempfile.mkdtemp(dir=scratch))
    try:
        with zipfile.ZipFile(zip_file) as archive:
            # zipfile reads no more than these sizes, whatever the file holds.
            if sum(member.file_size for member in archive.infolist()) > room:
                raise ValueError(f"it holds more than {room // MB} MB")
            for number, member in enumerate(archive.infolist()):
                # Names that are not said to be UTF-8 were read as cp437, but may be UTF-8.
                raw = member.orig_filename.encode("utf-8" if member.flag_bits & 0x800 else "cp437")
                name = decoded(raw, "cp437").partition("\0")[0].replace("\\", "/")
                parts = [part for part in name.split("/") if part not in ("", ".", "..")]
                is_link = stat.S_ISLNK(member.external_attr >> 16)
                if not parts or is_link or any(map(is_passed_over, parts)):
                    continue
                member.filename = str(number)
                try:
                    file = None if name[-1] == "/" else Path(archive.extract(member, folder))
                except OSError:  # of this machine's disk
                    raise
                except Exception as error:  # seen: BadZipFile, RuntimeError (encrypted), zlib.error
                    file = f"it cannot be unpacked: {error}"
                add_files(files, {PurePosixPath(*parts): file})
    except OSError:
        raise
    except Exception as error:  # seen: BadZipFile, UnicodeDecodeError
        return {path: f"it cannot be unpacked: {error}"}
    return files


def unpack_within(submission, scratch):
    """Unpack .zip files, and those in them, if a notebook, or helpers for one, lie only there."""
    files, room, has_notebook = submission.files, UNPACKED_SIZE, False
    for _ in range(LEVELS):
        if has_notebook or submission.notebooks() and submission.copies_of(HELPERS):
            return
        has_notebook = bool(submission.notebooks())
        for path in [p for p in files if is_zip(p) and isinstance(files[p], Path)]:
            inside = unpacked(path, files[path], scratch, room)
            room -= sum(file.stat().st_size for file in inside.values() if isinstance(file, Path))
            if has_notebook:
                inside = {p: file for p, file in inside.items() if p.suffix != ".ipynb"}
            if not has_notebook or Submission("", files=inside).copies_of(HELPERS):
                del files[path]
                add_files(files, inside)


def drop_unreadable(submission):
    """Leave out folders, and what cannot be read, with a remark on each.

    Without a notebook there is no verdict on what may be one and this user cannot read.
    """
    for path, file in [*submission.files.items()]:
        if any(len(os.fsencode(part)) > 255 for part in path.parts):
            file = "its name is too long"
        if isinstance(file, Path):
            continue
        del submission.files[path]
        if file:
            submission.remarks.append(f"{printable(str(path))} was left out: {file}")
            if file.startswith(NOT_READABLE) and not submission.notebooks():
                submission.problem = f"{printable(str(path))}: {file}"


def note_other_notebooks(submission):
    """Say which notebooks beside the graded one are not graded."""
    graded = submission.notebooks()
    if len(graded) == 1:
        beside = [p for p in submission.files if p.suffix == ".ipynb" and p not in graded]
        names = [printable(p.name) for p in beside if p.parent == graded[0].parent]
        if names:
            remark = f"{printable(graded[0].name)} was graded, and not {', '.join(names)}"
            submission.remarks.append(remark)
