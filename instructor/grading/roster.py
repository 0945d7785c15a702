"""Whose work it is: the submissions in what an instructor downloads from Moodle, Canvas or mail.

Links are not followed, and nothing that was handed in is run or imported here: files are only read.
A .zip is unpacked, and is then a folder like others.
"""

import os
import re
import stat
import tempfile
import zipfile
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from instructor.grading.limits import FILE_SIZE, MB, UNPACKED_SIZE

NOTEBOOK, HELPERS = "vae_assignment.ipynb", "vae_helpers.py"
# What browsers and learning platforms add to the name of a copy: " (1)", "-1", "-Copy1", ...
COPY = r"(?:[ _-]*(?:\(\d+\)|copy[ _-]*\d*|\d{1,3}))*"
PLATFORMS = [
    # Moodle: First Last_12345_assignsubmission_file_NAME, or a folder for each student.
    re.compile(r"(?P<student>.+_\d+)_assignsubmission_file(?:_(?P<file>.*))?", re.S),
    # Canvas: lastfirst_LATE_12345_67890_NAME, where 67890 is another number for each file.
    re.compile(r"(?P<student>[^_]+(?:_LATE)?_\d+)_\d+_(?P<file>.+)", re.S),
]
PASSED_OVER = {"__MACOSX", "__pycache__", "site-packages", "Thumbs.db", "desktop.ini"}


@dataclass
class Submission:
    """What a student handed in: files by their paths, or why they cannot be read."""

    student: str  # the name as it is shown
    files: dict = field(default_factory=dict)
    problem: str = ""

    def copies_of(self, name):
        """The paths of the files called `name`, or else of those called like a copy of it."""
        return copies_of(name, self.files)

    def notebooks(self):
        return self.copies_of(NOTEBOOK) or [p for p in self.files if p.suffix == ".ipynb"]

    def digest(self):
        """Another one if any of the files changes."""
        digest = sha256(self.problem.encode())
        for path, file in sorted(self.files.items()):
            status = file.stat()
            content = file.read_bytes() if status.st_size <= FILE_SIZE else b""
            digest.update(os.fsencode(f"{path}\n{status.st_size}\n") + content)
        return digest.hexdigest()


def copies_of(name, paths):
    stem, suffix = name.split(".")
    alike = [p for p in paths if re.fullmatch(rf"{stem}{COPY}\.{suffix}", p.name, re.I)]
    return [path for path in alike if path.name == name] or alike


def read_submissions(arguments, scratch, grades):
    """All submissions in folders, notebooks and .zip files, and what else is there.

    scratch: an empty folder for what is unpacked; grades: the grade book's, which is no submission.
    Returns a dictionary of submissions, by the names of their rows' files, and a list of names.
    Raises: FileNotFoundError for an argument.
    """
    submissions, others = {}, []
    for argument in arguments:
        if not argument.exists():
            raise FileNotFoundError(f"{argument} is not there.")
        argument = argument.resolve()
        entries = entries_of(argument) if argument.is_dir() else []
        is_one_students = copies_of(NOTEBOOK, entries) and len(with_notebook(entries)) == 1
        for entry in [argument] if argument.is_file() or is_one_students else entries:
            if entry != grades:
                add(submissions, others, entry, scratch)
    for submission in submissions.values():
        unpack_within(submission, scratch)
    return with_file_names(submissions.values()), others


def add(submissions, others, entry, scratch):
    """Add a folder or file to its student's submission, or its name to the others."""
    student, own_name = owner_of(entry.name)
    name, files, problem = entry.stem, {PurePosixPath(own_name or entry.name): entry}, ""
    if is_folder(entry):
        name, files = entry.name, files_below(entry)
    elif not is_file(entry) or not (student or entry.suffix in (".ipynb", ".zip")):
        others.append(shown(entry.name))
        return
    elif entry.suffix == ".zip":
        files = {}
        try:
            folder = unpacked(entry, scratch)
            for inside in (students := several_students(folder)):
                add(submissions, others, inside, scratch)
            if students:
                return
            files = files_below(folder)
        except ValueError as error:
            problem = str(error)
    submission = submissions.setdefault(student or entry, Submission(shown(student or name)))
    submission.files |= files
    submission.problem = submission.problem or problem


def owner_of(name):
    """The student and the file's own name in a name that Moodle or Canvas made; else None, None."""
    for pattern in PLATFORMS:
        if match := pattern.fullmatch(name):
            return match["student"].replace("_LATE_", "_"), match["file"]
    return None, None


# Folders and .zip files --------------------------------------------------------------------------


def is_file(path):
    return stat.S_ISREG(path.lstat().st_mode)


def is_folder(path):
    return stat.S_ISDIR(path.lstat().st_mode)


def entries_of(folder):
    """What lies in a folder, but hidden files and what systems and tools leave there."""
    names = [name for name in os.listdir(folder) if name[0] != "."]
    return [folder / name for name in sorted(names) if name not in PASSED_OVER]


def files_below(folder):
    """The regular files below a folder, by their paths in it."""
    files, folders = {}, [folder]
    for place in folders:
        entries = entries_of(place)
        files |= {PurePosixPath(e.relative_to(folder)): e for e in entries if is_file(e)}
        folders += filter(is_folder, entries)
    return files


def with_notebook(entries):
    """Those of the entries of a folder that are a notebook, or have one below them."""
    inside = {e: files_below(e) if is_folder(e) else [e] * is_file(e) for e in entries}
    return [e for e in entries if any(path.suffix == ".ipynb" for path in inside[e])]


def several_students(folder):
    """The entries of an unpacked .zip, or of its one folder, if they are several students'."""
    entries = entries_of(folder)
    if len(entries) == 1 and is_folder(entries[0]) and not owner_of(entries[0].name)[0]:
        entries = entries_of(entries[0])
    are_several = len(with_notebook(entries)) > 1 and not copies_of(NOTEBOOK, entries)
    return entries if are_several or any(owner_of(entry.name)[0] for entry in entries) else []


def unpacked(file, scratch):
    """The new folder into which a .zip is unpacked: nothing outside it is written, and no link.

    Raises: ValueError for one that holds too much, or cannot be unpacked.
    """
    folder = Path(tempfile.mkdtemp(dir=scratch))
    try:
        with zipfile.ZipFile(file) as archive:
            entries = [e for e in archive.infolist() if not stat.S_ISLNK(e.external_attr >> 16)]
            # zipfile reads no more than these sizes, whatever the file holds.
            if sum(entry.file_size for entry in entries) > UNPACKED_SIZE:
                raise ValueError(f"it holds more than {UNPACKED_SIZE // MB} MB")
            for entry in entries:
                entry.filename = entry.filename.replace("\\", "/")
            archive.extractall(folder, entries)
        return folder
    except Exception as error:  # seen: BadZipFile, RuntimeError (encrypted), zlib.error, OSError
        raise ValueError(f"{file.name}: {error}") from None


def unpack_within(submission, scratch):
    """Unpack the .zip files of a student who handed in no notebook beside them."""
    zips = [path for path in submission.files if path.suffix == ".zip"]
    for path in zips if not submission.notebooks() else []:
        try:
            submission.files |= files_below(unpacked(submission.files.pop(path), scratch))
        except ValueError as error:
            submission.problem = str(error)


# Names -------------------------------------------------------------------------------------------


def shown(name):
    """A file's name as well as it can be shown: not all are UTF-8, or printable."""
    try:
        text = os.fsencode(name).decode()
    except UnicodeDecodeError:
        text = os.fsencode(name).decode("cp1252", errors="replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def with_file_names(submissions):
    """The submissions by names that any disk takes, no two the same, in the students' order."""
    named, students = {}, set()
    for submission in sorted(submissions, key=lambda s: s.student):
        numbers = (f" ({n})" if n > 1 else "" for n in range(1, len(submissions) + 1))
        names = (submission.student + number for number in numbers)
        submission.student = student = next(name for name in names if name not in students)
        students.add(student)
        safe = (c if c.isalnum() or c in " ._-()[]@+," else quote(c, safe="") for c in student)
        name = "".join(safe)
        if len(name.encode()) > 120 or name.casefold() in {"index", *map(str.casefold, named)}:
            name = f"{name[:30]}-{sha256(student.encode()).hexdigest()[:8]}"
        named[name] = submission
    return named
