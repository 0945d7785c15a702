"""The importance weights, and the tighter bound that they give."""

import math

import torch

from . import reference
from .checking import require, require_same, require_shape
from .networks import inputs_of
from .objective import MODERATE, SURE_OF_PIXELS, likely_digits, random_networks
from .samplers import require_draws

IN_EVALUATION = SURE_OF_PIXELS._replace(training=False)


def try_weights(notebook, name, setting, k, digits=likely_digits, noise=0):
    """Call log_weights(x, k) or iwae(x, k), whichever has this name, and note the codes it draws.

    Accepted are k batches of B codes and one batch of B k codes, in either order: draw after draw
    for all digits, or digit after digit with all of its draws.
    Returns: the value; z, q_mean, q_log_std, (B, k, Dz); the exact log weights, (B, k), in double.
    """
    with random_networks(notebook, "log_weights", setting) as (encoder, decoder):
        x = digits(notebook, decoder)
        notebook.seed(noise)
        with inputs_of(decoder, notebook.Dz) as seen:
            value = getattr(notebook, name)(x.clone(), k)
        B, Dz = len(x), notebook.Dz
        shape, what = ((B, k), "one row for each digit") if name == "log_weights" else ((), "a mean")
        require_shape(f"{name}(x, {k})", value, shape, f"Expected is {what}.")
        codes = torch.cat([x.new_empty(0, Dz), *seen]).double()
        question = "Is one code used k times?" if len(codes) == B and k > 1 else ""
        require(
            len(codes) == B * k,
            f"{name}(x, {k}): the decoder is given {len(codes)} codes for {B} digits, expected "
            f"{k} for each digit, decoded by the notebook's decoder(z). {question}",
        )
        with torch.no_grad():
            mean, log_std = (t.double()[:, None].expand(B, k, Dz) for t in encoder(x))
            orders = codes.reshape(k, B, Dz).transpose(0, 1), codes.reshape(B, k, Dz)
            z = min(orders, key=lambda z: (((z - mean) / log_std.exp()) ** 2).mean())
            y = decoder(z.float())
            likelihood = reference.log_likelihood_of(x[:, None], y)
            exact = likelihood + reference.log_prior(z) - reference.log_q(z, mean, log_std)
        return value.detach().double(), z, mean, log_std, exact, likelihood


def iwae(notebook):
    """The log weights and their bound against the values they must have for the codes drawn.

    The check puts other weights into both networks, calls log_weights(x, k) and iwae(x, k), and
    notes the codes z that the decoder is given, k for each digit. For these codes

        log_weights = log p(x | z) + log p(z) - log q(z | x), (B, k),
        iwae = the mean over the digits of logsumexp(log_weights) - log k, where the logsumexp is
               over the codes of a digit.

    And the codes must be draws from q(z | x), as in checks.elbo().
    """
    for setting in MODERATE, IN_EVALUATION:
        require_new_codes(notebook, setting)
    print("ok: log_weights(x, k) draws k codes from q(z | x) for each digit")
    for setting, digits in (MODERATE, likely_digits), (IN_EVALUATION, random_digits):
        for k in 6, 1:
            require_weights(notebook, setting, k, digits)
    print("ok: its values are the log importance weights of these codes")
    for setting, digits in (MODERATE, likely_digits), (IN_EVALUATION, random_digits):
        for k in 6, 1:
            require_bound(notebook, setting, k, digits)
    print("ok: iwae(x, k) is the importance-weighted bound for these codes")


def random_digits(notebook, decoder):
    """Digits to which the decoder gives a probability far below the smallest positive float."""
    return notebook.pixels(5, seed=1500)


def require_new_codes(notebook, setting):
    _, z, mean, log_std, *_ = try_weights(
        notebook, "log_weights", setting, 3, lambda notebook, _: notebook.pixels(700, seed=1510)
    )
    name = f"log_weights(x, 3) {setting}"
    once = f"{name}: the k codes of each digit are the same. Is one code used k times?"
    require(not torch.equal(z[:, 0], z[:, 1]), once)
    rows = [t.flatten(end_dim=1) for t in (z, mean, log_std)]
    require_draws(f"{name}: the codes z that the decoder is given", *rows)


def require_weights(notebook, setting, k, digits):
    found, z, mean, log_std, exact, likelihood = try_weights(
        notebook, "log_weights", setting, k, digits, noise=1
    )
    prior, log_q = reference.log_prior(z), reference.log_q(z, mean, log_std)
    mistakes = {
        "Are the weights the wrong way up, q / p?": -exact,
        "Did you leave out log q(z | x)?": likelihood + prior,
        "Did you leave out log p(z)?": likelihood - log_q,
        "Does log q(z | x) have the wrong sign?": likelihood + prior + log_q,
        "Does log p(z) have the wrong sign?": likelihood - prior - log_q,
        "Is log p(z) in it twice? joint_log_density has it, too.": exact + prior,
        "Is it log p(x | z) alone?": likelihood,
        "Is the KL in it? A weight needs log q(z | x) at its own code.": (
            likelihood - reference.kl_divergence(mean, log_std)
        ),
        "Are these the weights, without their logarithm?": exact.exp(),
        "Is - log k in it? It belongs to iwae.": exact - math.log(k),
        "Are the weights normalized? log_softmax belongs elsewhere.": exact.log_softmax(dim=1),
        "Is it summed over the codes or the digits?": exact.sum(dim=1, keepdim=True).expand_as(exact),
        "Is the mean over the digits taken?": exact.mean(dim=0, keepdim=True).expand_as(exact),
        "Is it the ELBO, the same number for all codes?": exact.mean().expand_as(exact),
        "Are codes and digits in different orders: repeat for repeat_interleave?": (
            exact.T.reshape(exact.shape)
        ),
    }
    in_order = {question: values.sort(dim=1).values for question, values in mistakes.items()}
    otherwise = (
        "Is each weight log p(x, z) - log q(z | x) of one code and the digit it was drawn for, in "
        "the row of this digit?"
    )
    name = f"log_weights(x, {k}) {setting}"
    found, exact = found.sort(dim=1).values, exact.sort(dim=1).values  # in any order of the codes
    require_same(name, found, exact, in_order, otherwise)


def require_bound(notebook, setting, k, digits):
    found, *_, w, _ = try_weights(notebook, "iwae", setting, k, digits, noise=2)
    bounds, log_k = w.logsumexp(dim=1) - math.log(k), math.log(k)
    naive = "Is it the log of a mean of exp(log_weights), which underflows? Use logsumexp."
    mistakes = {
        naive: w.float().exp().mean(dim=1).log().mean().double(),
        "Is - log k left out?": bounds.mean() + log_k,
        "Is log k added, where it is subtracted?": bounds.mean() + 2 * log_k,
        "Is log k subtracted from each weight and once more?": bounds.mean() - log_k,
        "Is the logsumexp divided by k, where log k is subtracted?": (bounds + log_k).mean() / k,
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
    underflow = "Is exp taken of log weights far below 0? Use logsumexp over the codes of a digit."
    otherwise = underflow if not found.isfinite() else (
        f"Is it logsumexp over the {k} codes of each digit, minus log k, averaged over the digits?"
    )
    name = f"iwae(x, {k}) {setting}"
    if not found.isfinite():
        require(False, f"{name}: got {found:.6g}, expected {bounds.mean():.6g}. {underflow}")
    require_same(name, found, bounds.mean(), mistakes, otherwise, 2e-5)
