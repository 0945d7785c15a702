"""The explorer: one web page on which one walks through the latent space of a trained VAE."""

import base64
import json
from pathlib import Path

import numpy as np
import torch

TEMPLATE = Path(__file__).with_name("template.html")
PLACE_OF_DATA = "{/* filled in by explorer_page */}"
SHAPES = (500, 2), (500,), (784, 500), (784,)  # of the decoder's weights and biases, in order
TEST_CODES = torch.tensor([[0.0, 0.0], [0.6, -1.3], [-2.1, 0.4], [1.7, 2.9]])


@torch.no_grad()
def explorer_page(encoder, decoder, x, labels, elbos, log_evidences) -> str:
    """The page as one self-contained HTML text.

    Shapes: x (N, 784) binary digits on the networks' device; labels, elbos, log_evidences (N,).
    encoder: returns q_mean and q_log_std, each (N, 2); decoder: logit-means, (B, 2) -> (B, 784).
    Units: elbos and log_evidences in nats; the page shows them and does not compute them.
    Raises: ValueError unless the decoder is a network of 2 inputs, 500 tanh units, 784 outputs.
    The same networks and numbers give the same text.
    """
    data = {
        "decoder": [_base64(p, "<f2") for p in _decoder_parameters(decoder)],
        "q": _base64(torch.cat(tuple(encoder(x)), dim=1), "<f4"),
        "digits": base64.b64encode(np.packbits(x.cpu().numpy() > 0.5, axis=1)).decode(),
        "labels": torch.as_tensor(labels).tolist(),
        "elbos": _rounded(elbos),
        "evidences": _rounded(log_evidences),
    }
    return TEMPLATE.read_text("utf-8").replace(PLACE_OF_DATA, json.dumps(data))


def _decoder_parameters(decoder):
    """Weights and biases of both layers, found by shape, as the page will have them: float16."""
    error = ValueError("the explorer draws a 2-500-784 tanh decoder, this one is something else")
    found = [p.squeeze() for p in decoder.parameters()]
    if len(found) != 4:
        raise error
    ordered = []
    for shape in SHAPES:
        match = [p if p.shape == shape else p.T for p in found if sorted(p.shape) == sorted(shape)]
        if len(match) != 1:
            raise error
        ordered.append(match[0].half())
    # The page must draw what the decoder draws, whatever the decoder does with its parameters.
    w1, b1, w2, b2 = (p.float() for p in ordered)
    codes = TEST_CODES.to(w1.device)
    rebuilt = torch.tanh(codes @ w1.T + b1) @ w2.T + b2
    own = decoder(codes.to(found[0].dtype)).float()
    if own.shape != rebuilt.shape or not torch.allclose(own, rebuilt, rtol=0.02, atol=0.1):
        raise error
    return ordered


def _base64(tensor, dtype):
    """The numbers, row by row, as text: in base64 and little-endian, like JavaScript's arrays."""
    return base64.b64encode(tensor.cpu().numpy().astype(dtype).tobytes()).decode()


def _rounded(numbers):
    """Tenths, as the page shows them."""
    return [round(number, 1) for number in torch.as_tensor(numbers).tolist()]
