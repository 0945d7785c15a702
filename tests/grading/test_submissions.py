"""Whose work it is: what learning platforms, browsers and students make of two files."""

import os
import zipfile
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest

from instructor.grading.roster import Submission, read_submissions

NOTEBOOK, HELPERS = BOTH = ["vae_assignment.ipynb", "vae_helpers.py"]
MOODLE, CANVAS = "Gil Doe_12345_assignsubmission_file_", "doehal_LATE_23456_78901_"
BLACKBOARD = "A3_ada01_attempt_2024-03-{}-10-11-12"
BRIGHTSPACE = "12345-678 - Ada Doe - Mar {}, 2024 {} - "


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads a class: files, problems and remarks by student, what is no submission, rows' files."""

    def read(*arguments, names=None):  # relative paths, as on the command line
        scratch, grades = tmp_path / "scratch", tmp_path / "class" / "grades"
        scratch.mkdir(exist_ok=True)
        arguments = [Path(argument) for argument in arguments or ["class"]]
        found, others = read_submissions(arguments, scratch, grades, names)
        submissions = found.values()
        return SimpleNamespace(
            files={s.student: sorted(map(str, s.files)) for s in submissions},
            problems={s.student: s.problem for s in submissions if s.problem},
            remarks={s.student: s.remarks for s in submissions if s.remarks},
            others=sorted(line.partition(":")[0] for line in others),
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
    return [f"{start}{name}" for name in BOTH]


# What is in a folder or a .zip that is given, and each student's files in it.
CLASSES = {
    "folders": (
        [*both("ada/"), "bob/vae/x.ipynb", "bob/data/x.gz"],
        {"ada": BOTH, "bob": ["data/x.gz", "vae/x.ipynb"]},
    ),
    "folders in a folder": (
        [*both("hw/ada/"), "hw/bob/x.ipynb"],
        {"ada": BOTH, "bob": ["x.ipynb"]},
    ),
    "one student's folder": (["ada/utils.py", *both("ada/")], {"ada": ["utils.py", *BOTH]}),
    "one student's folder, with an old version": (
        [*both("ada/"), "ada/old/vae_assignment.ipynb"],
        {"ada": ["old/vae_assignment.ipynb", *BOTH]},
    ),
    "a copy in a folder": (["ada/vae_assignment (1).ipynb"], {"ada": ["vae_assignment (1).ipynb"]}),
    "Moodle's files": (both(MOODLE), {"Gil Doe_12345": BOTH}),
    "Moodle's folder": (both(f"{MOODLE}/vae/"), {"Gil Doe_12345": both("vae/")}),
    "Moodle's text": (["A_7_assignsubmission_onlinetext_/x.html"], {"A_7": ["x.html"]}),
    "names in two normal forms": (
        [f"\xe4_1_assignsubmission_file_{NOTEBOOK}", f"a\u0308_1_assignsubmission_file_{HELPERS}"],
        {"\xe4_1": BOTH},
    ),
    "Canvas": (
        [f"{CANVAS}vae-1.ipynb", "doehal_LATE_23456_78902_vae_helpers-1.py", "lee_777_123_x.ipynb"],
        {"doehal_23456": ["vae-1.ipynb", "vae_helpers-1.py"], "lee_777": ["x.ipynb"]},
    ),
    "Canvas without names": (
        [f"anon_2T5_678_{NOTEBOOK}", f"anon_2T5_679_{HELPERS}"],
        {"anon_2T5": BOTH},
    ),
    "Blackboard": (
        [*both(f"{BLACKBOARD.format('01')}_"), f"{BLACKBOARD.format('01')}.txt"],
        {"ada01": ["text.txt", *BOTH]},
    ),
    "Brightspace's files": (both(BRIGHTSPACE.format(1, "1011 AM")), {"Ada Doe_12345": BOTH}),
    "Brightspace's folder": (
        both(f"{BRIGHTSPACE.format(1, '1011 AM')[:-3]}/"),
        {"Ada Doe_12345": BOTH},
    ),
    "ILIAS": (
        [*both("VAE/Abgaben/Doe_Ada_ada01_1/"), "VAE/Abgaben/Roe_Bo_bo_2/x.ipynb", "VAE/x.xlsx"],
        {"Doe_Ada_ada01_1": BOTH, "Roe_Bo_bo_2": ["x.ipynb"]},
    ),
    "the student's name before": (both("Ada Doe - "), {"Ada Doe": BOTH}),
    "the student's name behind": (
        ["vae_assignment_ada.ipynb", "vae_helpers_ada.py", "vae_assignment_12.ipynb"],
        {"ada": BOTH, "12": [NOTEBOOK]},
    ),
    "something before, the name behind": (
        ["hw3_vae_assignment_ada.ipynb", "hw3_vae_helpers_ada.py", "hw3_vae_assignment_bo.ipynb"],
        {"hw3_ada": BOTH, "hw3_bo": [NOTEBOOK]},
    ),
    "copies": (["Ada - vae_assignment (1).ipynb", "Ada - vae_helpers-1.py"], {"Ada": BOTH}),
    "GitHub's folders": (both("ml24-vae_assignment-ada-main/"), {"ml24-ada-main": BOTH}),
    "names that are no platform's": (
        [f"ada_2026_{month}_vae/x.ipynb" for month in (11, 12)],
        {f"ada_2026_{month}_vae": ["x.ipynb"] for month in (11, 12)},
    ),
    "a folder and a file of one name": (
        ["ada/vae_assignment.ipynb", "ada.ipynb"],
        {"ada": ["ada.ipynb", NOTEBOOK]},
    ),
    "rubbish": (
        ["ada/x.ipynb", "bo/x.ipynb", ".DS_Store", "__MACOSX/ada/x.ipynb"]
        + [f"ada/__MACOSX/._{NOTEBOOK}", "ada/.ipynb_checkpoints/vae_assignment-checkpoint.ipynb"]
        + ["ada/venv/lib/site-packages/a/tour.ipynb", f"ada/.Trash-1000/files/{NOTEBOOK}"],
        {"ada": ["x.ipynb"], "bo": ["x.ipynb"]},
    ),
}


@pytest.mark.parametrize("is_zip", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("names, files", CLASSES.values(), ids=CLASSES)
def test_each_entry_has_its_student(names, files, is_zip, read, tmp_path):
    if is_zip:
        put_zip(tmp_path / "all.zip", *names)
    else:
        put(tmp_path / "class", *names)
    found = read("all.zip" if is_zip else "class")
    assert found.files == {student: sorted(own) for student, own in files.items()}
    assert found.problems == {}
    assert found.others == (["x.xlsx"] if "VAE/x.xlsx" in names else [])


def test_one_students_files_are_named_by_their_folder_or_zip(read, tmp_path):
    put(tmp_path / "class", *BOTH)
    put_zip(tmp_path / "bob.zip", *BOTH)
    put_zip(tmp_path / "any.zip", *both("cy/"))
    put(tmp_path, "dan.ipynb")
    found = read("class", "bob.zip", "any.zip", "dan.ipynb")
    assert found.files == {"class": BOTH, "bob": BOTH, "cy": BOTH, "dan": ["dan.ipynb"]}


def test_of_several_attempts_the_last_one_counts_and_a_remark_says_so(read, tmp_path):
    put(tmp_path / "class", f"{BLACKBOARD.format('02')}_new.ipynb")
    put(tmp_path / "class", *both(f"{BLACKBOARD.format('01')}_"))
    put(tmp_path / "class", BRIGHTSPACE.format(10, "900 AM") + "new.ipynb")
    put(tmp_path / "class", BRIGHTSPACE.format(9, "1000 PM") + "old.ipynb")
    found = read()
    assert found.files == {"ada01": ["new.ipynb"], "Ada Doe_12345": ["new.ipynb"]}
    said = ["there are several attempts: the last one was graded"]
    assert found.remarks == {"ada01": said, "Ada Doe_12345": said}


def test_the_instructors_pattern_comes_first(read, tmp_path):
    put(tmp_path / "class", *both("2026-ada-"), *both("2026-bo-"), *both(MOODLE), "notes.pdf")
    found = read(names=r"2026-(?P<student>\w+)-(?P<file>.*)")
    assert found.files == {"ada": BOTH, "bo": BOTH, "Gil Doe_12345": BOTH}
    assert found.others == ["notes.pdf"]
    assert read(names="(?P<student>Gil).*_file_(?P<file>.*)").files["Gil"] == BOTH
    for names, reason in ("(?P<student>", "is no regular expression"), ("x", "needs a group"):
        with pytest.raises(ValueError, match=reason):
            read(names=names)


def test_files_of_one_student_from_several_arguments_are_put_together(read, tmp_path):
    put_zip(tmp_path / "1.zip", "A3/Ada - vae_assignment.ipynb", *both("A3/Bo - "))
    put_zip(tmp_path / "2.zip", "A3/Ada - vae_helpers.py", *both("A3/Cy - "))
    assert read("1.zip", "2.zip").files == dict.fromkeys(["Ada", "Bo", "Cy"], BOTH)


@pytest.mark.parametrize("place", ["class/{}/vae/", "class/{}/eve/vae/"])
def test_two_folders_of_one_name_are_an_error_that_says_what_to_give(place, read, tmp_path):
    put(tmp_path, *both(place.format("ada")), *both(place.format("bo")))
    with pytest.raises(ValueError, match=f"Two folders are called vae: .* Give {tmp_path}/class, "):
        read("class/ada", "class/bo")


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
    ("vae_assignment (1).ipynb", "vae_helpers.py", "old/vae_assignment (1).ipynb"),
    ("vae_assignment.ipynb", "src/vae_helpers.py", "old/vae_assignment.ipynb"),
])  # fmt: skip
def test_the_two_files_are_found_among_others(notebook, helpers, other):
    files = dict.fromkeys(map(PurePosixPath, (other, notebook, "utils.py", helpers)))
    ada = Submission("ada", files=files)
    assert ada.notebooks() == [PurePosixPath(notebook)]
    assert ada.copies_of(HELPERS) == [PurePosixPath(helpers)]


def test_notebooks_in_folders_of_their_own_are_all_named():
    files = dict.fromkeys(
        map(PurePosixPath, ("ada/vae_assignment.ipynb", "bo/x/vae_assignment.ipynb"))
    )
    assert Submission("monday", files=files).notebooks() == [*files]


def test_a_notebook_beside_the_graded_one_is_named(read, tmp_path):
    put(tmp_path / "class", *both("ada/"), "ada/scratch.ipynb", "bo/x.ipynb")
    assert read().remarks == {"ada": ["vae_assignment.ipynb was graded, and not scratch.ipynb"]}


def test_a_zip_in_a_class_is_a_students_unless_a_platform_named_what_is_in_it(read, tmp_path):
    folder, two = tmp_path / "class", ["a.ipynb", "b/x.ipynb"]
    zips = {"ada.ZIP": BOTH, "eve.zip": two, f"{MOODLE}w.zip": two}
    zips["hw.zip"] = [f"{name}_1_assignsubmission_file_x.ipynb" for name in "hi"]
    for path, names in zips.items():
        put_zip(folder / path, *names)
    found = read()
    assert found.files == {
        "ada": BOTH,
        "eve": two,
        "Gil Doe_12345": two,
        "h_1": ["x.ipynb"],
        "i_1": ["x.ipynb"],
    }
    assert read(f"class/{MOODLE}w.zip").files == {"Gil Doe_12345": two}


def test_a_students_own_zips_are_opened_if_something_lies_only_there(read, tmp_path):
    folder = tmp_path / "class"
    put(folder, f"bob/{NOTEBOOK}", *both("cy/"))
    put_zip(folder / "bob" / "helpers.zip", *BOTH)
    put_zip(folder / "cy" / "old.zip", NOTEBOOK)
    put_zip(tmp_path / "inner.zip", *BOTH)
    with zipfile.ZipFile(folder / "dan.zip", "w") as archive:
        archive.write(tmp_path / "inner.zip", "inner.zip")
    found = read()
    assert found.files == {"bob": BOTH, "cy": ["old.zip", *BOTH], "dan": BOTH}


def test_what_cannot_be_unpacked_is_left_out_with_a_remark(read, tmp_path, monkeypatch):
    folder = tmp_path / "class"
    (folder / "broken.zip").write_bytes(b"PK no zip")
    put_zip(folder / "huge.zip", *BOTH)
    put_zip(folder / "odd.zip", NOTEBOOK, "changed.py", f"{256 * 'x'}.py")
    odd = (folder / "odd.zip").read_bytes()
    (folder / "odd.zip").write_bytes(odd.replace(b"changed.pychanged", b"changed.pyChanged"))
    link = zipfile.ZipInfo(HELPERS)
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(folder / "linked.zip", "w") as archive:
        archive.writestr(NOTEBOOK, "")
        archive.writestr(link, "/etc/passwd")
    monkeypatch.setattr("instructor.grading.roster.UNPACKED_SIZE", 40)
    monkeypatch.setattr("instructor.grading.roster.unpacked.__defaults__", (800,))
    with zipfile.ZipFile(folder / "huge.zip", "w") as archive:
        archive.writestr(NOTEBOOK, 801 * "x")
    found = read()
    assert found.files == {"broken": [], "huge": [], "odd": [NOTEBOOK], "linked": [NOTEBOOK]}
    said = {student: " ".join(remarks) for student, remarks in found.remarks.items()}
    assert set(said) == {"broken", "huge", "odd"}
    assert "broken.zip was left out: it cannot be unpacked" in said["broken"]
    assert "it holds more than" in said["huge"]
    assert "changed.py was left out" in said["odd"] and "its name is too long" in said["odd"]


def test_without_what_this_user_may_not_read_there_is_a_remark_or_no_verdict(
    read, tmp_path, monkeypatch
):
    def refusing(call):  # root may read all files
        def refuse(path, *more):
            if "locked" in Path(path).name:
                raise PermissionError(13, "Permission denied")
            return call(path, *more)

        return refuse

    put(tmp_path / "class", "dan/x.ipynb", "dan/locked", "fay/locked.ipynb", "locked/x", "gil/x.py")
    monkeypatch.setattr(os, "listdir", refusing(os.listdir))
    monkeypatch.setattr(Path, "open", refusing(Path.open))
    found = read()
    assert found.files == {"dan": ["x.ipynb"], "fay": [], "locked": [], "gil": ["x.py"]}
    assert found.remarks["dan"] == [
        "locked was left out: it cannot be read here: Permission denied"
    ]
    assert set(found.problems) == {"fay", "locked"}


def test_in_a_class_all_is_somebodys_or_named_with_a_reason(read, tmp_path):
    folder = tmp_path / "class"
    put(folder, "bob.ipynb", f"cy/{NOTEBOOK}", "grades/rows/bob.json", "grades/index.html")
    put(folder, "jim.ipynb.txt", "kay.IPYNB", HELPERS, "a_vae_helpers.py", "notes.pdf")
    (folder / "nobody").mkdir()
    for place, target in (folder, "/etc"), (folder / "cy", "/etc/passwd"):
        (place / "link").symlink_to(target)
        os.mkfifo(place / "pipe")
    found = read()
    assert found.files == {"bob": ["bob.ipynb"], "cy": [NOTEBOOK], "nobody": []}
    named = ["a_vae_helpers.py", "jim.ipynb.txt", "kay.IPYNB", "link", "notes.pdf", "pipe", HELPERS]
    assert found.others == named


def test_names_are_shown_and_stored_as_well_as_can_be(read, tmp_path):
    names = ["Jürgen", "=1+1", "index", "Ada", "ada", "x" * 250, "Chen [late]", "ODD", "odd"]
    for name in [*names, "b\n<i>", os.fsdecode(b"J\xf6rg")]:
        (tmp_path / "class" / name).mkdir()
    found = read()
    assert set(found.files) == {*names, "b\ufffd<i>", "Jörg"}
    assert len({row.casefold() for row in found.rows}) == len(found.rows)
    for row in found.rows:
        assert len(f"{row}.html".encode()) < 200 and row != "index"
        assert not set(row) & set('/\\<>"=\n') and Path(row).name == row
    assert {"Jürgen", "Jörg", "Ada", "Chen [late]"} <= set(found.rows)
