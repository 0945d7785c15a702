"""The log-densities and their gradients against exact values (mpmath), tails included.

Errors are counted in units in the last place (ulp) of the tensor's own precision. A density is a
handful of elementary operations, each wrong by at most one unit: a form that neither cancels nor
overflows stays within the limits below, any other misses them by orders of magnitude.
"""

import math

import mpmath
import numpy as np
import pytest
import torch

from vae_helpers import bernoulli_log_density, gaussian_log_density

mpmath.mp.dps = 60  # digits

BERNOULLI_ULP = 4
# Dividing by 2 * std**2 rounds std, its square and the quotient, where exp(-2 * log_std) rounds
# once. Over 40,000 points such a form was wrong by up to 5.8 units, the other by up to 3.2.
GAUSSIAN_ULP = 6

precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def exactly(tensor):
    """The tensor's numbers as mpmath numbers, without rounding."""
    return [mpmath.mpf(number) for number in tensor.tolist()]


def ulp_error(computed, exact, scale):
    """The largest distance of a computed number from the exact one, in ulp of its scale."""
    size = torch.tensor([float(abs(number)) for number in scale], dtype=computed.dtype)
    ulp = torch.nextafter(size, torch.full_like(size, math.inf)) - size
    distances = [float(abs(c - e)) for c, e in zip(exactly(computed), exact)]
    return (torch.tensor(distances, dtype=torch.float64) / ulp).max()


def uniform(low, high, n, seed):
    noise = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return low + (high - low) * noise


@precisions
def test_bernoulli_log_density_and_gradient_are_exact(dtype):
    # Logit-means from 1e-6 to 1e4 in size, many of them where float32 underflows.
    size = torch.cat([10 ** uniform(-6, 4, 1000, seed=1), uniform(10, 110, 500, seed=2)])
    y = torch.cat([size, -size]).to(dtype).requires_grad_()
    x = (uniform(0, 1, len(y), seed=3) < 0.5).to(dtype)
    computed = bernoulli_log_density(x, y)
    computed.sum().backward()
    # The probability of x is sigmoid(y) or sigmoid(-y); the gradient is x - sigmoid(y).
    exact = [-mpmath.log1p(mpmath.exp(-number)) for number in exactly((2 * x - 1) * y)]
    gradient = [on - 1 / (1 + mpmath.exp(-number)) for on, number in zip(exactly(x), exactly(y))]
    assert computed.dtype == dtype
    assert ulp_error(computed, exact, scale=exact) <= BERNOULLI_ULP
    assert ulp_error(y.grad, gradient, scale=[1] * len(y)) <= BERNOULLI_ULP


@precisions
def test_gaussian_log_density_and_gradients_are_exact(dtype):
    # log_std in [-20, 20], |z - mean| up to 1,000 standard deviations.
    log_std = uniform(-20, 20, 2000, seed=4)
    deviations = 10 ** uniform(-3, 3, 2000, seed=5)
    deviations[::2] *= -1
    mean = 3 * uniform(-1, 1, 2000, seed=6) * log_std.exp()
    z = mean + deviations * log_std.exp()
    points = [point.to(dtype).requires_grad_() for point in (z, mean, log_std)]
    computed = gaussian_log_density(*points)
    computed.sum().backward()
    exact, largest_term, by_mean, by_log_std, larger_term = [], [], [], [], []
    for z, mean, log_std in zip(*map(exactly, points)):
        std = mpmath.exp(log_std)
        squared = ((z - mean) / std) ** 2
        exact.append(mpmath.log(mpmath.npdf(z, mean, std)))
        # Where terms cancel (a density close to 1), the error is that of rounding the largest.
        largest_term.append(max(abs(exact[-1]), abs(log_std), squared / 2, 0.9))
        by_mean.append((z - mean) / std**2)
        by_log_std.append(squared - 1)
        larger_term.append(max(squared, 1))
    z, mean, log_std = (point.grad for point in points)
    assert computed.dtype == dtype
    assert ulp_error(computed, exact, scale=largest_term) <= GAUSSIAN_ULP
    assert ulp_error(mean, by_mean, scale=by_mean) <= GAUSSIAN_ULP
    assert ulp_error(-z, by_mean, scale=by_mean) <= GAUSSIAN_ULP
    assert ulp_error(log_std, by_log_std, scale=larger_term) <= GAUSSIAN_ULP


GOOD = torch.ones(7, 3)
REFUSED = {
    "do not broadcast": (ValueError, torch.ones(4, 5)),
    "must hold floats, not torch.bool": (TypeError, GOOD.bool()),
    "must be a tensor, not ndarray": (TypeError, np.ones((7, 3))),
}


@pytest.mark.parametrize("arguments", ["x logit_means", "z mean log_std"])
def test_arguments_broadcast_and_what_does_not_fit_is_named(arguments):
    density = bernoulli_log_density if "logit_means" in arguments else gaussian_log_density
    good = {name: GOOD for name in arguments.split()}
    for name in good:
        assert density(**{**good, name: GOOD[0]}).shape == (7, 3)
        for words, (error, bad) in REFUSED.items():
            with pytest.raises(error, match=words) as caught:
                density(**{**good, name: bad})
            shapes = {n: tuple(np.shape(bad if n == name else GOOD)) for n in good}
            assert all(f"{n} has shape {shapes[n]}" in str(caught.value) for n in good)
