"""The training loop, and what the training reached."""

import copy
import math

import numpy as np
import torch
from IPython.utils.capture import capture_output

from .checking import Checker, CheckFailed, Ddata, check, is_blank, require, same


class Batches:
    """Batches that can do no more than be iterated over and counted, as the notebook's own."""

    def __init__(self, digits):
        self.batches = digits.split(200)

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        return len(self.batches)


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


# Held-out ELBOs that right solutions reached after so many epochs, with several seeds.
REACHED = {
    "MNIST": {1: -178, 2: -171, 5: -161, 10: -154.5, 20: -149.5, 50: -146, 100: -146.5},
    "embedded digits": {1: -195, 2: -184, 5: -177, 10: -170, 20: -162, 50: -152, 100: -146.5},
}


class TrainingChecks(Checker):
    def watched_training(self, n_epochs, slopes):
        """Train copies of both networks on three batches with a loss whose gradient is known.

        At its k-th call the loss has the derivative slopes[k] with respect to every parameter, so
        that all of them must move alike; its value is known_loss(x). Returns how far they moved,
        the digits whose loss was taken, a random number from each call, and the history.
        """
        networks = {name: getattr(self.notebook, name) for name in ("encoder", "decoder")}
        copies = copy.deepcopy(networks)
        parameters = [p for network in copies.values() for p in network.parameters()]
        digits, seen, random_numbers = self.notebook.binarized_mnist[:600], [], []

        def watched_loss(x):
            slope = slopes[min(len(seen), len(slopes) - 1)]
            if torch.is_grad_enabled():
                seen.append(x.detach().clone())
                random_numbers.append(torch.rand(()).item())
            return known_loss(x) + sum((slope * (p - p.detach())).sum() for p in parameters)

        # What the loop may do with the notebook's batches it may do here, and no more.
        indexed = hasattr(self.notebook.batches, "__getitem__")
        batches = digits.split(200) if indexed else Batches(digits)
        train = self.notebook.train
        watched = {**copies, "loss": watched_loss, "elbo": lambda x: -watched_loss(x)}
        with self.replaced(**watched), capture_output():
            history = train(*copies.values(), batches, n_epochs)
        moves = {}
        for name, network in networks.items():
            pairs = zip(copies[name].parameters(), network.parameters())
            moves[name] = torch.cat([(p - q).detach().flatten() for p, q in pairs])
        return moves, torch.cat([digits[:0], *seen]), random_numbers, history

    @check
    def train(self):
        """Twelve steps of your loop, four epochs of three batches, against Adam's known steps."""
        slopes = [1.0, -0.3, 0.8, 0.5, -0.9, 1.4, 0.2, -0.6, 1.1, 0.7, -0.2, 0.4]
        moves, seen, random_numbers, history = self.watched_training(4, slopes)
        if is_blank(history) and not len(seen):
            raise CheckFailed("train is not written yet: it takes no loss and returns nothing.")
        for name, move in moves.items():
            require(
                (move != 0).all(),
                f"train changes every parameter of the {name}",
                f"train does not change every parameter of the {name}: are its parameters in the "
                "optimizer, is each step taken after backward and before zero_grad, and is it the "
                "network that train was given?",
            )
        fingerprint = self.numbers(Ddata, seed=1100)
        digits = self.notebook.binarized_mnist[:600]
        expected = (digits.double() @ fingerprint).repeat(4).sort().values
        require(
            len(seen) == 2400 and same((seen.double() @ fingerprint).sort().values, expected),
            "each epoch trains once on every digit of the batches",
            f"in 4 epochs the loss of {len(seen)} digits was taken where 2,400 is right, or of "
            "other digits than those in the batches: all of every batch, once in each epoch, as "
            "they are?",
        )
        require(
            len(set(random_numbers)) == len(random_numbers),
            "each batch has noise of its own",
            "the noise is the same for several batches: is the seed set inside train?",
        )
        right = known_adam(slopes)
        epochs = [slopes[k : k + 3] for k in (0, 3, 6, 9)]
        mistakes = {
            "are the gradients never set to zero, so that they add up?": np.cumsum(slopes),
            "is the loss made larger, not smaller?": [-slope for slope in slopes],
        }
        mistakes = {clue: known_adam(slopes) for clue, slopes in mistakes.items()} | {
            "is the learning rate ten times too large?": 10 * right,
            "is the optimizer made anew in each epoch?": sum(map(known_adam, epochs)),
            "is the optimizer made anew for each batch?": sum(known_adam([s]) for s in slopes),
        }
        moved = torch.cat([*moves.values()])
        found = moved.mean().item()
        clue = min(mistakes, key=lambda mistake: abs(found - mistakes[mistake]))
        if abs(found - mistakes[clue]) > 1e-5:
            clue = "is it Adam, at its default rate, one step for each batch, with nothing added?"
        require(
            (moved - right).abs().max() < 1e-5,
            "every parameter moves as Adam moves it",
            f"in twelve steps with known gradients the parameters move by {found:.5f}, and Adam at "
            f"its default rate moves them by {right:.5f}: {clue}",
        )
        require(
            isinstance(history, list)
            and len(history) == 4
            and all(isinstance(entry, tuple | list) and len(entry) == 2 for entry in history),
            "the history has a pair for each epoch",
            "train must return a list with a pair of numbers for each epoch, (train ELBO, held-out "
            f"ELBO); after 4 epochs it returned {history}.",
        )
        pair = [-known_loss(x).item() for x in (digits, self.notebook.heldout_mnist)]
        require(
            same(
                torch.tensor([[float(value) for value in entry] for entry in history]),
                torch.tensor([pair] * 4),
            ),
            "its numbers are the ELBOs of the training and of the held-out digits",
            f"an epoch's pair is {', '.join(f'{value:.2f}' for value in history[0])} where "
            f"{', '.join(f'{value:.2f}' for value in pair)} is right: is the sign that of the "
            "loss, is it a sum over batches or digits, or the ELBO of other digits?",
        )

    @check
    def result(self):
        """The held-out ELBO against what right solutions reached after as many epochs."""
        reached, n_epochs = REACHED[self.notebook.digits.name], len(self.notebook.history)
        if n_epochs == 0:
            raise CheckFailed("nothing was trained yet: history is empty.")
        if n_epochs > max(reached):
            print("no verdict: it was trained for more epochs than there are results for")
            return
        expected = np.interp(
            math.log(n_epochs), [math.log(n) for n in reached], list(reached.values())
        )
        margin = 4 + 12 / math.sqrt(n_epochs)
        torch.manual_seed(self.notebook.SEED)
        found = self.notebook.heldout_elbo()
        clue = "is something of the training missing"
        if found > expected:
            clue = "too high to be true: is a term missing, or were the held-out digits trained on"
        if not math.isfinite(found):
            clue = "is one of the densities computed in a form that overflows"
        require(
            abs(found - expected) < margin,
            "the held-out ELBO is what right solutions reach on these digits in as many epochs",
            f"the held-out ELBO is {found:.1f}, and right solutions reach {expected:.1f}, give or "
            f"take {margin:.1f}, on these digits in as many epochs: {clue}?",
        )
