"""The two samplers of vae_helpers.py, and whether numbers are the draws that they should be."""

import math

import torch
from torch.nn.functional import softplus

from .checking import CheckFailed, gradients_of, require, require_same, require_shape, same
from .notebook import require_current

N = 40_000  # samples, in each of three columns

# What draws may be made of if they are not from N(mean, exp(log_std)^2): centre and scale.
OTHER_DRAWS = {
    "Is z drawn from the prior?": lambda m, s: (0 * m, 0 * s + 1),
    "Are q_mean and q_log_std exchanged?": lambda m, s: (s, m.exp()),
    "Is log_std taken for the log of the variance (half of it in exp)?": lambda m, s: (
        m,
        torch.exp(s / 2),
    ),
    "Is log_std used where exp(log_std) belongs?": lambda m, s: (m, s),
    "Is the noise scaled by exp(2 log_std), the variance?": lambda m, s: (m, torch.exp(2 * s)),
    "Is the noise scaled by softplus(log_std), not by exp(log_std)?": lambda m, s: (m, softplus(s)),
    "Is the noise not scaled by exp(log_std)?": lambda m, s: (m, 0 * s + 1),
    "Is exp taken twice, of the standard deviation, too?": lambda m, s: (m, s.exp().exp()),
    "Is the mean left out?": lambda m, s: (0 * m, s.exp()),
    "Is the sign of log_std wrong?": lambda m, s: (m, torch.exp(-s)),
}


def is_noise(numbers):
    """Whether standardized numbers (n, k) have the mean 0 and no correlation.

    Looked at are the correlations of the columns, and those of each row with the next one, with
    the one half of the rows further on, and with the one at the same distance from the other end.
    A correct sampler misses six standard errors about once in a hundred million times.
    """
    half = len(numbers) // 2
    statistics = {
        "means": numbers.mean(dim=0),
        "columns": torch.atleast_2d(torch.corrcoef(numbers.T)).fill_diagonal_(0),
        "neighbours": (numbers[1:] * numbers[:-1]).mean(dim=0),
        "halves": (numbers[:half] * numbers[half : 2 * half]).mean(dim=0),
        "ends": (numbers[:half] * numbers.flip(0)[:half]).mean(dim=0),
    }
    return all(t.abs().max() < 6 / math.sqrt(half) for t in statistics.values())


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
    return has_moments and not has_repeated(numbers) and not is_standardized(numbers)


def has_repeated(numbers):
    """Whether a tenth of the rows (n, k) are there again, up to rounding, perhaps with other signs.

    Of independent rows fewer than one in a hundred is within a thousandth of its neighbour in
    every column.
    """
    if numbers.shape[1] == 1:
        return False  # in one column every number has a close neighbour
    sizes = numbers.abs()
    sizes = sizes[sizes[:, 0].argsort()]
    close = (sizes[1:] - sizes[:-1]).abs() <= 1e-3 * sizes[1:]
    return close.all(dim=1).double().mean() > 0.1


def is_standardized(numbers):
    """Whether mean and variance of numbers (n, k) are closer to 0 and 1 than chance allows.

    Those of all numbers are within a thousandth of their standard errors for one draw in a
    million, those of each of two columns within a hundredth for one in 10^8.
    """

    def within(numbers, part):
        n = len(numbers)
        means, variances = numbers.mean(dim=0), numbers.var(dim=0, correction=0)
        unbiased = numbers.var(dim=0)
        deviations = torch.minimum((variances - 1).abs(), (unbiased - 1).abs())
        return (means.abs() * n**0.5).max() < part and (deviations * (n / 2) ** 0.5).max() < part

    return within(numbers, 1e-2) or within(numbers.reshape(-1, 1), 1e-3)


def require_draws(what, sample, mean, log_std):
    """Samples (n, k) are independent draws from N(mean, exp(log_std)^2)."""
    noise = (sample - mean) / log_std.exp()
    if is_standard_normal(noise):
        return
    means = f"{what} must be draws, got the means. Is the noise left out?"
    require(noise.abs().max() > 1e-3, means)
    one = f"{what} must be independent draws: they have one number for noise, all the same."
    require(noise.std() > 1e-3, f"{one} Noise needs the shape of mean.")
    explained = []
    for question, of in OTHER_DRAWS.items():
        centre, scale = of(mean, log_std)
        if is_standard_normal((sample - centre) / scale):
            explained.append(question)
    if has_repeated(noise):
        repeated = f"{what} must be independent draws, but several have the same noise."
        raise CheckFailed(f"{repeated} Noise needs the shape of mean.")
    if noise.min() >= 0:
        explained.append("Is it torch.rand where torch.randn belongs?")
    if is_standardized(noise):
        explained.append("Is the noise standardized over the batch? Then it is not independent.")
    if is_standard_normal(noise / noise.std()):
        explained.append(f"The noise is scaled by {noise.std():.4g} exp(log_std).")
    columns = zip(noise.T, log_std.expand_as(noise).T)
    moderate = [column for column, s in columns if s.abs().max() < 5]
    if moderate and is_standard_normal(torch.stack(moderate, dim=1)):
        explained.append("Is log_std clamped, or a small number added to the variance?")
    question = [*explained, ""][0]
    raise CheckFailed(
        f"{what} must be independent draws: (z - mean) / exp(log_std) has the mean "
        f"{noise.mean():.3g} and the standard deviation {noise.std():.3g}, expected 0 and 1. "
        f"{question}".strip()
    )


def samplers(notebook):
    """Samples against the moments of their distributions, and the Gaussian one's gradients."""
    require_current(notebook, "sample_gaussian", "sample_bernoulli")
    gaussian_sampler(notebook)
    bernoulli_sampler(notebook)


def gaussian_sampler(notebook):
    """Called as with a batch of means, (400, 100, 3), and one log_std, which broadcasts."""
    sampler, name = notebook.sample_gaussian, "sample_gaussian"
    means = notebook.numbers(3, seed=1030)
    log_std = means.new_tensor([-15.0, 0.4, 15.0]).requires_grad_()
    mean = means.expand(N // 100, 100, 3).clone().requires_grad_()
    require_shape(f"{name}(mean, log_std)", sampler(mean, log_std), mean.shape)
    require_dtype(name, lambda dtype: sampler(mean.to(dtype), log_std.to(dtype)))
    sample = require_generator(name, lambda noise: sampler(mean, log_std, noise), notebook)
    with torch.no_grad():
        for draws in sample, sampler(mean, log_std):
            require_draws(f"{name}(mean, log_std)", draws.reshape(N, 3), means, log_std)
            require_no_groups(name, (draws - mean) / log_std.exp())
    print(f"ok: {name} draws samples with this mean and log standard deviation")
    found = gradients_of(sample.sum(), [mean, log_std])
    exact = torch.ones_like(mean), (sample - mean).detach().sum(dim=(0, 1))
    for argument, slopes, expected in zip(["mean", "log_std"], found, exact):
        what = f"{name}: the gradient with respect to {argument}"
        require_same(what, slopes, expected, {}, f"Is {argument} cut off (detach, no_grad)?")
    print("ok: it is differentiable in both")


def require_no_groups(name, noise):
    """The means over the first dimension of noise (n, ...) scatter as those of independent draws.

    Their squares, in standard errors, add up to their number, up to eight standard deviations.
    """
    squares = (noise.mean(dim=0) ** 2 * len(noise)).flatten()
    scatter = (squares.sum() - len(squares)).abs() / math.sqrt(2 * len(squares))
    standardized = "Is the noise standardized over the batch? Then it is not independent."
    require(scatter < 8, f"{name}: the means over the batch are not those of draws. {standardized}")


def bernoulli_sampler(notebook):
    sampler, name = notebook.sample_bernoulli, "sample_bernoulli"
    mean = notebook.numbers(3, seed=1032).new_tensor([0.07, 0.43, 0.88])
    means = mean.expand(N // 100, 100, 3)
    sample = sampler(means)
    require_shape(f"{name}(mean)", sample, means.shape)
    require(
        ((sample == 0) | (sample == 1)).all() and sample.is_floating_point(),
        f"{name}: got {sample.flatten()[0]:.4g} as {sample.dtype}, expected the floats 0 and 1. Is "
        "it the mean, or not converted to floats?",
    )
    require_dtype(name, lambda dtype: sampler(means.to(dtype)))
    alike = (
        "all samples of the same mean are the same. Is the mean compared with one number for all"
    )
    require((sample != sample[0, 0]).any(), f"{name}: {alike}, not with noise of its shape?")
    sample = require_generator(name, lambda noise: sampler(means, noise), notebook).reshape(N, 3)
    probabilities = {
        "Is it 1 where the noise is above the mean?": 1 - mean,
        "Did you apply a sigmoid? It is given means, not logit-means.": torch.sigmoid(mean),
        "Is it a coin with the probability 1/2?": mean * 0 + 0.5,
        "": mean,
    }
    with torch.no_grad():
        for draws in sample, sampler(means).reshape(N, 3):
            passed = [
                question
                for question, p in probabilities.items()
                if is_noise((draws - p) / (p * (1 - p)).sqrt())
            ]
            require(
                passed == [""],
                f"{name}: must be independent draws with the mean {mean[0]:.3g}, got the frequency "
                f"{draws[:, 0].mean():.3g} of ones. {''.join(passed)}",
            )
    print(f"ok: {name} draws the floats 0 and 1 with these means")


def require_generator(name, draw, notebook):
    """draw(generator) gives new samples in each call, the same with the same generator."""
    noise = notebook.noise(1031)
    sample = draw(noise)
    fixed = "two calls give the same sample. Is the noise left out, or seeded in the sampler?"
    require(not same(sample, draw(noise)) and not same(draw(None), draw(None)), f"{name}: {fixed}")
    other = f"{name}: the noise is not the generator's. Is generator=generator left out?"
    require(same(sample, draw(notebook.noise(1031))), other)
    return sample


def require_dtype(name, draw):
    """draw(dtype) gives samples of this dtype, in single and in double precision."""
    for dtype in (torch.float32, torch.float64):
        found = draw(dtype).dtype
        question = "Is the sample converted, or is the noise of another dtype?"
        require(found == dtype, f"{name}: given {dtype}, it returns {found}. {question}")
