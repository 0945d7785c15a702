"""The notebook's last part: the exact evidence, the bounds on it and what is computed from them.

The functions come from the notebook's cells. Each is compared with something independent: a wider
grid in double precision, torch.distributions, an enumeration.
"""

import itertools
import math

import pytest
import torch
from torch import distributions as dist
from torch import nn

from project import needs_cells, notebook_functions

pytestmark = needs_cells("log-evidence", "exact-posterior", "best-q", "completions")

TOP, BOTTOM = slice(0, 2), slice(2, 4)


@pytest.fixture
def vae():
    """The notebook's functions with a small model: four pixels, untrained networks."""
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 4))
    for parameter in decoder.parameters():
        parameter.data *= 4  # so that the posteriors have structure
    layers = nn.Linear(4, 4)
    return notebook_functions(
        decoder=decoder,
        encoder=lambda x: (0.3 * layers(x)).chunk(2, dim=1),  # wide: not far from the prior
        TOP=TOP,
        BOTTOM=BOTTOM,
    )


ALL_DIGITS = torch.tensor([*itertools.product((0.0, 1.0), repeat=4)])


def close(value, expected, tolerance=1e-4):
    torch.testing.assert_close(value, expected, atol=tolerance, rtol=0, check_dtype=False)


def test_evidence_and_exact_posterior(vae):
    """Against a sum over a wider grid, in double precision."""
    ticks = torch.arange(-300, 301, dtype=torch.float64) * 0.03 + 0.01
    z = torch.cartesian_prod(ticks, ticks)
    y = vae.decoder.double()(z).detach()
    log_joint = dist.Bernoulli(logits=y).log_prob(ALL_DIGITS.double()[:, None]).sum(dim=2)
    log_joint += dist.Normal(0.0, 1.0).log_prob(z).sum(dim=1)
    expected = log_joint.logsumexp(dim=1) + 2 * math.log(0.03)
    vae.decoder.float()
    close(vae.log_evidence(ALL_DIGITS), expected)
    log_p, log_posterior = vae.exact_posterior(ALL_DIGITS, vae.latent_ticks(0.05, 7))
    close(log_p, expected)
    i, j = 100, 170  # its axes are z_x, z_y, in this order
    code = torch.tensor([[i * 0.05 - 7, j * 0.05 - 7]]).expand(16, 2)
    close(log_posterior[:, i, j] + log_p, vae.joint_log_density(ALL_DIGITS, code), 1e-3)


def test_bounds(vae):
    """iwae: k = 1 is the ELBO, more codes never hurt, many give log p(x)."""
    x, log_p = ALL_DIGITS[5:].repeat(200, 1), vae.log_evidence(ALL_DIGITS[5:]).mean()
    torch.manual_seed(1)
    first = vae.elbo(x)
    torch.manual_seed(1)
    close(vae.iwae(x, 1), first, 1e-6)
    rungs = [vae.iwae(x, k).item() for k in (1, 3, 30, 300)]
    assert rungs == sorted(rungs) and rungs[-1] < log_p + 0.01
    assert abs(rungs[-1] - log_p) < 0.05 < log_p - rungs[0]


def test_gaussian_posterior(vae):
    """A correlated Gaussian as posterior: KL and the best q are known."""
    ticks = vae.latent_ticks(0.04, 4)
    mean, cov = torch.tensor([0.6, -1.0]), torch.tensor([[0.09, 0.05], [0.05, 0.06]])
    p = dist.MultivariateNormal(mean, cov)
    codes = torch.stack(torch.meshgrid(ticks, ticks, indexing="ij"), dim=2)
    log_posterior = p.log_prob(codes)[None]
    q = torch.tensor([[0.7, -0.9]]), torch.tensor([[-1.5, -1.2]])
    as_multivariate = dist.MultivariateNormal(q[0][0], torch.diag(q[1][0].exp() ** 2))
    kl = vae.kl_to_posterior(*q, log_posterior, ticks)
    close(kl[0], dist.kl_divergence(as_multivariate, p), 1e-3)
    best_mean, best_log_std = vae.best_q(log_posterior, ticks, n_steps=200)
    close(best_mean[0], mean, 1e-2)
    close(best_log_std[0], -0.5 * cov.inverse().diag().log(), 1e-2)


def test_completion(vae):
    """p(bottom | top), against all bottoms there are, and draws from p(z | top)."""
    given, alone = vae.log_bottom(ALL_DIGITS)
    joint = vae.log_evidence(ALL_DIGITS).exp().reshape(4, 4)  # (top, bottom)
    close(given.exp().reshape(4, 4), joint / joint.sum(dim=1, keepdim=True))
    close(alone.exp().reshape(4, 4), joint.sum(dim=0).expand(4, 4))
    ticks = vae.latent_ticks(0.05, 7)
    _, log_posterior = vae.exact_posterior(ALL_DIGITS[[2, 9]], ticks, TOP)
    codes = vae.sample_on_grid(log_posterior, ticks, 40_000, torch.Generator().manual_seed(3))
    p, z = log_posterior.flatten(start_dim=1).softmax(dim=1), torch.cartesian_prod(ticks, ticks)
    close(codes.mean(dim=1), p @ z, 0.02)
    close(codes.std(dim=1), (p @ z**2 - (p @ z) ** 2).sqrt(), 0.02)
