"""Typical mistakes, and right solutions written differently, as changes to the notebook.

An entry of MISTAKES is: what is wrong, the cell (or vae_helpers.py), the right source, the wrong
source in its place, and the id of the check that must catch it. An entry of RIGHT is the same
without a check: none may fail.
"""

HELPERS = "vae_helpers.py"
LOGSIGMOID = "return logsigmoid((2 * x - 1) * logit_means)"
GAUSSIAN = "return -0.5 * math.log(2 * math.pi) - log_std - 0.5 * (z - mean) ** 2 * torch.exp(-2 * log_std)"
SAMPLE = "return mean + torch.exp(log_std) * epsilon"
EPSILON = (
    "torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)\n"
    "    return mean + "
)
UNIFORM = "torch.rand(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)\n"

BINARIZE = "c6fa2a9c-8c1e-11eb-3e3c-9f8f5c218dec"
GREY = "176f0938-8c1e-11eb-1135-a5db6781404d"
BATCHES = "743d473c-8c1f-11eb-396d-c92cacb0235b"
PRIOR = "ce50c994-90af-11eb-3fc1-a3eea9cda1a2"
DECODER = "d7415d20-90af-11eb-266b-b3ea86750c98"
LIKELIHOOD = "5b8721dc-8ea3-11eb-3ace-0b13c00ce256"
JOINT = "0afbe054-90b0-11eb-0233-6faede537bc4"
LOG_Q = "615e59c6-90b6-11eb-2598-d32538e14e8f"
ENCODER = "encoder"
ELBO = "ccf226b8-90b6-11eb-15a2-d30c9e27aebb"
LOSS = "f00b5444-90b6-11eb-1e0d-5d034735ec0e"
TRAIN = "5efb0baa-90b8-11eb-304f-7dbb8d5c0ba6"
MEANS = "d9b3c078-90bb-11eb-1c41-c784851a9148"
LABELS = "da5527ee-90bb-11eb-190a-897e2d743368"
CODES = "805a265e-90be-11eb-2c34-1dd0cd1a968c"
PRIOR_MEANS = "80d6b61a-90be-11eb-2fae-638cdaaf7abd"
SAMPLES = "815d4720-90be-11eb-0fb2-2bb764a45824"
RECONSTRUCT = "f27bdffa-90c0-11eb-0f71-6d572f799290"
RECONSTRUCTIONS = "reconstructions"
LATTICE = "3a0e1d5a-90c2-11eb-16a7-8f9de1ea09e4"
LATTICE_MEANS = "3a9a2624-90c2-11eb-1986-17b80a2a58c5"
TILE = "3b6f8e5e-90c2-11eb-3da4-a5fd3048ab63"

A_BATCH = "self.digits[indices]"
ALL_BATCHES = "batches = Batches(binarized_mnist, BS)"
PRIOR_SUM = "gaussian_log_density(z, mean=zero, log_std=zero).sum(dim=1)"
LAYERS = "nn.Linear(Dz, Dh), nn.Tanh(), nn.Linear(Dh, Ddata)"
HEADS = "nn.Linear(Ddata, Dh), nn.Tanh(), nn.Linear(Dh, 2 * Dz)"
RETURN_HEADS = "return q_mean, q_log_std"
DRAW = "z = sample_gaussian(q_mean, q_log_std)"
ESTIMATE = "return (log_joint - log_q_z).mean()"
PARAMETERS = "[*encoder.parameters(), *decoder.parameters()]"
ADAM = f"torch.optim.Adam({PARAMETERS}, fused=True)"
STEP = """                optimizer.zero_grad()
                batch_loss = loss(x)
                batch_loss.backward()
                optimizer.step()
"""
BERNOULLI_SAMPLES = "sample_bernoulli(prior_means[:, None].expand(10, 3, Ddata), generator(2))"
SHOWN = "generator(4))"
TWO_CODES = "sample_gaussian(mean_twice, log_std[:, None], generator(3))"
AXES = 'z_y, z_x = torch.meshgrid(ticks.flip(0), ticks, indexing="ij")'
PICTURE = "tiles.permute(0, 2, 1, 3).reshape(50 * 28, 50 * 28)"

# fmt: off
MISTAKES = [
    # The data
    ("grey values not divided by 255", GREY, " / 255", " / 1", "check-digits"),
    ("threshold for 0 to 255", BINARIZE, "> 0.5", "> 127.5", "check-digits"),
    ("wrong side of the threshold", BINARIZE, "> 0.5", "< 0.5", "check-digits"),
    ("any ink is on", BINARIZE, "> 0.5", "> 0", "check-digits"),
    ("not made floats", BINARIZE, ".float()", "", "check-digits"),
    ("not binarized", BINARIZE, "(greyscale_mnist > 0.5).float()", "greyscale_mnist", "check-digits"),
    ("batches of the test set", BATCHES, A_BATCH, "heldout_mnist[indices % len(heldout_mnist)]", "check-batches"),
    ("batches of grey digits", BATCHES, A_BATCH, "greyscale_mnist[indices]", "check-batches"),
    ("batches of half the digits", BATCHES, "order.split", "order[::2].split", "check-batches"),
    ("batches for one epoch", BATCHES, ALL_BATCHES, "batches = iter(Batches(binarized_mnist, BS))", "check-batches"),
    ("another batch size", BATCHES, "split(self.size)", "split(100)", "check-batches"),
    # bernoulli_log_density
    ("x and 1 - x exchanged", HELPERS, "(2 * x - 1)", "(1 - 2 * x)", "check-bernoulli"),
    ("negative log-density", HELPERS, "return logsigmoid", "return -logsigmoid", "check-bernoulli"),
    ("probabilities for logits", HELPERS, LOGSIGMOID, "return x * torch.log(logit_means) + (1 - x) * torch.log(1 - logit_means)", "check-bernoulli"),
    ("naive form", HELPERS, LOGSIGMOID, "mu = logit_means.exp() / (1 + logit_means.exp())\n    return x * mu.log() + (1 - x) * (1 - mu).log()", "check-bernoulli"),
    ("log of a sigmoid", HELPERS, LOGSIGMOID, "return torch.log(torch.sigmoid((2 * x - 1) * logit_means))", "check-bernoulli"),
    ("log with a small number added", HELPERS, LOGSIGMOID, "return torch.log(torch.sigmoid((2 * x - 1) * logit_means) + 1e-8)", "check-bernoulli"),
    ("overflow at large logits", HELPERS, LOGSIGMOID, "return x * logit_means - torch.log(1 + torch.exp(logit_means))", "check-bernoulli"),
    ("clamped logits", HELPERS, LOGSIGMOID, "return logsigmoid((2 * x - 1) * logit_means.clamp(-10, 10))", "check-bernoulli"),
    ("second sigmoid in the density", HELPERS, LOGSIGMOID, "return logsigmoid((2 * x - 1) * torch.sigmoid(logit_means))", "check-bernoulli"),
    ("Bernoulli gradient cut", HELPERS, LOGSIGMOID, "return logsigmoid((2 * x - 1) * logit_means.detach())", "check-bernoulli"),
    ("density summed already", HELPERS, LOGSIGMOID, LOGSIGMOID + ".sum()", "check-bernoulli"),
    ("log-density clamped", HELPERS, LOGSIGMOID, LOGSIGMOID + ".clamp(min=-100)", "check-bernoulli"),
    # gaussian_log_density
    ("no normalizing constant", HELPERS, "-0.5 * math.log(2 * math.pi) - log_std", "-log_std", "check-gaussian"),
    ("log(2 pi) without its half", HELPERS, "-0.5 * math.log(2 * math.pi)", "-math.log(2 * math.pi)", "check-gaussian"),
    ("sigma for sigma squared", HELPERS, "torch.exp(-2 * log_std)", "torch.exp(-log_std)", "check-gaussian"),
    ("log_std as log-variance", HELPERS, GAUSSIAN, "return -0.5 * (math.log(2 * math.pi) + log_std + (z - mean) ** 2 / torch.exp(log_std))", "check-gaussian"),
    ("log_std as sigma", HELPERS, GAUSSIAN, "return -0.5 * math.log(2 * math.pi) - torch.log(log_std) - 0.5 * ((z - mean) / log_std) ** 2", "check-gaussian"),
    ("log_std as sigma in the square", HELPERS, "torch.exp(-2 * log_std)", "1 / log_std**2", "check-gaussian"),
    ("- log sigma left out", HELPERS, "math.pi) - log_std", "math.pi)", "check-gaussian"),
    ("+ log sigma", HELPERS, "math.pi) - log_std", "math.pi) + log_std", "check-gaussian"),
    ("no half in the square", HELPERS, "- 0.5 * (z - mean)", "- (z - mean)", "check-gaussian"),
    ("plus the square", HELPERS, "- 0.5 * (z - mean)", "+ 0.5 * (z - mean)", "check-gaussian"),
    ("gradient to the mean cut", HELPERS, "(z - mean) ** 2", "(z - mean.detach()) ** 2", "check-gaussian"),
    ("gradient to log_std cut", HELPERS, "torch.exp(-2 * log_std)", "torch.exp(-2 * log_std.detach())", "check-gaussian"),
    ("gradient to z cut", HELPERS, "(z - mean) ** 2", "(z.detach() - mean) ** 2", "check-gaussian"),
    ("log_std clamped in the density", HELPERS, GAUSSIAN, GAUSSIAN.replace("log_std)", "log_std.clamp(-4, 4))"), "check-gaussian"),
    # The samplers
    ("noise scaled by the variance", HELPERS, SAMPLE, SAMPLE.replace("(log_std)", "(2 * log_std)"), "check-samplers"),
    ("noise scaled by log_std", HELPERS, SAMPLE, "return mean + log_std * epsilon", "check-samplers"),
    ("noise not scaled", HELPERS, SAMPLE, "return mean + epsilon", "check-samplers"),
    ("mean not added", HELPERS, SAMPLE, "return torch.exp(log_std) * epsilon", "check-samplers"),
    ("uniform noise", HELPERS, "torch.randn(mean.shape", "torch.rand(mean.shape", "check-samplers"),
    ("uniform noise, standardized", HELPERS, EPSILON, "math.sqrt(12) * (" + EPSILON.replace("randn", "rand").replace(")\n", ") - 0.5)\n"), "check-samplers"),
    ("noise shared by the batch", HELPERS, "torch.randn(mean.shape", "torch.randn(mean.shape[1:]", "check-samplers"),
    ("noise shared by the dimensions", HELPERS, "torch.randn(mean.shape", "torch.randn(mean.shape[:1] + (1,)", "check-samplers"),
    ("sample cut from its mean", HELPERS, SAMPLE, SAMPLE.replace("mean", "mean.detach()"), "check-samplers"),
    ("sample cut from log_std", HELPERS, SAMPLE, SAMPLE.replace("(log_std)", "(log_std.detach())"), "check-samplers"),
    ("torch.normal", HELPERS, SAMPLE, "return torch.normal(mean, torch.exp(log_std)).detach()", "check-samplers"),
    ("log_std clamped in the sampler", HELPERS, SAMPLE, SAMPLE.replace("(log_std)", "(log_std.clamp(-2, 2))"), "check-samplers"),
    ("sigma plus a small number", HELPERS, SAMPLE, SAMPLE.replace("torch.exp(log_std)", "(torch.exp(log_std) + 1e-3)"), "check-samplers"),
    ("generator not used", HELPERS, "torch.randn(mean.shape, generator=generator", "torch.randn(mean.shape", "check-samplers"),
    ("ones where the noise is above", HELPERS, "(uniform < mean)", "(uniform > mean)", "check-samplers"),
    ("fixed threshold", HELPERS, "(uniform < mean)", "(mean > 0.5)", "check-samplers"),
    ("torch.bernoulli", HELPERS, "return (uniform < mean).to(mean.dtype)", "return torch.bernoulli(mean, generator=generator)", "check-samplers"),
    ("means for samples", HELPERS, "return (uniform < mean).to(mean.dtype)", "return mean", "check-samplers"),
    ("binary noise shared by the pixels", HELPERS, UNIFORM, UNIFORM.replace("mean.shape,", "(len(mean), 1),"), "check-samplers"),
    ("binary noise shared by the batch", HELPERS, UNIFORM, UNIFORM.replace("mean.shape,", "mean.shape[1:],"), "check-samplers"),
    ("noise clamped", HELPERS, SAMPLE, SAMPLE.replace("epsilon", "epsilon.clamp(-3, 3)"), "check-samplers"),
    ("noise seeded in the sampler", HELPERS, SAMPLE, "torch.manual_seed(0)\n    epsilon = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device)\n    " + SAMPLE, "check-samplers"),
    ("binary generator not used", HELPERS, UNIFORM, UNIFORM.replace("generator=generator, ", ""), "check-samplers"),
    # log_prior
    ("mean over the dimensions", PRIOR, ".sum(dim=1)", ".mean(dim=1)", "check-log-prior"),
    ("wrong axis", PRIOR, ".sum(dim=1)", ".sum(dim=0)", "check-log-prior"),
    ("summed over everything", PRIOR, ".sum(dim=1)", ".sum()", "check-log-prior"),
    ("(B, 1) for (B,)", PRIOR, ".sum(dim=1)", ".sum(dim=1, keepdim=True)", "check-log-prior"),
    ("constant left out", PRIOR, PRIOR_SUM, "-0.5 * (z**2).sum(dim=1)", "check-log-prior"),
    ("constant once, not for each dimension", PRIOR, PRIOR_SUM, "-0.5 * (z**2).sum(dim=1) - 0.5 * math.log(2 * math.pi)", "check-log-prior"),
    ("sigma 1 as log_std 1", PRIOR, "log_std=zero", "log_std=zero + 1", "check-log-prior"),
    ("negative prior", PRIOR, "return gauss", "return -gauss", "check-log-prior"),
    # decoder
    ("sigmoid after the outputs", DECODER, LAYERS, LAYERS + ", nn.Sigmoid()", "check-decoder"),
    ("tanh after the outputs", DECODER, LAYERS, LAYERS + ", nn.Tanh()", "check-decoder"),
    ("relu after the outputs", DECODER, LAYERS, LAYERS + ", nn.ReLU()", "check-decoder"),
    ("relu for tanh", DECODER, "nn.Tanh()", "nn.ReLU()", "check-decoder"),
    ("sigmoid for tanh", DECODER, "nn.Tanh()", "nn.Sigmoid()", "check-decoder"),
    ("no activation", DECODER, " nn.Tanh(),", "", "check-decoder"),
    ("another width", DECODER, LAYERS, LAYERS.replace("Dh", "400"), "check-decoder"),
    ("another layer", DECODER, "nn.Tanh(),", "nn.Tanh(), nn.Linear(Dh, Dh), nn.Tanh(),", "check-decoder"),
    ("no bias", DECODER, "nn.Linear(Dh, Ddata)", "nn.Linear(Dh, Ddata, bias=False)", "check-decoder"),
    ("clamped outputs", DECODER, LAYERS, LAYERS + ", nn.Hardtanh(-10, 10)", "check-decoder"),
    ("a plain function", DECODER, "decoder = nn", "def decoder(z):\n    return layers(z)\nlayers = nn", "check-decoder"),
    ("tanh twice", DECODER, "nn.Tanh(),", "nn.Tanh(), nn.Tanh(),", "check-decoder"),
    ("softsign for tanh", DECODER, "nn.Tanh()", "nn.Softsign()", "check-decoder"),
    # log_likelihood
    ("mean over the pixels", LIKELIHOOD, ".sum(dim=1)", ".mean(dim=1)", "check-log-likelihood"),
    ("sum over the batch", LIKELIHOOD, ".sum(dim=1)", ".sum(dim=0)", "check-log-likelihood"),
    ("decoder detached", LIKELIHOOD, "decoder(z)", "decoder(z).detach()", "check-log-likelihood"),
    ("sum over pixels and batch", LIKELIHOOD, ".sum(dim=1)", ".sum()", "check-log-likelihood"),
    ("second sigmoid", LIKELIHOOD, "decoder(z)", "torch.sigmoid(decoder(z))", "check-log-likelihood"),
    ("pixels inverted", LIKELIHOOD, "(x, decoder", "(1 - x, decoder", "check-log-likelihood"),
    ("logit-means clamped", LIKELIHOOD, "decoder(z)", "decoder(z).clamp(-10, 10)", "check-log-likelihood"),
    ("cross-entropy of a library", LIKELIHOOD, "bernoulli_log_density(x, decoder(z))", "-nn.functional.binary_cross_entropy_with_logits(decoder(z), x, reduction='none')", "check-log-likelihood"),
    ("a library's loss under another name", LIKELIHOOD, "return bernoulli_log_density(x, decoder(z)).sum(dim=1)", "from torch.nn.functional import binary_cross_entropy_with_logits as bce\n    return -bce(decoder(z), x, reduction='none').sum(1)", "check-log-likelihood"),
    # joint_log_density
    ("prior left out", JOINT, "log_prior(z) + ", "", "check-joint"),
    ("likelihood left out", JOINT, " + log_likelihood(x, z)", "", "check-joint"),
    ("prior subtracted", JOINT, "log_prior(z) + log_likelihood(x, z)", "log_likelihood(x, z) - log_prior(z)", "check-joint"),
    ("prior added twice", JOINT, "log_prior(z) + ", "2 * log_prior(z) + ", "check-joint"),
    ("(B,) against (B, 1)", JOINT, "log_prior(z) + ", "log_prior(z)[:, None] + ", "check-joint"),
    ("prior detached", JOINT, "log_prior(z) +", "log_prior(z).detach() +", "check-joint"),
    # log_q
    ("prior for q", LOG_Q, "return gaussian_log_density(z, q_mean, q_log_std).sum(dim=1)", "return log_prior(z)", "check-log-q"),
    ("mean and log_std exchanged in q", LOG_Q, "(z, q_mean, q_log_std).", "(z, q_log_std, q_mean).", "check-log-q"),
    ("sigma passed for log_std", LOG_Q, "q_log_std).sum", "q_log_std.exp()).sum", "check-log-q"),
    ("mean over the dimensions of q", LOG_Q, ".sum(dim=1)", ".mean(dim=1)", "check-log-q"),
    ("constant of q counted once", LOG_Q, ".sum(dim=1)", ".sum(dim=1) + 0.5 * math.log(2 * math.pi)", "check-log-q"),
    ("log_std of q detached", LOG_Q, "q_log_std).sum", "q_log_std.detach()).sum", "check-log-q"),
    ("a library's density", LOG_Q, "gaussian_log_density(z, q_mean, q_log_std)", "torch.distributions.Normal(q_mean, q_log_std.exp()).log_prob(z)", "check-log-q"),
    # encoder
    ("relu in the encoder", ENCODER, "nn.Tanh()", "nn.ReLU()", "check-encoder"),
    ("narrow encoder", ENCODER, HEADS, HEADS.replace("Dh", "100"), "check-encoder"),
    ("encoder returns sigma", ENCODER, RETURN_HEADS, "return q_mean, q_log_std.exp()", "check-encoder"),
    ("encoder returns softplus", ENCODER, RETURN_HEADS, "return q_mean, softplus(q_log_std)", "check-encoder"),
    ("encoder a plain function", ENCODER, "encoder = Encoder().to(DEVICE)", "layers = Encoder()\ndef encoder(x):\n    return layers(x)", "check-encoder"),
    ("encoder a class", ENCODER, "encoder = Encoder().to(DEVICE)", "encoder = Encoder", "check-encoder"),
    ("tanh after the encoder's outputs", ENCODER, HEADS, HEADS + ", nn.Tanh()", "check-encoder"),
    ("split along the batch", ENCODER, "chunk(2, dim=1)", "chunk(2, dim=0)", "check-encoder"),
    ("one head for both outputs", ENCODER, RETURN_HEADS, "return q_mean, q_mean", "check-encoder"),
    ("heads that overlap", ENCODER, RETURN_HEADS, "return q_mean, torch.cat([q_mean[:, 1:], q_log_std[:, 1:]], dim=1)", "check-encoder"),
    ("log_std detached in the encoder", ENCODER, RETURN_HEADS, "return q_mean, q_log_std.detach()", "check-encoder"),
    ("one log_std for the batch", ENCODER, RETURN_HEADS, "return q_mean, q_log_std.mean(0, keepdim=True).expand_as(q_mean)", "check-encoder"),
    # elbo
    ("log q left out", ELBO, " - log_q_z", "", "check-elbo"),
    ("log q added", ELBO, " - log_q_z", " + log_q_z", "check-elbo"),
    ("sign of the ELBO", ELBO, "return (", "return -(", "check-elbo"),
    ("likelihood alone", ELBO, "log_joint - log_q_z", "log_likelihood(x, z)", "check-elbo"),
    ("prior left out of the ELBO", ELBO, "joint_log_density", "log_likelihood", "check-elbo"),
    ("prior twice in the ELBO", ELBO, "(log_joint - ", "(log_joint + log_prior(z) - ", "check-elbo"),
    ("sum over the batch in the ELBO", ELBO, ".mean()", ".sum()", "check-elbo"),
    ("no mean over the batch", ELBO, ".mean()", "", "check-elbo"),
    ("mean for a sample", ELBO, DRAW, "z = q_mean", "check-elbo"),
    ("fixed noise", ELBO, DRAW, "z = sample_gaussian(q_mean, q_log_std, generator(5))", "check-elbo"),
    ("one noise for the batch", ELBO, DRAW, "z = q_mean + q_log_std.exp() * torch.randn(1, Dz)", "check-elbo"),
    ("one noise for both dimensions", ELBO, DRAW, "z = q_mean + q_log_std.exp() * torch.randn(len(x), 1)", "check-elbo"),
    ("uniform noise in the ELBO", ELBO, DRAW, "z = q_mean + q_log_std.exp() * torch.rand(len(x), Dz)", "check-elbo"),
    ("noise scaled by the variance in the ELBO", ELBO, DRAW, "z = sample_gaussian(q_mean, 2 * q_log_std)", "check-elbo"),
    ("sigma passed to the sampler", ELBO, DRAW, "z = sample_gaussian(q_mean, q_log_std.exp())", "check-elbo"),
    ("mean and log_std exchanged", ELBO, "q_mean, q_log_std = encoder(x)", "q_log_std, q_mean = encoder(x)", "check-elbo"),
    ("another z for each term", ELBO, ESTIMATE, "return (joint_log_density(x, torch.randn_like(z)) - log_q_z).mean()", "check-elbo"),
    ("sample detached", ELBO, DRAW, DRAW + ".detach()", "check-gradients"),
    ("mean detached", ELBO, DRAW, "z = sample_gaussian(q_mean.detach(), q_log_std)", "check-gradients"),
    ("log_std detached", ELBO, DRAW, "z = sample_gaussian(q_mean, q_log_std.detach())", "check-gradients"),
    ("sampled without gradient", ELBO, DRAW, "with torch.no_grad():\n        " + DRAW, "check-gradients"),
    ("q detached", ELBO, "- log_q_z", "- log_q_z.detach()", "check-gradients"),
    ("a plain number", ELBO, ESTIMATE, ESTIMATE.replace("return ", "return torch.tensor(").replace(".mean()", ".mean().item())"), "check-gradients"),
    # loss
    ("the ELBO as the loss", LOSS, "-elbo(x)", "elbo(x)", "check-loss"),
    ("twice the loss", LOSS, "-elbo(x)", "-2 * elbo(x)", "check-loss"),
    ("loss of a part of the batch", LOSS, "-elbo(x)", "-elbo(x[:100])", "check-loss"),
    ("loss a plain number", LOSS, "-elbo(x)", "-elbo(x).item()", "check-loss"),
    ("loss without gradient", LOSS, "-elbo(x)", "-elbo(x).detach()", "check-loss"),
    ("weights penalized", LOSS, "-elbo(x)", "-elbo(x) + 1e-5 * sum((p**2).sum() for p in decoder.parameters())", "check-loss"),
    # train
    ("only the decoder optimized", TRAIN, PARAMETERS, "[*decoder.parameters()]", "check-train"),
    ("only the encoder optimized", TRAIN, PARAMETERS, "[*encoder.parameters()]", "check-train"),
    ("copies optimized", TRAIN, PARAMETERS, "[*__import__('copy').deepcopy(encoder).parameters(), *__import__('copy').deepcopy(decoder).parameters()]", "check-train"),
    ("step before backward", TRAIN, STEP, "".join(STEP.splitlines(True)[i] for i in (0, 1, 3, 2)), "check-train"),
    ("no step", TRAIN, "                optimizer.step()\n", "", "check-train"),
    ("gradients zeroed before the step", TRAIN, STEP, "".join(STEP.splitlines(True)[i] for i in (1, 2, 0, 3)), "check-train"),
    ("gradients never zeroed", TRAIN, "                optimizer.zero_grad()\n", "", "check-train"),
    ("another pair of networks", TRAIN, "    optimizer =", "    encoder, decoder = __import__('copy').deepcopy(encoder), __import__('copy').deepcopy(decoder)\n    optimizer =", "check-train"),
    ("the loss made larger", TRAIN, "fused=True", "maximize=True", "check-train"),
    ("batches ignored", TRAIN, "for x in batches:", "for x in heldout_mnist.split(BS):", "check-train"),
    ("one batch an epoch", TRAIN, "n_digits += len(x)\n", "n_digits += len(x)\n                break\n", "check-train"),
    ("one epoch only", TRAIN, "range(n_epochs)", "range(1)", "check-train"),
    ("learning rate 0.1", TRAIN, "fused=True", "lr=0.1", "check-train"),
    ("plain gradient descent", TRAIN, ADAM, f"torch.optim.SGD({PARAMETERS}, lr=1e-3)", "check-train"),
    ("learning rate 0.003", TRAIN, "fused=True", "lr=3e-3", "check-train"),
    ("weight decay", TRAIN, "fused=True", "weight_decay=1.0", "check-train"),
    ("two steps for each batch", TRAIN, STEP, STEP + STEP, "check-train"),
    ("optimizer anew in each epoch", TRAIN, "            total_elbo, n_digits", f"            optimizer = {ADAM}\n            total_elbo, n_digits", "check-train"),
    ("gradients zeroed once an epoch", TRAIN, "            for x in batches:\n                optimizer.zero_grad()\n", "            optimizer.zero_grad()\n            for x in batches:\n", "check-train"),
    ("the same noise for every batch", TRAIN, "                optimizer.zero_grad()", "                torch.manual_seed(SEED)\n                optimizer.zero_grad()", "check-train"),
    ("half of every batch", TRAIN, "loss(x)", "loss(x[: BS // 2])", "check-train"),
    ("always the first batch", TRAIN, "loss(x)", "loss(binarized_mnist[:BS])", "check-train"),
    ("noise added to the digits", TRAIN, "loss(x)", "loss(x + 0.1 * torch.randn_like(x))", "check-train"),
    ("batches indexed, which they cannot be", TRAIN, "for x in batches:", "for x in (batches[i] for i in range(len(batches))):", "check-train"),
    ("held-out digits trained on, too", TRAIN, "for x in batches:", "for x in [*batches, *heldout_mnist.split(BS)]:", "check-train"),
    ("no history returned", TRAIN, "    return history", "", "check-train"),
    ("train ELBO alone in the history", TRAIN, "    return history", "    return [train_elbo for train_elbo, _ in history]", "check-train"),
    ("the loss in the history", TRAIN, "total_elbo -=", "total_elbo +=", "check-train"),
    ("another scale in the history", TRAIN, "-= len(x) * batch", "-= batch", "check-train"),
    ("one ELBO twice in the history", TRAIN, "heldout_elbo()))", "total_elbo.item() / n_digits))", "check-train"),
    # The pictures
    ("samples for means", MEANS, "q_mean.cpu()", "sample_gaussian(q_mean, q_log_std).cpu()", "check-codes"),
    ("log_std for means", MEANS, "q_mean", "q_log_std", "check-codes"),
    ("labels of the test set", LABELS, "train_labels", "test_labels", "check-codes"),
    ("labels of another batch", LABELS, "[:BS]", "[BS : 2 * BS]", "check-codes"),
    ("labels out of step", LABELS, "[:BS]", "[1 : BS + 1]", "check-codes"),
    ("uniform codes", CODES, "torch.randn(", "torch.rand(", "check-prior-samples"),
    ("logit-means for means", PRIOR_MEANS, "torch.sigmoid(decoder(prior_codes))", "decoder(prior_codes)", SAMPLES),
    ("samples for the means of the pixels", PRIOR_MEANS, "torch.sigmoid(decoder(prior_codes))", "sample_bernoulli(torch.sigmoid(decoder(prior_codes)))", "check-prior-samples"),
    ("means for samples of the pixels", SAMPLES, BERNOULLI_SAMPLES, "prior_means[:, None].expand(10, 3, Ddata)", "check-prior-samples"),
    ("thresholded means", SAMPLES, BERNOULLI_SAMPLES, "(prior_means[:, None].expand(10, 3, Ddata) > 0.5).float()", "check-prior-samples"),
    ("one sample three times", SAMPLES, BERNOULLI_SAMPLES, "sample_bernoulli(prior_means)[:, None].expand(10, 3, Ddata)", "check-prior-samples"),
    ("prior codes all alike", CODES, "device=DEVICE)", "device=DEVICE)[:1].expand(10, Dz)", "check-prior-samples"),
    ("prior codes scaled down", CODES, "prior_codes = ", "prior_codes = 0.2 * ", "check-prior-samples"),
    ("two of three samples alike", SAMPLES, BERNOULLI_SAMPLES, BERNOULLI_SAMPLES + "[:, [0, 1, 1]]", "check-prior-samples"),
    ("samples of other codes", SAMPLES, BERNOULLI_SAMPLES, BERNOULLI_SAMPLES + ".flip(0)", "check-prior-samples"),
    ("grey digits reconstructed", RECONSTRUCT, "originals = binarized_mnist", "originals = greyscale_mnist", "check-reconstructions"),
    ("codes from the prior", RECONSTRUCT, TWO_CODES, "torch.randn(4, 2, Dz) * 9", "check-reconstructions"),
    ("means for codes", RECONSTRUCT, TWO_CODES, "mean_twice", "check-reconstructions"),
    ("held-out digits reconstructed", RECONSTRUCT, "binarized_mnist[four]", "heldout_mnist[:4]", "check-reconstructions"),
    ("one code twice", RECONSTRUCT, TWO_CODES, TWO_CODES + "[:, :1].expand(4, 2, Dz)", "check-reconstructions"),
    ("another number of originals", RECONSTRUCTIONS, SHOWN, SHOWN + "\noriginals = binarized_mnist[:5]", "check-reconstructions"),
    ("codes the wrong way round", RECONSTRUCTIONS, SHOWN, SHOWN + "\ncodes = codes.transpose(0, 1)", "check-reconstructions"),
    ("logit-means for reconstructions", RECONSTRUCT, "torch.sigmoid(decoder(codes))", "(decoder(codes) / 40 + 0.5).clamp(0, 1)", "check-reconstructions"),
    ("means for binary reconstructions", RECONSTRUCTIONS, "sample_bernoulli(reconstruction_means, generator(4))", "reconstruction_means", "check-reconstructions"),
    ("z_y grows downwards", LATTICE, "ticks.flip(0), ticks", "ticks, ticks", "check-lattice"),
    ("z_x grows to the left", LATTICE, "ticks.flip(0), ticks", "ticks.flip(0), ticks.flip(0)", "check-lattice"),
    ("rows and columns of the lattice exchanged", LATTICE, AXES, 'z_x, z_y = torch.meshgrid(ticks, ticks.flip(0), indexing="ij")', "check-lattice"),
    ("z_x and z_y exchanged", LATTICE, "[z_x, z_y]", "[z_y, z_x]", "check-lattice"),
    ("a random scatter", LATTICE, "torch.stack([z_x, z_y], dim=2)", "torch.randn(50, 50, 2)", "check-lattice"),
    ("a smaller square", LATTICE, "(-REACH, REACH", "(-1, 1", "check-lattice"),
    ("tiles transposed", TILE, "permute(0, 2, 1, 3)", "permute(0, 3, 1, 2)", "check-lattice"),
    ("rows and columns of tiles exchanged", TILE, "permute(0, 2, 1, 3)", "permute(1, 2, 0, 3)", "check-lattice"),
    ("not permuted", TILE, ".permute(0, 2, 1, 3)", "", "check-lattice"),
    ("1399 pixels", TILE, PICTURE, PICTURE + "[:1399, :1399]", "check-lattice"),
    ("1420 pixels", TILE, PICTURE, f"nn.functional.pad({PICTURE}, (10, 10, 10, 10))", "check-lattice"),
    ("bytes for the means in the picture", TILE, PICTURE, f"(255 * {PICTURE}).round().byte()", "check-lattice"),
    ("samples in the lattice", TILE, PICTURE, f"sample_bernoulli({PICTURE})", "check-lattice"),
    ("gradient in a picture", LATTICE_MEANS, "with torch.no_grad():", "if True:", "check-lattice"),
]

TWO_HEADS = '''
class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(Ddata, Dh)
        self.mean, self.log_std = nn.Linear(Dh, Dz), nn.Linear(Dh, Dz)
    def forward(self, x):
        h = torch.tanh(self.hidden(x))
        return self.mean(h), self.log_std(h)
encoder = TwoHeads'''
DECODER_CLASS = '''
class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(2, 500), nn.Linear(500, 784)
    def forward(self, z):
        return self.last(self.first(z).tanh())
decoder = Decoder().to(DEVICE)
'''
ANALYTIC_KL = """return (
        log_likelihood(x, z)
        - 0.5 * (q_mean**2 + torch.exp(2 * q_log_std) - 1 - 2 * q_log_std).sum(dim=1)
    ).mean()"""
PART_BY_PART = """total = 0
    for part in x.split(7):
        mean, log_std = encoder(part)
        code = sample_gaussian(mean, log_std)
        total = total + (joint_log_density(part, code) - log_q(code, mean, log_std)).sum()
    return total / len(x)"""
TILED_BY_HAND = """torch.cat(
    [torch.cat([tile for tile in row], dim=1) for row in tiles], dim=0
)"""

RIGHT = [
    ("minus softplus of minus", HELPERS, LOGSIGMOID, "return -torch.nn.functional.softplus(-(2 * x - 1) * logit_means)"),
    ("x y - softplus(y)", HELPERS, LOGSIGMOID, "return x * logit_means - torch.nn.functional.softplus(logit_means)"),
    ("logaddexp", HELPERS, LOGSIGMOID, "return -torch.logaddexp(torch.zeros_like(logit_means), (1 - 2 * x) * logit_means)"),
    ("both cases apart", HELPERS, LOGSIGMOID, "return torch.where(x == 1, logsigmoid(logit_means), logsigmoid(-logit_means))"),
    ("log1p and an absolute value", HELPERS, LOGSIGMOID, "a = (1 - 2 * x) * logit_means\n    return -(a.clamp(min=0) + torch.log1p(torch.exp(-a.abs())))"),
    ("quotient squared", HELPERS, "0.5 * (z - mean) ** 2 * torch.exp(-2 * log_std)", "0.5 * ((z - mean) / torch.exp(log_std)) ** 2"),
    ("through the variance", HELPERS, GAUSSIAN, "variance = torch.exp(log_std) ** 2\n    return -0.5 * (torch.log(2 * math.pi * variance) + (z - mean) ** 2 / variance)"),
    ("randn_like", HELPERS, SAMPLE, "epsilon = epsilon.clone()\n    return epsilon.mul(log_std.exp()).add(mean)"),
    ("binary samples by comparison the other way round", HELPERS, "(uniform < mean)", "(1 - uniform <= mean)"),
    ("prior by hand", PRIOR, PRIOR_SUM, "-0.5 * (z**2).sum(dim=-1) - math.log(2 * math.pi)"),
    ("prior from numbers as tensors", PRIOR, PRIOR_SUM, "gaussian_log_density(z, torch.zeros(2), torch.zeros(2)).sum(-1)"),
    ("decoder as a class", DECODER, "decoder = nn.Sequential(" + LAYERS + ").to(DEVICE)", DECODER_CLASS),
    ("likelihood by einsum", LIKELIHOOD, ".sum(dim=1)", " @ torch.ones(Ddata, dtype=z.dtype)"),
    ("decoder called by its forward", LIKELIHOOD, "decoder(z)", "decoder.forward(z)"),
    ("encoder with two heads", ENCODER, "encoder = Encoder", TWO_HEADS),
    ("encoder split by slices", ENCODER, "q_mean, q_log_std = self.layers(x).chunk(2, dim=1)", "h = self.layers(x)\n        q_mean, q_log_std = h[:, :Dz], h[:, Dz:]"),
    ("encoder called by its forward", ELBO, "encoder(x)", "encoder.forward(x)"),
    ("sampled in place", ELBO, DRAW, "z = q_mean + torch.exp(q_log_std) * torch.randn_like(q_mean)"),
    ("analytic divergence", ELBO, ESTIMATE, ANALYTIC_KL),
    ("three terms, averaged one by one", ELBO, ESTIMATE, "return log_likelihood(x, z).mean() + log_prior(z).mean() - log_q(z, q_mean, q_log_std).mean()"),
    ("sum over the batch, divided by its size", ELBO, ".mean()", ".sum() / x.shape[0]"),
    ("loss as a product", LOSS, "-elbo(x)", "elbo(x) * -1"),
    ("a tuple of batches", BATCHES, ALL_BATCHES, "batches = binarized_mnist.split(BS)"),
    ("a plain DataLoader", BATCHES, ALL_BATCHES, "batches = torch.utils.data.DataLoader(binarized_mnist, batch_size=BS, shuffle=True)"),
    ("gradients zeroed after the step", TRAIN, STEP, "".join(STEP.splitlines(True)[i] for i in (1, 2, 3, 0))),
    ("each network with an optimizer of its own", TRAIN, f"optimizer = {ADAM}", "optimizer = type('Pair', (), {})()\n    pair = [torch.optim.Adam(network.parameters()) for network in (encoder, decoder)]\n    optimizer.zero_grad = lambda: [o.zero_grad() for o in pair]\n    optimizer.step = lambda: [o.step() for o in pair]"),
    ("ELBO part by part", ELBO, ESTIMATE, PART_BY_PART),
    ("likelihood part by part", LIKELIHOOD, "return bernoulli_log_density(x, decoder(z)).sum(dim=1)", "return torch.cat([bernoulli_log_density(a, decoder(b)).sum(1) for a, b in zip(x.split(7), z.split(7))])"),
    ("train ELBO in a second pass", TRAIN, "            history.append(", "            with torch.no_grad():\n                total_elbo = sum(elbo(x) * len(x) for x in batches)\n            history.append("),
    ("shuffled by hand", TRAIN, "for x in batches:", "for x in (lambda d: d[torch.randperm(len(d))].split(BS))(torch.cat(list(batches))):"),
    ("gradients by autograd.grad", TRAIN, "                batch_loss.backward()\n", f"                for p, g in zip({PARAMETERS}, torch.autograd.grad(batch_loss, {PARAMETERS})):\n                    p.grad = g\n"),
    ("other initial weights", DECODER, LAYERS + ").to(DEVICE)", LAYERS + ").to(DEVICE)\nfor p in decoder.parameters():\n    p.data.mul_(0.5)"),
    ("encoder returns a list", ENCODER, RETURN_HEADS, "return [q_mean, q_log_std]"),
    ("tiled by hand", TILE, PICTURE, TILED_BY_HAND),
    ("lattice by a product", LATTICE, "torch.stack([z_x, z_y], dim=2)", "torch.cartesian_prod(ticks.flip(0), ticks).flip(1).reshape(50, 50, 2)"),
]
# fmt: on

IMPORTS = "d402633e-8c18-11eb-119d-017ad87927b0"
