"""The estimate of the ELBO, and its gradient."""

import math
from typing import NamedTuple

import torch

from . import reference
from .checking import CheckFailed, gradients_of, require, require_shape, same
from .networks import other_weights
from .reference import Ddata, Dz

# Scales of the last layers of encoder and decoder.
MODERATE = (1.0, 8.0)
NEAR_THE_PRIOR = (0.1, 8.0)
SURE_OF_PIXELS = (1.0, 60.0)


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
        return (t[self.owners].double() for t in self.encoder(self.x))

    def terms(self, cut=lambda name, t: t):
        """The terms of the ELBO for these codes, differentiable in both networks' parameters.

        cut: is given each quantity with its name, and may cut its gradient.
        """
        q_mean, q_log_std = self.q()
        noise = ((self.codes - q_mean) / q_log_std.exp()).detach()
        std = cut("q_log_std in the sample", q_log_std).exp()
        z = cut("z", cut("q_mean in the sample", q_mean) + std * noise)
        logit_means = self.decoder(cut("z in the likelihood", z).float()).double()
        logit_means = cut("the decoder's output", logit_means)
        parameters = (cut("the parameters of log q", t) for t in (q_mean, q_log_std))
        likelihood = reference.bernoulli_log_density(self.x[self.owners].double(), logit_means)
        return Terms(
            likelihood.sum(dim=1).mean(),
            cut("log p(z)", reference.log_prior(z).mean()),
            cut("log q", reference.log_q(z, *parameters).mean()),
            cut("the KL divergence", reference.kl_divergence(q_mean, q_log_std).mean()),
        )


class Terms(NamedTuple):
    """Means over the codes of log p(x | z), log p(z), log q(z | x) and KL(q || p(z)), in nats."""

    likelihood: torch.Tensor
    prior: torch.Tensor
    log_q: torch.Tensor
    kl: torch.Tensor

    def estimators(self):
        """The paper's two estimators of the ELBO: A, and B with the divergence in closed form."""
        return self.likelihood + self.prior - self.log_q, self.likelihood - self.kl


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
    torch.manual_seed(notebook.SEED + seed + 100 * noise)
    with notebook.alone("elbo", encoder=encoder, decoder=decoder):
        value = notebook.elbo(x)
    require_shape("elbo(x)", value, (), "Is the mean over the batch missing?")
    codes, owners = drawn_codes(seen, x)
    return Trial(value, x, encoder, decoder, codes, owners)


def drawn_codes(seen, x):
    """The codes that the decoder was given in one call, (n, Dz), and which digit each is of."""
    n = len(x)
    seen = [unwrapped(z) for z in seen]
    codes = torch.cat([x.new_empty(0, Dz), *(z.reshape(-1, Dz) for z in seen)])
    each, rest = divmod(len(codes), n)
    if rest:
        raise CheckFailed(
            f"elbo(x): the decoder is given {len(codes)} codes for {n} digits, expected one code "
            "for each digit."
        )
    owners = torch.arange(n, device=x.device)
    together = len(seen) == 1 and seen[0].dim() == 3 and len(seen[0]) == n  # (n, each, Dz)
    owners = owners.repeat_interleave(each) if together else owners.repeat(each)
    return codes.double(), owners


def unwrapped(z):
    """The tensor itself, of one that torch.func.vmap passes through a function."""
    while torch._C._functorch.is_functorch_wrapped_tensor(z):
        z = torch._C._functorch.get_unwrapped(z)
    return z.detach()


def elbo(notebook):
    """Your Monte Carlo estimate against what it must be for the codes that it has drawn.

    The check puts other weights into copies of your networks and calls elbo(x). It notes the codes
    z that your decoder is given. For them the estimate has one value,

        log p(x | z) + log p(z) - log q(z | x)    or    log p(x | z) - KL(q(z | x) || p(z)),

    the paper's estimators A and B, each a mean over the batch: up to rounding elbo(x) must be one
    of the two. Whether the codes are draws from q(z | x) is another question. There
    (z - q_mean) / exp(q_log_std) must look like independent standard normal numbers.
    """
    with torch.no_grad():
        first, second = (try_elbo(notebook, MODERATE, seed) for seed in (0, 1))
        require_new_noise(first, try_elbo(notebook, MODERATE, noise=1))
        require_draws(try_elbo(notebook, MODERATE, x=notebook.pixels(1500, seed=1080)))
        trials = [first, second]
        trials += [try_elbo(notebook, scales, 2) for scales in (NEAR_THE_PRIOR, SURE_OF_PIXELS)]
        wrong = [trial for trial in trials if not is_an_estimator(trial)]
        if wrong:
            raise CheckFailed(about_value(notebook, wrong, trials))
    print("ok: its value is the ELBO's estimate for these codes, up to rounding")


def require_new_noise(first, again):
    """The same networks and digits with other noise give other codes, and another value."""
    question = "Is z sampled, with new noise in each call?"
    if len(first.codes) == 0:
        question = "It never calls decoder, by itself or through log_likelihood."
    elif same(first.codes, next(first.q())):
        question = "The decoder is given q_mean itself: is z sampled?"
    require(
        first.value != again.value and not torch.equal(first.codes, again.codes),
        "elbo(x) draws new noise each time",
        f"elbo(x) returns the same number each time, {first.value:.6g}. {question}",
    )


NOISE_OF = {
    "Is z drawn from the prior, not from q(z | x)?": lambda z, mean, log_std: z,
    "Are q_mean and q_log_std exchanged?": lambda z, mean, log_std: (z - log_std) / mean.exp(),
    "Is the noise scaled by exp(2 q_log_std), the variance?": lambda z, mean, log_std: (
        (z - mean) / torch.exp(2 * log_std)
    ),
    "Is the noise scaled by exp(q_log_std / 2)? q_log_std is the logarithm of the standard "
    "deviation, not of the variance.": lambda z, mean, log_std: (z - mean) / torch.exp(log_std / 2),
    "Is the noise not scaled by exp(q_log_std)?": lambda z, mean, log_std: z - mean,
    "Is q_mean not added?": lambda z, mean, log_std: z / log_std.exp(),
    "Is the standard deviation passed where sample_gaussian takes its logarithm?": lambda z, mean, log_std: (
        (z - mean) / log_std.exp().exp()
    ),
    "Is the noise scaled by q_log_std, not by exp(q_log_std)?": lambda z, mean, log_std: (
        (z - mean) / log_std
    ),
}


def require_draws(trial):
    """The codes of many digits are draws from q(z | x), each with noise of its own."""
    q_mean, q_log_std = trial.q()
    noise = (trial.codes - q_mean) / q_log_std.exp()
    if len((noise * 1e4).round().unique(dim=0)) < 0.9 * len(noise):
        raise CheckFailed("elbo(x): all digits of a batch have the same noise. Draw it (B, Dz).")
    if torch.corrcoef(noise.T)[0, 1].abs() > 0.9:
        raise CheckFailed("elbo(x): both dimensions of z have the same noise. Draw it (B, Dz).")
    question = ""
    if not is_standard_normal(noise, q_log_std):
        for mistake, noise_of in NOISE_OF.items():
            if is_standard_normal(noise_of(trial.codes, q_mean, q_log_std), q_log_std):
                question = mistake
    require(
        is_standard_normal(noise, q_log_std),
        "the decoder is given draws from q(z | x)",
        "elbo(x): the codes that the decoder is given are not draws from q(z | x): the noise (z - "
        f"q_mean) / exp(q_log_std) has the mean {noise.mean():.3g} and the standard deviation "
        f"{noise.std():.3g}, expected 0 and 1. {question}".rstrip(),
    )


def is_standard_normal(noise, q_log_std):
    """Whether (n, Dz) numbers may be standard normal and independent, by six standard errors."""
    bound = 6 / math.sqrt(len(noise))
    pairs = torch.corrcoef(torch.cat([noise, noise**2, q_log_std], dim=1).T)
    return (
        noise.isfinite().all()
        and noise.mean(dim=0).abs().max() < bound
        and (noise.var(dim=0) - 1).abs().max() < math.sqrt(2) * bound
        and noise.abs().max() > 2.5
        and pairs[0, 1].abs() < bound
        and pairs[2:4, 4:].abs().max() < bound
        and (noise[1:] * noise[:-1]).mean(dim=0).abs().max() < bound
    )


def is_an_estimator(trial):
    return any(same(trial.value.double(), e, 2e-5) for e in trial.terms().estimators())


# What is wrong with the value ------------------------------------------------------------------

KL_MISTAKES = {
    "Did you write sigma for sigma squared, exp(q_log_std) for exp(2 q_log_std)?": lambda m, s: (
        (m**2 + s.exp() - 1 - 2 * s) / 2
    ),
    "Did you take q_log_std for the logarithm of the variance?": lambda m, s: (
        (m**2 + s.exp() - 1 - s) / 2
    ),
    "Did you leave out the 2 of 2 q_log_std?": lambda m, s: (m**2 + (2 * s).exp() - 1 - s) / 2,
    "Did you leave out the 1?": lambda m, s: (m**2 + (2 * s).exp() - 2 * s) / 2,
    "Did you leave out the square of q_mean?": lambda m, s: (m + (2 * s).exp() - 1 - 2 * s) / 2,
}


def about_value(notebook, wrong, trials):
    """What elbo(x) returned, what it must return, and what explains the difference."""
    trial = wrong[0]
    a, b = trial.terms().estimators()
    found = f"elbo(x): got {trial.value:.6g}, expected {a:.6g}"
    found += f" (or {b:.6g} with the KL divergence in closed form)."
    if not trial.value.isfinite() or (trial is trials[3] and len(wrong) == 1):
        return (
            f"{found} The decoder is sure of most pixels here: do you compute the Bernoulli "
            "density from the mean, with a small number added, or with a clamp?"
        )
    more = [try_elbo(notebook, MODERATE, seed) for seed in range(10, 22)]
    return f"{found} {about_terms(more) or about_kl(notebook, trial, len(wrong), trials)}".rstrip()


def about_terms(trials):
    """What elbo(x) consists of and a question about that, if it is a sum of the known terms."""
    terms = torch.stack([torch.stack([*t.terms()]) for t in trials])
    values = torch.stack([t.value.double() for t in trials])
    factors = torch.linalg.lstsq(terms, values[:, None]).solution[:, 0]
    if not same(terms @ factors, values, 2e-5):
        return ""
    names = "log p(x | z)", "log p(z)", "log q(z | x)", "KL(q || p(z))"
    likelihood, prior, log_q, kl = (round(f, 3) for f in factors.tolist())
    parts = []
    for factor, name in zip((likelihood, prior, log_q, kl), names):
        if abs(factor) > 2e-3:
            size = "" if abs(factor) == 1 else f"{abs(factor):g} "
            parts.append(f"{'-' if factor < 0 else '+'} {size}{name}")
    consists = f"It is {' '.join(parts).removeprefix('+ ') or 'zero'}"
    return f"{consists}: {question_about(likelihood, prior, log_q, kl, len(trials[0].x))}"


def question_about(likelihood, prior, log_q, kl, n):
    """The question about the factors of the four terms, in a batch of n digits."""
    for factor, question in (
        (-1, "did you return the loss, which has the opposite sign?"),
        (n, "did you take the sum over the batch, not the mean?"),
    ):
        if (likelihood, prior, log_q, kl) in [
            (factor, factor, -factor, 0),
            (factor, 0, 0, -factor),
        ]:
            return question
    if likelihood != 1:
        if likelihood == 0:
            return "did you leave out log p(x | z)?"
        return "did you take the mean over the pixels, or give log p(x | z) a factor?"
    if kl and (prior or log_q):
        return "log p(z) - log q(z | x) estimates -KL: did you use both?"
    if kl:
        return "did you add the KL?" if kl > 0 else "did you give the KL a factor, or take a mean?"
    if (prior, log_q) == (0, 0):
        return "did you leave out both log p(z) and log q(z | x)?"
    if prior != 1:
        words = {0: "leave out log p(z)", 2: "add log p(z) twice", -1: "subtract log p(z)"}
        return f"did you {words.get(prior, 'give log p(z) a factor')}?"
    words = {0: "leave out log q", 1: "add log q, not subtract it", -2: "subtract log q twice"}
    return f"did you {words.get(log_q, 'give log q(z | x) a factor')}?"


def about_kl(notebook, trial, n_wrong, trials):
    """The question about a closed form of the KL, if that is where the mistake is."""
    seed = next(i for i, t in enumerate(trials) if t is trial)
    scales = [MODERATE, MODERATE, NEAR_THE_PRIOR, SURE_OF_PIXELS][seed]
    again = try_elbo(notebook, scales, min(seed, 2), noise=2)
    subtracted, again = (t.terms().likelihood - t.value for t in (trial, again))
    if not same(subtracted, again, 1e-3):
        return "Is each term given the same z, the one that was sampled?"
    q_mean, q_log_std = trial.q()
    for question, kl in KL_MISTAKES.items():
        if same(subtracted, kl(q_mean, q_log_std).sum(dim=1).mean()):
            break
    else:
        question = "Compare that with the equation."
        if n_wrong == 1 and trial is trials[2]:
            question = "Is it cut off from below (free bits)? Elsewhere it is correct."
    return (
        "What is subtracted from log p(x | z) does not depend on z, as a KL divergence in closed "
        f"form: got {subtracted:.6g}, expected {trial.terms().kl:.6g}. {question}"
    )


# The gradient ----------------------------------------------------------------------------------

CUT = {
    "z": "Is the sample z cut off from q_mean and q_log_std (detach, no_grad)?",
    "q_mean in the sample": "Is q_mean cut off (detach) where z is sampled?",
    "q_log_std in the sample": "Is q_log_std cut off (detach) where z is sampled?",
    "z in the likelihood": "Is z cut off (detach) where it is decoded?",
    "the decoder's output": "Is the decoder's output cut off (detach, no_grad)?",
    "log p(z)": "Is log p(z) cut off (detach)?",
    "log q": "Is log q(z | x) cut off (detach)?",
    "the KL divergence": "Is the KL divergence cut off (detach)?",
}


def gradients(notebook):
    """The gradient of elbo(x) against that of the exact estimate for the codes that it has drawn.

    It is taken with respect to all parameters of both networks, which are copies of yours with
    other weights. See checks.elbo for the estimate. One more estimate is correct here, which has
    the same value as A: its log q(z | x) has a gradient through z only.
    """
    trial = try_elbo(notebook, (1.0, 12.0), n=3)
    value = trial.value.double()
    if not value.isfinite():
        raise CheckFailed(f"elbo(x): got {value:.4g}, which has no gradient: see checks.elbo().")
    estimators = trial.terms().estimators()
    is_a, is_b = (same(value, e, 2e-5) for e in estimators)
    if not (is_a or is_b):
        raise CheckFailed(
            f"elbo(x): got {value:.6g}, expected {estimators[0]:.6g}: its value is not the ELBO's, "
            "and so its gradient is that of something else. See what checks.elbo() says."
        )
    require(
        trial.value.requires_grad,
        "elbo(x) can be differentiated",
        "elbo(x): got no gradient. Is it computed under no_grad, detached, or turned into a plain "
        "number?",
    )
    networks = {"encoder": trial.encoder, "decoder": trial.decoder}

    def gradient(value):
        parts = [gradients_of(value, [*network.parameters()]) for network in networks.values()]
        return [torch.cat([g.flatten() for g in part]) for part in parts]

    def gradient_without(*names):
        def cut(name, t):
            return t.detach() if name in names else t

        return gradient(trial.terms(cut).estimators()[0 if is_a else 1])

    found = gradient(trial.value)
    if not all(g.isfinite().all() for g in found):
        raise CheckFailed(
            "elbo(x): its value is correct, but its gradient is nan or infinite. Does a branch that "
            "torch.where does not choose, or a factor 0, meet an infinite derivative?"
        )
    expected = gradient_without()
    if is_a and not alike(found, expected):
        through_z_only = gradient_without("the parameters of log q")
        expected = through_z_only if alike(found, through_z_only) else expected
    question = ""
    if not alike(found, expected):
        question = next((q for name, q in CUT.items() if alike(found, gradient_without(name))), "")
    for name, got, exact in zip(networks, found, expected):
        require(
            alike([got], [exact]),
            f"its gradient with respect to the {name}'s parameters is correct",
            f"elbo(x): its gradient with respect to the {name}'s parameters has the length "
            f"{got.norm():.4g}, expected {exact.norm():.4g}. {question}".rstrip(),
        )


def alike(gradients, exact):
    """Equal up to rounding, which is that of the largest numbers."""
    return all((g - e).abs().max() <= 1e-3 * e.abs().max() for g, e in zip(gradients, exact))
