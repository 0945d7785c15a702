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
    """A context in which library-made probability fails, under whatever name it is called.

    What is called is seen: torch.bernoulli, a loss function of torch.nn, and all that the modules
    of torch.distributions compute with. What the student's own functions are called is not.
    """

    def __init__(self, user):
        super().__init__()
        self.user = user

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name, caller = getattr(function, "__name__", ""), sys._getframe(1)
        while caller and (module := caller.f_globals.get("__name__", "")).startswith("torch."):
            name = "torch.distributions" if module.startswith("torch.distributions") else name
            caller = caller.f_back
        if name == "torch.distributions" or FORBIDDEN.fullmatch(name):
            raise CheckFailed(
                f"{self.user} calls {name}, which is library-made probability: write the density "
                "or the sample out."
            )
        return function(*args, **(kwargs or {}))
