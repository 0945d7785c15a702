"""The estimate of the ELBO, and its gradient."""

import math
from contextlib import contextmanager
from typing import NamedTuple

import torch

from . import reference
from .checking import CheckFailed, gradients_of, require, require_shape, same
from .networks import inputs_of, own_or_reference, randomize, restored
from .samplers import require_draws


class Setting(NamedTuple):
    """How a check calls the student's function: weights, mode, and whether gradients are taken."""

    encoder: float  # scale of the last layer's weights
    decoder: float
    training: bool
    gradients: bool

    def __str__(self):
        mode = "training" if self.training else "evaluation"
        return f"in {mode} mode, {'with' if self.gradients else 'without'} gradients"


MODERATE = Setting(encoder=1.5, decoder=8.0, training=True, gradients=True)
NEAR_THE_PRIOR = Setting(encoder=0.1, decoder=8.0, training=False, gradients=False)
SURE_OF_PIXELS = Setting(encoder=1.0, decoder=60.0, training=True, gradients=False)
WIDE = Setting(encoder=6.0, decoder=8.0, training=False, gradients=False)  # shows clamps


class Trial(NamedTuple):
    """One call of the student's function: its value, and what it is made of.

    All but the value in double precision, without gradients; K is the number of codes.
    """

    value: torch.Tensor
    x: torch.Tensor  # (B, Ddata)
    z: torch.Tensor  # the codes that the decoder is given, (K, Dz)
    q_mean: torch.Tensor  # (B, Dz)
    q_log_std: torch.Tensor
    logit_means: torch.Tensor  # (K, Ddata)

    @property
    def log_p_x(self):
        return reference.log_likelihood_of(self.x, self.logit_means).mean()

    @property
    def log_p_z(self):
        return reference.log_prior(self.z).mean()

    @property
    def log_q_z(self):
        return reference.log_q(self.z, self.q_mean, self.q_log_std).mean()

    @property
    def kl(self):
        return reference.kl_divergence(self.q_mean, self.q_log_std).mean()

    @property
    def estimates(self):
        """The three estimates of the ELBO that checks.elbo accepts."""
        joint = self.log_p_x + self.log_p_z
        entropy = reference.entropy(self.q_log_std).mean()
        return joint - self.log_q_z, self.log_p_x - self.kl, joint + entropy

    @property
    def estimate(self):
        """The accepted estimate closest to the value."""
        return min(self.estimates, key=lambda estimate: (estimate - self.value).abs())


def own_networks(notebook):
    """The student's encoder and decoder, or others in place of those that fail their checks."""
    return own_or_reference(notebook, "encoder"), own_or_reference(notebook, "decoder")


@contextmanager
def random_networks(notebook, name, networks, setting):
    """A context in which the function of this name meets the networks with random weights.

    They get their own weights back at the end.
    """
    encoder, decoder = networks
    with (
        restored(encoder, decoder),
        notebook.alone(name, encoder=encoder, decoder=decoder),
        torch.set_grad_enabled(setting.gradients),
    ):
        randomize(encoder, notebook.layers("encoder"), 1100, outputs=setting.encoder)
        randomize(decoder, notebook.layers("decoder"), 1200, 0.3, setting.decoder)
        encoder.train(setting.training)
        decoder.train(setting.training)
        yield


@torch.no_grad()
def likely_digits(notebook, decoder, n=5):
    """Digits to which the decoder gives a fair probability: where y > 0, with a few flips."""
    likely = decoder(notebook.numbers(n, notebook.Dz, seed=1300).float() / 3) > 0
    return (likely ^ (notebook.numbers(n, notebook.Ddata, seed=1400) > 2.5)).float()


def many_digits(notebook, decoder):
    return notebook.pixels(2000, seed=1080)


def try_elbo(notebook, networks, setting, digits=likely_digits, noise=0):
    """Call elbo(x) once in this setting and note the codes that the decoder is given."""
    encoder, decoder = networks
    with random_networks(notebook, "elbo", networks, setting):
        x = digits(notebook, decoder)
        notebook.seed(noise)
        with inputs_of(decoder, notebook.Dz) as seen:
            value = notebook.elbo(x.clone())  # which it may change
        require_shape("elbo(x)", value, (), "Is the mean over the batch missing?")
        z = torch.cat([x.new_empty(0, notebook.Dz), *seen])
        require(
            len(z) == len(x),
            f"elbo(x): the decoder is given {len(z)} codes for {len(x)} digits, expected one code "
            "for each digit, decoded by the notebook's decoder(z).",
        )
        with torch.no_grad():
            q_mean, q_log_std = encoder(x)
            numbers = value, x, z, q_mean, q_log_std, decoder(z)
        return Trial(*(t.detach().double() for t in numbers))


def elbo(notebook):
    """The Monte Carlo estimate against the value that it must have for the codes it has drawn.

    The check puts other weights into both networks, calls elbo(x), and notes the codes z that the
    decoder is given: one for each digit. For these codes elbo(x) must be one of

        log p(x | z) + log p(z) - log q(z | x), the paper's estimator A,
        log p(x | z) - KL(q(z | x) || p(z)), its estimator B,
        log p(x | z) + log p(z) + the entropy of q(z | x),

    averaged over the digits. And the codes must be draws from q(z | x): the numbers
    (z - q_mean) / exp(q_log_std) are independent and standard normal. Both must hold in training
    and in evaluation mode, with and without gradients.
    """
    networks = own_networks(notebook)
    first, again = (try_elbo(notebook, networks, MODERATE, noise=seed) for seed in (1, 2))
    same_codes = "elbo(x): two calls give the decoder the same codes. Is z sampled, and afresh?"
    require(not torch.equal(first.z, again.z), same_codes)

    for setting in MODERATE, WIDE:
        many = try_elbo(notebook, networks, setting, many_digits)
        what = f"elbo(x) {setting}: the codes z that the decoder is given"
        order = many.q_log_std.sum(dim=1).argsort()  # those of small log_std in the first half
        require_draws(what, many.z[order], many.q_mean[order], many.q_log_std[order])
    print("ok: elbo(x) gives the decoder new draws from q(z | x) each time")

    trials = [first, *(try_elbo(notebook, networks, s) for s in (NEAR_THE_PRIOR, SURE_OF_PIXELS))]
    for trial, setting in zip(trials, (MODERATE, NEAR_THE_PRIOR, SURE_OF_PIXELS)):
        if not same(trial.value, trial.estimate, 2e-5):
            question = question_about_elbo(notebook, trials, setting)
            values = f"got {trial.value:.6g}, expected {trial.estimate:.6g}"
            raise CheckFailed(f"elbo(x) {setting}: {values}. {question}")
    print("ok: its value is the estimate of the ELBO for these codes")


# Each mistake, and the value that it leads to. t: a Trial, B: how many digits, BS and Ddata: the
# notebook's, A and B_: the paper's estimators A and B.
MISTAKES = {
    "Does it have the wrong sign?": [lambda t: -t.estimates[0], lambda t: -t.estimates[1]],
    "Did you leave out log q(z | x)?": [lambda t: t.log_p_x + t.log_p_z],
    "Does log q(z | x) have the wrong sign?": [lambda t: t.log_p_x + t.log_p_z + t.log_q_z],
    "Did you leave out log p(z)?": [lambda t: t.log_p_x - t.log_q_z],
    "Does log p(z) have the wrong sign?": [lambda t: t.log_p_x - t.log_p_z - t.log_q_z],
    "Is log p(z) in it twice? joint_log_density has it, too.": [
        lambda t: t.estimates[0] + t.log_p_z
    ],
    "Is it log p(x | z) alone?": [lambda t: t.log_p_x],
    "Is log p(x | z) left out?": [lambda t: t.log_p_z - t.log_q_z, lambda t: -t.kl],
    "Does the KL have the wrong sign?": [lambda t: t.log_p_x + t.kl],
    "Did you leave out the 1/2 of the KL?": [lambda t: t.log_p_x - 2 * t.kl],
    "Is log p(z) in it beside the KL?": [lambda t: t.log_p_x + t.log_p_z - t.kl],
    "Is log q(z | x) in it beside the KL?": [lambda t: t.log_p_x - t.kl - t.log_q_z],
    "Did you write sigma where sigma squared belongs in the KL?": [
        lambda t: t.log_p_x - kl(t.q_mean, t.q_log_std, t.q_log_std.exp())
    ],
    "Did you take q_log_std for the log of the variance in the KL?": [
        lambda t: t.log_p_x - kl(t.q_mean, t.q_log_std / 2, t.q_log_std.exp())
    ],
    "Did you take q_log_std for the log of the variance in log q(z | x)?": [
        lambda t: t.log_p_x + t.log_p_z - reference.log_q(t.z, t.q_mean, t.q_log_std / 2).mean()
    ],
    "Did you pass exp(q_log_std) to log_q, which takes the log?": [
        lambda t: t.log_p_x + t.log_p_z - reference.log_q(t.z, t.q_mean, t.q_log_std.exp()).mean()
    ],
    "Is it the mean over the two dimensions of the code, where their sum belongs?": [
        lambda t: t.log_p_x - t.kl / 2,
        lambda t: t.log_p_x + t.log_p_z - t.log_q_z / 2,
        lambda t: t.log_p_x + t.log_p_z / 2 - t.log_q_z,
        lambda t: t.log_p_x + (t.log_p_z - t.log_q_z) / 2,
    ],
    "Is it the sum over the digits, where their mean belongs?": [
        lambda t: len(t.x) * t.estimates[0],
        lambda t: len(t.x) * t.estimates[1],
    ],
    "Is the KL summed over the digits, where their mean belongs?": [
        lambda t: t.log_p_x - len(t.x) * t.kl
    ],
    "Is log q(z | x) summed over the digits, where their mean belongs?": [
        lambda t: t.log_p_x + t.log_p_z - len(t.x) * t.log_q_z
    ],
    "Is log p(z) summed over the digits, where their mean belongs?": [
        lambda t: t.log_p_x + len(t.x) * t.log_p_z - t.log_q_z
    ],
    "Is log p(x | z) summed over the digits, where their mean belongs?": [
        lambda t: len(t.x) * t.log_p_x - t.kl,
        lambda t: len(t.x) * t.log_p_x + t.log_p_z - t.log_q_z,
    ],
    "Is the KL divided by the number of digits, of which it is the mean already?": [
        lambda t: t.log_p_x - t.kl / len(t.x)
    ],
    "Is it the mean over the pixels, where their sum belongs?": [
        lambda t: t.estimates[0] / t.x.shape[1],
        lambda t: t.estimates[1] / t.x.shape[1],
        lambda t: t.log_p_x / t.x.shape[1] - t.kl,
        lambda t: t.log_p_x / t.x.shape[1] + t.log_p_z - t.log_q_z,
    ],
    "Is the KL divided by the number of pixels?": [lambda t: t.log_p_x - t.kl / t.x.shape[1]],
    "Is it in bits, a logarithm to the base 2? Nats are expected.": [
        lambda t: t.estimates[0] / math.log(2),
        lambda t: t.estimates[1] / math.log(2),
    ],
    "Is it the largest over the digits, or their logsumexp, where their mean belongs?": [
        lambda t: per_digit(t).max(),
        lambda t: per_digit(t).logsumexp(0),
        lambda t: per_digit(t).logsumexp(0) - math.log(len(t.x)),
    ],
    "Is log 2 pi left out or counted twice?": [
        lambda t: t.estimates[0] + math.log(2 * math.pi),
        lambda t: t.estimates[0] - math.log(2 * math.pi),
    ],
    "Is the constant -1 of the KL left out, or counted once for both dimensions?": [
        lambda t: t.log_p_x - t.kl - 1,
        lambda t: t.log_p_x - t.kl - 0.5,
    ],
}


def kl(q_mean, q_log_std, variance):
    """The closed form of the KL with something else for the variance."""
    return (q_mean**2 + variance - 1 - 2 * q_log_std).sum(dim=1).mean() / 2


def per_digit(t):
    log_q_z = reference.log_q(t.z, t.q_mean, t.q_log_std)
    return reference.log_likelihood_of(t.x, t.logit_means) + reference.log_prior(t.z) - log_q_z


def question_about_elbo(notebook, trials, setting):
    """The question about the mistake that explains the values of all trials, or the terms."""

    def explained(by):
        """Whether the values are these of the trials, up to the rounding of single precision."""
        return all(same(t.value, by(t), 3e-6) for t in trials)

    for question, values in MISTAKES.items():
        if any(map(explained, values)):
            return question
    naive = "Is the Bernoulli density computed from the mean, which is nearly 0 or 1 here?"
    if not all(t.value.isfinite() for t in trials):
        return f"Does it overflow, or take the logarithm of zero? {naive}"
    if setting == SURE_OF_PIXELS:  # the first one that fails
        return naive
    if question := question_about_factor(notebook, trials, explained):
        return question
    trial = next(t for t in trials if not same(t.value, t.estimate, 2e-5))
    return (
        f"For these codes log p(x | z) is {trial.log_p_x:.6g}, log p(z) {trial.log_p_z:.6g}, "
        f"log q(z | x) {trial.log_q_z:.6g} and the KL {trial.kl:.6g}. Are all of the z that is "
        "decoded, is each there once, and nothing added or clamped?"
    )


# What may be multiplied by a number: the term, and what it is added to.
FACTORS = {
    "the whole": (lambda t: t.estimates[0], lambda t: 0.0),
    "the whole, with the KL in closed form,": (lambda t: t.estimates[1], lambda t: 0.0),
    "the KL": (lambda t: -t.kl, lambda t: t.log_p_x),
    "log p(z) - log q(z | x)": (lambda t: t.log_p_z - t.log_q_z, lambda t: t.log_p_x),
}


def question_about_factor(notebook, trials, explained):
    """The question about a number by which a term is multiplied, if that explains all trials."""
    n = len(trials[0].x)
    for name, (term, rest) in FACTORS.items():
        factors = [((t.value - rest(t)) / term(t)).item() for t in trials]
        first = factors[0]
        if explained(lambda t: rest(t) + first * term(t)):
            if any(math.isclose(first, m / notebook.BS, rel_tol=0.01) for m in (1, n)):
                return f"Is {name} divided by BS? The mean is over the {n} digits of this x."
            return f"Is {name} multiplied by {first:.4g}?"
        if 0 < first < factors[1] < factors[2] < 1:
            grows = "grows with each call, as in a warm-up"
            return f"Is {name} multiplied by a number that {grows}? It was {first:.3g} at first."
    return ""


# The gradient ----------------------------------------------------------------------------------

GENTLE = Setting(encoder=1.0, decoder=1.0, training=True, gradients=True)  # all terms matter
STEP = 0.05  # the length of a move of the parameters
N_DIRECTIONS = 3
N_DIGITS = 50

CUT = {
    "z": "Is z cut off from the encoder (detach, no_grad)?",
    "the mean in z": "Is q_mean cut off in z (detach, no_grad)?",
    "the log_std in z": "Is q_log_std cut off in z (detach, no_grad)?",
    "log p(x | z)": "Is log p(x | z) cut off (detach, no_grad)?",
    "the z of log p(x | z)": "Is the z that is decoded cut off from the encoder (detach, no_grad)?",
    "log p(z)": "Is log p(z) cut off (detach, no_grad)?",
    "log q(z | x)": "Is log q(z | x) cut off (detach, no_grad)?",
    "q in log q(z | x)": "Are q_mean and q_log_std cut off in log q(z | x) (detach, no_grad)?",
    "the z of log q(z | x)": "Is the z of log q(z | x) cut off from the encoder (detach, no_grad)?",
    "the KL": "Is the KL cut off (detach, no_grad)?",
}


def gradients(notebook):
    """The gradient of elbo(x) against what elbo(x) does when the parameters are moved a little.

    All parameters of a network are moved along a random direction, there and back, while the noise
    stays the same. Then (elbo there - elbo back) / (2 STEP) is the sum over all parameters of
    gradient times direction, unless the gradient of some part is cut off. No exact value is needed
    for that: a wrong ELBO fails checks.elbo() alone. The two agree to 0.1 %, by single precision
    and by the curvature; with a part cut off they differ by more than 3 % in one of the directions.
    """
    networks = own_networks(notebook)
    with random_networks(notebook, "elbo", networks, GENTLE):
        x = likely_digits(notebook, networks[1], N_DIGITS)

        def value():
            notebook.seed(7)
            return notebook.value("elbo")(x.clone())  # checks.elbo() watches what it calls

        require_shape("elbo(x)", value(), (), "Is the mean over the batch missing?")
        require(value().isfinite(), f"elbo(x): got {value().item()}, which has no gradient.")
        cut = "Is it computed under no_grad, detached, or made a plain number?"
        require(value().requires_grad, f"elbo(x): got no gradient. {cut}")
        for name, network in zip(("encoder", "decoder"), networks):
            directions = [direction(network, seed=1700 + i) for i in range(N_DIRECTIONS)]
            exact = torch.stack([difference_quotient(value, network, d) for d in directions])
            found = slopes(value(), network, directions)
            what = f"the gradient of elbo(x) with respect to the {name}'s parameters"
            if (found - exact).abs().max() > 1e-2 * exact.abs().max():
                worst = (found - exact).abs().argmax()
                question = question_about_gradient(
                    notebook, x, networks, network, directions, found
                )
                raise CheckFailed(
                    f"{what}: along a random direction got the slope {found[worst]:.4g}, but "
                    f"elbo(x) itself changes by {exact[worst]:.4g} times the step. {question}"
                )
            print(f"ok: {what} is correct")


def direction(network, seed):
    """A random direction in the space of a network's parameters, of length 1.

    Each tensor of parameters has the same share in it, the few biases as much as the many weights.
    """
    parameters = [*network.parameters()]
    noise = torch.Generator(parameters[0].device).manual_seed(seed)
    steps = [torch.randn(p.shape, generator=noise, device=p.device) for p in parameters]
    return [step / step.norm() / math.sqrt(len(parameters)) for step in steps]


@torch.no_grad()
def difference_quotient(value, network, direction):
    """The slope of a value along a direction of a network's parameters, by central differences."""
    parameters = [*network.parameters()]
    start = [p.clone() for p in parameters]
    values = []
    for length in STEP, -STEP, 0.0:  # the last puts the parameters back
        for p, at, step in zip(parameters, start, direction):
            p.copy_(at + length * step)
        values.append(value().double())
    there, back, _ = values
    return (there - back) / (2 * STEP)


def slopes(value, network, directions):
    """The slopes of a value along directions of a network's parameters, by its gradient."""
    gradient = gradients_of(value, [*network.parameters()])
    along = [sum((g * d).sum() for g, d in zip(gradient, direction)) for direction in directions]
    return torch.stack(along).double()


def question_about_gradient(notebook, x, networks, network, directions, found):
    """The question about the part of the estimate whose gradient is cut off."""
    encoder, decoder = networks
    notebook.seed(7)
    with inputs_of(decoder, notebook.Dz) as seen:
        notebook.value("elbo")(x.clone())
    q_mean, q_log_std = encoder(x)
    noise = ((torch.cat(seen) - q_mean) / q_log_std.exp()).detach()
    for cut, question in CUT.items():

        def part(name, t):
            return t.detach() if name == cut else t

        mean, log_std = part("the mean in z", q_mean), part("the log_std in z", q_log_std)
        z = part("z", mean + log_std.exp() * noise)
        logit_means = decoder(part("the z of log p(x | z)", z))
        log_p_x = part("log p(x | z)", reference.log_likelihood_of(x, logit_means))
        log_p_z = part("log p(z)", reference.log_prior(z))
        q = part("q in log q(z | x)", q_mean), part("q in log q(z | x)", q_log_std)
        log_q_z = reference.log_q(part("the z of log q(z | x)", z), *q)
        estimate_A = log_p_x + log_p_z - part("log q(z | x)", log_q_z)
        estimate_B = log_p_x - part("the KL", reference.kl_divergence(q_mean, q_log_std))
        for estimate in estimate_A, estimate_B:
            if same(found, slopes(estimate.mean(), network, directions), 3e-3):
                return question
    return "Is a part of it cut off (detach, no_grad)?"
