"""The digits: what lies in data/, and what load_digits does when MNIST is not available."""

import gzip
import os
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
from loading_process import binarized, start_loading
from project import ROOT
from vae_digits import PACKED, load_digits


@pytest.fixture(scope="module")
def embedded():
    return load_digits(dataset="embedded")


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
    assert sum((ROOT / "data" / name).stat().st_size for name in PACKED) < 2e6


def test_the_script_draws_the_embedded_files_again(tmp_path):
    subprocess.run([sys.executable, ROOT / "data" / "draw_digits.py", tmp_path], check=True)
    for name in PACKED:
        # Unpacked, since another zlib may pack the same bytes in another way.
        drawn = gzip.decompress((tmp_path / name).read_bytes())
        assert drawn == gzip.decompress((ROOT / "data" / name).read_bytes()), name


@pytest.mark.parametrize("name", PACKED)
def test_damaged_embedded_files_are_an_error(name, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    for whole in PACKED:
        shutil.copy(ROOT / "data" / whole, tmp_path / "data")
    monkeypatch.setattr(vae_digits, "HERE", tmp_path)
    assert load_digits(dataset="embedded").name == "embedded digits"
    file = tmp_path / "data" / name
    content = file.read_bytes()
    one_byte_changed = content[:-200] + bytes([content[-200] ^ 1]) + content[-199:]
    other = gzip.compress(gzip.decompress(content)[::-1])
    for damaged in (one_byte_changed, content[:-200], b"", b"no archive", other, None):
        file.unlink() if damaged is None else file.write_bytes(damaged)
        with pytest.raises(RuntimeError, match=f"^{file} is missing or damaged; put the original"):
            load_digits(dataset="embedded")
    assert {file.name for file in (tmp_path / "data").iterdir()} == {*PACKED} - {name}


# MNIST that is not available ----------------------------------------------------------------

# What Linux and macOS, and Windows say where nothing listens, and where a name is unknown.
REFUSED = "(Connection|actively) refused"
UNKNOWN = r"urlopen error \[Errno (-\d|8|11001)\]"


@pytest.fixture
def closed_port():
    """A loopback address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}/"


def test_without_network_the_embedded_digits_are_used_and_that_is_said(
    tmp_path, monkeypatch, capsys, closed_port
):
    monkeypatch.setattr(vae_digits, "MIRRORS", [closed_port])
    monkeypatch.delenv("VAE_DATASET", raising=False)
    assert load_digits(tmp_path).name == "embedded digits"
    printed, errors = capsys.readouterr()
    *downloads, printed = printed.splitlines()
    assert downloads == [f"Downloading {closed_port}train-images-idx3-ubyte.gz"] and errors == ""
    assert printed.startswith("NOT MNIST: these are the drawn digits embedded in this project. ")
    assert re.search(REFUSED, printed) and str(tmp_path / "MNIST" / "raw") in printed


def test_without_network_mnist_is_an_error_where_it_was_asked_for(
    tmp_path, monkeypatch, closed_port
):
    monkeypatch.setattr(vae_digits, "MIRRORS", [closed_port])
    monkeypatch.setenv("VAE_DATASET", "mnist")
    with pytest.raises(RuntimeError, match=f"^MNIST is not available: .*{REFUSED}.*$"):
        load_digits(tmp_path)


def silent(connection):
    time.sleep(60)


def no_http(connection):
    connection.sendall(b"what?\r\n\r\n")


@pytest.fixture
def serve():
    """Starts a server on a loopback address that answers each request as it is told."""
    servers = []

    def answer_all(server, answer):
        def one(connection):
            with connection:
                try:
                    connection.recv(1000)
                    answer(connection)
                except OSError:
                    pass  # the other side has gone

        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return  # closed
            threading.Thread(target=one, args=[connection], daemon=True).start()

    def start(answer):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        threading.Thread(target=answer_all, args=[server, answer], daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/"

    yield start
    for server in servers:
        server.close()


def test_no_network_of_any_kind_holds_up_a_start_for_30_seconds(tmp_path, serve):
    # A firewall that drops what is sent to any of a server's ten addresses, as a full queue does.
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\none = socket.getaddrinfo\n"
        "socket.getaddrinfo = lambda *a, **k: one(*a, **k) * 10"
    )
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        dropped = f"http://127.0.0.1:{full.getsockname()[1]}/"
        nothing = serve(silent)
        with socket.create_connection(full.getsockname()):
            pass
        processes = {
            UNKNOWN: start_loading(tmp_path / "1", "http://there.is.no.such.host.invalid/"),
            "what": start_loading(tmp_path / "2", serve(no_http)),
            "timed out": start_loading(tmp_path / "3", nothing, nothing),
            "timed out>": start_loading(tmp_path / "4", dropped, dropped, PYTHONPATH=paths),
        }
        for reason, process in processes.items():
            printed = process.communicate(timeout=150)[0]
            pattern = f"(?m)^NOT MNIST.*{reason}.*\nembedded digits, ([0-9.]+) s\n\\Z"
            found = re.search(pattern, printed)
            assert found and float(found[1]) < 30, printed


def test_a_file_in_the_way_is_survived(tmp_path, monkeypatch, capsys, closed_port):
    monkeypatch.setattr(vae_digits, "MIRRORS", [closed_port])
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
