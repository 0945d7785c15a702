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
    sampler, name = notebook.sample_gaussian, "sample_gaussian"
    log_std = torch.tensor([-6.1, 0.4, 3.9], device=notebook.DEVICE).double()
    mean, log_std = (
        t.expand(N // 100, 100, 3).clone().requires_grad_()
        for t in (notebook.numbers(3, seed=1030), log_std)
    )
    noise = notebook.noise(1031)
    sample = sampler(mean, log_std, noise)
    require_shape(f"{name}(mean, log_std)", sample, mean.shape)
    require(
        not same(sample, sampler(mean, log_std, noise))
        and not same(sampler(mean, log_std), sampler(mean, log_std)),
        f"{name} draws new noise in each call",
        f"{name}: two calls give the same sample. Is the noise left out, or seeded in the sampler?",
    )
    require(
        same(sample, sampler(mean, log_std, notebook.noise(1031))),
        "it gives the same sample with the same generator",
        f"{name}: the noise is not the generator's. Is it torch.randn(..., generator=generator)?",
    )
    found = gradients_of(sample.sum(), [mean, log_std])
    exact = [torch.ones_like(mean).detach(), (sample - mean).detach()]
    with torch.no_grad():
        require_gaussian(name, *(t.reshape(N, 3) for t in (mean, log_std, sample)))
        rows = sampler(mean[0], torch.zeros_like(mean[0, 0]))
    for argument, slopes, exact_slopes in zip(["mean", "log_std"], found, exact):
        require(
            same(slopes, exact_slopes),
            f"its gradient with respect to {argument} is correct",
            f"{name}: the gradient with respect to {argument} is {slopes[0, 0, 0]:.4g}, expected "
            f"{exact_slopes[0, 0, 0]:.4g}. Is {argument} cut off (detach, no_grad)?",
        )
    require_shape(f"{name} of mean (100, 3) and log_std (3,)", rows, (100, 3))
    require(
        (rows - mean[0]).unique().numel() > 200,
        "its noise has the shape of mean, also where log_std has another",
        f"{name}: with mean (100, 3) and log_std (3,) all rows get the same noise. Is it drawn in "
        "the shape of log_std?",
    )


def require_gaussian(name, mean, log_std, sample):
    """The moments of samples in three columns, (N, 3); each row of 100 belongs to one batch."""
    neighbours = (sample[1:] != sample[:-1]).float().mean()
    require(
        neighbours > 0.9 and not torch.equal(sample[:100], sample[100:200]),
        "each sample of a batch has noise of its own",
        f"{name}: samples of a batch get the same noise. Is it drawn in the shape of mean?",
    )
    mean, log_std, std = mean[0], log_std[0], sample.std(0)
    scales = {
        "Is the noise scaled by exp(2 log_std), the variance?": torch.exp(2 * log_std),
        "Is it scaled by exp(log_std / 2), with log_std taken for the log of the variance?": (
            torch.exp(log_std / 2)
        ),
        "Is the noise scaled by log_std itself?": log_std.abs(),
        "Is the noise not scaled?": torch.ones_like(std),
        "Is the noise uniform, torch.rand for torch.randn?": log_std.exp() / math.sqrt(12),
    }
    questions = [q for q, scale in scales.items() if ((std / scale - 1).abs() < 0.1).all()]
    deviation = (std / log_std.exp() - 1).abs()
    worst = deviation.argmax()
    require(
        deviation[worst] < SIX_STANDARD_ERRORS / math.sqrt(2),
        "its standard deviation is exp(log_std)",
        f"{name}: for log_std = {log_std[worst]:.3g} the standard deviation is {std[worst]:.4g}, "
        f"expected {log_std[worst].exp():.4g}. {''.join(questions[:1])}",
    )
    noise = (sample - mean) / log_std.exp()
    require(
        (noise.mean(0).abs() < SIX_STANDARD_ERRORS).all(),
        "its mean is mean",
        f"{name}: for mean = {mean[0]:.3g} the samples' mean is {sample[:, 0].mean():.4g}. Is mean "
        "added, and the noise centred?",
    )
    require(
        ((noise**4).mean(0).sub(3).abs() < SIX_STANDARD_ERRORS * math.sqrt(96)).all()
        and noise.abs().max() > 3.5,
        "its noise is normal",
        f"{name}: the noise has the variance of N(0, 1), not its shape. Is it uniform, or clamped?",
    )
    require(
        uncorrelated(noise),
        "its elements are independent",
        f"{name}: its elements depend on each other. Do the dimensions get the same noise?",
    )


def bernoulli_sampler(notebook):
    sampler, name = notebook.sample_bernoulli, "sample_bernoulli"
    mean = torch.tensor([0.07, 0.43, 0.88], device=notebook.DEVICE).double()
    means = mean.expand(N // 100, 100, 3)
    sample = sampler(means, notebook.noise(1032))
    require_shape(f"{name}(mean)", sample, means.shape)
    require(
        ((sample == 0) | (sample == 1)).all() and sample.is_floating_point(),
        f"{name} gives the floats 0 and 1",
        f"{name}: got {sample.flatten()[0]:.4g} as {sample.dtype}, expected the floats 0 and 1. Is "
        "it the mean, or not converted to floats?",
    )
    require(
        (sample != sample[0, 0]).any(),
        "its samples of the same mean differ",
        f"{name}: all samples of the same mean are the same. Is the mean compared with one number "
        "for all, not with uniform noise of its shape?",
    )
    require(
        torch.equal(sample, sampler(means, notebook.noise(1032)))
        and not torch.equal(sampler(means), sampler(means)),
        "it gives the same sample with the same generator",
        f"{name}: samples must be new in each call, and the same with the same generator. Is it "
        "torch.rand(..., generator=generator)?",
    )
    flat = sample.reshape(N, 3)
    noise, frequency = (flat - mean) / torch.sqrt(mean * (1 - mean)), flat.mean(0)
    require(
        (sample[1:] != sample[:-1]).any() and uncorrelated(noise),
        "its elements are independent",
        f"{name}: its elements depend on each other. Do the pixels, or the images, get the same "
        "noise?",
    )
    probabilities = {
        "Is it 1 where the noise is above the mean?": 1 - mean,
        "Did you apply a sigmoid? It is given means, not logit-means.": torch.sigmoid(mean),
    }
    questions = [q for q, p in probabilities.items() if ((frequency - p).abs() < 0.03).all()]
    require(
        (noise.mean(0).abs() < SIX_STANDARD_ERRORS).all(),
        "its samples are 1 with probability mean",
        f"{name}: for the mean {mean[0]:.2f} the frequency of ones is {frequency[0]:.3f}. "
        + "".join(questions),
    )


def uncorrelated(noise):
    """Whether standardized noise (N, 3) is without correlation, across and along its columns."""
    noise = noise - noise.mean(0)
    across = torch.corrcoef(noise.T) - torch.eye(3, device=noise.device)
    along = (noise[1:] * noise[:-1]).mean(0)
    return across.abs().max() < SIX_STANDARD_ERRORS and along.abs().max() < SIX_STANDARD_ERRORS
