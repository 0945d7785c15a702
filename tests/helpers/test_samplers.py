"""The samplers: seeded, one noise for each element, right moments, right gradients.

A moment's tolerance is 5 standard errors of its Monte Carlo estimate. The noise is seeded, so a
test passes always or never; with another seed a right sampler would fail once in a million runs.
"""

import math

import numpy as np
import pytest
import torch

from vae_helpers import sample_bernoulli, sample_gaussian

N = 400_000


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def parameters(shape=(7, 3)):
    """Generic means and log standard deviations."""
    mean = torch.randn(shape, generator=seeded(1))
    log_std = 0.8 * torch.randn(shape, generator=seeded(2)) - 0.3
    return mean, log_std


def assert_moment(values, expected):
    """The mean of values is the expected one within 5 of its standard errors."""
    standard_error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - expected) < 5 * standard_error


def test_sample_gaussian_has_the_moments_of_the_gaussian():
    mean, log_std = torch.tensor(0.7, dtype=torch.float64), torch.tensor(-0.9, dtype=torch.float64)
    sample = sample_gaussian(mean.expand(N), log_std.expand(N), seeded(3))
    standardized = (sample - 0.7) / math.exp(-0.9)
    # The moments of N(0, 1); the fourth tells it from any noise that is only scaled rightly.
    for power, expected in [(1, 0), (2, 1), (3, 0), (4, 3)]:
        assert_moment(standardized**power, expected)


def test_sample_gaussian_gradient_is_the_hand_derived_one():
    mean, log_std = (t.double().requires_grad_() for t in parameters())
    sample = sample_gaussian(mean, log_std, seeded(4))
    weights = torch.randn(sample.shape, generator=seeded(5), dtype=torch.float64)
    (weights * sample).sum().backward()
    noise = (sample - mean).detach()  # sigma * epsilon
    torch.testing.assert_close(mean.grad, weights)
    torch.testing.assert_close(log_std.grad, weights * noise)
    assert (noise != 0).all()


def test_sample_bernoulli_has_the_mean_asked_for():
    for mean in (0.03, 0.37, 0.92):
        sample = sample_bernoulli(torch.full((N,), mean), seeded(6))
        assert set(sample.unique().tolist()) == {0.0, 1.0}
        assert_moment(sample.double(), mean)


def test_sample_bernoulli_is_certain_at_0_and_1():
    mean = torch.tensor([0.0, 1.0]).expand(N, 2)
    assert (sample_bernoulli(mean, seeded(7)) == mean).all()


@pytest.mark.parametrize(
    "sample",
    [
        lambda generator: sample_gaussian(*parameters(), generator),
        lambda generator: sample_bernoulli(torch.sigmoid(parameters((70, 3))[0]), generator),
    ],
    ids=["gaussian", "bernoulli"],
)
def test_samples_follow_the_generator(sample):
    assert torch.equal(sample(seeded(8)), sample(seeded(8)))
    assert not torch.equal(sample(seeded(8)), sample(seeded(9)))
    generator = seeded(8)
    assert not torch.equal(sample(generator), sample(generator))
    torch.manual_seed(8)
    untouched = torch.get_rng_state()
    sample(seeded(9))
    assert torch.equal(torch.get_rng_state(), untouched)
    torch.manual_seed(8)
    first = sample(None)
    torch.manual_seed(8)
    assert torch.equal(sample(None), first)


def test_noise_is_of_its_own_for_every_element():
    shape = (500, 7, 3)
    zero = torch.zeros(shape, dtype=torch.float64)
    noise = sample_gaussian(zero, torch.zeros(3, dtype=torch.float64), seeded(10))
    assert len(noise.unique()) == noise.numel()
    # Expanded means share memory, the noise must not: 21 columns, each of 500 coin throws.
    coins = sample_bernoulli(torch.tensor(0.5).expand(shape), seeded(11)).flatten(1)
    assert len(coins.unique(dim=1).T) == 21


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_samples_are_like_the_mean(dtype):
    mean = torch.full((7, 3), 0.3, dtype=dtype)
    for sample in (sample_gaussian(mean, mean[:1]), sample_bernoulli(mean)):
        assert (sample.shape, sample.dtype) == (mean.shape, dtype)


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        (
            dict(mean=torch.ones(7, 3), log_std=torch.ones(4, 3)),
            ValueError,
            r"do not broadcast: mean has shape \(7, 3\), log_std has shape \(4, 3\)",
        ),
        (
            dict(mean=torch.ones(3), log_std=torch.ones(7, 3)),
            ValueError,
            r"log_std must broadcast to the shape of mean: .*\(3,\), log_std has shape \(7, 3\)",
        ),
        (
            dict(mean=torch.ones(3), log_std=torch.ones(3).long()),
            TypeError,
            "log_std must hold floats",
        ),
        (dict(mean=np.ones(3), log_std=torch.ones(3)), TypeError, "mean must be a tensor"),
    ],
    ids=["unfit", "larger", "integers", "numpy"],
)
def test_sample_gaussian_refuses_what_does_not_fit(arguments, error, words):
    with pytest.raises(error, match=words):
        sample_gaussian(**arguments)


@pytest.mark.parametrize(
    "mean, error, words",
    [
        (torch.tensor([0.3, 1.7]), ValueError, "torch.sigmoid"),
        (torch.tensor([0.3, -0.2]), ValueError, "torch.sigmoid"),
        (torch.tensor([0.3, math.nan]), ValueError, r"\[0, 1\]"),
        (torch.tensor([0, 1]), TypeError, "mean must hold floats"),
        (0.5, TypeError, "mean must be a tensor"),
    ],
    ids=["above", "below", "nan", "integers", "number"],
)
def test_sample_bernoulli_refuses_what_does_not_fit(mean, error, words):
    with pytest.raises(error, match=words):
        sample_bernoulli(mean)
