"""Correct versions of what the assignment asks for.

A check compares with them, in double precision. They also stand in for the student's own functions
while a check looks at another one, so that one mistake fails one check.
"""

import torch
from torch import nn

from .checking import HALF_LOG_2PI, require


def bernoulli_log_density(x, logit_means):
    return -torch.logaddexp(torch.zeros_like(logit_means), (1 - 2 * x) * logit_means)


def gaussian_log_density(z, mean, log_std):
    return -HALF_LOG_2PI - log_std - ((z - mean) / log_std.exp()) ** 2 / 2


def sample_gaussian(mean, log_std, generator=None):
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
    return mean + log_std.exp() * noise


def log_prior(z):
    return gaussian_log_density(z, torch.zeros_like(z), torch.zeros_like(z)).sum(dim=-1)


def log_q(z, q_mean, q_log_std):
    return gaussian_log_density(z, q_mean, q_log_std).sum(dim=-1)


def kl_divergence(q_mean, q_log_std):
    """KL(q || p(z)) of each digit, in closed form."""
    return (q_mean**2 + torch.exp(2 * q_log_std) - 1 - 2 * q_log_std).sum(dim=-1) / 2


def entropy(q_log_std):
    """The entropy of each digit's q, in closed form."""
    return (q_log_std + HALF_LOG_2PI + 0.5).sum(dim=-1)


def log_likelihood_of(x, logit_means):
    """log p(x | z) in double precision, given the logit-means at z."""
    return bernoulli_log_density(x.double(), logit_means.double()).sum(dim=-1)


class TanhNetwork(nn.Sequential):
    """The network that the text asks for; with n_outputs = 2 it returns a pair, as an encoder."""

    def __init__(self, n_in, n_hidden, n_out, n_outputs=1):
        super().__init__(nn.Linear(n_in, n_hidden), nn.Tanh(), nn.Linear(n_hidden, n_out))
        self.n_outputs = n_outputs

    def forward(self, v):
        outputs = super().forward(v)
        return outputs if self.n_outputs == 1 else outputs.chunk(self.n_outputs, dim=-1)


def functions(decoder, Dz, Ddata):
    """The functions that others are built on, under the names of the text, with this decoder.

    They raise CheckFailed if x and z are not where they belong.
    """

    def require_last_dimension(name, value, n):
        shape = tuple(getattr(value, "shape", ()))
        question = "Are x and z exchanged?" if shape[-1:] in [(Dz,), (Ddata,)] else ""
        given = f"{name} is given the shape {shape}, expected (B, {n}). {question}"
        require(shape[-1:] == (n,), given)

    def own_log_prior(z):
        require_last_dimension("log_prior", z, Dz)
        return log_prior(z)

    def own_log_q(z, q_mean, q_log_std):
        require_last_dimension("log_q", z, Dz)
        return log_q(z, q_mean, q_log_std)

    def log_likelihood(x, z):
        require_last_dimension("log_likelihood", x, Ddata)
        require_last_dimension("log_likelihood", z, Dz)
        return bernoulli_log_density(x, decoder(z)).sum(dim=-1)

    def joint_log_density(x, z):
        return log_likelihood(x, z) + log_prior(z)

    return {
        "bernoulli_log_density": bernoulli_log_density,
        "gaussian_log_density": gaussian_log_density,
        "sample_gaussian": sample_gaussian,
        "log_prior": own_log_prior,
        "log_likelihood": log_likelihood,
        "joint_log_density": joint_log_density,
        "log_q": own_log_q,
    }
