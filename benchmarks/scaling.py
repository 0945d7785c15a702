"""How the notebook's training grows with the minibatch, the hidden layers and the number of digits.

    .venv/bin/python benchmarks/scaling.py

Times its own `train` with other settings and draws docs/scaling.png. Each point is the median of
five epochs.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.utils.capture import capture_output
from matplotlib.ticker import LogLocator
from training_speed import ROOT, notebook

BATCH_SIZES = [50, 100, 200, 500, 1000, 2000, 5000]
WIDTHS = [500, 1000, 2000, 4000]
NUMBERS = [2000, 5000, 10_000, 20_000, 40_000, 60_000]


def seconds(ours, n_digits, batch_size):
    """Median time of one epoch of `train` on so many digits."""
    x = ours["binarized_mnist"]
    batches = x.repeat(n_digits // len(x) + 1, 1)[:n_digits].split(batch_size)
    ours["heldout_mnist"] = ours["heldout_mnist"][:batch_size]  # hardly any of the time
    times = []
    for _ in range(6):
        started = time.perf_counter()
        with capture_output():
            ours["train"](ours["encoder"], ours["decoder"], batches, n_epochs=1)
        times.append(time.perf_counter() - started)
    return np.median(times[1:])


def line(ax, x, y, xlabel, ylabel):
    ax.loglog(x, y, "o-")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_xticks(x, labels=[f"{value:,}" for value in x], rotation=45, minor=False)
    ax.set_xticks([], minor=True)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("")
    ax.grid(alpha=0.3, which="both")


def main():
    ours = notebook()
    by_batch = [10_000 / size / seconds(ours, 10_000, size) for size in BATCH_SIZES]
    by_number = [seconds(ours, n, 200) for n in NUMBERS]
    by_width = [25 / seconds(notebook(Dh=width), 5000, 200) for width in WIDTHS]
    for name, x, y in [
        ("steps per second, by minibatch", BATCH_SIZES, by_batch),
        ("steps per second, by hidden units", WIDTHS, by_width),
        ("seconds for an epoch, by digits", NUMBERS, by_number),
    ]:
        print(name + ":", ", ".join(f"{a}: {b:.3g}" for a, b in zip(x, y)))
    plt.switch_backend("agg")
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    line(axes[0], BATCH_SIZES, by_batch, "digits in a minibatch", "steps per second")
    line(axes[1], WIDTHS, by_width, "hidden units", "steps per second")
    line(axes[2], NUMBERS, by_number, "training digits", "seconds for an epoch")
    figure.suptitle(f"Training speed, {torch.get_num_threads()} threads")
    figure.savefig(ROOT / "docs" / "scaling.png", dpi=110)


if __name__ == "__main__":
    main()
