"""The arrays behind the four pictures. What the pictures look like is for people to judge."""

import math

import numpy as np
import torch
from IPython.utils.capture import capture_output

from . import reference
from .checking import require, require_same, require_shape, require_values
from .samplers import bernoulli_sampler, gaussian_sampler


def array(notebook, name, shape, question=""):
    """The notebook's tensor of this name, which must have this shape and no gradient."""
    tensor = notebook.value(name)
    tensor = torch.as_tensor(tensor) if isinstance(tensor, np.ndarray) else tensor
    require_shape(name, tensor, shape, question)
    gradient = "carries a gradient, which cannot be drawn. Is it inside `with torch.no_grad():`?"
    require(not tensor.requires_grad, f"{name} {gradient}")
    return tensor.to(notebook.DEVICE)


@torch.no_grad()
def logit_means_at(notebook, codes):
    """The logit-means of the pixels at codes (..., Dz): (..., Ddata)."""
    y = notebook.value("decoder")(codes.reshape(-1, notebook.Dz).float())
    return y.reshape(*codes.shape[:-1], notebook.Ddata)


def require_means(name, found, y, more={}):
    """Means of pixels against the sigmoid of the logit-means y.

    more: questions about further mistakes, with their values.
    """
    exact = torch.sigmoid(y)

    def mistakes():
        return {
            "Are these the logit-means, without the sigmoid?": y,
            "Did you apply the sigmoid twice?": torch.sigmoid(exact),
            "Is it tanh, where the sigmoid belongs?": torch.tanh(y),
            "Is it exp, where the sigmoid belongs?": torch.exp(y),
            "Is it a softmax, where the sigmoid belongs?": torch.softmax(y, dim=-1),
            "Are they inverted, black on white: 1 - means?": 1 - exact,
            "Are these the means above a threshold?": (exact > 0.5).to(exact),
            **more,
        }

    require_shape(name, found, exact.shape)
    otherwise = "Are these means at other codes?"
    if ((found == 0) | (found == 1)).all():
        otherwise = "Are these samples, zeros and ones, where their means belong?"
    require_values(name, found, exact, mistakes, otherwise)


def is_correct(sampler, notebook):
    """Whether the student's sampler passes its check; if not, what it draws cannot be judged."""
    try:
        with capture_output():
            sampler(notebook)
    except Exception as error:  # whatever a wrong sampler raises: its own check shows it
        print(f"no verdict on the samples: see checks.samplers() ({type(error).__name__})")
        return False
    return True


@torch.no_grad()
def codes(notebook):
    """means against the encoder's, and labels against those of the same digits."""
    n = notebook.BS
    means = array(notebook, "means", (n, notebook.Dz))
    mean, log_std = notebook.value("encoder")(notebook.binarized_mnist[:n])
    held_out, _ = notebook.value("encoder")(notebook.heldout_mnist[:n])
    grey, _ = grey_codes(notebook, n)
    mistakes = {
        "Are these the log standard deviations?": log_std,
        "Are these the standard deviations?": log_std.exp(),
        "Are these of the held-out digits?": held_out,
        "Are these of the grey digits, where the binarized ones belong?": grey,
        "Are they in another order?": mean.flip(0),
    }
    otherwise = "Are these samples, or of other digits than the first BS?"
    noise = ((means - mean) / log_std.exp()).double()
    if 0.7 < noise.std() < 1.4 and noise.abs().max() < 6:
        otherwise = "Are these samples from q(z | x), where its means belong?"
    require_values("means", means, mean, mistakes, otherwise)
    labels, expected = torch.as_tensor(notebook.labels).cpu(), notebook.digits.train_labels[:n]
    require_shape("labels", labels, (n,))
    otherwise = "Are they of other digits than the first BS, or in another order?"
    mistakes = {"Are these of the held-out digits?": notebook.digits.test_labels[:n].int()}
    require_same("labels", labels.int(), expected.int(), mistakes, otherwise)
    print("ok: labels belong to the same digits")


def grey_codes(notebook, n):
    """The encoder's outputs for grey digits; nan from an encoder that refuses them."""
    try:
        return notebook.value("encoder")(notebook.greyscale_mnist[:n])
    except Exception:  # the encoder may insist on zeros and ones
        nan = torch.full((n, notebook.Dz), math.nan, device=notebook.DEVICE)
        return nan, nan


def prior_samples(notebook):
    """Codes, means and binary samples of picture 2, each against the one before."""
    codes = array(notebook, "prior_codes", (10, notebook.Dz))
    require_prior_codes(notebook, codes)
    print("ok: prior_codes look like draws from the prior")
    y = logit_means_at(notebook, codes)
    require_means("prior_means", array(notebook, "prior_means", y.shape), y)
    means = torch.sigmoid(y)[:, None].expand(10, 3, notebook.Ddata)
    binary_samples(notebook, "prior_samples", means)


def require_prior_codes(notebook, codes):
    values, square = codes.flatten(), (codes**2).mean()
    means = notebook.namespace.get("means")
    if torch.is_tensor(means) and means.shape[-1:] == (notebook.Dz,):
        means = means.reshape(-1, notebook.Dz).to(codes)
        equal = (codes[:, None] == means).all(dim=2).any()
        require(not equal, "prior_codes: these are means of the encoder, no draws from the prior.")
    repeated = "prior_codes: some of the 20 numbers are equal. Are codes or numbers repeated?"
    require(len(values.unique()) == 20, repeated)
    uniform = "Did you use torch.rand, which is uniform, for torch.randn?"
    between = (values >= 0).all() and (values <= 1).all()
    range_of = f"got numbers from {values.min():.3g} to {values.max():.3g}"
    require(not between, f"prior_codes: {range_of}, no draws from N(0, I). {uniform}")
    wrong = f"prior_codes: got the mean square {square:.3g}, expected about 1"
    require(0.125 < square < 3.25, f"{wrong}. Are these draws from the prior, N(0, I)?")


def reconstructions(notebook):
    """Codes, means and binary images of picture 3, each against the one before."""
    originals = array(notebook, "originals", (4, notebook.Ddata))
    digits = notebook.binarized_mnist
    binary = ((originals == 0) | (originals == 1)).all()
    require(binary, "originals: expected digits of binarized_mnist. Are they grey?")
    require(
        all((digits == original).all(dim=1).any() for original in originals)
        and len(originals.unique(dim=0)) == 4,
        "originals: expected four different digits of binarized_mnist. Are they held out, or is "
        "one there twice?",
    )
    codes = array(notebook, "codes", (4, 2, notebook.Dz))
    if is_correct(gaussian_sampler, notebook):
        require_codes(notebook, originals, codes)
    y = logit_means_at(notebook, codes)
    found = array(notebook, "reconstruction_means", y.shape)
    other_order = y.reshape(8, -1)[[0, 2, 4, 6, 1, 3, 5, 7]].reshape(y.shape)
    more = {"Are they in the order of other codes: reshape for permute?": other_order.sigmoid()}
    require_means("reconstruction_means", found, y, more)
    binary_samples(notebook, "reconstructions", torch.sigmoid(y))


@torch.no_grad()
def require_codes(notebook, originals, codes):
    """Two codes for each of four digits, (4, 2, Dz), that can be draws from q(z | x).

    Sixteen numbers tell little. Refused are codes that a mistake makes a million times as probable
    as q does, which happens to correct ones at most once in a million draws; and codes whose noise
    has a mean square as large or small as fewer than one in a million have.
    """
    codes = codes.double()
    mean, s = (
        t.double()[:, None].expand(codes.shape) for t in notebook.value("encoder")(originals)
    )
    if (s.exp() < 1e-4 * (1 + mean.abs())).any():
        return  # single precision leaves no noise to look at
    noise = (codes - mean) / s.exp()
    require(noise.abs().max() > 1e-2, "codes: these are the means of q(z | x), not draws.")
    twice = "codes: both codes of a digit are the same. Draw two: one noise for each."
    require(not (codes[:, 0] == codes[:, 1]).all(dim=1).any(), twice)
    numbers = noise.flatten().sort().values
    again = ((numbers[1:] - numbers[:-1]).abs() <= 1e-4 * numbers[1:].abs()).sum()
    shared = "the same noise in several codes. Does the noise have the shape (4, 2, Dz)?"
    require(again < 3, f"codes: (codes - mean) / exp(log_std) has {shared}")

    def repeated(t):
        return t[:, 0].repeat(2, 1).reshape(codes.shape)

    causes = {  # mean and log standard deviation of the codes
        "Are these draws from the prior?": (0 * mean, 0 * s),
        "Are they in the order of repeat, so that a code belongs to another digit? Use "
        "repeat_interleave or expand.": (repeated(mean), repeated(s)),
        "Is the standard deviation passed, where its log belongs?": (mean, s.exp()),
        "Is the noise not scaled by exp(log_std)?": (mean, 0 * s),
        "Is log_std taken for the log of the variance?": (mean, s / 2),
        "Is the noise scaled by exp(2 log_std), the variance?": (mean, 2 * s),
        "Are mean and log_std exchanged?": (s, mean),
        "Is log_std used where exp(log_std) belongs?": (mean, s.abs().log()),
        "Are these draws of other digits?": (mean.flip(0), s.flip(0)),
        "Is the mean left out?": (0 * mean, s),
    }
    log_density = reference.gaussian_log_density(codes, mean, s).sum()
    gains = {
        question: (reference.gaussian_log_density(codes, *of).sum() - log_density).item()
        for question, of in causes.items()
    }
    largest = max(gains.values())
    likely = [cause for cause, gain in gains.items() if gain > max(largest - math.log(1e3), 0)]
    question = " Or: ".join(likely[:2]) or "Is it mean + exp(log_std) * noise, twice?"
    square = (noise**2).mean()
    require(
        largest < math.log(1e6) and 1 < 16 * square < 60,
        f"codes: (codes - mean) / exp(log_std) has the mean square {square:.3g}, expected about 1. "
        f"{question}",
    )


def binary_samples(notebook, name, means):
    """Binary images against their means (images, samples of each, Ddata)."""
    samples = array(notebook, name, means.shape).float()
    if not is_correct(bernoulli_sampler, notebook):
        return
    require(
        ((samples == 0) | (samples == 1)).all(),
        f"{name}: got numbers between 0 and 1, expected 0 or 1. Are these the means?",
    )
    residuals, variances = samples - means, means * (1 - means)
    if variances.sum(-1).min() < 5:
        print(f"ok: {name} are zeros and ones (the decoder is too sure of them to tell more)")
        return
    wrong = f"{name}: these are not independent draws with those means."
    threshold = f"{wrong} Are these the means above a threshold?"
    require(not torch.equal(samples, (means > 0.5).float()), threshold)
    inverted = f"{wrong} Are they inverted, black on white?"
    require(not torch.equal(samples, (means < 0.5).float()), inverted)
    correlations = torch.corrcoef(residuals.transpose(0, 1).flatten(1)).fill_diagonal_(0).abs()
    is_shared = correlations.max() > 0.3 or pairs(residuals) > 8 * (2 * pairs(variances)).sqrt()
    require(not is_shared, f"{wrong} Is a draw there twice, or the noise of several the same?")
    # Along what tells each image from the others: far below 0 if they are those of other means.
    logits = torch.logit(means, eps=1e-6)
    own = logits - logits.flatten(end_dim=1).mean(dim=0)
    own_score = (residuals * own).sum() / torch.sqrt((variances * own**2).sum())
    require(own_score > -6, f"{wrong} Are they draws with the means of other images?")
    surprise = (residuals**2).sum(-1) / variances.sum(-1)  # of each image; 1 on average
    require(((0.4 < surprise) & (surprise < 2)).all(), wrong)
    print(f"ok: {name} are draws with those means")


def pairs(t):
    """The sum of the products of all pairs of different images in t (..., Ddata)."""
    images = t.flatten(end_dim=-2)
    return (images.sum(dim=0) ** 2 - (images**2).sum(dim=0)).sum()


# Picture 4 ---------------------------------------------------------------------------------------


def turned(what, t):
    """A square array turned in the ways that mistakes leave it, with a question for each."""
    return {
        f"Is {what} upside down?": t.flip(0),
        f"Is {what} mirrored?": t.flip(1),
        f"Is {what} turned by 180 degrees?": t.flip(0, 1),
        f"Is {what} transposed, rows for columns?": t.transpose(0, 1),
    }


def tiled(images):
    """Images (rows, columns, height, width) side by side in one picture."""
    rows, columns, height, width = images.shape
    return images.permute(0, 2, 1, 3).reshape(rows * height, columns * width)


def lattice(notebook):
    """The lattice against the axes, its means against the decoder, the picture against tiles."""
    axis = torch.linspace(-notebook.REACH, notebook.REACH, 50, device=notebook.DEVICE)
    exact = torch.stack([axis.expand(50, 50), axis.flip(0)[:, None].expand(50, 50)], dim=2)
    mistakes = turned("the lattice", exact) | {"Are z_x and z_y exchanged?": exact.flip(2)}
    otherwise = "Does it go from -REACH to REACH, z_x along the columns and z_y up the rows?"
    found = array(notebook, "lattice", (50, 50, notebook.Dz)).to(axis)
    require_values("lattice", found, exact, mistakes, otherwise)

    y, side = logit_means_at(notebook, exact), math.isqrt(notebook.Ddata)
    found = array(notebook, "lattice_means", y.shape).float()
    require_means("lattice_means", found, y, turned("the order of the means", y.sigmoid()))

    images = torch.sigmoid(y).reshape(50, 50, side, side)
    tiles, picture, size = images.permute(2, 3, 0, 1), tiled(images), 50 * side
    lowest, highest = picture.min(), picture.max()

    def mistakes():
        return {
            "Did you leave out permute before reshape?": images.reshape(size, size),
            "Are these bytes, where numbers from 0 to 1 are expected?": (255 * picture).round(),
            "Are these bytes, rounded down, where 0 to 1 is expected?": (255 * picture).floor(),
            "Are these numbers from 0 to 255, where 0 to 1 is expected?": 255 * picture,
            "Is it inverted, black on white: 1 - picture?": 1 - picture,
            "Is it stretched to 0 and 1, as by normalize=True?": (picture - lowest)
            / (highest - lowest),
            **turned("the picture", picture),
            **{q: tiled(t) for q, t in turned("the order of the tiles", images).items()},
            **{q: tiled(t.permute(2, 3, 0, 1)) for q, t in turned("each tile", tiles).items()},
        }

    question = "Is it from make_grid? Pass padding=0 and take one of the three equal channels."
    found = array(notebook, "picture", (size, size), question).float()
    otherwise = "Are these lattice_means, or tiles of another size?"
    if ((found == 0) | (found == 1)).all():
        otherwise = "Are these samples, zeros and ones, where their means belong?"
    require_values("picture", found, picture, mistakes, otherwise)
