"""Whose work it is: the submissions in what an instructor downloads from Moodle, Canvas or mail.

Links are not followed, and nothing that was handed in is run or imported here: files are only read.
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
PASSED_OVER = {
    "__MACOSX",
    "__pycache__",
    "site-packages",
    "node_modules",
    "Thumbs.db",
    "desktop.ini",
}
A_FILE = PurePosixPath(".")  # the path of an entry that is a file, not a folder, within itself


@dataclass
class Submission:
    """What a student handed in: files by their paths in it, or the problem of reading them."""

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
            digest.update(os.fsencode(f"{path}\n{status.st_size}\n"))
            if status.st_size > FILE_SIZE:
                digest.update(str(status.st_mtime_ns).encode())
            else:
                digest.update(file.read_bytes())
        return digest.hexdigest()


def read_submissions(arguments, scratch):
    """All submissions in folders, notebooks and .zip files, and what else is there.

    scratch: an empty folder for what is unpacked. Returns a dictionary of submissions, by the names
    of their rows' files, and a list of names. Raises: FileNotFoundError for an argument.
    """
    found, others = {}, []

    def add(name, files, argument):
        student, file_name = owner_of(name)
        suffix = name.rpartition(".")[2]
        if A_FILE not in files:
            student = student or name
        elif suffix == "zip":
            add_zip(name, files[A_FILE], argument)
            return
        elif student:
            files = {PurePosixPath(file_name): files[A_FILE]}
        elif suffix == "ipynb":
            student, argument = name.removesuffix(".ipynb"), f"{argument} notebook"
            files = {PurePosixPath(name): files[A_FILE]}
        else:
            others.append(shown(name))
            return
        key = student if owner_of(name)[0] else (argument, student)
        found.setdefault(key, Submission(shown(student))).files.update(files)

    def add_zip(name, file, argument):
        student = owner_of(name)[0] or name.removesuffix(".zip")
        try:
            files = unpacked(file, scratch)
        except (
            Exception
        ) as error:  # seen: BadZipFile, RuntimeError (encrypted), zlib.error, OSError
            found[argument, student] = Submission(shown(student), problem=f"{name}: {error}")
            return
        for entry, inside in (several_students(files) or {student: files}).items():
            add(entry, inside, f"{argument}/{name}")

    for argument in arguments:
        if argument.is_dir():
            entries = entries_of(argument)
            if is_one_students(entries):
                entries = {argument.resolve().name: files_below(argument)}
        elif argument.is_file():
            entries = {argument.name: {A_FILE: argument.resolve()}}
        else:
            raise FileNotFoundError(f"{argument} is not there.")
        for name, files in entries.items():
            if files is None:
                others.append(shown(name))
            else:
                add(name, files, argument.resolve())
    for submission in found.values():
        unpack_within(submission, scratch)
    return with_file_names(found.values()), others


def owner_of(name):
    """The student and the file's own name in a name that Moodle or Canvas made; else None, None."""
    for pattern in PLATFORMS:
        if match := pattern.fullmatch(name):
            return match["student"].replace("_LATE_", "_"), match["file"]
    return None, None


def is_passed_over(name):
    return name.startswith((".", "~$")) or name in PASSED_OVER


# Folders and .zip files ----------------------------------------------------------------------


def entries_of(folder):
    """What is in a folder, by name: the files below it, or None for what is no file or folder."""
    entries = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
            entries[entry.name] = None
        elif not is_passed_over(entry.name):
            path = folder / entry.name
            entries[entry.name] = files_below(path) if entry.is_dir() else {A_FILE: path}
    return entries


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


def unpacked(file, scratch):
    """The files in a .zip, by their paths in it, each unpacked under a number.

    Paths that lead out of it, and links, are passed over. Raises: ValueError for one too large.
    """
    folder, files, size = tempfile.mkdtemp(dir=scratch), {}, 0
    with zipfile.ZipFile(file) as archive:
        for number, entry in enumerate(archive.infolist()):
            path = PurePosixPath(entry.filename.replace("\\", "/"))
            is_link = stat.S_ISLNK(entry.external_attr >> 16)
            if entry.is_dir() or is_link or path.is_absolute() or ".." in path.parts:
                continue
            if any(map(is_passed_over, path.parts)):
                continue
            size += entry.file_size  # no more than this is read, whatever the file holds
            if size > UNPACKED_SIZE:
                raise ValueError(f"it holds more than {UNPACKED_SIZE // MB} MB")
            files[path] = scratch / folder / str(number)
            with archive.open(entry) as source, open(files[path], "wb") as target:
                shutil.copyfileobj(source, target)
    return files


def by_first_part(files):
    """Files by the first part of their paths, and then by the rest."""
    entries = {}
    for path, file in files.items():
        entries.setdefault(path.parts[0], {})[PurePosixPath(*path.parts[1:])] = file
    return entries


def holds_notebook(name, files):
    return any(path.suffix == ".ipynb" for path in files) or (
        A_FILE in files and name.endswith(".ipynb")
    )


def is_one_students(entries):
    """Whether the entries are one student's work, not a class: the two files, no other notebook."""
    own = [n for n, files in entries.items() if files and A_FILE in files]
    named = Submission("", {PurePosixPath(name): None for name in own})
    with_notebook = [n for n, files in entries.items() if files and holds_notebook(n, files)]
    if named.copies_of(NOTEBOOK):
        return len(with_notebook) == 1
    return bool(named.copies_of(HELPERS)) and not with_notebook


def several_students(files):
    """The entries of a .zip if they are several students' work, which one folder may hold."""
    entries = by_first_part(files)
    if len(entries) == 1 and A_FILE not in (inside := next(iter(entries.values()))):
        if not owner_of(next(iter(entries)))[0]:
            entries = by_first_part(inside)
    work = [name for name, inside in entries.items() if holds_notebook(name, inside)]
    root = Submission("", {PurePosixPath(n): None for n, f in entries.items() if A_FILE in f})
    if any(owner_of(name)[0] for name in entries):
        return entries
    return entries if len(work) > 1 and not root.copies_of(NOTEBOOK) else None


def unpack_within(submission, scratch):
    """Unpack the .zip files of a student who handed in no notebook beside them."""
    zips = [path for path in submission.files if path.suffix == ".zip"]
    for path in zips if not submission.notebooks() else []:
        try:
            inside = unpacked(submission.files.pop(path), scratch)
            submission.files |= {path.with_suffix("") / name: f for name, f in inside.items()}
        except Exception as error:  # as above
            submission.problem = f"{path.name}: {error}"


# Names ---------------------------------------------------------------------------------------


def shown(name):
    """A file's name as well as it can be shown: not all are UTF-8, or printable."""
    try:
        text = os.fsencode(name).decode()
    except UnicodeDecodeError:
        text = os.fsencode(name).decode("cp1252", errors="replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def with_file_names(submissions):
    """The submissions by names that any disk takes, no two the same, in the students' order."""
    named, shown_names = {}, set()
    for submission in sorted(submissions, key=lambda s: s.student):
        student, number = submission.student, 1
        while student in shown_names:
            number += 1
            student = f"{submission.student} ({number})"
        submission.student = student
        shown_names.add(student)
        name = "".join(
            c if c.isalnum() or c in " ._-()[]@+," else quote(c, safe="") for c in student
        )
        if len(name.encode()) > 120 or name.casefold() in {"index", *map(str.casefold, named)}:
            name = f"{name[:30]}-{sha256(student.encode()).hexdigest()[:8]}"
        named[name] = submission
    return named
