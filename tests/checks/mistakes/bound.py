"""The importance weights and their bound."""

from .entry import variants

MISTAKES = [
    *variants(
        place="log_weights",
        check="check-iwae",
        replaces="joint_log_density(x, z) - log_q(z, q_mean, q_log_std)",
        codes={
            "weights the wrong way up": "log_q(z, q_mean, q_log_std) - joint_log_density(x, z)",
            "weights without q": "joint_log_density(x, z)",
            "weights without the prior": "log_likelihood(x, z) - log_q(z, q_mean, q_log_std)",
            "weights with the sum of the logs": (
                "joint_log_density(x, z) + log_q(z, q_mean, q_log_std)"
            ),
            "weights without their logarithm": (
                "torch.exp(joint_log_density(x, z) - log_q(z, q_mean, q_log_std))"
            ),
            "weights summed over the digits": (
                "(joint_log_density(x, z) - log_q(z, q_mean, q_log_std)).sum().expand(len(x))"
            ),
            "the ELBO for the weights": (
                "(joint_log_density(x, z) - log_q(z, q_mean, q_log_std)).mean().expand(len(x))"
            ),
            "weights minus log k": (
                "joint_log_density(x, z) - log_q(z, q_mean, q_log_std) - math.log(k)"
            ),
            "the prior twice": (
                "joint_log_density(x, z) + log_prior(z) - log_q(z, q_mean, q_log_std)"
            ),
            "weights of exchanged parameters": (
                "joint_log_density(x, z) - log_q(z, q_log_std, q_mean)"
            ),
        },
        says={
            "weights the wrong way up": "the wrong way up, q / p?",
            "weights without q": "Did you leave out log q(z | x)?",
            "weights without the prior": "Did you leave out log p(z)?",
            "weights minus log k": "Is - log k in it?",
            "the prior twice": "Is log p(z) in it twice?",
        },
    ),
    *variants(
        place="log_weights",
        check="check-iwae",
        replaces="return torch.stack(columns, dim=1)",
        codes={
            "weights by draw": "return torch.stack(columns)",
            "weights in one list": "return torch.cat(columns)",
            "one weight repeated": "return columns[0][:, None].expand(len(x), k)",
            "the mean of the weights": "return torch.stack(columns, dim=1).mean(dim=1)",
            "weights normalized": "return torch.stack(columns, dim=1).log_softmax(dim=1)",
        },
    ),
    *variants(
        place="log_weights",
        check="check-iwae",
        replaces="        z = sample_gaussian(q_mean, q_log_std)\n",
        codes={
            "one code used k times": (
                "        z = columns and z or sample_gaussian(q_mean, q_log_std)\n"
            ),
            "codes from the prior": "        z = torch.randn_like(q_mean)\n",
            "the means of q": "        z = q_mean\n",
            "noise shared by the digits": (
                "        z = q_mean + q_log_std.exp() * torch.randn(Dz, device=DEVICE)\n"
            ),
            "log_std for the log of the variance": (
                "        z = sample_gaussian(q_mean, q_log_std / 2)\n"
            ),
            "the same noise for each code": (
                "        z = sample_gaussian(q_mean, q_log_std, generator(5))\n"
            ),
        },
        says={
            "codes from the prior": "Is z drawn from the prior?",
            "log_std for the log of the variance": "log_std taken for the log of the variance",
            "the same noise for each code": "Is one code used k times?",
        },
    ),
    *variants(
        place="log_weights",
        check="check-iwae",
        codes={
            "one code repeated k times": """\
def log_weights(x, k):
    q_mean, q_log_std = encoder(x)
    z = sample_gaussian(q_mean, q_log_std).repeat_interleave(k, 0)
    x, m, s = (t.repeat_interleave(k, 0) for t in (x, q_mean, q_log_std))
    return (joint_log_density(x, z) - log_q(z, m, s)).reshape(-1, k)
""",
            "repeat for repeat_interleave in the digits": """\
def log_weights(x, k):
    m, s = (t.repeat_interleave(k, 0) for t in encoder(x))
    z = sample_gaussian(m, s)
    return (joint_log_density(x.repeat(k, 1), z) - log_q(z, m, s)).reshape(-1, k)
""",
            "rows of several digits": """\
def log_weights(x, k):
    q_mean, q_log_std = encoder(x)
    x, m, s = (t.repeat(k, 1) for t in (x, q_mean, q_log_std))
    z = sample_gaussian(m, s)
    return (joint_log_density(x, z) - log_q(z, m, s)).reshape(-1, k)
""",
            "the mean of q where no gradient is asked for": """\
own_sampler = sample_gaussian
def log_weights(x, k):
    m, s = (t.repeat_interleave(k, 0) for t in encoder(x))
    z = own_sampler(m, s) if torch.is_grad_enabled() else m
    return (joint_log_density(x.repeat_interleave(k, 0), z) - log_q(z, m, s)).reshape(-1, k)
""",
        },
        says={"one code repeated k times": "Is one code used k times?"},
    ),
    *variants(
        place="iwae",
        check="check-iwae",
        replaces="return (log_weights(x, k).logsumexp(dim=1) - math.log(k)).mean()",
        codes={
            "the log of the mean of exp": "return log_weights(x, k).exp().mean(dim=1).log().mean()",
            "the log of the mean of exp, of all": "return log_weights(x, k).exp().mean().log()",
            "the log of the mean of exp in double precision": (
                "return log_weights(x, k).double().exp().mean(dim=1).log().mean()"
            ),
            "one maximum for all digits": """\
w = log_weights(x, k)
    return ((w - w.max()).exp().mean(dim=1).log() + w.max()).mean()
""",
            "the mean of the logs": "return log_weights(x, k).mean()",
            "log k left out": "return log_weights(x, k).logsumexp(dim=1).mean()",
            "log k added": "return (log_weights(x, k).logsumexp(dim=1) + math.log(k)).mean()",
            "log k subtracted twice": (
                "return ((log_weights(x, k) - math.log(k)).logsumexp(dim=1) - math.log(k)).mean()"
            ),
            "k for log k": "return (log_weights(x, k).logsumexp(dim=1) / k).mean()",
            "the sum over the digits": (
                "return (log_weights(x, k).logsumexp(dim=1) - math.log(k)).sum()"
            ),
            "one number for each digit": "return log_weights(x, k).logsumexp(dim=1) - math.log(k)",
            "logsumexp over the digits": (
                "return (log_weights(x, k).logsumexp(dim=0) - math.log(k)).mean()"
            ),
            "logsumexp over everything": "return log_weights(x, k).logsumexp((0, 1)) - math.log(k)",
            "the largest weight": "return log_weights(x, k).amax(dim=1).mean()",
            "one code, k times": "return log_weights(x, 1).logsumexp(dim=1).mean()",
            "weights upside down": (
                "return ((-log_weights(x, k)).logsumexp(dim=1) - math.log(k)).mean()"
            ),
            "the loss": "return -(log_weights(x, k).logsumexp(dim=1) - math.log(k)).mean()",
        },
        says={
            "the log of the mean of exp": "Use logsumexp",
            "the log of the mean of exp in double precision": "Use logsumexp",
            "one maximum for all digits": "Use logsumexp",
            "the mean of the logs": "Is it the mean of the log weights, the ELBO?",
            "log k left out": "Is - log k left out?",
            "log k added": "Is log k added",
            "the sum over the digits": "Is it the sum over the digits",
            "logsumexp over the digits": "Is the logsumexp over the digits",
            "weights upside down": "the wrong way up, q / p?",
            "the loss": "Does it have the wrong sign?",
        },
    ),
]

RIGHT = [
    *variants(
        place="log_weights",
        codes={
            "one batch, digit after digit": """\
def log_weights(x, k):
    x, m, s = (t.repeat_interleave(k, 0) for t in (x, *encoder(x)))
    z = sample_gaussian(m, s)
    return (joint_log_density(x, z) - log_q(z, m, s)).reshape(-1, k)
""",
            "one batch, draw after draw": """\
def log_weights(x, k):
    x, m, s = (t.repeat(k, 1) for t in (x, *encoder(x)))
    z = sample_gaussian(m, s)
    return (joint_log_density(x, z) - log_q(z, m, s)).reshape(k, -1).T
""",
            "digits repeated before the encoder": """\
def log_weights(x, k):
    x = x.repeat_interleave(k, dim=0)
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    return (joint_log_density(x, z) - log_q(z, m, s)).unflatten(0, (-1, k))
""",
            "expanded and flattened": """\
def log_weights(x, k):
    x, m, s = (t[:, None].expand(-1, k, -1).flatten(0, 1) for t in (x, *encoder(x)))
    z = sample_gaussian(m, s)
    return (joint_log_density(x, z) - log_q(z, m, s)).view(-1, k)
""",
            "expanded, three dimensions": """\
def log_weights(x, k):
    m, s = (t[:, None].expand(-1, k, -1) for t in encoder(x))
    z = sample_gaussian(m, s)
    log_p = bernoulli_log_density(x[:, None], decoder(z)).sum(-1)
    prior = gaussian_log_density(z, 0 * z, 0 * z).sum(-1)
    return prior + log_p - gaussian_log_density(z, m, s).sum(-1)
""",
            "draws first, three dimensions": """\
def log_weights(x, k):
    m, s = encoder(x)
    z = m + s.exp() * torch.randn(k, *m.shape, device=DEVICE)
    log_p = bernoulli_log_density(x, decoder(z)).sum(-1)
    prior = gaussian_log_density(z, 0 * z, 0 * z).sum(-1)
    return (prior + log_p - gaussian_log_density(z, m, s).sum(-1)).T
""",
            "the encoder anew for each code": """\
def one(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    return joint_log_density(x, z) - log_q(z, m, s)
def log_weights(x, k):
    return torch.stack([one(x) for _ in range(k)]).T
""",
            "digit by digit": """\
def log_weights(x, k):
    rows = []
    for digit in x:
        m, s = encoder(digit.expand(k, Ddata))
        z = sample_gaussian(m, s)
        rows.append(joint_log_density(digit.expand(k, Ddata), z) - log_q(z, m, s))
    return torch.stack(rows)
""",
            "filled in, column by column": """\
def log_weights(x, k):
    q_mean, q_log_std = encoder(x)
    w = torch.empty(len(x), k, device=DEVICE)
    for i in range(k):
        z = sample_gaussian(q_mean, q_log_std)
        w[:, i] = log_prior(z) + log_likelihood(x, z) - log_q(z, q_mean, q_log_std)
    return w
""",
        },
    ),
    *variants(
        place="iwae",
        codes={
            "log k in each weight": """\
def iwae(x, k):
    return (log_weights(x, k) - math.log(k)).logsumexp(1).mean()
""",
            "the largest weight of each digit apart": """\
def iwae(x, k):
    w = log_weights(x, k)
    largest = w.amax(dim=1, keepdim=True)
    return (largest[:, 0] + (w - largest).exp().mean(dim=1).log()).mean()
""",
            "logsumexp and a mean of the digits": """\
def iwae(x, k):
    bounds = torch.logsumexp(log_weights(x, k), -1) - torch.log(torch.tensor(float(k)))
    return bounds.sum() / len(x)
""",
            "without log_weights": """\
def iwae(x, k):
    total = None
    m, s = encoder(x)
    for _ in range(k):
        z = sample_gaussian(m, s)
        w = joint_log_density(x, z) - log_q(z, m, s)
        total = w if total is None else torch.logaddexp(total, w)
    return torch.mean(total - math.log(k))
""",
        },
    ),
]
