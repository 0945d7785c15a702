"""The two networks: whether they have the layers that the text asks for, and copies to try."""

import copy
import inspect
import math
from typing import NamedTuple

import torch
from torch import nn

from .checking import CheckFailed, gradients_of, require, require_shape, same
from .library import NoLibraryProbability
from .reference import Ddata, Dh, Dz, require_last_dimension

SIZES = {"decoder": (Dz, Ddata), "encoder": (Ddata, 2 * Dz)}


# Copies with other weights, for the checks of what is built on the networks ---------------------


class OwnNetwork(nn.Module):
    """The network that the text asks for, in place of one that nothing can be built on."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_in, Dh), nn.Tanh(), nn.Linear(Dh, n_out))
        self.is_encoder = n_in == Ddata

    def forward(self, v):
        return self.layers(v).chunk(2, dim=-1) if self.is_encoder else self.layers(v)


def like_the_students(notebook, name):
    """A copy of the student's network, or one of our own where theirs is not fit to build on."""
    network, (n_in, n_out) = notebook.namespace.get(name), SIZES[name]
    if isinstance(network, nn.Module):
        network = copied(network).requires_grad_()
        try:
            outputs = network(notebook.numbers(3, n_in, seed=1050).float())
            outputs = outputs if name == "encoder" else (outputs,)
            if all(o.shape == (3, n_out / len(outputs)) and o.requires_grad for o in outputs):
                return network
        except Exception:  # whatever a student's forward raises; the network's own check shows it
            pass
    return OwnNetwork(n_in, n_out).to(notebook.DEVICE)


def copied(network):
    """A deep copy, also of a network that was compiled, or that keeps what it computed."""
    network = getattr(network, "_orig_mod", network)
    kept = [value for module in network.modules() for value in vars(module).values()]
    results = [value for value in kept if torch.is_tensor(value) and not value.is_leaf]
    return copy.deepcopy(network, {id(value): value.detach() for value in results})


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
    if not isinstance(network, nn.Module):
        what = "a class: make an object of it" if inspect.isclass(network) else "none"
        raise CheckFailed(
            f"{name} must be a module (an nn.Sequential, or an object of a class derived from "
            f"nn.Module), so that {name}.parameters() can go to the optimizer; it is {what}."
        )
    if not all(p.requires_grad for p in network.parameters()):
        raise CheckFailed(f"{name}: it cannot be trained, requires_grad is off. Did you switch it off?")
    with NoLibraryProbability(name):
        outputs = network(v)
        if name == "decoder":
            outputs = {"decoder(z)": outputs}
        elif isinstance(outputs, tuple | list) and len(outputs) == 2:
            outputs = dict(zip(["q_mean", "q_log_std"], outputs))
        else:
            raise CheckFailed(
                f"encoder(x): got {f'a {type(outputs).__name__}' if outputs is not None else None},"
                " expected the pair q_mean, q_log_std. Does forward end in return q_mean, "
                "q_log_std, or is it not written yet?"
            )
        for output_name, output in outputs.items():
            shape, question = (7, n_out // len(outputs)), "Is it split along the wrong dimension?"
            require_shape(output_name, output, shape, question)
            require(
                output.requires_grad,
                f"{output_name} has the shape (B, {shape[1]}) and can be differentiated",
                f"{output_name}: got no gradient. Is it cut off by detach or no_grad?",
            )
        tanh_layers(network, name)
    print(f"ok: the layers of the {name} have {n_in}, {Dh} and {n_out} units")
    print("ok: its hidden units are tanh of a linear layer, its outputs linear in them")


class Layers(NamedTuple):
    """W1, b1, W2 and b2 of W2 tanh(W1 v + b1) + b2, or their gradients."""

    w1: torch.Tensor
    b1: torch.Tensor
    w2: torch.Tensor
    b2: torch.Tensor


def tanh_layers(network, name):
    """The layers of a network with one hidden layer of 500 tanh units and nothing after the last.

    Parameters are told apart by their shapes; what the network does with them is found from its
    outputs and gradients for random ones. It may do something fixed and affine with each number
    before the first layer and after the last, as to map pixels to -1 and 1 or to halve a log
    variance: that is worked into the layers that are returned.
    name: decoder or encoder. Raises: CheckFailed, which says what is different.
    """
    n_in, _ = SIZES[name]
    trained = layers_of([*network.parameters()], name)
    network = copied(network)
    parameters = [*network.parameters()]
    noise = torch.Generator(parameters[0].device).manual_seed(1051)
    inputs = torch.randn(6, n_in, generator=noise, device=noise.device)
    inputs[0], inputs[1] = 0, 1
    for p in parameters:
        scale = {"hidden weights": 1 / math.sqrt(n_in), "last weights": 1 / math.sqrt(Dh)}
        p.data.normal_(0, scale.get(kind(p, n_in), 1.0), generator=noise)

    def outputs(v=inputs):
        found = network(v)
        return found if torch.is_tensor(found) else torch.cat([*found], dim=-1)

    if not same(outputs(), outputs()):
        raise CheckFailed(f"{name}: the same inputs give other outputs each time. Is that dropout?")
    if not same(outputs()[2:4], outputs(inputs[2:4]), 1e-3):
        raise CheckFailed(f"{name}: its outputs depend on the rest of the batch. Which line does?")
    before = torch.stack([first_inputs(outputs, i, 0, parameters, name) for i in range(3)])
    first_inputs(outputs, 2, -1, parameters, name)
    shift, factor = before[0], before[1] - before[0]
    if not same(before, shift + factor * inputs[:3], 1e-3):
        raise CheckFailed(f"{name}: its first layer is given something else than its inputs. What?")
    layers = layers_of(parameters, name)
    hidden = torch.tanh((shift + factor * inputs) @ layers.w1.T + layers.b1)
    found = outputs()
    order, after_factor, after_shift = output_map(outputs, parameters, name)
    if not same(
        found, after_factor * (hidden @ layers.w2.T + layers.b2)[:, order] + after_shift, 1e-3
    ):
        raise CheckFailed(f"{name}: its outputs are not a linear layer of its hidden units.")
    w1, b1, w2, b2 = (t.detach() for t in trained)
    w2, b2 = after_factor[:, None] * w2[order], after_factor * b2[order] + after_shift
    return Layers(w1 * factor, b1 + w1 @ shift, w2, b2)


def kind(p, n_in):
    """Which part of a network with n_in inputs a parameter is, by its shape."""
    layer = "hidden" if n_in in p.shape or p.numel() == Dh else "last"
    return f"{layer} {'weights' if p.numel() > max(p.shape) else 'bias'}"


def layers_of(tensors, name, parameters=None):
    """The layers made of the parameters, or of their gradients."""
    n_in, n_out = SIZES[name]
    parameters = tensors if parameters is None else parameters
    n, expected = sum(p.numel() for p in parameters), (n_in + 1) * Dh + (Dh + 1) * n_out
    if n != expected:
        raise CheckFailed(
            f"{name}: got {n:,} parameters, expected {expected:,} for layers of {n_in}, {Dh} and "
            f"{n_out} units. Is there another layer, another width, or is a bias left out?"
        )
    parts = {"hidden weights": [], "hidden bias": [], "last weights": [], "last bias": []}
    for t, p in zip(tensors, parameters):
        t = t.squeeze()
        n_columns = n_in if n_in in p.shape else Dh  # as nn.Linear has them, or the other way round
        parts[kind(p, n_in)].append(t.T if t.dim() == 2 and t.shape[1] != n_columns else t)
    w1, b1, w2, b2 = (torch.cat(part) if part else torch.empty(0) for part in parts.values())
    if (w1.shape, b1.shape, w2.shape, b2.shape) != ((Dh, n_in), (Dh,), (n_out, Dh), (n_out,)):
        shapes = [tuple(p.shape) for p in parameters]
        raise CheckFailed(f"{name}: parameters of the shapes {shapes} do not make its two layers.")
    return Layers(w1, b1, w2, b2)


ACTIVATIONS = {
    "ReLU": torch.relu,
    "a sigmoid": torch.sigmoid,
    "no activation at all": lambda v: v,
    "tanh twice": lambda v: torch.tanh(torch.tanh(v)),
    "softsign": nn.functional.softsign,
    "softplus": nn.functional.softplus,
    "GELU": nn.functional.gelu,
    "ELU": nn.functional.elu,
    "leaky ReLU": nn.functional.leaky_relu,
}


def first_inputs(outputs, i, k, parameters, name):
    """What the first layer is given for the i-th input, (n_in,); requires tanh after that layer.

    It is found by the gradient of the k-th output: with respect to the weights of a layer it is
    what the layer is given, times the gradient with respect to the layer's bias.
    """
    slopes = layers_of(gradients_of(outputs()[i, k], parameters), name, parameters)
    unit, output = slopes.b1.abs().argmax(), slopes.b2.abs().argmax()
    if slopes.b1[unit] == 0 or slopes.b2[output] == 0:
        output_name = {"decoder": "decoder(z)", "encoder": "q_log_std" if k else "q_mean"}[name]
        raise CheckFailed(
            f"{output_name}: no gradient reaches its layers. Is it cut off or clamped?"
        )
    given, hidden = slopes.w1[unit] / slopes.b1[unit], slopes.w2[output] / slopes.b2[output]
    layers = layers_of(parameters, name)
    linear = layers.w1 @ given + layers.b1
    if not same(hidden, torch.tanh(linear), 1e-3):
        found = [a for a, function in ACTIVATIONS.items() if same(hidden, function(linear), 1e-3)]
        found = found[0] if found else "something else"
        raise CheckFailed(f"{name}: between its layers is {found}, expected tanh, once.")
    return given


SQUASHES = {
    "exp": torch.exp,
    "softplus": nn.functional.softplus,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "ReLU": torch.relu,
}


@torch.no_grad()
def output_map(outputs, parameters, name):
    """What follows the last layer: outputs = factor * layer[order] + shift, (n_out,) each.

    With all weights at 0 the last layer is its bias, which is set to numbers that are known.
    """
    n_in, n_out = SIZES[name]
    biases = [p for p in parameters if kind(p, n_in) == "last bias"]
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
    curves = torch.stack([at(t * one) for t in ts])
    lines = shift + ts[:, None] * factor
    bent = ((curves - lines).abs().nan_to_num(math.inf) > 1e-3 * (1 + lines.abs())).any(dim=0)
    if bent.any() or (factor == 0).any():
        k = (bent | (factor == 0)).int().argmax()
        output_name = {"decoder": "decoder(z)", "encoder": "q_log_std" if k >= Dz else "q_mean"}
        squashes = [s for s, f in SQUASHES.items() if same(curves[2:5, k], f(ts[2:5]))]
        raise CheckFailed(
            f"{output_name[name]}: where the last layer gives -90 and 90, got {curves[0, k]:.4g} "
            f"and {curves[-1, k]:.4g}, expected nothing after that layer. Did you apply "
            f"{squashes[0] if squashes else 'a clamp or an activation'} to it?"
        )
    known = 1.0 + torch.randperm(n_out, device=one.device)
    found = (at(known) - shift) / factor
    order = known.argsort()[(found.round().long() - 1).clamp(0, n_out - 1)]
    if not same(found, known[order]) or len(order.unique()) < n_out:
        raise CheckFailed(
            f"{name}: some of its outputs are the same, or mixed. Is one layer, or one column of "
            f"it, used for both {'q_mean and q_log_std' if name == 'encoder' else 'of two pixels'}?"
        )
    return order, factor, shift
