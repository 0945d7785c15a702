"""The explorer: a web page that decodes any point of a trained VAE's latent plane."""

import base64
import json
from pathlib import Path

import numpy as np
import torch

TEMPLATE = Path(__file__).with_name("template.html")
TEST_CODES = torch.tensor([[0.0, 0.0], [0.6, -1.3], [-2.1, 0.4], [1.7, 2.9]])


@torch.no_grad()
def explorer_page(encoder, decoder, x, labels, elbos, log_evidences) -> str:
    """The page as one self-contained HTML text, the same for the same networks and numbers.

    Shapes: x (N, 784) binary digits on the networks' device; labels, elbos, log_evidences (N,).
    encoder: returns q_mean and q_log_std, each (N, 2); decoder: logit-means, (B, 2) -> (B, 784).
    Units: elbos and log_evidences in nats; the page only shows them.
    Raises: ValueError unless the decoder is a network of 2 inputs, 500 tanh units, 784 outputs.
    """
    means, log_stds = encoder(x)
    data = {
        "decoder": [_base64(p.cpu().numpy().astype("<f2")) for p in _parameters(decoder)],
        "digits": _base64(np.packbits(x.cpu().numpy() > 0.5, axis=1)),
        "labels": torch.as_tensor(labels).tolist(),
        "means": _rounded(means, 4),
        "stds": _rounded(log_stds.exp(), 5),
        "elbos": _rounded(elbos, 1),
        "evidences": _rounded(log_evidences, 1),
    }
    page = TEMPLATE.read_text("utf-8")
    return page.replace("{/* filled in by explorer_page */}", json.dumps(data))


def _parameters(decoder):
    """The decoder's weights and biases, found by their shapes, as the page has them: float16."""
    error = ValueError("the explorer draws a 2-500-784 tanh decoder, this one is something else")
    found = sorted(decoder.parameters(), key=torch.numel)
    if [sorted(p.shape) for p in found] != [[500], [784], [2, 500], [500, 784]]:
        raise error
    b1, b2, *weights = found
    w1, w2 = (w if w.shape[0] > w.shape[1] else w.T for w in weights)
    w1, b1, w2, b2 = halves = [p.half() for p in (w1, b1, w2, b2)]
    # What the page draws must be what this decoder draws, whatever it does with its parameters.
    codes = TEST_CODES.to(found[0])
    rebuilt = torch.tanh(codes @ w1.to(codes).T + b1.to(codes)) @ w2.to(codes).T + b2.to(codes)
    own = decoder(codes)
    if own.shape != rebuilt.shape or not torch.allclose(own, rebuilt, rtol=0.01, atol=0.02):
        raise error
    return halves


def _base64(array):
    return base64.b64encode(array.tobytes()).decode()


def _rounded(numbers, digits):
    return np.round(torch.as_tensor(numbers).double().cpu().numpy(), digits).tolist()
