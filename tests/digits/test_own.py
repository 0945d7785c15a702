"""Digits of one's own: four files in a folder that VAE_DATASET names."""

import gzip
import re

import numpy as np
import pytest
import torch

import vae_digits
from idx_files import contents, holds, idx, random_digits, write_files
from project import ROOT
from vae_digits import FILES, load_digits

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = FILES


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    def download(folder):
        pytest.fail(f"something is downloaded into {folder}")

    monkeypatch.setattr(vae_digits, "_download_mnist", download)


@pytest.fixture
def folder(tmp_path):
    """A folder of own digits."""
    write_files(tmp_path / "our digits", random_digits())
    return tmp_path / "our digits"


@pytest.mark.parametrize("packed", [[False] * 4, [True] * 4, [True, False, False, True]])
def test_packed_or_unpacked_files_are_read(packed, tmp_path):
    write_files(tmp_path / "ours", random_digits(), packed)
    assert holds(load_digits(dataset=tmp_path / "ours"), random_digits())


def test_the_readme_shows_how_to_write_a_file():
    example = re.search("(?s)```python\n(.*?)```", (ROOT / "data" / "README.md").read_text("utf-8"))
    namespace = {}
    exec(example[1], namespace)
    for array in random_digits():
        assert namespace["idx"](array) == idx(array)


def test_they_have_the_types_of_mnist(folder):
    digits = load_digits(dataset=folder)
    assert [tensor.dtype for tensor in digits[1:]] == 2 * [torch.uint8, torch.int64]


def test_a_single_digit_is_enough(tmp_path):
    arrays = random_digits(n_train=1, n_test=1)
    write_files(tmp_path / "one", arrays)
    assert holds(load_digits(dataset=tmp_path / "one"), arrays)


def test_the_unpacked_file_is_used_where_both_are_there(folder):
    (folder / f"{TEST_LABELS}.gz").write_bytes(b"something else")
    assert holds(load_digits(dataset=folder), random_digits())


def test_the_environment_variable_names_the_folder(folder, monkeypatch):
    monkeypatch.setenv("VAE_DATASET", str(folder))
    assert holds(load_digits(), random_digits())


def test_the_argument_goes_before_the_environment_variable(folder, monkeypatch):
    monkeypatch.setenv("VAE_DATASET", "embedded")
    assert holds(load_digits(dataset=str(folder)), random_digits())


def test_a_relative_folder_is_looked_for_from_the_working_directory(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert holds(load_digits(dataset="our digits"), random_digits())


def test_they_are_named_after_the_folder(folder):
    assert load_digits(dataset=f"{folder}/").name == "our digits"


def test_the_working_directory_has_a_name_as_well(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert load_digits(dataset=".").name == "our digits"


@pytest.mark.parametrize("name", ["MNIST", "mnist", "embedded digits", "embedded_digits"])
def test_a_folder_with_the_name_of_known_digits_is_told_from_them(name, tmp_path):
    write_files(tmp_path / name, random_digits())
    assert load_digits(dataset=tmp_path / name).name == f"{name} (own files)"


@pytest.mark.parametrize("word", ["auto", "mnist", "embedded"])
def test_a_word_that_is_known_is_no_folder(word, tmp_path, monkeypatch):
    write_files(tmp_path / word, random_digits())
    write_files(tmp_path / "data" / "MNIST" / "raw", random_digits(n_train=3))
    monkeypatch.setitem(vae_digits.MD5S, "MNIST", [None] * 4)
    monkeypatch.chdir(tmp_path)
    assert not holds(load_digits(dataset=word), random_digits())


def test_nothing_is_written_into_the_folder(tmp_path):
    write_files(tmp_path / "ours", random_digits(), packed=[True] * 4)
    before = {file: file.stat() for file in tmp_path.rglob("*")}
    load_digits(dataset=tmp_path / "ours")
    after = {file: file.stat() for file in tmp_path.rglob("*")}
    # Reading changes the times of access, and nothing else.
    assert [(f, s.st_ino, s.st_size, s.st_mtime_ns) for f, s in after.items()] == [
        (f, s.st_ino, s.st_size, s.st_mtime_ns) for f, s in before.items()
    ]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_and_not_downloaded(name, folder):
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"^{folder / name} is missing, and so is {name}.gz.*$"):
        load_digits(dataset=folder)


IMAGES, LABELS = np.zeros((30, 28, 28)), np.zeros(30)
# For each fault: the file, what it holds instead, and what is said of it.
FAULTS = {
    "empty": (TRAIN_IMAGES, b"", "is not an IDX file of images"),
    "a web page": (TEST_LABELS, b"<html>" + bytes(20), "is not an IDX file of labels"),
    "labels for images": (TRAIN_IMAGES, idx(LABELS), "is not an IDX file of images"),
    "images for labels": (TRAIN_LABELS, idx(IMAGES), "is not an IDX file of labels"),
    "numbers of 4 bytes": (TRAIN_IMAGES, b"\0\0\x0c\3" + idx(IMAGES)[4:], "is not an IDX file"),
    "only half a header": (TRAIN_IMAGES, idx(IMAGES)[:9], "is not an IDX file of images"),
    "cut off": (TEST_IMAGES, idx(IMAGES)[:-1], "is damaged: its header says 30 x 28 x 28 bytes"),
    "too long": (TEST_LABELS, idx(LABELS) + b"\0", "is damaged: .*, but 31 bytes follow"),
    "28 x 29": (TEST_IMAGES, idx(np.zeros((9, 28, 29))), "holds images of 28 x 29 pixels, not"),
    "no digits": (TRAIN_IMAGES, idx(IMAGES[:0]), "holds no images"),
    "a label short": (TRAIN_LABELS, idx(LABELS[1:]), "holds 29 labels, .* holds 30 images"),
    "a letter": (TRAIN_LABELS, idx(LABELS + 10), "holds the label 10: labels are 0 to 9"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_wrong_file_is_named_in_one_line_and_left_alone(fault, ending, folder):
    name, content, words = FAULTS[fault]
    (folder / name).unlink()
    file = folder / f"{name}{ending}"
    file.write_bytes(gzip.compress(content) if ending else content)
    before = contents(folder)
    with pytest.raises(ValueError, match=f"^{file} {words}.*$"):
        load_digits(dataset=folder)
    assert contents(folder) == before


PACKED = gzip.compress(idx(IMAGES + 7))
DAMAGED = {
    "no archive": b"no archive",
    "cut off": PACKED[:-5],
    "empty": b"",
    "a byte changed": PACKED[:30] + bytes([PACKED[30] ^ 255]) + PACKED[31:],
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_packed_file_that_cannot_be_unpacked_is_named(damage, folder):
    (folder / TRAIN_IMAGES).unlink()
    file = folder / f"{TRAIN_IMAGES}.gz"
    file.write_bytes(DAMAGED[damage])
    # An empty file is an archive of nothing.
    words = "(cannot be read: remove it, or put a whole one there|is not an IDX file of images)"
    with pytest.raises(ValueError, match=f"^{file} {words}.*$"):
        load_digits(dataset=folder)


def test_what_is_no_file_is_named(folder):
    (folder / TRAIN_IMAGES).unlink()
    (folder / TRAIN_IMAGES).mkdir()
    with pytest.raises(ValueError, match=f"^{folder / TRAIN_IMAGES} cannot be read: .*$"):
        load_digits(dataset=folder)


@pytest.mark.parametrize("wrong", ["MNIST", "emnist", "no/such/folder", ""])
def test_neither_a_known_word_nor_a_folder_is_refused(wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = (
        f"^VAE_DATASET, .*, must be auto, mnist, embedded or an existing folder, not '{wrong}' .*$"
    )
    with pytest.raises(ValueError, match=line):
        load_digits(dataset=wrong)


def test_the_environment_variable_is_refused_as_the_argument_is(monkeypatch):
    monkeypatch.setenv("VAE_DATASET", "emnist")
    with pytest.raises(ValueError, match="^VAE_DATASET, .* not 'emnist' .*$"):
        load_digits()


def test_a_file_in_place_of_a_folder_is_refused(folder):
    with pytest.raises(ValueError, match="^VAE_DATASET, .* an existing folder, not .*$"):
        load_digits(dataset=folder / TRAIN_IMAGES)
