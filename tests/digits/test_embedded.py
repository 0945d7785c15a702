"""The digits: what lies in data/, and what load_digits does when MNIST is not available."""

import gzip
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest
import torch

import vae_digits
from project import ROOT
from vae_digits import PACKED, load_digits


def test_embedded_digits_have_the_form_of_mnist_and_are_named():
    digits = load_digits(dataset="embedded")
    assert digits.name == "embedded digits"
    for images, labels, n in [(*digits[1:3], 6000), (*digits[3:], 1000)]:
        assert (images.shape, images.dtype) == ((n, 28, 28), torch.uint8)
        assert (labels.shape, labels.dtype) == ((n,), torch.int64)
        assert torch.bincount(labels).tolist() == [n // 10] * 10
        # In no order: among the first 200 every class is there, and none is half of them.
        in_first_200 = torch.bincount(labels[:200], minlength=10)
        assert 0 < in_first_200.min() and in_first_200.max() < 100


def test_the_script_draws_the_embedded_files_again(tmp_path):
    subprocess.run([sys.executable, ROOT / "data" / "draw_digits.py", tmp_path], check=True)
    for name in PACKED:
        # Unpacked, since another zlib may pack the same bytes in another way.
        drawn = gzip.decompress((tmp_path / name).read_bytes())
        assert drawn == gzip.decompress((ROOT / "data" / name).read_bytes()), name


def test_a_damaged_embedded_file_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(vae_digits, "HERE", tmp_path)
    shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("MNIST"))
    before = {*tmp_path.rglob("*")}
    file = tmp_path / "data" / "t10k-images-idx3-ubyte.gz"
    content = file.read_bytes()
    other = gzip.compress(gzip.decompress(content)[::-1])
    # Unpacking them ends in EOFError, in BadGzipFile, and well.
    for damaged in (content[:-200], b"no archive", other):
        file.write_bytes(damaged)
        with pytest.raises(RuntimeError, match=f"^{file} is missing or damaged; put the original"):
            load_digits(dataset="embedded")
    assert {*tmp_path.rglob("*")} == before  # nothing is left beside them


@pytest.mark.parametrize(
    "network, reason",
    [
        ("no host", r"urlopen error \[Errno (-\d|8|11001)\]"),  # on Linux, macOS, Windows
        ("silence", "timed out"),  # the connection is made, and nothing comes
        ("dropped", "timed out>"),  # what is sent, by a firewall or, here, since a queue is full
    ],
)
def test_without_mnist_the_embedded_digits_are_used_soon_and_that_is_said(
    network, reason, tmp_path, monkeypatch, capsys
):
    server = socket.create_server(("127.0.0.1", 0))
    host = "no.such.host.invalid" if network == "no host" else "127.0.0.1"
    mirror = f"http://{host}:{server.getsockname()[1]}/"
    if network == "dropped":
        server.listen(0)
        socket.create_connection(server.getsockname())
    one_address = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: one_address(*a, **k) * 10)
    monkeypatch.setattr(vae_digits, "MIRRORS", [mirror, mirror])
    monkeypatch.setattr(vae_digits, "TIMEOUT", 0.2)  # seconds instead of 5
    monkeypatch.delenv("VAE_DATASET", raising=False)
    started = time.monotonic()
    assert load_digits(tmp_path).name == "embedded digits"
    # Two mirrors, two addresses of each, and a second to load: 21 seconds with the real limit.
    assert time.monotonic() - started < 4 * 0.2 + 1
    printed, errors = capsys.readouterr()
    *downloads, says = printed.splitlines()
    assert downloads == 2 * [f"Downloading {mirror}train-images-idx3-ubyte.gz"] and errors == ""
    assert says.startswith("NOT MNIST: these are the drawn digits embedded in this project. ")
    assert re.search(reason, says) and str(tmp_path / "MNIST" / "raw") in says
    with pytest.raises(RuntimeError, match=f"^MNIST is not available: .*{reason}.*$"):
        load_digits(tmp_path, "mnist")


@pytest.mark.parametrize("wrong", ["MNIST", ""])
def test_another_data_set_is_refused(wrong, monkeypatch):
    for variable, argument in (("embedded", wrong), (wrong, None)):
        monkeypatch.setenv("VAE_DATASET", variable)
        with pytest.raises(ValueError, match=f"must be auto, mnist or embedded, not {wrong!r}"):
            load_digits(dataset=argument)
