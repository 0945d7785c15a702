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

    def read(*arguments):  # relative paths, as on the command line
        scratch, grades = tmp_path / "scratch", tmp_path / "class" / "grades"
        scratch.mkdir(exist_ok=True)
        found, others = read_submissions([*map(Path, arguments or ["class"])], scratch, grades)
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
    "Moodle's text": (
        [MOODLE + NOTEBOOK, "Gil Doe_12345_assignsubmission_onlinetext_/onlinetext.html"],
        {"Gil Doe_12345": ["onlinetext.html", NOTEBOOK]},
    ),
    "other platforms": (
        [f"{start}{name}" for start in ("Ada - ", "A 3_bo_2026-11-01-12-00_") for name in BOTH]
        + [f"anon_2T5_6_{NOTEBOOK}", f"anon_2T5_7_{HELPERS}"],
        {"Ada": BOTH, "A 3_bo_2026-11-01-12-00": BOTH, "anon_2T5": BOTH},
    ),
    "no platform's names": (
        [f"ada_2026_{month}_vae/x.ipynb" for month in (11, 12)],
        {f"ada_2026_{month}_vae": ["x.ipynb"] for month in (11, 12)},
    ),
    "two files of one name": (
        ["doe_1_2_x.ipynb", "doe_1_3_x.ipynb"],
        {"doe_1": ["(1)/x.ipynb", "x.ipynb"]},
    ),
    "two forms of one name": (
        [f"{a}_1_assignsubmission_file_{name}" for a, name in zip(["\xe4", "a\u0308"], BOTH)],
        {"\xe4_1": BOTH},
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
    "one like Canvas's": (
        ["run_2_1_x.ipynb", "run_2_2_y.ipynb", NOTEBOOK],
        ["run_2_1_x.ipynb", "run_2_2_y.ipynb", NOTEBOOK],
    ),
    "none of the name": (["x.ipynb", "y.ipynb", HELPERS], [HELPERS, "x.ipynb", "y.ipynb"]),
    "a file and a folder": (
        ["ada/x.ipynb", "bob", "bob/y.ipynb"],
        {"ada": ["x.ipynb"], "bob": ["bob", "y.ipynb"]},
    ),
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


@pytest.mark.parametrize("name", ["Copy of vae_helpers.py", "vae_helpers - Kopie.py"])
def test_the_only_helpers_are_found_under_another_name(name):
    files = dict.fromkeys(map(PurePosixPath, (name, "utils.py", NOTEBOOK)))
    assert Submission("ada", files).copies_of(HELPERS) == [PurePosixPath(name)]


def test_a_students_zips_are_opened_and_not_split(read, tmp_path):
    folder, two = tmp_path / "class", ["a_1_2_x.ipynb", "b/x.ipynb"]
    put(folder, f"bob/{NOTEBOOK}", "dan/bad.zip")
    zips = {"ada.ZIP": BOTH, "bob/helpers.zip": BOTH, "dan/good.zip": BOTH, "eve.zip": two}
    zips |= {"cy/v1.zip": BOTH, "cy/v2.zip": [NOTEBOOK], f"{MOODLE}w.zip": two}
    zips["class.zip"] = [f"{student}_1_assignsubmission_file_x.ipynb" for student in "hi"]
    for path, names in zips.items():
        put_zip(folder / path, *names)
    for inner, outer in ("class/ada.ZIP", "2.zip"), ("2.zip", "3.zip"), ("3.zip", "class/fay.zip"):
        with zipfile.ZipFile(outer, "w") as archive:
            archive.write(inner)
    found = read()
    assert found.files == {
        **dict.fromkeys(["ada", "bob", "dan", "fay"], BOTH),
        **{"cy": [f"(3)/{NOTEBOOK}", *BOTH], "eve": two, "Gil Doe_12345": two},
        **{"h_1": ["x.ipynb"], "i_1": ["x.ipynb"]},
    }
    assert not found.problems and not found.others
    assert read(f"class/{MOODLE}w.zip").files == {"Gil Doe_12345": two}


@pytest.mark.parametrize("names, students", [
    ([f"{name}/vae/x.ipynb" for name in ("ada", "bob")] + ["cy/1/x.ipynb", "cy/2/x.ipynb"], 3),
    ([f"{name}/x.ipynb" for name in ("1/ada", "1/bob", "2/cy", "2/dan")], 4),
    (["A_1_assignsubmission_file_/vae/x.ipynb"], 1),
], ids=["students", "classes", "Moodle"])  # fmt: skip
def test_arguments_may_be_students_folders(names, students, read, tmp_path):
    put(tmp_path / "class", *names, "grades/rows/a.json")
    found = read(*Path("class").iterdir())
    assert len(found.files) == students and not {"vae", "1", "2"} & {*found.files}


def test_what_cannot_be_read_is_its_students_problem(read, tmp_path, monkeypatch):
    def refusing(call):  # root may read all files
        def refused(path, *options):
            if "locked" in Path(path).name:
                raise PermissionError
            return call(path, *options)

        return refused

    moodle = "L_1_assignsubmission_file_" + 240 * "x" + ".ipynb"
    put_zip(tmp_path / "class.zip", "ada/x.ipynb", "bob/x.ipynb", moodle, f"cy/{256 * 'x'}.ipynb")
    archive = (tmp_path / "class.zip").read_bytes().replace(b"ipynbbob", b"ipynbBob")
    (tmp_path / "class.zip").write_bytes(archive.replace(b"ada/", "\xe41/".encode()))
    put(tmp_path / "class", "dan/x.ipynb", "locked.ipynb", "fay/locked/x.ipynb", "locked/x.ipynb")
    for name in ("1.zip", "2.zip"):  # one of them is as much as may be unpacked
        put_zip(tmp_path / "class" / "gil" / name, *BOTH)
    monkeypatch.setattr("instructor.grading.roster.UNPACKED_SIZE", 40)
    monkeypatch.setattr(os, "listdir", refusing(os.listdir))
    monkeypatch.setattr(Path, "open", refusing(Path.open))
    found = read("class", "class.zip")
    assert {*found.problems} == {"\xe41", "bob", "cy", "fay", "locked", "locked (2)"}
    assert found.files["dan"] == ["x.ipynb"] and found.files["gil"] == BOTH
    assert found.files["L_1"] == [moodle[26:]]


def test_in_a_folder_all_is_somebodys_or_named_and_links_are_not_followed(read, tmp_path):
    folder, notebooks = tmp_path / "class", ["bob.ipynb", f"cy/{NOTEBOOK}", f"{NOTEBOOK}"]
    others = [
        "jim.ipynb.txt",
        "kay.IPYNB",
        "notes.pdf",
        HELPERS,
        "a_2_1_b.xlsx",
        "a_vae_helpers.py",
    ]
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
