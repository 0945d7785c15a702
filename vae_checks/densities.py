"""The two log-densities of vae_helpers.py."""

import math

import torch

from . import reference
from .checking import (
    HALF_LOG_2PI,
    SUMMED,
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
    x = torch.tensor([[0.0], [1.0]], device=notebook.DEVICE)
    name, density = "bernoulli_log_density(x, y)", notebook.bernoulli_log_density
    found = density(x.expand(2, 24), y.expand(2, 24))
    require_shape(name, found, (2, 24), SUMMED)
    exact = reference.bernoulli_log_density(x.double(), y.double())
    mistakes = {
        "Are x = 0 and x = 1 exchanged?": exact.flip(0),
        "Did you apply a sigmoid twice?": reference.bernoulli_log_density(x, torch.sigmoid(y)),
        "Is that the probability, without its logarithm?": exact.exp(),
    }
    require_values(name, found, exact, mistakes, question_about_lowest(found))
    require_gradients(name, found, exact, y=y)
    zero = torch.zeros(2, device=x.device, requires_grad=True)
    (slopes,) = gradients_of(density(x[:, 0], zero).sum(), [zero])
    require(
        slopes.tolist() == [-0.5, 0.5],
        f"{name}: at y = 0 the gradient is {slopes[0]:.4g} for x = 0 and {slopes[1]:.4g} for x = 1,"
        " expected -0.5 and 0.5. Do you use abs, relu, clamp or max? At 0 they have no derivative.",
    )
    require_shape(f"{name} of x (2, 1) and y (24,)", density(x, y), (2, 24))
    print("ok: its gradient is correct at y = 0, too, and its arguments broadcast")


def question_about_lowest(log_densities):
    """The question about a small number that was added, or a clamp, if there is a lowest value."""
    lowest = log_densities.min().item()
    if (log_densities < lowest + 1e-3).sum() < 2 or not -105 < lowest < -2:
        return ""
    number = f"It never falls below {lowest:.4g}, the logarithm of {math.exp(lowest):.2g}"
    return f"{number}: did you add a small number inside the logarithm, or clamp something?"


def gaussian(notebook):
    """Against the log of the normal density, near the mean and far out, and its gradients."""
    z, mean, s = (1.3 * notebook.numbers(7, 3, seed=1020 + i) + 0.2 for i in range(3))
    s[0, :2] = torch.tensor([-7.7, 8.3])  # log_std
    for t in (z, mean, s):
        t.requires_grad_()
    name, density = "gaussian_log_density(z, mean, log_std)", notebook.gaussian_log_density
    found, exact = density(z, mean, s), reference.gaussian_log_density(z, mean, s)
    half, c = (z - mean) ** 2 / 2, HALF_LOG_2PI
    mistakes = {
        "Did you divide the square by sigma, not by its square?": -c - s - half / s.exp(),
        "Did you take log_std for the log of the variance?": -c - s / 2 - half / s.exp(),
        "Did you take log_std for sigma itself?": -c - s.abs().log() - half / s**2,
        "Did you divide by the square of log_std, not of sigma?": -c - s - half / s**2,
        "Did you leave out - log_std?": exact + s,
        "Does log_std have the wrong sign?": exact + 2 * s,
        "Did you leave out the 1/2 of the square?": exact - half / torch.exp(2 * s),
        "Does the square have the wrong sign?": exact + 2 * half / torch.exp(2 * s),
        "Is that the density, without its logarithm?": exact.exp(),
    }
    require_shape(name, found, exact.shape, SUMMED)
    at_mean = "correct" if same(density(mean, mean, s), -c - s) else "wrong, too"
    otherwise = f"At z = mean, where the square is 0, it is {at_mean}. What is left there?"
    require_values(name, found, exact, mistakes, otherwise)
    require_gradients(name, found, exact, z=z, mean=mean, log_std=s)
    broadcast = density(z, mean[0], s[:, :1])
    require_shape(f"{name} of (7, 3), (3,) and (7, 1)", broadcast, (7, 3))
    print("ok: its arguments broadcast")
