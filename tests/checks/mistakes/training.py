"""The training loop."""

from .entry import Change, variants

PARAMETERS = "[*encoder.parameters(), *decoder.parameters()]"
ADAM = f"torch.optim.Adam({PARAMETERS}, fused=True)"

MISTAKES = [
    *variants(
        place="train",
        check="check-train",
        replaces="fused=True",
        codes={
            "Adam with lr=0.1": "lr=0.1",
            "Adam with lr=3e-3": "lr=3e-3",
            "Adam with lr=1e-4": "lr=1e-4",
            "Adam with weight_decay=1.0": "weight_decay=1.0",
            "Adam with weight_decay=1e-3": "weight_decay=1e-3",
            "Adam with weight_decay=1e-5": "weight_decay=1e-5",
            "Adam with maximize=True": "maximize=True",
            "Adam with betas=(0.5, 0.999)": "betas=(0.5, 0.999)",
            "Adam with eps=1e-2": "eps=1e-2",
        },
        says={
            "Adam with lr=3e-3": "Is the learning rate 0.003?",
            "Adam with weight_decay=1e-5": "Is there weight decay",
            "Adam with maximize=True": "Does it go uphill?",
        },
    ),
    *variants(
        place="train",
        check="check-train",
        replaces=PARAMETERS,
        codes={
            "only the decoder optimized": "[*decoder.parameters()]",
            "only the encoder optimized": "[*encoder.parameters()]",
        },
        says={
            "only the decoder optimized": "parameters of the encoder do not change",
            "only the encoder optimized": "parameters of the decoder do not change",
        },
    ),
    *variants(
        place="train",
        check="check-train",
        replaces="torch.optim.Adam",
        codes={
            "SGD": "torch.optim.SGD",
            "AdamW": "torch.optim.AdamW",
            "RMSprop": "(lambda p, fused: torch.optim.RMSprop(p))",
        },
    ),
    *variants(
        place="train",
        check="check-train",
        replaces="            optimizer.step()\n",
        codes={
            "gradients zeroed before the step": """\
            optimizer.zero_grad()
            optimizer.step()

""",
            "no step": "",
            "two steps for each batch": (
                "            optimizer.step()\n            optimizer.step()\n"
            ),
        },
        says={"no step": "Is optimizer.step() missing"},
    ),
    *variants(
        place="train",
        check="check-train",
        replaces="            optimizer.zero_grad()\n",
        codes={
            "gradients never zeroed": "",
            "the same noise for every batch": """\
            torch.manual_seed(SEED)
            optimizer.zero_grad()

""",
        },
        says={
            "gradients never zeroed": "Are the gradients never set to zero",
            "the same noise for every batch": "Is the seed set inside train?",
        },
    ),
    *variants(
        place="train",
        check="check-train",
        replaces="            batch_loss.backward()\n",
        codes={
            "no gradient": "",
            "the gradient of the negative loss": "            (-batch_loss).backward()\n",
            "the gradient of the loss summed over the digits": (
                "            (len(x) * batch_loss).sum().backward(retain_graph=True)\n"
                "            batch_loss.backward()\n"
            ),
        },
        says={
            "no gradient": "Is loss(x).backward() missing?",
            "the gradient of the negative loss": "Does it go uphill?",
        },
    ),
    *variants(
        place="train",
        check="check-train",
        replaces="        total_elbo, n_digits = 0.0, 0\n",
        codes={
            "optimizer anew in each epoch": f"""\
        optimizer = {ADAM}
        total_elbo, n_digits = 0.0, 0

""",
            "the total and the count never set to zero": """\
        if _ == 0:
            total_elbo, n_digits = 0.0, 0

""",
            "the total never set to zero": """\
        n_digits = 0
        total_elbo = total_elbo if _ else 0.0

""",
            "the count never set to zero": """\
        total_elbo = 0.0
        n_digits = n_digits if _ else 0

""",
        },
        says={
            "optimizer anew in each epoch": "Is the optimizer made anew in each epoch?",
            "the total and the count never set to zero": "mean since the start",
            "the total never set to zero": "Is the total never set to zero again?",
            "the count never set to zero": "Is the number of digits never set to zero again?",
        },
    ),
    *variants(
        place="train",
        check="check-train",
        replaces="loss(x)",
        codes={
            "noise added to the digits": "loss(x + 0.1 * torch.randn_like(x))",
            "grey digits": "loss(0.5 * x)",
            "half of each batch": "loss(x[::2])",
            "the digits inverted": "loss(1 - x)",
            "elbo for loss": "elbo(x)",
            "the loss of a batch fixed before": "loss(next(iter(batches)))",
        },
        says={
            "noise added to the digits": "Are they changed before?",
            "the digits inverted": "Are they changed before?",
            "elbo for loss": "Does it go uphill?",
        },
    ),
    *variants(
        place="train",
        check="check-train",
        replaces="batch_loss = loss(x)",
        codes={
            "the ELBO written out, without its sign": """\
m, s = encoder(x)
            z = sample_gaussian(m, s)
            batch_loss = -(joint_log_density(x, z) - log_q(z, m, s)).mean()
""",
            "the loss under no_grad": """\
with torch.no_grad():
                batch_loss = loss(x)
            batch_loss = batch_loss.clone().requires_grad_()
""",
        },
        says={
            "the ELBO written out, without its sign": "it never calls loss(x)",
            "the loss under no_grad": "the gradient of loss(x) is never taken",
        },
    ),
    *variants(
        place="train",
        check="check-train",
        replaces="for x in batches:",
        codes={
            "batches indexed, which they cannot be": (
                "for x in (batches[i] for i in range(len(batches))):"
            ),
            "only the first batch": "for x in [next(iter(batches))]:",
            "the last batch left out": "for x in list(batches)[:-1]:",
            "every batch twice": "for x in [*batches, *batches]:",
        },
    ),
    *variants(
        place="train",
        check="check-train",
        replaces="range(n_epochs)",
        codes={
            "N_EPOCHS in train": "range(N_EPOCHS)",
            "always 100 epochs": "range(100)",
            "one epoch too few": "range(1, n_epochs)",
        },
        says={
            "N_EPOCHS in train": "Is N_EPOCHS used, where train is given n_epochs?",
            "always 100 epochs": "Is the number of epochs fixed",
        },
    ),
    *variants(
        place="train",
        check="check-train",
        replaces="        report(total_elbo / n_digits)\n",
        codes={
            "report never called": "",
            "report after each batch": "            report(total_elbo / n_digits)\n",
            "report after the last epoch": "    report(total_elbo / n_digits)\n",
            "report of the sum": "        report(total_elbo)\n",
            "report of the mean of the batches, divided by the digits": (
                "        report(total_elbo / n_digits / len(x))\n"
            ),
            "report of the sum divided by the number of batches": (
                "        report(total_elbo / len(batches))\n"
            ),
            "report of the loss": "        report(-total_elbo / n_digits)\n",
            "report of the last batch": "        report(-batch_loss.item())\n",
            "report of a tensor": "        report(-batch_loss)\n",
            "report of a pair": "        report((total_elbo / n_digits, heldout_elbo()))\n",
            "report of two numbers": "        report(total_elbo / n_digits, heldout_elbo())\n",
            "report of the history": """\
        history.append((total_elbo / n_digits, 0.0))
        report(history)

""",
            "report of the ELBO after the epoch": """\
        with torch.no_grad():
            report(sum(elbo(x).item() * len(x) for x in batches) / n_digits)

""",
            "return after the first epoch": """\
        report(total_elbo / n_digits)
        return

""",
            "return after the first batch": """\
            return
        report(total_elbo / n_digits)

""",
            "report of the ELBO in bits": "        report(total_elbo / n_digits / math.log(2))\n",
            "report of text": '        report(f"{total_elbo / n_digits:.1f}")\n',
        },
        says={
            "report never called": "it never calls report(train_elbo)",
            "report after each batch": "inside the loop over the batches?",
            "report after the last epoch": "behind the loop over the epochs?",
            "report of the sum": "Is it the sum over the digits",
            "report of the sum divided by the number of batches": (
                "divided by the number of batches"
            ),
            "report of the loss": "Does it have the wrong sign?",
            "report of the last batch": "Is it the ELBO of the last batch alone?",
            "report of a tensor": "Is .item() left out?",
            "report of a pair": "Is the held-out ELBO passed, too?",
            "report of two numbers": "Is the held-out ELBO passed, too?",
            "report of the ELBO after the epoch": "second pass after the epoch",
            "return after the first epoch": "after the first epoch?",
            "return after the first batch": "after the first batch?",
        },
    ),
    *variants(
        place="train",
        check="check-train",
        replaces="            total_elbo -= len(x) * batch_loss.item()\n",
        codes={
            "the ELBO after the step": "            total_elbo += len(x) * elbo(x).item()\n",
            "the loss for the ELBO": "            total_elbo += len(x) * batch_loss.item()\n",
            "the means of the batches, divided by the number of digits": (
                "            total_elbo -= batch_loss.item()\n"
            ),
            "the last batch for the total": (
                "            total_elbo = -len(x) * batch_loss.item() * len(batches)\n"
            ),
        },
        says={
            "the ELBO after the step": "Is the loss computed after the step?",
            "the loss for the ELBO": "Does it have the wrong sign?",
            "the means of the batches, divided by the number of digits": (
                "the batches' means divided by the number of digits"
            ),
            "the last batch for the total": "Is it the ELBO of the last batch alone?",
        },
    ),
]

RIGHT = [
    *variants(
        place="train",
        replaces="""\
            optimizer.zero_grad()
""",
        codes={
            "gradients zeroed after the step": "",
        },
        more=[
            Change(
                "train",
                """\
            optimizer.step()
""",
                """\
            optimizer.step()
            optimizer.zero_grad()
""",
            ),
        ],
    ),
    *variants(
        place="train",
        replaces="""\
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], fused=True)
""",
        codes={
            "each network with an optimizer of its own": """\
optimizer = type('Pair', (), {})()
    pair = [torch.optim.Adam(network.parameters()) for network in (encoder, decoder)]
    optimizer.zero_grad = lambda: [o.zero_grad() for o in pair]
    optimizer.step = lambda: [o.step() for o in pair]
""",
        },
    ),
    *variants(
        place="train",
        replaces="for x in batches:",
        codes={
            "shuffled by hand": (
                "for x in torch.cat(list(batches))[torch.randperm(len(batches.digits))].split(BS):"
            ),
        },
    ),
    *variants(
        place="train",
        replaces="""\
            batch_loss.backward()
""",
        codes={
            "gradients by autograd.grad": """\
            parameters = [*encoder.parameters(), *decoder.parameters()]
            for p, g in zip(parameters, torch.autograd.grad(batch_loss, parameters)):
                p.grad = g
""",
        },
    ),
    *variants(
        place="train",
        replaces="n_digits += len(x)",
        codes={
            "counts by batches.size": "n_digits += min(len(x), batches.size)",
        },
    ),
    *variants(
        place="train",
        replaces="""\
            batch_loss = loss(x)
            batch_loss.backward()
""",
        codes={
            "gradients of half batches added": """\
            halves = [loss(half) / 2 for half in x.chunk(2)]
            for half in halves:
                half.backward()
            batch_loss = sum(halves)
""",
        },
    ),
    *variants(
        place="train",
        replaces="fused=True",
        codes={
            "Adam with its defaults spelled out": (
                "lr=0.001, betas=(0.9, 0.999), eps=1e-8, weight_decay=0"
            ),
        },
    ),
    *variants(
        place="train",
        replaces="""\
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], fused=True)
""",
        codes={
            "Adam by hand": """\
class Adam(torch.optim.Optimizer):
        t = 0
        def step(self):
            self.t += 1
            for p in self.param_groups[0]["params"]:
                m, v = self.state.setdefault(p, (torch.zeros_like(p), torch.zeros_like(p)))
                m.mul_(0.9).add_(0.1 * p.grad)
                v.mul_(0.999).add_(0.001 * p.grad**2)
                p.data -= 1e-3 * (m / (1 - 0.9**self.t)) / ((v / (1 - 0.999**self.t)).sqrt() + 1e-8)
    optimizer = Adam([*encoder.parameters(), *decoder.parameters()], {})
""",
        },
    ),
    *variants(
        place="train",
        replaces="batch_loss = loss(x)",
        codes={
            "maximized elbo": "batch_loss = -elbo(x)",
        },
    ),
    *variants(
        place="train",
        replaces="report(total_elbo / n_digits)",
        codes={
            "counts by batches.digits": "report(total_elbo / len(batches.digits))",
            "a number of NumPy": "report(__import__('numpy').float32(total_elbo / n_digits))",
            "by name": "report(train_elbo=total_elbo / n_digits)",
            "a picture during training": """\
torch.sigmoid(decoder(torch.randn(4, Dz, device=DEVICE)))
        encoder(binarized_mnist[:5])
        report(total_elbo / n_digits)
""",
        },
    ),
    *variants(
        place="train",
        codes={
            "the mean of the batches' means": """\
def train(encoder, decoder, batches, n_epochs=100):
    optimizer = torch.optim.Adam(list(encoder.parameters()) + list(decoder.parameters()), 1e-3)
    for epoch in range(n_epochs):
        elbos = []
        for x in batches:
            l = loss(x)
            optimizer.zero_grad()
            l.backward()
            optimizer.step()
            elbos.append(-l.item())
        report(sum(elbos) / len(elbos))
""",
            "totals as tensors": """\
def train(encoder, decoder, batches, n_epochs=100):
    optimizer = torch.optim.Adam(nn.ModuleList([encoder, decoder]).parameters())
    encoder.train()
    decoder.train()
    for epoch in tqdm(range(n_epochs), file=sys.stdout, leave=False):
        total = torch.zeros((), device=DEVICE)
        for x in batches:
            l = loss(x)
            optimizer.zero_grad(set_to_none=False)
            l.backward()
            optimizer.step()
            total += l.detach()
        report(float(-total / len(batches)))
    return history
""",
            "a closure": """\
def train(encoder, decoder, batches, n_epochs=100):
    optimizer = torch.optim.Adam([{"params": n.parameters()} for n in (encoder, decoder)])
    for epoch in range(n_epochs):
        total = 0
        for x in batches:
            def closure():
                optimizer.zero_grad()
                l = loss(x)
                l.backward()
                return l
            total -= optimizer.step(closure).item()
        report(total / len(batches))
""",
            "weights averaged by NumPy": """\
def train(encoder, decoder, batches, n_epochs=100):
    import numpy
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()])
    for epoch in range(n_epochs):
        losses = []
        for x in batches:
            optimizer.zero_grad()
            l = loss(x)
            l.backward()
            optimizer.step()
            losses.append(l.detach().cpu().numpy())
        report(-numpy.mean(losses))
""",
        },
    ),
]
