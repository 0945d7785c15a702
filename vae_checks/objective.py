"""The ELBO, its gradient, and the loss."""

import math

import torch

from .checking import Checker, Ddata, Dz, check, gradients_of, require, require_shape
from .model import ModelChecks, exact_log_likelihood, exact_log_prior, exact_log_q


class ObjectiveChecks(Checker):
    random_decoder = ModelChecks.random_decoder

    def random_encoder(self, x):
        """A generic q: its mean lies away from 0, and its standard deviation is below 1."""
        outputs = 0.4 * self.network(Ddata, 2 * Dz, seed=1081)(x)
        return outputs[:, :Dz] + 1.4, outputs[:, Dz:] - 0.6

    def weak_decoder(self, z):
        """With little influence of z on the pixels, all terms of the ELBO are of similar size."""
        return 0.2 * self.random_decoder(z)

    @check
    def elbo(self):
        """Your Monte Carlo estimate against the exact ELBO, which is an integral over the plane.

        The latent space has two dimensions, so the ELBO of a digit can be computed on a grid, for
        any encoder and decoder, from nothing but their outputs:

            ELBO(x) = E[f(z)],  f(z) = log p(z) + log p(x | z) - log q(z | x),  z = m + s * epsilon

        with epsilon ~ N(0, I). The grid also gives the variance of f, and with it how far your
        estimate may be off.
        """
        x = self.pixels(3, seed=1080)
        q_mean, q_log_std = self.random_encoder(x)
        ticks = torch.arange(-6, 6.1, 0.2, dtype=torch.float64, device=self.device)
        epsilon = torch.cartesian_prod(ticks, ticks)  # standard deviations from m, (61^2, 2)
        weights = torch.exp(-(epsilon**2).sum(dim=1) / 2)
        weights = weights / weights.sum()
        z = q_mean[:, None] + q_log_std.exp()[:, None] * epsilon  # (3, 61^2, 2)
        log_p_z = exact_log_prior(z)
        log_p_x = exact_log_likelihood(x[:, None], self.weak_decoder(z))
        log_q_z = exact_log_q(z, q_mean[:, None], q_log_std[:, None])
        f = log_p_z + log_p_x - log_q_z
        exact = (f @ weights).mean().item()

        # Your estimate, 20 times for a batch in which each of the three digits stands 500 times.
        copies, draws = 500, 20
        variance = (f**2 @ weights - (f @ weights) ** 2).mean().item() / (3 * copies)  # of one
        codes = []  # all that the decoder is given

        def watched_decoder(z):
            codes.append(z.double())
            return self.weak_decoder(z)

        elbo = self.notebook.elbo
        torch.manual_seed(self.notebook.SEED)
        with (
            self.replaced(decoder=watched_decoder, encoder=self.random_encoder),
            torch.no_grad(),
        ):
            require_shape("elbo(x)", elbo(x), (), "is the mean over the batch missing?")
            codes.clear()
            estimates = torch.stack([elbo(x.repeat(copies, 1)) for _ in range(draws)]).double()
        require(
            estimates.std() > 0,
            "elbo(x) draws new noise each time",
            "elbo(x) returns the same number each time: is z sampled, with new noise?",
        )
        require(
            estimates.var() < 4 * variance,
            "its noise averages out over the batch",
            f"elbo(x) has the standard deviation {estimates.std():.3g} where {variance**0.5:.3g} "
            "is right: is one noise shared by the whole batch, or a sum taken for the mean, or the "
            "noise not scaled by exp(q_log_std)?",
        )
        deviations = (torch.cat(codes).reshape(-1, 3, Dz) - q_mean) / q_log_std.exp()
        six_standard_errors = 6 / math.sqrt(3 * copies * draws)
        require(
            torch.corrcoef(deviations.reshape(-1, Dz).T)[0, 1].abs() < six_standard_errors,
            "the two dimensions have noise of their own",
            "both dimensions of z have the same noise: draw noise of the shape of q_mean.",
        )
        require(
            (deviations.mean(dim=(0, 1)).abs() < six_standard_errors).all()
            and ((deviations**2).mean(dim=(0, 1)) - 1).abs().max()
            < math.sqrt(2) * six_standard_errors,
            "the decoder is given codes from q(z | x)",
            "the codes that the decoder is given are not draws from q(z | x): is z sampled with "
            "mean q_mean and standard deviation exp(q_log_std), and is that z passed on?",
        )
        found, standard_error = estimates.mean().item(), math.sqrt(variance / draws)
        mistakes = {
            "has it the wrong sign?": -f,
            "is log q left out?": log_p_z + log_p_x,
            "is log q added, not subtracted?": log_p_z + log_p_x + log_q_z,
            "is log p(z) left out?": log_p_x - log_q_z,
            "is log p(z) subtracted?": log_p_x - log_p_z - log_q_z,
            "is log p(z) added twice?": 2 * log_p_z + log_p_x - log_q_z,
            "is log q subtracted twice?": log_p_z + log_p_x - 2 * log_q_z,
            "are both log p(z) and log q left out?": log_p_x,
            "is it a sum over the batch?": 3 * copies * f,
        }
        values = {clue: (g @ weights).mean().item() for clue, g in mistakes.items()}
        clue = min(values, key=lambda clue: abs(found - values[clue]))
        if abs(found - values[clue]) > 6 * standard_error:
            clue = "does each of its terms get the same z, and is no other factor in it?"
        require(
            abs(found - exact) < 6 * standard_error,
            "it agrees with the exact value by quadrature",
            f"elbo(x) is {found:.2f} on average, and its exact value by quadrature {exact:.2f}: "
            + clue,
        )

    @check
    def gradients(self):
        """The gradient of elbo(x) against finite differences with the same noise.

        It is taken with respect to what the networks return: the two outputs of the encoder and
        the logit-means of the decoder, each shifted by a little.
        """
        x, elbo = self.pixels(3, seed=1080), self.notebook.elbo

        def shifted_elbo(mean_shift, log_std_shift, logit_shift):
            def encoder(x):
                q_mean, q_log_std = self.random_encoder(x)
                return q_mean + mean_shift, q_log_std + log_std_shift

            torch.manual_seed(self.notebook.SEED)
            with self.replaced(
                encoder=encoder, decoder=lambda z: self.random_decoder(z) + logit_shift
            ):
                return elbo(x)

        sizes = {"q_mean": Dz, "q_log_std": Dz, "the decoder's logit-means": Ddata}
        shifts = [
            torch.zeros(n, dtype=torch.float64, device=self.device).requires_grad_()
            for n in sizes.values()
        ]
        value = shifted_elbo(*shifts)
        require_shape("elbo(x)", value, ())
        require(
            value.requires_grad,
            "elbo(x) can be differentiated",
            "elbo(x) has no gradient: is it computed under no_grad, detached, or turned into a "
            "plain number?",
        )
        found = gradients_of(value, shifts)
        for i, (name, n) in enumerate(sizes.items()):
            step = 1e-5 * self.numbers(n, seed=1090 + i)
            forward, backward = (
                shifted_elbo(*(s + sign * step if i == j else s for j, s in enumerate(shifts)))
                for sign in (+1, -1)
            )
            slope, right = (found[i] * step).sum().item() / 1e-5, (forward - backward).item() / 2e-5
            require(
                abs(slope - right) < 1e-2 * (1 + abs(right)),
                f"its gradient with respect to {name} is right",
                f"the gradient of elbo(x) with respect to {name} is wrong, a slope of {slope:.4g} "
                f"where {right:.4g} is right: is it cut off there (detach, no_grad, torch.tensor), "
                "or the sample not reparameterized?",
            )

    @check
    def loss(self):
        """loss(x) against -elbo(x) with the same noise, for a batch of an odd size."""
        loss, elbo, seed = self.notebook.loss, self.notebook.elbo, self.notebook.SEED
        x = self.notebook.binarized_mnist[: 2 * self.notebook.BS + 1]
        torch.manual_seed(seed)
        loss_value = loss(x)
        require_shape("loss(x)", loss_value, ())
        torch.manual_seed(seed)
        elbo_value = elbo(x)
        require(
            loss_value.requires_grad,
            "loss(x) can be differentiated",
            "loss(x) has no gradient: detach, no_grad?",
        )
        require(
            (loss_value + elbo_value).abs() <= 1e-6 * elbo_value.abs(),
            "loss(x) is the negative of elbo(x)",
            f"loss(x) is {loss_value:.3f} where, with the same noise, elbo(x) is {elbo_value:.3f}: "
            "it must be the negative, of the whole batch, with nothing added.",
        )
