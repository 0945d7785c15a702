"""The two networks: whether they have the layers that the text asks for, and copies to try."""

import copy
import math
from typing import NamedTuple

import torch
from torch import nn

from .checking import (
    CheckFailed,
    Ddata,
    Dh,
    Dz,
    gradients_of,
    require,
    require_same,
    require_shape,
    same,
)
from .library import NoLibraryProbability
from .reference import require_last_dimension

SIZES = {"decoder": (Dz, Ddata), "encoder": (Ddata, 2 * Dz)}
OUTPUTS = {"decoder": ["decoder(z)"], "encoder": ["q_mean", "q_log_std"]}
ACTIVATIONS = {
    "ReLU": torch.relu,
    "a sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "softplus": nn.functional.softplus,
    "nothing": lambda v: v,
}


# Copies with other weights, for the checks of what is built on the networks ---------------------


class OwnNetwork(nn.Sequential):
    """The network that the text asks for, in place of one that does not pass its own check."""

    def __init__(self, n_in, n_out):
        super().__init__(nn.Linear(n_in, Dh), nn.Tanh(), nn.Linear(Dh, n_out))

    def forward(self, v):
        outputs = super().forward(v)
        return outputs if outputs.shape[-1] == Ddata else outputs.chunk(2, dim=-1)


def like_the_students(notebook, name):
    """A copy of the student's network, or one of our own where theirs is not fit to build on."""
    network = notebook.namespace.get(name)
    try:
        tanh_layers(network, name)
        return copied(network).requires_grad_()
    except Exception:  # whatever a student's network raises; the network's own check shows it
        return OwnNetwork(*SIZES[name]).to(notebook.DEVICE)


def copied(network):
    """A deep copy, also of a network that was compiled, or that keeps what it computed."""
    network = getattr(network, "_orig_mod", network)
    kept = [value for module in network.modules() for value in vars(module).values()]
    kept += [part for value in kept if isinstance(value, tuple | list) for part in value]
    results = [value for value in kept if torch.is_tensor(value) and not value.is_leaf]
    return copy.deepcopy(network, {id(value): value.detach() for value in results})


def with_kinds(parameters, n_in):
    """The parameters of a network with n_in inputs, each with the part that it is by its shape."""
    one_for_each_unit = [p for p in parameters if p.numel() == Dh and n_in not in p.shape]
    hidden_bias = min(one_for_each_unit, key=torch.Tensor.dim, default=None)
    for p in parameters:
        if n_in in p.shape:
            yield p, "hidden weights"
        elif p is hidden_bias:
            yield p, "hidden bias"
        else:
            yield p, "last weights" if Dh in p.shape else "last bias"


def randomize(network, name, seed, inputs=1.0, outputs=1.0):
    """Give a network random weights, with these scales for the hidden layer and the last one."""
    n_in, _ = SIZES[name]
    scales = {
        "hidden weights": inputs * math.sqrt(Dz / n_in),
        "hidden bias": 1.0,
        "last weights": 0.7 * outputs / math.sqrt(Dh),
        "last bias": 0.7 * outputs,
    }
    for i, (p, kind) in enumerate(with_kinds([*network.parameters()], n_in)):
        noise = torch.Generator(p.device).manual_seed(1000 * seed + i)
        p.data.normal_(0, scales[kind], generator=noise)


def other_weights(notebook, name, seed, inputs=1.0, outputs=1.0, seen=None):
    """A network like the student's with random weights, which notes in `seen` what it is given.

    Its parts note it, too, where they are called by themselves.
    """
    network, running = like_the_students(notebook, name), []
    n_in, _ = SIZES[name]
    randomize(network, name, notebook.SEED + seed, inputs, outputs)

    def noting(module, forward):
        def noting_forward(*given, **named):
            v = [*given, *named.values()][0]
            if module is network:
                require_last_dimension(name, v, n_in)
            if seen is not None and not running and v.shape[-1:] == (n_in,):
                seen.append(v)
            running.append(module)
            try:
                return forward(*given, **named)
            finally:
                running.pop()

        return noting_forward

    for module in network.modules():
        module.forward = noting(module, module.forward)
    return network


# The networks' own checks -----------------------------------------------------------------------


def decoder(notebook):
    """The decoder's shapes, and its layers by what they do with random weights."""
    require_network(notebook, "decoder")


def encoder(notebook):
    """The encoder's pair of outputs, and its layers by what they do with random weights."""
    require_network(notebook, "encoder")


def require_network(notebook, name):
    network, (n_in, n_out) = getattr(notebook, name), SIZES[name]
    module = "a module, as nn.Sequential(...) or an object of a class derived from nn.Module"
    require(isinstance(network, nn.Module), f"{name} must be {module}.")
    with NoLibraryProbability(name):
        outputs_of(getattr(network, "_orig_mod", network), name, notebook.pixels(7, 1049)[:, :n_in])
        frozen = f"{name}: some parameters are frozen. Did you set their requires_grad to False?"
        require(all(p.requires_grad for p in network.parameters()), frozen)
        print(f"ok: {' and '.join(OUTPUTS[name])} can be differentiated")
        tanh_layers(network, name)
    print(f"ok: {name} has {n_in} inputs, {Dh} tanh units and {n_out} outputs linear in them")


def outputs_of(network, name, v):
    """The outputs of a network as one tensor, (B, n_out), which must have a gradient."""
    outputs = network(v)
    if name == "decoder":
        outputs = [outputs]
    elif not (isinstance(outputs, tuple | list) and len(outputs) == 2):
        pair = "expected the pair q_mean, q_log_std. Does forward end in return q_mean, q_log_std"
        got = type(outputs).__name__
        raise CheckFailed(f"encoder(x): got a {got}, {pair}, or is it not written yet?")
    for output_name, output in zip(OUTPUTS[name], outputs):
        shape = len(v), SIZES[name][1] // len(outputs)
        require_shape(output_name, output, shape, "Is it split along the wrong dimension?")
        cut = f"{output_name}: got no gradient. Is it frozen, or cut off by detach or no_grad?"
        require(output.requires_grad, cut)
    return torch.cat([*outputs], dim=1)


class Layers(NamedTuple):
    """W1, b1, W2 and b2 of W2 tanh(W1 v + b1) + b2, or their gradients."""

    w1: torch.Tensor
    b1: torch.Tensor
    w2: torch.Tensor
    b2: torch.Tensor

    def __call__(self, v, activation=torch.tanh):
        return activation(v @ self.w1.T + self.b1) @ self.w2.T + self.b2

    def given(self, shift, factor):
        """The layers that give the same for v as these for shift + factor * v."""
        return self._replace(w1=self.w1 * factor, b1=self.b1 + self.w1 @ shift)

    def then(self, order, factor, shift):
        """The layers whose outputs are shift + factor * outputs[order] of these."""
        w2, b2 = factor[:, None] * self.w2[order], factor * self.b2[order] + shift
        return self._replace(w2=w2, b2=b2)


def layers_of(parameters, name, tensors=None):
    """The layers made of the parameters, or of tensors (their gradients) in place of them."""
    n_in, n_out = SIZES[name]
    count, expected = sum(p.numel() for p in parameters), (n_in + 1) * Dh + (Dh + 1) * n_out
    require(
        count == expected,
        f"{name}: got {count:,} parameters, expected {expected:,} for {n_in}, {Dh} and {n_out} "
        "units. Is there another layer, another width, or is a bias left out?",
    )
    parts = {"hidden weights": [], "hidden bias": [], "last weights": [], "last bias": []}
    columns = {"hidden weights": n_in, "last weights": Dh}  # nn.Linear's; by hand they may be rows
    for (p, kind), t in zip(with_kinds(parameters, n_in), tensors or parameters):
        if n := columns.get(kind):
            t = t.movedim(p.shape.index(n), -1)
        parts[kind].append(t.reshape(-1, n) if n else t.flatten())
    wanted = "expected a matrix of weights and a vector of biases for each"
    two = f"{name}: its parameters do not make two layers, {wanted}."
    require(all(parts.values()), two)
    layers = Layers(*map(torch.cat, parts.values()))
    require([*map(len, layers)] == [Dh, Dh, n_out, n_out], two)
    return layers


@torch.enable_grad()
def tanh_layers(network, name):
    """The layers of a network with one hidden layer of 500 tanh units and nothing after the last.

    It is compared, values and gradients, with W2 tanh(W1 v + b1) + b2 for random parameters, which
    are told apart by their shapes. It may do something fixed and affine with each number before the
    first layer and after the last, as to map pixels to -1 and 1 or to halve a log variance: that is
    worked into the layers that are returned.
    name: decoder or encoder. Raises: CheckFailed, which says what is different.
    """
    own = layers_of([p.detach().float() for p in network.parameters()], name)
    network = copied(network).float().requires_grad_()
    parameters, n_in = [*network.parameters()], SIZES[name][0]
    randomize(network, name, 1051, outputs=20)
    noise = torch.Generator(own.w1.device).manual_seed(1052)
    v = torch.randn(20, n_in, generator=noise, device=own.w1.device)
    found, again = (outputs_of(network, name, v) for _ in range(2))
    random = f"{name}: the same inputs give other outputs each time. Is there dropout in it?"
    require(same(found, again), random)

    before, layers = map_before(network, name), layers_of(parameters, name)
    cut = f"{name}: no gradient reaches its hidden layer. Is something detached?"
    require(all(t.isfinite().all() for t in before), cut)
    after = map_after(layers.given(*before)(v), found)
    exact = layers.given(*before).then(*after)(v)
    if not same(found, exact, 3e-4):
        require_outputs(name, found, layers, v)
    shared = f"{name}: its outputs are not {SIZES[name][1]}. Is the same layer used for several?"
    require(len(after[0].unique()) == found.shape[1], shared)
    found, exact = (gradients_of((t * v[:, :1]).sum(), parameters) for t in (found, exact))
    detached = f"{name}: its outputs are correct, their gradients are not. Is something detached?"
    require(all(same(g, e, 1e-2) for g, e in zip(found, exact)), detached)
    return own.given(*before).then(*after)


def require_outputs(name, found, layers, v):
    """Compare a network's outputs with those of its layers, and with what mistakes make of them."""
    exact, mistakes, outputs = layers(v), {}, OUTPUTS[name]
    for activation, function in ACTIVATIONS.items():
        mistakes[f"Is there {activation} between its layers, not tanh?"] = layers(v, function)
        mistakes[f"Did you apply {activation} to it?"] = function(exact)
    otherwise = "Is there a clamp or a norm, or anything else but its two layers and tanh?"
    for output, columns in zip(outputs, torch.arange(found.shape[1]).chunk(len(outputs))):
        here = {question: values[:, columns] for question, values in mistakes.items()}
        require_same(output, found[:, columns], exact[:, columns], here, otherwise, 3e-4)


def map_before(network, name):
    """What a network does with its inputs before the first layer: shift and factor, (n_in,) each.

    The gradient with respect to that layer's weights is what it is given, times the gradient with
    respect to its bias.
    """
    parameters, given = [*network.parameters()], []
    zeros_and_ones = parameters[0].new_tensor([[0.0], [1.0]]).expand(2, SIZES[name][0])
    for outputs in outputs_of(network, name, zeros_and_ones):
        slopes = layers_of(parameters, name, gradients_of(outputs.sum(), parameters))
        unit = slopes.b1.abs().argmax()
        given.append(slopes.w1[unit] / slopes.b1[unit])
    return snapped(given[0]), snapped(given[1] - given[0])


@torch.no_grad()
def map_after(last, found):
    """What a network does after its last layer: order, factor, shift, of each output (n_out,)."""
    last_0, found_0 = (t - t.mean(dim=0) for t in (last, found))
    normalize = nn.functional.normalize
    order = (normalize(found_0, dim=0).T @ normalize(last_0, dim=0)).abs().argmax(dim=1)
    factor = (found_0 * last_0[:, order]).sum(dim=0) / (last_0[:, order] ** 2).sum(dim=0)
    return order, snapped(factor), snapped((found - factor * last[:, order]).mean(dim=0))


def snapped(numbers):
    """Whole numbers where they are whole up to rounding: most fixed maps are 1 and 0."""
    return torch.where((numbers - numbers.round()).abs() < 1e-4, numbers.round(), numbers)
