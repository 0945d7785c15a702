"""The estimate of the ELBO, and its gradient."""

import math
from typing import NamedTuple

import torch

from . import reference
from .checking import CheckFailed, Ddata, Dz, gradients_of, require, require_shape, same
from .networks import other_weights

# Scales of the last layers of encoder and decoder.
MODERATE, NEAR_THE_PRIOR, SURE_OF_PIXELS = (2.5, 8.0), (0.1, 8.0), (1.0, 60.0)


class Trial(NamedTuple):
    """One call of elbo(x), with other weights in both networks, and the codes drawn in it."""

    value: torch.Tensor
    x: torch.Tensor
    encoder: torch.nn.Module
    decoder: torch.nn.Module
    codes: torch.Tensor  # (n, Dz)
    owners: torch.Tensor  # the digit of each code, (n,)

    def q(self):
        """Mean and log standard deviation of each code's q, (n, Dz) each."""
        return [t[self.owners].double() for t in self.encoder(self.x)]

    def terms(self, cut=None):
        """Means of log p(x | z), log p(z), log q(z | x) and KL(q || p(z)), differentiable.

        cut: the name of a quantity whose gradient is cut off, of those in CUT.
        """

        def kept(name, t):
            return t.detach() if name == cut else t

        q_mean, q_log_std = self.q()
        noise = ((self.codes - q_mean) / q_log_std.exp()).detach()
        std = kept("q_log_std in the sample", q_log_std).exp()
        z = kept("z", kept("q_mean in the sample", q_mean) + std * noise)
        y = kept("decoder", self.decoder(kept("decoded z", z).float()).double())
        q = [kept("parameters of log q", t) for t in (q_mean, q_log_std)]
        log_p_x = reference.bernoulli_log_density(self.x[self.owners].double(), y).sum(dim=1)
        log_p_z = kept("log p(z)", reference.log_prior(z))
        log_q_z = kept("log q", reference.log_q(z, *q))
        kl = kept("KL", reference.kl_divergence(q_mean, q_log_std))
        return torch.stack([t.mean() for t in (log_p_x, log_p_z, log_q_z, kl)])

    def estimates(self, cut=None):
        """The paper's two estimators of the ELBO: A, and B with the divergence in closed form."""
        likelihood, prior, log_q, kl = self.terms(cut)
        return likelihood + prior - log_q, likelihood - kl

    def is_correct(self):
        return any(same(self.value.double(), e, 2e-5) for e in self.estimates())


def try_elbo(notebook, scales, seed=0, n=5, x=None, noise=0):
    """Call elbo on n digits that the decoder finds likely, or on those given."""
    seen = []
    encoder = other_weights(notebook, "encoder", 1100 + seed, outputs=scales[0])
    decoder = other_weights(notebook, "decoder", 1200 + seed, 0.3, scales[1], seen)
    if x is None:
        with torch.no_grad():
            likely = decoder(notebook.numbers(n, Dz, seed=1300 + seed).float() / 3) > 0
        flipped = notebook.numbers(n, Ddata, seed=1400 + seed, dtype=torch.float32) > 2.5
        x = (likely ^ flipped).float()
    seen.clear()
    torch.manual_seed(notebook.SEED + 100 * seed + noise)
    with notebook.alone("elbo", encoder=encoder, decoder=decoder):
        value = notebook.elbo(x)
    require_shape("elbo(x)", value, (), "Is the mean over the batch missing?")
    codes = torch.cat([x.new_empty(0, Dz), *(in_rows(z, len(x)) for z in seen)]).double()
    given = f"elbo(x): the decoder is given {len(codes)} codes for {len(x)} digits"
    one_each = len(codes) and len(codes) % len(x) == 0
    require(one_each, f"{given}, expected one code for each digit.")
    owners = torch.arange(len(x), device=x.device)
    draws = [Trial(value, x, encoder, decoder, part, owners) for part in codes.split(len(x))]
    owners = owners.repeat(len(codes) // len(x))
    draws.append(Trial(value, x, encoder, decoder, codes, owners))  # a mean over several draws
    with torch.no_grad():
        return next((trial for trial in draws if trial.is_correct()), draws[0])


def in_rows(z, n):
    """The codes of n digits as (n, Dz), or several such parts below each other."""
    while torch._C._functorch.is_functorch_wrapped_tensor(z):  # by torch.func.vmap
        z = torch._C._functorch.get_unwrapped(z)
    if z.dim() == 3 and len(z) == n:  # several codes for each digit
        z = z.transpose(0, 1)
    return z.detach().reshape(-1, Dz)


def elbo(notebook):
    """Your Monte Carlo estimate against what it must be for the codes that it has drawn.

    The check puts other weights into copies of your networks, calls elbo(x), and notes the codes z
    that the decoder is given. For them the estimate has one value,

        log p(x | z) + log p(z) - log q(z | x)    or    log p(x | z) - KL(q(z | x) || p(z)),

    the paper's estimators A and B, each a mean over the batch: up to rounding elbo(x) must be one
    of the two. Whether the codes are draws from q(z | x) is another question: then the numbers
    (z - q_mean) / exp(q_log_std) look like independent standard normal ones.
    """
    with torch.no_grad():
        first, again = try_elbo(notebook, MODERATE), try_elbo(notebook, MODERATE, noise=1)
        is_mean = same(first.codes, first.q()[0])
        question = "The decoder is given q_mean itself: is z sampled?" if is_mean else ""
        require(
            first.value != again.value and not torch.equal(first.codes, again.codes),
            f"elbo(x) returns the same number each time, {first.value:.6g}. {question}",
        )
        require_draws(try_elbo(notebook, MODERATE, x=notebook.pixels(1500, seed=1080)))
        print("ok: elbo(x) gives the decoder new draws from q(z | x) each time")
        trials = {s: try_elbo(notebook, s, 1) for s in (MODERATE, NEAR_THE_PRIOR, SURE_OF_PIXELS)}
        wrong = [scales for scales, trial in trials.items() if not trial.is_correct()]
        if wrong:
            raise CheckFailed(about_value(notebook, wrong, trials[wrong[0]]))
    print("ok: its value is the estimate of the ELBO for these codes")


# What the codes would be made of if they were not draws from q: centre and scale of the noise.
OTHER_DRAWS = {
    "Is z drawn from the prior?": lambda m, s: (0 * m, 0 * s + 1),
    "Are q_mean and q_log_std exchanged?": lambda m, s: (s, m.exp()),
    "Is the noise scaled by exp(2 q_log_std), the variance?": lambda m, s: (m, torch.exp(2 * s)),
    "Is q_log_std taken for the log of the variance?": lambda m, s: (m, torch.exp(s / 2)),
    "Is the noise not scaled by exp(q_log_std)?": lambda m, s: (m, 0 * s + 1),
    "Is q_mean not added?": lambda m, s: (0 * m, s.exp()),
    "Does sample_gaussian get the standard deviation?": lambda m, s: (m, s.exp().exp()),
    "Is the noise scaled by q_log_std itself?": lambda m, s: (m, s),
}


def require_draws(trial):
    """The codes of many digits are draws from q(z | x), each with noise of its own."""
    mean, log_std = trial.q()
    noise, question = (trial.codes - mean) / log_std.exp(), ""
    for other, of in OTHER_DRAWS.items():
        centre, scale = of(mean, log_std)
        if is_standard_normal((trial.codes - centre) / scale, log_std):
            question = other
    if len((noise * 1e4).round().unique(dim=0)) < 0.9 * len(noise):
        question = "Is the same noise used for all digits of the batch?"
    elif torch.corrcoef(noise.T)[0, 1].abs() > 0.9:
        question = "Is the same noise used for both dimensions?"
    require(
        is_standard_normal(noise, log_std),
        "elbo(x): the decoder is not given independent draws from q(z | x): the noise (z - q_mean) "
        f"/ exp(q_log_std) has the mean {noise.mean():.3g} and the standard deviation "
        f"{noise.std():.3g}, expected 0 and 1. {question}",
    )


def is_standard_normal(noise, log_std):
    """Whether numbers (n, Dz) are normal and independent, as far as six standard errors tell."""
    bound = 6 / math.sqrt(len(noise))
    correlations = torch.corrcoef(torch.cat([noise, noise**2, log_std], dim=1).T)
    return (
        noise.mean(dim=0).abs().max() < bound
        and (noise.var(dim=0) - 1).abs().max() < math.sqrt(2) * bound
        and noise.abs().max() > 2.5
        and correlations[0, 1].abs() < bound
        and correlations[2:4, 4:].abs().max() < bound
        and (noise[1:] * noise[:-1]).mean(dim=0).abs().max() < bound
    )


# Twice the KL of each dimension, as mistakes have it.
KL_MISTAKES = {
    "Did you write sigma where sigma squared belongs?": lambda m, s: m**2 + s.exp() - 1 - 2 * s,
    "Did you take q_log_std for the log of the variance?": lambda m, s: m**2 + s.exp() - 1 - s,
    "Did you leave out the 2 of 2 q_log_std?": lambda m, s: m**2 + torch.exp(2 * s) - 1 - s,
    "Did you leave out the 1?": lambda m, s: m**2 + torch.exp(2 * s) - 2 * s,
}


def about_value(notebook, wrong, trial):
    """What a wrong elbo(x) returned, what it must return, and what explains the difference."""
    a, b = trial.estimates()
    found = f"elbo(x): got {trial.value:.6g}, expected {a:.6g}"
    if wrong == [SURE_OF_PIXELS] or not trial.value.isfinite():
        return (
            f"{found}. The decoder is sure of most pixels here: is the Bernoulli density computed "
            "from the mean, with a small number added, or clamped?"
        )
    more = [try_elbo(notebook, MODERATE, seed) for seed in range(10, 22)]
    terms, values = (torch.stack(t) for t in zip(*((t.terms(), t.value.double()) for t in more)))
    factors = torch.linalg.lstsq(terms, values[:, None]).solution[:, 0]
    if same(terms @ factors, values, 2e-5) and wrong[0] == MODERATE:
        return f"{found}. {about_factors(factors.tolist())}"
    again = try_elbo(notebook, wrong[0], 1, noise=2)
    kl, other_kl = (t.terms()[0] - t.value for t in (trial, again))
    if not same(kl, other_kl, 1e-3):
        return (
            f"{found}. It is no sum of log p(x | z), log p(z), log q(z | x) and the KL: are all of "
            "the z that is decoded, and is nothing clamped or added inside a logarithm?"
        )
    mistakes = [q for q, of in KL_MISTAKES.items() if same(kl, of(*trial.q()).sum(1).mean() / 2)]
    question = (mistakes or ["Is a term of it wrong, or clamped?"])[0]
    return (
        f"elbo(x): got {trial.value:.6g}, expected {b:.6g}. log p(x | z) is correct, and what is "
        f"subtracted, a KL in closed form, is {kl:.6g}, expected {trial.terms()[3]:.6g}. {question}"
    )


def about_factors(factors):
    """What elbo(x) is a sum of, and a question about the first term that is not as it must be."""
    names = "log p(x | z)", "log p(z)", "log q(z | x)", "KL(q || p(z))"
    factors = dict(zip(names, (round(f, 3) for f in factors)))
    parts = [
        f"{'-' if f < 0 else '+'} {f'{abs(f):g} ' if abs(f) != 1 else ''}{name}"
        for name, f in factors.items()
        if f
    ]
    closed_form = factors["KL(q || p(z))"] and not (factors["log p(z)"] or factors["log q(z | x)"])
    expected = (1, 0, 0, -1) if closed_form else (1, 1, -1, 0)
    found = f"It is {' '.join(parts).removeprefix('+ ') or 'zero'}"
    wrong = [(name, e) for name, e in zip(names, expected) if factors[name] != e]
    if not wrong:
        return f"{found}, up to rounding: is a factor nearly 1?"
    wrong, right = wrong[0]
    if factors[wrong] == 0:
        return f"{found}: did you leave out {wrong}?"
    if factors[wrong] == -right:
        return f"{found}: does {wrong} have the wrong sign?"
    return f"{found}: did you give {wrong} the factor {factors[wrong]:g} instead of {right}?"


# The gradient ----------------------------------------------------------------------------------

CUT = {
    "z": "Is the sample cut off from q_mean and q_log_std (detach, no_grad)?",
    "q_mean in the sample": "Is q_mean cut off (detach) in the sample?",
    "q_log_std in the sample": "Is q_log_std cut off (detach) in the sample?",
    "decoded z": "Is z cut off (detach) where it is decoded?",
    "decoder": "Is the decoder's output cut off (detach, no_grad)?",
    "log p(z)": "Is log p(z) cut off (detach)?",
    "log q": "Is log q(z | x) cut off (detach)?",
    "KL": "Is the KL cut off (detach)?",
}


def gradients(notebook):
    """The gradient of elbo(x) against that of the exact estimate for the codes that it has drawn.

    It is taken with respect to all parameters of both networks, which are copies of yours with
    other weights. See checks.elbo for the estimates A and B. A third one has the value of A and
    another correct gradient: log q(z | x) is differentiated through z alone.
    """
    trial = try_elbo(notebook, (1.0, 12.0), n=3)
    require(
        trial.is_correct(),
        f"elbo(x): got {trial.value:.6g}, expected {trial.estimates()[0]:.6g}. This is not the "
        "ELBO's value, and so not its gradient: what does checks.elbo() say?",
    )
    cut = "Is it computed under no_grad, detached, or made a plain number?"
    require(trial.value.requires_grad, f"elbo(x): got no gradient. {cut}")
    which = [same(trial.value.double(), e, 2e-5) for e in trial.estimates()].index(True)
    networks = {"encoder": trial.encoder, "decoder": trial.decoder}

    def gradient(value):
        parts = [gradients_of(value, [*network.parameters()]) for network in networks.values()]
        return [torch.cat([g.flatten() for g in part]) for part in parts]

    def exact(cut=None):
        return gradient(trial.estimates(cut)[which])

    found, expected, question = gradient(trial.value), exact(), ""
    if not alike(found, expected):
        if alike(found, exact("parameters of log q")) and which == 0:
            expected = found
        question = next((q for cut, q in CUT.items() if alike(found, exact(cut))), "")
        if not all(g.isfinite().all() for g in found):
            question = "Does torch.where, or a factor 0, meet an infinite derivative?"
    for name, got, right in zip(networks, found, expected):
        require(
            alike([got], [right]),
            f"elbo(x): its gradient with respect to the {name}'s parameters has the length "
            f"{got.norm():.4g}, expected {right.norm():.4g}. {question}",
        )
        print(f"ok: the gradient of elbo(x) with respect to the {name}'s parameters is correct")


def alike(gradients, exact):
    """Equal up to rounding, which is that of the largest numbers."""
    return all((g - e).abs().max() <= 1e-3 * e.abs().max() for g, e in zip(gradients, exact))
