"""The two samplers of vae_helpers.py, and whether numbers are the draws that they should be."""

import math

import torch

from .checking import gradients_of, require, require_same, require_shape, same

N = 40_000  # samples, in each of three columns

# What draws would be made of if they were not from N(mean, exp(log_std)^2): centre and scale.
OTHER_DRAWS = {
    "Is z drawn from the prior?": lambda m, s: (0 * m, 0 * s + 1),
    "Are q_mean and q_log_std exchanged?": lambda m, s: (s, m.exp()),
    "Is the noise scaled by exp(2 log_std), the variance?": lambda m, s: (m, torch.exp(2 * s)),
    "Is log_std taken for the log of the variance?": lambda m, s: (m, torch.exp(s / 2)),
    "Is the noise not scaled by exp(log_std)?": lambda m, s: (m, 0 * s + 1),
    "Is exp taken twice, of the standard deviation, too?": lambda m, s: (m, s.exp().exp()),
}


def is_noise(numbers):
    """Whether standardized numbers (n, k) have the mean 0 and no correlation across or along them.

    A correct sampler misses six standard errors about once in a hundred million times.
    """
    along, across = (numbers[1:] * numbers[:-1]).mean(dim=0), torch.corrcoef(numbers.T)
    statistics = numbers.mean(dim=0), along, across.fill_diagonal_(0)
    return all(t.abs().max() < 6 / math.sqrt(len(numbers)) for t in statistics)


def is_standard_normal(numbers):
    """Whether numbers (n, k) are independent draws from N(0, 1), in both halves of the rows.

    Of all correct draws a part of e^-20 has none that is so large that 20 of them should be.
    """
    bound, n = 6 / math.sqrt(len(numbers) // 2), torch.tensor(numbers.numel() // 2)
    large = math.sqrt(2) * torch.erfinv(1 - 20 / n)
    has_moments = all(
        is_noise(half)
        and ((half**2).mean(dim=0) - 1).abs().max() < math.sqrt(2) * bound
        and ((half**4).mean(dim=0) - 3).abs().max() < math.sqrt(96) * bound
        and half.abs().max() > large
        for half in numbers.chunk(2)
    )
    return has_moments and not has_repeated(numbers)


def has_repeated(numbers):
    """Whether some of the numbers (n, k) stand in several rows, up to rounding."""
    return len(numbers.round(decimals=2).unique(dim=0)) < 0.9 * len(numbers)


def require_draws(what, sample, mean, log_std):
    """Samples (n, k) are independent draws from N(mean, exp(log_std)^2)."""
    noise, question = (sample - mean) / log_std.exp(), ""
    for other, of in OTHER_DRAWS.items():
        centre, scale = of(mean, log_std)
        if is_standard_normal((sample - centre) / scale):
            question = other
    if has_repeated(noise):
        question = "Is the same noise used for several samples? It has the shape of mean."
    elif noise.min() >= 0:
        question = "Is it torch.rand where torch.randn belongs?"
    require(
        is_standard_normal(noise),
        f"{what} must be independent draws: (z - mean) / exp(log_std) has the mean "
        f"{noise.mean():.3g} and the standard deviation {noise.std():.3g}, expected 0 and 1. "
        f"{question}",
    )


def require_generator(name, draw, notebook):
    """draw(generator) gives new samples in each call, the same with the same generator."""
    noise = notebook.noise(1031)
    sample = draw(noise)
    fixed = "two calls give the same sample. Is the noise left out, or seeded in the sampler?"
    require(not same(sample, draw(noise)) and not same(draw(None), draw(None)), f"{name}: {fixed}")
    other = f"{name}: the noise is not the generator's. Is generator=generator left out?"
    require(same(sample, draw(notebook.noise(1031))), other)
    return sample


def require_single(name, sample):
    other = f"{name}: given float32, it returns {sample.dtype}. Is it converted, or is the noise?"
    require(sample.dtype == torch.float32, other)


def samplers(notebook):
    """Samples against the moments of their distributions, and the Gaussian one's gradients."""
    gaussian_sampler(notebook)
    bernoulli_sampler(notebook)


def gaussian_sampler(notebook):
    """Called as with a batch of means, (400, 100, 3), and one log_std, which broadcasts."""
    sampler, name = notebook.sample_gaussian, "sample_gaussian"
    means = notebook.numbers(3, seed=1030)
    log_std = means.new_tensor([-6.1, 0.4, 3.9]).requires_grad_()
    mean = means.expand(N // 100, 100, 3).clone().requires_grad_()
    require_shape(f"{name}(mean, log_std)", sampler(mean, log_std), mean.shape)
    require_single(name, sampler(mean.float(), log_std.float()))
    sample = require_generator(name, lambda noise: sampler(mean, log_std, noise), notebook)
    with torch.no_grad():
        require_draws(f"{name}(mean, log_std)", sample.reshape(N, 3), means, log_std)
    print(f"ok: {name} draws samples with this mean and log standard deviation")
    found = gradients_of(sample.sum(), [mean, log_std])
    exact = torch.ones_like(mean), (sample - mean).detach().sum(dim=(0, 1))
    for argument, slopes, expected in zip(["mean", "log_std"], found, exact):
        what = f"{name}: the gradient with respect to {argument}"
        require_same(what, slopes, expected, {}, f"Is {argument} cut off (detach, no_grad)?")
    print("ok: it is differentiable in both")


def bernoulli_sampler(notebook):
    sampler, name = notebook.sample_bernoulli, "sample_bernoulli"
    mean = notebook.numbers(3, seed=1032).new_tensor([0.07, 0.43, 0.88])
    means = mean.expand(N // 100, 100, 3)
    sample = sampler(means)
    require_shape(f"{name}(mean)", sample, means.shape)
    require_single(name, sampler(means.float()))
    require(
        ((sample == 0) | (sample == 1)).all() and sample.is_floating_point(),
        f"{name}: got {sample.flatten()[0]:.4g} as {sample.dtype}, expected the floats 0 and 1. Is "
        "it the mean, or not converted to floats?",
    )
    alike = (
        "all samples of the same mean are the same. Is the mean compared with one number for all"
    )
    require((sample != sample[0, 0]).any(), f"{name}: {alike}, not with noise of its shape?")
    sample = require_generator(name, lambda noise: sampler(means, noise), notebook).reshape(N, 3)
    probabilities = {
        "Is it 1 where the noise is above the mean?": 1 - mean,
        "Did you apply a sigmoid? It is given means, not logit-means.": torch.sigmoid(mean),
        "": mean,
    }
    passed = [q for q, p in probabilities.items() if is_noise((sample - p) / (p * (1 - p)).sqrt())]
    require(
        passed == [""],
        f"{name}: must be independent draws with the mean {mean[0]:.3g}, got the frequency "
        f"{sample[:, 0].mean():.3g} of ones. {''.join(passed)}",
    )
    print(f"ok: {name} draws the floats 0 and 1 with these means")
