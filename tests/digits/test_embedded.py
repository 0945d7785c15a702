"""The digits: what lies in data/, and what load_digits does when MNIST is not available."""

import gzip
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest
import torch

import vae_digits
from project import ROOT, binarized
from vae_digits import PACKED, load_digits


@pytest.fixture(scope="module")
def embedded():
    return load_digits(dataset="embedded")


# The embedded digits ------------------------------------------------------------------------


def test_embedded_digits_are_like_those_of_mnist(embedded):
    assert embedded.name == "embedded digits"
    for images, labels, n in [
        (embedded.train_images, embedded.train_labels, 6000),
        (embedded.test_images, embedded.test_labels, 1000),
    ]:
        assert (images.shape, images.dtype) == ((n, 28, 28), torch.uint8)
        assert (labels.shape, labels.dtype) == ((n,), torch.int64)
        assert torch.bincount(labels).tolist() == [n // 10] * 10
        # In no order: among the first 200 every class is there, and none is half of them.
        in_first_200 = torch.bincount(labels[:200], minlength=10)
        assert 0 < in_first_200.min() and in_first_200.max() < 100
        assert 0.125 < binarized(images).mean() < 0.14  # as much ink


def test_embedded_digits_are_centred(embedded):
    images = embedded.train_images.double()
    places = torch.arange(28, dtype=torch.float64)
    ink = images.sum((1, 2))
    for along in (2, 1):
        centre = (images.sum(along) * places).sum(1) / ink
        # As in MNIST, on pixel 14: to half a pixel, but for the few that would touch the edge.
        off_centre = (centre - 14).abs()
        assert (off_centre <= 0.5).float().mean() > 0.95 and off_centre.max() < 3


def test_no_two_embedded_digits_are_alike(embedded):
    everything = torch.cat([embedded.train_images, embedded.test_images]).flatten(1)
    assert len(everything.unique(dim=0)) == 7000


def test_the_script_draws_the_embedded_files_again(tmp_path):
    subprocess.run([sys.executable, ROOT / "data" / "draw_digits.py", tmp_path], check=True)
    for name in PACKED:
        # Unpacked, since another zlib may pack the same bytes in another way.
        drawn = gzip.decompress((tmp_path / name).read_bytes())
        assert drawn == gzip.decompress((ROOT / "data" / name).read_bytes()), name


def test_damaged_embedded_files_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(vae_digits, "HERE", tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    for name in PACKED:
        shutil.copy(ROOT / "data" / name, data)
    assert load_digits(dataset="embedded").name == "embedded digits"
    for name in PACKED:
        content = (data / name).read_bytes()
        middle, other = len(content) // 2, gzip.compress(gzip.decompress(content)[::-1])
        flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
        # Unpacking them ends in EOFError, zlib.error, BadGzipFile, and not at all.
        for damaged in (content[:-200], flipped, b"no archive", other, None):
            (data / name).unlink() if damaged is None else (data / name).write_bytes(damaged)
            words = f"^{data / name} is missing or damaged; put the original"
            with pytest.raises(RuntimeError, match=words):
                load_digits(dataset="embedded")
        (data / name).write_bytes(content)
    assert {file.name for file in data.iterdir()} == {*PACKED}  # nothing is left beside them


# MNIST that is not available ----------------------------------------------------------------

TIMEOUT = 0.2  # seconds instead of 5
NO_HOST = "http://there.is.no.such.host.invalid/"


def nobody_listens(server):
    server.close()


def says_nothing(server):
    pass  # the connection is made, and nothing comes


def drops_what_is_sent(server):
    """As a firewall does, and a full queue."""
    server.listen(0)
    socket.create_connection(server.getsockname())


def speaks_no_http(server):
    def answer_all():
        while True:
            connection, _ = server.accept()
            connection.sendall(b"what?\r\n\r\n")
            connection.close()

    threading.Thread(target=answer_all, daemon=True).start()


@pytest.mark.parametrize(
    "network, reason",
    [
        (None, r"urlopen error \[Errno (-\d|8|11001)\]"),  # no such host: Linux, macOS, Windows
        (nobody_listens, "(Connection|actively) refused"),
        (speaks_no_http, "what"),
        (says_nothing, "timed out"),
        (drops_what_is_sent, "timed out>"),
    ],
    ids=["no host", "nobody listens", "no http", "silence", "dropped"],
)
def test_without_mnist_the_embedded_digits_are_used_soon_and_that_is_said(
    network, reason, tmp_path, monkeypatch, capsys
):
    mirror, server = NO_HOST, socket.create_server(("127.0.0.1", 0))
    if network:
        mirror = f"http://127.0.0.1:{server.getsockname()[1]}/"
        network(server)
    one_address = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: one_address(*a, **k) * 10)
    monkeypatch.setattr(vae_digits, "MIRRORS", [mirror, mirror])
    monkeypatch.setattr(vae_digits, "TIMEOUT", TIMEOUT)
    monkeypatch.delenv("VAE_DATASET", raising=False)
    started = time.monotonic()
    assert load_digits(tmp_path).name == "embedded digits"
    # Two mirrors, two addresses of each, and a second to load: 21 seconds with the real limit.
    assert time.monotonic() - started < 4 * TIMEOUT + 1
    printed, errors = capsys.readouterr()
    *downloads, says = printed.splitlines()
    assert downloads == 2 * [f"Downloading {mirror}train-images-idx3-ubyte.gz"] and errors == ""
    assert says.startswith("NOT MNIST: these are the drawn digits embedded in this project. ")
    assert re.search(reason, says) and str(tmp_path / "MNIST" / "raw") in says
    with pytest.raises(RuntimeError, match=f"^MNIST is not available: .*{reason}.*$"):
        load_digits(tmp_path, "mnist")


def test_a_file_in_the_way_is_survived(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(vae_digits, "MIRRORS", [NO_HOST])
    (tmp_path / "file").write_text("in the way")
    assert load_digits(tmp_path / "file", "auto").name == "embedded digits"
    assert str(tmp_path / "file") in capsys.readouterr().out
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("wrong", ["cifar", "MNIST", ""])
def test_another_data_set_is_refused(wrong, monkeypatch):
    message = f"VAE_DATASET .* must be auto, mnist or embedded, not {wrong!r}"
    with pytest.raises(ValueError, match=message):
        load_digits(dataset=wrong)
    monkeypatch.setenv("VAE_DATASET", wrong)
    with pytest.raises(ValueError, match=message):
        load_digits()
