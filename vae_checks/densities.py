"""The two log-densities and the two samplers of vae_helpers.py."""

import math

import torch

from .checking import (
    HALF_LOG_2PI,
    Checker,
    check,
    gradients_of,
    require,
    require_gradients,
    require_shape,
    require_values,
    same,
)

# How many samples the samplers are tried with, in each of three columns. A right sampler misses a
# bound of six standard errors about once in a hundred million times.
N = 40_000
SIX_STANDARD_ERRORS = 6 / math.sqrt(N)  # of a mean of N numbers with the variance 1


class DensityChecks(Checker):
    @check
    def bernoulli(self):
        """Against -log(1 + exp(-y)) or -log(1 + exp(y)) in double precision, and its gradient."""
        # At generic logit-means and at large ones, each for a pixel that is off and for one on.
        large = torch.tensor([-118.0, -31, 33, 121], device=self.device)
        y = torch.cat([3 * self.numbers(20, seed=1010), large])
        y = y.float().repeat(2, 1).requires_grad_()
        x = torch.zeros_like(y)
        x[1] = 1
        log_densities = self.notebook.bernoulli_log_density(x, y)
        exact = -torch.logaddexp(torch.zeros_like(y).double(), (1 - 2 * x) * y.double())
        twice = -torch.log1p(torch.exp((1 - 2 * x) * torch.sigmoid(y)))
        name = "bernoulli_log_density(x, y)"
        mistakes = {
            "are x = 0 and x = 1 exchanged?": exact.flip(0),
            "is a sigmoid applied twice?": twice,
        }
        require_values(name, log_densities, exact, mistakes)
        require_gradients(name, log_densities, exact, y=y)

    @check
    def gaussian(self):
        """Against the log of the normal density, near the mean and far out, and its gradients."""
        z, mean, log_std = (1.3 * self.numbers(7, 3, seed=1020 + i) + 0.2 for i in range(3))
        log_std[0, :2] = torch.tensor([-7.7, 8.3])
        for t in (z, mean, log_std):
            t.requires_grad_()
        half, std, constant = (z - mean) ** 2 / 2, log_std.exp(), HALF_LOG_2PI
        exact = -constant - log_std - half / std**2
        log_densities = self.notebook.gaussian_log_density(z, mean, log_std)
        name = "gaussian_log_density(z, mean, log_std)"
        mistakes = {
            "is the deviation divided by std, not by its square?": -constant - log_std - half / std,
            "is log_std taken for the log of the variance?": -constant - log_std / 2 - half / std,
            "is log_std taken for std itself?": -constant - log_std.abs().log() - half / log_std**2,
            "is log_std taken for std in the square?": -constant - log_std - half / log_std**2,
            "is - log_std left out?": -constant - half / std**2,
            "does log_std have the wrong sign?": -constant + log_std - half / std**2,
            "is the factor 1/2 of the square left out?": -constant - log_std - 2 * half / std**2,
        }
        require_values(name, log_densities, exact, mistakes)
        require_gradients(name, log_densities, exact, z=z, mean=mean, log_std=log_std)

    @check
    def samplers(self):
        """Samples against the moments of their distributions, and the Gaussian one's gradients."""
        self._gaussian_sampler()
        self._bernoulli_sampler()

    def _gaussian_sampler(self):
        sample_gaussian = self.notebook.sample_gaussian
        log_std = torch.tensor([-6.1, 0.4, 3.9], device=self.device).double()
        mean, log_std = (
            t.expand(N // 100, 100, 3).clone().requires_grad_()
            for t in (self.numbers(3, seed=1030), log_std)
        )
        noise = self.generator(1031)
        sample = sample_gaussian(mean, log_std, noise)
        require_shape("sample_gaussian(mean, log_std)", sample, mean.shape)
        require(
            not same(sample, sample_gaussian(mean, log_std, noise))
            and not same(sample_gaussian(mean, log_std), sample_gaussian(mean, log_std)),
            "sample_gaussian draws new noise in each call",
            "two samples are the same: is the noise left out, or seeded inside the sampler?",
        )
        require(
            same(sample, sample_gaussian(mean, log_std, self.generator(1031))),
            "it gives the same sample with the same generator",
            "the noise does not come from the generator that is passed: randn(..., "
            "generator=generator)?",
        )
        found = gradients_of(sample.sum(), [mean, log_std])
        right_gradients = torch.ones_like(mean).detach(), (sample - mean).detach()
        mean, log_std, flat = (t.detach().reshape(N, 3) for t in (mean, log_std, sample))
        require(
            (flat[1:] != flat[:-1]).float().mean() > 0.9 and (sample[1:] != sample[:-1]).any(),
            "each sample of a batch has noise of its own",
            "the samples of a batch share their noise: draw noise of the shape of mean.",
        )
        std, right_std = flat.std(0), log_std[0].exp()
        clues = {
            "exp(2 log_std), the variance": right_std**2,
            "log_std": log_std[0].abs(),
            "nothing": torch.ones_like(std),
            "exp(log_std), but uniform": right_std / math.sqrt(12),
        }
        close = (clue for clue, values in clues.items() if ((std / values - 1).abs() < 0.1).all())
        deviation = (std / right_std - 1).abs()
        worst = deviation.argmax()
        require(
            deviation[worst] < SIX_STANDARD_ERRORS / math.sqrt(2),
            "its standard deviation is exp(log_std)",
            f"where log_std is {log_std[0, worst]:.3g}, its standard deviation is {std[worst]:.3g} "
            f"and not {right_std[worst]:.3g}: is the noise scaled by "
            f"{next(close, 'something else')}?",
        )
        epsilon = (flat - mean) / log_std.exp()
        require(
            (epsilon.mean(0).abs() < SIX_STANDARD_ERRORS).all(),
            "its mean is mean",
            "its mean is not mean: is mean added, and the noise centred?",
        )
        require(
            ((epsilon**4).mean(0).sub(3).abs() < SIX_STANDARD_ERRORS * math.sqrt(96)).all()
            and epsilon.abs().max() > 3.5,
            "its noise is normal",
            "its noise has the variance of N(0, 1) but not its shape: torch.rand for torch.randn, "
            "or clamped?",
        )
        require(
            uncorrelated(epsilon),
            "its elements are independent",
            "its elements depend on each other: is one noise shared between the dimensions?",
        )
        for name, gradient, right in zip(["mean", "log_std"], found, right_gradients):
            require(
                same(gradient, right),
                f"its gradient with respect to {name} is right",
                f"its gradient with respect to {name} is wrong: is {name} cut off (detach, "
                "no_grad), or the sample not of the form mean + exp(log_std) * noise?",
            )

    def _bernoulli_sampler(self):
        sample_bernoulli = self.notebook.sample_bernoulli
        mean = torch.tensor([0.07, 0.43, 0.88], device=self.device).double()
        mean = mean.expand(N // 100, 100, 3)
        sample = sample_bernoulli(mean, self.generator(1032))
        require_shape("sample_bernoulli(mean)", sample, mean.shape)
        require(
            ((sample == 0) | (sample == 1)).all() and sample.is_floating_point(),
            "sample_bernoulli gives the floats 0 and 1",
            "binary samples must be the floats 0 and 1: are these the means, or integers?",
        )
        require(
            any((column != column[0, 0]).any() for column in sample.unbind(dim=2)),
            "its samples of the same mean differ",
            "all binary samples of the same mean are the same: is the mean compared with a fixed "
            "threshold, not with uniform noise?",
        )
        require(
            torch.equal(sample, sample_bernoulli(mean, self.generator(1032)))
            and not torch.equal(sample_bernoulli(mean), sample_bernoulli(mean)),
            "it gives the same sample with the same generator",
            "binary samples must be new in each call, and the same with the same generator.",
        )
        require(
            (sample[1:] != sample[:-1]).any(),
            "each image of a batch has noise of its own",
            "the noise is shared along the first dimension: draw noise of the shape of mean.",
        )
        mean, sample = mean.reshape(N, 3), sample.reshape(N, 3)
        centred = (sample - mean) / torch.sqrt(mean * (1 - mean))
        require(
            (centred.mean(0).abs() < SIX_STANDARD_ERRORS).all(),
            "its samples are 1 with probability mean",
            f"where the mean is {mean[0, 0]:.2g}, {sample.mean(0)[0]:.2g} of them are 1: is it 1 "
            "where uniform noise is above the mean, or is the noise shared?",
        )
        require(
            uncorrelated(centred),
            "its elements are independent",
            "they depend on each other: is one noise shared between the dimensions, or the batch?",
        )


def uncorrelated(noise):
    """Whether standardized noise (N, 3) is without correlation, across and along its columns."""
    across = torch.corrcoef(noise.T) - torch.eye(3, device=noise.device)
    along = (noise[1:] * noise[:-1]).mean(0)
    return across.abs().max() < SIX_STANDARD_ERRORS and along.abs().max() < SIX_STANDARD_ERRORS
