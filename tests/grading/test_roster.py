"""Whose work it is: what learning platforms, browsers and students make of two files."""

import os
import zipfile
from pathlib import Path

import pytest

from instructor.grading import roster
from instructor.grading.roster import HELPERS, NOTEBOOK, read_submissions, with_file_names

BOTH = [NOTEBOOK, HELPERS]
MOODLE, CANVAS = "Gil Doe_12345_assignsubmission_file_", "doehal_LATE_23456_78901_"


@pytest.fixture
def read(tmp_path):
    """Reads the class in tmp_path / "class": paths by student, problems by student, others."""

    def read(*arguments):
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        grades = tmp_path / "class" / "grades"
        found, others = read_submissions(arguments or [tmp_path / "class"], scratch, grades)
        files = {s.student: sorted(map(str, s.files)) for s in found.values()}
        return files, {s.student: s.problem for s in found.values() if s.problem}, others

    (tmp_path / "class").mkdir()
    return read


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name}")


def put_zip(path, *names, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)


# What lies in the class's folder, and each student's files.
CLASSES = {
    "folders": ([f"ada/{n}" for n in BOTH], {"ada": BOTH}),
    "a folder in a folder": ([f"ada/vae/{n}" for n in BOTH], {"ada": [f"vae/{n}" for n in BOTH]}),
    "a notebook": (["ada.ipynb"], {"ada": ["ada.ipynb"]}),
    "Moodle, flat": ([MOODLE + n for n in BOTH], {"Gil Doe_12345": BOTH}),
    "Moodle, folders": ([f"{MOODLE}/{n}" for n in BOTH], {"Gil Doe_12345": BOTH}),
    "Moodle, anonymous": (
        [f"Participant_7_assignsubmission_file_{n}" for n in BOTH],
        {"Participant_7": BOTH},
    ),
    "Moodle, underscores": ([f"A_B_7_assignsubmission_file_{n}" for n in BOTH], {"A_B_7": BOTH}),
    "Canvas": (
        [f"{CANVAS}vae_assignment-1.ipynb", "doehal_LATE_23456_78902_vae_helpers-1.py"],
        {"doehal_23456": ["vae_assignment-1.ipynb", "vae_helpers-1.py"]},
    ),
    "Canvas, in time": ([f"doehal_23456_1_{n}" for n in BOTH], {"doehal_23456": BOTH}),
    "rubbish": (
        ["ada/vae_assignment.ipynb", "ada/__MACOSX/._vae_assignment.ipynb", ".DS_Store"]
        + ["ada/.ipynb_checkpoints/vae_assignment-checkpoint.ipynb", "__MACOSX/ada/x.ipynb"]
        + ["ada/venv/lib/site-packages/a/tour.ipynb", "ada/.Trash-1000/files/vae_assignment.ipynb"],
        {"ada": [NOTEBOOK]},
    ),
    "one name twice": (
        ["ada.ipynb", "ada/x.ipynb"],
        {"ada": ["x.ipynb"], "ada (2)": ["ada.ipynb"]},
    ),
    "two files at the top": (
        [*BOTH, "bob/x.ipynb"],
        {"vae_assignment": [NOTEBOOK], "bob": ["x.ipynb"]},
    ),
    "one student's folder": (BOTH, {"class": BOTH}),
    "one student's folder with more": (
        [*BOTH, "utils.py", "data/x.gz"],
        {"class": [*BOTH, "data/x.gz", "utils.py"]},
    ),
}


@pytest.mark.parametrize("names, files", CLASSES.values(), ids=CLASSES)
def test_each_file_has_its_student(names, files, read, tmp_path):
    put(tmp_path / "class", *names)
    found, problems, _ = read()
    assert found == {student: sorted(paths) for student, paths in files.items()}
    assert not problems


# What is in a .zip that lies in the class's folder, and each student's files.
ZIPS = {
    "Moodle": ([f"{MOODLE}/{n}" for n in BOTH], {"Gil Doe_12345": BOTH}),
    "Canvas": ([CANVAS + n for n in BOTH], {"doehal_23456": BOTH}),
    "folders": (["ada/x.ipynb", "bob/x.ipynb"], {"ada": ["x.ipynb"], "bob": ["x.ipynb"]}),
    "folders in a folder": (
        ["hw/ada/x.ipynb", "hw/bob/y.ipynb"],
        {"ada": ["x.ipynb"], "bob": ["y.ipynb"]},
    ),
    "a student's": (BOTH, {"packed": BOTH}),
    "a student's folder": ([f"vae/{n}" for n in BOTH], {"packed": [f"vae/{n}" for n in BOTH]}),
    "a student's, an old one inside": (
        [*BOTH, f"old/{NOTEBOOK}"],
        {"packed": [*BOTH, f"old/{NOTEBOOK}"]},
    ),
    "paths that lead out": (
        [*BOTH, "../outside.py", "/etc/outside.py", "a/../../b.py"],
        {"packed": BOTH},
    ),
    "a zip in a zip": ([], {"packed": []}),
}


@pytest.mark.parametrize("names, files", ZIPS.values(), ids=ZIPS)
@pytest.mark.parametrize("as_argument", [False, True])
def test_each_file_in_a_zip_has_its_student(names, files, as_argument, read, tmp_path):
    put_zip(tmp_path / "class" / "packed.zip", *names)
    found, problems, others = read(*[tmp_path / "class" / "packed.zip"] * as_argument)
    assert found == {student: sorted(paths) for student, paths in files.items()}
    assert not problems and not others
    assert [p.name for p in tmp_path.iterdir() if p.name not in ("class", "scratch")] == []


def test_a_zip_within_a_students_folder_is_unpacked_if_no_notebook_lies_beside(read, tmp_path):
    put_zip(tmp_path / "class" / MOODLE / "work.zip", *BOTH)
    put_zip(tmp_path / "class" / "bob" / "old.zip", NOTEBOOK)
    put(tmp_path / "class" / "bob", NOTEBOOK)
    found = read()[0]
    assert found == {
        "Gil Doe_12345": BOTH,
        "bob": ["old.zip", NOTEBOOK],
    }


def test_a_link_in_a_zip_is_no_file(read, tmp_path):
    entry = zipfile.ZipInfo(HELPERS)
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "class" / "ada.zip", "w") as archive:
        archive.writestr(NOTEBOOK, "")
        archive.writestr(entry, "/etc/passwd")
    assert read()[0] == {"ada": [NOTEBOOK]}


def test_a_zip_that_cannot_be_unpacked_is_a_students_problem(read, tmp_path, monkeypatch):
    (tmp_path / "class" / "ada.zip").write_bytes(b"PK no zip")
    put_zip(tmp_path / "class" / "bob.zip", *BOTH)
    monkeypatch.setattr(roster, "UNPACKED_SIZE", 10)
    problems = read()[1]
    assert "ada.zip: " in problems["ada"] and "more than" in problems["bob"]


def test_everything_else_is_named(read, tmp_path):
    others = ["jim.ipynb.txt", "kay.IPYNB", "notes.pdf", HELPERS]
    put(tmp_path / "class", *others, "ada/x.ipynb")
    os.mkfifo(tmp_path / "class" / "pipe")
    (tmp_path / "class" / "link").symlink_to(tmp_path)
    assert sorted(read()[2]) == sorted([*others, "pipe", "link"])


def test_links_and_pipes_among_a_students_files_are_passed_over(read, tmp_path):
    put(tmp_path / "class", f"ada/{NOTEBOOK}")
    (tmp_path / "class" / "ada" / HELPERS).symlink_to("/etc/passwd")
    (tmp_path / "class" / "ada" / "sub").symlink_to("/etc")
    os.mkfifo(tmp_path / "class" / "ada" / "pipe")
    assert read()[0] == {"ada": [NOTEBOOK]}


def test_an_empty_folder_is_a_submission(read, tmp_path):
    (tmp_path / "class" / "nobody").mkdir()
    put(tmp_path / "class", "ada.ipynb")
    assert read()[0] == {"ada": ["ada.ipynb"], "nobody": []}


def test_the_grade_book_is_no_submission(read, tmp_path):
    put(tmp_path / "class", "ada.ipynb", "grades/rows/ada.json", "grades/index.html")
    assert read()[0] == {"ada": ["ada.ipynb"]}


def test_what_is_not_there_is_an_error(read, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "names, notebook",
    [
        (["vae_assignment (1).ipynb", "scratch.ipynb"], "vae_assignment (1).ipynb"),
        (["vae_assignment-Copy1.ipynb", NOTEBOOK], NOTEBOOK),
        (["VAE_Assignment - Copy (2).ipynb", "a.ipynb"], "VAE_Assignment - Copy (2).ipynb"),
        (["mine.ipynb"], "mine.ipynb"),
    ],
)
def test_the_notebook_is_found_among_others(names, notebook):
    submission = roster.Submission("ada", {Path(name): None for name in names})
    assert submission.notebooks() == [Path(notebook)]


def test_names_are_shown_and_stored_as_well_as_can_be():
    names = ["Jürgen", "=1+1", "index", "Ada", "ada", "a/b\n<i>", "x" * 250, "..", "Chen [late]"]
    raw = os.fsdecode(b"J\xf6rg")
    shown = [roster.shown(name) for name in [*names, raw]]
    assert shown[5] == "a/b\ufffd<i>" and shown[-1] == "Jörg"
    named = with_file_names([roster.Submission(name) for name in shown])
    assert {s.student for s in named.values()} == set(shown)
    assert len({name.casefold() for name in named}) == len(shown)
    for name in named:
        assert len(f"{name}.html".encode()) < 200 and name != "index"
        assert not set(name) & set('/\\<>"=\n') and Path(name).name == name
    assert {"Jürgen", "Jörg", "Ada", "Chen [late]"} <= set(named)


def test_a_digest_changes_with_each_file(tmp_path):
    digests = set()
    for text in ("a", "b"):
        (tmp_path / "x").write_text(text)
        for files in ({Path("x"): tmp_path / "x"}, {Path("y"): tmp_path / "x"}):
            digests.add(roster.Submission("ada", files).digest())
    assert len(digests) == 4
