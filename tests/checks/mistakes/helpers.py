"""The two densities and the two samplers of vae_helpers.py."""

from .entry import HELPERS, variants

LOGSIGMOID = "return torch.nn.functional.logsigmoid((2 * x - 1) * logit_means)"
GAUSSIAN = (
    "return -0.5 * math.log(2 * math.pi) - log_std - 0.5 * (z - mean) ** 2 "
    "* torch.exp(-2 * log_std)"
)
SAMPLE = "return mean + torch.exp(log_std) * epsilon"
NOISE = "torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)"

MISTAKES = [
    *variants(
        place=HELPERS,
        check="check-bernoulli",
        replaces=LOGSIGMOID,
        codes={
            "1 - 2 * x for 2 * x - 1 in the density": (
                "return torch.nn.functional.logsigmoid((1 - 2 * x) * logit_means)"
            ),
            "torch.sigmoid(logit_means) for logit_means in the density": (
                "return torch.nn.functional.logsigmoid((2 * x - 1) * torch.sigmoid(logit_means))"
            ),
            "logit_means.detach() for logit_means in the density": (
                "return torch.nn.functional.logsigmoid((2 * x - 1) * logit_means.detach())"
            ),
            "naive form": """\
mu = logit_means.exp() / (1 + logit_means.exp())
    return x * mu.log() + (1 - x) * (1 - mu).log()
""",
            "epsilon inside both logarithms": """\
mu = torch.sigmoid(logit_means)
    return x * torch.log(mu + 1e-10) + (1 - x) * torch.log(1 - mu + 1e-10)
""",
            "log of a sigmoid in double precision": (
                "return torch.sigmoid((2 * x - 1) * logit_means.double()).log().to(x.dtype)"
            ),
            "piecewise, with a gradient that is nan": """\
up, down = (torch.log(1 + torch.exp(a)) for a in (logit_means, -logit_means))
    y = logit_means
    positive = (x - 1) * y - torch.where(y > 0, down, 0 * y)
    return torch.where(y > 0, positive, x * y - torch.where(y > 0, 0 * y, up))
""",
            "clamp and an absolute value": """\
a = (1 - 2 * x) * logit_means
    return -(a.clamp(min=0) + torch.log1p(torch.exp(-a.abs())))
""",
        },
        says={
            "epsilon inside both logarithms": "never falls below -23.03, the logarithm of 1e-10",
            "piecewise, with a gradient that is nan": "got nan, expected",
            "clamp and an absolute value": (
                "its gradient at y = 0: got -1, expected -0.5. Do you use abs"
            ),
        },
    ),
    *variants(
        place=HELPERS,
        check="check-gaussian",
        replaces=GAUSSIAN,
        codes={
            "-log_std for -2 * log_std in the density": """\
return -0.5 * math.log(2 * math.pi) - log_std - 0.5 * (z - mean) ** 2 * torch.exp(-log_std)
""",
            " for  - log_std in the density": """\
return -0.5 * math.log(2 * math.pi) - 0.5 * (z - mean) ** 2 * torch.exp(-2 * log_std)
""",
            " + log_std for  - log_std in the density": """\
return -0.5 * math.log(2 * math.pi) + log_std - 0.5 * (z - mean) ** 2 * torch.exp(-2 * log_std)
""",
            "(z.detach() for (z in the density": """\
z = z.detach()
    return -0.5 * math.log(2 * math.pi) - log_std - 0.5 * ((z - mean) / log_std.exp()) ** 2
""",
            "mean.detach() for mean in the density": """\
mean = mean.detach()
    return -0.5 * math.log(2 * math.pi) - log_std - 0.5 * ((z - mean) / log_std.exp()) ** 2
""",
            "-2 * log_std.detach() for -2 * log_std in the density": """\
square = ((z - mean) / log_std.detach().exp()) ** 2
    return -0.5 * math.log(2 * math.pi) - log_std - 0.5 * square
""",
            "log_std as log-variance": """\
return -0.5 * (math.log(2 * math.pi) + log_std + (z - mean) ** 2 / torch.exp(log_std))
""",
            "log of the density, underflowing": """\
std = log_std.exp()
    return torch.log(torch.exp(-0.5 * ((z - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi)))
""",
        },
    ),
    *variants(
        place=HELPERS,
        check="check-samplers",
        replaces=SAMPLE,
        codes={
            "noise clamped": """\
epsilon = epsilon.clamp(-3, 3)
    return mean + torch.exp(log_std) * epsilon
""",
            "torch.normal": "return torch.normal(mean, torch.exp(log_std)).detach()",
            "noise seeded in the sampler": """\
torch.manual_seed(0)
    epsilon = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device)
    return mean + torch.exp(log_std) * epsilon
""",
        },
    ),
    *variants(
        place=HELPERS,
        check="check-samplers",
        replaces="torch.rand(mean.shape",
        codes={
            "one uniform number for all pixels": "torch.rand(()",
        },
        says={
            "one uniform number for all pixels": "Is the mean compared with one number for all",
        },
    ),
    *variants(
        place=HELPERS,
        check="check-samplers",
        replaces=SAMPLE,
        codes={
            "noise times torch.exp(2 * log_std)": (
                "return mean + (torch.exp(2 * log_std)) * epsilon"
            ),
            "noise times log_std": "return mean + (log_std) * epsilon",
            "noise times 1": "return mean + (1) * epsilon",
            "noise times torch.exp(log_std) + 1e-3": (
                "return mean + (torch.exp(log_std) + 1e-3) * epsilon"
            ),
            "noise times torch.exp(log_std.clamp(-2, 2))": (
                "return mean + (torch.exp(log_std.clamp(-2, 2))) * epsilon"
            ),
            "noise times torch.exp(log_std.detach())": (
                "return mean + (torch.exp(log_std.detach())) * epsilon"
            ),
            "noise times torch.nn.functional.softplus(log_std)": (
                "return mean + (torch.nn.functional.softplus(log_std)) * epsilon"
            ),
            "noise times torch.exp(log_std / 2)": (
                "return mean + (torch.exp(log_std / 2)) * epsilon"
            ),
        },
        says={
            "noise times torch.exp(log_std / 2)": "log_std taken for the log of the variance",
        },
    ),
    *variants(
        place=HELPERS,
        check="check-samplers",
        replaces=NOISE,
        codes={
            "noise with rand for randn": (
                "torch.rand(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)"
            ),
            "noise with mean.shape[1:] for mean.shape": """\
torch.randn(mean.shape[1:], generator=generator, dtype=mean.dtype, device=mean.device)
""",
            "noise with log_std.shape for mean.shape": """\
torch.randn(log_std.shape, generator=generator, dtype=mean.dtype, device=mean.device)
""",
            "noise with generator=None for generator=generator": (
                "torch.randn(mean.shape, generator=None, dtype=mean.dtype, device=mean.device)"
            ),
            "noise with torch.float64 for mean.dtype": """\
torch.randn(mean.shape, generator=generator, dtype=torch.float64, device=mean.device)
""",
        },
    ),
    *variants(
        place=HELPERS,
        check="check-samplers",
        replaces="(uniform < mean).to(mean.dtype)",
        codes={
            "binary samples as (uniform < mean)": "(uniform < mean)",
            "binary samples as (uniform < mean).long()": "(uniform < mean).long()",
            "binary samples as (uniform < mean).double()": "(uniform < mean).double()",
            "binary samples as 2.0 * (uniform < mean) - 1": "2.0 * (uniform < mean) - 1",
            "binary samples as (uniform > mean).to(mean.dtype)": "(uniform > mean).to(mean.dtype)",
            "binary samples as torch.bernoulli(mean, generator=generator)": (
                "torch.bernoulli(mean, generator=generator)"
            ),
            "binary samples as (uniform < torch.sigmoid(mean)).to(mean.dtype)": (
                "(uniform < torch.sigmoid(mean)).to(mean.dtype)"
            ),
        },
        says={
            "binary samples as (uniform < torch.sigmoid(mean)).to(mean.dtype)": (
                "Did you apply a sigmoid?"
            ),
        },
    ),
    *variants(
        place=HELPERS,
        check="check-gaussian",
        replaces=GAUSSIAN,
        codes={
            "log_std clamped at -10 and 10": f"log_std = log_std.clamp(-10, 10)\n    {GAUSSIAN}",
            "1e-12 in the variance": """\
variance = torch.exp(2 * log_std) + 1e-12
    return -0.5 * torch.log(2 * math.pi * variance) - 0.5 * (z - mean) ** 2 / variance
""",
            "exp forgotten": """\
return -0.5 * math.log(2 * math.pi) - log_std - 0.5 * ((z - mean) / log_std) ** 2
""",
            "the square added": GAUSSIAN.replace("- 0.5 * (z", "+ 0.5 * (z"),
            "log(2 pi) without its half": GAUSSIAN.replace("-0.5 * math", "-math"),
            "log(2 pi sigma)": """\
return -0.5 * torch.log(2 * math.pi * log_std.exp()) - 0.5 * ((z - mean) / log_std.exp()) ** 2
""",
        },
        says={
            "log_std clamped at -10 and 10": "is log_std clamped",
            "1e-12 in the variance": "a small number added to the variance",
            "exp forgotten": "Is log_std used where exp(log_std) belongs?",
            "the square added": "Is the square added",
            "log(2 pi) without its half": "Is the constant log(2 pi)",
            "log(2 pi sigma)": "1/2 log(2 pi sigma)",
        },
    ),
    *variants(
        place=HELPERS,
        check="check-samplers",
        replaces=SAMPLE,
        codes={
            "log_std clamped at 10": "return mean + log_std.clamp(max=10).exp() * epsilon",
            "half of the noise the negative of the other": """\
n = len(mean) // 2
    return mean + log_std.exp() * torch.cat([epsilon[:n], -epsilon[:n], epsilon[2 * n :]])
""",
            "noise standardized over the batch": """\
epsilon = (epsilon - epsilon.mean(0)) / epsilon.std(0)
    return mean + log_std.exp() * epsilon
""",
            "the mean where no gradient is asked for": """\
return mean + log_std.exp() * epsilon * torch.is_grad_enabled()
""",
        },
        says={
            "log_std clamped at 10": "Is log_std clamped",
            "noise standardized over the batch": "Is the noise standardized over the batch?",
            "the mean where no gradient is asked for": "got the means",
        },
    ),
    *variants(
        place=HELPERS,
        check="check-samplers",
        replaces="(uniform < mean).to(mean.dtype)",
        codes={"always single precision": "(uniform < mean).float()"},
        says={"always single precision": "given torch.float64, it returns torch.float32"},
    ),
]

RIGHT = [
    *variants(
        place=HELPERS,
        replaces=LOGSIGMOID,
        codes={
            "x y + log sigmoid(-y)": (
                "return x * logit_means + torch.nn.functional.logsigmoid(-logit_means)"
            ),
            "logsumexp": """\
a = (1 - 2 * x) * logit_means
    return -torch.logsumexp(torch.stack([torch.zeros_like(a), a]), dim=0)
""",
        },
    ),
    *variants(
        place=HELPERS,
        replaces="return (uniform < mean).to(mean.dtype)",
        codes={
            "torch.where for samples": (
                "return torch.where(uniform < mean, torch.ones_like(mean), torch.zeros_like(mean))"
            ),
        },
    ),
    *variants(
        place=HELPERS,
        replaces=LOGSIGMOID,
        codes={
            "maximum with a constant": """\
a = (1 - 2 * x) * logit_means
    m = torch.maximum(a, torch.zeros_like(a)).detach()
    return -(m + torch.log(torch.exp(-m) + torch.exp(a - m))).clamp(min=0)
""",
        },
    ),
]
