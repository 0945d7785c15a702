"""The importance weights, and the tighter bound that they give."""

import math
from typing import NamedTuple

import torch

from . import reference
from .checking import CheckFailed, require, require_same, require_shape
from .networks import inputs_of
from .objective import MODERATE, SURE_OF_PIXELS, likely_digits, own_networks, random_networks
from .samplers import require_draws

IN_EVALUATION = SURE_OF_PIXELS._replace(training=False)


class Weights(NamedTuple):
    """What the log weights of codes are made of, each (B, k), in double precision."""

    log_p_x: torch.Tensor
    log_p_z: torch.Tensor
    log_q_z: torch.Tensor
    kl: torch.Tensor

    @property
    def exact(self):
        return self.log_p_x + self.log_p_z - self.log_q_z

    @property
    def bound(self):
        return (self.exact.logsumexp(dim=1) - math.log(self.exact.shape[1])).mean()


def try_weights(notebook, networks, name, setting, k, digits=likely_digits):
    """Call log_weights(x, k) or iwae(x, k), whichever has this name, and note the codes it draws.

    Accepted are k batches of B codes and one batch of B k codes, in either order: draw after draw
    for all digits, or digit after digit with all of its draws.
    Returns: the value, and for both orders z, q_mean, q_log_std, (B, k, Dz), and the Weights.
    """
    encoder, decoder = networks
    with random_networks(notebook, "log_weights", networks, setting):
        x = digits(notebook, decoder)
        notebook.seed(k)
        with inputs_of(decoder, notebook.Dz) as seen:
            value = getattr(notebook, name)(x.clone(), k)
        B, Dz = len(x), notebook.Dz
        if name == "log_weights":
            require_shape(f"{name}(x, {k})", value, (B, k), "Expected is a row for each digit.")
        else:
            require_shape(f"{name}(x, {k})", value, (), "Is the mean over the digits missing?")
        codes = torch.cat([x.new_empty(0, Dz), *seen])
        question = "Is one code used k times?" if len(codes) == B and k > 1 else ""
        require(
            len(codes) == B * k,
            f"{name}(x, {k}): the decoder is given {len(codes)} codes for {B} digits, expected "
            f"{k} for each digit, decoded by the notebook's decoder(z). {question}",
        )
        with torch.no_grad():
            mean, log_std = (t.double()[:, None].expand(B, k, Dz) for t in encoder(x))
            logit_means = decoder(codes)
        orders = [
            torch.arange(k * B, device=x.device).reshape(k, B).T,  # draw after draw
            torch.arange(k * B, device=x.device).reshape(B, k),  # digit after digit
        ]
        tried = []
        for order in orders:
            z, y = codes[order].double(), logit_means[order]
            weights = Weights(
                reference.log_likelihood_of(x[:, None], y),
                reference.log_prior(z),
                reference.log_q(z, mean, log_std),
                reference.kl_divergence(mean, log_std),
            )
            tried.append((z, mean, log_std, weights))
        return value.detach().double(), tried


def iwae(notebook):
    """The log weights and their bound against the values they must have for the codes drawn.

    The check puts other weights into both networks, calls log_weights(x, k) and iwae(x, k), and
    notes the codes z that the decoder is given, k for each digit. For these codes

        log_weights = log p(x | z) + log p(z) - log q(z | x), (B, k),
        iwae = the mean over the digits of logsumexp(log_weights) - log k, where the logsumexp is
               over the codes of a digit.

    And the codes must be draws from q(z | x), as in checks.elbo().
    """
    networks = own_networks(notebook)
    for setting in MODERATE, IN_EVALUATION:
        require_new_codes(notebook, networks, setting)
    print("ok: log_weights(x, k) draws k codes from q(z | x) for each digit")
    for setting, digits in (MODERATE, likely_digits), (IN_EVALUATION, random_digits):
        for k in 6, 1:
            require_weights(notebook, networks, setting, k, digits)
    print("ok: its values are the log importance weights of these codes")
    for setting, digits in (MODERATE, likely_digits), (IN_EVALUATION, random_digits):
        for k in 6, 1:
            require_bound(notebook, networks, setting, k, digits)
    print("ok: iwae(x, k) is the importance-weighted bound for these codes")


def random_digits(notebook, decoder):
    """Digits to which the decoder gives a probability far below the smallest positive float."""
    return notebook.pixels(5, seed=1500)


def many_digits(notebook, decoder):
    return notebook.pixels(700, seed=1510)


def require_new_codes(notebook, networks, setting):
    _, tried = try_weights(notebook, networks, "log_weights", setting, 3, many_digits)
    z, mean, log_std, _ = max(tried, key=lambda t: t[-1].log_q_z.sum())
    name = f"log_weights(x, 3) {setting}"
    once = f"{name}: the k codes of each digit are the same. Is one code used k times?"
    require(not torch.equal(z[:, 0], z[:, 1]), once)
    rows = [t.flatten(end_dim=1) for t in (z, mean, log_std)]
    require_draws(f"{name}: the codes z that the decoder is given", *rows)


def require_one_of(name, found, cases, otherwise, tolerance=1e-4):
    """The values are right for one of the cases (exact values, mistakes): orders of the codes.

    If not, the message is of the case in which a mistake explains them.
    """
    failures = []
    for exact, mistakes in cases:
        try:
            return require_same(name, found, exact, mistakes, otherwise, tolerance)
        except CheckFailed as failure:
            failures.append(failure)
    explained = [failure for failure in failures if otherwise not in str(failure)]
    raise [*explained, *failures][0]


def require_weights(notebook, networks, setting, k, digits):
    """log_weights(x, k) against the exact log weights, with the codes of a digit in any order."""
    found, tried = try_weights(notebook, networks, "log_weights", setting, k, digits)
    otherwise = (
        "Is each weight log p(x, z) - log q(z | x) of one code and the digit it was drawn for, in "
        "the row of this digit?"
    )
    cases = []
    for *_, weights in tried:
        values = {"": weights.exact, **wrong_weights(weights)}
        values = {question: of.sort(dim=1).values for question, of in values.items()}
        cases.append((values.pop(""), values))
    name = f"log_weights(x, {k}) {setting}"
    require_one_of(name, found.sort(dim=1).values, cases, otherwise)


def wrong_weights(weights):
    """Mistakes in the log weights (B, k)."""
    likelihood, prior, log_q, kl = weights
    exact, k = weights.exact, weights.exact.shape[1]
    return {
        "Are the weights the wrong way up, q / p?": -exact,
        "Did you leave out log q(z | x)?": likelihood + prior,
        "Did you leave out log p(z)?": likelihood - log_q,
        "Does log q(z | x) have the wrong sign?": likelihood + prior + log_q,
        "Does log p(z) have the wrong sign?": likelihood - prior - log_q,
        "Is log p(z) in it twice? joint_log_density has it, too.": exact + prior,
        "Is it log p(x | z) alone?": likelihood,
        "Is the KL in it? A weight needs log q(z | x) at its own code.": (likelihood - kl),
        "Are these the weights, without their logarithm?": exact.exp(),
        "Is - log k in it? It belongs to iwae.": exact - math.log(k),
        "Are the weights normalized? log_softmax belongs elsewhere.": exact.log_softmax(dim=1),
        "Is it summed over the codes or the digits?": exact.sum(dim=1, keepdim=True).expand_as(
            exact
        ),
        "Is the mean over the digits taken?": exact.mean(dim=0, keepdim=True).expand_as(exact),
        "Is it the ELBO, the same number for all codes?": exact.mean().expand_as(exact),
        "Are codes and digits in different orders: repeat for repeat_interleave, or (k, B) "
        "reshaped where it has to be transposed?": (exact.T.reshape(exact.shape)),
    }


def require_bound(notebook, networks, setting, k, digits):
    """iwae(x, k) against the exact bound."""
    found, tried = try_weights(notebook, networks, "iwae", setting, k, digits)
    cases = [(weights.bound, wrong_bounds(weights.exact)) for *_, weights in tried]
    name = f"iwae(x, {k}) {setting}"
    if not found.isfinite():
        underflow = "Is exp taken of log weights far below 0? Use logsumexp over a digit's codes."
        expected = tried[0][-1].bound
        raise CheckFailed(f"{name}: got {found:.6g}, expected about {expected:.6g}. {underflow}")
    otherwise = (
        f"Is it logsumexp over the {k} codes of each digit, minus log k, and the mean of it?"
    )
    require_one_of(name, found, cases, otherwise, 2e-5)


def wrong_bounds(w):
    """Mistakes in the bound, given the log weights w (B, k)."""
    log_k = math.log(w.shape[1])
    bounds = w.logsumexp(dim=1) - log_k
    return {
        "Is - log k left out?": bounds.mean() + log_k,
        "Is log k added, where it is subtracted?": bounds.mean() + 2 * log_k,
        "Is log k subtracted from each weight and once more?": bounds.mean() - log_k,
        "Is the logsumexp divided by k, where log k is subtracted?": (bounds + log_k).mean()
        / w.shape[1],
        "Is it the mean of the log weights, the ELBO? The mean belongs inside the logarithm.": (
            w.mean()
        ),
        "Is log k subtracted from the mean of the log weights?": w.mean() - log_k,
        "Is it the sum over the digits, where their mean belongs?": bounds.sum(),
        "Is log k subtracted from the sum over the digits?": (bounds + log_k).sum() - log_k,
        "Is the logsumexp over the digits, not over the codes?": (
            (w.logsumexp(dim=0) - math.log(len(w))).mean()
        ),
        "Is the logsumexp over the digits, with - log k?": (w.logsumexp(dim=0) - log_k).mean(),
        "Is the logsumexp over digits and codes together?": w.flatten().logsumexp(0) - log_k,
        "Is the logsumexp over digits and codes, with the log of their number?": (
            w.flatten().logsumexp(0) - math.log(w.numel())
        ),
        "Is it the largest of the weights?": w.amax(dim=1).mean(),
        "Is it the softmax-weighted mean of the log weights?": (
            (w.softmax(dim=1) * w).sum(dim=1).mean()
        ),
        "Are the weights the wrong way up, q / p?": (-w).logsumexp(dim=1).mean() - log_k,
        "Is it in bits? Nats are expected.": bounds.mean() / math.log(2),
    }
