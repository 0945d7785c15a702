"""The density of q and the encoder."""

from .entry import variants

RETURN_HEADS = "return q_mean, q_log_std"

MISTAKES = [
    *variants(
        place="log_q",
        check="check-log-q",
        replaces=".sum(dim=1)",
        codes={
            "constant of q counted once": ".sum(dim=1) + 0.5 * math.log(2 * math.pi)",
        },
    ),
    *variants(
        place="log_q",
        check="check-log-q",
        replaces="gaussian_log_density(z, q_mean, q_log_std)",
        codes={
            "a library's density": (
                "torch.distributions.Normal(q_mean, q_log_std.exp()).log_prob(z)"
            ),
        },
    ),
    *variants(
        place="log_q",
        check="check-log-q",
        replaces="z, q_mean, q_log_std).sum",
        codes={
            "q of z, q_mean, q_log_std.clamp(-5, 5)": "z, q_mean, q_log_std.clamp(-5, 5)).sum",
            "q of z, q_log_std, q_mean": "z, q_log_std, q_mean).sum",
            "q of z, q_mean, 2 * q_log_std": "z, q_mean, 2 * q_log_std).sum",
            "q of z, q_mean, q_log_std / 2": "z, q_mean, q_log_std / 2).sum",
            "q of z, q_mean, q_log_std.exp()": "z, q_mean, q_log_std.exp()).sum",
            "q of z, q_mean, q_log_std.detach()": "z, q_mean, q_log_std.detach()).sum",
            "q of z, q_mean, -q_log_std": "z, q_mean, -q_log_std).sum",
        },
    ),
    *variants(
        place="encoder",
        check="check-encoder",
        replaces="chunk(2, dim=1)",
        codes={
            "split along the batch": "chunk(2, dim=0)",
        },
    ),
    *variants(
        place="encoder",
        check="check-encoder",
        codes={
            "log_std without the hidden layer's gradient": """\
class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(Ddata, Dh)
        self.mean, self.log_std = nn.Linear(Dh, Dz), nn.Linear(Dh, Dz)
    def forward(self, x):
        h = torch.tanh(self.hidden(x))
        return self.mean(h), self.log_std(h.detach())
encoder = TwoHeads().to(DEVICE)
""",
        },
    ),
    *variants(
        place="encoder",
        check="check-encoder",
        replaces=RETURN_HEADS,
        codes={
            "encoder returns q_mean, torch.cat([q_mean[:, 1:], q_log_std[:, 1:]], dim=1)": (
                "return q_mean, torch.cat([q_mean[:, 1:], q_log_std[:, 1:]], dim=1)"
            ),
            "encoder returns q_mean, q_log_std.mean(0, keepdim=True).expand_as(q_mean)": (
                "return q_mean, q_log_std.mean(0, keepdim=True).expand_as(q_mean)"
            ),
            "encoder returns torch.cat([q_mean, q_log_std], dim=1)": (
                "return torch.cat([q_mean, q_log_std], dim=1)"
            ),
            "encoder returns q_mean, nn.functional.softplus(q_log_std)": (
                "return q_mean, nn.functional.softplus(q_log_std)"
            ),
            "encoder returns q_mean, q_log_std.clamp(-6, 6)": (
                "return q_mean, q_log_std.clamp(-6, 6)"
            ),
            "encoder returns q_mean, torch.tanh(q_log_std)": "return q_mean, torch.tanh(q_log_std)",
            "encoder returns q_mean, torch.relu(q_log_std)": "return q_mean, torch.relu(q_log_std)",
            "encoder returns torch.sigmoid(q_mean), q_log_std": (
                "return torch.sigmoid(q_mean), q_log_std"
            ),
            "encoder returns torch.tanh(q_mean), q_log_std": "return torch.tanh(q_mean), q_log_std",
            "encoder returns q_mean.detach(), q_log_std": "return q_mean.detach(), q_log_std",
            "encoder returns q_mean, q_log_std.detach()": "return q_mean, q_log_std.detach()",
            "encoder returns q_mean, q_log_std.exp()": "return q_mean, q_log_std.exp()",
            "encoder returns None": "return None",
            "encoder returns q_mean, q_mean": "return q_mean, q_mean",
        },
        says={
            "encoder returns q_mean, q_log_std.exp()": "Did you apply exp to it?",
            "encoder returns None": "Does forward end in return q_mean, q_log_std",
            "encoder returns q_mean, q_mean": "Is one used for several?",
        },
    ),
    *variants(
        place="encoder",
        check="check-encoder",
        replaces=RETURN_HEADS,
        codes={
            "other widths in evaluation mode": (
                "return q_mean, q_log_std if self.training else q_log_std - 3"
            ),
            "log of log_std": "return q_mean, torch.log(q_log_std)",
        },
        says={
            "other widths in evaluation mode": "in evaluation mode",
            "log of log_std": "Did you apply log to it?",
        },
    ),
]

RIGHT = [
    *variants(
        place="encoder",
        replaces="encoder = Encoder",
        codes={
            "encoder with two heads": """\
class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(Ddata, Dh)
        self.mean, self.log_std = nn.Linear(Dh, Dz), nn.Linear(Dh, Dz)
    def forward(self, x):
        h = torch.tanh(self.hidden(x))
        return self.mean(h), self.log_std(h)
encoder = TwoHeads
""",
        },
    ),
    *variants(
        place="encoder",
        codes={
            "Xavier in both networks": """\
for layer in [*decoder.modules(), *encoder.modules()]:
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
""",
        },
    ),
    *variants(
        place="encoder",
        replaces="q_mean, q_log_std = self.layers(x).chunk(2, dim=1)",
        codes={
            "outputs interleaved": """\
h = self.layers(x)
        q_mean, q_log_std = h[:, ::2], h[:, 1::2]
""",
        },
    ),
    *variants(
        place="encoder",
        replaces=RETURN_HEADS,
        codes={
            "encoder returns [q_mean, q_log_std]": "return [q_mean, q_log_std]",
            "encoder returns a named tuple": (
                "return __import__('collections').namedtuple('Q', 'mean log_std')(q_mean, "
                "q_log_std)"
            ),
        },
    ),
    *variants(
        place="encoder",
        codes={
            "encoder with 0.5 * self.log_std(h)\n": """\
class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(Ddata, Dh)
        self.mean, self.log_std = nn.Linear(Dh, Dz), nn.Linear(Dh, Dz)
    def forward(self, x):
        h = torch.tanh(self.hidden(x))
        return self.mean(h), 0.5 * self.log_std(h)
encoder = TwoHeads().to(DEVICE)
""",
            "encoder with self.log_std(h) - 1.0\n": """\
class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(Ddata, Dh)
        self.mean, self.log_std = nn.Linear(Dh, Dz), nn.Linear(Dh, Dz)
    def forward(self, x):
        h = torch.tanh(self.hidden(x))
        return self.mean(h), self.log_std(h) - 1.0
encoder = TwoHeads().to(DEVICE)
""",
            "encoder with self.hidden(2 * x - 1)": """\
class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(Ddata, Dh)
        self.mean, self.log_std = nn.Linear(Dh, Dz), nn.Linear(Dh, Dz)
    def forward(self, x):
        h = torch.tanh(self.hidden(2 * x - 1))
        return self.mean(h), self.log_std(h)
encoder = TwoHeads().to(DEVICE)
""",
            "encoder with self.hidden(x - binarized_mnist.mean(0))": """\
class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(Ddata, Dh)
        self.mean, self.log_std = nn.Linear(Dh, Dz), nn.Linear(Dh, Dz)
    def forward(self, x):
        h = torch.tanh(self.hidden(x - binarized_mnist.mean(0)))
        return self.mean(h), self.log_std(h)
encoder = TwoHeads().to(DEVICE)
""",
            "encoder with self.log_std, self.mean = ": """\
class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(Ddata, Dh)
        self.log_std, self.mean = nn.Linear(Dh, Dz), nn.Linear(Dh, Dz)
    def forward(self, x):
        h = torch.tanh(self.hidden(x))
        return self.mean(h), self.log_std(h)
encoder = TwoHeads().to(DEVICE)
""",
        },
    ),
    *variants(
        place="encoder",
        replaces="q_mean, q_log_std = self.layers(x).chunk(2, dim=1)",
        codes={
            "it asserts zeros and ones": """\
assert ((x == 0) | (x == 1)).all()
        q_mean, q_log_std = self.layers(x).chunk(2, dim=1)
""",
            "it keeps its outputs in a dict, and a lock": """\
import threading
        q_mean, q_log_std = self.layers(x).chunk(2, dim=1)
        self.kept = {"q_mean": q_mean, "lock": threading.Lock()}
""",
        },
    ),
]
