"""The parts of the model and of q: their log-densities, and the two networks."""

import copy
import inspect

import torch
from torch import nn

from .checking import (
    HALF_LOG_2PI,
    Checker,
    CheckFailed,
    Ddata,
    Dh,
    Dz,
    check,
    is_blank,
    require,
    require_gradients,
    require_shape,
    require_values,
    same,
)


def exact_log_prior(z):
    """log N(z | 0, I), summed over the last dimension."""
    return -(z**2).sum(dim=-1) / 2 - 2 * HALF_LOG_2PI


def exact_log_likelihood(x, y):
    """The sum over the pixels of log Ber(x | sigmoid(y)), from the logit-means of any decoder."""
    return -torch.logaddexp(torch.zeros_like(y), (1 - 2 * x) * y).sum(dim=-1)


def exact_log_q(z, mean, log_std):
    """log N(z | mean, exp(log_std)^2), summed over the last dimension."""
    squares = ((z - mean) / log_std.exp()) ** 2
    return (-squares / 2 - log_std).sum(dim=-1) - 2 * HALF_LOG_2PI


class ModelChecks(Checker):
    def random_decoder(self, z):
        """Generic logit-means, (..., Dz) -> (..., Ddata)."""
        return self.network(Dz, Ddata, seed=1060)(z)

    @check
    def log_prior(self):
        """Against log N(z | 0, I) in double precision, and its gradient."""
        z = (1.3 * self.numbers(7, Dz, seed=1040) + 0.4).requires_grad_()
        log_priors, exact = self.notebook.log_prior(z), exact_log_prior(z)
        no_half = -(z**2).sum(dim=1) - 2 * HALF_LOG_2PI
        mistakes = {"is the factor 1/2 of the squares left out?": no_half}
        require_values("log_prior(z)", log_priors, exact, mistakes)
        require_gradients("log_prior(z)", log_priors, exact, z=z)

    @check
    def log_likelihood(self):
        """Against the sum of log Ber(x | sigmoid(y)), with a random network for the decoder."""
        x = self.pixels(7, seed=1063)
        z = self.numbers(7, Dz, seed=1064).requires_grad_()
        with self.replaced(decoder=lambda z: 20 * self.random_decoder(z)):  # many pixels are sure
            log_likelihoods = self.notebook.log_likelihood(x, z)
        y = 20 * self.random_decoder(z)
        exact = exact_log_likelihood(x, y)
        mistakes = {
            "is a sigmoid applied twice?": exact_log_likelihood(x, torch.sigmoid(y)),
            "are x = 0 and x = 1 exchanged?": exact_log_likelihood(1 - x, y),
        }
        require_values("log_likelihood(x, z)", log_likelihoods, exact, mistakes)
        require_gradients("log_likelihood(x, z)", log_likelihoods, exact, z=z)

    @check
    def joint(self):
        """Against log p(z) + log p(x | z), with a random network for the decoder."""
        x = self.pixels(7, seed=1065)
        z = self.numbers(7, Dz, seed=1066).requires_grad_()
        with self.replaced(decoder=self.random_decoder):
            log_joints = self.notebook.joint_log_density(x, z)
        prior, likelihood = exact_log_prior(z), exact_log_likelihood(x, self.random_decoder(z))
        mistakes = {
            "is the prior left out?": likelihood,
            "is the likelihood left out?": prior,
            "is the prior subtracted?": likelihood - prior,
            "is the prior added twice?": likelihood + 2 * prior,
        }
        require_values("joint_log_density(x, z)", log_joints, prior + likelihood, mistakes)
        require_gradients("joint_log_density(x, z)", log_joints, prior + likelihood, z=z)

    @check
    def log_q(self):
        """Against log N(z | mean, std^2), and its gradients in all three arguments."""
        z, mean, log_std = (self.numbers(7, Dz, seed=1070 + i).requires_grad_() for i in range(3))
        log_qs, exact = self.notebook.log_q(z, mean, log_std), exact_log_q(z, mean, log_std)
        mistakes = {
            "is that the prior's density?": exact_log_prior(z),
            "are q_mean and q_log_std exchanged?": exact_log_q(z, log_std, mean),
        }
        name = "log_q(z, q_mean, q_log_std)"
        require_values(name, log_qs, exact, mistakes)
        require_gradients(name, log_qs, exact, z=z, q_mean=mean, q_log_std=log_std)

    @check
    def decoder(self):
        """The decoder's layers, with random weights in them, however they are written."""
        decoder = self.network_named("decoder")
        y = decoder(self.numbers(7, Dz, seed=1049).float())
        require_shape("decoder(z)", y, (7, Ddata))
        self.layers("decoder", decoder, Dz, Ddata)

    @check
    def encoder(self):
        """The encoder's pair of outputs, and its layers as the decoder's."""
        encoder = self.network_named("encoder")
        outputs = encoder(self.notebook.binarized_mnist[:7])
        if is_blank(outputs):
            raise CheckFailed(f"encoder(x) is {outputs}: not written yet?")
        require(
            isinstance(outputs, tuple | list) and len(outputs) == 2,
            "encoder(x) returns a pair",
            "encoder(x) must return the pair q_mean, q_log_std.",
        )
        for name, output in zip(["q_mean", "q_log_std"], outputs):
            clue = "is the output split along the wrong dimension?"
            require_shape(name, output, (7, Dz), clue)
            require(
                output.requires_grad,
                f"{name} can be differentiated",
                f"{name} has no gradient: detach, no_grad?",
            )
        _, log_std = self.with_large_weights(encoder)(self.numbers(30, Ddata, seed=1050).float())
        require(
            (log_std < 0).any(),
            "q_log_std may be negative",
            "q_log_std is never negative: is it the exp or softplus of something? It must be the "
            "log standard deviation, any real number.",
        )
        self.layers("encoder", encoder, Ddata, 2 * Dz)

    def network_named(self, name):
        network = getattr(self.notebook, name)
        if not isinstance(network, nn.Module):
            kind = "a class: make an object of it" if inspect.isclass(network) else "none"
            raise CheckFailed(
                f"{name} must be a module (an nn.Sequential, or an object of a class derived from "
                f"nn.Module), so that {name}.parameters() can go to the optimizer; it is {kind}."
            )
        return network

    def with_large_weights(self, network):
        """A copy of the network with large random weights and without biases."""
        network = copy.deepcopy(network)
        for i, p in enumerate(network.parameters()):
            is_weight = p.numel() > max(p.shape)
            p.data = 5 * self.numbers(*p.shape, seed=1051 + i).float() * is_weight
        return network

    def layers(self, name, network, n_in, n_out):
        """One hidden layer of 500 tanh units and nothing after the outputs."""
        v = self.numbers(30, n_in, seed=1050).float()
        n = sum(p.numel() for p in network.parameters())
        n_right = (n_in + 1) * Dh + (Dh + 1) * n_out
        require(
            n == n_right,
            f"{name} has as many parameters as layers of {n_in}, {Dh} and {n_out} units need",
            f"{name} has {n:,} parameters, and layers of {n_in}, {Dh} and {n_out} units have "
            f"{n_right:,}: other widths, another layer, no bias?",
        )
        # With large random weights and no biases, W2 tanh(W1 v) is odd, bounded, and large.
        network = self.with_large_weights(network)

        def outputs(v):
            outputs = network(v)
            return outputs if torch.is_tensor(outputs) else torch.cat([*outputs], dim=-1)

        require(
            same(outputs(1e12 * v), outputs(2e12 * v), 1e-3),
            f"{name}'s hidden units are bounded",
            f"{name}'s outputs grow with its inputs without bound: is something other than tanh "
            "between its layers?",
        )
        require(
            same(outputs(v), -outputs(-v), 1e-3),
            f"{name}'s hidden units are odd functions, as tanh is",
            f"{name} without biases must be an odd function: is there something other than tanh "
            "between its layers, or an activation after the last one?",
        )
        weights = [p for p in network.parameters() if p.numel() > max(p.shape)]
        hidden = [p for p in weights if p.shape == (Dh, n_in)]
        last = [p for p in weights if p.shape[1] == Dh]
        if len(hidden) == 1 and len(hidden) + len(last) == len(weights):  # all are nn.Linear's
            small = 0.01 * v
            right = torch.cat([torch.tanh(small @ hidden[0].T) @ p.T for p in last], dim=1)
            require(
                same(outputs(small).sort().values, right.sort().values, 1e-3),
                f"{name}'s hidden units are tanh",
                f"{name}'s hidden units are not tanh, once, of a linear layer.",
            )
        require(
            outputs(v).abs().amax(0).min() > 12,
            f"{name}'s outputs are unconstrained",
            f"{name}'s outputs stay small with large weights: is there an activation or a clamp "
            "after the last layer?",
        )
        require(
            torch.linalg.matrix_rank(outputs(v).double()) == min(len(v), n_out)
            and same(outputs(v)[:1], outputs(v[:1]), 1e-3),
            f"{name}'s outputs differ from each other, and each digit's from the rest of the batch",
            f"{name}'s outputs repeat each other, or mix the batch: is one of them used twice?",
        )
