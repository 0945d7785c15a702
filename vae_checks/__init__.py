"""The checks of the assignment.

    checks = Checks(globals())
    checks.elbo()

Each method checks one thing that the notebook asks for. It prints a line for everything that is
right, and where something is not it raises an AssertionError that names the likely mistake.
`checks.elbo??` shows how a check works.
"""

from .data import DataChecks
from .densities import DensityChecks
from .model import ModelChecks
from .objective import ObjectiveChecks
from .pictures import PictureChecks
from .training import TrainingChecks

__all__ = ["Checks"]


class Checks(
    DataChecks, DensityChecks, ModelChecks, ObjectiveChecks, TrainingChecks, PictureChecks
):
    """The checks of one notebook, which is given by its namespace: Checks(globals())."""
