"""The two networks: whether they have the layers that the text asks for, and copies to try."""

import copy
import inspect
import math
from typing import NamedTuple

import torch
from torch import nn

from .checking import CheckFailed, Ddata, Dh, Dz, gradients_of, require, require_shape, same
from .library import NoLibraryProbability
from .reference import require_last_dimension

SIZES = {"decoder": (Dz, Ddata), "encoder": (Ddata, 2 * Dz)}
OUTPUTS = {"decoder": ["decoder(z)"], "encoder": ["q_mean", "q_log_std"]}


# Copies with other weights, for the checks of what is built on the networks ---------------------


class OwnNetwork(nn.Module):
    """The network that the text asks for, in place of one that nothing can be built on."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_in, Dh), nn.Tanh(), nn.Linear(Dh, n_out))
        self.is_encoder = n_in == Ddata

    def forward(self, v):
        return self.layers(v).chunk(2, dim=-1) if self.is_encoder else self.layers(v)


@torch.enable_grad()
def like_the_students(notebook, name):
    """A copy of the student's network, or one of our own where theirs is not fit to build on."""
    network, (n_in, n_out) = notebook.namespace.get(name), SIZES[name]
    v = notebook.numbers(3, n_in, seed=1050).float()
    try:
        copy_of_it = copied(network).requires_grad_()
        outputs, again = (values_of(copy_of_it(v)) for _ in range(2))
        alone = values_of(copy_of_it(v[:1]))
        is_function = same(outputs, again) and same(outputs[:1], alone)
        has_parameters = any(p.numel() for p in copy_of_it.parameters())
        is_pair = name == "decoder" or len(copy_of_it(v)) == 2
        if outputs.shape == (3, n_out) and outputs.requires_grad and is_function:
            if has_parameters and is_pair:
                return copy_of_it
    except Exception:  # whatever a student's network raises; the network's own check shows it
        pass
    return OwnNetwork(n_in, n_out).to(notebook.DEVICE)


def values_of(outputs):
    """The outputs of a network as one tensor, (B, n_out)."""
    return outputs if torch.is_tensor(outputs) else torch.cat([*outputs], dim=-1)


def copied(network):
    """A deep copy, also of a network that was compiled, or that keeps what it computed."""
    network = getattr(network, "_orig_mod", network)
    kept = [value for module in network.modules() for value in vars(module).values()]
    kept += [part for value in kept if isinstance(value, tuple | list) for part in value]
    results = [value for value in kept if torch.is_tensor(value) and not value.is_leaf]
    return copy.deepcopy(network, {id(value): value.detach() for value in results})


def kind(p, n_in):
    """Which part of a network with n_in inputs a parameter is, by its shape."""
    layer = "hidden" if n_in in p.shape or p.numel() == Dh else "last"
    return f"{layer} {'weights' if p.numel() > max(p.shape) else 'bias'}"


def other_weights(notebook, name, seed, inputs=1.0, outputs=1.0, seen=None):
    """A network like the student's with random weights, which notes in `seen` what it is given.

    inputs, outputs: the scales of the weights of the hidden layer and of the last one.
    """
    network, n_in = like_the_students(notebook, name), SIZES[name][0]
    scales = {
        "hidden weights": inputs * math.sqrt(Dz / n_in),
        "hidden bias": 1.0,
        "last weights": 0.7 * outputs / math.sqrt(Dh),
        "last bias": 0.7 * outputs,
    }
    random = notebook.numbers(10_007, seed=seed, dtype=torch.float32)
    for i, p in enumerate(network.parameters()):
        repeated = random.roll(101 * i).repeat(p.numel() // len(random) + 1)
        p.data = repeated[: p.numel()].reshape(p.shape) * scales[kind(p, n_in)]
    note_inputs(network, name, [] if seen is None else seen)
    return network


def note_inputs(network, name, seen):
    """Let the network, and its parts where they are called by themselves, note its inputs."""
    n_in, running = SIZES[name][0], []

    def noting(module, forward):
        def noting_forward(v, *rest, **named):
            if module is network:
                require_last_dimension(name, v, n_in)
            if not running and v.shape[-1:] == (n_in,):
                seen.append(v)
            running.append(module)
            try:
                return forward(v, *rest, **named)
            finally:
                running.pop()

        return noting_forward

    for module in network.modules():
        module.forward = noting(module, module.forward)


# The networks' own checks -----------------------------------------------------------------------


def decoder(notebook):
    """The decoder's shapes, and its layers by what they do with random weights."""
    require_network(notebook, "decoder", notebook.numbers(7, Dz, seed=1049).float())


def encoder(notebook):
    """The encoder's pair of outputs, and its layers by what they do with random weights."""
    require_network(notebook, "encoder", notebook.binarized_mnist[:7])


def require_network(notebook, name, v):
    network, (n_in, n_out) = getattr(notebook, name), SIZES[name]
    what = "a class: make an object of it" if inspect.isclass(network) else "none"
    require(
        isinstance(network, nn.Module),
        f"{name} must be a module (an nn.Sequential, or an object of a class derived from "
        f"nn.Module), so that {name}.parameters() can go to the optimizer; it is {what}.",
    )
    frozen = f"{name}: requires_grad is off, and it cannot be trained. Did you freeze it?"
    require(all(p.requires_grad for p in network.parameters()), frozen)
    network = getattr(network, "_orig_mod", network)  # of one that was compiled
    with NoLibraryProbability(name):
        outputs = network(v)
        if name == "decoder":
            outputs = [outputs]
        elif not (isinstance(outputs, tuple | list) and len(outputs) == 2):
            got = f"a {type(outputs).__name__}" if outputs is not None else "None"
            raise CheckFailed(
                f"encoder(x): got {got}, expected the pair q_mean, q_log_std. Does forward end in "
                "return q_mean, q_log_std, or is it not written yet?"
            )
        for output_name, output in zip(OUTPUTS[name], outputs):
            shape = (7, n_out // len(outputs))
            require_shape(output_name, output, shape, "Is it split along the wrong dimension?")
            cut = f"{output_name}: got no gradient. Is it cut off by detach or no_grad?"
            require(output.requires_grad, cut)
        print(f"ok: {' and '.join(OUTPUTS[name])} can be differentiated")
        tanh_layers(network, name)
    print(f"ok: {name} has {n_in} inputs, {Dh} tanh units and {n_out} outputs linear in them")


class Layers(NamedTuple):
    """W1, b1, W2 and b2 of W2 tanh(W1 v + b1) + b2, or their gradients."""

    w1: torch.Tensor
    b1: torch.Tensor
    w2: torch.Tensor
    b2: torch.Tensor


def layers_of(parameters, name, tensors=None):
    """The layers made of the parameters, or of tensors (their gradients) in place of them."""
    n_in, n_out = SIZES[name]
    n, expected = sum(p.numel() for p in parameters), (n_in + 1) * Dh + (Dh + 1) * n_out
    require(
        n == expected,
        f"{name}: got {n:,} parameters, expected {expected:,} for {n_in}, {Dh} and {n_out} units. "
        "Is there another layer, another width, or is a bias left out?",
    )
    parts = {"hidden weights": [], "hidden bias": [], "last weights": [], "last bias": []}
    for p, t in zip(parameters, tensors or parameters):
        t = t.squeeze()
        n_columns = n_in if n_in in p.shape else Dh  # nn.Linear's; by hand they may be the rows
        parts[kind(p, n_in)].append(t.T if t.dim() == 2 and t.shape[1] != n_columns else t)
    layers = Layers(*(torch.cat(part) if part else torch.empty(0) for part in parts.values()))
    shapes = [(Dh, n_in), (Dh,), (n_out, Dh), (n_out,)]
    require([t.shape for t in layers] == shapes, f"{name}: its parameters do not make two layers.")
    return layers


@torch.enable_grad()
def tanh_layers(network, name):
    """The layers of a network with one hidden layer of 500 tanh units and nothing after the last.

    Parameters are told apart by their shapes; what the network does with them is found from its
    outputs and gradients for random ones. It may do something fixed and affine with each number
    before the first layer and after the last, as to map pixels to -1 and 1 or to halve a log
    variance: that is worked into the layers that are returned.
    name: decoder or encoder. Raises: CheckFailed, which says what is different.
    """
    n_in, _ = SIZES[name]
    w1, b1, w2, b2 = (t.detach().float() for t in layers_of([*network.parameters()], name))
    network = copied(network).float()
    parameters = [*network.parameters()]
    noise = torch.Generator(w1.device).manual_seed(1051)
    inputs = torch.randn(6, n_in, generator=noise, device=w1.device)
    inputs[0], inputs[1] = 0, 1
    for p in parameters:
        scale = {"hidden weights": 1 / math.sqrt(n_in), "last weights": 1 / math.sqrt(Dh)}
        p.data.normal_(0, scale.get(kind(p, n_in), 1.0), generator=noise)

    def outputs(v=inputs):
        return values_of(network(v))

    random = f"{name}: the same inputs give other outputs each time. Is there dropout in it?"
    require(same(outputs(), outputs()), random)
    batch = f"{name}: an input's outputs depend on the rest of the batch. Is a mean taken along it?"
    require(same(outputs()[2:4], outputs(inputs[2:4]), 1e-3), batch)
    given = [first_inputs(outputs, i, k, parameters, name) for i, k in ((0, 0), (1, 0), (2, -1))]
    shift, factor = given[0], given[1] - given[0]
    changed = f"{name}: its first layer is not given its inputs. What comes before it?"
    require(same(given[2], shift + factor * inputs[2], 1e-3), changed)
    layers = layers_of(parameters, name)
    hidden = torch.tanh((shift + factor * inputs) @ layers.w1.T + layers.b1)
    found, last = outputs(), hidden @ layers.w2.T + layers.b2
    order, factor_after, shift_after = output_map(outputs, parameters, name)
    linear = f"{name}: its outputs are not a linear layer of its hidden units. What is between?"
    require(same(found, factor_after * last[:, order] + shift_after, 1e-3), linear)
    w2, b2 = factor_after[:, None] * w2[order], factor_after * b2[order] + shift_after
    return Layers(w1 * factor, b1 + w1 @ shift, w2, b2)


FUNCTIONS = {
    "ReLU": torch.relu,
    "a sigmoid": torch.sigmoid,
    "exp": torch.exp,
    "softplus": nn.functional.softplus,
    "tanh": torch.tanh,
    "tanh twice": lambda v: torch.tanh(torch.tanh(v)),
    "softsign": nn.functional.softsign,
    "GELU": nn.functional.gelu,
    "nothing": lambda v: v,
}


def function_between(before, after, otherwise):
    return next((n for n, f in FUNCTIONS.items() if same(after, f(before), 1e-3)), otherwise)


def first_inputs(outputs, i, k, parameters, name):
    """What the first layer is given for the i-th input, (n_in,); requires tanh after that layer.

    It is found by the gradient of the k-th output: with respect to the weights of a layer it is
    what the layer is given, times the gradient with respect to the layer's bias.
    """
    slopes = layers_of(parameters, name, gradients_of(outputs()[i, k], parameters))
    unit, output = slopes.b1.abs().argmax(), slopes.b2.abs().argmax()
    cut = f"{OUTPUTS[name][k]}: no gradient reaches its layers. Is it cut off, clamped or constant?"
    require(slopes.b1[unit] != 0 and slopes.b2[output] != 0, cut)
    given, hidden = slopes.w1[unit] / slopes.b1[unit], slopes.w2[output] / slopes.b2[output]
    layers = layers_of(parameters, name)
    between = function_between(layers.w1 @ given + layers.b1, hidden, "something else")
    require(between == "tanh", f"{name}: between its layers is {between}, expected tanh, once.")
    return given.round(decimals=4)  # a fixed map is 1 and 0, or not very close to them


@torch.no_grad()
def output_map(outputs, parameters, name):
    """What follows the last layer: outputs = factor * layer[order] + shift, (n_out,) each.

    With all weights at 0 the last layer is its bias, which is set to numbers that are known.
    """
    n_in, n_out = SIZES[name]
    biases = [p.zero_() for p in parameters if kind(p, n_in) == "last bias"]
    for p in parameters:
        p.zero_()

    def at(values):
        for p, part in zip(biases, values.split([p.numel() for p in biases])):
            p.copy_(part.reshape(p.shape))
        return outputs()[0]

    one = torch.ones(n_out, device=biases[0].device)
    shift = at(0 * one)
    factor = at(one) - shift
    ts = torch.tensor([-90.0, -20, -2, 0.3, 4, 20, 90], device=one.device)
    curves, lines = torch.stack([at(t * one) for t in ts]), shift + ts[:, None] * factor
    wrong = ~((curves - lines).abs() < 1e-3 * (1 + lines.abs())).all(dim=0) | (factor == 0)
    k = wrong.int().argmax()
    which = OUTPUTS[name][k * len(OUTPUTS[name]) // n_out]
    after = function_between(ts[2:5], curves[2:5, k], "a clamp or an activation")
    require(
        not wrong.any(),
        f"{which}: where the last layer gives -90 and 90, got {curves[0, k]:.4g} and "
        f"{curves[-1, k]:.4g}, expected these. Did you apply {after} to it?",
    )
    known = 1.0 + torch.randperm(n_out, device=one.device)
    found = (at(known) - shift) / factor
    order = known.argsort()[(found.round().long() - 1).clamp(0, n_out - 1)]
    shared = f"{name}: outputs are shared or mixed. Is the same layer, or column of it, used twice?"
    require(same(found, known[order]) and len(order.unique()) == n_out, shared)
    return order, factor.round(decimals=4), shift.round(decimals=4)
