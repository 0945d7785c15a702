"""The training loop, and what the training reached."""

import copy
import math
from numbers import Real

import torch
from IPython.utils.capture import capture_output
from torch.nn.utils import parameters_to_vector

from . import reference
from .checking import CheckFailed, require, require_same, same
from .networks import inputs_of, own_or_reference, restored

N_DIGITS, N_BATCHES, N_EPOCHS = 600, 3, 4
N_STEPS = N_BATCHES * N_EPOCHS
# The loss at its k-th step is that of the digits plus OFFSETS[k]; its derivative with respect to
# all parameters but every fifth is SLOPES[k].
SLOPES = [1.0, -0.3, 0.8, 0.5, -0.9, 1.4, 0.2, -0.6, 1.1, 0.7, -0.2, 0.4]
OFFSETS = [17.0, 3.0, 8.0, -2.0, 6.0, -11.0, 13.0, -9.0, 8.0, -15.0, 5.0, -13.0, -21.0]


class KnownLoss:
    """A loss with known values and gradients, which notes how it is used.

    Its value depends on the digits and on the number of steps that were made, not on the networks.
    """

    def __init__(self, networks):
        self.networks = networks
        self.calls = 0
        self.trained_on = []  # the digits of each loss whose gradient was taken, and the step
        self.noise = []  # a random number for each of them
        self.positions = []  # of one parameter of each network, after each step

    def parameters(self):
        return [parameters_to_vector(network.parameters()) for network in self.networks]

    def steps(self):
        """How many steps were made: how often the parameters were in another place."""
        position = [vector[1].item() for vector in self.parameters()]
        if position not in self.positions[-1:]:
            self.positions.append(position)
        return len(self.positions) - 1

    def value(self, x, step):
        weights = torch.arange(x.shape[1], device=x.device).to(x) / x.shape[1]
        return 140 + x.mean(dim=0) @ weights + OFFSETS[min(step, N_STEPS)]

    def __call__(self, x):
        self.calls += 1
        step, x, noise = self.steps(), x.detach().clone(), torch.rand(()).item()
        slope = SLOPES[step % N_STEPS]
        zero = sum((v - v.detach())[has_slope(v)].sum() for v in self.parameters())
        value = self.value(x, step) + slope * zero
        if value.requires_grad:
            value.register_hook(lambda _: self.trained_on.append((x, step, noise)))
        return value


def has_slope(vector):
    """Which parameters the known loss depends on: all but every fifth."""
    return torch.arange(len(vector), device=vector.device) % 5 > 0


def train(notebook):
    """Twelve steps of the student's loop, four epochs of three batches, against Adam's known steps.

    The check puts a loss with known values and gradients in the place of loss(x), so it is known
    where Adam moves the parameters, and what report is to be given after each epoch. The value
    changes with every step: when a loss was computed shows in it. Every fifth parameter has no
    gradient, and must stay where it is. Digits count as trained on where the gradient of their
    loss is taken.
    """
    networks = {name: own_or_reference(notebook, name) for name in ("encoder", "decoder")}
    loss, reports = KnownLoss(networks.values()), []

    def report(*given, **named):
        values = [*given, *named.values()]
        reports.append((values[0] if len(values) == 1 else tuple(values), loss.steps()))

    stand_ins = {
        "loss": loss,
        "elbo": lambda x: -loss(x),
        "report": report,
        "history": [],
        "snapshots": {},
        **networks,
        "N_EPOCHS": N_EPOCHS + 3,  # train is told how many epochs, and must not look here
    }
    digits, own_train = notebook.binarized_mnist[:N_DIGITS], notebook.train
    batches = digits.split(N_DIGITS // N_BATCHES)
    if hasattr(notebook.batches, "digits"):  # the same with what else the notebook's own can do
        batches = copy.copy(notebook.batches)
        batches.digits, batches.size = digits, N_DIGITS // N_BATCHES
    with (
        restored(*networks.values()),
        notebook.replaced(**stand_ins),
        inputs_of(networks["encoder"], notebook.Ddata) as encoded,
    ):
        start = [vector.detach().clone() for vector in loss.parameters()]
        loss.steps()
        with capture_output():
            own_train(*networks.values(), batches, N_EPOCHS)
        moves = [(end - begin).detach() for end, begin in zip(loss.parameters(), start)]

    require_loss(loss, moves, reports, encoded)
    require_moves(loss, dict(zip(networks, moves)))
    require_all_digits(notebook, digits, loss.trained_on)
    repeated = "train: the noise is the same for several batches. Is the seed set inside train?"
    require(len({noise for *_, noise in loss.trained_on}) == len(loss.trained_on), repeated)
    print("ok: each epoch trains on every digit once")
    require_adam(torch.cat(moves), torch.cat([has_slope(move) for move in moves]))
    print("ok: every parameter of both networks moves as Adam moves it")
    require_reports(loss, digits, reports)
    print("ok: report is given the mean ELBO of each epoch's digits")


def require_loss(loss, moves, reports, encoded):
    """The loop calls loss(x) and takes its gradient."""
    moved = any(move.any() for move in moves)
    written = loss.calls or reports or moved or encoded
    require(written, "train is not written yet: it calls neither loss(x) nor report(train_elbo).")
    own = "Is the ELBO written out once more, in place of loss(x)?" if moved or encoded else ""
    require(loss.calls, f"train: it never calls loss(x). {own}")
    backward = "Is loss(x).backward() missing?"
    require(loss.trained_on, f"train: the gradient of loss(x) is never taken. {backward}")


def require_moves(loss, moves):
    if not any(move.any() for move in moves.values()):
        raise CheckFailed(
            "train: the parameters do not change. Is optimizer.step() missing, does it stand "
            "before backward, or zero_grad between the two? Or does train change other networks "
            "than those that it is given?"
        )
    for name, move in moves.items():
        require(
            (move[has_slope(move)] != 0).all(),
            f"train: parameters of the {name} do not change. Are they all in the optimizer, and is "
            "it the network that train is given?",
        )


def require_all_digits(notebook, digits, trained_on):
    found = torch.cat([x for x, *_ in trained_on])
    n, expected = len(found), N_EPOCHS * N_DIGITS
    what = f"train: in {N_EPOCHS} epochs of {N_DIGITS} digits it trained on {n} digits"
    causes = {
        (N_EPOCHS + 3) * N_DIGITS: "Is N_EPOCHS used, where train is given n_epochs?",
        N_EPOCHS * len(notebook.binarized_mnist): (
            "Does it loop over all of the notebook's digits, where it is given batches?"
        ),
        N_DIGITS: "Does it return, or stop, after the first epoch?",
        N_DIGITS // N_BATCHES: "Does it return inside the loop, after the first batch?",
        expected // N_BATCHES: "Is only one batch of each epoch trained on?",
        100 * N_DIGITS: "Is the number of epochs fixed, where train is given n_epochs?",
    }
    question = "Does each epoch train on all of every batch, once, and on nothing else?"
    if n < expected and n % N_DIGITS == 0:
        question = f"Are these {n // N_DIGITS} epochs, where n_epochs is {N_EPOCHS}?"
    question = causes.get(n, question)
    require(
        n == expected, f"{what}, expected each digit once in each epoch, {expected}. {question}"
    )
    fingerprint = notebook.numbers(notebook.Ddata, seed=1100)  # tells a digit from all others
    found, expected = (x.double() @ fingerprint for x in (found, digits.repeat(N_EPOCHS, 1)))
    changed = f"{what}, but these are not the {N_DIGITS} of the batches, each once in each epoch."
    known = torch.isclose(found[:, None], expected[None, :N_DIGITS]).any(dim=1).all()
    question = "Are some left out and others repeated?" if known else "Are they changed before?"
    require(same(found.sort().values, expected.sort().values), f"{changed} {question}")


def known_adam(slopes, rate=1e-3):
    """How far Adam with its default settings moves a parameter with these derivatives."""
    move, mean, square = 0.0, 0.0, 0.0
    for k, slope in enumerate(slopes, start=1):
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        move -= rate * (mean / (1 - 0.9**k)) / (math.sqrt(square / (1 - 0.999**k)) + 1e-8)
    return move


def require_adam(moves, has_slope):
    expected, moved = known_adam(SLOPES), moves[has_slope]
    epochs = [SLOPES[k : k + N_BATCHES] for k in range(0, N_STEPS, N_BATCHES)]
    added_up = [sum(SLOPES[: k + 1]) for k in range(N_STEPS)]
    added_in_epochs = [sum(epoch[: k + 1]) for epoch in epochs for k in range(N_BATCHES)]
    mistakes = {
        "Does it go uphill? The optimizer minimizes loss(x), which is -elbo(x).": -expected,
        "Are the gradients never set to zero, so that they add up?": known_adam(added_up),
        "Are the gradients set to zero once in each epoch? It belongs before each backward.": (
            known_adam(added_in_epochs)
        ),
        "Is the optimizer made anew in each epoch?": sum(map(known_adam, epochs)),
        "Is the optimizer made anew for each batch?": sum(known_adam([s]) for s in SLOPES),
        "Is it plain gradient descent, SGD?": -1e-3 * sum(SLOPES),
        "Is it plain gradient descent, SGD, at a rate of 0.01?": -1e-2 * sum(SLOPES),
        **{
            f"Is the learning rate {rate}? The default is 1e-3.": known_adam(SLOPES, rate)
            for rate in (1e-1, 3e-2, 1e-2, 5e-3, 3e-3, 2e-3, 5e-4, 3e-4, 1e-4)
        },
    }
    moved_by = {q: torch.full_like(moved, 1e3 * move) for q, move in mistakes.items()}
    what = "train: how far parameters move in twelve steps with known gradients, in thousandths"
    otherwise = "Is it Adam at its default rate, one step for each batch, with nothing added?"
    require_same(what, 1e3 * moved, torch.full_like(moved, 1e3 * expected), moved_by, otherwise)
    decay = "Is there weight decay, or anything else that is added to the gradient?"
    require(not moves[~has_slope].any(), f"train: parameters whose gradient is 0 move. {decay}")


def require_reports(loss, digits, reports):
    """Report is given one number after each epoch: the mean over the digits, before their steps."""
    values, steps = [value for value, _ in reports], [step for _, step in reports]
    require(values, "train: it never calls report(train_elbo), which belongs after each epoch.")
    given = f"train: report is given {str(values[0])[:100]}, expected one number, the train ELBO"
    pair = "Is the held-out ELBO passed, too? report computes it itself."
    require(not isinstance(values[0], tuple | list), f"{given}. {pair}")
    item = "Is .item() left out?" if torch.is_tensor(values[0]) else ""
    require(all(isinstance(value, Real) for value in values), f"{given}. {item}")

    after = [N_BATCHES * (epoch + 1) for epoch in range(N_EPOCHS)]
    causes = {
        1: "Does it stand behind the loop over the epochs?",
        N_STEPS: "Does it stand inside the loop over the batches?",
    }
    times = (
        f"train: report is called {len(values)} times in {N_EPOCHS} epochs of {N_BATCHES} batches"
    )
    question = causes.get(len(values), "")
    require(len(values) == N_EPOCHS, f"{times}, expected once after each epoch. {question}")
    question = "Does it stand before the loop over the batches, or before the last step?"
    when = f"train: report is called after {steps} steps, expected {after}"
    require(steps == after, f"{when}. {question}")

    by_epoch = [loss.trained_on[k : k + N_BATCHES] for k in range(0, N_STEPS, N_BATCHES)]
    if len(loss.trained_on) != N_STEPS:  # a batch in parts
        by_epoch = [[t for t in loss.trained_on if t[1] // N_BATCHES == e] for e in range(N_EPOCHS)]

    def means(delay=0):
        """The mean loss of each epoch's digits, computed so many steps later."""
        return torch.tensor(
            [
                sum(len(x) * loss.value(x, step + delay).item() for x, step, _ in epoch) / N_DIGITS
                for epoch in by_epoch
            ]
        )

    expected = -means()
    at_end = torch.tensor([-loss.value(digits, step).item() for step in after])
    last = torch.tensor([-loss.value(*epoch[-1][:2]).item() for epoch in by_epoch])
    count = torch.arange(1, N_EPOCHS + 1)
    totals = expected.cumsum(dim=0)
    mistakes = {
        "Does it have the wrong sign? The ELBO is -loss(x).": -expected,
        "Is the total never set to zero again?": totals,
        "Are the totals never set to zero again, so that it is the mean since the start?": (
            totals / count
        ),
        "Is the number of digits never set to zero again?": expected / count,
        "Is the loss computed after the step? Add it up before.": -means(delay=1),
        "Is it computed in a second pass after the epoch? Add up each batch before its step.": (
            at_end
        ),
        "Is it the ELBO of the last batch alone?": last,
        "Is it the sum over the digits, where their mean belongs?": N_DIGITS * expected,
        "Is it the sum over the batches, where the mean belongs?": N_BATCHES * expected,
        "Is the sum of the batches' means divided by the number of digits?": (
            N_BATCHES * expected / N_DIGITS
        ),
        "Is the sum over the digits divided by the number of batches?": (
            N_DIGITS * expected / N_BATCHES
        ),
        "Is it divided by the number of epochs, too?": expected / N_EPOCHS,
        "Is it the best so far?": expected.cummax(dim=0).values,
        "Is it the mean of the epoch before?": expected.roll(1),
    }
    found = torch.tensor(values, dtype=torch.float32)
    mistakes |= {f"{q} Its sign is wrong, too.": -wrong for q, wrong in mistakes.items()}
    otherwise = "Is it the mean of -loss(x) over the digits of this epoch alone?"
    require_same("train: what report is given", found, expected, mistakes, otherwise)


# The result ------------------------------------------------------------------------------------

KNOWN_DIGITS = "MNIST", "embedded digits"


@torch.no_grad()
def result(notebook):
    """The held-out ELBO against the history, and against a model without a code.

    The ELBO is computed anew from the two networks, so that a wrong elbo(x) costs its own check
    alone. The training must get past a model that knows only how often each pixel is on, with
    patience in the first epochs: no choice of initial weights is judged.
    """
    require(notebook.history, "history is empty: nothing was trained yet.")
    torch.manual_seed(notebook.SEED)
    found, n_epochs, last = (
        notebook.value("heldout_elbo")(),
        len(notebook.history),
        notebook.history[-1][1],
    )
    after = f"after {n_epochs} epoch{'s' * (n_epochs > 1)} the held-out ELBO is"
    finite = f"{after} {found:.1f}. Does a density overflow, or did the training run away?"
    require(math.isfinite(found), finite)
    require(
        abs(found - last) < 1 + 0.02 * abs(last),
        f"{after} {found:.1f}, but the history ends with {last:.1f}. Was a cell that makes a "
        "network run again after the training?",
    )
    if notebook.digits.name in KNOWN_DIGITS:
        x = notebook.heldout_mnist
        frequency = notebook.binarized_mnist.mean(dim=0).double().clamp(1e-4, 1 - 1e-4)
        without_code = reference.log_likelihood_of(x, torch.logit(frequency)).mean().item()
        least, reached = without_code - 80 / n_epochs, elbo_of(notebook, x)
        early = "Did the training end early, or does a check above fail?"
        require(reached > least, f"{after} {reached:.1f}, expected more than {least:.1f}. {early}")
    else:
        name = notebook.digits.name
        print(f"note: what a training on {name} reaches is not known: this one is not judged")
    print("ok: the training has raised the held-out ELBO")
    require_held_out(notebook)
    print("ok: no held-out digit was trained on")


def elbo_of(notebook, x):
    """The ELBO of digits, computed with the student's networks and nothing else of theirs."""
    q_mean, q_log_std = notebook.value("encoder")(x)
    z = reference.sample_gaussian(q_mean, q_log_std)
    joint = reference.log_likelihood_of(x, notebook.value("decoder")(z)) + reference.log_prior(z)
    return (joint - reference.log_q(z, q_mean, q_log_std)).mean().item()


def require_held_out(notebook):
    """The batches hold the digits of binarized_mnist, and those of heldout_mnist are others."""
    n, digits = 0, notebook.binarized_mnist
    pixels_on = torch.zeros_like(digits[0])
    for x in notebook.batches:
        n, pixels_on = n + len(x), pixels_on + x.sum(dim=0)
    require(
        n == len(digits) and torch.equal(pixels_on, digits.sum(dim=0)),
        f"batches holds {n} digits, expected the {len(digits)} of binarized_mnist, each once. Were "
        "held-out digits trained on?",
    )
    fingerprint = notebook.numbers(notebook.Ddata, seed=1100)  # tells a digit from all others
    trained, held_out = (x.double() @ fingerprint for x in (digits, notebook.heldout_mnist))
    again = torch.isin(held_out, trained).double().mean()  # a few plain ones may be in both
    wrong = f"{100 * again:.0f} % of heldout_mnist are digits of binarized_mnist, too"
    require(again < 0.5, f"{wrong}. Were they held out?")
