"""The digits: MNIST, or the drawn digits embedded in data/ where MNIST is not available."""

import os
import shutil
import socket
import sys
from contextlib import ExitStack, redirect_stderr, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

import torch
from filelock import FileLock

try:
    import torchvision  # noqa: F401
except RuntimeError as error:  # one built for CUDA lacks operators beside a CPU-only torch
    if "torchvision::nms does not exist" not in str(error):
        raise
    for name in ("nms", "qnms"):  # MNIST needs neither; declared, they let the import finish
        torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")
from torchvision.datasets import mnist, utils

HERE = Path(__file__).resolve().parent
MIRRORS = [mnist.MNIST.mirrors[0], "https://storage.googleapis.com/cvdf-datasets/mnist/"]
TIMEOUT = 5  # seconds, for each of the two addresses of a mirror that are tried
PACKED = dict(mnist.MNIST.resources)  # the names of the four .gz files, and their MD5s
MNIST = """6bbc9ace898e44ae57da46a324031adb a25bea736e30d166cdddb491f175f624
2646ac647ad5339dbf082846283269ea 27ae3e4e09519cfbb04c329615203637""".split()  # MD5s, unpacked
EMBEDDED = """b5caafee121f46585f8f08fe41f50b2d 7da50e99fad8178c920f00a17f712077
c0b48fc8f9756bce1bfc7091cd4e2578 865d567371a3e717cc0e3c98c0fea50f""".split()  # MD5s, unpacked


class Digits(NamedTuple):
    """Grey images (N, 28, 28) uint8 and labels (N,) int64: for training, and held out (test)."""

    name: str
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


def load_digits(root="data", dataset=None):
    """Load MNIST, or the drawn digits embedded in this project where MNIST is not available.

    root: MNIST's files, unpacked or .gz, are looked for in root/MNIST/raw, or downloaded there. If
    the working directory has no such root, it is the one beside this module.
    dataset: "mnist", "embedded", or "auto": MNIST or else the embedded digits, with a printed line
    that says so and why. By default the environment variable VAE_DATASET, or else "auto".
    Raises: ValueError for another dataset, RuntimeError where the digits are not available.
    """
    dataset = os.environ.get("VAE_DATASET", "auto") if dataset is None else dataset
    if dataset not in ("auto", "mnist", "embedded"):
        raise ValueError(f"VAE_DATASET or dataset must be auto, mnist or embedded, not {dataset!r}")
    root = Path(root if os.path.exists(root) else HERE / root).absolute()
    try:
        if dataset != "embedded":
            return _load("MNIST", MNIST, root / "MNIST" / "raw", MIRRORS)
    except (OSError, RuntimeError) as error:
        if dataset == "mnist":
            raise RuntimeError(f"MNIST is not available: {error}") from None
        print(f"NOT MNIST: these are the drawn digits embedded in this project. {error}")
    return _load("embedded digits", EMBEDDED, HERE / "data", [])


def _load(name, md5s, folder, mirrors):
    """Read the four files from the folder, or from a temporary one where they are lacking there."""
    files = [folder / packed.removesuffix(".gz") for packed in PACKED]
    lacking = {f: md5 for f, md5 in zip(files, md5s) if not utils.check_integrity(f, md5)}
    with ExitStack() as stack:
        new = Path(stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True)))
        if lacking and mirrors:
            with suppress(OSError):  # where nothing can be written, there is nothing to lock
                stack.enter_context(FileLock(folder / ".lock", timeout=60))  # makes the folder
        stack.callback(socket.setdefaulttimeout, socket.getdefaulttimeout())  # restores it
        for file, md5 in lacking.items():
            _unpack(file, md5, new, mirrors)
        try:
            if lacking and mirrors:  # keep them; a file gets its name once it is complete
                with TemporaryDirectory(dir=folder) as parts:
                    for file in new.iterdir():
                        os.replace(shutil.copy(file, parts), folder / file.name)
        except OSError as error:
            if any(new.glob("*.gz")):  # what is only unpacked is no loss
                print(f"MNIST cannot be kept, and must be downloaded again next time: {error}")
        paths = [new / file.name if file in lacking else file for file in files]
        readers = [mnist.read_image_file, mnist.read_label_file] * 2
        return Digits(name, *(read(path) for read, path in zip(readers, paths)))


def _unpack(file, md5, new, mirrors):
    """Unpack the .gz beside the file, or a mirror's, into `new`; RuntimeError if none is whole."""
    packed, reason = f"{file.name}.gz", "it holds something else"
    all_addresses = socket.getaddrinfo
    for mirror in ["", *mirrors]:  # "" is the .gz beside the file
        try:
            if mirror:
                print(f"Downloading {mirror}{packed}", flush=True)
                socket.setdefaulttimeout(TIMEOUT)
                two = patch("socket.getaddrinfo", lambda *a, **k: all_addresses(*a, **k)[:2])
                with two, redirect_stderr(sys.stdout):  # from torchvision's progress bar
                    utils.download_url(mirror + packed, new, md5=PACKED[packed])
            utils.extract_archive((new if mirror else file.parent) / packed, new)
            if utils.check_integrity(new / file.name, md5):
                return
        except Exception as error:  # seen: OSError, HTTPException, EOFError, zlib.error, ...
            reason = f"{mirror}{packed}: {' '.join(str(error).split())}"
    raise RuntimeError(f"{file}.gz is missing or damaged; put the original there ({reason})")
