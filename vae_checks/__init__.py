"""The checks of the assignment.

    checks = Checks(globals())
    checks.elbo()

Each check looks at one thing that the notebook asks for. It prints a line for everything that is
correct. At the first mistake it raises an AssertionError that says what was found, what is
expected, and what the cause may be. `checks.elbo??` shows how a check works.
"""

from . import bound, densities, networks, objective, pictures, samplers, training
from .checking import check
from .notebook import Notebook

__all__ = ["Checks"]


class Checks:
    """The checks of one notebook, which is given by its namespace: Checks(globals())."""

    def __init__(self, namespace):
        self.notebook = Notebook(namespace)
        self.passed = {}  # by the name of each check that was run: whether it passed the last time

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
    iwae = check(bound.iwae)
    codes = check(pictures.codes)
    prior_samples = check(pictures.prior_samples)
    reconstructions = check(pictures.reconstructions)
    lattice = check(pictures.lattice)

    def summary(self):
        """Print which checks passed when they were last run, which failed, and which were not run.

        Runs from before this object was made (`checks = Checks(globals())`) do not count.
        """
        names = [name for name, value in vars(Checks).items() if hasattr(value, "__wrapped__")]
        groups = {
            "passed": [name for name in names if self.passed.get(name) is True],
            "failed": [name for name in names if self.passed.get(name) is False],
            "not run": [name for name in names if name not in self.passed],
        }
        for group, members in groups.items():
            print(f"{group}: {', '.join(members) or 'none'}")
