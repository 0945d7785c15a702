"""The two networks: their layers, and other weights in them while a check looks."""

from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from .checking import CheckFailed, gradients_of, require, require_same, require_shape, same
from .library import NoLibraryProbability
from .notebook import Layers
from .reference import TanhNetwork

OUTPUTS = {"decoder": ["decoder(z)"], "encoder": ["q_mean", "q_log_std"]}
BETWEEN = {  # activations in place of tanh
    "ReLU": torch.relu,
    "a sigmoid": torch.sigmoid,
    "ELU": nn.functional.elu,
    "GELU": nn.functional.gelu,
    "softplus": nn.functional.softplus,
    "softsign": nn.functional.softsign,
    "a leaky ReLU": nn.functional.leaky_relu,
    "SiLU": nn.functional.silu,
    "a hard tanh": nn.functional.hardtanh,
    "nothing": lambda v: v,
}
AFTER = {  # functions at the end of a network, where there should be none
    "ReLU": torch.relu,
    "a sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "softplus": nn.functional.softplus,
    "log sigmoid": nn.functional.logsigmoid,
    "softmax": lambda v: v.softmax(dim=-1),
    "log softmax": lambda v: v.log_softmax(dim=-1),
    "log": torch.log,
    "abs": torch.abs,
}


# Other weights ---------------------------------------------------------------------------------


@contextmanager
def restored(*networks):
    """A context at whose end the networks' weights, gradients and modes are what they were."""
    parameters = [p for network in networks for p in network.parameters()]
    tensors = parameters + [b for network in networks for b in network.buffers()]
    values = [t.detach().clone() for t in tensors]
    gradients = [p.grad for p in parameters]
    modes = [network.training for network in networks]
    for p in parameters:
        p.grad = None
    try:
        yield
    finally:
        with torch.no_grad():
            for t, value in zip(tensors, values):
                t.copy_(value)
        for p, gradient in zip(parameters, gradients):
            p.grad = gradient
        for network, mode in zip(networks, modes):
            network.train(mode)


def own_or_reference(notebook, name):
    """The student's network, or one of our own if it does not pass its check."""
    network = notebook.namespace.get(name)
    try:
        require_layers(notebook, name, network)
        return network
    except Exception:  # whatever the student's network raises; its own check shows that
        n_outputs = len(OUTPUTS[name])
        return TanhNetwork(*notebook.layers(name), n_outputs).to(notebook.DEVICE)


@torch.no_grad()
def randomize(network, layers, seed, inputs=1.0, outputs=1.0):
    """Give a network random weights, with these scales for the hidden layer and the last one.

    Sums over the inputs and over the hidden units have about these scales, whatever their number.
    """
    scales = {
        "hidden weights": inputs * (2 / layers.n_in) ** 0.5,
        "hidden bias": 1.0,
        "last weights": 0.7 * outputs / layers.n_hidden**0.5,
        "last bias": 0.7 * outputs,
    }
    noise = None
    for role, parameters in parameters_by_role(network, layers).items():
        for p in parameters:
            noise = noise or torch.Generator(p.device).manual_seed(seed)
            p.copy_(scales[role] * torch.randn(p.shape, generator=noise, device=p.device))


@contextmanager
def inputs_of(network, n_in):
    """A context that notes what a network is given: a list of tensors (n, n_in).

    The parts of a network are watched, too, where they are called by themselves. The same input
    twice in a row is noted once.
    """
    seen, running, modules = [], [], set(network.modules())

    def begin(module, arguments):
        if module not in modules:
            return
        v = arguments[0].detach() if arguments and torch.is_tensor(arguments[0]) else None
        if not running and v is not None and v.shape[-1:] == (n_in,):
            rows = v.reshape(-1, n_in)
            if not (seen and torch.equal(seen[-1], rows)):
                seen.append(rows.clone())
        running.append(module)

    def end(module, arguments, output):
        if module in modules:
            running.pop()

    hooks = register_module_forward_pre_hook(begin), register_module_forward_hook(end)
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


# The networks' own checks -----------------------------------------------------------------------


def decoder(notebook):
    """The decoder's layers: see require_layers."""
    require_network(notebook, "decoder")


def encoder(notebook):
    """The encoder's layers, and the pair of its outputs: see require_layers."""
    require_network(notebook, "encoder")


def require_network(notebook, name):
    with NoLibraryProbability(name):
        require_layers(notebook, name, notebook.value(name))
    n_in, n_hidden, n_out = notebook.layers(name)
    print(f"ok: {' and '.join(OUTPUTS[name])} can be differentiated")
    print(f"ok: {name} has {n_in} inputs, {n_hidden} tanh units and {n_out} outputs linear in them")


@torch.enable_grad()
def require_layers(notebook, name, network):
    """A network computes W2 tanh(W1 v + b1) + b2, but for fixed affine maps.

    Every input and every output may have a fixed shift and factor of its own: pixels mapped to -1
    and 1, the paper's half of a log variance.

    What is tried: random W1 and b1, the same row w for every output in W2, and b2 = 0. Then each
    output must be affine in one number, h(v) = w . tanh(W1 v + b1): shift + factor * h(v), with the
    same shift and factor for all v. The gradients with respect to W1 and b1 must be those of h.
    """
    module = "a module, as nn.Sequential(...) or an object of a class derived from nn.Module"
    require(isinstance(network, nn.Module), f"{name} must be {module}.")
    layers = notebook.layers(name)
    frozen = f"{name}: some parameters are frozen. Did you set their requires_grad to False?"
    require(all(p.requires_grad for p in network.parameters()), frozen)
    v = notebook.pixels(20, seed=1051)  # an encoder may refuse anything but zeros and ones
    if name == "decoder":
        v = notebook.numbers(20, layers.n_in, seed=1052).float()
    outputs_of(network, name, v, layers)
    by_role = parameters_by_role(network, layers, name)
    with restored(network):
        randomize(network, layers, seed=1053)
        require_every_output(name, network, v, layers, by_role["last bias"])
        (W1,), (b1,) = by_role["hidden weights"], by_role["hidden bias"]
        shift, factor = map_before(name, network, layers, W1, b1)
        w = 60 / layers.n_hidden**0.5 * notebook.numbers(layers.n_hidden, seed=1054)
        with torch.no_grad():
            for p in by_role["last weights"]:
                p.copy_(along(p, layers.n_hidden, w))
            for p in by_role["last bias"]:
                p.zero_()
        a = (shift + factor * v.double()) @ rows_of(W1, layers.n_in).double().T
        a = a + b1.flatten().double()
        for output_name, output in zip(OUTPUTS[name], outputs_of(network, name, v, layers)):
            require_affine(output_name, output.double(), a, w)
            u = notebook.numbers(*output.shape, seed=1055)
            exact = gradients_of((u * affine_in(torch.tanh(a) @ w, output)).sum(), [W1, b1])
            found = gradients_of((u * output).sum(), [W1, b1])
            cut = f"{output_name}: its values are correct, its gradients are not"
            if all(not slope.any() for slope in found):
                cut = f"{output_name}: no gradient reaches its hidden layer"
            agree = all(
                same(f / e.abs().max(), e / e.abs().max(), 1e-3) for f, e in zip(found, exact)
            )
            require(agree, f"{cut}. Is something detached?")


def parameters_by_role(network, layers, name="network"):
    """The parameters of a network with one hidden layer, told apart by their shapes.

    | role           | shape                                                                 |
    | -------------- | --------------------------------------------------------------------- |
    | hidden weights | n_in by n_hidden, or n_hidden by n_in                                 |
    | hidden bias    | n_hidden numbers                                                      |
    | last weights   | n_hidden by something; an encoder may have one matrix for each output |
    | last bias      | the others                                                            |
    """
    n_in, n_hidden, n_out = layers
    by_role = {"hidden weights": [], "hidden bias": [], "last weights": [], "last bias": []}
    parameters = [*network.parameters()]
    for p in parameters:
        if p.numel() == n_hidden:
            by_role["hidden bias"].append(p)
        elif sorted(p.shape) == sorted([n_in, n_hidden]) and not by_role["hidden weights"]:
            by_role["hidden weights"].append(p)
        elif n_hidden in p.shape and p.dim() == 2:
            by_role["last weights"].append(p)
        else:
            by_role["last bias"].append(p)

    lists = (
        "Are the layers in a plain list? Use nn.ModuleList or nn.Sequential, which register them"
    )
    require(parameters, f"{name}: has no parameters. {lists}.")
    found = [sum(p.numel() for p in members) for members in by_role.values()]
    expected = [n_in * n_hidden, n_hidden, n_hidden * n_out, n_out]
    shapes = ", ".join(str(tuple(p.shape)) for p in parameters)
    require(
        found == expected and len(by_role["hidden weights"]) == 1,
        f"{name}: its parameters have the shapes {shapes}, expected weights from {n_in} inputs to "
        f"{n_hidden} units and from these to {n_out} outputs, and a bias for each. Is there "
        "another layer or another width, or is one of them missing or kept in a plain list?",
    )
    return by_role


def rows_of(weights, n_columns):
    """A matrix of weights with n_columns columns: by hand they may be its rows."""
    return weights if weights.shape[-1] == n_columns else weights.T


def along(weights, n, w):
    """The vector w (n,) repeated to the shape of the weights, along their dimension of size n."""
    return (w if weights.shape[-1] == n else w[:, None]).expand_as(weights)


def outputs_of(network, name, v, layers):
    """The outputs of a network as a list, each (B, n), which must have a gradient."""
    try:
        outputs = network(v)
    except RuntimeError as error:
        linear = [str(m) for m in network.modules() if isinstance(m, nn.Linear)]
        if "shapes cannot be multiplied" not in str(error) or not linear:
            raise
        its = f"Its layers: {', '.join(linear)}. Are they in the wrong order?"
        raise CheckFailed(f"{name}: given the shape {tuple(v.shape)}, {error}. {its}") from None
    if name == "decoder":
        outputs = [outputs]
    elif not (isinstance(outputs, tuple | list) and len(outputs) == 2):
        pair = "expected the pair q_mean, q_log_std. Does forward end in return q_mean, q_log_std"
        got = type(outputs).__name__
        raise CheckFailed(f"encoder(x): got a {got}, {pair}, or is it not written yet?")
    for output_name, output in zip(OUTPUTS[name], outputs):
        shape = len(v), layers.n_out // len(outputs)
        question = ""
        if torch.is_tensor(output) and output.dim() > 2:
            question = "Is it reshaped to images? One row for each code is expected."
        elif name == "encoder":
            question = "Is it split along the wrong dimension?"
        require_shape(output_name, output, shape, question)
        cut = f"{output_name}: got no gradient. Is it cut off by detach or no_grad?"
        require(output.requires_grad, cut)
    return outputs


def require_every_output(name, network, v, layers, last_bias):
    """The outputs are the same in each call and mode, and use every unit of the last layer."""

    def outputs():
        return torch.cat([*outputs_of(network, name, v, layers)], dim=1)

    network.train()
    found = outputs()
    random = f"{name}: the same inputs give other outputs each time. Is there dropout in it?"
    require(same(outputs(), found), random)
    network.eval()
    mode = f"{name}: in evaluation mode, after {name}.eval(), it gives other outputs."
    require(same(outputs(), found), mode)
    with torch.no_grad():
        pair = network(v)
    without = pair if name == "decoder" else torch.cat([*pair], dim=1)
    require(same(without, found), f"{name}: under torch.no_grad() it gives other outputs.")
    network.train()
    slopes = gradients_of((found * found.detach()).sum(), last_bias)
    shared = f"{name}: its outputs are not {layers.n_out} different ones. Is one used for several?"
    distinct = len(found.T.unique(dim=0)) == layers.n_out
    require(distinct and all(slope.all() for slope in slopes), shared)


def map_before(name, network, layers, W1, b1):
    """What a network does to its inputs before the first layer: shift and factor, (n_in,) each.

    The gradient with respect to a unit's weights is what the layer is given, times the gradient
    with respect to the unit's bias. So it shows what is made of zeros and of ones.
    """
    given = []
    zeros = torch.zeros(1, layers.n_in, device=W1.device)
    for v in zeros, zeros + 1:
        output = torch.cat([*outputs_of(network, name, v, layers)], dim=1)
        u = torch.linspace(1, 2, layers.n_out, device=W1.device)
        by_weights, by_bias = gradients_of((u * output).sum(), [W1, b1])
        cut = f"{name}: no gradient reaches its hidden layer. Is something detached?"
        require(by_bias.any(), cut)
        unit = by_bias.flatten().abs().argmax()
        given.append(rows_of(by_weights, layers.n_in)[unit] / by_bias.flatten()[unit])
    shift, one = (t.double().round(decimals=5) for t in given)
    return shift, one - shift


def affine_in(h, output):
    """shift + factor * h (B,) for each column of the output (B, n), taken where h is extreme."""
    low, high = h.argmin(), h.argmax()
    output = output.detach().double()
    factor = (output[high] - output[low]) / (h[high] - h[low]).detach()
    return output[low] + factor * (h - h[low].detach())[:, None]


def require_affine(name, output, a, w):
    """Every column of an output (B, n) is affine in tanh(a) @ w; if not, say in what it is."""
    h = torch.tanh(a) @ w
    predicted = affine_in(h, output)
    if same(output / 60, predicted / 60, 3e-4):
        constant = f"{name}: does not depend on the inputs. Is it saturated, by a softmax perhaps?"
        require((output.amax(dim=0) - output.amin(dim=0) > 1e-3).all(), constant)
        return
    mistakes, raw = {}, h[:, None].expand(output.shape)
    for activation, function in AFTER.items():
        mistakes[f"Did you apply {activation} to it?"] = function(raw.float()).double()
    for activation, function in BETWEEN.items():
        other = affine_in(function(a) @ w, output)
        mistakes[f"Is there {activation} between its layers, not tanh?"] = other
    otherwise = "Is there a clamp, a norm, or anything else but its two layers and tanh?"
    saturated = f"Is it saturated? It never leaves {output.min():.4g} to {output.max():.4g}."
    if ((output == output.min()) | (output == output.max())).double().mean() > 0.3:
        otherwise = f"{saturated} Is there a clamp or a squashing function at its end?"
    if not output.isfinite().all():
        otherwise = "Is there a log at its end, or something else that overflows?"
    require_same(name, output, raw, mistakes, otherwise, 3e-4)
    raise CheckFailed(f"{name}: {otherwise}")


# The explorer's weights -------------------------------------------------------------------------


@torch.no_grad()
def tanh_layers(decoder, n_in, n_out):
    """W1, b1, W2, b2 with which a decoder computes W2 tanh(W1 z + b1) + b2.

    A fixed affine map after the last layer is worked into W2 and b2: with zero weights in that
    layer, biases of 0 and of 1 show its shift and its factor.
    Shapes: with n hidden units (n, n_in), (n,), (n_out, n), (n_out,).
    Raises: CheckFailed if the decoder has other layers or computes anything else.
    """
    count = sum(p.numel() for p in decoder.parameters())
    layers = Layers(n_in, (count - n_out) // (n_in + 1 + n_out), n_out)
    by_role = parameters_by_role(decoder, layers, "decoder")
    (W1,), (b1,), last_weights, last_bias = by_role.values()
    W1, b1 = rows_of(W1, n_in).clone(), b1.flatten().clone()
    W2 = torch.cat([rows_of(p, layers.n_hidden).clone() for p in last_weights])
    b2 = torch.cat([p.flatten().clone() for p in last_bias])

    z = torch.linspace(-3, 3, 10 * n_in, device=W1.device).reshape(10, n_in)
    with restored(decoder):
        for p in last_weights + last_bias:
            p.zero_()
        shift = decoder(z)[0]
        for p in last_bias:
            p.fill_(1.0)
        factor = decoder(z)[0] - shift
    W2, b2 = factor[:, None] * W2, factor * b2 + shift
    exact = torch.tanh(z @ W1.T + b1) @ W2.T + b2
    require(same(decoder(z), exact, 1e-3), "it does not compute W2 tanh(W1 z + b1) + b2.")
    return W1, b1, W2, b2
