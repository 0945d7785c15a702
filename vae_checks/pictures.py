"""The arrays behind the four pictures. What the pictures look like is for people to judge."""

import numpy as np
import torch
from IPython.utils.capture import capture_output

from .checking import Ddata, Dz, require, require_same, require_shape, require_values
from .samplers import bernoulli_sampler, gaussian_sampler


def array(notebook, name, shape, question=""):
    """The notebook's tensor of this name, which must have this shape and can be drawn."""
    tensor = getattr(notebook, name)
    tensor = torch.as_tensor(tensor) if isinstance(tensor, np.ndarray) else tensor
    require_shape(name, tensor, shape, question)
    gradient = "carries a gradient, which cannot be drawn. Is it inside `with torch.no_grad():`?"
    require(not tensor.requires_grad, f"{name} {gradient}")
    return tensor.to(notebook.DEVICE)


@torch.no_grad()
def decoded(notebook, codes):
    """The means of the pixels at codes (..., Dz): (..., Ddata)."""
    means = torch.sigmoid(notebook.decoder(codes.reshape(-1, Dz).float()))
    return means.reshape(*codes.shape[:-1], Ddata)


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
    means = array(notebook, "means", (n, Dz))
    mean, log_std = notebook.encoder(notebook.binarized_mnist[:n])
    mistakes = {"Are these the log standard deviations?": log_std}
    otherwise = "Are these samples, or of other digits than the first BS?"
    require_values("means", means, mean, mistakes, otherwise)
    labels, expected = torch.as_tensor(notebook.labels).cpu(), notebook.digits.train_labels[:n]
    require_shape("labels", labels, (n,))
    otherwise = "Are they of other digits than the first BS, or in another order?"
    require_same("labels", labels.int(), expected.int(), {}, otherwise)
    print("ok: labels belong to the same digits")


def require_means(name, found, expected):
    mistakes = {
        "Are these the logit-means, without the sigmoid?": torch.logit(expected.double()),
        "Did you apply the sigmoid twice?": torch.sigmoid(expected),
    }
    require_values(name, found, expected, mistakes, "Are these samples, or means at other codes?")


def prior_samples(notebook):
    """Codes, means and binary samples of picture 2, each against the one before."""
    codes = array(notebook, "prior_codes", (10, Dz))
    n_values, square = len(codes.unique()), (codes**2).mean()
    require(
        ((codes < 0) | (codes > 1)).any() and 0.125 < square < 3.25 and n_values == 20,
        f"prior_codes: got {n_values} different numbers with the mean square {square:.3g}, expected"
        " 20 and about 1. Did you use torch.rand for torch.randn, or repeat codes?",
    )
    print("ok: prior_codes look like draws from the prior")
    means, expected = array(notebook, "prior_means", (10, Ddata)), decoded(notebook, codes)
    require_means("prior_means", means, expected)
    binary_samples(notebook, "prior_samples", means[:, None].expand(10, 3, Ddata))


def reconstructions(notebook):
    """Codes, means and binary images of picture 3, each against the one before."""
    originals, digits = array(notebook, "originals", (4, Ddata)), notebook.binarized_mnist
    require(
        all((digits == original).all(dim=1).any() for original in originals)
        and len(originals.unique(dim=0)) == 4,
        "originals: expected four different digits of binarized_mnist. Are they grey or held out?",
    )
    codes = array(notebook, "codes", (4, 2, Dz))
    with torch.no_grad():
        mean, log_std = notebook.encoder(originals)
    noise = (codes - mean[:, None]) / log_std.exp()[:, None]
    if is_correct(gaussian_sampler, notebook):
        require(
            1 < (noise**2).sum() < 60 and len(noise.round(decimals=4).unique()) > 12,
            f"codes: (codes - mean) / exp(log_std) has the mean square {(noise**2).mean():.3g}, "
            "expected about 1, and other noise in each. Is it mean + exp(log_std) * noise, twice?",
        )
    expected = decoded(notebook, codes)
    found = array(notebook, "reconstruction_means", (4, 2, Ddata))
    require_means("reconstruction_means", found, expected)
    binary_samples(notebook, "reconstructions", expected)


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


def turned(what, t):
    """A square array turned as mistakes leave it, with a question for each."""
    return {
        f"Is {what} upside down?": t.flip(0),
        f"Is {what} mirrored?": t.flip(1),
        f"Is {what} turned by 180 degrees?": t.flip(0, 1),
        f"Is {what} transposed, rows for columns?": t.transpose(0, 1),
    }


def tiled(images):
    """Images (rows, columns, 28, 28) side by side in one picture."""
    return images.permute(0, 2, 1, 3).reshape(1400, 1400)


def lattice(notebook):
    """The lattice against the axes, and the picture against tiles put side by side."""
    axis = torch.linspace(-notebook.REACH, notebook.REACH, 50, device=notebook.DEVICE)
    exact = torch.stack([axis.expand(50, 50), axis.flip(0)[:, None].expand(50, 50)], dim=2)
    mistakes = turned("the lattice", exact) | {"Are z_x and z_y exchanged?": exact.flip(2)}
    otherwise = "Does it go from -REACH to REACH, z_x along the columns and z_y up the rows?"
    found = array(notebook, "lattice", (50, 50, Dz)).to(axis)
    require_values("lattice", found, exact, mistakes, otherwise)
    images = decoded(notebook, exact).reshape(50, 50, 28, 28)
    tiles, picture = images.permute(2, 3, 0, 1), tiled(images)
    mistakes = {
        "Did you leave out permute before reshape?": images.reshape(1400, 1400),
        "Are these bytes, where numbers from 0 to 1 are expected?": (255 * picture).round(),
        **turned("the picture", picture),
        **{q: tiled(t) for q, t in turned("the order of the tiles", images).items()},
        **{q: tiled(t.permute(2, 3, 0, 1)) for q, t in turned("each tile", tiles).items()},
    }
    question = "Is it from make_grid? Pass padding=0 and take one of the three equal channels."
    found = array(notebook, "picture", (1400, 1400), question)
    otherwise = "Are these the means at the lattice, or samples, or tiles of another size?"
    require_values("picture", found, picture, mistakes, otherwise)
