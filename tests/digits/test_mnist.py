"""What needs the real MNIST, as .gz files in data/MNIST/raw; without them these are skipped."""

import gzip
import shutil

import pytest
import torch

from project import MNIST_FOLDER, ROOT
from vae_digits import FILES, load_digits

pytestmark = [
    pytest.mark.mnist,
    pytest.mark.skipif(len([*MNIST_FOLDER.glob("*.gz")]) < 4, reason="needs MNIST's .gz files"),
]


def check_numbers(digits):
    """That they are MNIST's numbers, which are the last bytes of its files."""
    for name, tensor in zip(FILES, digits[1:]):
        content = gzip.decompress((MNIST_FOLDER / f"{name}.gz").read_bytes())
        assert content.endswith(tensor.byte().numpy().tobytes()), name


@pytest.fixture
def folder(tmp_path):
    """The folder for MNIST's files, empty, where tmp_path is the root."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    return folder


def test_packed_files_are_mnist(tmp_path, folder):
    for name in FILES:
        shutil.copy(MNIST_FOLDER / f"{name}.gz", folder)
    digits = load_digits(tmp_path, "mnist")
    assert digits.name == "MNIST"
    check_numbers(digits)


def test_unpacked_files_are_mnist(tmp_path, folder):
    for name in FILES:
        content = gzip.decompress((MNIST_FOLDER / f"{name}.gz").read_bytes())
        (folder / name).write_bytes(content)
    digits = load_digits(tmp_path, "mnist")
    assert digits.name == "MNIST"
    check_numbers(digits)


def test_a_file_that_differs_in_one_byte_is_not_mnist(tmp_path, folder):
    for name in FILES:
        content = bytearray(gzip.decompress((MNIST_FOLDER / f"{name}.gz").read_bytes()))
        content[-1] ^= name == FILES[2]
        (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"^{folder / FILES[2]} is not the original file.*$"):
        load_digits(tmp_path, "mnist")


def test_embedded_digits_can_stand_in_for_mnist():
    mnist, drawn = load_digits(ROOT / "data", "mnist"), load_digits(dataset="embedded")
    images = (drawn.train_images, mnist.test_images)
    fitted, tested = ((x.flatten(start_dim=1) > 127).float() for x in images)
    nearest = drawn.train_labels[torch.cdist(tested, fitted).topk(3, largest=False).indices]
    first, second, third = nearest.T
    labels = torch.where(second == third, second, first)  # the majority's, or the nearest one's
    accuracy = (labels == mnist.test_labels).float().mean().item()
    # What data/README.md says; neighbours at the same distance may come in another order.
    assert accuracy == pytest.approx(0.899, abs=0.002)
