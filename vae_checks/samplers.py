"""The two samplers of vae_helpers.py."""

import math

import torch

from .checking import gradients_of, require, require_shape, same

# How many samples the samplers are tried with, in each of three columns. A correct sampler misses a
# bound of six standard errors about once in a hundred million times.
N = 40_000
SIX_STANDARD_ERRORS = 6 / math.sqrt(N)  # of a mean of N numbers with the variance 1


def samplers(notebook):
    """Samples against the moments of their distributions, and the Gaussian one's gradients."""
    gaussian_sampler(notebook)
    bernoulli_sampler(notebook)


def gaussian_sampler(notebook):
    sample_gaussian = notebook.sample_gaussian
    log_std = torch.tensor([-6.1, 0.4, 3.9], device=notebook.DEVICE).double()
    mean, log_std = (
        t.expand(N // 100, 100, 3).clone().requires_grad_()
        for t in (notebook.numbers(3, seed=1030), log_std)
    )
    noise = notebook.noise(1031)
    sample = sample_gaussian(mean, log_std, noise)
    require_shape("sample_gaussian(mean, log_std)", sample, mean.shape)
    require(
        not same(sample, sample_gaussian(mean, log_std, noise))
        and not same(sample_gaussian(mean, log_std), sample_gaussian(mean, log_std)),
        "sample_gaussian draws new noise in each call",
        "sample_gaussian: two calls give the same sample. Is the noise left out, or seeded inside "
        "the sampler?",
    )
    require(
        same(sample, sample_gaussian(mean, log_std, notebook.noise(1031))),
        "it gives the same sample with the same generator",
        "sample_gaussian: the noise does not come from the generator that is passed. Did you write "
        "torch.randn(..., generator=generator)?",
    )
    found = gradients_of(sample.sum(), [mean, log_std])
    exact_gradients = torch.ones_like(mean).detach(), (sample - mean).detach()
    with torch.no_grad():
        require_gaussian(mean, log_std, sample)
    for name, gradient, exact in zip(["mean", "log_std"], found, exact_gradients):
        require(
            same(gradient, exact),
            f"its gradient with respect to {name} is correct",
            f"sample_gaussian: for the first sample the gradient with respect to {name} is "
            f"{gradient[0, 0, 0]:.4g}, expected {exact[0, 0, 0]:.4g}. Is {name} cut off (detach, "
            "no_grad), or the sample not of the form mean + exp(log_std) * noise?",
        )
    mean, one_log_std = mean.detach()[0], torch.zeros_like(mean[0, 0])
    sample = sample_gaussian(mean, one_log_std)
    require_shape("sample_gaussian of mean (100, 3) and log_std (3,)", sample, (100, 3))
    require(
        (sample - mean).unique().numel() > 200,
        "its noise has the shape of mean, also where log_std has a smaller one",
        "sample_gaussian: with mean (100, 3) and log_std (3,) all rows have the same noise. Is it "
        "drawn in the shape of log_std, not of mean?",
    )


def require_gaussian(mean, log_std, sample):
    """The moments of samples in 100 columns of 3, flattened to (N, 3)."""
    flat_mean, flat_log_std, flat = (t.reshape(N, 3) for t in (mean, log_std, sample))
    require(
        (flat[1:] != flat[:-1]).float().mean() > 0.9 and (sample[1:] != sample[:-1]).any(),
        "each sample of a batch has noise of its own",
        "sample_gaussian: samples of a batch have the same noise. Is it drawn in the shape of mean?",
    )
    std, log_std = flat.std(0), flat_log_std[0]
    scales = {
        "exp(2 log_std), the variance": torch.exp(2 * log_std),
        "exp(log_std / 2)": torch.exp(log_std / 2),
        "log_std": log_std.abs(),
        "nothing": torch.ones_like(std),
        "exp(log_std), and uniform on [0, 1]": log_std.exp() / math.sqrt(12),
    }
    close = [scale for scale, s in scales.items() if ((std / s - 1).abs() < 0.1).all()]
    deviation = (std / log_std.exp() - 1).abs()
    worst = deviation.argmax()
    question = f"Is the noise scaled by {close[0]}?" if close else ""
    if close == ["exp(log_std / 2)"]:
        question += " That takes log_std for the logarithm of the variance."
    require(
        deviation[worst] < SIX_STANDARD_ERRORS / math.sqrt(2),
        "its standard deviation is exp(log_std)",
        f"sample_gaussian: for log_std = {log_std[worst]:.3g} the standard deviation is "
        f"{std[worst]:.4g}, expected {log_std[worst].exp():.4g}. {question}".rstrip(),
    )
    epsilon = (flat - flat_mean) / log_std.exp()
    require(
        (epsilon.mean(0).abs() < SIX_STANDARD_ERRORS).all(),
        "its mean is mean",
        f"sample_gaussian: for mean = {flat_mean[0, 0]:.3g} and log_std = {log_std[0]:.3g} the "
        f"samples' mean is {flat[:, 0].mean():.4g}. Is mean added, and the noise centred?",
    )
    require(
        ((epsilon**4).mean(0).sub(3).abs() < SIX_STANDARD_ERRORS * math.sqrt(96)).all()
        and epsilon.abs().max() > 3.5,
        "its noise is normal",
        "sample_gaussian: the noise has the variance of N(0, 1), but not its shape. Is it uniform, "
        "or clamped?",
    )
    require(
        uncorrelated(epsilon),
        "its elements are independent",
        "sample_gaussian: its elements depend on each other. Do the dimensions have the same noise?",
    )


def bernoulli_sampler(notebook):
    sample_bernoulli = notebook.sample_bernoulli
    mean = torch.tensor([0.07, 0.43, 0.88], device=notebook.DEVICE).double()
    mean = mean.expand(N // 100, 100, 3)
    sample = sample_bernoulli(mean, notebook.noise(1032))
    require_shape("sample_bernoulli(mean)", sample, mean.shape)
    require(
        ((sample == 0) | (sample == 1)).all() and sample.is_floating_point(),
        "sample_bernoulli gives the floats 0 and 1",
        f"sample_bernoulli: got {sample.flatten()[:3].tolist()}, expected the floats 0.0 and 1.0. "
        "Is that the mean, or did you leave out the conversion to floats?",
    )
    flat_mean, flat = mean.reshape(N, 3), sample.reshape(N, 3)
    frequency = flat.mean(0)
    require(
        any((column != column[0]).any() for column in flat.T),
        "its samples of the same mean differ",
        "sample_bernoulli: all samples of the same mean are the same. Is the mean compared with "
        "one number, not with uniform noise of its own shape?",
    )
    require(
        torch.equal(sample, sample_bernoulli(mean, notebook.noise(1032)))
        and not torch.equal(sample_bernoulli(mean), sample_bernoulli(mean)),
        "it gives the same sample with the same generator",
        "sample_bernoulli: samples must be new in each call, and the same with the same generator. "
        "Did you write torch.rand(..., generator=generator)?",
    )
    require(
        (sample[1:] != sample[:-1]).any(),
        "each image of a batch has noise of its own",
        "sample_bernoulli: all images of a batch have the same noise. Draw it in the shape of mean.",
    )
    centred = (flat - flat_mean) / torch.sqrt(flat_mean * (1 - flat_mean))
    probabilities = {
        "Is it 1 where the noise is above the mean?": 1 - flat_mean[0],
        "Did you apply a sigmoid? It takes means, not logit-means.": torch.sigmoid(flat_mean[0]),
    }
    questions = [q for q, p in probabilities.items() if ((frequency - p).abs() < 0.03).all()]
    ones = zip(flat_mean[0].tolist(), frequency.tolist())
    require(
        (centred.mean(0).abs() < SIX_STANDARD_ERRORS).all() or one_noise(centred),
        "its samples are 1 with probability mean",
        "sample_bernoulli: "
        + ", ".join(f"for the mean {m:.2f} the frequency of ones is {f:.3f}" for m, f in ones)
        + ". "
        + "".join(questions[:1]),
    )
    require(
        uncorrelated(centred),
        "its elements are independent",
        "sample_bernoulli: its elements depend on each other. Do the pixels, or the images, have "
        "the same noise?",
    )


def one_noise(noise):
    """Whether the columns, or neighbouring rows, share their noise: then a mean tells nothing."""
    return torch.corrcoef(noise.T)[0, 1] > 0.2 or (noise[1:] * noise[:-1]).mean() > 0.2


def uncorrelated(noise):
    """Whether standardized noise (N, 3) is without correlation, across and along its columns."""
    across = torch.corrcoef(noise.T) - torch.eye(3, device=noise.device)
    along = (noise[1:] * noise[:-1]).mean(0)
    return across.abs().max() < SIX_STANDARD_ERRORS and along.abs().max() < SIX_STANDARD_ERRORS
