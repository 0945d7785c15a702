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
        f"{name}: two calls give the same sample. Is the noise left out, or seeded in the sampler?",
    )
    require(
        same(sample, sampler(mean, log_std, notebook.noise(1031))),
        f"{name}: the noise is not the generator's. Is it torch.randn(..., generator=generator)?",
    )
    with torch.no_grad():
        require_gaussian(name, *(t.reshape(N, 3) for t in (mean, log_std, sample)))
        rows = sampler(mean[0], torch.zeros_like(mean[0, 0])) - mean[0]
    print(f"ok: {name} draws samples with this mean and log standard deviation")
    found = gradients_of(sample.sum(), [mean, log_std])
    exact = torch.ones_like(mean).detach(), (sample - mean).detach()
    for argument, slopes, expected in zip(["mean", "log_std"], found, exact):
        require(
            same(slopes, expected),
            f"{name}: the gradient with respect to {argument} is {slopes[0, 0, 0]:.4g}, expected "
            f"{expected[0, 0, 0]:.4g}. Is {argument} cut off (detach, no_grad)?",
        )
    print("ok: it is differentiable in both")
    require(
        rows.shape == (100, 3) and rows.unique().numel() > 200,
        f"{name}: with mean (100, 3) and log_std (3,) the rows get the same noise. Is it drawn in "
        "the shape of log_std, not of mean?",
    )


def require_gaussian(name, mean, log_std, sample):
    """The moments of samples in three columns, (N, 3); each row of 100 belongs to one batch."""
    repeated = (sample[1:] == sample[:-1]).float().mean() > 0.1
    require(
        not repeated and not torch.equal(sample[:100], sample[100:200]),
        f"{name}: samples of a batch get the same noise. Is it drawn in the shape of mean?",
    )
    mean, log_std, std = mean[0], log_std[0], sample.std(0)
    scales = {
        "Is the noise scaled by exp(2 log_std), the variance?": torch.exp(2 * log_std),
        "Is log_std taken for the log of the variance, exp(log_std / 2)?": torch.exp(log_std / 2),
        "Is the noise scaled by log_std itself?": log_std.abs(),
        "Is the noise not scaled?": torch.ones_like(std),
        "Is the noise uniform, torch.rand for torch.randn?": log_std.exp() / math.sqrt(12),
    }
    questions = [q for q, scale in scales.items() if ((std / scale - 1).abs() < 0.1).all()]
    deviation = (std / log_std.exp() - 1).abs()
    worst = deviation.argmax()
    require(
        deviation[worst] < SIX_STANDARD_ERRORS / math.sqrt(2),
        f"{name}: for log_std = {log_std[worst]:.3g} the standard deviation is {std[worst]:.4g}, "
        f"expected {log_std[worst].exp():.4g}. {''.join(questions[:1])}",
    )
    noise = (sample - mean) / log_std.exp()
    require(
        (noise.mean(0).abs() < SIX_STANDARD_ERRORS).all(),
        f"{name}: for mean = {mean[0]:.3g} the samples' mean is {sample[:, 0].mean():.4g}. Is mean "
        "added, and the noise centred?",
    )
    kurtosis = (noise**4).mean(0) - 3
    require(
        (kurtosis.abs() < SIX_STANDARD_ERRORS * math.sqrt(96)).all() and noise.abs().max() > 3.5,
        f"{name}: the noise has the variance of N(0, 1), not its shape. Is it uniform, or clamped?",
    )
    require(
        uncorrelated(noise),
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
        f"{name}: got {sample.flatten()[0]:.4g} as {sample.dtype}, expected the floats 0 and 1. Is "
        "it the mean, or not converted to floats?",
    )
    require(
        (sample != sample[0, 0]).any(),
        f"{name}: all samples of the same mean are the same. Is the mean compared with one number "
        "for all, not with uniform noise of its shape?",
    )
    require(
        torch.equal(sample, sampler(means, notebook.noise(1032)))
        and not torch.equal(sampler(means), sampler(means)),
        f"{name}: samples must be new in each call, and the same with the same generator. Is it "
        "torch.rand(..., generator=generator)?",
    )
    flat = sample.reshape(N, 3)
    noise, frequency = (flat - mean) / torch.sqrt(mean * (1 - mean)), flat.mean(0)
    require(
        (sample[1:] != sample[:-1]).any() and uncorrelated(noise),
        f"{name}: its elements depend on each other. Do pixels, or images, get the same noise?",
    )
    probabilities = {
        "Is it 1 where the noise is above the mean?": 1 - mean,
        "Did you apply a sigmoid? It is given means, not logit-means.": torch.sigmoid(mean),
    }
    questions = [q for q, p in probabilities.items() if ((frequency - p).abs() < 0.03).all()]
    require(
        (noise.mean(0).abs() < SIX_STANDARD_ERRORS).all(),
        f"{name}: for the mean {mean[0]:.2f} the frequency of ones is {frequency[0]:.3f}. "
        + "".join(questions),
    )
    print(f"ok: {name} draws the floats 0 and 1 with these means")


def uncorrelated(noise):
    """Whether standardized noise (N, 3) is without correlation, across and along its columns."""
    noise = noise - noise.mean(0)
    across = torch.corrcoef(noise.T) - torch.eye(3, device=noise.device)
    along = (noise[1:] * noise[:-1]).mean(0)
    return across.abs().max() < SIX_STANDARD_ERRORS and along.abs().max() < SIX_STANDARD_ERRORS
