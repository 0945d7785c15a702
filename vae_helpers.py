"""Log-densities, samplers and the loading of the digits for vae_assignment.ipynb.

The densities and the samplers are written out by hand: that is the point of the assignment. All of
them work elementwise on tensors that broadcast, and a log-density is a natural logarithm, in nats.
"""

import contextlib
import gzip
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.functional import logsigmoid

try:
    from torchvision.datasets.mnist import MNIST, read_image_file, read_label_file
except RuntimeError as error:
    # A torchvision that was built for CUDA cannot load its compiled operators beside a CPU-only
    # torch, and then stops at the first one that it wants to describe. MNIST needs none of them:
    # declaring the two lets the import finish. A matched pair never comes here.
    if "torchvision::nms does not exist" not in str(error):
        raise
    _operators = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from torchvision.datasets.mnist import MNIST, read_image_file, read_label_file
from torchvision.datasets.utils import check_integrity, download_url, extract_archive

# ---------------------------------------------------------------------------------------------
# Log-densities
# ---------------------------------------------------------------------------------------------


def bernoulli_log_density(x, logit_means):
    """Log-probability of binary x under Bernoulli variables given by their logit-means.

    With y = log(mu / (1 - mu)) the probability of a 1 is mu = sigmoid(y) and that of a 0 is
    1 - mu = sigmoid(-y). Both cases are one: log Ber(x | mu) = log sigmoid((2x - 1) y). Taken as
    one stable function this neither overflows nor cancels, for any finite y.

    Shapes: x and logit_means broadcast; the result has their common shape, one value an element.
    Values: x in {0, 1}, as floats; this is not checked, and grey pixels give meaningless numbers.
    Units: nats.
    Accuracy: 4 units in the last place (float32 and float64); 0 where the exact value underflows.
    Raises: TypeError for anything but floating-point tensors, ValueError for unfit shapes.
    Source: the Bernoulli mass function mu^x (1 - mu)^(1 - x).
    """
    _require_float_tensors(x=x, logit_means=logit_means)
    return logsigmoid((2 * x - 1) * logit_means)


def gaussian_log_density(z, mean, log_std):
    """Log-density of z under Gaussian variables given by their means and log standard deviations.

    With sigma = exp(log_std),
    log N(z | mean, sigma^2) = -1/2 log(2 pi) - log sigma - (z - mean)^2 / (2 sigma^2)

    Shapes: z, mean and log_std broadcast; the result has their common shape.
    Units: nats.
    Accuracy: 4 units in the last place of the result (float32 and float64) for log_std in
    [-20, 20], or of the largest of the three terms where these cancel (a density close to 1).
    Raises: TypeError for anything but floating-point tensors, ValueError for unfit shapes.
    Source: the logarithm of the normal density.
    """
    _require_float_tensors(z=z, mean=mean, log_std=log_std)
    # Squaring first and scaling by exp(-2 log sigma) rounds less than squaring (z - mean) / sigma.
    return -0.5 * math.log(2 * math.pi) - log_std - 0.5 * (z - mean) ** 2 * torch.exp(-2 * log_std)


# ---------------------------------------------------------------------------------------------
# Samplers
# ---------------------------------------------------------------------------------------------


def sample_gaussian(mean, log_std, generator=None):
    """Reparameterized sample of a Gaussian: mean + sigma * epsilon with epsilon ~ N(0, 1).

    sigma = exp(log_std). The noise does not depend on the parameters, so the sample is
    differentiable in both of them: d sample / d mean = 1, d sample / d log_std = sigma * epsilon.

    Shapes: log_std broadcasts to the shape of mean; the sample is like mean, with noise of its
    own for every element.
    Raises: TypeError for anything but floating-point tensors, ValueError for unfit shapes.
    Source: Kingma and Welling, Auto-Encoding Variational Bayes (arXiv 1312.6114), section 2.4.
    """
    _require_float_tensors(mean=mean, log_std=log_std)
    same = mean.shape == log_std.shape
    if not same and mean.shape != torch.broadcast_shapes(mean.shape, log_std.shape):
        shapes = _shapes({"mean": mean, "log_std": log_std})
        raise ValueError(f"log_std must broadcast to the shape of mean: {shapes}")
    epsilon = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
    return mean + torch.exp(log_std) * epsilon


def sample_bernoulli(mean, generator=None):
    """Binary sample: 1 with probability mean, else 0, as floats. Not differentiable.

    Shapes: the sample is like mean, with noise of its own for every element.
    Raises: TypeError for anything but a floating-point tensor; ValueError for a mean outside
    [0, 1], as when logit-means are passed where means belong.
    """
    _require_float_tensors(mean=mean)
    if not ((mean >= 0) & (mean <= 1)).all():
        raise ValueError("mean must lie in [0, 1]; of logit-means take torch.sigmoid(...) first")
    uniform = torch.rand(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
    return (uniform < mean).to(mean.dtype)


def _require_float_tensors(**arguments):
    """Raise an error that names argument and shapes unless all are floats that broadcast."""
    for name, value in arguments.items():
        if not torch.is_tensor(value):
            kind = type(value).__name__
            raise TypeError(f"{name} must be a tensor, not {kind} ({_shapes(arguments)})")
        if not value.is_floating_point():
            raise TypeError(
                f"{name} must hold floats, not {value.dtype}; convert it with .float() "
                f"({_shapes(arguments)})"
            )
    shapes = {value.shape for value in arguments.values()}
    try:
        if len(shapes) > 1:  # as a rule there is one, and looking is slow
            torch.broadcast_shapes(*shapes)
    except RuntimeError:
        raise ValueError(f"the shapes do not broadcast: {_shapes(arguments)}") from None


def _shapes(arguments):
    """Name and shape of every argument, for an error message."""
    shapes = {name: tuple(getattr(value, "shape", ())) for name, value in arguments.items()}
    return ", ".join(f"{name} has shape {shape}" for name, shape in shapes.items())


# ---------------------------------------------------------------------------------------------
# Digits
# ---------------------------------------------------------------------------------------------


HERE = Path(__file__).resolve().parent

# The unpacked files of both kinds of digits with their MD5: whatever lies under a name, it is used
# only if its content is this.
MNIST_FILES = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
EMBEDDED_FILES = {
    "train-images-idx3-ubyte": "b5caafee121f46585f8f08fe41f50b2d",
    "train-labels-idx1-ubyte": "7da50e99fad8178c920f00a17f712077",
    "t10k-images-idx3-ubyte": "c0b48fc8f9756bce1bfc7091cd4e2578",
    "t10k-labels-idx1-ubyte": "865d567371a3e717cc0e3c98c0fea50f",
}

# A download goes on as long as this much arrives in this time.
PATIENCE = 10  # seconds
ENOUGH = 100_000  # bytes


class Digits(NamedTuple):
    """Handwritten digits: grey images (N, 28, 28) uint8 and labels (N,) int64, in two parts."""

    name: str
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


def load_digits(root="data", dataset=None):
    """Load MNIST, or the drawn digits embedded in this project where MNIST cannot be had.

    dataset: "mnist" (or an error), "embedded", or "auto": MNIST if its files are in root or can be
    downloaded, else the embedded digits, with a printed line that says so and why. By default the
    environment variable VAE_DATASET, or else "auto".

    MNIST's four files are looked for in root/MNIST/raw, unpacked or as .gz, and downloaded there. A
    relative root that is not in the working directory is taken beside this module.

    Returns: Digits, whose name is "MNIST" or "embedded digits".
    Raises: ValueError for another dataset, RuntimeError where the digits cannot be had.
    """
    if dataset is None:
        dataset = os.environ.get("VAE_DATASET", "auto")
    if dataset not in ("auto", "mnist", "embedded"):
        raise ValueError(
            f"VAE_DATASET (or dataset=...) must be auto, mnist or embedded, not {dataset!r}"
        )
    if dataset == "embedded":
        return _load_embedded_digits()
    if not os.path.exists(root):
        root = HERE / root
    try:
        return _load_mnist(Path(root, "MNIST", "raw").absolute())
    except RuntimeError as error:
        if dataset == "mnist":
            raise
        print(f"NOT MNIST, but the drawn digits embedded in this project. {error}")
        return _load_embedded_digits()


def _load_mnist(folder):
    """Read MNIST from the folder, after downloading what is missing or damaged there."""
    with _temporary_folder() as temporary:
        paths = _whole_files(MNIST_FILES, folder, temporary)
        lacking = [name for name in MNIST_FILES if name not in paths]
        if lacking:
            downloads = temporary / "downloads"
            downloads.mkdir()
            try:
                _download(lacking, downloads)
            except RuntimeError as error:
                what = "its files" if len(lacking) == len(MNIST_FILES) else ", ".join(lacking)
                raise RuntimeError(
                    f"MNIST could not be had: {what} missing or damaged in {folder}, and the "
                    f"download failed: {error}. Without a network, put its four .gz files there."
                ) from None
            _keep(downloads.glob("*.gz"), folder)
            paths |= _whole_files({n: MNIST_FILES[n] for n in lacking}, downloads, temporary)
        return _read("MNIST", paths)


def _load_embedded_digits():
    """Read the embedded digits."""
    with _temporary_folder() as temporary:
        paths = _whole_files(EMBEDDED_FILES, HERE / "data", temporary)
        for name in EMBEDDED_FILES:
            if name not in paths:
                file = HERE / "data" / f"{name}.gz"
                raise RuntimeError(f"{file} is missing or damaged; restore it: git checkout data")
        return _read("embedded digits", paths)


@contextlib.contextmanager
def _temporary_folder():
    """A folder to unpack into; that the disk is full, or a file unreadable, is a RuntimeError."""
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        place = tempfile.gettempdir()
        raise RuntimeError(
            f"The digits could not be read: {error}. (They are unpacked in {place}: 60 MB.)"
        ) from None


def _whole_files(files, folder, temporary):
    """Path by name of each file whose content is right, unpacked in the folder or from its .gz."""
    paths = {}
    for name, md5 in files.items():
        packed = folder / f"{name}.gz"
        if check_integrity(folder / name, md5):
            paths[name] = folder / name
        elif packed.is_file():
            with contextlib.suppress(gzip.BadGzipFile, EOFError, zlib.error):  # damaged
                extract_archive(packed, temporary)
                if check_integrity(temporary / name, md5):
                    paths[name] = temporary / name
    return paths


def _read(name, paths):
    """The digits in the four files, by torchvision's reader."""
    return Digits(
        name,
        read_image_file(paths["train-images-idx3-ubyte"]),
        read_label_file(paths["train-labels-idx1-ubyte"]),
        read_image_file(paths["t10k-images-idx3-ubyte"]),
        read_label_file(paths["t10k-labels-idx1-ubyte"]),
    )


def _download(names, folder):
    """Let torchvision download MNIST's files into the folder, in a process that can be stopped.

    Looking up a name, or a server that sends one byte a second, has no time limit of its own.
    """
    command = "import sys, vae_helpers; vae_helpers._fetch(*sys.argv[1:])"
    arguments = [str(folder), " ".join(names), " ".join(MNIST.mirrors)]
    with tempfile.TemporaryFile() as log:
        with subprocess.Popen(
            [sys.executable, "-c", command, *arguments],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process:  # leaving this block closes its standard input, and that ends it
            process.stdout.readline()  # it has started, which may take long on a busy machine
            _wait_for(process, folder)
        if process.returncode != 0:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(lines[-1] if lines else "the downloading process was killed")


def _wait_for(process, folder):
    """Wait for the process to end, and show what arrives, as long as enough of it does."""
    progress, patience_ends = [], time.monotonic() + PATIENCE
    try:
        while process.poll() is None:
            sizes = [file.stat().st_size for file in sorted(folder.glob("*.gz"))]
            before, progress = progress, [size // ENOUGH for size in sizes]
            if progress != before:  # more of a file, a further one, or one begun anew
                patience_ends = time.monotonic() + PATIENCE
                print(f"\rDownloading MNIST: {sum(sizes) / 1e6:.1f} MB ", end="", flush=True)
            elif time.monotonic() > patience_ends:
                raise RuntimeError(f"less than {ENOUGH // 1000} kB came in {PATIENCE} seconds")
            time.sleep(0.1)
    finally:
        if progress:
            print()  # below the line that shows it


def _fetch(folder, names, mirrors):
    """Download each file as .gz from the first mirror that has it whole."""
    # However its parent ends, this process then ends, too.
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
    print("started", flush=True)
    socket.setdefaulttimeout(PATIENCE / 2)  # leaves time for a second mirror
    md5s = dict(MNIST.resources)
    for name in names.split():
        reason = "there is no mirror"
        for mirror in mirrors.split():
            try:
                download_url(f"{mirror}{name}.gz", folder, f"{name}.gz", md5s[f"{name}.gz"])
                break
            except (OSError, RuntimeError, HTTPException) as error:
                reason = f"{mirror}{name}.gz: {str(error).rstrip('.') or type(error).__name__}"
        else:
            sys.exit(reason)


def _keep(files, folder):
    """Copy the files into the folder, if it can be written; no name ever stands for half a file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            unfinished = folder / f"{file.name}.{uuid.uuid4().hex}"
            try:
                shutil.copyfile(file, unfinished)
                os.replace(unfinished, folder / file.name)
            finally:
                unfinished.unlink(missing_ok=True)
    except OSError as error:
        print(f"MNIST could not be kept, and must be downloaded again the next time: {error}.")
