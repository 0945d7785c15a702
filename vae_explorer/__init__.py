"""The explorer: a web page that decodes any point of a trained VAE's latent plane."""

import base64
import json
from pathlib import Path

import numpy as np
import torch

from vae_checks.networks import tanh_layers

TEMPLATE = Path(__file__).with_name("template.html")
PIXELS = 28**2
DRAWN = f"the explorer draws a decoder of 2 inputs, one layer of tanh units and {PIXELS} outputs"


@torch.no_grad()
def explorer_page(encoder, decoder, x, labels, elbos, log_evidences) -> str:
    """The page as one self-contained HTML text, the same for the same networks and numbers.

    Shapes: x (N, 784) binary digits on the networks' device; labels, elbos, log_evidences (N,).
    encoder: returns q_mean and q_log_std, each (N, 2); decoder: logit-means, (B, 2) -> (B, 784).
    Units: elbos and log_evidences in nats; the page only shows them.
    Raises: ValueError unless the decoder is a network of 2 inputs, one layer of any number of tanh
    units, and 784 outputs.
    """
    try:
        layers = tanh_layers(decoder, 2, PIXELS)
    except AssertionError as difference:
        raise ValueError(f"{DRAWN}, this one is something else: {difference}") from None
    means, log_stds = encoder(x)
    data = {
        "decoder": [_base64(p.half().cpu().numpy().astype("<f2")) for p in layers],
        "digits": _base64(np.packbits(x.cpu().numpy() > 0.5, axis=1)),
        "labels": torch.as_tensor(labels).tolist(),
        "means": _rounded(means, 4),
        "stds": _rounded(log_stds.exp(), 5),
        "elbos": _rounded(elbos, 1),
        "evidences": _rounded(log_evidences, 1),
    }
    page = TEMPLATE.read_text("utf-8")
    return page.replace("{/* filled in by explorer_page */}", json.dumps(data))


def _base64(array):
    return base64.b64encode(array.tobytes()).decode()


def _rounded(numbers, digits):
    return np.round(torch.as_tensor(numbers).double().cpu().numpy(), digits).tolist()
