"""One training step of the notebook beside other ways of writing it, in one run.

    .venv/bin/python benchmarks/training_speed.py

Prints the median time of a step of 200 digits and its ratio to the five large matrix products that
no implementation can do without, and draws docs/training_speed.png. The steps of all contestants
alternate, so that a busy machine slows all of them. Before they are timed, each must compute the
same ELBO for the same parameters. Pyro, JAX and a C++ compiler (for torch.compile) are optional.
What uses bfloat16 is left out where the processor has no units for it and emulates it slowly.
"""

import itertools
import math
import re
import sys
import time
import timeit
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import torch
from IPython.utils.capture import capture_output
from PIL import Image
from torch import nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
TRAIN = "5efb0baa-90b8-11eb-304f-7dbb8d5c0ba6"
BS, WARM_UP, STEPS = 200, 20, 300


def notebook(**settings):
    """The namespace of the notebook down to `train`, its cells executed with other settings."""
    sys.path.insert(0, str(ROOT))  # its modules
    namespace = {}
    for cell in nbformat.read(ROOT / "vae_assignment.ipynb", as_version=4).cells:
        if cell.cell_type == "code" and not cell.id.startswith("check-"):
            source = re.sub("(?m)^%.*", "", cell.source)  # without magics
            with capture_output():
                exec(compile(source, cell.id, "exec"), namespace)
            namespace.update({k: v for k, v in settings.items() if k in namespace})
        if cell.id == TRAIN:
            return namespace


def same_parameters(ours, encoder, decoder):
    """Copy the notebook's parameters into other networks with the same layers."""
    for mine, other in [(ours["encoder"], encoder), (ours["decoder"], decoder)]:
        for p, q in zip(mine.parameters(), other.parameters()):
            q.data.copy_(p)


# The contestants: each is a pair of functions, one that takes a step and one that estimates the
# ELBO of some digits. What a step needs (a batch, noise) it gets itself.


def matrix_products(ours, dtype=torch.float32):
    """Encoder and decoder forward, their weights' gradients, and the gradient of the codes."""
    shapes = (BS, 784), (BS, 500), (BS, 784), (784, 500), (500, 784)
    x, h, y, w_in, w_out = (torch.randn(shape).to(dtype) for shape in shapes)

    def step():
        x @ w_in, h @ w_out, x.T @ h, h.T @ y, y @ w_out.T

    return step, None


def in_bfloat16(contestant):
    """A contestant that is given bfloat16 as its dtype, where products are faster in it."""

    def start(ours):
        single, half = (
            min(timeit.repeat(matrix_products(ours, dtype)[0], number=5, repeat=5))
            for dtype in (torch.float32, torch.bfloat16)
        )
        if half > single:
            raise RuntimeError(f"here its products take {half / single:.0f} times as long")
        return contestant(ours, torch.bfloat16)

    return start


def tutorial(ours):
    """The loop of many tutorials: each digit transformed by itself, a loss from the library."""
    from torchvision import transforms  # not before the notebook's helpers, which help to import it

    class BinaryDigits(torch.utils.data.Dataset):
        transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Lambda(lambda image: (image > 0.5).float())]
        )

        def __len__(self):
            return len(ours["digits"].train_images)

        def __getitem__(self, i):  # as torchvision's MNIST does it
            image, label = ours["digits"].train_images[i], int(ours["digits"].train_labels[i])
            return self.transform(Image.fromarray(image.numpy())), label

    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(784, 500), nn.Tanh(), nn.Linear(500, 4))
            self.decoder = nn.Sequential(nn.Linear(2, 500), nn.Tanh(), nn.Linear(500, 784))

        def forward(self, x):
            mean, log_std = self.encoder(x.view(-1, 784)).chunk(2, dim=1)
            z = mean + torch.exp(log_std) * torch.randn_like(log_std)
            return torch.sigmoid(self.decoder(z)), mean, log_std

    def loss(x):
        pixel_means, mean, log_std = model(x)
        bce = F.binary_cross_entropy(pixel_means, x.view(-1, 784), reduction="sum")
        kl = -0.5 * torch.sum(1 + 2 * log_std - mean.pow(2) - (2 * log_std).exp())
        return (bce + kl) / len(x)

    loader = torch.utils.data.DataLoader(BinaryDigits(), batch_size=BS, shuffle=True)
    model = VAE()
    same_parameters(ours, model.encoder, model.decoder)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = forever(loader)

    def step():
        x, _ = next(batches)
        optimizer.zero_grad()
        batch_loss = loss(x)
        batch_loss.backward()
        optimizer.step()
        return batch_loss.item()

    return step, lambda x: -loss(x).item()


def with_loss(change):
    """The notebook's functions, with a change to its loss."""
    ours = notebook()
    loss = change(ours["loss"])
    optimizer = torch.optim.Adam(
        [*ours["encoder"].parameters(), *ours["decoder"].parameters()], fused=True
    )
    batches = forever(ours["batches"])

    def step():
        x = next(batches)
        optimizer.zero_grad()
        loss(x).backward()
        optimizer.step()

    return step, lambda x: -loss(x).item()


def compiled(ours):
    """The notebook's functions through torch.compile."""
    return with_loss(lambda loss: torch.compile(loss, dynamic=False))


def autocast(ours, dtype):
    """What the notebook's setting BFLOAT16 does."""
    return with_loss(torch.autocast("cpu", dtype, cache_enabled=False))


def pyro_svi(ours):
    """Pyro's stochastic variational inference with the same networks."""
    import pyro
    import pyro.distributions as dist

    encoder = nn.Sequential(nn.Linear(784, 500), nn.Tanh(), nn.Linear(500, 4))
    decoder = nn.Sequential(nn.Linear(2, 500), nn.Tanh(), nn.Linear(500, 784))
    same_parameters(ours, encoder, decoder)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("digits", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("digits", len(x)):
            mean, log_std = encoder(x).chunk(2, dim=1)
            pyro.sample("z", dist.Normal(mean, log_std.exp()).to_event(1))

    pyro.clear_param_store()
    pyro.enable_validation(False)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), pyro.infer.Trace_ELBO())
    batches = forever(ours["binarized_mnist"].split(BS))
    return lambda: svi.step(next(batches)), lambda x: -svi.evaluate_loss(x) / len(x)


def jax_jit(ours, dtype=torch.float32):
    """JAX, the whole step compiled by jit, the digits and all parameters kept by it.

    The dtype is that of the large products' factors; all else is in float32.
    """
    import jax
    import jax.numpy as jnp

    networks = [[*ours["encoder"].parameters()], [*ours["decoder"].parameters()]]
    parameters = [[jnp.array(p.detach().numpy()) for p in network] for network in networks]
    digits = jnp.array(ours["binarized_mnist"].numpy())
    factor = jnp.bfloat16 if dtype == torch.bfloat16 else jnp.float32

    def product(v, w):
        return (v.astype(factor) @ w.T.astype(factor)).astype(jnp.float32)

    def network(weights, v):
        w_1, b_1, w_2, b_2 = weights
        return product(jnp.tanh(product(v, w_1) + b_1), w_2) + b_2

    def normal(z, mean, log_std):
        return -0.5 * math.log(2 * math.pi) - log_std - 0.5 * ((z - mean) / jnp.exp(log_std)) ** 2

    def loss(parameters, x, key):
        encoder, decoder = parameters
        mean, log_std = jnp.split(network(encoder, x), 2, axis=1)
        z = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
        likelihood = jax.nn.log_sigmoid((2 * x - 1) * network(decoder, z)).sum(1)
        return -(likelihood + (normal(z, 0.0, 0.0) - normal(z, mean, log_std)).sum(1)).mean()

    def update(state, indices):
        parameters, means, squares, k, key = state
        key, noise = jax.random.split(key)
        gradients = jax.grad(loss)(parameters, digits[indices], noise)
        tree = jax.tree_util.tree_map
        means = tree(lambda m, g: 0.9 * m + 0.1 * g, means, gradients)
        squares = tree(lambda s, g: 0.999 * s + 0.001 * g**2, squares, gradients)
        rate = 1e-3 * jnp.sqrt(1 - 0.999**k) / (1 - 0.9**k)
        moves = tree(lambda m, s: rate * m / (jnp.sqrt(s) + 1e-8), means, squares)
        moved = tree(lambda p, move: p - move, parameters, moves)
        return moved, means, squares, k + 1, key

    update = jax.jit(update, donate_argnums=0)
    zeros = [[jnp.zeros_like(p) for p in network] for network in parameters]
    state = [(parameters, zeros, jax.tree_util.tree_map(jnp.copy, zeros), 1.0, jax.random.key(1))]
    rng = np.random.default_rng(1)
    at_first = jax.tree_util.tree_map(jnp.copy, parameters)  # the step gives its state away

    def step():
        state[0] = update(state[0], rng.choice(len(digits), BS, replace=False, shuffle=False))
        jax.block_until_ready(state[0])

    keys = map(jax.random.key, itertools.count(2))
    return step, lambda x: -float(loss(at_first, jnp.array(x.numpy()), next(keys)))


CONTESTANTS = {
    "five matrix products": matrix_products,
    "five matrix products, bfloat16": in_bfloat16(matrix_products),
    "the notebook, bfloat16": in_bfloat16(autocast),
    "JAX, jit": jax_jit,
    "JAX, jit, bfloat16": in_bfloat16(jax_jit),
    "torch.compile": compiled,
    "Pyro, SVI": pyro_svi,
    "PyTorch as in tutorials": tutorial,
}


def forever(batches):
    while True:
        yield from batches


def same_elbo(ours, elbo, rounding):
    """Whether the mean of many estimates agrees with the notebook's.

    It may differ by six standard errors, and relatively by the rounding of the contestant's dtype.
    """
    x = ours["heldout_mnist"][:1000]
    with torch.no_grad():
        a, b = ([float(estimate(x)) for _ in range(20)] for estimate in (ours["elbo"], elbo))
    standard_error = math.sqrt((np.var(a) + np.var(b)) / 20)
    return abs(np.mean(a) - np.mean(b)) < 6 * standard_error + rounding * abs(np.mean(a))


class Alternating:
    """Batches for the notebook's `train`: before each one every contestant takes a step."""

    def __init__(self, batches, steps):
        self.batches, self.steps = forever(batches), steps
        self.seconds = {name: [] for name in ["the notebook", *steps]}

    def __iter__(self):
        for _ in range(WARM_UP + STEPS):
            for name, step in self.steps.items():
                started = time.perf_counter()
                step()
                self.seconds[name].append(time.perf_counter() - started)
            started = time.perf_counter()
            yield next(self.batches)
            # Here `train` has taken its step, and asks for the next batch.
            self.seconds["the notebook"].append(time.perf_counter() - started)


def measure():
    """Median seconds a step of each contestant that is there."""
    ours = notebook()
    steps = {}
    for name, contestant in CONTESTANTS.items():
        try:
            step, elbo = contestant(ours)
            rounding = torch.finfo(torch.bfloat16).eps if "bfloat16" in name else 0
            agrees = elbo is None or same_elbo(ours, elbo, rounding)
        except Exception as error:  # not installed, no compiler, or no units
            print(f"{name}: not here ({type(error).__name__}: {error})".splitlines()[0])
            continue
        if not agrees:
            raise SystemExit(f"{name} computes another ELBO than the notebook.")
        steps[name] = step
    batches = Alternating(ours["batches"], steps)
    with capture_output():
        ours["train"](ours["encoder"], ours["decoder"], batches, n_epochs=1)
    return {name: np.median(seconds[WARM_UP:]) for name, seconds in batches.seconds.items()}


def draw(ratios, file):
    plt.switch_backend("agg")
    figure, ax = plt.subplots(figsize=(7, 0.5 + 0.4 * len(ratios)), layout="constrained")
    colours = ["tab:orange" if "notebook" in name else "tab:blue" for name in ratios]
    bars = ax.barh(list(ratios), list(ratios.values()), color=colours)
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.invert_yaxis()
    ax.set(xlabel="time for a step of 200 digits, five matrix products = 1")
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.1)
    figure.savefig(file, dpi=110)


def main():
    medians = dict(sorted(measure().items(), key=lambda item: item[1]))
    floor = medians["five matrix products"]
    print(f"\n| a step of {BS} digits, {torch.get_num_threads()} threads | ms, median | ratio |")
    print("| --- | --- | --- |")
    for name, seconds in medians.items():
        print(f"| {name} | {1000 * seconds:.1f} | {seconds / floor:.2f} |")
    draw({name: s / floor for name, s in medians.items()}, ROOT / "docs" / "training_speed.png")


if __name__ == "__main__":
    main()
