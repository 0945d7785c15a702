"""The ELBO, its value and its gradient."""

from .entry import Change, variants

DRAW = "z = sample_gaussian(q_mean, q_log_std)"
ESTIMATE = "return (log_joint - log_q_z).mean()"
KL = "-.5 * (1 + 2 * s - m**2 - (2 * s).exp()).sum(1)"

KL_ELBO = """
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    kl = {kl}
    return (log_likelihood(x, z) - kl).mean()
"""

MISTAKES = [
    *variants(
        place="elbo",
        check="check-elbo",
        replaces="q_mean, q_log_std = encoder(x)",
        codes={
            "mean and log_std exchanged": "q_log_std, q_mean = encoder(x)",
        },
        says={
            "mean and log_std exchanged": "Are q_mean and q_log_std exchanged?",
        },
    ),
    *variants(
        place="elbo",
        check="check-elbo",
        codes={
            "KL as -.5 * (1 + s - m**2 - s.exp()).sum(1)": """\
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    kl = -.5 * (1 + s - m**2 - s.exp()).sum(1)
    return (log_likelihood(x, z) - kl).mean()
""",
            "KL as (-.5 * (1 + 2 * s - m**2 - (2 * s).exp()).sum(1)).clamp(min=0.05)": """\
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    kl = (-.5 * (1 + 2 * s - m**2 - (2 * s).exp()).sum(1)).clamp(min=0.05)
    return (log_likelihood(x, z) - kl).mean()
""",
            "KL as -.5 * (1 + 2 * s - m**2 - s.exp()).sum(1)": """\
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    kl = -.5 * (1 + 2 * s - m**2 - s.exp()).sum(1)
    return (log_likelihood(x, z) - kl).mean()
""",
            "ELBO with x * (p + 1e-8).log() + (1 - x) * (1 - p + 1e-8).log()": """\
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    y = decoder(z)
    p = torch.sigmoid(y)
    log_p = (x * (p + 1e-8).log() + (1 - x) * (1 - p + 1e-8).log()).sum(1)
    return (log_prior(z) + log_p - log_q(z, m, s)).mean()
""",
            "ELBO with nn.functional.logsigmoid((2 * x - 1) * y.clamp(-15, 15))": """\
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    y = decoder(z)
    p = torch.sigmoid(y)
    log_p = nn.functional.logsigmoid((2 * x - 1) * y.clamp(-15, 15)).sum(1)
    return (log_prior(z) + log_p - log_q(z, m, s)).mean()
""",
            "ELBO with x * p.log() + (1 - x) * (1 - p).log()": """\
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    y = decoder(z)
    p = torch.sigmoid(y)
    return (log_prior(z) + (x * p.log() + (1 - x) * (1 - p).log()).sum(1) - log_q(z, m, s)).mean()
""",
        },
        says={
            "KL as -.5 * (1 + 2 * s - m**2 - s.exp()).sum(1)": "sigma where sigma squared belongs",
            "ELBO with x * p.log() + (1 - x) * (1 - p).log()": "logarithm of zero",
        },
    ),
    *variants(
        place="elbo",
        check="check-elbo",
        replaces="q_mean, q_log_std = encoder(x)",
        codes={
            "half the batch in the ELBO": """\
x = x[: (len(x) + 1) // 2]
    q_mean, q_log_std = encoder(x)
""",
        },
    ),
    *variants(
        place="elbo",
        check="check-elbo",
        replaces=DRAW,
        codes={
            "q_log_std clamped": """\
q_log_std = q_log_std.clamp(-3, 3)
    z = sample_gaussian(q_mean, q_log_std)
""",
        },
    ),
    *variants(
        place="elbo",
        check="check-elbo",
        replaces="q_mean, q_log_std = encoder(x)",
        codes={
            "digits changed in place": """\
x.neg_().add_(1)
    q_mean, q_log_std = encoder(x)
""",
        },
    ),
    *variants(
        place="elbo",
        check="check-elbo",
        replaces=DRAW,
        codes={
            "noise shared by two digits": """\
z = q_mean + q_log_std.exp() * torch.randn((len(x) + 1) // 2, Dz).repeat(2, 1)[: len(x)]
""",
            "z as sample_gaussian(q_mean, q_log_std.exp())": (
                "z = sample_gaussian(q_mean, q_log_std.exp())"
            ),
            "z as q_log_std.exp() * torch.randn_like(q_mean)": (
                "z = q_log_std.exp() * torch.randn_like(q_mean)"
            ),
            "z as q_mean + torch.exp(2 * q_log_std) * torch.randn_like(q_mean) ": (
                "z = q_mean + torch.exp(2 * q_log_std) * torch.randn_like(q_mean) "
            ),
            "z as sample_gaussian(q_mean, 2 * q_log_std)": (
                "z = sample_gaussian(q_mean, 2 * q_log_std)"
            ),
            "z as sample_gaussian(q_mean, q_log_std / 2)": (
                "z = sample_gaussian(q_mean, q_log_std / 2)"
            ),
            "z as q_mean": "z = q_mean",
            "z as sample_gaussian(q_mean, q_log_std, generator(5))": (
                "z = sample_gaussian(q_mean, q_log_std, generator(5))"
            ),
            "z as q_mean + q_log_std.exp() * torch.randn(1, Dz)": (
                "z = q_mean + q_log_std.exp() * torch.randn(1, Dz)"
            ),
            "z as q_mean + q_log_std.exp() * torch.randn(len(x), 1)": (
                "z = q_mean + q_log_std.exp() * torch.randn(len(x), 1)"
            ),
            "z as q_mean + q_log_std.exp() * torch.rand(len(x), Dz)": (
                "z = q_mean + q_log_std.exp() * torch.rand(len(x), Dz)"
            ),
            "z as q_mean + torch.randn_like(q_mean)": "z = q_mean + torch.randn_like(q_mean)",
            "z as torch.randn_like(q_mean)": "z = torch.randn_like(q_mean)",
        },
        says={
            "z as torch.randn_like(q_mean)": "Is z drawn from the prior?",
        },
    ),
    *variants(
        place="elbo",
        check="check-elbo",
        replaces=ESTIMATE,
        codes={
            "ELBO as (joint_log_density(x, torch.randn_like(z)) - log_q_z).mean()": (
                "return (joint_log_density(x, torch.randn_like(z)) - log_q_z).mean()"
            ),
            "ELBO as log_joint.mean()": "return log_joint.mean()",
            "ELBO as log_likelihood(x, z).mean()": "return log_likelihood(x, z).mean()",
            "ELBO as (log_joint - log_q_z).sum()": "return (log_joint - log_q_z).sum()",
            "ELBO as log_joint - log_q_z": "return log_joint - log_q_z",
            "ELBO as (log_joint - log_q_z).mean().abs()": (
                "return (log_joint - log_q_z).mean().abs()"
            ),
            "ELBO as (log_joint - log_q_z).logsumexp(0) - math.log(len(x))": (
                "return (log_joint - log_q_z).logsumexp(0) - math.log(len(x))"
            ),
            "ELBO as (log_joint - log_q_z).mean() + math.log(2 * math.pi)": (
                "return (log_joint - log_q_z).mean() + math.log(2 * math.pi)"
            ),
            "ELBO with a penalty on the decoder's parameters": """\
return (log_joint - log_q_z).mean() - 1e-3 * sum((p**2).sum() for p in decoder.parameters())
""",
            "ELBO as (log_joint - 2 * log_q_z).mean()": "return (log_joint - 2 * log_q_z).mean()",
            "ELBO as (log_joint - 2 * log_prior(z) - log_q_z).mean()": (
                "return (log_joint - 2 * log_prior(z) - log_q_z).mean()"
            ),
            "ELBO as (log_joint - log_q_z).max()": "return (log_joint - log_q_z).max()",
            "ELBO as (log_joint - log_q_z).mean() / Ddata": (
                "return (log_joint - log_q_z).mean() / Ddata"
            ),
            "ELBO as (log_joint + log_q_z).mean()": "return (log_joint + log_q_z).mean()",
            "ELBO as (log_joint + log_prior(z) - log_q_z).mean()": (
                "return (log_joint + log_prior(z) - log_q_z).mean()"
            ),
        },
        says={
            "ELBO as (log_joint + log_q_z).mean()": "Does log q(z | x) have the wrong sign?",
            "ELBO as (log_joint + log_prior(z) - log_q_z).mean()": "Is log p(z) in it twice?",
        },
    ),
    *variants(
        place="elbo",
        check="check-elbo",
        codes={
            "beta 0.99": """\
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    kl = 0.99 * (-.5 * (1 + 2 * s - m**2 - (2 * s).exp()).sum(1))
    return (log_likelihood(x, z) - kl).mean()
""",
            "beta 1.01": """\
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    kl = 1.01 * (-.5 * (1 + 2 * s - m**2 - (2 * s).exp()).sum(1))
    return (log_likelihood(x, z) - kl).mean()
""",
            "beta 0.5": """\
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    kl = 0.5 * (-.5 * (1 + 2 * s - m**2 - (2 * s).exp()).sum(1))
    return (log_likelihood(x, z) - kl).mean()
""",
            "beta 2": """\
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    kl = 2 * (-.5 * (1 + 2 * s - m**2 - (2 * s).exp()).sum(1))
    return (log_likelihood(x, z) - kl).mean()
""",
            "beta 4": """\
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    kl = 4 * (-.5 * (1 + 2 * s - m**2 - (2 * s).exp()).sum(1))
    return (log_likelihood(x, z) - kl).mean()
""",
            "beta -1": """\
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    kl = -1 * (-.5 * (1 + 2 * s - m**2 - (2 * s).exp()).sum(1))
    return (log_likelihood(x, z) - kl).mean()
""",
        },
        says={
            "beta -1": "Does the KL have the wrong sign?",
        },
    ),
    *variants(
        place="elbo",
        check="check-gradients",
        replaces=ESTIMATE,
        codes={
            "a plain number": "return torch.tensor((log_joint - log_q_z).mean().item())",
        },
    ),
    *variants(
        place="elbo",
        check="check-gradients",
        codes={
            "KL detached": """\
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    kl = (-.5 * (1 + 2 * s - m**2 - (2 * s).exp()).sum(1)).detach()
    return (log_likelihood(x, z) - kl).mean()
""",
        },
    ),
    *variants(
        place="elbo",
        check="check-gradients",
        replaces=DRAW,
        codes={
            "z by sample_gaussian(q_mean, q_log_std).detach()": (
                "z = sample_gaussian(q_mean, q_log_std).detach()"
            ),
            "z by sample_gaussian(q_mean.detach(), q_log_std)": (
                "z = sample_gaussian(q_mean.detach(), q_log_std)"
            ),
            "z by sample_gaussian(q_mean, q_log_std.detach())": (
                "z = sample_gaussian(q_mean, q_log_std.detach())"
            ),
        },
    ),
    *variants(
        place="elbo",
        check="check-gradients",
        replaces="joint_log_density(x, z)",
        codes={
            "ELBO of log_prior(z).detach() + log_likelihood(x, z)": (
                "log_prior(z).detach() + log_likelihood(x, z)"
            ),
            "ELBO of log_prior(z) + log_likelihood(x, z).detach()": (
                "log_prior(z) + log_likelihood(x, z).detach()"
            ),
            "ELBO of log_prior(z) + log_likelihood(x, z.detach())": (
                "log_prior(z) + log_likelihood(x, z.detach())"
            ),
        },
    ),
    *variants(
        place="elbo",
        check="check-elbo",
        replaces=DRAW,
        codes={
            "the mean in evaluation mode": """\
z = sample_gaussian(q_mean, q_log_std) if encoder.training else q_mean
""",
            "the mean where no gradient is asked for": """\
z = sample_gaussian(q_mean, q_log_std) if torch.is_grad_enabled() else q_mean
""",
            "a hundredth of the noise": """\
z = q_mean + 0.01 * q_log_std.exp() * torch.randn_like(q_mean)
""",
            "softplus for exp": "z = q_mean + softplus(q_log_std) * torch.randn_like(q_mean)",
            "noise standardized over the batch": """\
noise = torch.randn_like(q_mean)
    z = q_mean + q_log_std.exp() * (noise - noise.mean(0)) / noise.std(0)
""",
            "half of the noise the negative of the other": """\
noise = torch.randn((len(x) + 1) // 2, Dz, device=DEVICE)
    z = q_mean + q_log_std.exp() * torch.cat([noise, -noise])[: len(x)]
""",
        },
        says={
            "the mean in evaluation mode": "in evaluation mode, without gradients: the codes",
            "a hundredth of the noise": "The noise is scaled by 0.00",
            "softplus for exp": "softplus(log_std)",
        },
    ),
    *variants(
        place="elbo",
        check="check-elbo",
        replaces=ESTIMATE,
        codes={
            "in bits": "return (log_joint - log_q_z).mean() / math.log(2)",
            "log q summed over the batch": "return log_joint.mean() - log_q_z.sum()",
            "minus log p(z)": "return (log_joint - 2 * log_prior(z) - log_q_z).mean()",
            "the sum divided by BS": "return (log_joint - log_q_z).sum() / BS",
        },
        says={
            "in bits": "Nats are expected",
            "log q summed over the batch": "Is log q(z | x) summed over the digits",
            "minus log p(z)": "Does log p(z) have the wrong sign?",
            "the sum divided by BS": "divided by BS?",
        },
    ),
    *variants(
        place="elbo",
        check="check-elbo",
        codes={
            "the KL averaged over the two dimensions": KL_ELBO.format(kl=KL.replace("sum", "mean")),
            "the KL divided by the number of pixels": KL_ELBO.format(kl=f"({KL}) / Ddata"),
            "the KL divided by BS": KL_ELBO.format(kl=f"({KL}) / BS"),
            "a tenth of the KL": KL_ELBO.format(kl=f"0.1 * ({KL})"),
            "two codes for each digit": """
def elbo(x):
    m, s = encoder(x)
    first, second = sample_gaussian(m, s), sample_gaussian(m, s)
    estimates = [joint_log_density(x, z) - log_q(z, m, s) for z in (first, second)]
    return torch.stack(estimates).mean()
""",
            "a module with kl_divergence": """
class Elbo(nn.Module):
    def forward(self, x):
        m, s = encoder(x)
        q = torch.distributions.Normal(m, s.exp())
        kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)
        return (log_likelihood(x, q.rsample()) - kl).mean()
elbo = Elbo()
""",
        },
        says={
            "the KL averaged over the two dimensions": "mean over the two dimensions",
            "the KL divided by the number of pixels": "divided by the number of pixels",
            "the KL divided by BS": "divided by BS?",
            "a tenth of the KL": "Is the KL multiplied by 0.1",
            "two codes for each digit": "expected one code for each digit",
            "a module with kl_divergence": "elbo calls torch.distributions",
        },
    ),
]

RIGHT = [
    *variants(
        place="elbo",
        replaces="def elbo(x):",
        codes={
            "networks and loss as default arguments": (
                "def elbo(x, encoder=encoder, decoder=decoder):"
            ),
        },
        more=[
            Change("train", "n_epochs=100", "n_epochs=100, loss=loss"),
        ],
    ),
    *variants(
        place="elbo",
        codes={
            "elbo compiled": "elbo = torch.compile(elbo, backend='eager')",
        },
    ),
    *variants(
        place="elbo",
        replaces=ESTIMATE,
        codes={
            "entropy in closed form": (
                "return (log_joint + (q_log_std + 0.5 + 0.5 * math.log(2 * math.pi)).sum(1)).mean()"
            ),
        },
    ),
    *variants(
        place="elbo",
        codes={
            "estimator B through the variance": """\
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    kl = -.5 * (1 + torch.log(s.exp() ** 2) - m**2 - s.exp() ** 2).sum(1)
    return (log_likelihood(x, z) - kl).mean()
""",
            "its own stable Bernoulli": """\
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    y = decoder(z)
    p = torch.sigmoid(y)
    return (log_prior(z) + (x * y - nn.functional.softplus(y)).sum(1) - log_q(z, m, s)).mean()
""",
        },
    ),
    *variants(
        place="elbo",
        replaces="encoder(x)",
        codes={
            "ELBO with encoder(x=x)": "encoder(x=x)",
            "ELBO with encoder.forward(x)": "encoder.forward(x)",
            "ELBO with encoder.layers(x).chunk(2, dim=1)": "encoder.layers(x).chunk(2, dim=1)",
            "ELBO with encoder(x.to(next(encoder.parameters()).device))": (
                "encoder(x.to(next(encoder.parameters()).device))"
            ),
        },
    ),
    *variants(
        place="elbo",
        replaces="joint_log_density(x, z)",
        codes={
            "ELBO of the decoder's layers, one by one": """\
log_prior(z) + bernoulli_log_density(x, decoder[2](decoder[1](decoder[0](z)))).sum(1)
""",
            "ELBO of log_prior(z) + (log_likelihood(x, z) + log_likelihood(x, z)) / 2": (
                "log_prior(z) + (log_likelihood(x, z) + log_likelihood(x, z)) / 2"
            ),
        },
    ),
    *variants(
        place="elbo",
        codes={
            "networks as default arguments": """
def elbo(x, encoder=encoder, decoder=decoder):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    return (log_prior(z) + bernoulli_log_density(x, decoder(z)).sum(1) - log_q(z, m, s)).mean()
""",
            "networks in a closure": """
def elbo_of(encoder, decoder):
    def elbo(x):
        m, s = encoder(x)
        z = sample_gaussian(m, s)
        log_p = bernoulli_log_density(x, decoder(z)).sum(1)
        return (log_prior(z) + log_p - log_q(z, m, s)).mean()
    return elbo
elbo = elbo_of(encoder, decoder)
""",
            "a module that holds both networks": """
class Elbo(nn.Module):
    def __init__(self):
        super().__init__()
        self.networks = nn.ModuleList([encoder, decoder])
    def forward(self, x):
        m, s = self.networks[0](x)
        z = m + s.exp() * torch.randn_like(m)
        log_p = bernoulli_log_density(x, self.networks[1](z)).sum(1)
        return (log_prior(z) + log_p - log_q(z, m, s)).mean()
elbo = Elbo()
""",
            "digit by digit": """
def elbo(x):
    estimates = []
    for digit in x.split(1):
        m, s = encoder(digit)
        z = sample_gaussian(m, s)
        estimates.append(joint_log_density(digit, z) - log_q(z, m, s))
    return torch.cat(estimates).mean()
""",
        },
    ),
]
