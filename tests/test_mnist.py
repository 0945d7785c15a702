"""What needs the real MNIST, as .gz files in data/MNIST/raw. Without them these are skipped."""

import http.server
import shutil
import threading

import pytest
import torch

import vae_helpers
from kernel import MNIST_FILES
from vae_helpers import load_digits

pytestmark = pytest.mark.skipif(
    not all((MNIST_FILES / name).exists() for name, _ in vae_helpers.MNIST.resources),
    reason="MNIST's .gz files are not in data/MNIST/raw",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data folder that holds MNIST's .gz files, as they come from a mirror, and nothing else."""
    root = tmp_path_factory.mktemp("data")
    (root / "MNIST" / "raw").mkdir(parents=True)
    for name, _ in vae_helpers.MNIST.resources:
        shutil.copy(MNIST_FILES / name, root / "MNIST" / "raw")
    return root


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr(vae_helpers.MNIST, "mirrors", [])


@pytest.fixture(scope="module")
def mnist(root):
    return load_digits(root, "mnist")


def binarized(images):
    return (images.flatten(1) > 127).float()


def test_mnist_is_read_from_gz_files_then_from_unpacked_ones(root, mnist, no_network, capsys):
    for name, _ in vae_helpers.MNIST.resources:
        (root / "MNIST" / "raw" / name).unlink()
    again = load_digits(root)
    assert again.name == mnist.name == "MNIST"
    assert all(torch.equal(a, b) for a, b in zip(again[1:], mnist[1:]))
    assert capsys.readouterr() == ("", "")


def test_mnist_is_downloaded_without_a_trace_in_the_output(tmp_path, monkeypatch, capsys):
    class Mirror(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *request):
            super().__init__(*request, directory=MNIST_FILES)

        def log_message(self, *words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setattr(
            vae_helpers.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"]
        )
        assert load_digits(tmp_path).name == "MNIST"
        server.shutdown()
    assert capsys.readouterr() == ("", "")


def test_mnist_is_the_real_one(mnist):
    assert mnist.train_images.shape == (60_000, 28, 28)
    assert mnist.test_images.shape == (10_000, 28, 28)
    assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    pixels = binarized(mnist.train_images)
    assert round(pixels.mean().item(), 3) == 0.132
    assert (pixels.sum(0) == 0).sum() == 108


def nearest_neighbours_accuracy(images, labels, test_images, test_labels, k=3):
    """Share of the test digits that the majority of their k nearest neighbours reads right."""
    fitted, tested = binarized(images), binarized(test_images)
    squared_distances = fitted.sum(1) - 2 * tested @ fitted.T  # but for a constant in each row
    nearest = labels[squared_distances.topk(k, largest=False).indices]
    # The nearest one breaks ties: it counts a little more than each of the others.
    votes = torch.nn.functional.one_hot(nearest, 10) * torch.tensor([1.5] + [1] * (k - 1))[:, None]
    return (votes.sum(1).argmax(1) == test_labels).float().mean().item()


def test_embedded_digits_can_stand_in_for_mnist(mnist):
    drawn = load_digits(dataset="embedded")
    accuracy = nearest_neighbours_accuracy(
        drawn.train_images, drawn.train_labels, mnist.test_images, mnist.test_labels
    )
    print(f"real test digits read right by 3 nearest drawn ones: {accuracy:.1%}")
    assert accuracy >= 0.8
