"""Log-densities, samplers and the loading of the digits for vae_assignment.ipynb.

The densities and the samplers are written out by hand: that is the point of the assignment. All of
them work elementwise on tensors that broadcast, and a log-density is a natural logarithm, in nats.
"""

import contextlib
import io
import math
import os
import socket
import tempfile
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.functional import logsigmoid

try:
    from torchvision.datasets import MNIST
except RuntimeError as error:
    # A torchvision that was built for CUDA cannot load its compiled operators beside a CPU-only
    # torch, and then stops at the first one that it wants to describe. MNIST needs none of them:
    # declaring the two lets the import finish. A matched pair never comes here.
    if "torchvision::nms does not exist" not in str(error):
        raise
    _operators = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from torchvision.datasets import MNIST
from torchvision.datasets.utils import check_integrity, extract_archive

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

    The noise does not depend on the parameters, so the sample is differentiable in both of them:
    d sample / d mean = 1 and d sample / d log_std = sigma * epsilon.

    Shapes: log_std broadcasts to the shape of mean; the sample is like mean, with noise of its
    own for every element.
    Raises: TypeError for anything but floating-point tensors, ValueError for unfit shapes.
    Source: Kingma and Welling, Auto-Encoding Variational Bayes (arXiv 1312.6114), section 2.4.
    """
    _require_float_tensors(mean=mean, log_std=log_std)
    if torch.broadcast_shapes(mean.shape, log_std.shape) != mean.shape:
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
    try:
        torch.broadcast_shapes(*(value.shape for value in arguments.values()))
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
DOWNLOAD_TIMEOUT = 10  # seconds that a mirror may be silent


class Digits(NamedTuple):
    """Handwritten digits: grey images (N, 28, 28) uint8 and labels (N,) int64, in two parts."""

    name: str
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


class EmbeddedDigits(MNIST):
    """The drawn digits in the folder data, in MNIST's format, for torchvision to read as MNIST."""

    folder = HERE / "data"
    resources = [
        ("train-images-idx3-ubyte.gz", "2d0225c60a41a2807a8571210bc80e12"),
        ("train-labels-idx1-ubyte.gz", "55e02653ab45c94e31a901ea7cdb64ad"),
        ("t10k-images-idx3-ubyte.gz", "f69c46f63981fc509694acdb60b9a568"),
        ("t10k-labels-idx1-ubyte.gz", "4d3436bc472bac1a31ac2d1d29f77e50"),
    ]


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
        return _load_mnist(root)
    except RuntimeError as error:
        if dataset == "mnist":
            raise
        print(f"NOT MNIST, but the drawn digits embedded in this project. {error}")
        return _load_embedded_digits()


def _load_mnist(root):
    """Read MNIST from root, after downloading what is missing there."""
    raw = Path(root, "MNIST", "raw")
    try:
        with _socket_timeout(DOWNLOAD_TIMEOUT):
            return _read("MNIST", MNIST, root)
    except (OSError, RuntimeError, HTTPException) as error:
        # torchvision reports each mirror on lines of its own; the last one speaks for all.
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1].rstrip(".")
        advice = "Without a network, put its four .gz files there."
        if isinstance(error, PermissionError):
            advice = "Make the folder writable: MNIST is unpacked there."
        raise RuntimeError(f"MNIST could not be had in {raw}: {reason}. {advice}") from None


def _load_embedded_digits():
    """Verify the embedded digits, unpack them into a temporary folder and read them there."""
    with tempfile.TemporaryDirectory() as root:
        raw = Path(root, "EmbeddedDigits", "raw")
        raw.mkdir(parents=True)
        for name, md5 in EmbeddedDigits.resources:
            file = EmbeddedDigits.folder / name
            if not check_integrity(file, md5):
                raise RuntimeError(f"{file} is missing or damaged; restore it: git checkout data")
            extract_archive(file, raw)
        return _read("embedded digits", EmbeddedDigits, root)


def _read(name, dataset, root):
    """Both parts of a torchvision data set of MNIST's kind, without its progress bars."""
    with contextlib.redirect_stderr(io.StringIO()):
        train = dataset(root, train=True, download=True)
        test = dataset(root, train=False)
    return Digits(name, train.data, train.targets, test.data, test.targets)


@contextlib.contextmanager
def _socket_timeout(seconds):
    """Give up on a network operation after so many seconds; torchvision itself sets no limit."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)
