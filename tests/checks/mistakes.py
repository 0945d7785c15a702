"""Typical mistakes, and correct solutions written differently, as changes to the notebook.

An entry of MISTAKES is: what is wrong, a name that the cell defines (or vae_helpers.py), a piece of
its source (None: nothing, the new source runs after it), the source in its place, and the ids of the
check that must catch it and of the others that may fail with it. The commonest, and those whose
diagnosis once led astray, have a piece of it at the end. An entry of RIGHT has further changes, if
any, in place of the checks: none may fail.
"""

HELPERS = "vae_helpers.py"
LOGSIGMOID = "return torch.nn.functional.logsigmoid((2 * x - 1) * logit_means)"
GAUSSIAN = "return -0.5 * math.log(2 * math.pi) - log_std - 0.5 * (z - mean) ** 2 * torch.exp(-2 * log_std)"
SAMPLE = "return mean + torch.exp(log_std) * epsilon"
NOISE = "torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)"
PRIOR_SUM = "gaussian_log_density(z, mean=zero, log_std=zero).sum(dim=1)"
LAYERS = "nn.Linear(Dz, Dh), nn.Tanh(), nn.Linear(Dh, Ddata)"
RETURN_HEADS = "return q_mean, q_log_std"
DRAW = "z = sample_gaussian(q_mean, q_log_std)"
ESTIMATE = "return (log_joint - log_q_z).mean()"
PARAMETERS = "[*encoder.parameters(), *decoder.parameters()]"
ADAM = f"torch.optim.Adam({PARAMETERS}, fused=True)"
BERNOULLI_SAMPLES = "sample_bernoulli(prior_means[:, None].expand(10, 3, Ddata), generator(2))"
PICTURE = "tiles.permute(0, 2, 1, 3).reshape(50 * 28, 50 * 28)"
TWO_HEADS = """
class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(Ddata, Dh)
        self.mean, self.log_std = nn.Linear(Dh, Dz), nn.Linear(Dh, Dz)
    def forward(self, x):
        h = torch.tanh(self.hidden(x))
        return self.mean(h), self.log_std(h)
encoder = TwoHeads"""
DECODER_CLASS = """
class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(2, 500), nn.Linear(500, 784)
    def forward(self, z):
        return self.last(self.first(z).tanh())
decoder = Decoder().to(DEVICE)
"""
KL = "-.5 * (1 + 2 * s - m**2 - (2 * s).exp()).sum(1)"
KL_ELBO = """
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    kl = {kl}
    return (log_likelihood(x, z) - kl).mean()"""
OWN_ELBO = """
def elbo(x):
    m, s = encoder(x)
    z = sample_gaussian(m, s)
    y = decoder(z)
    p = torch.sigmoid(y)
    return (log_prior(z) + ({density}).sum(1) - log_q(z, m, s)).mean()"""
BY_HAND = """
class ByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(0.5 * torch.randn(Dz, Dh)), nn.Parameter(torch.zeros(Dh))
        self.c, self.d = nn.Parameter(0.04 * torch.randn(Dh, Ddata)), nn.Parameter(torch.zeros(Ddata))
    def forward(self, z):
        return {forward}
decoder = ByHand().to(DEVICE)"""
ADAM_BY_HAND = f"""
    class Adam(torch.optim.Optimizer):
        t = 0
        def step(self):
            self.t += 1
            for p in self.param_groups[0]["params"]:
                m, v = self.state.setdefault(p, (torch.zeros_like(p), torch.zeros_like(p)))
                m.mul_(0.9).add_(0.1 * p.grad)
                v.mul_(0.999).add_(0.001 * p.grad**2)
                p.data -= 1e-3 * (m / (1 - 0.9**self.t)) / ((v / (1 - 0.999**self.t)).sqrt() + 1e-8)
    optimizer = Adam({PARAMETERS}, {{}})"""
ELBO_AND_GRADIENT = "check-elbo check-gradients"  # the gradient of another function is wrong

# fmt: off
MISTAKES = [
    *[(f"{new} for {old} in the density", HELPERS, LOGSIGMOID, LOGSIGMOID.replace(old, new), "check-bernoulli") for old, new in (("2 * x - 1", "1 - 2 * x"), ("logit_means", "torch.sigmoid(logit_means)"), ("logit_means", "logit_means.detach()"))],
    ("naive form", HELPERS, LOGSIGMOID, "mu = logit_means.exp() / (1 + logit_means.exp())\n    return x * mu.log() + (1 - x) * (1 - mu).log()", "check-bernoulli"),
    ("epsilon inside both logarithms", HELPERS, LOGSIGMOID, "mu = torch.sigmoid(logit_means)\n    return x * torch.log(mu + 1e-10) + (1 - x) * torch.log(1 - mu + 1e-10)", "check-bernoulli", "never falls below -23.03, the logarithm of 1e-10"),
    ("log of a sigmoid in double precision", HELPERS, LOGSIGMOID, "return torch.sigmoid((2 * x - 1) * logit_means.double()).log().to(x.dtype)", "check-bernoulli"),
    ("piecewise, with a gradient that is nan", HELPERS, LOGSIGMOID, "up, down = (torch.log(1 + torch.exp(a)) for a in (logit_means, -logit_means))\n    y = logit_means\n    return torch.where(y > 0, (x - 1) * y - torch.where(y > 0, down, 0 * y), x * y - torch.where(y > 0, 0 * y, up))", "check-bernoulli", "got nan, expected"),
    ("clamp and an absolute value", HELPERS, LOGSIGMOID, "a = (1 - 2 * x) * logit_means\n    return -(a.clamp(min=0) + torch.log1p(torch.exp(-a.abs())))", "check-bernoulli", "its gradient at y = 0: got -1, expected -0.5. Do you use abs"),
    *[(f"{new} for {old} in the density", HELPERS, GAUSSIAN, GAUSSIAN.replace(old, new), "check-gaussian") for old, new in (("-2 * log_std", "-log_std"), (" - log_std", ""), (" - log_std", " + log_std"), ("(z", "(z.detach()"), ("mean", "mean.detach()"), ("-2 * log_std", "-2 * log_std.detach()"))],
    ("log_std as log-variance", HELPERS, GAUSSIAN, "return -0.5 * (math.log(2 * math.pi) + log_std + (z - mean) ** 2 / torch.exp(log_std))", "check-gaussian"),
    ("log of the density, underflowing", HELPERS, GAUSSIAN, "std = log_std.exp()\n    return torch.log(torch.exp(-0.5 * ((z - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi)))", "check-gaussian"),
    ("noise clamped", HELPERS, SAMPLE, "epsilon = epsilon.clamp(-3, 3)\n    " + SAMPLE, "check-samplers"),
    ("torch.normal", HELPERS, SAMPLE, "return torch.normal(mean, torch.exp(log_std)).detach()", "check-samplers"),
    ("noise seeded in the sampler", HELPERS, SAMPLE, "torch.manual_seed(0)\n    epsilon = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device)\n    " + SAMPLE, "check-samplers"),
    ("one uniform number for all pixels", HELPERS, "torch.rand(mean.shape", "torch.rand(()", "check-samplers", "Is the mean compared with one number for all"),
    *[(f"noise times {scale}", HELPERS, SAMPLE, f"return mean + ({scale}) * epsilon", "check-samplers") for scale in ("torch.exp(2 * log_std)", "log_std", "1", "torch.exp(log_std) + 1e-3", "torch.exp(log_std.clamp(-2, 2))", "torch.exp(log_std.detach())", "torch.nn.functional.softplus(log_std)")],
    ("noise times torch.exp(log_std / 2)", HELPERS, SAMPLE, "return mean + (torch.exp(log_std / 2)) * epsilon", "check-samplers", "log_std taken for the log of the variance"),
    *[(f"noise with {new} for {old}", HELPERS, NOISE, NOISE.replace(old, new), "check-samplers") for old, new in (("randn", "rand"), ("mean.shape", "mean.shape[1:]"), ("mean.shape", "log_std.shape"), ("generator=generator", "generator=None"), ("mean.dtype", "torch.float64"))],
    *[(f"binary samples as {new}", HELPERS, "(uniform < mean).to(mean.dtype)", new, "check-samplers") for new in ("(uniform < mean)", "(uniform < mean).long()", "(uniform < mean).double()", "2.0 * (uniform < mean) - 1", "(uniform > mean).to(mean.dtype)", "torch.bernoulli(mean, generator=generator)")],
    ("binary samples as (uniform < torch.sigmoid(mean)).to(mean.dtype)", HELPERS, "(uniform < mean).to(mean.dtype)", "(uniform < torch.sigmoid(mean)).to(mean.dtype)", "check-samplers", "Did you apply a sigmoid?"),
    ("prior as -0.5 * (z**2).sum(dim=1)", "log_prior", PRIOR_SUM, "-0.5 * (z**2).sum(dim=1)", "check-log-prior"),
    ("prior as -0.5 * (z**2).sum(dim=1) - 0.5 * math.log(2 * math.pi)", "log_prior", PRIOR_SUM, "-0.5 * (z**2).sum(dim=1) - 0.5 * math.log(2 * math.pi)", "check-log-prior", "constant once, not"),
    ("prior as gaussian_log_density(z, zero, zero + 1).sum(dim=1)", "log_prior", PRIOR_SUM, "gaussian_log_density(z, zero, zero + 1).sum(dim=1)", "check-log-prior", "Did you pass log_std = 1?"),
    *[(f"{new} in the prior's sum", "log_prior", ".sum(dim=1)", new, "check-log-prior") for new in (".mean(dim=1)", ".sum(dim=0)", ".sum()", ".sum(dim=1, keepdim=True)", "[:, 0]", ".prod(dim=1)")],
    ("a plain function", "decoder", "decoder = nn", "def decoder(z):\n    return layers(z)\nlayers = nn", "check-decoder", "decoder must be a module"),
    ("frozen decoder", "decoder", None, "decoder.requires_grad_(False)", "check-decoder"),
    ("frozen layer", "decoder", None, "decoder[-1].requires_grad_(False)", "check-decoder"),
    ("layers that are not registered", "decoder", None, "class Hidden(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.layers = [nn.Linear(Dz, Dh), nn.Tanh(), nn.Linear(Dh, Ddata)]\n    def forward(self, z):\n        for layer in self.layers:\n            z = layer(z)\n        return z\ndecoder = Hidden()", "check-decoder", "decoder: got 0 parameters, expected 394,284"),
    ("hidden layer detached", "decoder", None, DECODER_CLASS.replace(".tanh()", ".tanh().detach()"), "check-decoder", "no gradient reaches its hidden layer. Is something detached?"),
    *[(f"{new} for tanh", "decoder", "nn.Tanh()", f"nn.{new}", "check-decoder") for new in ("Sigmoid()", "Softsign()", "GELU()", "Hardtanh()", "Softplus()", "ELU()", "Identity()", "Tanh(), nn.LayerNorm(Dh, elementwise_affine=False)")],
    ("ReLU() for tanh", "decoder", "nn.Tanh()", "nn.ReLU()", "check-decoder", "Is there ReLU between its layers, not tanh?"),
    ("Tanh(), nn.Dropout(0.2) for tanh", "decoder", "nn.Tanh()", "nn.Tanh(), nn.Dropout(0.2)", "check-decoder", "Is there dropout in it?"),
    *[(f"{layer} after the outputs", "decoder", LAYERS, f"{LAYERS}, nn.{layer}", "check-decoder") for layer in ("Sigmoid()", "Tanh()", "ReLU()", "LogSigmoid()", "Hardtanh(-10, 10)", "Softmax(dim=-1)")],
    *[(f"likelihood of {new}", "log_likelihood", "(x, decoder(z))", new, "check-log-likelihood") for new in ("(x, torch.sigmoid(decoder(z)))", "(1 - x, decoder(z))", "(x, decoder(x))")],
    ("epsilon in the likelihood", "log_likelihood", None, "def log_likelihood(x, z):\n    mu = torch.sigmoid(decoder(z))\n    return (x * torch.log(mu + 1e-8) + (1 - x) * torch.log(1 - mu + 1e-8)).sum(1)", "check-log-likelihood"),
    ("decoder's parameters detached", "log_likelihood", "decoder(z)", "torch.func.functional_call(decoder, {name: p.detach() for name, p in decoder.named_parameters()}, (z,))", "check-log-likelihood"),
    ("a loss of torch.nn", "log_likelihood", None, "criterion = nn.BCEWithLogitsLoss(reduction='none')\ndef log_likelihood(x, z):\n    return -criterion(decoder(z), x).sum(1)", "check-log-likelihood"),
    *[(f"{new} in the likelihood's sum", "log_likelihood", ".sum(dim=1)", new, "check-log-likelihood") for new in (".mean(dim=1)", ".sum(dim=0)", ".sum()", ".mean()", ".sum(dim=1, keepdim=True)")],
    *[(f"joint as {new}", "joint_log_density", "log_prior(z) + log_likelihood(x, z)", new, "check-joint") for new in ("log_likelihood(x, z)", "log_prior(z)", "log_likelihood(x, z) - log_prior(z)", "2 * log_prior(z) + log_likelihood(x, z)", "log_prior(z) * log_likelihood(x, z)", "(log_prior(z) + log_likelihood(x, z)).mean()", "log_prior(z) / Ddata + log_likelihood(x, z)", "torch.logaddexp(log_prior(z), log_likelihood(x, z))", "log_prior(z)[:, None] + log_likelihood(x, z)", "log_prior(z).detach() + log_likelihood(x, z)", "log_prior(z) + log_likelihood(x, z).detach()")],
    ("joint as log_prior(z) + log_likelihood(z, x)", "joint_log_density", "log_prior(z) + log_likelihood(x, z)", "log_prior(z) + log_likelihood(z, x)", "check-joint", "Are x and z exchanged?"),
    ("constant of q counted once", "log_q", ".sum(dim=1)", ".sum(dim=1) + 0.5 * math.log(2 * math.pi)", "check-log-q"),
    ("a library's density", "log_q", "gaussian_log_density(z, q_mean, q_log_std)", "torch.distributions.Normal(q_mean, q_log_std.exp()).log_prob(z)", "check-log-q"),
    *[(f"q of {new}", "log_q", "z, q_mean, q_log_std).sum", f"{new}).sum", "check-log-q") for new in ("z, q_mean, q_log_std.clamp(-5, 5)", "z, q_log_std, q_mean", "z, q_mean, 2 * q_log_std", "z, q_mean, q_log_std / 2", "z, q_mean, q_log_std.exp()", "z, q_mean, q_log_std.detach()", "z, q_mean, -q_log_std")],
    ("split along the batch", "encoder", "chunk(2, dim=1)", "chunk(2, dim=0)", "check-encoder"),
    ("log_std without the hidden layer's gradient", "encoder", None, TWO_HEADS.replace("self.log_std(h)\n", "self.log_std(h.detach())\n") + "().to(DEVICE)", "check-encoder"),
    *[(f"encoder returns {new}", "encoder", RETURN_HEADS, f"return {new}", "check-encoder") for new in ("q_mean, torch.cat([q_mean[:, 1:], q_log_std[:, 1:]], dim=1)", "q_mean, q_log_std.mean(0, keepdim=True).expand_as(q_mean)", "torch.cat([q_mean, q_log_std], dim=1)", "q_mean, nn.functional.softplus(q_log_std)", "q_mean, q_log_std.clamp(-6, 6)", "q_mean, torch.tanh(q_log_std)", "q_mean, torch.relu(q_log_std)", "torch.sigmoid(q_mean), q_log_std", "torch.tanh(q_mean), q_log_std", "q_mean.detach(), q_log_std", "q_mean, q_log_std.detach()")],
    ("encoder returns q_mean, q_log_std.exp()", "encoder", RETURN_HEADS, "return q_mean, q_log_std.exp()", "check-encoder", "Did you apply exp to it?"),
    ("encoder returns None", "encoder", RETURN_HEADS, "return None", "check-encoder", "Does forward end in return q_mean, q_log_std"),
    ("encoder returns q_mean, q_mean", "encoder", RETURN_HEADS, "return q_mean, q_mean", "check-encoder", "Is the same layer used for several?"),
    ("mean and log_std exchanged", "elbo", "q_mean, q_log_std = encoder(x)", "q_log_std, q_mean = encoder(x)", ELBO_AND_GRADIENT, "Are q_mean and q_log_std exchanged?"),
    *[(f"KL as {kl}", "elbo", None, KL_ELBO.format(kl=kl), ELBO_AND_GRADIENT) for kl in ("-.5 * (1 + s - m**2 - s.exp()).sum(1)", f"({KL}).clamp(min=0.05)")],
    ("KL as -.5 * (1 + 2 * s - m**2 - s.exp()).sum(1)", "elbo", None, KL_ELBO.format(kl="-.5 * (1 + 2 * s - m**2 - s.exp()).sum(1)"), ELBO_AND_GRADIENT, "sigma where sigma squared belongs"),
    *[(f"ELBO with {density}", "elbo", None, OWN_ELBO.format(density=density), ELBO_AND_GRADIENT) for density in ("x * (p + 1e-8).log() + (1 - x) * (1 - p + 1e-8).log()", "nn.functional.logsigmoid((2 * x - 1) * y.clamp(-15, 15))")],
    ("ELBO with x * p.log() + (1 - x) * (1 - p).log()", "elbo", None, OWN_ELBO.format(density="x * p.log() + (1 - x) * (1 - p).log()"), ELBO_AND_GRADIENT, "logarithm of zero"),
    ("half the batch in the ELBO", "elbo", "q_mean, q_log_std = encoder(x)", "x = x[: (len(x) + 1) // 2]\n    q_mean, q_log_std = encoder(x)", ELBO_AND_GRADIENT),
    ("q_log_std clamped", "elbo", DRAW, "q_log_std = q_log_std.clamp(-3, 3)\n    " + DRAW, ELBO_AND_GRADIENT),
    ("digits changed in place", "elbo", "q_mean, q_log_std = encoder(x)", "x.neg_().add_(1)\n    q_mean, q_log_std = encoder(x)", ELBO_AND_GRADIENT),
    ("noise shared by two digits", "elbo", DRAW, "z = q_mean + q_log_std.exp() * torch.randn((len(x) + 1) // 2, Dz).repeat(2, 1)[: len(x)]", "check-elbo"),
    *[(f"z as {new}", "elbo", DRAW, f"z = {new}", ELBO_AND_GRADIENT) for new in ("sample_gaussian(q_mean, q_log_std.exp())", "q_log_std.exp() * torch.randn_like(q_mean)", "q_mean + torch.exp(2 * q_log_std) * torch.randn_like(q_mean) ", "sample_gaussian(q_mean, 2 * q_log_std)", "sample_gaussian(q_mean, q_log_std / 2)", "q_mean", "sample_gaussian(q_mean, q_log_std, generator(5))", "q_mean + q_log_std.exp() * torch.randn(1, Dz)", "q_mean + q_log_std.exp() * torch.randn(len(x), 1)", "q_mean + q_log_std.exp() * torch.rand(len(x), Dz)", "q_mean + torch.randn_like(q_mean)")],
    ("z as torch.randn_like(q_mean)", "elbo", DRAW, "z = torch.randn_like(q_mean)", ELBO_AND_GRADIENT, "Is z drawn from the prior?"),
    *[(f"ELBO as {new}", "elbo", ESTIMATE, f"return {new}", ELBO_AND_GRADIENT) for new in ("(joint_log_density(x, torch.randn_like(z)) - log_q_z).mean()", "log_joint.mean()", "log_likelihood(x, z).mean()", "(log_joint - log_q_z).sum()", "log_joint - log_q_z", "(log_joint - log_q_z).mean().abs()", "(log_joint - log_q_z).logsumexp(0) - math.log(len(x))", "(log_joint - log_q_z).mean() + math.log(2 * math.pi)", "(log_joint - log_q_z).mean() - 1e-3 * sum((p**2).sum() for p in decoder.parameters())", "(log_joint - 2 * log_q_z).mean()", "(log_joint - 2 * log_prior(z) - log_q_z).mean()", "(log_joint - log_q_z).max()", "(log_joint - log_q_z).mean() / Ddata")],
    ("ELBO as (log_joint + log_q_z).mean()", "elbo", ESTIMATE, "return (log_joint + log_q_z).mean()", ELBO_AND_GRADIENT, "Does log q(z | x) have the wrong sign?"),
    ("ELBO as (log_joint + log_prior(z) - log_q_z).mean()", "elbo", ESTIMATE, "return (log_joint + log_prior(z) - log_q_z).mean()", ELBO_AND_GRADIENT, "Is log p(z) in it twice?"),
    *[(f"beta {beta}", "elbo", None, KL_ELBO.format(kl=f"{beta} * ({KL})"), ELBO_AND_GRADIENT) for beta in (0.99, 1.01, 0.5, 2, 4)],
    ("beta -1", "elbo", None, KL_ELBO.format(kl=f"-1 * ({KL})"), ELBO_AND_GRADIENT, "Does the KL have the wrong sign?"),
    ("a plain number", "elbo", ESTIMATE, ESTIMATE.replace("return ", "return torch.tensor(").replace(".mean()", ".mean().item())"), "check-gradients"),
    ("KL detached", "elbo", None, KL_ELBO.format(kl=f"({KL}).detach()"), "check-gradients"),
    *[(f"z by {new}", "elbo", DRAW, f"z = {new}", "check-gradients") for new in ("sample_gaussian(q_mean, q_log_std).detach()", "sample_gaussian(q_mean.detach(), q_log_std)", "sample_gaussian(q_mean, q_log_std.detach())")],
    *[(f"ELBO of {new}", "elbo", "joint_log_density(x, z)", new, "check-gradients") for new in ("log_prior(z).detach() + log_likelihood(x, z)", "log_prior(z) + log_likelihood(x, z).detach()", "log_prior(z) + log_likelihood(x, z.detach())")],
    ("only the decoder optimized", "train", PARAMETERS, "[*decoder.parameters()]", "check-train"),
    ("gradients zeroed before the step", "train", "            optimizer.step()\n", "            optimizer.zero_grad()\n            optimizer.step()\n", "check-train"),
    ("gradients never zeroed", "train", "            optimizer.zero_grad()\n", "", "check-train"),
    ("optimizer anew in each epoch", "train", "        total_elbo, n_digits", f"        optimizer = {ADAM}\n        total_elbo, n_digits", "check-train"),
    ("the same noise for every batch", "train", "            optimizer.zero_grad()", "            torch.manual_seed(SEED)\n            optimizer.zero_grad()", "check-train"),
    ("noise added to the digits", "train", "loss(x)", "loss(x + 0.1 * torch.randn_like(x))", "check-train"),
    ("batches indexed, which they cannot be", "train", "for x in batches:", "for x in (batches[i] for i in range(len(batches))):", "check-train"),
    ("train ELBO alone in the history", "train", "    return history", "    return [train_elbo for train_elbo, _ in history]", "check-train"),
    ("N_EPOCHS in train", "train", "range(n_epochs)", "range(N_EPOCHS)", "check-train", "Is N_EPOCHS used, where train is given n_epochs?"),
    ("history of tensors with a gradient", "train", "total_elbo.item() / n_digits", "-batch_loss", "check-train", "Is .item() left out?"),
    ("no history of its own", "train", "    history = []\n", "", "check-train"),
    *[(f"Adam with {option}", "train", "fused=True", option, "check-train") for option in ("lr=0.1", "lr=3e-3", "lr=1e-4", "weight_decay=1.0", "weight_decay=1e-3", "maximize=True", "betas=(0.5, 0.999)", "eps=1e-2")],
    ("Adam with weight_decay=1e-5", "train", "fused=True", "weight_decay=1e-5", "check-train", "Is there weight decay"),
    *[(f"means as {new}", "means", "q_mean.cpu()", new, "check-codes") for new in ("sample_gaussian(q_mean, q_log_std).cpu()", "q_log_std.cpu()", "q_log_std.exp().cpu()", "q_mean.cpu().flip(0)", "q_mean.cpu().T")],
    *[(f"labels as {new}", "labels", "digits.train_labels[:BS]", f"digits.{new}", "check-codes") for new in ("test_labels[:BS]", "train_labels[BS : 2 * BS]", "train_labels[1 : BS + 1]", "train_labels[:BS].sort().values")],
    ("uniform codes", "prior_codes", "torch.randn(", "torch.rand(", "check-prior-samples"),
    ("samples for the means of the pixels", "prior_means", "torch.sigmoid(decoder(prior_codes))", "sample_bernoulli(torch.sigmoid(decoder(prior_codes)))", "check-prior-samples"),
    ("noise shared by all codes", "prior_samples", BERNOULLI_SAMPLES, "torch.stack([sample_bernoulli(m.expand(3, Ddata), generator(2)) for m in prior_means])", "check-prior-samples"),
    ("means for samples of the pixels", "prior_samples", BERNOULLI_SAMPLES, "prior_means[:, None].expand(10, 3, Ddata)", "check-prior-samples"),
    *[(f"samples{new}", "prior_samples", BERNOULLI_SAMPLES, BERNOULLI_SAMPLES + new, "check-prior-samples") for new in ("[:, [0, 1, 1]]", ".flip(0)")],
    ("one code twice", "originals", "generator(3))", "generator(3))[:, :1].expand(4, 2, Dz)", "check-reconstructions"),
    ("logit-means for reconstructions", "originals", "torch.sigmoid(decoder(codes.reshape(8, Dz)))", "(decoder(codes.reshape(8, Dz)) / 40 + 0.5).clamp(0, 1)", "check-reconstructions"),
    ("reconstructions above a threshold", "reconstructions", "sample_bernoulli(reconstruction_means, generator(4))", "(reconstruction_means > 0.5).float()", "check-reconstructions"),
    *[(f"lattice of {new}", "lattice", "z_y, z_x = torch.meshgrid(ticks.flip(0), ticks", new, "check-lattice") for new in ("z_y, z_x = torch.meshgrid(ticks, ticks", "z_x, z_y = torch.meshgrid(ticks, ticks.flip(0)")],
    ("z_x and z_y exchanged", "lattice", "[z_x, z_y]", "[z_y, z_x]", "check-lattice"),
    ("bytes for the means in the picture", "picture", PICTURE, f"(255 * {PICTURE}).round().byte()", "check-lattice"),
    ("gradient in a picture", "lattice_means", "with torch.no_grad():", "if True:", "check-lattice"),
    ("make_grid with its padding", "picture", PICTURE, "__import__('torchvision').utils.make_grid(tiles.reshape(2500, 1, 28, 28), nrow=50)[0]", "check-lattice", "Pass padding=0"),
    *[(f"lattice over {new}", "lattice", "(-REACH, REACH, 50", f"({new}", "check-lattice") for new in ("0, REACH, 50", "-1, 1, 50", "REACH, -REACH, 50")],
    *[(f"picture{new}", "picture", PICTURE, PICTURE + new, "check-lattice") for new in (".flip(1)", ".rot90()", ".rot90(2)", ".T", "[:1399, :1399]", "[None]")],
    ("picture.flip(0)", "picture", PICTURE, PICTURE + ".flip(0)", "check-lattice", "Is the picture upside down?"),
    *[(f"tiles{new}", "picture", PICTURE, f"tiles{new}.permute(0, 2, 1, 3).reshape(1400, 1400)", "check-lattice") for new in (".flip(0)", ".flip(1)", ".flip(2)", ".flip(3)", ".flip(2, 3)")],
    *[(f"tiles{new} for permute", "picture", ".permute(0, 2, 1, 3)", new, "check-lattice") for new in ("", ".permute(0, 3, 1, 2)", ".permute(1, 2, 0, 3)")],
]

RIGHT = [
    ("prior with Dz", "log_prior", PRIOR_SUM, "-(z**2).sum(dim=1) / 2 - Dz * math.log(2 * math.pi) / 2"),
    ("networks and loss as default arguments", "elbo", "def elbo(x):", "def elbo(x, encoder=encoder, decoder=decoder):", [("train", "n_epochs=100", "n_epochs=100, loss=loss")]),
    ("decoder kept in an object", "log_likelihood", None, "class Model:\n    def __init__(self):\n        self.decoder = decoder\n    def log_likelihood(self, x, z):\n        return bernoulli_log_density(x, self.decoder(z)).sum(1)\nlog_likelihood = Model().log_likelihood"),
    ("elbo compiled", "elbo", None, "elbo = torch.compile(elbo, backend='eager')"),
    ("an output layer for each number", "encoder", "encoder = Encoder", TWO_HEADS.replace("self.mean, self.log_std = nn.Linear(Dh, Dz), nn.Linear(Dh, Dz)", "self.heads = nn.ModuleList(nn.Linear(Dh, 1) for _ in range(4))").replace("self.mean(h), self.log_std(h)", "torch.cat([head(h) for head in self.heads], 1).chunk(2, 1)")),
    ("means as an array of NumPy", "means", None, "means = means.cpu().numpy()"),
    ("entropy in closed form", "elbo", ESTIMATE, "return (log_joint + (q_log_std + 0.5 + 0.5 * math.log(2 * math.pi)).sum(1)).mean()"),
    ("three codes for each digit", "elbo", "q_mean, q_log_std = encoder(x)", "x = x.repeat_interleave(3, 0)\n    q_mean, q_log_std = encoder(x)"),
    ("decoder called by its forward", "log_likelihood", "decoder(z)", "decoder.forward(z)"),
    ("encoder with two heads", "encoder", "encoder = Encoder", TWO_HEADS),
    ("gradients zeroed after the step", "train", "            optimizer.zero_grad()\n", "", [("train", "            optimizer.step()\n", "            optimizer.step()\n            optimizer.zero_grad()\n")]),
    ("each network with an optimizer of its own", "train", f"optimizer = {ADAM}", "optimizer = type('Pair', (), {})()\n    pair = [torch.optim.Adam(network.parameters()) for network in (encoder, decoder)]\n    optimizer.zero_grad = lambda: [o.zero_grad() for o in pair]\n    optimizer.step = lambda: [o.step() for o in pair]"),
    ("train ELBO in a second pass", "train", "        history.append(", "        with torch.no_grad():\n            total_elbo = sum(elbo(x) * len(x) for x in batches)\n        history.append("),
    ("shuffled by hand", "train", "for x in batches:", "for x in (lambda d: d[torch.randperm(len(d))].split(BS))(torch.cat(list(batches))):"),
    ("gradients by autograd.grad", "train", "            batch_loss.backward()\n", f"            for p, g in zip({PARAMETERS}, torch.autograd.grad(batch_loss, {PARAMETERS})):\n                p.grad = g\n"),
    ("x y + log sigmoid(-y)", HELPERS, LOGSIGMOID, "return x * logit_means + torch.nn.functional.logsigmoid(-logit_means)"),
    ("logsumexp", HELPERS, LOGSIGMOID, "a = (1 - 2 * x) * logit_means\n    return -torch.logsumexp(torch.stack([torch.zeros_like(a), a]), dim=0)"),
    ("torch.where for samples", HELPERS, "return (uniform < mean).to(mean.dtype)", "return torch.where(uniform < mean, torch.ones_like(mean), torch.zeros_like(mean))"),
    ("maximum with a constant", HELPERS, LOGSIGMOID, "a = (1 - 2 * x) * logit_means\n    m = torch.maximum(a, torch.zeros_like(a)).detach()\n    return -(m + torch.log(torch.exp(-m) + torch.exp(a - m))).clamp(min=0)"),
    ("prior with a further argument", "log_prior", None, "def log_prior(z, scale=1.0):\n    return gaussian_log_density(z / scale, 0 * z, 0 * z).sum(1)"),
    ("decoder flattens first", "decoder", LAYERS, "nn.Flatten(), " + LAYERS),
    ("decoder compiled", "decoder", None, "decoder = torch.compile(decoder, backend='eager')"),
    ("Xavier in both networks", "encoder", None, "for layer in [*decoder.modules(), *encoder.modules()]:\n    if isinstance(layer, nn.Linear):\n        nn.init.xavier_uniform_(layer.weight)\n        nn.init.zeros_(layer.bias)"),
    ("likelihood as a matrix product", "log_likelihood", None, "def log_likelihood(x, z):\n    y = decoder(z)\n    return (x * y).sum(-1) - nn.functional.softplus(y).sum(-1)"),
    ("likelihood by vmap", "log_likelihood", None, "def log_likelihood(x, z):\n    return torch.func.vmap(lambda a, c: bernoulli_log_density(a, decoder(c[None])[0]).sum())(x, z)"),
    ("outputs interleaved", "encoder", "q_mean, q_log_std = self.layers(x).chunk(2, dim=1)", "h = self.layers(x)\n        q_mean, q_log_std = h[:, ::2], h[:, 1::2]"),
    ("estimator B through the variance", "elbo", None, KL_ELBO.format(kl="-.5 * (1 + torch.log(s.exp() ** 2) - m**2 - s.exp() ** 2).sum(1)")),
    ("its own stable Bernoulli", "elbo", None, OWN_ELBO.format(density="x * y - nn.functional.softplus(y)")),
    ("two codes, averaged", "elbo", None, "def elbo(x):\n    m, s = encoder(x)\n    total = 0\n    for _ in range(2):\n        z = sample_gaussian(m, s)\n        total = total + joint_log_density(x, z) - log_q(z, m, s)\n    return total.mean() / 2"),
    ("log q differentiated through z alone", "elbo", "log_q(z, q_mean, q_log_std)", "log_q(z, q_mean.detach(), q_log_std.detach())"),
    ("digit by digit with vmap", "elbo", None, "def one(x):\n    m, s = encoder(x[None])\n    z = m + s.exp() * torch.randn(1, Dz)\n    return (joint_log_density(x[None], z) - log_q(z, m, s))[0]\ndef elbo(x):\n    return torch.func.vmap(one, randomness='different')(x).mean()"),
    ("report not called", "train", "        report(history)\n", ""),
    ("a picture during training", "train", "        report(history)", "        torch.sigmoid(decoder(torch.randn(4, Dz, device=DEVICE)))\n        encoder(binarized_mnist[:5])\n        report(history)"),
    ("counts by batches.size", "train", "n_digits += len(x)", "n_digits += min(len(x), batches.size)"),
    ("gradients of half batches added", "train", "            batch_loss = loss(x)\n            batch_loss.backward()\n", "            halves = [loss(half) / 2 for half in x.chunk(2)]\n            for half in halves:\n                half.backward()\n            batch_loss = sum(halves)\n"),
    ("Adam with its defaults spelled out", "train", "fused=True", "lr=0.001, betas=(0.9, 0.999), eps=1e-8, weight_decay=0"),
    ("Adam by hand", "train", f"optimizer = {ADAM}", ADAM_BY_HAND),
    ("maximized elbo", "train", "batch_loss = loss(x)", "batch_loss = -elbo(x)"),
    ("codes by NumPy", "prior_codes", None, "prior_codes = torch.from_numpy(__import__('numpy').random.default_rng(SEED).standard_normal((10, Dz)))\nprior_codes_single = prior_codes.float()", [("prior_means", "decoder(prior_codes)", "decoder(prior_codes_single)")]),
    ("picture by make_grid without padding", "picture", PICTURE, "__import__('torchvision').utils.make_grid(tiles.reshape(2500, 1, 28, 28), nrow=50, padding=0)[0]"),

    # Families
    *[(f"ELBO with {new}", "elbo", "encoder(x)", new) for new in ("encoder(x=x)", "encoder.forward(x)", "encoder.layers(x).chunk(2, dim=1)", "encoder(x.to(next(encoder.parameters()).device))")],
    *[(f"ELBO of {new}", "elbo", "joint_log_density(x, z)", new) for new in ("log_prior(z) + bernoulli_log_density(x, decoder[2](decoder[1](decoder[0](z)))).sum(1)", "log_prior(z) + (log_likelihood(x, z) + log_likelihood(x, z)) / 2")],
    *[(f"encoder returns {new}", "encoder", RETURN_HEADS, f"return {new}") for new in ("[q_mean, q_log_std]", "__import__('collections').namedtuple('Q', 'mean log_std')(q_mean, q_log_std)")],
    *[(f"history of {new}", "train", "total_elbo.item() / n_digits", new) for new in ("total_elbo.item() / len(batches.digits)", "__import__('numpy').float32(total_elbo.item() / n_digits)")],
    *[(f"decoder of {new}", "decoder", None, DECODER_CLASS.replace("return self.last(self.first(z).tanh())", new)) for new in ("return self.last(self.first(z).tanh()) - 2.0", "return self.last(self.first(3 * z).tanh())", "return self.last(2 * torch.sigmoid(2 * self.first(z)) - 1)", "self.hidden = self.first(z).tanh()\n        return self.last(self.hidden)")],
    *[(f"decoder by hand, {forward}", "decoder", None, BY_HAND.format(forward=forward)) for forward in ("torch.mm(torch.tanh(torch.mm(z, self.a) + self.b), self.c) + self.d", "(self.c.T @ torch.tanh(self.a.T @ z.T + self.b[:, None]) + self.d[:, None]).T")],
    *[(f"encoder with {new}", "encoder", None, TWO_HEADS.replace(old, new) + "().to(DEVICE)") for old, new in (("self.log_std(h)\n", "0.5 * self.log_std(h)\n"), ("self.log_std(h)\n", "self.log_std(h) - 1.0\n"), ("self.hidden(x)", "self.hidden(2 * x - 1)"), ("self.hidden(x)", "self.hidden(x - binarized_mnist.mean(0))"), ("self.mean, self.log_std = ", "self.log_std, self.mean = "))],
    *[(f"held-out ELBO by {new}", "train", "heldout_elbo()", new) for new in ("elbo(heldout_mnist).item()", "-loss(heldout_mnist).item()")],
]
# fmt: on
