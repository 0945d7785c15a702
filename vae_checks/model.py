"""The log-densities of the model and of q."""

import torch

from . import reference
from .checking import HALF_LOG_2PI, require_gradients, require_values
from .networks import other_weights
from .reference import Dz


def log_prior(notebook):
    """Against log N(z | 0, I) in double precision, and its gradient."""
    z = (1.3 * notebook.numbers(7, Dz, seed=1040) + 0.4).requires_grad_()
    with notebook.alone("log_prior"):
        log_priors = notebook.log_prior(z)
    exact, one = reference.log_prior(z), torch.ones_like(z)
    mistakes = {
        "Did you leave out the factor 1/2 of the squares?": exact - (z**2).sum(dim=1) / 2,
        "Did you pass log_std = 1? The logarithm of the standard deviation 1 is 0.": (
            reference.log_q(z, 0 * z, one)
        ),
        "Did you pass mean = 1?": reference.log_q(z, one, 0 * z),
        "The difference is log(2 pi), 1/2 log(2 pi) for each dimension: did you leave out the "
        "normalizing constant?": exact + 2 * HALF_LOG_2PI,
        "The difference is 1/2 log(2 pi): did you count the normalizing constant once, and not "
        "for each of the two dimensions?": exact + HALF_LOG_2PI,
        "Did you take the mean over the two dimensions, not the sum?": exact / Dz,
    }
    require_values("log_prior(z)", log_priors, exact, mistakes)
    require_gradients("log_prior(z)", log_priors, exact, z=z)


def trial(notebook, seed, logit_means):
    """Digits and codes, and a decoder like the student's with logit-means of this size."""
    z = notebook.numbers(7, Dz, seed=seed).float().requires_grad_()
    decoder = other_weights(notebook, "decoder", seed + 1, outputs=logit_means)
    return notebook.pixels(7, seed=seed + 2), z, decoder


def log_likelihood(notebook):
    """Against the sum of log Ber(x | sigmoid(y)), with other weights in the decoder."""
    x, z, decoder = trial(notebook, 1060, logit_means=40)  # many pixels are sure
    with notebook.alone("log_likelihood", decoder=decoder):
        log_likelihoods = notebook.log_likelihood(x, z)
    x, y = x.double(), decoder(z).double()
    exact = reference.bernoulli_log_density(x, y).sum(dim=1)

    def log_density(x, y):
        return reference.bernoulli_log_density(x, y).sum(dim=1)

    mistakes = {
        "Did you apply a sigmoid to the decoder's outputs? They are logit-means.": log_density(
            x, torch.sigmoid(y)
        ),
        "Are x = 0 and x = 1 exchanged?": log_density(1 - x, y),
        "Did you take the mean over the pixels, not the sum?": exact / x.shape[1],
    }
    otherwise = "Does it overflow, or is something clamped? Many logit-means are large here."
    require_values("log_likelihood(x, z)", log_likelihoods, exact, mistakes, otherwise)
    require_gradients("log_likelihood(x, z)", log_likelihoods, exact, z=z)


def joint(notebook):
    """Against log p(z) + log p(x | z), with other weights in the decoder."""
    x, z, decoder = trial(notebook, 1065, logit_means=1)
    with notebook.alone("joint_log_density", decoder=decoder):
        log_joints = notebook.joint_log_density(x, z)
    prior = reference.log_prior(z.double())
    likelihood = reference.bernoulli_log_density(x.double(), decoder(z).double()).sum(dim=1)
    mistakes = {
        "Did you leave out the prior?": likelihood,
        "Did you leave out the likelihood?": prior,
        "Did you subtract the prior?": likelihood - prior,
        "Did you add the prior twice?": likelihood + 2 * prior,
        "Did you multiply? The logarithm of a product is a sum.": likelihood * prior,
    }
    require_values("joint_log_density(x, z)", log_joints, prior + likelihood, mistakes)
    require_gradients("joint_log_density(x, z)", log_joints, prior + likelihood, z=z)


def log_q(notebook):
    """Against log N(z | mean, std^2), and its gradients in all three arguments."""
    z, mean, log_std = (notebook.numbers(7, Dz, seed=1070 + i).requires_grad_() for i in range(3))
    with notebook.alone("log_q"):
        log_qs = notebook.log_q(z, mean, log_std)
    exact = reference.log_q(z, mean, log_std)
    mistakes = {
        "Is that the prior's density?": reference.log_prior(z),
        "Are q_mean and q_log_std exchanged?": reference.log_q(z, log_std, mean),
        "Did you pass the standard deviation, not its logarithm?": reference.log_q(
            z, mean, log_std.exp()
        ),
        "Did you pass 2 q_log_std, the logarithm of the variance?": reference.log_q(
            z, mean, 2 * log_std
        ),
        "Did you pass q_log_std / 2? It is the log standard deviation already.": reference.log_q(
            z, mean, log_std / 2
        ),
        "The difference is log(2 pi), 1/2 log(2 pi) for each dimension: did you leave out the "
        "normalizing constant?": exact + 2 * HALF_LOG_2PI,
        "The difference is 1/2 log(2 pi): did you count the normalizing constant once, and not "
        "for each of the two dimensions?": exact + HALF_LOG_2PI,
        "Did you take the mean over the two dimensions, not the sum?": exact / Dz,
        "Did you leave out - log_std?": exact + log_std.sum(dim=1),
    }
    name = "log_q(z, q_mean, q_log_std)"
    require_values(name, log_qs, exact, mistakes)
    require_gradients(name, log_qs, exact, z=z, q_mean=mean, q_log_std=log_std)
