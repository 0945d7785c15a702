"""The explorer: a web page that decodes any point of a trained VAE's latent plane."""

import base64
import json
from pathlib import Path

import numpy as np
import torch

from vae_checks.networks import tanh_layers

TEMPLATE = Path(__file__).with_name("template.html")


@torch.no_grad()
def explorer_page(encoder, decoder, x, labels, elbos, log_evidences) -> str:
    """The page as one self-contained HTML text, the same for the same networks and numbers.

    Shapes: x (N, 784) binary digits on the networks' device; labels, elbos, log_evidences (N,).
    encoder: returns q_mean and q_log_std, each (N, 2); decoder: logit-means, (B, 2) -> (B, 784).
    Units: elbos and log_evidences in nats; the page only shows them.
    Raises: ValueError unless the decoder is a network of 2 inputs, 500 tanh units, 784 outputs.
    """
    means, log_stds = encoder(x)
    layers = _layers(decoder, means.shape[1], x.shape[1])
    data = {
        "decoder": [_base64(p.cpu().numpy().astype("<f2")) for p in layers],
        "digits": _base64(np.packbits(x.cpu().numpy() > 0.5, axis=1)),
        "labels": torch.as_tensor(labels).tolist(),
        "means": _rounded(means, 4),
        "stds": _rounded(log_stds.exp(), 5),
        "elbos": _rounded(elbos, 1),
        "evidences": _rounded(log_evidences, 1),
    }
    page = TEMPLATE.read_text("utf-8")
    return page.replace("{/* filled in by explorer_page */}", json.dumps(data))


def _layers(decoder, n_in, n_out):
    """The decoder's weights and biases as the page has them: float16."""
    try:
        layers = tanh_layers(decoder, n_in, n_out)
    except AssertionError as difference:
        error = "the explorer draws a 2-500-784 tanh decoder, this one is something else"
        raise ValueError(f"{error}: {difference}") from None
    return [layer.half() for layer in layers]


def _base64(array):
    return base64.b64encode(array.tobytes()).decode()


def _rounded(numbers, digits):
    return np.round(torch.as_tensor(numbers).double().cpu().numpy(), digits).tolist()
