"""The log-densities of the model and of q."""

import torch

from . import reference
from .checking import HALF_LOG_2PI, Dz, require_gradients, require_values
from .networks import other_weights


def wrong_sums(exact):
    """Mistakes in a sum of two normal log-densities."""
    return {
        "The difference is log(2 pi), 1/2 log(2 pi) for each of the two dimensions: did you leave "
        "out the normalizing constant?": exact + 2 * HALF_LOG_2PI,
        "The difference is 1/2 log(2 pi): did you count the normalizing constant once, and not "
        "for each of the two dimensions?": exact + HALF_LOG_2PI,
        "Did you take the mean over the two dimensions, not the sum?": exact / Dz,
    }


def log_prior(notebook):
    """Against log N(z | 0, I) in double precision, and its gradient."""
    z = (1.3 * notebook.numbers(7, Dz, seed=1040) + 0.4).requires_grad_()
    with notebook.alone("log_prior"):
        found = notebook.log_prior(z)
    exact, zero, one = reference.log_prior(z), torch.zeros_like(z), torch.ones_like(z)
    mistakes = wrong_sums(exact) | {
        "Did you leave out the factor 1/2 of the squares?": exact - (z**2).sum(dim=1) / 2,
        "Did you pass log_std = 1? The log of the standard deviation 1 is 0.": (
            reference.log_q(z, zero, one)
        ),
        "Did you pass mean = 1?": reference.log_q(z, one, zero),
    }
    require_values("log_prior(z)", found, exact, mistakes)
    require_gradients("log_prior(z)", found, exact, z=z)


def log_q(notebook):
    """Against log N(z | mean, std^2), and its gradients in all three arguments."""
    z, mean, s = (notebook.numbers(7, Dz, seed=1070 + i).requires_grad_() for i in range(3))
    with notebook.alone("log_q"):
        found = notebook.log_q(z, mean, s)
    exact = reference.log_q(z, mean, s)
    mistakes = wrong_sums(exact) | {
        "Is that the prior's density?": reference.log_prior(z),
        "Are q_mean and q_log_std exchanged?": reference.log_q(z, s, mean),
        "Did you pass the standard deviation, not its log?": reference.log_q(z, mean, s.exp()),
        "Did you pass the log of the variance, 2 q_log_std?": reference.log_q(z, mean, 2 * s),
        "Did you halve q_log_std?": reference.log_q(z, mean, s / 2),
        "Did you leave out - q_log_std?": exact + s.sum(dim=1),
    }
    name = "log_q(z, q_mean, q_log_std)"
    require_values(name, found, exact, mistakes)
    require_gradients(name, found, exact, z=z, q_mean=mean, q_log_std=s)


def model_parts(notebook, seed, logit_means):
    """Digits, codes, and a decoder like the student's with logit-means of this size."""
    z = notebook.numbers(7, Dz, seed=seed).float().requires_grad_()
    decoder = other_weights(notebook, "decoder", seed + 1, outputs=logit_means)
    return notebook.pixels(7, seed=seed + 2), z, decoder


def log_density(x, y):
    return reference.bernoulli_log_density(x.double(), y.double()).sum(dim=1)


def log_likelihood(notebook):
    """Against the sum of log Ber(x | sigmoid(y)), with other weights in the decoder."""
    x, z, decoder = model_parts(notebook, 1060, logit_means=40)  # many pixels are sure
    with notebook.alone("log_likelihood", decoder=decoder):
        found = notebook.log_likelihood(x, z)
    y = decoder(z)
    exact = log_density(x, y)
    mistakes = {
        "Did you apply a sigmoid to the logit-means?": log_density(x, torch.sigmoid(y)),
        "Are x = 0 and x = 1 exchanged?": log_density(1 - x, y),
        "Did you take the mean over the pixels, not the sum?": exact / x.shape[1],
    }
    otherwise = "Many logit-means are large here: does something overflow, or is it clamped?"
    require_values("log_likelihood(x, z)", found, exact, mistakes, otherwise)
    require_gradients("log_likelihood(x, z)", found, exact, z=z)


def joint(notebook):
    """Against log p(z) + log p(x | z), with other weights in the decoder."""
    x, z, decoder = model_parts(notebook, 1065, logit_means=1)
    with notebook.alone("joint_log_density", decoder=decoder):
        found = notebook.joint_log_density(x, z)
    prior, likelihood = reference.log_prior(z.double()), log_density(x, decoder(z))
    mistakes = {
        "Did you leave out the prior?": likelihood,
        "Did you leave out the likelihood?": prior,
        "Did you subtract the prior?": likelihood - prior,
        "Did you add the prior twice?": likelihood + 2 * prior,
        "Did you multiply? The logarithm of a product is a sum.": likelihood * prior,
    }
    require_values("joint_log_density(x, z)", found, prior + likelihood, mistakes)
    require_gradients("joint_log_density(x, z)", found, prior + likelihood, z=z)
