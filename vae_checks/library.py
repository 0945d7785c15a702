"""Library-made probability, which the assignment forbids: what counts as such, and who uses it."""

import re
import sys

from torch.overrides import TorchFunctionMode

from .checking import CheckFailed

# Modules, functions and losses in which a library has written a density or a sampler out.
FORBIDDEN = re.compile(
    r"distributions?|scipy|pyro|numpyro|log_prob|logpdf|normal|bernoulli_?|binomial|multinomial|"
    r"poisson|kl_div|\w*cross_entropy\w*|(mse|l1|smooth_l1|huber|\w*nll)_loss|\w*Loss"
)


class NoLibraryProbability(TorchFunctionMode):
    """Within this context library-made probability fails, whatever name it is called by.

    It is seen when it is called: torch.bernoulli, a loss function of torch.nn, or any function
    that torch.distributions computes with. What the student calls so is never looked at.
    """

    def __init__(self, user):
        super().__init__()
        self.user = user

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        called = [name] if FORBIDDEN.fullmatch(name) else calling_libraries(sys._getframe(1))
        if called:
            raise CheckFailed(
                f"{self.user} calls {called[0]}, which is library-made probability: write the "
                "density or the sample out."
            )
        return function(*args, **(kwargs or {}))


def calling_libraries(frame):
    """The libraries of probability among the modules that call, up to the first of another kind."""
    found = []
    while frame and (module := frame.f_globals.get("__name__", "")).startswith(("torch", "pyro")):
        if "distributions" in module.split("."):
            found.append(module)
        frame = frame.f_back
    return found
