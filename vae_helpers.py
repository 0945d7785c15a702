"""What you write beside the notebook: two log-densities and two samplers.

They are written out by hand, which is the point of the assignment. All of them work elementwise on
tensors that broadcast, and a log-density is a natural logarithm, in nats.
"""

import math

import torch

# ---------------------------------------------------------------------------------------------
# Log-densities
# ---------------------------------------------------------------------------------------------


def bernoulli_log_density(x, logit_means):
    """Log-probability of binary x under Bernoulli variables given by their logit-means.

    Shapes: x and logit_means broadcast; the result has their common shape, one value per element.
    Values: x in {0, 1}, as floats; this is not checked, and grey pixels give meaningless numbers.
    Units: nats.
    Accuracy: 4 units in the last place, the distance between neighbouring floats (float32 and
    float64); 0 where the exact value underflows.
    Raises: TypeError for anything but floating-point tensors, ValueError for shapes that do not
    broadcast.
    Source: the Bernoulli mass function mu^x (1 - mu)^(1 - x).
    """
    _require_float_tensors(x=x, logit_means=logit_means)
    ### BEGIN SOLUTION
    # With y = log(mu / (1 - mu)), the probability of a 1 is mu = sigmoid(y) and that of a 0 is
    # 1 - mu = sigmoid(-y). Both are sigmoid((2x - 1) y), and the logarithm of a sigmoid, computed
    # in one step, neither overflows nor cancels for any finite y.
    return torch.nn.functional.logsigmoid((2 * x - 1) * logit_means)
    ### END SOLUTION


def gaussian_log_density(z, mean, log_std):
    """Log-density of z under Gaussian variables given by their means and log standard deviations.

    Shapes: z, mean and log_std broadcast; the result has their common shape.
    Units: nats.
    Accuracy: 6 units in the last place of the result (float32 and float64) for log_std in
    [-20, 20], or of the largest term where the terms cancel (a density close to 1).
    Raises: TypeError for anything but floating-point tensors, ValueError for shapes that do not
    broadcast.
    Source: the logarithm of the normal density with the standard deviation exp(log_std).
    """
    _require_float_tensors(z=z, mean=mean, log_std=log_std)
    ### BEGIN SOLUTION
    # Squaring first and scaling by exp(-2 log_std) rounds less than squaring (z - mean) / std.
    return -0.5 * math.log(2 * math.pi) - log_std - 0.5 * (z - mean) ** 2 * torch.exp(-2 * log_std)
    ### END SOLUTION


# ---------------------------------------------------------------------------------------------
# Samplers
# ---------------------------------------------------------------------------------------------


def sample_gaussian(mean, log_std, generator=None):
    """Reparameterized sample of a Gaussian, differentiable in both of its parameters.

    Shapes: log_std broadcasts to the shape of mean; the sample has the shape, dtype and device of
    mean, with independent noise for every element.
    generator: the torch.Generator that the noise comes from; by default PyTorch's global one.
    Raises: TypeError for anything but floating-point tensors, ValueError for shapes that do not
    fit.
    Source: Kingma and Welling, Auto-Encoding Variational Bayes (arXiv 1312.6114), section 2.4.
    """
    _require_float_tensors(mean=mean, log_std=log_std)
    same = mean.shape == log_std.shape
    if not same and mean.shape != torch.broadcast_shapes(mean.shape, log_std.shape):
        shapes = _shapes({"mean": mean, "log_std": log_std})
        raise ValueError(f"log_std must broadcast to the shape of mean: {shapes}")
    ### BEGIN SOLUTION
    # The noise does not depend on the parameters, so the gradient reaches both of them.
    epsilon = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
    return mean + torch.exp(log_std) * epsilon
    ### END SOLUTION


def sample_bernoulli(mean, generator=None):
    """Binary sample: 1 with probability mean, else 0, as floats. Not differentiable.

    Shapes: the sample has the shape, dtype and device of mean, with independent noise for every
    element.
    generator: the torch.Generator that the noise comes from; by default PyTorch's global one.
    Raises: TypeError for anything but a floating-point tensor; ValueError for a mean outside
    [0, 1], as when logit-means are passed in place of means.
    """
    _require_float_tensors(mean=mean)
    if not ((mean >= 0) & (mean <= 1)).all():
        raise ValueError("mean must lie in [0, 1]; of logit-means take torch.sigmoid(...) first")
    ### BEGIN SOLUTION
    # A uniform number on [0, 1) lies below mean with probability mean.
    uniform = torch.rand(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
    return (uniform < mean).to(mean.dtype)
    ### END SOLUTION


# ---------------------------------------------------------------------------------------------
# Given: what the four functions require of their arguments
# ---------------------------------------------------------------------------------------------


def _require_float_tensors(**arguments):
    """Raise an error that names the argument and the shapes unless all are floats and broadcast."""
    for name, value in arguments.items():
        if not torch.is_tensor(value):
            kind = type(value).__name__
            raise TypeError(f"{name} must be a tensor, not {kind} ({_shapes(arguments)})")
        if not value.is_floating_point():
            raise TypeError(
                f"{name} must hold floats, not {value.dtype}; convert it with .float() "
                f"({_shapes(arguments)})"
            )
    shapes = {value.shape for value in arguments.values()}
    try:
        if len(shapes) > 1:  # usually there is one, and broadcasting shapes is slow
            torch.broadcast_shapes(*shapes)
    except RuntimeError:
        raise ValueError(f"the shapes do not broadcast: {_shapes(arguments)}") from None


def _shapes(arguments):
    """Name and shape of every argument, for an error message."""
    shapes = {name: tuple(getattr(value, "shape", ())) for name, value in arguments.items()}
    return ", ".join(f"{name} has shape {shape}" for name, shape in shapes.items())
