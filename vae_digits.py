"""The digits: MNIST, the drawn digits embedded in data/, or digits of one's own."""

import gzip
import hashlib
import math
import os
import socket
import struct
import sys
import zlib
from contextlib import redirect_stderr
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch

try:
    import torchvision  # noqa: F401
except RuntimeError as error:  # one built for CUDA lacks operators beside a CPU-only torch
    if "torchvision::nms does not exist" not in str(error):
        raise
    for name in ("nms", "qnms"):  # MNIST needs neither; declared, they let the import finish
        torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")
from torchvision.datasets import MNIST

HERE = Path(__file__).resolve().parent
TIMEOUT = 5  # seconds for which a server may be silent

FILES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]
# The MD5s of these files, unpacked, for each data set that is known.
MD5S = {
    "MNIST": [
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ],
    "embedded digits": [
        "b5caafee121f46585f8f08fe41f50b2d",
        "7da50e99fad8178c920f00a17f712077",
        "c0b48fc8f9756bce1bfc7091cd4e2578",
        "865d567371a3e717cc0e3c98c0fea50f",
    ],
}


class Digits(NamedTuple):
    """Grey images (N, 28, 28) uint8 and labels (N,) int64: for training, and held out (test)."""

    name: str
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


def load_digits(root="data", dataset=None):
    """Load MNIST, the drawn digits embedded in this project, or digits of one's own.

    root: MNIST's files, unpacked or .gz, are looked for in root/MNIST/raw, or downloaded there. If
    the working directory has no such root, it is the one beside this module.
    dataset: by default the environment variable VAE_DATASET, or else "auto".
        "mnist": MNIST.
        "embedded": the embedded digits.
        "auto": MNIST or, where it cannot be downloaded, the embedded digits; a printed line says
        so and why.
        A folder: the digits in its four files, which have MNIST's names and form, unpacked or .gz.
        They are named after the folder, which is only read.
    Raises: ValueError for another dataset, or for a wrong or missing file, which it names;
    RuntimeError where MNIST cannot be downloaded.
    """
    if dataset is None:
        dataset = os.environ.get("VAE_DATASET", "auto")
    if dataset == "mnist":
        return _mnist(root)
    if dataset == "embedded":
        return _embedded_digits()
    if dataset == "auto":
        try:
            return _mnist(root)
        except RuntimeError as error:
            print(f"NOT MNIST: these are the drawn digits embedded in this project. {error}")
            return _embedded_digits()
    if not os.path.isdir(dataset):
        raise ValueError(
            "VAE_DATASET, or the argument dataset, must be auto, mnist, embedded or an existing "
            f"folder, not {os.fspath(dataset)!r} (the working directory is {os.getcwd()})"
        )
    folder = Path(os.path.abspath(dataset))
    name = folder.name
    if name.casefold().replace("_", " ") in [known.casefold() for known in MD5S]:
        name += " (own files)"  # the checks expect certain results of the known data sets
    return _read_digits(name, folder)


def _mnist(root):
    """MNIST, downloaded if need be; RuntimeError where that is impossible."""
    root = Path(root if os.path.exists(root) else HERE / root).absolute()
    folder = root / "MNIST" / "raw"
    files = [_find(folder, name) for name in FILES]
    if None in files:
        for file, md5 in zip(files, MD5S["MNIST"]):
            if file:  # a wrong one is reported before the others are downloaded
                _content(file, md5)
        try:
            _download_mnist(folder)
        except (OSError, RuntimeError, HTTPException) as error:
            reason = " ".join(str(error).split())
            raise RuntimeError(
                f"MNIST is not in {folder}, where you can put its four .gz files, and it cannot be "
                f"downloaded: {reason}"
            ) from None
    return _read_digits("MNIST", folder)


def _embedded_digits():
    return _read_digits("embedded digits", HERE / "data")


def _download_mnist(folder):
    """Download MNIST with torchvision, which checks it, and keep the files that the folder lacks.

    Several processes may do so at once: a file gets its name in the folder once it is whole.
    """
    print(f"Downloading MNIST into {folder}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    limit_before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # torchvision sets none
    try:
        with TemporaryDirectory(prefix="download-", dir=folder) as new:
            with redirect_stderr(sys.stdout):  # where torchvision shows its progress
                MNIST(new, download=True)
            for name in FILES:
                if not _find(folder, name):
                    os.replace(Path(new, "MNIST", "raw", f"{name}.gz"), folder / f"{name}.gz")
    finally:
        socket.setdefaulttimeout(limit_before)


def _read_digits(name, folder):
    """The digits in the folder's four files; ValueError, which names the file, if one is wrong."""
    files = [_find(folder, file_name) for file_name in FILES]
    for file, file_name in zip(files, FILES):
        if file is None:
            raise ValueError(
                f"{folder / file_name} is missing, and so is {file_name}.gz: put either there"
            )
    md5s = MD5S.get(name, 4 * [None])  # own files may be any
    contents = [_content(file, md5) for file, md5 in zip(files, md5s)]
    tensors = []
    for images, labels in [(0, 1), (2, 3)]:
        tensors.append(_images(files[images], contents[images]))
        tensors.append(_labels(files[labels], contents[labels]))
        n_images, n_labels = len(tensors[images]), len(tensors[labels])
        if n_images != n_labels:
            raise ValueError(
                f"{files[labels]} holds {n_labels:,} labels, "
                f"but {files[images].name} holds {n_images:,} images"
            )
    return Digits(name, *tensors)


def _find(folder, name):
    """The file of this name in the folder, or else the one packed as .gz, or else None."""
    for file in (folder / name, folder / f"{name}.gz"):
        if file.exists():
            return file
    return None


def _content(file, md5=None):
    """What the file holds, unpacked; ValueError if it is damaged or, given an MD5, another file."""
    try:
        content = file.read_bytes()
        if file.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{file} cannot be read: remove it, or put a whole one there ({error})"
        ) from None
    if md5 and hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise ValueError(
            f"{file} is not the original file, or it is damaged: remove it, or put the original "
            "there (digits of your own belong in another folder, which VAE_DATASET names)"
        )
    return content


def _images(file, content):
    images = _numbers(file, content, "images", n_dimensions=3)
    n, height, width = images.shape
    if (height, width) != (28, 28):
        raise ValueError(f"{file} holds images of {height} x {width} pixels, not 28 x 28")
    return images


def _labels(file, content):
    labels = _numbers(file, content, "labels", n_dimensions=1)
    if labels.max() > 9:
        raise ValueError(f"{file} holds the label {labels.max()}: labels are 0 to 9")
    return labels.long()


def _numbers(file, content, kind, n_dimensions):
    """The bytes of an IDX file, as a tensor; ValueError unless it has this many dimensions.

    IDX, the format of MNIST: 0, 0, 8 (for bytes) and the number of dimensions; the sizes, each a
    big-endian integer of 4 bytes; then the bytes, the last dimension running fastest.
    """
    magic = bytes([0, 0, 8, n_dimensions])
    start = len(magic) + 4 * n_dimensions
    if content[:4] != magic or len(content) < start:
        raise ValueError(
            f"{file} is not an IDX file of {kind}: it does not begin with the bytes {[*magic]} "
            f"and {n_dimensions} sizes"
        )
    sizes = struct.unpack(f">{n_dimensions}I", content[4:start])
    if len(content) - start != math.prod(sizes):
        raise ValueError(
            f"{file} is damaged: its header says {' x '.join(map(str, sizes))} bytes, "
            f"but {len(content) - start:,} bytes follow"
        )
    if 0 in sizes:
        raise ValueError(f"{file} holds no {kind}")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(sizes).copy())
