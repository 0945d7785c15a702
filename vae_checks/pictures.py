"""The arrays behind the four pictures. What the pictures look like is for people to judge."""

import torch
from IPython.utils.capture import capture_output

from .checking import CheckFailed, require, require_shape, require_values
from .reference import Ddata, Dz
from .samplers import bernoulli_sampler, gaussian_sampler


def array(notebook, name, shape, clue=""):
    """The notebook's tensor of this name, which must have this shape and can be drawn."""
    tensor = getattr(notebook, name)
    require_shape(name, tensor, shape, clue)
    if tensor.requires_grad:
        raise CheckFailed(
            f"{name}: it still carries a gradient, and matplotlib cannot draw that. Compute it "
            "inside `with torch.no_grad():`."
        )
    return tensor.to(notebook.DEVICE)


@torch.no_grad()
def encoded(notebook, x):
    return notebook.encoder(x)


@torch.no_grad()
def decoded(notebook, codes):
    """The means of the pixels at codes (..., Dz): (..., Ddata)."""
    logit_means = notebook.decoder(codes.reshape(-1, Dz).float())
    return torch.sigmoid(logit_means).reshape(*codes.shape[:-1], Ddata)


def is_correct(sampler, notebook):
    """Whether the student's sampler passes its own check; what it draws tells nothing if not."""
    try:
        with capture_output():
            sampler(notebook)
    except Exception:  # a wrong sampler may raise anything; check-samplers shows it
        return False
    return True


def codes(notebook):
    """means against the encoder's, and labels against those of the same digits."""
    n = notebook.BS
    means = array(notebook, "means", (n, Dz))
    mean, log_std = encoded(notebook, notebook.binarized_mnist[:n])
    question = "Are these samples, or other digits than the first BS?"
    require_values(
        "means", means, mean, {"Are these the log standard deviations?": log_std}, question
    )
    labels, expected = torch.as_tensor(notebook.labels).cpu(), notebook.digits.train_labels[:n]
    require(
        torch.equal(labels, expected),
        "labels belong to the same digits as means",
        f"labels: got {labels.flatten()[:8].tolist()}..., expected {expected[:8].tolist()}..., "
        "those of the first BS training digits. Are they of other digits, or in another order?",
    )


def prior_samples(notebook):
    """Codes, means and binary samples of picture 2, each against the one before."""
    codes = array(notebook, "prior_codes", (10, Dz))
    require(
        ((codes < 0) | (codes > 1)).any()
        and 2.5 < (codes**2).sum() < 65
        and len(codes.unique()) == 20,
        "prior_codes look like draws from the prior",
        f"prior_codes: the mean of their squares is {(codes**2).mean():.3g}, expected about 1, and "
        f"{len(codes.unique())} of 20 numbers differ. Did you use torch.rand for torch.randn, or "
        "repeat numbers?",
    )
    means = array(notebook, "prior_means", (10, Ddata))
    expected = decoded(notebook, codes)
    mistakes = {
        "Are these the logit-means, without the sigmoid?": torch.logit(expected.double()),
        "Did you apply the sigmoid twice?": torch.sigmoid(expected),
    }
    otherwise = "Are these samples, or the means at other codes than prior_codes?"
    require_values("prior_means", means, expected, mistakes, otherwise)
    binary_samples(notebook, "prior_samples", means[:, None].expand(10, 3, Ddata))


def reconstructions(notebook):
    """Codes, means and binary images of picture 3, each against the one before."""
    originals = array(notebook, "originals", (4, Ddata))
    digits = notebook.binarized_mnist
    require(
        all((digits == original).all(dim=1).any() for original in originals)
        and len(originals.unique(dim=0)) == 4,
        "originals are four of the binarized digits",
        "originals: expected four different digits of binarized_mnist. Are they grey, held-out, or "
        "the same?",
    )
    codes = array(notebook, "codes", (4, 2, Dz))
    mean, log_std = encoded(notebook, originals)
    noise = (codes - mean[:, None]) / log_std.exp()[:, None]
    if is_correct(gaussian_sampler, notebook):
        require(
            1 < (noise**2).sum() < 60 and len(noise.round(decimals=4).unique()) > 12,
            "codes are two draws from q(z | x) for each digit",
            "codes: (codes - mean) / exp(log_std) has the mean square "
            f"{(noise**2).mean():.3g}, expected about 1, in two different draws for each digit. Are "
            "they mean + exp(log_std) * noise, with the mean and log_std of these digits?",
        )
    else:
        print("no verdict on codes: sample_gaussian itself fails its check")
    means = array(notebook, "reconstruction_means", (4, 2, Ddata))
    expected = decoded(notebook, codes)
    mistakes = {"Are these the logit-means, without the sigmoid?": torch.logit(expected.double())}
    otherwise = "Are they other than the sigmoid of the decoder's outputs at codes?"
    require_values("reconstruction_means", means, expected, mistakes, otherwise)
    binary_samples(notebook, "reconstructions", expected)


def binary_samples(notebook, name, means):
    """Binary images against their means (images, samples of each, Ddata)."""
    samples = array(notebook, name, means.shape).float()
    if not is_correct(bernoulli_sampler, notebook):
        print(f"no verdict on {name}: sample_bernoulli itself fails its check")
        return
    require(
        ((samples == 0) | (samples == 1)).all(),
        f"{name} are zeros and ones",
        f"{name}: got {samples[(samples != 0) & (samples != 1)][:1].tolist()}, expected 0 or 1. Are "
        "these the means?",
    )
    residuals, variances = samples - means, means * (1 - means)
    z_score = residuals.sum() / torch.sqrt(variances.sum())
    # Along what tells each image from the others: far below 0 if they are those of other means.
    logits = torch.logit(means, eps=1e-6)
    own = logits - logits.flatten(end_dim=1).mean(dim=0)
    own_score = (residuals * own).sum() / torch.sqrt((variances * own**2).sum())
    surprise = (residuals**2).sum(-1) / variances.sum(-1)  # of each image; 1 on average
    correlations = torch.corrcoef(residuals.transpose(0, 1).flatten(1))
    correlations -= torch.eye(len(correlations), device=correlations.device)
    question = ""
    if surprise.max() < 0.6 and torch.equal(samples, (means > 0.5).float()):
        question = "Are these the means above a threshold?"
    elif correlations.max() > 0.99:
        question = "Is the same draw there more than once?"
    elif own_score <= -6:
        question = "Are they draws with the means of other images?"
    require(
        abs(z_score) < 6
        and own_score > -6
        and ((0.4 < surprise) & (surprise < 2)).all()
        and correlations.abs().max() < 0.3,
        f"{name} are draws with those means",
        f"{name}: they are not independent draws with those means. {question}".rstrip(),
    )


def lattice(notebook):
    """The lattice against the axes, and the picture against tiles put side by side."""
    reach, device = notebook.REACH, notebook.DEVICE
    axis = torch.linspace(-reach, reach, 50, device=device)
    exact = torch.stack([axis.expand(50, 50), axis.flip(0)[:, None].expand(50, 50)], dim=2)
    mistakes = named(turned(exact), "the lattice")
    mistakes["Are z_x and z_y exchanged?"] = exact.flip(2)
    otherwise = "Does it go from -REACH to REACH, z_x along the columns and z_y up the rows?"
    found = array(notebook, "lattice", (50, 50, Dz))
    require_values("lattice", found.to(axis), exact, mistakes, otherwise)
    images = decoded(notebook, exact).reshape(50, 50, 28, 28)
    picture = tiled(images)
    mistakes = {
        "Did you reshape without permute? Each tile is a strip of pixels then.": images.reshape(
            1400, 1400
        ),
        "Are these bytes, where numbers from 0 to 1 are expected?": (255 * picture).round(),
        "Are black and white exchanged?": 1 - picture,
        "Are these the logit-means, without the sigmoid?": torch.logit(picture.double()),
        **named(turned(picture), "the whole picture"),
        **named({turn: tiled(t) for turn, t in turned(images).items()}, "the order of the tiles"),
        **named(
            {
                turn: tiled(t.permute(2, 3, 0, 1))
                for turn, t in turned(images.permute(2, 3, 0, 1)).items()
            },
            "each tile",
        ),
    }
    found = array(notebook, "picture", (1400, 1400), about_size(notebook))
    question = "Are these the means at the lattice, a tile of 28 x 28 pixels for each code?"
    if ((found == 0) | (found == 1)).all():
        question = "Are these binary samples, not the means?"
    require_values("picture", found, picture, mistakes, question)


def tiled(images):
    """Images (rows, columns, 28, 28) side by side in one picture."""
    return torch.cat([torch.cat([*row], dim=1) for row in images])


def turned(t):
    """A square array with its rows and columns as a mistake may have them."""
    across = t.transpose(0, 1)
    return {
        "upside down": t.flip(0),
        "left for right": t.flip(1),
        "turned by 180 degrees": t.flip(0, 1),
        "transposed (rows for columns)": across,
        "transposed and upside down": across.flip(0),
        "transposed and left for right": across.flip(1),
        "transposed and turned by 180 degrees": across.flip(0, 1),
    }


def named(arrays, what):
    return {f"Is {what} {turn}?": values for turn, values in arrays.items()}


def about_size(notebook):
    """What a picture of another size than 1400 x 1400 may come from."""
    shape = tuple(notebook.picture.shape)
    if 1502 in shape or 3 in shape:
        return (
            "If it comes from make_grid: pass padding=0, and take one of its three channels, which "
            "are all the same."
        )
    return "Is something added around the tiles, or left out?"
