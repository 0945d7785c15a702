"""The samplers: correct moments and gradients, independent noise, and the generator's alone.

A moment may be off by 5 standard errors of its Monte Carlo estimate. The noise is seeded, so a test
passes always or never; with another seed a correct sampler would fail once in a million runs.
"""

import math

import numpy as np
import pytest
import torch

from vae_helpers import sample_bernoulli, sample_gaussian

N = 400_000


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def assert_mean(values, expected):
    """The mean of the values is the expected one within 5 of its standard errors."""
    standard_error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - expected) < 5 * standard_error


def test_sample_gaussian_has_the_moments_of_the_gaussian():
    mean, log_std = torch.tensor([0.7, -0.9], dtype=torch.float64)
    sample = sample_gaussian(mean.expand(N), log_std.expand(N), seeded(1))
    standardized = (sample - 0.7) / math.exp(-0.9)
    # The moments of N(0, 1); the fourth tells it from any other noise of the same variance.
    for power, expected in [(1, 0), (2, 1), (3, 0), (4, 3)]:
        assert_mean(standardized**power, expected)


def test_sample_gaussian_has_the_reparameterized_gradient():
    mean, log_std, weights = torch.randn(3, 7, 3, generator=seeded(2), dtype=torch.float64)
    mean.requires_grad_(), log_std.requires_grad_()
    sample = sample_gaussian(mean, log_std, seeded(4))
    (weights * sample).sum().backward()
    torch.testing.assert_close(mean.grad, weights)
    torch.testing.assert_close(log_std.grad, weights * (sample - mean).detach())


def test_sample_bernoulli_has_the_mean_asked_for():
    for mean in (0.03, 0.37, 0.92):
        sample = sample_bernoulli(torch.full((N,), mean), seeded(6))
        assert set(sample.unique().tolist()) == {0.0, 1.0}
        assert_mean(sample.double(), mean)
    certain = torch.tensor([0.0, 1.0]).expand(N, 2)
    assert torch.equal(sample_bernoulli(certain, seeded(7)), certain)


# Both draw (700, 3) samples; the means are expanded, so that they share memory.
SAMPLERS = {
    "gaussian": lambda mean, noise: sample_gaussian(mean.expand(700, 3), mean.float(), noise),
    "bernoulli": lambda mean, noise: sample_bernoulli(mean.expand(700, 3), noise),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("sample", SAMPLERS.values(), ids=SAMPLERS)
def test_every_element_has_noise_of_its_own_from_the_generator_alone(sample, dtype):
    mean, generator = torch.tensor(0.5, dtype=dtype), seeded(8)
    first = sample(mean, generator)
    assert (first.shape, first.dtype) == ((700, 3), dtype)
    assert len(first.unique(dim=1).T) == 3  # no two columns are alike
    assert ((first[1:] != first[:-1]).sum(dim=0) > 250).all()  # nor are the rows
    assert not torch.equal(sample(mean, generator), first)
    global_state = torch.get_rng_state()
    assert torch.equal(sample(mean, seeded(8)), first)
    assert torch.equal(torch.get_rng_state(), global_state)
    torch.manual_seed(8)  # of PyTorch's global generator, the default
    first = sample(mean, None)
    assert not torch.equal(sample(mean, None), first)
    torch.manual_seed(8)
    assert torch.equal(sample(mean, None), first)


ONES = torch.ones(7, 3)
REFUSED = {
    r"mean has shape \(7, 3\), log_std has shape \(4, 3\)": (ValueError, ONES, ONES[:4]),
    "log_std must broadcast to the shape of mean": (ValueError, ONES[0], ONES),
    "log_std must hold floats": (TypeError, ONES, ONES.long()),
    "torch.sigmoid": (ValueError, torch.tensor([0.3, 1.7])),
    r"mean must lie in \[0, 1\]": (ValueError, torch.tensor([0.3, math.nan])),
    "mean must be a tensor": (TypeError, np.ones((7, 3))),
}


@pytest.mark.parametrize("words", REFUSED)
def test_samplers_refuse_what_does_not_fit(words):
    error, *arguments = REFUSED[words]
    sample = sample_gaussian if len(arguments) == 2 else sample_bernoulli
    with pytest.raises(error, match=words):
        sample(*arguments)
