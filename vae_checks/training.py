"""The training loop, and what the training reached."""

import copy
import math
from numbers import Real

import numpy as np
import torch
from IPython.utils.capture import capture_output
from torch.nn.utils import parameters_to_vector

from . import reference
from .checking import Ddata, is_blank, require, require_same, same
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


def train(notebook):
    """Twelve steps of your loop, four epochs of three batches, against Adam's known steps.

    The loss has a known gradient in the parameters of copies of both networks, so it is known where
    Adam moves them. Digits count as trained on where the gradient of their loss is taken. Every
    fifth parameter has no gradient, and stays where it is if nothing like weight decay is added.
    """
    networks = {name: like_the_students(notebook, name) for name in ("encoder", "decoder")}
    seen, reports, positions = [], [], []  # seen: digits, and the noise that they meet

    def parameters():
        return [parameters_to_vector(network.parameters()) for network in networks.values()]

    def loss(x):
        """The value known_loss(x), with the same gradients until the optimizer has made a step."""
        both, x, random_number = parameters(), x.detach().clone(), torch.rand(()).item()
        position = [vector[1].item() for vector in both]
        if position not in positions[-1:]:
            positions.append(position)
        slope = SLOPES[(len(positions) - 1) % len(SLOPES)]
        zero = sum((vector - vector.detach())[has_slope(vector)].sum() for vector in both)
        value = known_loss(x) + slope * zero
        if value.requires_grad:
            value.register_hook(lambda _: seen.append((x, random_number)))
        return value

    stand_ins = {
        "loss": loss,
        "elbo": lambda x: -loss(x),
        "report": lambda *given, **named: reports.append(len([*given, *named.values()][0])),
        **networks,
    }
    stand_ins["N_EPOCHS"] = N_EPOCHS + 3  # train is told how many epochs, and must not look here
    stand_ins["history"] = [(0.0, 0.0)]  # nor at what was trained before
    digits, own_train = notebook.binarized_mnist[:N_DIGITS], notebook.train
    batches = digits.split(N_DIGITS // N_BATCHES)
    if hasattr(notebook.batches, "digits"):  # the same with what else the notebook's own can do
        batches = copy.copy(notebook.batches)
        batches.digits, batches.size = digits, N_DIGITS // N_BATCHES
    start = [vector.detach().clone() for vector in parameters()]
    with notebook.replaced("train", **stand_ins), capture_output():
        history = own_train(*networks.values(), batches, N_EPOCHS)

    written = len(seen) or not is_blank(history)
    require(written, "train is not written yet: it takes no gradient and returns nothing.")
    moves = [(end - begin).detach() for end, begin in zip(parameters(), start)]
    for name, move in zip(networks, moves):
        require(
            (move[has_slope(move)] != 0).all(),
            f"train: parameters of the {name} do not change. Are they in the optimizer, does each "
            "step come after backward and before zero_grad, and is it the network that is given?",
        )
    require_all_digits(notebook, digits, torch.cat([digits[:0], *(x for x, _ in seen)]))
    repeated = "train: the noise is the same for several batches. Is the seed set inside train?"
    require(len({number for _, number in seen}) == len(seen), repeated)
    print("ok: each epoch trains on every digit once")
    require_adam(torch.cat(moves), torch.cat([has_slope(move) for move in moves]))
    print("ok: every parameter of both networks moves as Adam moves it")
    require_history(history, [-known_loss(x).item() for x in (digits, notebook.heldout_mnist)])
    print("ok: the history has the ELBOs of the training and of the held-out digits")
    if reports != [*range(1, N_EPOCHS + 1)]:
        print("note: train does not call report(history) after each epoch, as the last part needs")


def has_slope(vector):
    """Which parameters the known loss depends on: all but every fifth."""
    return torch.arange(len(vector), device=vector.device) % 5 > 0


def require_all_digits(notebook, digits, seen):
    fingerprint = notebook.numbers(Ddata, seed=1100)  # a number that tells a digit from all others
    found, expected = (x.double() @ fingerprint for x in (seen, digits.repeat(N_EPOCHS, 1)))
    question = "Does each epoch train on all of every batch, once, and on nothing else?"
    if len(found) == (N_EPOCHS + 3) * N_DIGITS:
        question = "Is N_EPOCHS used, where train is given n_epochs?"
    require(
        same(found.sort().values, expected.sort().values),
        f"train: in {N_EPOCHS} epochs of {N_DIGITS} digits it trained on {len(found)} digits, "
        f"expected each digit once in each epoch, {len(expected)}. {question}",
    )


def require_adam(moves, has_slope):
    expected, moved = known_adam(SLOPES), moves[has_slope]
    epochs = [SLOPES[k : k + N_BATCHES] for k in range(0, len(SLOPES), N_BATCHES)]
    mistakes = {
        "Are the gradients never set to zero, so that they add up?": known_adam(np.cumsum(SLOPES)),
        "Is the optimizer made anew in each epoch?": sum(map(known_adam, epochs)),
        "Is the optimizer made anew for each batch?": sum(known_adam([s]) for s in SLOPES),
    }
    require_same(
        "train: how far Adam moves parameters in twelve steps with known gradients, times 1000",
        1e3 * moved,
        torch.full_like(moved, 1e3 * expected),
        {question: torch.full_like(moved, 1e3 * move) for question, move in mistakes.items()},
        "Is it Adam at its default rate, one step for each batch, with nothing added?",
    )
    decay = "Is there weight decay, or anything else that is added to the gradient?"
    require(not moves[~has_slope].any(), f"train: parameters whose gradient is 0 move. {decay}")


def require_history(history, expected):
    pairs = isinstance(history, list | tuple) and len(history) == N_EPOCHS
    pairs = pairs and all(isinstance(e, tuple | list) and len(e) == 2 for e in history)
    wanted = "a list with the pair (train ELBO, held-out ELBO) for each epoch"
    shown = f"train: after {N_EPOCHS} epochs it returned {str(history)[:200]}, expected {wanted}"
    require(pairs, f"{shown}. Is there history = [] in train, and a return at the end?")
    numbers = all(isinstance(value, Real) for pair in history for value in pair)
    require(numbers, f"{shown}, all of them plain numbers. Is .item() left out?")
    found, expected = torch.tensor(history), torch.tensor(N_EPOCHS * [expected])
    question = "Is each the mean over its digits, the training digits first?"
    require_same("train: the history", found, expected, {}, question)


# Held-out ELBOs that correct solutions reached after so many epochs, with several seeds.
REACHED = {
    "MNIST": {1: -178, 2: -171, 5: -161, 10: -154.5, 20: -149.5, 50: -146, 100: -146.5},
    "embedded digits": {1: -195, 2: -184, 5: -177, 10: -170, 20: -162, 50: -152, 100: -146.5},
}


def result(notebook):
    """The held-out ELBO against the history, a model without a code, and what others reached.

    The training must get past a model that knows only how often each pixel is on, with patience in
    the first epochs: no choice of initial weights is judged.
    """
    require(notebook.history, "history is empty: nothing was trained yet.")
    torch.manual_seed(notebook.SEED)
    found, n_epochs, last = notebook.heldout_elbo(), len(notebook.history), notebook.history[-1][1]
    after = f"after {n_epochs} epoch{'s' * (n_epochs > 1)} the held-out ELBO is {found:.1f}"
    finite = f"{after}. Does one of the densities overflow, or did the training run away?"
    require(math.isfinite(found), finite)
    require(
        abs(found - last) < 1 + 0.02 * abs(last),
        f"{after}, but the history ends with {last:.1f}. Was a cell that makes a network run again "
        "after the training?",
    )
    frequency = notebook.binarized_mnist.mean(dim=0).double().clamp(1e-4, 1 - 1e-4)
    x = notebook.heldout_mnist.double()
    without_code = reference.bernoulli_log_density(x, torch.logit(frequency)).sum(dim=1).mean()
    least = without_code.item() - 80 / n_epochs
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
