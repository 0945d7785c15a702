"""The estimate of the ELBO, and its gradient."""

from typing import NamedTuple

import torch

from . import reference
from .checking import (
    Ddata,
    Dz,
    gradients_of,
    require,
    require_same,
    require_shape,
    same,
)
from .networks import other_weights
from .samplers import require_draws

# Scales of the last layers of encoder and decoder.
MODERATE, NEAR_THE_PRIOR, SURE_OF_PIXELS = (1.5, 8.0), (0.1, 8.0), (1.0, 60.0)
WIDE = (6.0, 8.0)  # q_log_std is clamped here if it is anywhere


class Trial(NamedTuple):
    """One call of elbo(x), with other weights in both networks, and the codes drawn in it."""

    value: torch.Tensor
    x: torch.Tensor
    encoder: torch.nn.Module
    decoder: torch.nn.Module
    codes: torch.Tensor  # one for each digit, or several times that, (n, Dz)

    def for_codes(self, t):
        """What belongs to the digits, for each of the codes, in double precision."""
        return t.repeat(len(self.codes) // len(self.x), 1).double()

    def q(self):
        """Mean and log standard deviation of each code's q, (n, Dz) each."""
        return [self.for_codes(t) for t in self.encoder(self.x)]

    def terms(self, detached=""):
        """Means of log p(x | z), log p(z), log q(z | x), KL(q || p(z)), and q's entropy.

        detached: the part whose gradient is cut off, of those in DETACHED.
        """

        def part(name, t):
            return t.detach() if name == detached else t

        q_mean, q_log_std = self.q()
        noise = ((self.codes - q_mean) / q_log_std.exp()).detach()
        z = part("z", q_mean + q_log_std.exp() * noise)
        y = self.decoder(part("log p(x | z) or its z", z).float()).double()
        log_p_x = reference.bernoulli_log_density(self.for_codes(self.x), y).sum(dim=1)
        log_p_z = part("log p(z)", reference.log_prior(z))
        parameters = part("parameters of log q", q_mean), part("parameters of log q", q_log_std)
        log_q_z = part("log q(z | x)", reference.log_q(z, *parameters))
        kl = part("the KL", reference.kl_divergence(q_mean, q_log_std))
        entropy = part("the entropy", reference.entropy(q_log_std))
        return torch.stack([t.mean() for t in (log_p_x, log_p_z, log_q_z, kl, entropy)])

    def estimate(self, detached=""):
        """Of the three that checks.elbo accepts the one that is closest to the value."""
        log_p_x, log_p_z, log_q_z, kl, entropy = self.terms(detached)
        joint = log_p_x + log_p_z
        estimates = joint - log_q_z, log_p_x - kl, joint + entropy
        return min(estimates, key=lambda estimate: (estimate - self.value).abs())


def error_of_value(trial):
    return (trial.value - trial.estimate()).abs()


def error_of_noise(trial):
    mean, log_std = trial.q()
    square = ((trial.codes - mean) / log_std.exp()).square().mean()
    return (square - 1).abs().round(decimals=6)  # equal for codes that are decoded twice


def try_elbo(notebook, scales, x=None, draw=0, error=error_of_value):
    """Call elbo on five digits that the decoder finds likely, or on those given.

    Of several codes for each digit, whose order is not known, those are noted that fit best.
    """
    seen = []
    encoder = other_weights(notebook, "encoder", 1100, outputs=scales[0])
    decoder = other_weights(notebook, "decoder", 1200, 0.3, scales[1], seen)
    if x is None:
        with torch.no_grad():
            likely = decoder(notebook.numbers(5, Dz, seed=1300).float() / 3) > 0
        x = (likely ^ (notebook.numbers(5, Ddata, seed=1400) > 2.5)).float()
    seen.clear()
    torch.manual_seed(notebook.SEED + draw)
    with notebook.alone("elbo", encoder=encoder, decoder=decoder):
        value = notebook.elbo(x.clone())  # which it may change
    require_shape("elbo(x)", value, (), "Is the mean over the batch missing?")
    codes = torch.cat([x.new_empty(0, Dz), *map(in_rows, seen)]).double()
    require(
        len(codes) and len(codes) % len(x) == 0,
        f"elbo(x): the decoder is given {len(codes)} codes for {len(x)} digits, expected one code "
        "for each digit. Does it call the notebook's decoder?",
    )
    by_digit = codes.reshape(len(x), -1, Dz).transpose(0, 1).reshape(-1, Dz)
    draws = *codes.split(len(x)), codes, by_digit  # one of several draws, or their mean
    trials = [Trial(value, x, encoder, decoder, part) for part in draws]
    with torch.no_grad():
        return min(trials, key=error)


def in_rows(z):
    """The codes that a decoder is given, (n, Dz)."""
    while torch._C._functorch.is_functorch_wrapped_tensor(z):  # by torch.func.vmap
        z = torch._C._functorch.get_unwrapped(z)
    return z.detach().reshape(-1, Dz)


def elbo(notebook):
    """Your Monte Carlo estimate against what it must be for the codes that it has drawn.

    The check puts other weights into copies of your networks, calls elbo(x), and notes the codes z
    that the decoder is given. For them the estimate has one value, a mean over the batch:

        log p(x | z) + log p(z) - log q(z | x), the paper's estimator A,
        log p(x | z) - KL(q(z | x) || p(z)), its estimator B, or
        log p(x | z) + log p(z) + the entropy of q(z | x).

    Up to rounding elbo(x) must be one of the three. Whether the codes are draws from q(z | x) is
    another question: then the numbers (z - q_mean) / exp(q_log_std) look like independent standard
    normal ones.
    """
    with torch.no_grad():
        first, again = (try_elbo(notebook, MODERATE, draw=i) for i in (0, 1))
        same_codes = "elbo(x): two calls give the decoder the same codes. Is z sampled, and afresh?"
        require(not torch.equal(first.codes, again.codes), same_codes)
        digits = notebook.pixels(2000, seed=1080)
        many = try_elbo(notebook, WIDE, digits, error=error_of_noise)
        order = many.q()[1].sum(dim=1).argsort()  # with those of small log_std in the first half
        what = "elbo(x): the codes z that the decoder is given"
        require_draws(what, *(t[order] for t in (many.codes, *many.q())))
        print("ok: elbo(x) gives the decoder new draws from q(z | x) each time")
        for draw, scales in enumerate((MODERATE, NEAR_THE_PRIOR, SURE_OF_PIXELS)):
            require_value(try_elbo(notebook, scales, draw=draw), scales == SURE_OF_PIXELS)
    print("ok: its value is the estimate of the ELBO for these codes")


def require_value(trial, is_sure):
    """The value of elbo(x) is the estimate; if not, which mistake explains it."""
    log_p_x, log_p_z, log_q_z, kl, _ = trial.terms()
    estimate, (m, s) = log_p_x + log_p_z - log_q_z, trial.q()

    def with_kl(mean, log_std, variance):
        return log_p_x - (mean**2 + variance - 1 - 2 * log_std).sum(dim=1).mean() / 2

    mistakes = {
        "Does it have the wrong sign?": -estimate,
        "Did you leave out log q(z | x)?": log_p_x + log_p_z,
        "Does log q(z | x) have the wrong sign?": log_p_x + log_p_z + log_q_z,
        "Did you leave out log p(z)?": log_p_x - log_q_z,
        "Is log p(z) in it twice? joint_log_density has it, too.": estimate + log_p_z,
        "Is it log p(x | z) alone?": log_p_x,
        "Is it the sum over the digits, not their mean?": len(trial.x) * estimate,
        "Is it the mean over the pixels, too?": estimate / Ddata,
        "Does the KL have the wrong sign?": log_p_x + kl,
        "Did you leave out the 1/2 of the KL?": log_p_x - 2 * kl,
        "Is log p(z) in it beside the KL?": log_p_x + log_p_z - kl,
        "Did you write sigma where sigma squared belongs in the KL?": with_kl(m, s, s.exp()),
        "Did you take q_log_std for the log of the variance?": with_kl(m, s / 2, s.exp()),
    }
    otherwise = (
        f"For these codes log p(x | z) is {log_p_x:.6g}, log p(z) {log_p_z:.6g}, log q(z | x) "
        f"{log_q_z:.6g} and the KL {kl:.6g}. Are all of the z that is decoded, is each there once, "
        "and nothing added or clamped?"
    )
    if is_sure:
        otherwise = "Is the Bernoulli density computed from the mean, which is nearly 0 or 1 here?"
    require_same("elbo(x)", trial.value.double(), trial.estimate(), mistakes, otherwise, 2e-5)


# The gradient ----------------------------------------------------------------------------------

DETACHED = "z", "log p(x | z) or its z", "log p(z)", "log q(z | x)", "the KL", "the entropy"


def gradients(notebook):
    """The gradient of elbo(x) against that of the exact estimate for the codes that it has drawn.

    It is taken with respect to all parameters of both networks, which are copies of yours with
    other weights. See checks.elbo for the estimates. One more has the value of A and another
    correct gradient: log q(z | x) is differentiated through z alone.
    """
    trial = try_elbo(notebook, (1.0, 12.0))
    wrong = "This is not the ELBO's value, and so not its gradient: what does checks.elbo() say?"
    require_same("elbo(x)", trial.value.double(), trial.estimate(), {}, wrong, 2e-5)
    cut = "Is it computed under no_grad, detached, or made a plain number?"
    require(trial.value.requires_grad, f"elbo(x): got no gradient. {cut}")

    def gradient(value, network):
        slopes = gradients_of(value, [*network.parameters()])
        return torch.cat([slope.flatten() for slope in slopes])

    otherwise = "Is a part of it cut off (detach, no_grad), or does checks.elbo() fail, too?"
    for name, network in ("encoder", trial.encoder), ("decoder", trial.decoder):
        found = gradient(trial.value, network)
        exact = {part: gradient(trial.estimate(part), network) for part in ("", *DETACHED)}
        third = gradient(trial.estimate("parameters of log q"), network)
        expected = third if same(found, third, 1e-3) else exact.pop("")
        mistakes = {f"Is {part} cut off (detach, no_grad)?": exact[part] for part in DETACHED}
        what = f"the gradient of elbo(x) with respect to the {name}'s parameters"
        require_same(what, found, expected, mistakes, otherwise, 1e-3)
        print(f"ok: {what} is correct")
