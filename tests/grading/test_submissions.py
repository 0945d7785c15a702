"""Whose work it is: what learning platforms, browsers and students make of two files."""

import os
import zipfile
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest

from instructor.grading.roster import Submission, read_submissions

BOTH = ["vae_assignment.ipynb", "vae_helpers.py"]
NOTEBOOK, HELPERS = BOTH
MOODLE, CANVAS = "Gil Doe_12345_assignsubmission_file_", "doehal_LATE_23456_78901_"


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads a class: files by student, what is wrong by student, others, names of row files."""

    def read(argument="class"):  # a relative path, as on the command line
        scratch, grades = tmp_path / "scratch", tmp_path / "class" / "grades"
        scratch.mkdir()
        found, others = read_submissions([Path(argument)], scratch, grades)
        return SimpleNamespace(
            files={s.student: sorted(map(str, s.files)) for s in found.values()},
            problems={s.student: s.problem for s in found.values() if s.problem},
            others=sorted(others),
            rows=[*found],
        )

    (tmp_path / "class").mkdir()
    monkeypatch.chdir(tmp_path)
    return read


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def put_zip(path, *names):
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)


# What a folder or a .zip called "class" holds, and each student's files.
LAYOUTS = {
    "folders": (
        [*(f"ada/{name}" for name in BOTH), "bob/vae/x.ipynb", "bob/data/x.gz"],
        {"ada": BOTH, "bob": ["data/x.gz", "vae/x.ipynb"]},
    ),
    "Moodle's files": (
        [f"A_B_7_assignsubmission_file_{NOTEBOOK}", *(MOODLE + name for name in BOTH)],
        {"A_B_7": [NOTEBOOK], "Gil Doe_12345": BOTH},
    ),
    "Moodle's folders": ([f"{MOODLE}/{name}" for name in BOTH], {"Gil Doe_12345": BOTH}),
    "Canvas": (
        [f"{CANVAS}vae_assignment-1.ipynb", "doehal_LATE_23456_78902_vae_helpers-1.py"]
        + [f"lee_7_1_{NOTEBOOK}"],
        {"doehal_23456": ["vae_assignment-1.ipynb", "vae_helpers-1.py"], "lee_7": [NOTEBOOK]},
    ),
    "rubbish": (
        [f"ada/{NOTEBOOK}", f"ada/__MACOSX/._{NOTEBOOK}", ".DS_Store", "__MACOSX/ada/x.ipynb"]
        + ["ada/.ipynb_checkpoints/vae_assignment-checkpoint.ipynb", "bob.ipynb"]
        + ["ada/venv/lib/site-packages/a/tour.ipynb", f"ada/.Trash-1000/files/{NOTEBOOK}"],
        {"ada": [NOTEBOOK], "bob": ["bob.ipynb"]},
    ),
    "one name twice": (
        ["ada/x.ipynb", "ada.ipynb"],
        {"ada": ["x.ipynb"], "ada (2)": ["ada.ipynb"]},
    ),
    "one student's files": (
        [*BOTH, "utils.py", "data/x.gz"],
        {"class": ["data/x.gz", "utils.py", *BOTH]},
    ),
}


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("names, files", LAYOUTS.values(), ids=LAYOUTS)
def test_each_file_has_its_student(names, files, form, read, tmp_path):
    if form == "zip":
        put_zip(tmp_path / "class.zip", *names)
    else:
        put(tmp_path / "class", *names)
    found = read("class.zip" if form == "zip" else "class")
    assert found.files == files and not found.problems and not found.others


ZIPS = {  # where the files of a .zip are a student's otherwise than those of a folder
    "folders in a folder": (
        ["hw/ada/x.ipynb", "hw/bob/y.ipynb"],
        {"ada": ["x.ipynb"], "bob": ["y.ipynb"]},
    ),
    "a student's folder": ([f"vae/{name}" for name in BOTH], [f"vae/{name}" for name in BOTH]),
    "an old one inside": ([*BOTH, f"old/{NOTEBOOK}"], [f"old/{NOTEBOOK}", *BOTH]),
    "paths that lead out": (
        [*BOTH, "../../outside.py", "/etc/outside.py", "a/../../b.py"],
        ["a/b.py", "etc/outside.py", "outside.py", *BOTH],
    ),
    "Windows's paths": ([f"vae\\{NOTEBOOK}", "vae\\x.py"], [f"vae/{NOTEBOOK}", "vae/x.py"]),
    "nothing": ([], []),
}


@pytest.mark.parametrize("names, files", ZIPS.values(), ids=ZIPS)
def test_a_zip_is_one_students_unless_it_holds_several(names, files, read, tmp_path):
    put_zip(tmp_path / "class" / "packed.zip", *names)
    found = read()
    assert found.files == (files if isinstance(files, dict) else {"packed": files})
    assert not found.problems and not found.others
    assert {path.name for path in tmp_path.iterdir()} == {"class", "scratch"}
    assert {path.name for path in (tmp_path / "class").iterdir()} == {"packed.zip"}


@pytest.mark.parametrize("notebook, other", [
    ("vae_assignment (1).ipynb", "scratch.ipynb"),
    ("vae_assignment.ipynb", "vae_assignment-Copy1.ipynb"),
    ("VAE_Assignment - Copy (2).ipynb", "a.ipynb"),
    ("mine.ipynb", "vae_assignment.txt"),
])  # fmt: skip
def test_the_notebook_is_found_among_others(notebook, other):
    files = dict.fromkeys(map(PurePosixPath, (other, notebook)))
    assert Submission("ada", files).notebooks() == [PurePosixPath(notebook)]


def test_in_a_folder_all_is_somebodys_or_named_and_links_are_not_followed(read, tmp_path):
    folder, notebooks = tmp_path / "class", ["bob.ipynb", f"cy/{NOTEBOOK}", f"{NOTEBOOK}"]
    others = ["jim.ipynb.txt", "kay.IPYNB", "notes.pdf", HELPERS]
    put(folder, *notebooks, *others, "grades/rows/bob.json", "grades/index.html")
    (folder / "nobody").mkdir()
    for place in (folder, folder / "cy"):
        (place / "link").symlink_to("/etc")
        os.mkfifo(place / "pipe")
    (folder / "cy" / HELPERS).symlink_to("/etc/passwd")
    put_zip(folder / MOODLE / "work.zip", *BOTH)
    put_zip(folder / "cy" / "old.zip", NOTEBOOK)  # a notebook lies beside it
    link = zipfile.ZipInfo(HELPERS)
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(folder / "linked.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    (folder / "broken.zip").write_bytes(b"PK no zip")
    with zipfile.ZipFile(folder / "huge.zip", "w") as archive:
        archive.writestr(NOTEBOOK, "")
        archive.infolist()[0].file_size = 5 << 30  # so it says
    found = read()
    assert found.files == {
        **{"Gil Doe_12345": BOTH, "bob": ["bob.ipynb"], "broken": [], "cy": ["old.zip", NOTEBOOK]},
        **{"huge": [], "linked": [], "nobody": [], "vae_assignment": [NOTEBOOK]},
    }
    assert set(found.problems) == {"broken", "huge"}
    assert "broken.zip: " in found.problems["broken"] and "more than" in found.problems["huge"]
    assert found.others == sorted([*others, "link", "pipe"])


def test_names_are_shown_and_stored_as_well_as_can_be(read, tmp_path):
    names = ["Jürgen", "=1+1", "index", "Ada", "ada", "b\n<i>", "x" * 250, "Chen [late]"]
    for name in [*names, os.fsdecode(b"J\xf6rg")]:
        (tmp_path / "class" / name).mkdir()
    found = read()
    names[names.index("b\n<i>")] = "b\ufffd<i>"
    assert set(found.files) == {*names, "Jörg"}
    assert len({row.casefold() for row in found.rows}) == len(found.rows)
    for row in found.rows:
        assert len(f"{row}.html".encode()) < 200 and row != "index"
        assert not set(row) & set('/\\<>"=\n') and Path(row).name == row
    assert {"Jürgen", "Jörg", "Ada", "Chen [late]"} <= set(found.rows)
