"""The training loop, and what the training reached."""

import copy
import math
from numbers import Real
from unittest import mock

import numpy as np
import torch
from IPython.utils.capture import capture_output

from . import reference
from .checking import CheckFailed, Ddata, is_blank, require, same
from .networks import like_the_students

N_DIGITS, N_BATCHES, N_EPOCHS = 600, 3, 4

# The derivative of the loss at its k-th step, of all parameters but every fifth.
SLOPES = [1.0, -0.3, 0.8, 0.5, -0.9, 1.4, 0.2, -0.6, 1.1, 0.7, -0.2, 0.4]


def known_loss(x):
    """A number that depends on the digits, not on the networks."""
    return 40 + x.mean(dim=0) @ torch.arange(Ddata, device=x.device).to(x) / Ddata


def known_adam(slopes, rate=1e-3):
    """How far Adam with its default settings moves a parameter with these derivatives."""
    move, mean, square = 0.0, 0.0, 0.0
    for k, slope in enumerate(slopes, start=1):
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        move -= rate * (mean / (1 - 0.9**k)) / (math.sqrt(square / (1 - 0.999**k)) + 1e-8)
    return move


class KnownLoss(torch.autograd.Function):
    """The value known_loss(x), with gradients that differentiated(x, random_number) returns."""

    @staticmethod
    def forward(context, differentiated, x, random_number, *parameters):
        context.arguments = differentiated, x.detach().clone(), random_number
        return known_loss(x)

    @staticmethod
    def backward(context, gradient):
        differentiated, *arguments = context.arguments
        return None, None, None, *(gradient * g for g in differentiated(*arguments))


def train(notebook):
    """Twelve steps of your loop, four epochs of three batches, against Adam's known steps.

    The loss has a known gradient in the parameters of copies of both networks, so it is known where
    Adam moves them. Digits count as trained on where the gradient of their loss is taken. Every
    fifth parameter has no gradient, and stays where it is if nothing like weight decay is added.
    """
    networks = {name: like_the_students(notebook, name) for name in ("encoder", "decoder")}
    parameters = {name: [*network.parameters()] for name, network in networks.items()}
    all_parameters = [p for part in parameters.values() for p in part]
    start = [p.detach().clone() for p in all_parameters]
    slopes = [torch.ones_like(p) for p in start]
    for pattern in slopes:
        pattern.flatten()[::5] = 0
    seen, noise, reports, positions = [], [], [], []

    def differentiated(x, random_number):
        """Note the digits; the gradients, the same until the optimizer has made a step."""
        seen.append(x)
        noise.append(random_number)
        position = [part[-1].flatten()[1].item() for part in parameters.values()]
        if position not in positions[-1:]:
            positions.append(position)
        return [SLOPES[(len(positions) - 1) % len(SLOPES)] * pattern for pattern in slopes]

    def loss(x):
        return KnownLoss.apply(differentiated, x, torch.rand(()).item(), *all_parameters)

    stand_ins = {"loss": loss, "elbo": lambda x: -loss(x), "report": reports.append, **networks}
    stand_ins["N_EPOCHS"] = N_EPOCHS + 3  # train is told how many epochs, and must not look here
    digits, own_train = notebook.binarized_mnist[:N_DIGITS], notebook.train
    batches = digits.split(N_DIGITS // N_BATCHES)
    if hasattr(notebook.batches, "digits"):  # the same with what else the notebook's own can do
        batches = copy.copy(notebook.batches)
        batches.digits, batches.size = digits, N_DIGITS // N_BATCHES
    with mock.patch.dict(notebook.namespace, stand_ins), capture_output():
        history = own_train(*networks.values(), batches, N_EPOCHS)

    written = len(seen) or not is_blank(history)
    require(written, "train is not written yet: it takes no gradient and returns nothing.")
    moves = [(p - q).detach().flatten() for p, q in zip(all_parameters, start)]
    moved, still = (
        [move[pattern.flatten() == size] for move, pattern in zip(moves, slopes)] for size in (1, 0)
    )
    n = len(parameters["encoder"])
    for name, part in (("encoder", moved[:n]), ("decoder", moved[n:])):
        require(
            all((move != 0).all() for move in part),
            f"train: parameters of the {name} do not change. Are they in the optimizer, does each "
            "step come after backward and before zero_grad, and is it the network that is given?",
        )
    require_all_digits(notebook, digits, torch.cat([digits[:0], *seen]))
    repeated = "train: the noise is the same for several batches. Is the seed set inside train?"
    require(len(set(noise)) == len(noise), repeated)
    print("ok: each epoch trains on every digit once")
    require_adam(torch.cat(moved), torch.cat(still))
    print("ok: every parameter of both networks moves as Adam moves it")
    require_history(history, [-known_loss(x).item() for x in (digits, notebook.heldout_mnist)])
    print("ok: the history has the ELBOs of the training and of the held-out digits")
    if len(reports) < N_EPOCHS:
        print("note: train does not call report(history) after each epoch, as the last part needs")


def require_all_digits(notebook, digits, seen):
    fingerprint = notebook.numbers(Ddata, seed=1100)  # a number that tells a digit from all others
    expected, n = digits.double() @ fingerprint, N_EPOCHS * N_DIGITS
    question = "Does each epoch train on all of every batch, once?"
    if len(seen) == (N_EPOCHS + 3) * N_DIGITS:
        question = "Is N_EPOCHS used, where train is given n_epochs?"
    elif len(seen) == n:
        question = "Are they changed, or not those of the batches?"
    require(
        len(seen) == n
        and same((seen.double() @ fingerprint).sort().values, expected.repeat(N_EPOCHS).sort()[0]),
        f"train: in {N_EPOCHS} epochs of {N_DIGITS} digits it trained on {len(seen)} digits, "
        f"expected each digit once in each epoch, {n}. {question}",
    )


def require_adam(moved, still):
    expected = known_adam(SLOPES)
    epochs = [SLOPES[k : k + N_BATCHES] for k in range(0, len(SLOPES), N_BATCHES)]
    mistakes = {
        "Are the gradients never set to zero, so that they add up?": known_adam(np.cumsum(SLOPES)),
        "Is the loss made larger, not smaller?": -expected,
        "Is the learning rate ten times too large?": 10 * expected,
        "Is the learning rate ten times too small?": expected / 10,
        "Is the optimizer made anew in each epoch?": sum(map(known_adam, epochs)),
        "Is the optimizer made anew for each batch?": sum(known_adam([s]) for s in SLOPES),
    }
    question = "Is it Adam at its default rate, one step for each batch, with nothing added?"
    for mistake, move in mistakes.items():
        if abs(moved.mean() - move) < 1e-5:
            question = mistake
    require(
        (moved - expected).abs().max() < 1e-5,
        f"train: in twelve steps with known gradients the parameters move by {moved.mean():.5f}, "
        f"expected {expected:.5f} from Adam at its default rate. {question}",
    )
    require(
        (still == 0).all(),
        "train: parameters whose gradient is 0 move. Is there weight decay, or anything else that "
        "is added to the gradient?",
    )


def require_history(history, expected):
    is_list = isinstance(history, list | tuple) and len(history) == N_EPOCHS
    if not is_list or not all(isinstance(e, tuple | list) and len(e) == 2 for e in history):
        question = "Is there a return at the end?" if history is None else ""
        got = f"train: after {N_EPOCHS} epochs it returned {str(history)[:200]}, expected a list"
        pairs = "with the pair (train ELBO, held-out ELBO) for each epoch."
        raise CheckFailed(f"{got} {pairs} {question}".strip())
    other_types = {type(v).__name__ for entry in history for v in entry if not isinstance(v, Real)}
    require(
        not other_types,
        f"train: the history holds {' and '.join(sorted(other_types))}s, expected plain numbers. "
        "Is .item() left out?",
    )
    found = next((entry for entry in history if not alike(entry, expected)), expected)
    question = "Is each the mean over its digits, the training digits first?"
    if alike([-value for value in found], expected):
        question = "Is it the loss, which has the opposite sign?"
    require(
        found is expected,
        f"train: a pair of the history is ({found[0]:.2f}, {found[1]:.2f}), expected "
        f"({expected[0]:.2f}, {expected[1]:.2f}). {question}",
    )


def alike(pair, expected):
    return all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(pair, expected))


# Held-out ELBOs that correct solutions reached after so many epochs, with several seeds.
REACHED = {
    "MNIST": {1: -178, 2: -171, 5: -161, 10: -154.5, 20: -149.5, 50: -146, 100: -146.5},
    "embedded digits": {1: -195, 2: -184, 5: -177, 10: -170, 20: -162, 50: -152, 100: -146.5},
}


def result(notebook):
    """The held-out ELBO against the history, a model without a code, and what others reached.

    It is about the whole, and judges no choice of initial weights: it asks whether the training got
    past a model that knows only how often each pixel is on, with some patience in the first epochs.
    """
    require(notebook.history, "history is empty: nothing was trained yet.")
    torch.manual_seed(notebook.SEED)
    found, n_epochs, last = notebook.heldout_elbo(), len(notebook.history), notebook.history[-1][1]
    after = f"after {n_epochs} epochs the held-out ELBO is {found:.1f}"
    finite = f"{after}. Does one of the densities overflow, or did the training run away?"
    require(math.isfinite(found), finite)
    require(
        abs(found - last) < 1 + 0.02 * abs(last),
        f"{after}, but the history ends with {last:.1f}. Was a cell that makes a network run again "
        "after the training?",
    )
    least = elbo_without_code(notebook) - 80 / n_epochs
    early = "Did the training end early, or does a check above fail?"
    require(found > least, f"{after}, expected more than {least:.1f}. {early}")
    print("ok: the training has raised the held-out ELBO")
    reached = REACHED[notebook.digits.name]
    most = np.interp(math.log(n_epochs), np.log([*reached]), [*reached.values()])
    most += 4 + 12 / math.sqrt(n_epochs)
    require(
        found < most or n_epochs > max(reached),
        f"{after}, expected less than {most:.1f}. Is a term of it left out, or were the held-out "
        "digits trained on?",
    )
    print("ok: it is not too high to be true")


def elbo_without_code(notebook):
    """The log-probability of the held-out digits from how often each pixel is on, in nats."""
    frequency = notebook.binarized_mnist.mean(dim=0).double().clamp(1e-4, 1 - 1e-4)
    x = notebook.heldout_mnist.double()
    return reference.bernoulli_log_density(x, torch.logit(frequency)).sum(dim=1).mean().item()
