"""The log-densities: the two of vae_helpers.py, and those of the model and of q."""

import math

import torch

from . import reference
from .checking import (
    HALF_LOG_2PI,
    SUMMED,
    gradients_of,
    require_function,
    require_same,
    require_shape,
    same,
)
from .networks import own_or_reference, randomize, restored
from .notebook import require_current

SMALLEST, LARGEST = -15.0, 15.0  # log standard deviations that a density must take


def bernoulli(notebook):
    """Against -log(1 + exp(-y)) or -log(1 + exp(y)) in double precision, and its gradient."""
    require_current(notebook, "bernoulli_log_density")
    # At generic logit-means and at large ones, each for a pixel that is off and for one on.
    large = torch.tensor([-1018.0, -31, 33, 121], device=notebook.DEVICE)
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
        "Did you leave out log(1 + exp(y))?": (x * y).double(),
    }
    require_function(name, found, exact, mistakes, question_about_lowest(found), y=y)

    zero = torch.zeros(2, device=x.device, requires_grad=True)
    (slopes,) = gradients_of(density(x[:, 0], zero).sum(), [zero])
    question = "Do you use abs, relu, clamp or max? At 0 they have no derivative."
    require_same(f"{name}: its gradient at y = 0", slopes, x[:, 0] - 0.5, {}, question)
    require_shape(f"{name} of x (2, 1) and y (24,)", density(x, y), (2, 24))
    print("ok: its gradient is correct at y = 0, too, and its arguments broadcast")

    on, sure = x[1], torch.full((1,), 60.0, device=x.device)
    if density(on, sure).item() == 0:
        print(
            "note: for x = 1 and y = 60 it returns 0, where the exact value is -8.8e-27: two equal "
            "numbers cancel"
        )


def question_about_lowest(log_densities):
    """The question about a small number that was added, or a clamp, if there is a lowest value."""
    lowest = log_densities.min().item()
    if (log_densities < lowest + 1e-3).sum() < 2 or not -105 < lowest < -2:
        return ""
    number = f"It never falls below {lowest:.4g}, the logarithm of {math.exp(lowest):.2g}"
    return f"{number}: did you add a small number inside the logarithm, or clamp something?"


def gaussian(notebook):
    """Against the log of the normal density, near the mean and far out, and its gradients."""
    require_current(notebook, "gaussian_log_density")
    z, mean, s = (1.3 * notebook.numbers(7, 3, seed=1020 + i) + 0.2 for i in range(3))
    s[0, 0], s[1, 1] = SMALLEST, LARGEST
    for t in (z, mean, s):
        t.requires_grad_()
    name, density = "gaussian_log_density(z, mean, log_std)", notebook.gaussian_log_density
    found, exact = density(z, mean, s), reference.gaussian_log_density(z, mean, s)
    half, square, c = (z - mean) ** 2 / 2, ((z - mean) / s.exp()) ** 2 / 2, HALF_LOG_2PI
    mistakes = {
        "Did you divide the square by sigma, not by its square?": -c - s - half / s.exp(),
        "Did you take log_std for the log of the variance?": -c - s / 2 - half / s.exp(),
        "Is log_std used where exp(log_std) belongs?": -c - s - half / s**2,
        "Is log_std used where exp(log_std) belongs, in both terms?": -c - s.log() - half / s**2,
        "Is log_std used where exp(log_std) belongs, after abs?": -c - s.abs().log() - half / s**2,
        "Did you leave out exp(2 log_std), the variance?": -c - s - half,
        "Did you leave out the normalizing constant, - 1/2 log(2 pi)?": exact + c,
        "Is the constant log(2 pi), without its 1/2, or counted for two dimensions?": exact - c,
        "Does the constant 1/2 log(2 pi) have the wrong sign?": exact + 2 * c,
        "Is it 1/2 log(2 pi sigma), where 1/2 log(2 pi sigma^2) belongs?": exact + s / 2,
        "Is it log sigma^2 = 2 log_std, where log sigma belongs?": exact - s,
        "Did you leave out - log_std?": exact + s,
        "Does log_std have the wrong sign?": exact + 2 * s,
        "Is the square added, where it is subtracted?": exact + 2 * square,
        "Did you leave out the 1/2 of the square?": exact - square,
        "Did you leave out the square?": exact + square,
        "Is the square missing its power of 2?": -c - s - (z - mean) / s.exp() / 2,
        "Is that the density, without its logarithm?": exact.exp(),
    }
    otherwise = ""
    moderate = (s > SMALLEST) & (s < LARGEST)
    if torch.is_tensor(found) and found.shape == s.shape and same(found[moderate], exact[moderate]):
        otherwise = (
            "It is correct for moderate log_std: is log_std clamped, or a small number added to "
            "the variance?"
        )
    require_function(name, found, exact, mistakes, otherwise, z=z, mean=mean, log_std=s)
    broadcast = density(z, mean[0], s[:, :1])
    require_shape(f"{name} of (7, 3), (3,) and (7, 1)", broadcast, (7, 3))
    print("ok: its arguments broadcast")


def wrong_sums(exact, square):
    """Mistakes in a sum of two normal log-densities; square: the sum of their squares, halved."""
    c = HALF_LOG_2PI
    return {
        "Did you leave out the normalizing constant?": exact + 2 * c,
        "Did you count the normalizing constant once, not for each dimension?": exact + c,
        "Is the normalizing constant counted twice for each dimension?": exact - 2 * c,
        "Does the normalizing constant have the wrong sign?": exact + 4 * c,
        "Did you take the mean over the two dimensions, not the sum?": exact / 2,
        "Is the square added, where it is subtracted?": exact + 2 * square,
        "Did you leave out the factor 1/2 of the squares?": exact - square,
        "Is that the density, without its logarithm?": exact.exp(),
    }


def log_prior(notebook):
    """Against log N(z | 0, I) in double precision, and its gradient."""
    z = (1.3 * notebook.numbers(7, notebook.Dz, seed=1040) + 0.4).requires_grad_()
    with notebook.alone("log_prior"):
        found = notebook.log_prior(z)
    exact, zero, one = reference.log_prior(z), 0 * z, 0 * z + 1
    mistakes = wrong_sums(exact, (z**2).sum(dim=1) / 2) | {
        "Did you pass log_std = 1? The standard deviation is 1.": reference.log_q(z, zero, one),
    }
    require_function("log_prior(z)", found, exact, mistakes, z=z)


def log_q(notebook):
    """Against log N(z | mean, std^2), and its gradients in all three arguments."""
    z, mean, s = (notebook.numbers(7, notebook.Dz, seed=1070 + i) for i in range(3))
    s[0, 0], s[1, 1] = SMALLEST, LARGEST
    for t in (z, mean, s):
        t.requires_grad_()
    with notebook.alone("log_q"):
        found = notebook.log_q(z, mean, s)
    exact = reference.log_q(z, mean, s)
    square = (((z - mean) / s.exp()) ** 2).sum(dim=1) / 2
    mistakes = wrong_sums(exact, square) | {
        "Are q_mean and q_log_std exchanged?": reference.log_q(z, s, mean),
        "Did you pass the standard deviation, not its log?": reference.log_q(z, mean, s.exp()),
        "Did you pass the log of the variance, 2 q_log_std?": reference.log_q(z, mean, 2 * s),
        "Did you take q_log_std for the log of the variance?": reference.log_q(z, mean, s / 2),
        "Did you leave out - q_log_std?": exact + s.sum(dim=1),
        "Does q_log_std have the wrong sign?": reference.log_q(z, mean, -s),
    }
    name = "log_q(z, q_mean, q_log_std)"
    require_function(name, found, exact, mistakes, z=z, q_mean=mean, q_log_std=s)


def log_likelihood(notebook):
    """Against the sum of log Ber(x | sigmoid(y)), with other weights in the decoder."""
    decoder, (x, z) = own_or_reference(notebook, "decoder"), digits_and_codes(notebook, 1060)
    with restored(decoder), notebook.alone("log_likelihood", decoder=decoder):
        randomize(decoder, notebook.layers("decoder"), 1061, outputs=40)  # sure of many pixels
        found, y = notebook.log_likelihood(x, z), decoder(z)
        exact = reference.log_likelihood_of(x, y)
        mistakes = {
            "Did you apply a sigmoid to the logit-means?": reference.log_likelihood_of(
                x, y.sigmoid()
            ),
            "Are x = 0 and x = 1 exchanged?": reference.log_likelihood_of(1 - x, y),
            "Did you take the mean over the pixels, not the sum?": exact / x.shape[1],
        }
        otherwise = (
            "Is it the sum of log Ber(x | sigmoid(y)) for y = decoder(z), large as y may be?"
        )
        require_function("log_likelihood(x, z)", found, exact, mistakes, otherwise, z=z)
        what = "log_likelihood(x, z): the gradient with respect to the decoder's parameters"
        parameters = [*decoder.parameters()]
        for slopes, expected in zip(*(gradients_of(v.sum(), parameters) for v in (found, exact))):
            require_same(what, slopes, expected, {}, "Are they detached?", tolerance=1e-3)


def joint(notebook):
    """Against log p(z) + log p(x | z), with other weights in the decoder."""
    decoder, (x, z) = own_or_reference(notebook, "decoder"), digits_and_codes(notebook, 1065)
    with restored(decoder), notebook.alone("joint_log_density", decoder=decoder):
        randomize(decoder, notebook.layers("decoder"), 1066)
        found, likelihood = (
            notebook.joint_log_density(x, z),
            reference.log_likelihood_of(x, decoder(z)),
        )
        prior = reference.log_prior(z.double())
        mistakes = {
            "Did you leave out the prior?": likelihood,
            "Did you leave out the likelihood?": prior,
            "Did you subtract the prior?": likelihood - prior,
            "Did you add the prior twice?": likelihood + 2 * prior,
            "Did you multiply? The logarithm of a product is a sum.": likelihood * prior,
            "Is the prior summed over the batch?": likelihood + prior.sum(),
            "Is the mean of the prior taken over the two dimensions?": likelihood + prior / 2,
            "Is the likelihood averaged over the pixels?": likelihood / x.shape[1] + prior,
        }
        require_function("joint_log_density(x, z)", found, prior + likelihood, mistakes, z=z)


def digits_and_codes(notebook, seed):
    """Seven digits, (7, Ddata), and seven codes, (7, Dz), with a gradient."""
    z = notebook.numbers(7, notebook.Dz, seed=seed).float().requires_grad_()
    return notebook.pixels(7, seed=seed + 2), z
