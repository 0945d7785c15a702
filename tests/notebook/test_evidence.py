"""The notebook's last part: the exact evidence, the bounds on it and what is computed from them.

The functions come from the notebook's cells. Each is compared with something independent: an
integral that is known, a finer grid in double precision, torch.distributions, an enumeration.
"""

import ast
import itertools
import math
from types import SimpleNamespace

import nbformat
import pytest
import torch
from torch import distributions as dist
from torch import nn
from torch.nn.functional import softplus

import vae_helpers
from project import NOTEBOOK

CELLS = {c.id: c.source for c in nbformat.read(NOTEBOOK, as_version=4).cells}
MODEL = [
    "ce50c994-90af-11eb-3fc1-a3eea9cda1a2",  # log_prior
    "5b8721dc-8ea3-11eb-3ace-0b13c00ce256",  # log_likelihood
    "0afbe054-90b0-11eb-0233-6faede537bc4",  # joint_log_density
    "615e59c6-90b6-11eb-2598-d32538e14e8f",  # log_q
    "ccf226b8-90b6-11eb-15a2-d30c9e27aebb",  # elbo
]
GIVEN = ["log-evidence", "log-weights", "iwae", "exact-posterior", "best-q"]
GIVEN += ["half-digits", "completions"]
TOP, BOTTOM = slice(0, 2), slice(2, 4)


def part(changes=()):
    """The functions of these cells, with a small model: four pixels, untrained networks."""
    names = SimpleNamespace(**vars(vae_helpers), TOP=TOP, BOTTOM=BOTTOM, softplus=softplus)
    names.DEVICE = torch.device("cpu")
    for id in MODEL + GIVEN:
        source = CELLS[id]
        for place, right, wrong in changes:
            if place == id:
                assert source.count(right) == 1, f"{right!r} is there {source.count(right)} times"
                source = source.replace(right, wrong)
        tree = ast.parse(source)
        tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        exec(compile(tree, id, "exec"), vars(names))
    torch.manual_seed(0)
    names.decoder = nn.Sequential(nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 4))
    layers = nn.Linear(4, 4)
    names.encoder = lambda x: (0.3 * layers(x)).chunk(2, dim=1)  # wide: not far from the prior
    for parameter in names.decoder.parameters():
        parameter.data *= 4  # so that the posteriors have structure
    return names


ALL_DIGITS = torch.tensor([*itertools.product((0.0, 1.0), repeat=4)])


def close(value, expected, tolerance=1e-4):
    torch.testing.assert_close(value, expected, atol=tolerance, rtol=0, check_dtype=False)


def evidence_without_z(n):
    """A decoder that ignores z: log p(x) is the log-density of independent pixels."""
    y = torch.tensor([-3.0, 0.5, 2.0, 7.0])
    n.decoder = lambda z: y.expand(len(z), 4)
    close(n.log_evidence(ALL_DIGITS), dist.Bernoulli(logits=y).log_prob(ALL_DIGITS).sum(dim=1))
    right = dist.Bernoulli(logits=y[BOTTOM]).log_prob(ALL_DIGITS[:, BOTTOM]).sum(dim=1)
    close(n.log_evidence(ALL_DIGITS, pixels=BOTTOM), right)


def evidence_of_quadratic(n):
    """log p(x_i = 1 | z) = -c - (z - m)' A (z - m) / 2 for each pixel: a Gaussian integral."""
    m = torch.tensor([[1.0, -0.5], [0.0, 2.0], [-1.0, 0.3], [0.7, 0.7]])
    root = torch.tensor([4.0, 1, 1, 3, 1, 0, 0, 8, 9, -6, -6, 9, 1, 0, 0, 1]).reshape(4, 2, 2)
    a = root @ root.mT

    def decoder(z):
        d = z[:, None] - m
        return -torch.log(torch.expm1(0.2 + 0.5 * torch.einsum("gpi,pij,gpj->gp", d, a, d)))

    n.decoder = decoder
    precision, linear = torch.eye(2) + a.sum(0), torch.einsum("pij,pj->i", a, m)
    constant = -4 * 0.2 - 0.5 * torch.einsum("pi,pij,pj->", m, a, m)
    right = constant + 0.5 * (linear @ torch.linalg.solve(precision, linear) - precision.logdet())
    close(n.log_evidence(torch.ones(1, 4)), right[None], 1e-3)


def evidence_on_finer_grid(n):
    """A network, against a sum over a finer and wider grid, in double precision."""
    ticks = torch.arange(-450, 451, dtype=torch.float64) * 0.02
    z = torch.cartesian_prod(ticks, ticks)
    y = n.decoder.double()(z).detach()
    log_joint = dist.Bernoulli(logits=y).log_prob(ALL_DIGITS.double()[:, None]).sum(dim=2)
    right = (log_joint + dist.Normal(0.0, 1.0).log_prob(z).sum(dim=1)).logsumexp(dim=1)
    n.decoder.float()
    close(n.log_evidence(ALL_DIGITS), right + 2 * math.log(0.02))
    log_p, log_posterior = n.exact_posterior(ALL_DIGITS, n.latent_ticks(0.05, 7))
    close(log_p, right + 2 * math.log(0.02))
    close(log_posterior.exp().sum(dim=(1, 2)) * 0.05**2, torch.ones(16))
    i, j = 100, 170  # its axes are z_x, z_y, in this order
    code = torch.tensor([[i * 0.05 - 7, j * 0.05 - 7]]).expand(16, 2)
    close(log_posterior[:, i, j] + log_p, n.joint_log_density(ALL_DIGITS, code), 1e-3)


def bounds(n):
    """iwae: k = 1 is the ELBO, more codes never hurt, many give log p(x)."""
    x, log_p = ALL_DIGITS[5:].repeat(200, 1), n.log_evidence(ALL_DIGITS[5:]).mean()
    torch.manual_seed(1)
    first = n.elbo(x)
    torch.manual_seed(1)
    close(n.iwae(x, 1), first, 1e-6)
    assert n.iwae(x, 1).shape == ()
    rungs = [n.iwae(x, k).item() for k in (1, 3, 30, 300)]
    assert rungs == sorted(rungs) and rungs[-1] < log_p + 0.01
    assert abs(rungs[-1] - log_p) < 0.05 < log_p - rungs[0]


def gaussian_posterior(n):
    """A correlated Gaussian as posterior: moments, KL and the best q are known."""
    ticks = n.latent_ticks(0.04, 4)
    mean, cov = torch.tensor([0.6, -1.0]), torch.tensor([[0.09, 0.05], [0.05, 0.06]])
    p = dist.MultivariateNormal(mean, cov)
    log_posterior = p.log_prob(torch.stack(torch.meshgrid(ticks, ticks, indexing="ij"), dim=2))[
        None
    ]
    q = torch.tensor([[0.7, -0.9]]), torch.tensor([[-1.5, -1.2]])
    as_multivariate = dist.MultivariateNormal(q[0][0], torch.diag(q[1][0].exp() ** 2))
    close(
        n.kl_to_posterior(*q, log_posterior, ticks)[0], dist.kl_divergence(as_multivariate, p), 1e-3
    )
    best_mean, best_log_std = n.best_q(log_posterior, ticks, n_steps=200)
    close(best_mean[0], mean, 1e-2)
    close(best_log_std[0], -0.5 * cov.inverse().diag().log(), 1e-2)


def completion(n):
    """p(bottom | top), against all bottoms there are, and draws from p(z | top)."""
    given, alone = n.log_bottom(ALL_DIGITS)
    joint = n.log_evidence(ALL_DIGITS).exp().reshape(4, 4)  # (top, bottom)
    close(given.exp().reshape(4, 4), joint / joint.sum(dim=1, keepdim=True))
    close(alone.exp().reshape(4, 4), joint.sum(dim=0).expand(4, 4))
    ticks = n.latent_ticks(0.05, 7)
    _, log_posterior = n.exact_posterior(ALL_DIGITS[[2, 9]], ticks, TOP)
    codes = n.sample_on_grid(log_posterior, ticks, 40_000, torch.Generator().manual_seed(3))
    p, z = log_posterior.flatten(start_dim=1).softmax(dim=1), torch.cartesian_prod(ticks, ticks)
    close(codes.mean(dim=1), p @ z, 0.02)
    close(codes.std(dim=1), (p @ z**2 - (p @ z) ** 2).sqrt(), 0.02)


CHECKS = [evidence_without_z, evidence_of_quadratic, evidence_on_finer_grid, bounds]
CHECKS += [gaussian_posterior, completion]


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
def test_right(check):
    check(part())


# The cell, its right source, the wrong source in its place, and the check that must fail.
MISTAKES = [
    ("log-evidence", "+ 2 * math.log(step)", "+ math.log(step)", evidence_without_z),
    ("log-evidence", "- softplus(y).sum(dim=1)", "- softplus(-y).sum(dim=1)", evidence_without_z),
    ("log-evidence", "decoder(z)[:, pixels]", "decoder(z)[:, : x[0, pixels].numel()]", completion),
    ("log-evidence", "return log_prior(z) + x", "return x", evidence_of_quadratic),
    ("log-evidence", "step=0.03, reach=7", "step=0.3, reach=7", evidence_of_quadratic),
    ("log-evidence", "step=0.03, reach=7", "step=0.03, reach=2", evidence_without_z),
    (
        "log-evidence",
        "(log_sums).logsumexp(dim=0)",
        "(log_sums).amax(dim=0)",
        evidence_on_finer_grid,
    ),
    ("exact-posterior", "(z_x, ticks)", "(ticks, z_x)", evidence_on_finer_grid),
    ("exact-posterior", "+ 2 * torch.log(ticks", "+ torch.log(ticks", evidence_on_finer_grid),
    ("iwae", "- math.log(k)", "", bounds),
    ("iwae", ".logsumexp(dim=1) - math.log(k)", ".mean(dim=1)", bounds),
    ("log-weights", " - log_q(z, q_mean, q_log_std)", "", bounds),
    ("exact-posterior", "2 * math.pi * math.e", "2 * math.pi", gaussian_posterior),
    ("exact-posterior", '"bi,bij,bj->b"', '"bj,bij,bi->b"', gaussian_posterior),
    ("best-q", "log_std, log_posterior", "log_std * 0.9, log_posterior", gaussian_posterior),
    ("best-q", "[shift, log_std]", "[shift]", gaussian_posterior),
    ("half-digits", "pixels=TOP", "pixels=BOTTOM", completion),
    (
        "half-digits",
        "return given_top, log_evidence(x, step, pixels=BOTTOM)",
        "return given_top, log_evidence(x, step, pixels=TOP)",
        completion,
    ),
    ("completions", ".cumsum(dim=1)", "", completion),
]


@pytest.mark.parametrize("place, right, wrong, check", MISTAKES)
def test_mistake_is_caught(place, right, wrong, check):
    with pytest.raises(AssertionError):
        check(part([(place, right, wrong)]))
