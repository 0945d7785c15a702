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
    def per_digit(self):
        """Estimator A of each digit, (B,)."""
        log_p_x = reference.log_likelihood_of(self.x, self.logit_means)
        log_q_z = reference.log_q(self.z, self.q_mean, self.q_log_std)
        return log_p_x + reference.log_prior(self.z) - log_q_z

    @property
    def estimator_A(self):
        """The paper's estimator A of the ELBO, its equation 6."""
        return self.log_p_x + self.log_p_z - self.log_q_z

    @property
    def estimator_B(self):
        """The paper's estimator B of the ELBO, its equation 7."""
        return self.log_p_x - self.kl

    @property
    def estimate(self):
        """The accepted estimate closest to the value."""
        entropy = reference.entropy(self.q_log_std).mean()
        accepted = self.estimator_A, self.estimator_B, self.log_p_x + self.log_p_z + entropy
        return min(accepted, key=lambda estimate: (estimate - self.value).abs())


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

    def mistakes(t):
        """Questions, each with the values to which its mistake leads in a trial."""
        log_p_x, log_p_z, log_q_z, kl = t.log_p_x, t.log_p_z, t.log_q_z, t.kl
        A, B, (n, pixels), joint = t.estimator_A, t.estimator_B, t.x.shape, log_p_x + log_p_z
        m, s, digit = t.q_mean, t.q_log_std, t.per_digit
        mean = "where their mean belongs?"
        return {
            "Does it have the wrong sign?": [-A, -B],
            "Did you leave out log q(z | x)?": [joint],
            "Does log q(z | x) have the wrong sign?": [joint + log_q_z],
            "Did you leave out log p(z)?": [log_p_x - log_q_z],
            "Does log p(z) have the wrong sign?": [log_p_x - log_p_z - log_q_z],
            "Is log p(z) in it twice? joint_log_density has it, too.": [A + log_p_z],
            "Is it log p(x | z) alone?": [log_p_x],
            "Is log p(x | z) left out?": [log_p_z - log_q_z, -kl],
            "Does the KL have the wrong sign?": [log_p_x + kl],
            "Did you leave out the 1/2 of the KL?": [log_p_x - 2 * kl],
            "Is log p(z) in it beside the KL?": [joint - kl],
            "Is log q(z | x) in it beside the KL?": [log_p_x - kl - log_q_z],
            "Did you write sigma where sigma squared belongs in the KL?": [
                log_p_x - wrong_kl(m, s, s.exp())
            ],
            "Did you take q_log_std for the log of the variance?": [
                log_p_x - wrong_kl(m, s / 2, s.exp()),
                joint - reference.log_q(t.z, m, s / 2).mean(),
            ],
            "Are q_mean and q_log_std exchanged in log_q?": [
                joint - reference.log_q(t.z, s, m).mean()
            ],
            "Did you pass exp(q_log_std) to log_q, which takes the log?": [
                joint - reference.log_q(t.z, m, s.exp()).mean()
            ],
            "Is it the mean over the two dimensions of the code, where their sum belongs?": [
                log_p_x - kl / 2,
                joint - log_q_z / 2,
                log_p_x + log_p_z / 2 - log_q_z,
                log_p_x + (log_p_z - log_q_z) / 2,
            ],
            f"Is it the sum over the digits, {mean}": [n * A, n * B],
            f"Is the KL summed over the digits, {mean}": [log_p_x - n * kl],
            f"Is log q(z | x) summed over the digits, {mean}": [joint - n * log_q_z],
            f"Is log p(z) summed over the digits, {mean}": [log_p_x + n * log_p_z - log_q_z],
            f"Is log p(x | z) summed over the digits, {mean}": [
                n * log_p_x - kl,
                n * log_p_x + log_p_z - log_q_z,
            ],
            "Is the KL divided by the number of digits, too?": [log_p_x - kl / n],
            "Is the KL divided by the number of pixels?": [log_p_x - kl / pixels],
            "Is it the mean over the pixels, where their sum belongs?": [
                A / pixels,
                B / pixels,
                log_p_x / pixels - kl,
                log_p_x / pixels + log_p_z - log_q_z,
            ],
            "Is it in bits, a logarithm to the base 2? Nats are expected.": [
                A / math.log(2),
                B / math.log(2),
            ],
            f"Is it the largest over the digits, or their logsumexp, {mean}": [
                digit.max(),
                digit.logsumexp(0),
                digit.logsumexp(0) - math.log(n),
            ],
            "Is log(2 pi) left out or counted twice?": [
                A + math.log(2 * math.pi),
                A - math.log(2 * math.pi),
            ],
            "Is the -1 of the KL left out, or counted once for both dimensions?": [B - 1, B - 0.5],
        }

    settings = MODERATE, NEAR_THE_PRIOR, SURE_OF_PIXELS
    trials = [first, *(try_elbo(notebook, networks, setting) for setting in settings[1:])]
    for trial, setting in zip(trials, settings):
        if not same(trial.value, trial.estimate, 2e-5):
            values = f"got {trial.value:.6g}, expected {trial.estimate:.6g}"
            question = question_about_elbo(notebook, trials, mistakes, setting == SURE_OF_PIXELS)
            raise CheckFailed(f"elbo(x) {setting}: {values}. {question}")
    print("ok: its value is the estimate of the ELBO for these codes")


def wrong_kl(q_mean, q_log_std, variance):
    """The closed form of the KL with something else for the variance."""
    return (q_mean**2 + variance - 1 - 2 * q_log_std).sum(dim=1).mean() / 2


def question_about_elbo(notebook, trials, mistakes, only_the_last):
    """The question about the mistake that explains the values of all trials, or the terms.

    only_the_last: whether the trials before the last one, sure of its pixels, are correct.
    """

    def explained(values):
        """Whether the trials have these values, up to the rounding of single precision."""
        return all(same(t.value, value, 3e-6) for t, value in zip(trials, values))

    tables = [mistakes(t) for t in trials]
    for question in tables[0]:
        if any(map(explained, zip(*(table[question] for table in tables)))):
            return question
    naive = "Is the Bernoulli density computed from the mean, which is nearly 0 or 1 here?"
    if not all(t.value.isfinite() for t in trials):
        return f"Does it overflow, or take the logarithm of zero? {naive}"
    if only_the_last:
        return naive
    if question := question_about_factor(notebook, trials, explained):
        return question
    trial = next(t for t in trials if not same(t.value, t.estimate, 2e-5))
    return (
        f"For these codes log p(x | z) is {trial.log_p_x:.6g}, log p(z) {trial.log_p_z:.6g}, "
        f"log q(z | x) {trial.log_q_z:.6g} and the KL {trial.kl:.6g}. Are all terms computed at "
        "the decoded z, each of them once, with nothing added or clamped?"
    )


def question_about_factor(notebook, trials, explained):
    """The question about a number by which a term is multiplied, if that explains all trials."""
    n = len(trials[0].x)
    terms = {  # of each trial, and what they are added to
        "the whole": [(t.estimator_A, 0.0) for t in trials],
        "the whole, with the KL in closed form,": [(t.estimator_B, 0.0) for t in trials],
        "the KL": [(-t.kl, t.log_p_x) for t in trials],
        "log p(z) - log q(z | x)": [(t.log_p_z - t.log_q_z, t.log_p_x) for t in trials],
    }
    for name, of in terms.items():
        factors = [((t.value - rest) / term).item() for t, (term, rest) in zip(trials, of)]
        first, second, third = factors
        if explained([rest + first * term for term, rest in of]):
            if any(math.isclose(first, m / notebook.BS, rel_tol=0.01) for m in (1, n)):
                return f"Is {name} divided by BS? The mean is over the {n} digits of this x."
            return f"Is {name} multiplied by {first:.4g}, a weight or a warm-up?"
        if "whole" not in name and 0 < 2 * first < second < third < 1:
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
            elbo = notebook.value("elbo")(x.clone())  # checks.elbo() watches what it calls
            got = f"elbo(x): got {type(elbo).__name__}, expected a tensor. Is it not written yet?"
            require(torch.is_tensor(elbo), got)
            return elbo.sum()  # checks.elbo() says what shape it must have

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


def difference_quotient(value, network, direction):
    """The slope of a value along a direction of a network's parameters, by central differences."""
    parameters = [*network.parameters()]
    start = [p.detach().clone() for p in parameters]
    values = []
    for length in STEP, -STEP, 0.0:  # the last puts the parameters back
        with torch.no_grad():
            for p, at, step in zip(parameters, start, direction):
                p.copy_(at + length * step)
        values.append(value().detach().double())
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
