"""Whose work it is: the submissions in what an instructor downloads from Moodle, Canvas or mail.

Links are not followed, and nothing that was handed in is run or imported here: files are only read.
Folders and .zip files are treated alike, as files by their paths.
"""

import os
import re
import shutil
import stat
import tempfile
import zipfile
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import PurePosixPath
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
ITSELF = PurePosixPath(".")  # the path of an entry that is a file, not a folder


@dataclass
class Submission:
    """What a student handed in: files by their paths, or why they cannot be read."""

    student: str  # the name as it is shown
    files: dict = field(default_factory=dict)
    problem: str = ""

    def copies_of(self, name):
        """The paths of the files called `name`, or else of those called like a copy of it."""
        stem, suffix = name.split(".")
        alike = [p for p in self.files if re.fullmatch(rf"{stem}{COPY}\.{suffix}", p.name, re.I)]
        return [path for path in alike if path.name == name] or alike

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


def read_submissions(arguments, scratch, grades):
    """All submissions in folders, notebooks and .zip files, and what else is there.

    scratch: an empty folder for what is unpacked; grades: the grade book's, which is no submission.
    Returns a dictionary of submissions, by the names of their rows' files, and a list of names.
    Raises: FileNotFoundError for an argument.
    """
    submissions, others = {}, []
    for argument in arguments:
        if argument.is_dir():
            entries = entries_of(argument)
            if is_one_students(entries):
                entries = {argument.resolve().name: files_below(argument)}
        elif argument.is_file():
            entries = {argument.name: {ITSELF: argument.resolve()}}
        else:
            raise FileNotFoundError(f"{argument} is not there.")
        for name, files in entries.items():
            if (argument / name).absolute() != grades:
                add(submissions, others, name, files, str(argument.resolve()), scratch)
    for submission in submissions.values():
        unpack_within(submission, scratch)
    return with_file_names(submissions.values()), others


def add(submissions, others, name, files, place, scratch):
    """Add an entry of a folder or .zip file to its student's submission, or to the others."""
    student, own_name = owner_of(name)
    is_file = files and ITSELF in files
    if is_file and name.endswith(".zip"):
        stem = student or name.removesuffix(".zip")
        submission = Submission(shown(stem))
        submissions[place, stem, "zip"] = submission
        if unpack_into(submission, name, files[ITSELF], scratch):
            if entries := several_students(submission.files):
                del submissions[place, stem, "zip"]
                for entry, inside in entries.items():
                    add(submissions, others, entry, inside, f"{place}/{name}", scratch)
        return
    if is_file and student:
        files = {PurePosixPath(own_name): files[ITSELF]}
    elif is_file and name.endswith(".ipynb"):
        student, place = name.removesuffix(".ipynb"), f"{place} notebook"
        files = {PurePosixPath(name): files[ITSELF]}
    elif is_file or files is None:
        others.append(shown(name))
        return
    key = student if owner_of(name)[0] else (place, student or name)
    submissions.setdefault(key, Submission(shown(student or name))).files.update(files)


def owner_of(name):
    """The student and the file's own name in a name that Moodle or Canvas made; else None, None."""
    for pattern in PLATFORMS:
        if match := pattern.fullmatch(name):
            return match["student"].replace("_LATE_", "_"), match["file"]
    return None, None


# Folders and .zip files --------------------------------------------------------------------------


def is_passed_over(name):
    return name.startswith((".", "~$")) or name in PASSED_OVER


def files_below(folder):
    """The regular files below a folder, by their paths in it."""
    files = {}
    for parent, folders, names in os.walk(folder):  # which does not follow links
        folders[:] = sorted(name for name in folders if not is_passed_over(name))
        for name in sorted(name for name in names if not is_passed_over(name)):
            file = folder / parent / name
            if stat.S_ISREG(file.lstat().st_mode):
                files[PurePosixPath(file.relative_to(folder))] = file
    return files


def entries_of(folder):
    """The files of each entry of a folder, by its name; None for a link, a pipe or a socket."""
    entries = by_entry(files_below(folder))
    for entry in os.scandir(folder):
        if entry.name not in entries and not is_passed_over(entry.name):
            entries[entry.name] = {} if entry.is_dir(follow_symlinks=False) else None
    return dict(sorted(entries.items()))


def by_entry(files):
    """Files by the first part of their paths, and then by the rest."""
    entries = {}
    for path, file in files.items():
        entries.setdefault(path.parts[0], {})[PurePosixPath(*path.parts[1:])] = file
    return entries


def is_one_students(entries):
    """Whether a folder is one student's work, not a class: the two files, no other notebook."""
    root = Submission("", {PurePosixPath(n): None for n, f in entries.items() if f and ITSELF in f})
    n_notebooks = len(with_notebook(entries))
    is_work = root.copies_of(NOTEBOOK) and n_notebooks == 1
    return bool(is_work or (root.copies_of(HELPERS) and not n_notebooks))


def several_students(files):
    """The entries of a .zip, or of its one folder, if they are several students'; else None."""
    entries = by_entry(files)
    if len(entries) == 1 and ITSELF not in (inside := [*entries.values()][0]):
        entries = entries if owner_of([*entries][0])[0] else by_entry(inside)
    root = Submission("", {PurePosixPath(n): None for n, f in entries.items() if ITSELF in f})
    are_several = len(with_notebook(entries)) > 1 and not root.copies_of(NOTEBOOK)
    return entries if are_several or any(owner_of(name)[0] for name in entries) else None


def with_notebook(entries):
    paths = {name: [PurePosixPath(name) / path for path in f or {}] for name, f in entries.items()}
    return [n for n, inside in paths.items() if any(p.suffix == ".ipynb" for p in inside)]


def unpack_into(submission, name, file, scratch):
    """Add a .zip's files to the submission, or its problem; whether it could be unpacked.

    Each file is unpacked under a number; links, and paths that lead out, are passed over.
    """
    folder, size = scratch / tempfile.mkdtemp(dir=scratch), 0
    try:
        with zipfile.ZipFile(file) as archive:
            for number, entry in enumerate(archive.infolist()):
                path = PurePosixPath(entry.filename.replace("\\", "/"))
                is_link = stat.S_ISLNK(entry.external_attr >> 16)
                leads_out = path.is_absolute() or ".." in path.parts
                if entry.is_dir() or is_link or leads_out or any(map(is_passed_over, path.parts)):
                    continue
                size += entry.file_size  # no more than this is read, whatever the file holds
                if size > UNPACKED_SIZE:
                    raise ValueError(f"it holds more than {UNPACKED_SIZE // MB} MB")
                with archive.open(entry) as source, open(folder / str(number), "wb") as target:
                    shutil.copyfileobj(source, target)
                submission.files[path] = folder / str(number)
        return True
    except Exception as error:  # seen: BadZipFile, RuntimeError (encrypted), zlib.error, OSError
        submission.problem = f"{name}: {error}"
        return False


def unpack_within(submission, scratch):
    """Unpack the .zip files of a student who handed in no notebook beside them."""
    zips = [path for path in submission.files if path.suffix == ".zip"]
    for path in zips if not submission.notebooks() else []:
        unpack_into(submission, path.name, submission.files.pop(path), scratch)


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
