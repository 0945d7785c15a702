"""The digits: what lies in data/, and what load_digits does when MNIST cannot be had."""

import gzip
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
import torch

import vae_helpers
from kernel import ROOT
from vae_helpers import EmbeddedDigits, load_digits


@pytest.fixture(scope="module")
def embedded():
    return load_digits(dataset="embedded")


def binarized(images):
    return (images.flatten(1) > 127).float()


# The embedded digits ------------------------------------------------------------------------


def test_embedded_digits_have_the_form_of_mnist(embedded):
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


def test_embedded_digits_have_about_as_much_ink_as_mnist(embedded):
    for images in (embedded.train_images, embedded.test_images):
        assert 0.125 < binarized(images).mean() < 0.14


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


def test_embedded_files_are_small():
    assert sum((ROOT / "data" / name).stat().st_size for name, _ in EmbeddedDigits.resources) < 2e6


def test_the_script_draws_the_embedded_files_again(tmp_path):
    subprocess.run([sys.executable, ROOT / "data" / "draw_digits.py", tmp_path], check=True)
    for name, _ in EmbeddedDigits.resources:
        # Unpacked, since another zlib may pack the same bytes in another way.
        drawn = gzip.decompress((tmp_path / name).read_bytes())
        assert drawn == gzip.decompress((ROOT / "data" / name).read_bytes()), name


def test_damaged_embedded_files_are_an_error(tmp_path, monkeypatch):
    for name, _ in EmbeddedDigits.resources:
        (tmp_path / name).write_bytes((ROOT / "data" / name).read_bytes())
    monkeypatch.setattr(EmbeddedDigits, "folder", tmp_path)
    load_digits(dataset="embedded")
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    with pytest.raises(RuntimeError, match=f"{name} is missing or damaged; restore it"):
        load_digits(dataset="embedded")
    (tmp_path / name).unlink()
    with pytest.raises(RuntimeError, match=f"{name} is missing or damaged; restore it"):
        load_digits(dataset="embedded")


# MNIST that cannot be had -------------------------------------------------------------------


@pytest.fixture
def closed_port():
    """A loopback address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}/"


def test_without_network_the_embedded_digits_are_used_and_that_is_said(
    tmp_path, monkeypatch, capsys, closed_port
):
    monkeypatch.setattr(vae_helpers.MNIST, "mirrors", [closed_port])
    monkeypatch.delenv("VAE_DATASET", raising=False)
    assert load_digits(tmp_path).name == "embedded digits"
    printed, errors = capsys.readouterr()
    assert printed.count("\n") == 1 and errors == ""
    assert printed.startswith("NOT MNIST, but the drawn digits embedded in this project.")
    assert "Connection refused" in printed and str(tmp_path / "MNIST" / "raw") in printed


def test_without_network_mnist_is_an_error_where_it_was_asked_for(
    tmp_path, monkeypatch, closed_port
):
    monkeypatch.setattr(vae_helpers.MNIST, "mirrors", [closed_port])
    monkeypatch.setenv("VAE_DATASET", "mnist")
    with pytest.raises(RuntimeError, match="^MNIST could not be had in .*Connection refused.*$"):
        load_digits(tmp_path)


def test_a_server_that_never_answers_does_not_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(vae_helpers, "DOWNLOAD_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        monkeypatch.setattr(vae_helpers.MNIST, "mirrors", [url, url])
        started = time.monotonic()
        with pytest.raises(RuntimeError, match="timed out"):
            load_digits(tmp_path, "mnist")
        assert time.monotonic() - started < 5
    assert socket.getdefaulttimeout() is None


def test_a_server_that_speaks_no_http_is_survived(tmp_path, monkeypatch, capsys):
    def answer(server):
        connection, _ = server.accept()
        connection.recv(1000)
        connection.sendall(b"what?\r\n\r\n")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, args=[server]).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        monkeypatch.setattr(vae_helpers.MNIST, "mirrors", [url])
        assert load_digits(tmp_path, "auto").name == "embedded digits"
    assert "MNIST could not be had" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    root = tmp_path / "data"
    root.mkdir(mode=0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # nobody: the superuser could write even there
    try:
        with pytest.raises(RuntimeError, match="data.*Permission denied.*Make the folder writable"):
            load_digits(root, "mnist")
    finally:
        os.seteuid(user)


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RuntimeError, match="MNIST could not be had in .*file.*Not a directory"):
        load_digits(tmp_path / "file", "mnist")


@pytest.mark.parametrize("wrong", ["cifar", "MNIST", ""])
def test_another_data_set_is_refused(wrong, monkeypatch):
    message = f"VAE_DATASET .* must be auto, mnist or embedded, not {wrong!r}"
    with pytest.raises(ValueError, match=message):
        load_digits(dataset=wrong)
    monkeypatch.setenv("VAE_DATASET", wrong)
    with pytest.raises(ValueError, match=message):
        load_digits()
