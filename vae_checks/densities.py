"""The two log-densities of vae_helpers.py."""

import math

import torch

from . import reference
from .checking import (
    HALF_LOG_2PI,
    gradients_of,
    require,
    require_gradients,
    require_shape,
    require_values,
    same,
)


def bernoulli(notebook):
    """Against -log(1 + exp(-y)) or -log(1 + exp(y)) in double precision, and its gradient."""
    # At generic logit-means and at large ones, each for a pixel that is off and for one on.
    large = torch.tensor([-118.0, -31, 33, 121], device=notebook.DEVICE)
    y = torch.cat([3 * notebook.numbers(20, seed=1010).float(), large]).requires_grad_()
    x = torch.tensor([[0.0], [1.0]], device=notebook.DEVICE).expand(2, 24)
    density = notebook.bernoulli_log_density
    log_densities = density(x, y.expand(2, 24))
    exact = reference.bernoulli_log_density(x.double(), y.double())
    name = "bernoulli_log_density(x, y)"
    mistakes = {
        "Are x = 0 and x = 1 exchanged?": exact.flip(0),
        "Did you apply a sigmoid to y twice?": reference.bernoulli_log_density(
            x.double(), torch.sigmoid(y).double()
        ),
        "Is that the probability, without its logarithm?": exact.exp(),
    }
    require_values(name, log_densities, exact, mistakes, lowest_value(log_densities))
    require_gradients(name, log_densities, exact, y=y)

    zero = torch.zeros(2, device=notebook.DEVICE, requires_grad=True)
    found = gradients_of(density(x[:, 0], zero).sum(), [zero])[0].tolist()
    require(
        found == [-0.5, 0.5],
        "its gradient is correct at y = 0, too",
        f"{name}: at y = 0 the gradient is {found[0]:.4g} for x = 0 and {found[1]:.4g} for x = 1, "
        "expected -0.5 and 0.5. Does your form use abs, relu, clamp or a comparison, which has "
        "no derivative at 0?",
    )
    require_shape(f"{name} of x (2, 1) and y (24,)", density(x[:, :1], y), (2, 24), BROADCAST)


BROADCAST = "Does each argument keep its own shape until they meet?"


def lowest_value(log_densities):
    """The question about a small number that was added, or a clamp, if there is a lowest value."""
    lowest = log_densities.min().item()
    n_lowest = (log_densities < lowest + 1e-3).sum().item()
    if n_lowest < 2 or not -105 < lowest < -2:
        return ""
    return (
        f"It never falls below {lowest:.4g}, the logarithm of {math.exp(lowest):.2g}: did you add "
        "a small number inside the logarithm, or clamp something?"
    )


def gaussian(notebook):
    """Against the log of the normal density, near the mean and far out, and its gradients."""
    z, mean, log_std = (1.3 * notebook.numbers(7, 3, seed=1020 + i) + 0.2 for i in range(3))
    log_std[0, :2] = torch.tensor([-7.7, 8.3])
    for t in (z, mean, log_std):
        t.requires_grad_()
    half, std, constant = (z - mean) ** 2 / 2, log_std.exp(), HALF_LOG_2PI
    density = notebook.gaussian_log_density
    log_densities = density(z, mean, log_std)
    exact = reference.gaussian_log_density(z, mean, log_std)
    name = "gaussian_log_density(z, mean, log_std)"
    mistakes = {
        "Did you divide the squared deviation by sigma, not by sigma squared?": -constant
        - log_std
        - half / std,
        "Did you take log_std for the logarithm of the variance?": -constant
        - log_std / 2
        - half / std,
        "Did you take log_std for sigma itself?": -constant
        - log_std.abs().log()
        - half / log_std**2,
        "Did you divide by log_std squared, not by exp(log_std) squared?": -constant
        - log_std
        - half / log_std**2,
        "Did you leave out - log_std?": -constant - half / std**2,
        "Did you leave out the factor 1/2 of the square?": -constant - log_std - 2 * half / std**2,
        "Does log_std have the wrong sign?": -constant + log_std - half / std**2,
        "Does the square have the wrong sign?": -constant - log_std + half / std**2,
        "Is that the density, without its logarithm?": exact.exp(),
    }
    at_the_mean = same(density(mean, mean, log_std), -constant - log_std)
    otherwise = (
        "It is correct at z = mean, where the square is 0: is the square scaled correctly?"
        if at_the_mean
        else "It is wrong even at z = mean, where the square is 0: is -1/2 log(2 pi) - log_std "
        "all that is left there?"
    )
    require_values(name, log_densities, exact, mistakes, otherwise)
    require_gradients(name, log_densities, exact, z=z, mean=mean, log_std=log_std)
    broadcast = density(z, mean[0], log_std[:, :1])
    require_shape(f"{name} of (7, 3), (3,) and (7, 1)", broadcast, (7, 3), BROADCAST)
