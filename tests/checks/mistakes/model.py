"""The prior, the decoder, the likelihood and the joint density."""

from .entry import variants

PRIOR_SUM = "gaussian_log_density(z, mean=zero, log_std=zero).sum(dim=1)"
LAYERS = "nn.Linear(Dz, Dh), nn.Tanh(), nn.Linear(Dh, Ddata)"

MISTAKES = [
    *variants(
        place="log_prior",
        check="check-log-prior",
        replaces=PRIOR_SUM,
        codes={
            "prior as -0.5 * (z**2).sum(dim=1)": "-0.5 * (z**2).sum(dim=1)",
            "prior as -0.5 * (z**2).sum(dim=1) - 0.5 * math.log(2 * math.pi)": (
                "-0.5 * (z**2).sum(dim=1) - 0.5 * math.log(2 * math.pi)"
            ),
            "prior as gaussian_log_density(z, zero, zero + 1).sum(dim=1)": (
                "gaussian_log_density(z, zero, zero + 1).sum(dim=1)"
            ),
        },
        says={
            "prior as -0.5 * (z**2).sum(dim=1) - 0.5 * math.log(2 * math.pi)": "constant once, not",
            "prior as gaussian_log_density(z, zero, zero + 1).sum(dim=1)": (
                "Did you pass log_std = 1?"
            ),
        },
    ),
    *variants(
        place="log_prior",
        check="check-log-prior",
        replaces=".sum(dim=1)",
        codes={
            ".mean(dim=1) in the prior's sum": ".mean(dim=1)",
            ".sum(dim=0) in the prior's sum": ".sum(dim=0)",
            ".sum() in the prior's sum": ".sum()",
            ".sum(dim=1, keepdim=True) in the prior's sum": ".sum(dim=1, keepdim=True)",
            "[:, 0] in the prior's sum": "[:, 0]",
            ".prod(dim=1) in the prior's sum": ".prod(dim=1)",
        },
    ),
    *variants(
        place="decoder",
        check="check-decoder",
        replaces="decoder = nn",
        codes={
            "a plain function": """\
def decoder(z):
    return layers(z)
layers = nn
""",
        },
        says={
            "a plain function": "decoder must be a module",
        },
    ),
    *variants(
        place="decoder",
        check="check-decoder",
        codes={
            "frozen decoder": "decoder.requires_grad_(False)",
            "frozen layer": "decoder[-1].requires_grad_(False)",
            "layers that are not registered": """\
class Hidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(Dz, Dh), nn.Tanh(), nn.Linear(Dh, Ddata)]
    def forward(self, z):
        for layer in self.layers:
            z = layer(z)
        return z
decoder = Hidden()
""",
            "hidden layer detached": """\
class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(2, 500), nn.Linear(500, 784)
    def forward(self, z):
        return self.last(self.first(z).tanh().detach())
decoder = Decoder().to(DEVICE)
""",
        },
        says={
            "layers that are not registered": "Use nn.ModuleList or nn.Sequential",
            "hidden layer detached": "no gradient reaches its hidden layer. Is something detached?",
        },
    ),
    *variants(
        place="decoder",
        check="check-decoder",
        replaces="nn.Tanh()",
        codes={
            "Sigmoid() for tanh": "nn.Sigmoid()",
            "Softsign() for tanh": "nn.Softsign()",
            "GELU() for tanh": "nn.GELU()",
            "Hardtanh() for tanh": "nn.Hardtanh()",
            "Softplus() for tanh": "nn.Softplus()",
            "ELU() for tanh": "nn.ELU()",
            "Identity() for tanh": "nn.Identity()",
            "Tanh(), nn.LayerNorm(Dh, elementwise_affine=False) for tanh": (
                "nn.Tanh(), nn.LayerNorm(Dh, elementwise_affine=False)"
            ),
            "ReLU() for tanh": "nn.ReLU()",
            "Tanh(), nn.Dropout(0.2) for tanh": "nn.Tanh(), nn.Dropout(0.2)",
        },
        says={
            "ReLU() for tanh": "Is there ReLU between its layers, not tanh?",
            "Tanh(), nn.Dropout(0.2) for tanh": "Is there dropout in it?",
        },
    ),
    *variants(
        place="decoder",
        check="check-decoder",
        replaces=LAYERS,
        codes={
            "Sigmoid() after the outputs": (
                "nn.Linear(Dz, Dh), nn.Tanh(), nn.Linear(Dh, Ddata), nn.Sigmoid()"
            ),
            "Tanh() after the outputs": (
                "nn.Linear(Dz, Dh), nn.Tanh(), nn.Linear(Dh, Ddata), nn.Tanh()"
            ),
            "ReLU() after the outputs": (
                "nn.Linear(Dz, Dh), nn.Tanh(), nn.Linear(Dh, Ddata), nn.ReLU()"
            ),
            "LogSigmoid() after the outputs": (
                "nn.Linear(Dz, Dh), nn.Tanh(), nn.Linear(Dh, Ddata), nn.LogSigmoid()"
            ),
            "Hardtanh(-10, 10) after the outputs": (
                "nn.Linear(Dz, Dh), nn.Tanh(), nn.Linear(Dh, Ddata), nn.Hardtanh(-10, 10)"
            ),
            "Softmax(dim=-1) after the outputs": (
                "nn.Linear(Dz, Dh), nn.Tanh(), nn.Linear(Dh, Ddata), nn.Softmax(dim=-1)"
            ),
        },
    ),
    *variants(
        place="log_likelihood",
        check="check-log-likelihood",
        replaces="(x, decoder(z))",
        codes={
            "likelihood of (x, torch.sigmoid(decoder(z)))": "(x, torch.sigmoid(decoder(z)))",
            "likelihood of (1 - x, decoder(z))": "(1 - x, decoder(z))",
            "likelihood of (x, decoder(x))": "(x, decoder(x))",
        },
    ),
    *variants(
        place="log_likelihood",
        check="check-log-likelihood",
        codes={
            "epsilon in the likelihood": """\
def log_likelihood(x, z):
    mu = torch.sigmoid(decoder(z))
    return (x * torch.log(mu + 1e-8) + (1 - x) * torch.log(1 - mu + 1e-8)).sum(1)
""",
        },
    ),
    *variants(
        place="log_likelihood",
        check="check-log-likelihood",
        replaces="decoder(z)",
        codes={
            "decoder's parameters detached": """\
torch.func.functional_call(
        decoder, {name: p.detach() for name, p in decoder.named_parameters()}, (z,)
    )
""",
        },
    ),
    *variants(
        place="log_likelihood",
        check="check-log-likelihood",
        codes={
            "a loss of torch.nn": """\
criterion = nn.BCEWithLogitsLoss(reduction='none')
def log_likelihood(x, z):
    return -criterion(decoder(z), x).sum(1)
""",
        },
    ),
    *variants(
        place="log_likelihood",
        check="check-log-likelihood",
        replaces=".sum(dim=1)",
        codes={
            ".mean(dim=1) in the likelihood's sum": ".mean(dim=1)",
            ".sum(dim=0) in the likelihood's sum": ".sum(dim=0)",
            ".sum() in the likelihood's sum": ".sum()",
            ".mean() in the likelihood's sum": ".mean()",
            ".sum(dim=1, keepdim=True) in the likelihood's sum": ".sum(dim=1, keepdim=True)",
        },
    ),
    *variants(
        place="joint_log_density",
        check="check-joint",
        replaces="log_prior(z) + log_likelihood(x, z)",
        codes={
            "joint as log_likelihood(x, z)": "log_likelihood(x, z)",
            "joint as log_prior(z)": "log_prior(z)",
            "joint as log_likelihood(x, z) - log_prior(z)": "log_likelihood(x, z) - log_prior(z)",
            "joint as 2 * log_prior(z) + log_likelihood(x, z)": (
                "2 * log_prior(z) + log_likelihood(x, z)"
            ),
            "joint as log_prior(z) * log_likelihood(x, z)": "log_prior(z) * log_likelihood(x, z)",
            "joint as (log_prior(z) + log_likelihood(x, z)).mean()": (
                "(log_prior(z) + log_likelihood(x, z)).mean()"
            ),
            "joint as log_prior(z) / Ddata + log_likelihood(x, z)": (
                "log_prior(z) / Ddata + log_likelihood(x, z)"
            ),
            "joint as torch.logaddexp(log_prior(z), log_likelihood(x, z))": (
                "torch.logaddexp(log_prior(z), log_likelihood(x, z))"
            ),
            "joint as log_prior(z)[:, None] + log_likelihood(x, z)": (
                "log_prior(z)[:, None] + log_likelihood(x, z)"
            ),
            "joint as log_prior(z).detach() + log_likelihood(x, z)": (
                "log_prior(z).detach() + log_likelihood(x, z)"
            ),
            "joint as log_prior(z) + log_likelihood(x, z).detach()": (
                "log_prior(z) + log_likelihood(x, z).detach()"
            ),
            "joint as log_prior(z) + log_likelihood(z, x)": "log_prior(z) + log_likelihood(z, x)",
        },
        says={
            "joint as log_prior(z) + log_likelihood(z, x)": "Are x and z exchanged?",
        },
    ),
    *variants(
        place="log_prior",
        check="check-log-prior",
        codes={
            "a module with torch.distributions": """
class Prior(nn.Module):
    def forward(self, z):
        return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
log_prior = Prior()
""",
            "NumPy in the prior": """
import numpy as np
def log_prior(z):
    return np.log(np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)).sum(1)
""",
        },
        says={
            "a module with torch.distributions": "log_prior calls torch.distributions",
            "NumPy in the prior": "NumPy cuts the gradient",
        },
    ),
    *variants(
        place="decoder",
        check="check-decoder",
        replaces=LAYERS,
        codes={
            "inputs and outputs exchanged": "nn.Linear(Ddata, Dh), nn.Tanh(), nn.Linear(Dh, Dz)",
            "images for rows": f"{LAYERS}, nn.Unflatten(1, (28, 28))",
            "three layers": """\
nn.Linear(Dz, Dh), nn.Tanh(), nn.Linear(Dh, Dh), nn.Tanh(), nn.Linear(Dh, Ddata)
""",
        },
        says={
            "inputs and outputs exchanged": "Linear(in_features=784",
            "images for rows": "Is it reshaped to images?",
            "three layers": "Is there another layer",
        },
    ),
]

RIGHT = [
    *variants(
        place="log_prior",
        replaces=PRIOR_SUM,
        codes={
            "prior with Dz": "-(z**2).sum(dim=1) / 2 - Dz * math.log(2 * math.pi) / 2",
        },
    ),
    *variants(
        place="log_likelihood",
        codes={
            "decoder kept in an object": """\
class Model:
    def __init__(self):
        self.decoder = decoder
    def log_likelihood(self, x, z):
        return bernoulli_log_density(x, self.decoder(z)).sum(1)
log_likelihood = Model().log_likelihood
""",
        },
    ),
    *variants(
        place="log_likelihood",
        replaces="decoder(z)",
        codes={
            "decoder called by its forward": "decoder.forward(z)",
        },
    ),
    *variants(
        place="log_prior",
        codes={
            "prior with a further argument": """\
def log_prior(z, scale=1.0):
    return gaussian_log_density(z / scale, 0 * z, 0 * z).sum(1)
""",
        },
    ),
    *variants(
        place="decoder",
        replaces=LAYERS,
        codes={
            "decoder flattens first": (
                "nn.Flatten(), nn.Linear(Dz, Dh), nn.Tanh(), nn.Linear(Dh, Ddata)"
            ),
        },
    ),
    *variants(
        place="decoder",
        codes={
            "decoder compiled": "decoder = torch.compile(decoder, backend='eager')",
        },
    ),
    *variants(
        place="log_likelihood",
        codes={
            "likelihood as a matrix product": """\
def log_likelihood(x, z):
    y = decoder(z)
    return (x * y).sum(-1) - nn.functional.softplus(y).sum(-1)
""",
        },
    ),
    *variants(
        place="decoder",
        codes={
            "decoder of return self.last(self.first(z).tanh()) - 2.0": """\
class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(2, 500), nn.Linear(500, 784)
    def forward(self, z):
        return self.last(self.first(z).tanh()) - 2.0
decoder = Decoder().to(DEVICE)
""",
            "decoder of return self.last(self.first(3 * z).tanh())": """\
class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(2, 500), nn.Linear(500, 784)
    def forward(self, z):
        return self.last(self.first(3 * z).tanh())
decoder = Decoder().to(DEVICE)
""",
            "decoder of return self.last(2 * torch.sigmoid(2 * self.first(z)) - 1)": """\
class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(2, 500), nn.Linear(500, 784)
    def forward(self, z):
        return self.last(2 * torch.sigmoid(2 * self.first(z)) - 1)
decoder = Decoder().to(DEVICE)
""",
            "decoder that keeps its hidden units": """\
class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(2, 500), nn.Linear(500, 784)
    def forward(self, z):
        self.hidden = self.first(z).tanh()
        return self.last(self.hidden)
decoder = Decoder().to(DEVICE)
""",
            "decoder by hand, with torch.mm": """\
class ByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(0.5 * torch.randn(Dz, Dh)), nn.Parameter(torch.zeros(Dh))
        self.c = nn.Parameter(0.04 * torch.randn(Dh, Ddata))
        self.d = nn.Parameter(torch.zeros(Ddata))
    def forward(self, z):
        return torch.mm(torch.tanh(torch.mm(z, self.a) + self.b), self.c) + self.d
decoder = ByHand().to(DEVICE)
""",
            "decoder by hand, columns for rows": """\
class ByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(0.5 * torch.randn(Dz, Dh)), nn.Parameter(torch.zeros(Dh))
        self.c = nn.Parameter(0.04 * torch.randn(Dh, Ddata))
        self.d = nn.Parameter(torch.zeros(Ddata))
    def forward(self, z):
        return (self.c.T @ torch.tanh(self.a.T @ z.T + self.b[:, None]) + self.d[:, None]).T
decoder = ByHand().to(DEVICE)
""",
        },
    ),
    *variants(
        place="decoder",
        codes={
            "decoder traced": """
example = torch.zeros(1, Dz, device=DEVICE)
decoder = torch.jit.trace(decoder, example)
""",
            "decoder scripted": "decoder = torch.jit.script(decoder)",
            "output bias from the data's frequencies": """
with torch.no_grad():
    decoder[-1].bias.copy_(torch.logit(binarized_mnist.mean(0).clamp(1e-3, 1 - 1e-3)))
""",
        },
    ),
]
