"""The checks of the assignment.

    checks = Checks(globals())
    checks.elbo()

Each check looks at one thing that the notebook asks for. It prints a line for everything that is
correct, and where something is not it raises an AssertionError that says what was found, what is
expected, and what the mistake may be. `checks.elbo??` shows how a check works.
"""

from . import densities, networks, objective, pictures, samplers, training
from .checking import check
from .notebook import Notebook

__all__ = ["Checks"]


class Checks:
    """The checks of one notebook, which is given by its namespace: Checks(globals())."""

    def __init__(self, namespace):
        self.notebook = Notebook(namespace)

    bernoulli = check(densities.bernoulli)
    gaussian = check(densities.gaussian)
    samplers = check(samplers.samplers)
    log_prior = check(densities.log_prior)
    decoder = check(networks.decoder)
    log_likelihood = check(densities.log_likelihood)
    joint = check(densities.joint)
    log_q = check(densities.log_q)
    encoder = check(networks.encoder)
    elbo = check(objective.elbo)
    gradients = check(objective.gradients)
    train = check(training.train)
    result = check(training.result)
    codes = check(pictures.codes)
    prior_samples = check(pictures.prior_samples)
    reconstructions = check(pictures.reconstructions)
    lattice = check(pictures.lattice)
