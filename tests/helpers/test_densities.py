"""The log-densities against exact values (mpmath, 60 digits), at generic points and in the tails.

Errors are counted in units in the last place (ulp) of the tensor's own precision. A density is a
handful of elementary operations, each wrong by half a unit to one unit: 4 units are what a form
without cancellation keeps, and what a form that cancels or overflows misses by orders of magnitude.
"""

import math

import mpmath
import numpy as np
import pytest
import torch

from vae_helpers import bernoulli_log_density, gaussian_log_density

MAX_ULP = 4
PRECISIONS = {torch.float32: np.float32, torch.float64: np.float64}

precisions = pytest.mark.parametrize("dtype", PRECISIONS, ids=str)


@pytest.fixture(autouse=True)
def sixty_digits():
    with mpmath.workdps(60):
        yield


def exactly(tensor):
    """The tensor's numbers as mpmath numbers, without rounding."""
    return [mpmath.mpf(number) for number in tensor.tolist()]


def ulp_errors(computed, exact, scale=None):
    """Distance of each computed number from the exact one, in ulp of scale (the exact value)."""
    numpy_type = PRECISIONS[computed.dtype]
    scale = exact if scale is None else scale
    units = np.spacing(np.abs(np.array([numpy_type(float(s)) for s in scale]))).astype(float)
    distances = [float(abs(c - e)) for c, e in zip(exactly(computed), exact)]
    return np.array(distances) / units


def uniform(low, high, n, dtype, seed):
    noise = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (low + (high - low) * noise).to(dtype)


# Bernoulli -----------------------------------------------------------------------------------


def logit_means(dtype):
    """Both signs of 6,000 magnitudes from 1e-6 to 1e4, more of them where float32 underflows."""
    magnitudes = torch.cat([10 ** uniform(-6, 4, 4000, dtype, 1), uniform(10, 110, 2000, dtype, 2)])
    return torch.cat([magnitudes, -magnitudes])


@precisions
@pytest.mark.parametrize("x", [0.0, 1.0])
def test_bernoulli_log_density_is_exact_to_4_ulp(dtype, x):
    y = logit_means(dtype)
    computed = bernoulli_log_density(torch.full_like(y, x), y)
    exact = [-mpmath.log1p(mpmath.exp(-number if x else number)) for number in exactly(y)]
    assert computed.dtype == dtype
    assert ulp_errors(computed, exact).max() <= MAX_ULP


@precisions
@pytest.mark.parametrize("x", [0.0, 1.0])
def test_bernoulli_log_density_underflows_to_0(dtype, x):
    y = torch.tensor([760.0, 1e3, 1e4], dtype=dtype) * (1 if x else -1)
    assert (bernoulli_log_density(torch.full_like(y, x), y) == 0).all()


@precisions
@pytest.mark.parametrize("x", [0.0, 1.0])
def test_bernoulli_gradient_is_x_minus_sigmoid(dtype, x):
    y = logit_means(dtype).requires_grad_()
    bernoulli_log_density(torch.full_like(y, x), y).sum().backward()
    exact = [x - 1 / (1 + mpmath.exp(-number)) for number in exactly(y.detach())]
    assert torch.isfinite(y.grad).all()
    errors = np.abs(y.grad.double().numpy() - np.array([float(e) for e in exact]))
    # The gradient is at most 1 in size, and is a quotient of numbers of that size.
    assert errors.max() <= MAX_ULP * torch.finfo(dtype).eps


def test_bernoulli_probabilities_add_up_to_1():
    y = logit_means(torch.float64)
    log_one = bernoulli_log_density(torch.ones_like(y), y)
    log_zero = bernoulli_log_density(torch.zeros_like(y), y)
    total = log_one.exp() + log_zero.exp()
    torch.testing.assert_close(total, torch.ones_like(y), rtol=1e-15, atol=0)


# Gaussian ------------------------------------------------------------------------------------


def gaussian_points(dtype, n=6000):
    """z, mean, log_std: log_std in [-20, 20], |z - mean| up to 1,000 standard deviations."""
    log_std = uniform(-20, 20, n, torch.float64, 3)
    deviations = 10 ** uniform(-3, 3, n, torch.float64, 4)
    deviations[::2] *= -1
    mean = 3 * uniform(-1, 1, n, torch.float64, 5) * log_std.exp()
    z = mean + deviations * log_std.exp()
    return z.to(dtype), mean.to(dtype), log_std.to(dtype)


@precisions
def test_gaussian_log_density_is_exact_to_4_ulp(dtype):
    z, mean, log_std = gaussian_points(dtype)
    exact, largest_term = [], []
    for z_i, m_i, s_i in zip(exactly(z), exactly(mean), exactly(log_std)):
        quadratic = (z_i - m_i) ** 2 / 2 * mpmath.exp(-2 * s_i)
        terms = [-mpmath.log(2 * mpmath.pi) / 2, -s_i, -quadratic]
        exact.append(sum(terms))
        largest_term.append(max(abs(term) for term in terms))
    computed = gaussian_log_density(z, mean, log_std)
    assert computed.dtype == dtype
    # Where the terms cancel (a density near 1) no rounded sum is exact relative to its own value;
    # there the unit is that of the largest term.
    cancels = np.array([abs(e) < t / 2 for e, t in zip(exact, largest_term)])
    assert cancels.mean() < 0.05
    assert ulp_errors(computed, exact)[~cancels].max() <= MAX_ULP
    assert ulp_errors(computed, exact, largest_term)[cancels].max() <= MAX_ULP


@pytest.mark.parametrize("mean, log_std", [(0.37, -3.3), (-41.3, 0.61), (1e5 / 3, 7.9)])
def test_gaussian_integrates_to_1(mean, log_std):
    std = math.exp(log_std)
    z = torch.linspace(mean - 12 * std, mean + 12 * std, 2001, dtype=torch.float64)
    mean, log_std = torch.tensor([mean, log_std], dtype=torch.float64)
    density = gaussian_log_density(z, mean, log_std).exp()
    # The trapezoid rule is exact here up to rounding: some 2,000 roundings of 1e-16 each, and of z
    # itself, which is up to 1e2 standard deviations away from 0.
    assert torch.trapezoid(density, z).item() == pytest.approx(1, abs=1e-11)


@precisions
def test_gaussian_gradients_are_the_hand_derived_ones(dtype):
    points = gaussian_points(dtype)
    exact_z, exact_log_std = [], []
    for z_i, m_i, s_i in zip(*map(exactly, points)):
        exact_z.append(-(z_i - m_i) * mpmath.exp(-2 * s_i))
        exact_log_std.append((z_i - m_i) ** 2 * mpmath.exp(-2 * s_i) - 1)
    z, mean, log_std = (point.requires_grad_() for point in points)
    gaussian_log_density(z, mean, log_std).sum().backward()
    assert ulp_errors(z.grad, exact_z).max() <= MAX_ULP
    assert ulp_errors(mean.grad, [-e for e in exact_z]).max() <= MAX_ULP
    # The two terms of this one, a square and -1, cancel at one standard deviation.
    larger_term = [max(e + 1, 1) for e in exact_log_std]
    assert ulp_errors(log_std.grad, exact_log_std, larger_term).max() <= MAX_ULP


# Both ----------------------------------------------------------------------------------------


def test_densities_broadcast():
    x, y = torch.ones(7, 1), torch.full((3,), 0.3)
    assert bernoulli_log_density(x, y).shape == (7, 3)
    assert gaussian_log_density(x, y, torch.tensor(0.7)).shape == (7, 3)


@pytest.mark.parametrize(
    "density, arguments",
    [
        (bernoulli_log_density, ["x", "logit_means"]),
        (gaussian_log_density, ["z", "mean", "log_std"]),
    ],
    ids=["bernoulli", "gaussian"],
)
@pytest.mark.parametrize(
    "bad, error, words",
    [
        (torch.ones(4, 5), ValueError, "do not broadcast"),
        (torch.ones(7, 3).bool(), TypeError, "must hold floats, not torch.bool"),
        (torch.ones(7, 3).byte(), TypeError, "must hold floats, not torch.uint8"),
        (np.ones((7, 3)), TypeError, "must be a tensor, not ndarray"),
        (0.5, TypeError, "must be a tensor, not float"),
    ],
    ids=["shape", "bool", "uint8", "numpy", "number"],
)
def test_densities_refuse_what_does_not_fit(density, arguments, bad, error, words):
    for culprit in arguments:
        good = {name: torch.full((7, 3), 0.3) for name in arguments}
        with pytest.raises(error, match=words) as caught:
            density(**{**good, culprit: bad})
        assert culprit in str(caught.value)
        for name in arguments:
            shape = tuple(np.shape(bad)) if name == culprit else (7, 3)
            assert f"{name} has shape {shape}" in str(caught.value)
