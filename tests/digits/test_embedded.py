"""The digits that are embedded in data/."""

import gzip
import shutil
import subprocess
import sys

import pytest
import torch

import vae_digits
from idx_files import contents
from project import ROOT
from vae_digits import FILES, load_digits


def test_their_name():
    assert load_digits(dataset="embedded").name == "embedded digits"


def test_the_environment_variable_chooses_them(monkeypatch):
    monkeypatch.setenv("VAE_DATASET", "embedded")
    assert load_digits().name == "embedded digits"


def test_their_form_is_that_of_mnist():
    digits = load_digits(dataset="embedded")
    for images, labels, n in [(*digits[1:3], 6000), (*digits[3:], 1000)]:
        assert (images.shape, images.dtype) == ((n, 28, 28), torch.uint8)
        assert (labels.shape, labels.dtype) == ((n,), torch.int64)


def test_each_class_has_the_same_number_of_digits():
    digits = load_digits(dataset="embedded")
    for labels in (digits.train_labels, digits.test_labels):
        assert torch.bincount(labels).tolist() == [len(labels) // 10] * 10


def test_they_are_in_no_order():
    digits = load_digits(dataset="embedded")
    for labels in (digits.train_labels, digits.test_labels):
        # Among the first 200 every class is there, and none is half of them.
        in_first_200 = torch.bincount(labels[:200], minlength=10)
        assert 0 < in_first_200.min() and in_first_200.max() < 100


def test_the_script_draws_the_embedded_files_again(tmp_path):
    subprocess.run([sys.executable, ROOT / "data" / "draw_digits.py", tmp_path], check=True)
    for name in FILES:
        # Unpacked, since another zlib may pack the same bytes in another way.
        drawn = gzip.decompress((tmp_path / f"{name}.gz").read_bytes())
        assert drawn == gzip.decompress((ROOT / "data" / f"{name}.gz").read_bytes()), name


@pytest.fixture
def copied_data(tmp_path, monkeypatch):
    """A copy of the embedded files, which load_digits reads in their place."""
    monkeypatch.setattr(vae_digits, "HERE", tmp_path)
    shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("MNIST"))
    return tmp_path / "data"


@pytest.mark.parametrize("damage", ["cut off", "no archive", "other digits"])
def test_a_wrong_embedded_file_is_an_error_and_left_alone(damage, copied_data):
    file = copied_data / f"{FILES[2]}.gz"
    content = file.read_bytes()
    other = bytearray(gzip.decompress(content))
    other[-1] ^= 1
    wrong = {
        "cut off": content[:-200],
        "no archive": b"no archive",
        "other digits": gzip.compress(other),
    }
    file.write_bytes(wrong[damage])
    before = contents(copied_data)
    with pytest.raises(ValueError, match=f"^{file} .*: remove it, or put .*$"):
        load_digits(dataset="embedded")
    assert contents(copied_data) == before


def test_a_missing_embedded_file_is_named(copied_data):
    (copied_data / f"{FILES[3]}.gz").unlink()
    with pytest.raises(ValueError, match=f"^{copied_data / FILES[3]} is missing, and so is .*$"):
        load_digits(dataset="embedded")
