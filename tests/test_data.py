"""The digits: what lies in data/, and what load_digits does when MNIST cannot be had."""

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

import vae_helpers
from kernel import ROOT
from loading import binarized, start_loading
from vae_helpers import EMBEDDED_FILES, load_digits


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
    assert sum((ROOT / "data" / f"{name}.gz").stat().st_size for name in EMBEDDED_FILES) < 2e6


def test_the_script_draws_the_embedded_files_again(tmp_path):
    subprocess.run([sys.executable, ROOT / "data" / "draw_digits.py", tmp_path], check=True)
    for name in EMBEDDED_FILES:
        # Unpacked, since another zlib may pack the same bytes in another way.
        drawn = gzip.decompress((tmp_path / f"{name}.gz").read_bytes())
        assert drawn == gzip.decompress((ROOT / "data" / f"{name}.gz").read_bytes()), name


@pytest.mark.parametrize("name", EMBEDDED_FILES)
def test_damaged_embedded_files_are_an_error(name, tmp_path, monkeypatch):
    for whole in EMBEDDED_FILES:
        (tmp_path / "data").mkdir(exist_ok=True)
        shutil.copy(ROOT / "data" / f"{whole}.gz", tmp_path / "data")
    monkeypatch.setattr(vae_helpers, "HERE", tmp_path)
    assert load_digits(dataset="embedded").name == "embedded digits"
    file = tmp_path / "data" / f"{name}.gz"
    content = file.read_bytes()
    one_byte_changed = content[:-200] + bytes([content[-200] ^ 1]) + content[-199:]
    other = gzip.compress(gzip.decompress(content)[::-1])
    for damaged in (one_byte_changed, content[:-200], b"", b"no archive", other):
        file.write_bytes(damaged)
        with pytest.raises(RuntimeError, match=f"{name}.gz is missing or damaged; restore it"):
            load_digits(dataset="embedded")
    file.unlink()
    with pytest.raises(RuntimeError, match=f"{name}.gz is missing or damaged; restore it"):
        load_digits(dataset="embedded")


# MNIST that cannot be had -------------------------------------------------------------------

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
    monkeypatch.setattr(vae_helpers.MNIST, "mirrors", [closed_port])
    monkeypatch.delenv("VAE_DATASET", raising=False)
    assert load_digits(tmp_path).name == "embedded digits"
    printed, errors = capsys.readouterr()
    assert printed.count("\n") == 1 and errors == ""
    assert printed.startswith("NOT MNIST, but the drawn digits embedded in this project.")
    assert re.search(REFUSED, printed) and str(tmp_path / "MNIST" / "raw") in printed


def test_without_network_mnist_is_an_error_where_it_was_asked_for(
    tmp_path, monkeypatch, closed_port
):
    monkeypatch.setattr(vae_helpers.MNIST, "mirrors", [closed_port])
    monkeypatch.setenv("VAE_DATASET", "mnist")
    with pytest.raises(RuntimeError, match=f"^MNIST could not be had: .*{REFUSED}.*$"):
        load_digits(tmp_path)


def silent(connection):
    time.sleep(60)


def one_byte_a_second(connection):
    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 9912422\r\n\r\n")
    for _ in range(60):
        connection.sendall(b"x")
        time.sleep(1)


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


def lines_printed(processes):
    return {name: process.communicate(timeout=90)[0] for name, process in processes.items()}


def test_no_network_of_any_kind_holds_up_a_start_for_30_seconds(tmp_path, serve):
    # A resolver that never answers, in the process that downloads.
    (tmp_path / "sitecustomize.py").write_text(
        "import socket, time\nsocket.getaddrinfo = lambda *_, **__: time.sleep(60)"
    )
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    one_byte, nothing = serve(one_byte_a_second), serve(silent)
    printed = lines_printed(
        {
            "no name": start_loading(tmp_path / "1", "http://there.is.no.such.host.invalid/"),
            "no http": start_loading(tmp_path / "2", serve(no_http)),
        }
    )
    # These three mostly wait.
    printed |= lines_printed(
        {
            "no resolver": start_loading(tmp_path / "3", "http://localhost/", PYTHONPATH=paths),
            "silent": start_loading(tmp_path / "4", nothing, nothing),
            "one byte a second": start_loading(tmp_path / "5", one_byte, one_byte),
        }
    )
    reasons = {
        "no name": UNKNOWN,
        "no http": "what",
        "no resolver": "less than 100 kB came in 10 seconds",
        "silent": "timed out|less than 100 kB came in 10 seconds",
        "one byte a second": "less than 100 kB came in 10 seconds",
    }
    for name, lines in printed.items():
        pattern = f"(?m)^NOT MNIST.*{reasons[name]}.*\nembedded digits, ([0-9.]+) s\n\\Z"
        found = re.search(pattern, lines)
        assert found, lines
        print(f"{name}: {float(found[1]):.1f} s")
        assert float(found[1]) < 30


def test_a_file_in_the_way_is_survived(tmp_path, monkeypatch, capsys, closed_port):
    monkeypatch.setattr(vae_helpers.MNIST, "mirrors", [closed_port])
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
