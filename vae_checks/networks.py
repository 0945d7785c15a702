"""The two networks: whether they have the layers that the text asks for, and copies to try."""

import copy
import inspect
import math
from typing import NamedTuple

import torch
from torch import nn

from .checking import CheckFailed, gradients_of, is_blank, require, require_shape, same
from .library import NoLibraryProbability
from .reference import Ddata, Dh, Dz, require_last_dimension

N_IN = {"decoder": Dz, "encoder": Ddata}
N_OUT = {"decoder": Ddata, "encoder": 2 * Dz}


# Copies with other weights, for the checks of what is built on the networks ----------------------


class OwnNetwork(nn.Module):
    """The network that the text asks for, in place of one that is not fit to build on."""

    def __init__(self, name):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(N_IN[name], Dh), nn.Tanh(), nn.Linear(Dh, N_OUT[name])
        )
        self.has_two_outputs = name == "encoder"

    def forward(self, v):
        outputs = self.layers(v)
        return outputs.chunk(2, dim=-1) if self.has_two_outputs else outputs


def like_the_students(notebook, name):
    """A copy of the student's network, or one of our own where theirs cannot be built on."""
    network = notebook.namespace.get(name)
    if isinstance(network, nn.Module):
        network = copied(network)
        for p in network.parameters():
            p.requires_grad_()
        try:
            outputs = network(notebook.numbers(3, N_IN[name], seed=1050).float())
            pair = outputs if name == "encoder" else [outputs]
            shapes = [(3, Dz)] * 2 if name == "encoder" else [(3, Ddata)]
            if [o.shape for o in pair] == shapes and all(o.requires_grad for o in pair):
                return network
        except Exception:  # whatever the student's forward raises: the network's own check shows it
            pass
    return OwnNetwork(name).to(notebook.DEVICE)


def other_weights(notebook, name, seed, inputs=1.0, outputs=1.0, seen=None):
    """A network like the student's, with random weights; seen: a list for all that it is given.

    inputs, outputs: the scales of the hidden layer's weights and of the last layer.
    """
    network = like_the_students(notebook, name)
    with torch.no_grad():
        for i, p in enumerate(network.parameters()):
            values = notebook.numbers(p.numel(), seed=seed + 10 * i, dtype=torch.float32)
            p.copy_(values.reshape(p.shape) * scale_of(p.shape, name, inputs, outputs))
    watch_inputs(network, name, [] if seen is None else seen)
    return network


def scale_of(shape, name, inputs, outputs):
    """The scale of a random parameter, by what it is: of the hidden or of the last layer."""
    if Dh not in shape:
        return 0.7 * outputs
    if N_IN[name] in shape:
        return inputs * (1 if name == "decoder" else 2 / math.sqrt(Ddata))
    is_weight = math.prod(shape) > Dh
    return 0.7 * outputs / math.sqrt(Dh) if is_weight else 1.0


def watch_inputs(network, name, seen):
    """Let the network and its parts, if they are called alone, note the inputs of the network."""
    running = []

    def watched(module, forward):
        def noting(v, *rest, **named):
            if module is network:
                require_last_dimension(name, v, N_IN[name])
            if not running and v.shape[-1:] == (N_IN[name],):
                seen.append(v)
            running.append(module)
            try:
                return forward(v, *rest, **named)
            finally:
                running.pop()

        return noting

    for module in network.modules():
        module.forward = watched(module, module.forward)


def copied(network):
    """A deep copy, also of a network that keeps what it computed, or that was compiled."""
    network = getattr(network, "_orig_mod", network)
    kept = [value for module in network.modules() for value in vars(module).values()]
    results = [value for value in kept if torch.is_tensor(value) and not value.is_leaf]
    return copy.deepcopy(network, {id(value): value.detach() for value in results})


# The networks themselves ------------------------------------------------------------------------


def decoder(notebook):
    """The decoder's shapes, parameters and layers, with random weights in them."""
    network = network_named(notebook, "decoder")
    with NoLibraryProbability("decoder"):
        outputs = network(notebook.numbers(7, Dz, seed=1049).float())
        require_shape("decoder(z)", outputs, (7, Ddata))
        require_trainable("decoder", network)
        require(
            outputs.requires_grad,
            "decoder(z) has the shape (B, Ddata) and can be differentiated",
            "decoder(z): got no gradient. Is it cut off by detach or no_grad?",
        )
        tanh_layers(network, "decoder")
    print("ok: its layers have 2, 500 and 784 units, and all of their weights can be trained")
    print("ok: its hidden units are tanh of a linear layer, and its outputs are linear in them")


def encoder(notebook):
    """The encoder's pair of outputs, and its layers as the decoder's."""
    network = network_named(notebook, "encoder")
    with NoLibraryProbability("encoder"):
        outputs = network(notebook.binarized_mnist[:7])
        if is_blank(outputs):
            raise CheckFailed(
                f"encoder(x): got {outputs}, expected the pair q_mean, q_log_std. Is there a return "
                "at the end of forward?"
            )
        if not (isinstance(outputs, tuple | list) and len(outputs) == 2):
            kind = f"a {type(outputs).__name__}"
            if torch.is_tensor(outputs):
                kind = f"one tensor of the shape {tuple(outputs.shape)}"
            raise CheckFailed(f"encoder(x): got {kind}, expected the pair q_mean, q_log_std.")
        clue = "Did you split the outputs along the wrong dimension?"
        for name, output in zip(["q_mean", "q_log_std"], outputs):
            require_shape(name, output, (7, Dz), clue)
        require_trainable("encoder", network)
        for name, output in zip(["q_mean", "q_log_std"], outputs):
            if not output.requires_grad:
                raise CheckFailed(f"{name}: got no gradient. Is it cut off by detach or no_grad?")
        print("ok: encoder(x) is a pair of shapes (B, Dz), and both can be differentiated")
        tanh_layers(network, "encoder")
    print("ok: its layers have 784, 500 and 4 units, and all of their weights can be trained")
    print("ok: its hidden units are tanh of a linear layer, and its outputs are linear in them")


def network_named(notebook, name):
    network = getattr(notebook, name)
    if not isinstance(network, nn.Module):
        kind = "a class: make an object of it" if inspect.isclass(network) else "none"
        raise CheckFailed(
            f"{name} must be a module (an nn.Sequential, or an object of a class derived from "
            f"nn.Module), so that {name}.parameters() can go to the optimizer; it is {kind}."
        )
    return network


def require_trainable(name, network):
    if not all(p.requires_grad for p in network.parameters()):
        raise CheckFailed(
            f"{name}: some parameters cannot be trained. Did you switch requires_grad off?"
        )


class TanhLayers(NamedTuple):
    """A network W2 tanh(W1 v + b1) + b2, with what it does before and after worked in."""

    w1: torch.Tensor
    b1: torch.Tensor
    w2: torch.Tensor
    b2: torch.Tensor


def tanh_layers(network, name):
    """The layers of a network with one hidden layer of 500 tanh units and nothing after the last.

    name: decoder or encoder. The layers are found by the shapes of their parameters, and what the
    network does with them by its outputs and gradients for random ones. Before the first layer and
    after the last the network may do the same affine thing with each number: map pixels to -1 and
    1, or halve a log-variance.
    Raises: CheckFailed, which says what is different.
    """
    trained = Parts.of(network, name)
    network = copied(network)
    parts = Parts.of(network, name)
    inputs = parts.random_numbers(6, N_IN[name])
    inputs[0], inputs[1] = 0, 1

    def outputs(v=inputs):
        found = network(v)
        return found if torch.is_tensor(found) else torch.cat([*found], dim=-1)

    parts.randomize()
    require_same_each_time(outputs, inputs, name)
    shift, factors, order = output_map(parts, outputs, name)
    parts.randomize()
    after = [
        hidden_inputs(parts, outputs, i, k, order, name)
        for i, k in [(0, 0), (1, 0), (2, 0), (2, -1)]
    ]
    zeros, ones, generic = after[:3]
    if not same(generic, zeros + (ones - zeros) * inputs[2]):
        raise CheckFailed(
            f"{name}: its first layer is not given the {N_IN[name]} inputs. Is something other than "
            "a fixed shift and factor applied to them first?"
        )
    hidden = torch.tanh(after_layer(parts, zeros + (ones - zeros) * inputs))
    w2, b2 = parts.last_layer()
    if not same(outputs(), factors * (hidden @ w2.T + b2)[:, order] + shift, 1e-3):
        raise CheckFailed(f"{name}: its outputs are not a linear layer of its tanh units.")
    w1, b1 = trained.first_layer()
    w2, b2 = trained.last_layer()
    w1, b1 = w1 * (ones - zeros), b1 + w1 @ zeros
    w2, b2 = factors[:, None] * w2[order], factors * b2[order] + shift
    return TanhLayers(*(t.detach() for t in (w1, b1, w2, b2)))


class Parts(NamedTuple):
    """The parameters of a network by what they are, found by their shapes."""

    w1: nn.Parameter
    b1: nn.Parameter
    w2: list  # of one last layer, or of a layer for each output
    b2: list

    @classmethod
    def of(cls, network, name):
        n_in, n_out = N_IN[name], N_OUT[name]
        parameters = list(network.parameters())
        n, n_expected = sum(p.numel() for p in parameters), (n_in + 1) * Dh + (Dh + 1) * n_out
        if n != n_expected:
            raise CheckFailed(
                f"{name}: got {n:,} parameters, expected {n_expected:,} for layers of {n_in}, {Dh} "
                f"and {n_out} units. {question_about_size(parameters, n_expected - n, n_out)}"
            )
        sizes = [{*p.shape} - {1} for p in parameters]
        w1 = [p for p, size in zip(parameters, sizes) if size == {n_in, Dh}]
        b1 = [p for p, size in zip(parameters, sizes) if size == {Dh}]
        w2 = [
            p for p, size in zip(parameters, sizes) if Dh in size and size not in ({n_in, Dh}, {Dh})
        ]
        b2 = [p for p, size in zip(parameters, sizes) if Dh not in size]
        if len(w1) != 1 or len(b1) != 1 or [p.numel() // Dh for p in w2] != [p.numel() for p in b2]:
            raise CheckFailed(
                f"{name}: got parameters of the shapes {[tuple(p.shape) for p in parameters]}, "
                f"expected a matrix and a bias for {Dh} hidden units, and the same for {n_out} "
                "outputs."
            )
        return cls(w1[0], b1[0], w2, b2)

    def random_numbers(self, *shape):
        noise = torch.Generator(self.w1.device).manual_seed(1051)
        return torch.randn(shape, generator=noise, device=self.w1.device)

    def randomize(self):
        """Give them random values with which the hidden units are neither small nor saturated."""
        scales = [(self.w1, 1 / math.sqrt(self.w1.numel() / Dh)), (self.b1, 1.0)]
        scales += [(p, 1 / math.sqrt(Dh)) for p in self.w2] + [(p, 1.0) for p in self.b2]
        noise = torch.Generator(self.w1.device).manual_seed(1052)
        for p, scale in scales:
            p.requires_grad_().data.normal_(0, scale, generator=noise)

    def first_layer(self):
        return matrix(self.w1, rows=Dh), self.b1.flatten()

    def last_layer(self):
        weights = [matrix(p, rows=p.numel() // Dh) for p in self.w2]
        return torch.cat(weights), torch.cat([p.flatten() for p in self.b2])


def matrix(t, rows):
    """As nn.Linear stores its weights, (outputs, inputs), whichever way round they are here."""
    t = t.reshape([n for n in t.shape if n != 1])
    return t if t.shape[0] == rows else t.T


def after_layer(parts, v):
    weights, biases = parts.first_layer()
    return v @ weights.T + biases


def question_about_size(parameters, lacking, n_out):
    if lacking in (Dh, n_out, Dh + n_out):
        return "Is a bias left out?"
    if lacking < 0 and any({*p.shape} == {Dh} and p.dim() == 2 for p in parameters):
        return "Is there another layer?"
    return f"Has a layer another width, or is there one too many? The hidden units are {Dh}."


def require_same_each_time(outputs, v, name):
    if not same(outputs(v), outputs(v)):
        raise CheckFailed(
            f"{name}: two calls with the same inputs give different outputs. Is there a dropout, or "
            "noise, in the network?"
        )
    if not same(outputs(v)[2:4], outputs(v[2:4]), 1e-3):
        raise CheckFailed(
            f"{name}: what it returns for one {'code' if name == 'decoder' else 'digit'} depends on "
            "the others in the batch. Is a mean, a norm or a softmax taken along the batch?"
        )


SQUASHED = {
    "exp": torch.exp,
    "softplus": nn.functional.softplus,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "ReLU": torch.relu,
}


def output_map(parts, outputs, name):
    """What follows the last layer: outputs = factors * layer[order] + shift, found by its biases.

    Returns shift, factors and order, (n_out,) each. With no weights the layer is its biases.
    """
    with torch.no_grad():
        for p in [*parts.w2, *parts.b2]:
            p.zero_()

        def at(t):
            for p in parts.b2:
                p.fill_(t)
            return outputs()

        shift, factors = at(0.0)[0], at(1.0)[0] - at(0.0)[0]
        for t in (-0.5, 20.0, -20.0, 90.0, -90.0):
            found, linear = at(t)[0], shift + t * factors
            wrong = (found - linear).abs().nan_to_num(math.inf) > 1e-3 * (1 + linear.abs())
            if wrong.any():
                k = wrong.nonzero()[0].item()
                raise CheckFailed(about_squashed_output(name, k, lambda t, k=k: at(t)[0, k]))
        if (factors == 0).any():
            k = (factors == 0).nonzero()[0].item()
            raise CheckFailed(
                f"{output_name(name, k)} does not depend on the last layer's bias. Is it constant?"
            )
        n_out = N_OUT[name]
        biases = torch.randperm(n_out, device=shift.device) + 1.0
        for p, values in zip(parts.b2, biases.split([p.numel() for p in parts.b2])):
            p.copy_(values.reshape(p.shape))
        which = (outputs()[0] - shift) / factors
        order = torch.argsort(biases)[(which.round().long() - 1).clamp(0, n_out - 1)]
        if not same(which, biases[order]) or len(order.unique()) < n_out:
            raise CheckFailed(
                f"{name}: its outputs have not each weights of their own. "
                + (
                    "Is the same layer, or the same column, used for both q_mean and q_log_std?"
                    if name == "encoder"
                    else "Are some outputs the same, or are they mixed after the last layer?"
                )
            )
    return shift, factors, order


def output_name(name, k):
    if name == "decoder":
        return "decoder(z)"
    return "q_mean" if k < Dz else "q_log_std"


def about_squashed_output(name, k, output):
    """What is wrong with an output that is not linear in the last layer's bias t."""
    output_is = output_name(name, k)
    ts = (-2.0, 0.3, 1.0, 4.0)
    for squash, function in SQUASHED.items():
        if all(abs(output(t) - function(torch.tensor(t))) < 1e-3 for t in ts):
            break
    else:
        squash = None
    lowest, highest = output(-90.0).item(), output(90.0).item()
    if output_is == "q_log_std" and lowest >= -1e-6:
        return (
            "q_log_std is never negative, but it must be the log standard deviation, any real "
            f"number. Did you apply {squash or 'a function such as exp or softplus'} to it?"
        )
    if squash:
        return (
            f"{output_is}: there is a function after the last layer, {squash}. Nothing must follow "
            "it: did you add an activation there?"
        )
    return (
        f"{output_is}: where the last layer gives -90 and 90, got {lowest:.4g} and {highest:.4g}. "
        "Nothing must follow the last layer: is there a clamp or an activation after it?"
    )


ACTIVATIONS = {
    "ReLU": torch.relu,
    "a sigmoid": torch.sigmoid,
    "the identity (no activation)": lambda v: v,
    "tanh twice": lambda v: torch.tanh(torch.tanh(v)),
    "softsign": nn.functional.softsign,
    "softplus": nn.functional.softplus,
    "GELU": nn.functional.gelu,
    "ELU": nn.functional.elu,
    "SiLU": nn.functional.silu,
    "leaky ReLU": nn.functional.leaky_relu,
    "a hard tanh": nn.functional.hardtanh,
    "a sine": torch.sin,
}


def hidden_inputs(parts, outputs, i, k, order, name):
    """What the first layer is given for the i-th input, (n_in,); requires tanh units after it.

    The gradient with respect to a layer's weights is what the layer is given, times the gradient
    with respect to its bias.
    """
    parameters = [parts.w1, parts.b1, *parts.w2, *parts.b2]
    w1, b1, *last = gradients_of(outputs()[i, k], parameters)
    n = len(parts.w2)
    (w1, b1), (w2, b2) = (
        (matrix(w1, rows=Dh), b1.flatten()),
        Parts(w1, b1, last[:n], last[n:]).last_layer(),
    )
    unit = b1.abs().argmax()
    if b1[unit] == 0:
        raise CheckFailed(
            f"{output_name(name, k)}: no gradient reaches the first layer. Is it cut off by detach "
            "or no_grad?"
        )
    given, hidden = w1[unit] / b1[unit], w2[order[k]] / b2[order[k]]
    before = after_layer(parts, given)
    if not same(hidden, torch.tanh(before), 1e-3):
        found = [a for a, function in ACTIVATIONS.items() if same(hidden, function(before), 1e-3)]
        raise CheckFailed(
            f"{name}: got hidden units that are {found[0]}, expected tanh."
            if found
            else f"{name}: its hidden units are not tanh of a linear layer. Is there something "
            "else between its layers?"
        )
    return given
