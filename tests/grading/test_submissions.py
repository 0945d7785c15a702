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


def both(start):
    return [f"{start}|{name}" for name in BOTH]


# What a folder or a .zip holds: each student's files, with a bar where their own paths begin.
LAYOUTS = {
    "folders": {"ada": both("ada/"), "bob": ["bob/|vae/x.ipynb", "bob/|data/x.gz"]},
    "Moodle's files": {  # of which a text is in a folder, and one name is in two forms
        "A_B_7": [f"A_B_7_assignsubmission_file_|{NOTEBOOK}"],
        "Gil Doe_12345": [*both(MOODLE), "Gil Doe_12345_assignsubmission_onlinetext_/|x.html"],
        "\xe4_1": [f"{a}_1_assignsubmission_file_|{f}" for a, f in zip(["\xe4", "a\u0308"], BOTH)],
    },
    "Moodle's folders": {"Gil Doe_12345": both(f"{MOODLE}/")},
    "Canvas": {
        "doehal_23456": [f"{CANVAS}|vae-1.ipynb", "doehal_LATE_23456_78902_|vae_helpers-1.py"],
        "lee_7": [f"lee_7_1_|{NOTEBOOK}"],
    },
    "other platforms": {
        **{"Ada": both("Ada - "), "A 3_bo_2026-11-01-12-00": both("A 3_bo_2026-11-01-12-00_")},
        "anon_2T5": [f"anon_2T5_6_|{NOTEBOOK}", f"anon_2T5_7_|{HELPERS}"],
    },
    "no platform's names": {f"ada_2026_{m}_vae": [f"ada_2026_{m}_vae/|x.ipynb"] for m in (11, 12)},
    "rubbish": {
        **{"ada": [f"ada/|{NOTEBOOK}"], "ada (2)": ["ada.ipynb"]},
        "": [f"ada/__MACOSX/._{NOTEBOOK}", ".DS_Store", "__MACOSX/ada/x.ipynb"]
        + ["ada/.ipynb_checkpoints/vae_assignment-checkpoint.ipynb"]
        + ["ada/venv/lib/site-packages/a/tour.ipynb", f"ada/.Trash-1000/files/{NOTEBOOK}"],
    },
    "one student's files": {"class": [*BOTH, "utils.py", "data/x.gz"]},
}
ZIPS = {  # where the files of a .zip are a student's otherwise than those of a folder
    "folders in a folder": {"ada": ["hw/ada/|x.ipynb"], "bob": ["hw/bob/|y.ipynb"]},
    "a student's folder": {"class": [f"vae/{name}" for name in BOTH]},
    "an old one inside": {"class": [*BOTH, f"old/{NOTEBOOK}"]},
    "one like Canvas's": {"class": ["run_2_1_x.ipynb", "run_2_2_y.ipynb", NOTEBOOK]},
    "none of the name": {"class": ["x.ipynb", "y.ipynb", HELPERS]},
    "a file and a folder": {"ada": ["ada/|x.ipynb"], "bob": ["bob", "bob/|y.ipynb"]},
    "nothing": {"class": []},
}
PLACES = [(put, "class", name) for name in LAYOUTS]
PLACES += [(put_zip, "class/class.zip", name) for name in LAYOUTS | ZIPS]


@pytest.mark.parametrize("make, place, layout", PLACES)
def test_each_file_has_its_student(make, place, layout, read, tmp_path):
    students = (LAYOUTS | ZIPS)[layout]
    make(tmp_path / place, *(n.replace("|", "") for names in students.values() for n in names))
    own = {s: sorted(n.rpartition("|")[2] for n in names) for s, names in students.items() if s}
    found = read()
    assert found.files == own and list(found.problems) == found.others == []


def test_paths_in_a_zip_may_lead_out_or_be_those_of_windows(read, tmp_path):
    names = [*BOTH, "../../outside.py", "/etc/outside.py", "a/../../b.py", "vae\\x.py"]
    put_zip(tmp_path / "class" / "packed.zip", *names)
    files = ["a/b.py", "etc/outside.py", "outside.py", "vae/x.py", *BOTH]
    assert read().files == {"packed": sorted(files)}
    assert {path.name for path in tmp_path.iterdir()} == {"class", "scratch"}
    assert {path.name for path in (tmp_path / "class").iterdir()} == {"packed.zip"}


@pytest.mark.parametrize("notebook, helpers, other", [
    ("vae_assignment (1).ipynb", "vae_helpers.py", "scratch.ipynb"),
    ("vae_assignment.ipynb", "Copy of vae_helpers.py", "vae_assignment-Copy1.ipynb"),
    ("VAE_Assignment - Copy (2).ipynb", "vae_helpers - Kopie.py", "a.ipynb"),
    ("mine.ipynb", "vae_helpers.py", "vae_assignment.txt"),
])  # fmt: skip
def test_the_two_files_are_found_among_others(notebook, helpers, other):
    files = dict.fromkeys(map(PurePosixPath, (other, notebook, "utils.py", helpers)))
    ada = Submission("ada", files)
    assert ada.notebooks() == [PurePosixPath(notebook)]
    assert ada.copies_of(HELPERS) == [PurePosixPath(helpers)]


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
        return lambda path, *more: call(Path("/-") if "locked" in Path(path).name else path, *more)

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
    folder = tmp_path / "class"
    put(folder, "bob.ipynb", f"cy/{NOTEBOOK}", NOTEBOOK, "doe_1_2_x.ipynb", "doe_1_3_x.ipynb")
    others = ["jim.ipynb.txt", "kay.IPYNB", HELPERS, "a_2_1_b.xlsx", "a_vae_helpers.py"]
    put(folder, *others, "grades/rows/bob.json", "grades/index.html")
    (folder / "nobody").mkdir()
    for place, target in (folder, "/etc"), (folder / "cy", "/etc/passwd"):
        (place / "link").symlink_to(target)
        os.mkfifo(place / "pipe")
    put_zip(folder / MOODLE / "work.zip", *BOTH)
    put_zip(folder / "cy" / "old.zip", NOTEBOOK)  # a notebook lies beside it
    (folder / "broken.zip").write_bytes(b"PK no zip")
    link = zipfile.ZipInfo(HELPERS)
    link.external_attr = 0o120777 << 16
    with (
        zipfile.ZipFile(folder / "linked.zip", "w") as linked,
        zipfile.ZipFile(folder / "huge.zip", "w") as huge,
    ):
        linked.writestr(link, "/etc/passwd")
        huge.writestr(NOTEBOOK, "")
        huge.infolist()[0].file_size = 5 << 30  # so it says
    found = read()
    assert found.files == {
        **{"Gil Doe_12345": BOTH, "bob": ["bob.ipynb"], "broken": [], "cy": ["old.zip", NOTEBOOK]},
        **{"doe_1": ["(1)/x.ipynb", "x.ipynb"], "huge": [], "linked": [], "nobody": []},
        "vae_assignment": [NOTEBOOK],
    }
    assert set(found.problems) == {"broken", "huge"}
    assert "broken.zip: " in found.problems["broken"] and "more than" in found.problems["huge"]
    assert found.others == sorted([*others, "link", "pipe"])


def test_names_are_shown_and_stored_as_well_as_can_be(read, tmp_path):
    names = ["Jürgen", "=1+1", "index", "Ada", "ada", "x" * 250, "Chen [late]"]
    for name in [*names, "b\n<i>", os.fsdecode(b"J\xf6rg")]:
        (tmp_path / "class" / name).mkdir()
    found = read()
    assert set(found.files) == {*names, "b\ufffd<i>", "Jörg"}
    assert len({row.casefold() for row in found.rows}) == len(found.rows)
    for row in found.rows:
        assert len(f"{row}.html".encode()) < 200 and row != "index"
        assert not set(row) & set('/\\<>"=\n') and Path(row).name == row
    assert {"Jürgen", "Jörg", "Ada", "Chen [late]"} <= set(found.rows)
