"""Small data sets in the four files of MNIST's form, and what a folder holds."""

import gzip
import struct

import numpy as np

from vae_digits import FILES


def idx(array):
    """The IDX file of an array of bytes."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def random_digits(n_train=30, n_test=20):
    """Train images, train labels, test images and test labels, all random."""
    noise = np.random.default_rng(1)
    arrays = []
    for n in (n_train, n_test):
        arrays += [noise.integers(256, size=(n, 28, 28)), noise.integers(10, size=n)]
    return arrays


def write_files(folder, arrays, packed=(False, False, False, False)):
    """Write the four arrays into a new folder, each unpacked or packed."""
    folder.mkdir(parents=True)
    for name, array, pack in zip(FILES, arrays, packed):
        if pack:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))


def contents(folder):
    """What all files in a folder hold, by their paths."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def holds(digits, arrays):
    """Whether the digits are these four arrays."""
    return all(np.array_equal(tensor.numpy(), array) for tensor, array in zip(digits[1:], arrays))
