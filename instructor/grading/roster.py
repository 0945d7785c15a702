"""Whose work it is: the submissions in what an instructor downloads from Moodle, Canvas or mail.

Links are not followed, and nothing that was handed in is run or imported here: files are only read.
Files are kept by their paths in a folder or .zip: where each can be read, or a text that says why
it cannot; None for a folder.
"""

import os
import re
import stat
import tempfile
import zipfile
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from unicodedata import normalize
from urllib.parse import quote

from instructor.grading.limits import FILE_SIZE, MB, UNPACKED_SIZE

NOTEBOOK, HELPERS = "vae_assignment.ipynb", "vae_helpers.py"
# What browsers and learning platforms add to the name of a copy: " (1)", "-1", "-Copy1", ...
COPY = r"(?:[ _-]*(?:\(\d+\)|copy[ _-]*\d*|\d{1,3}))*"
WORK = r".*\.(ipynb|zip)"
PLATFORMS = [  # patterns of names, and of a file that shows that such a name is no accident
    # Moodle: First Last_12345_assignsubmission_file_NAME, or a folder for each student.
    (r"(?P<student>.+_\d+)_assignsubmission_[a-z]+(?:_(?P<file>.*))?", r".*"),
    # Canvas: lastfirst_LATE_12345_67890_NAME, where 67890 is another number for each file.
    (
        r"(?P<student>[^_]+(?:_LATE)?_\d+|anon(?:_LATE)?_[^_]+)_\d+_(?P<file>.+)",
        rf"{WORK}|.*vae_helpers.*\.py",
    ),
    # Others: the same words before both files' names.
    (r"(?P<student>.+?)[ _-]+(?P<file>vae_(assignment|helpers).*)", WORK),
]
PASSED_OVER = {"__MACOSX", "__pycache__", "site-packages", "Thumbs.db", "desktop.ini"}
LEVELS = 4  # of .zip files in each other


@dataclass
class Submission:
    """What a student handed in: files by their paths, or why they cannot be read."""

    student: str  # the name as it is shown
    files: dict = field(default_factory=dict)
    problem: str = ""

    def copies_of(self, name):
        """The paths of the files called `name`, else like a copy of it, else with it in theirs."""
        return copies_of(name, self.files) or copies_of(name, self.files, ".*", ".*")

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


def copies_of(name, paths, before="", after=COPY):
    stem, suffix = name.split(".")
    pattern = rf"{before}{stem}{after}\.{suffix}"
    alike = [path for path in paths if re.fullmatch(pattern, path.name, re.I)]
    return [path for path in alike if path.name == name] or alike


def read_submissions(arguments, scratch, grades):
    """All submissions in folders, notebooks and .zip files, and what else is there.

    scratch: an empty folder for what is unpacked; grades: the grade book's, which is no submission.
    Returns a dictionary of submissions, by the names of their rows' files, and a list of names.
    Raises: FileNotFoundError for an argument.
    """
    for argument in arguments:
        if not argument.exists():
            raise FileNotFoundError(f"{argument} is not there.")
    places = dict.fromkeys(p for argument in arguments if (p := argument.resolve()) != grades)
    readable = [p for p in places if p.is_dir() and os.access(p, os.R_OK | os.X_OK)]
    classes = {p: [entry(e) for e in entries_of(p) if e != grades] for p in readable}
    if len(classes) > 1 and 2 * sum(map(are_several, classes.values())) < len(classes):
        classes = {}  # most hold one student's work, as in: grade submitted/*
    for place, entries in [*classes.items()]:
        is_ones = copies_of(NOTEBOOK, dict(entries)) and n_works(entries) == 1
        if is_ones or owners_of([place]):
            del classes[place]
    submissions, others = {}, []
    add(submissions, others, [entry(p) for p in places if p not in classes], scratch)
    for entries in classes.values():
        add(submissions, others, entries, scratch, is_class=len(entries) == 1)
    for submission in submissions.values():
        unpack_within(submission, scratch)
        note_problem(submission)
    return with_file_names(submissions.values()), others


def add(submissions, others, entries, scratch, is_class=True):
    """Add files and folders to their students' submissions, or their names to the others.

    is_class: whether a .zip is a class's if it holds several notebooks under no platform's names.
    """
    owners = owners_of(dict(entries))
    for path, files in entries:
        student, own_name = owners.get(path, (None, None))
        is_file = [*files] == [path] and isinstance(files[path], Path)
        is_work = files.get(path) and (is_zip(path) or path.suffix == ".ipynb")
        if not files or is_file and not (student or is_work):
            others.append(shown(path.name))
            continue
        if is_file and is_zip(path) and not student:
            files = unpacked(path, files[path], scratch)
            if are_several(inside := entries_in(files), is_class):
                add(submissions, others, inside, scratch, is_class=False)
                continue
        else:
            files = {PurePosixPath(*p.parts[1:] or [own_name or p]): files[p] for p in files}
        new = Submission(student or shown(path.stem if is_work else path.name))
        keep(submissions.setdefault(student or len(submissions), new).files, files)


def keep(files, more):
    """Add more files; one whose path is taken moves to a folder of its own, so that both stay."""
    for path, file in more.items():
        while file and files.get(path):
            path = path.parent / f"({len(files)})" / path.name
        files[path] = file or files.get(path)


def owners_of(paths, platforms=PLATFORMS):
    """The student and the file's own name for each of the paths whose name a platform made."""
    found, known = {}, set()
    for path in paths:
        for pattern, sure in platforms:
            match = re.fullmatch(pattern, path.name, re.I | re.S)
            if match and path not in found:
                student = shown(match["student"].replace("_LATE_", "_"))
                found[path] = student, match["file"]
                if re.fullmatch(sure, match["file"] or "", re.I | re.S):
                    known.add(student)
    return {path: owner for path, owner in found.items() if owner[0] in known}


def are_several(entries, is_class=True):
    """Whether the entries of a .zip, or of one of several folders, are several students'."""
    is_ones = copies_of(NOTEBOOK, dict(entries)) or copies_of(HELPERS, dict(entries))
    owned = owners_of(dict(entries), PLATFORMS[: 1 if is_ones else 2])
    if 2 * len(owned) > len(entries):
        return True
    return is_class and not is_ones and (len(owned) > 0 or n_works(entries) > 1)


def n_works(entries):
    """How many of the entries hold a notebook or, if none does, a .zip."""
    held = [{path.suffix.lower() for path in files if files[path]} for _, files in entries]
    return sum(".ipynb" in each for each in held) or sum(".zip" in each for each in held)


# Folders and .zip files --------------------------------------------------------------------------


def is_zip(path):
    return path.suffix.lower() == ".zip"


def is_passed_over(name):
    """Whether it is hidden, or what systems and tools leave behind."""
    return name[0] == "." or name in PASSED_OVER


def entries_of(folder):
    return [folder / name for name in sorted(os.listdir(folder)) if not is_passed_over(name)]


def entry(place):
    """The path of a file or folder, and the files there; the paths begin with its name."""
    files, places = {}, [place]
    for found in places:
        path = PurePosixPath(found.relative_to(place.parent))
        try:
            if stat.S_ISDIR(mode := found.lstat().st_mode):
                files[path] = None
                places += entries_of(found)
            elif stat.S_ISREG(mode):
                found.open("rb").close()
                files[path] = found
        except OSError as error:
            files[path] = repr(error)
    return PurePosixPath(place.name), files


def entries_in(files):
    """The entries of an unpacked .zip, or of its one folder."""
    inside = {PurePosixPath(*path.parts[1:]): files[path] for path in files if path.parts[1:]}
    names = {PurePosixPath(path.parts[0]) for path in files}
    entries = {}
    for path, file in (inside if len(names) == 1 and not owners_of(names) else files).items():
        entries.setdefault(PurePosixPath(path.parts[0]), {})[path] = file
    return sorted(entries.items())


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
                except Exception as error:  # seen: BadZipFile, RuntimeError (encrypted), zlib.error
                    file = repr(error)
                keep(files, {PurePosixPath(*parts): file})
    except Exception as error:  # seen: BadZipFile, UnicodeDecodeError, OSError
        return {path: repr(error)}
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
            if not has_notebook or Submission("", inside).copies_of(HELPERS):
                del files[path]
                keep(files, inside)


def note_problem(submission):
    """Leave out what cannot be read, and say why, unless it is a .zip beside a notebook."""
    has_notebook = submission.notebooks()
    for path, file in [*submission.files.items()]:
        if any(len(os.fsencode(part)) > 255 for part in path.parts):
            file = "its name is too long"
        if not isinstance(file, Path):
            del submission.files[path]
        if isinstance(file, str) and not (has_notebook and is_zip(path)):
            submission.problem = f"{shown(path)}: {file}"


# Names -------------------------------------------------------------------------------------------


def decoded(raw, otherwise):
    try:
        return normalize("NFC", raw.decode())
    except UnicodeDecodeError:
        return normalize("NFC", raw.decode(otherwise, errors="replace"))


def shown(name):
    """A file's name as well as it can be shown: not all are UTF-8, or printable."""
    text = decoded(os.fsencode(name), "cp1252")
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
