"""What needs the real MNIST, as .gz files in data/MNIST/raw; without them these are skipped."""

import functools
import gzip
import http.server
import os
import re
import signal
import subprocess
import sys
import threading
from unittest.mock import patch

import pytest
import torch

import vae_digits
from project import MNIST_FOLDER, ROOT, small_environment
from vae_digits import PACKED, load_digits

NAMES = [packed.removesuffix(".gz") for packed in PACKED]

pytestmark = [
    pytest.mark.mnist,
    pytest.mark.skipif(len([*MNIST_FOLDER.glob("*.gz")]) < 4, reason="needs MNIST's .gz files"),
    pytest.mark.skipif(os.name != "posix", reason="they kill processes, and change the user"),
]


@functools.cache
def content(name):
    """What MNIST's own file of this name holds, packed or unpacked."""
    packed = (MNIST_FOLDER / f"{name.removesuffix('.gz')}.gz").read_bytes()
    return packed if name.endswith(".gz") else gzip.decompress(packed)


def is_mnist(digits):
    """Whether they are MNIST's numbers, which are the last bytes of its files."""
    numbers = zip(NAMES, (tensor.byte().numpy().tobytes() for tensor in digits[1:]))
    return digits.name == "MNIST" and all(content(name).endswith(n) for name, n in numbers)


def whole_files(folder):
    """Names of MNIST's files in the folder, which all must be whole."""
    files = [*folder.glob("*ubyte*")]
    assert [file for file in files if file.read_bytes() != content(file.name)] == []
    return {file.name for file in files}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(vae_digits, "MIRRORS", ["no-network:"])


@pytest.fixture
def folder(tmp_path):
    """The folder for MNIST's files in tmp_path, with the .gz files."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in PACKED:
        (folder / name).write_bytes(content(name))
    return folder


@pytest.fixture
def asked(tmp_path, no_network, monkeypatch):
    """What two mirrors are asked for; the first has web pages in place of MNIST's files."""
    asked, site = [], tmp_path / "site"
    (site / "faulty").mkdir(parents=True)
    (site / "whole").symlink_to(MNIST_FOLDER)
    for name in PACKED:
        (site / "faulty" / name).write_text("<html>Please log in to this network.</html>")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.handle_error = lambda *request: None  # one may hang up who has seen the headers
        mirrors = [f"http://127.0.0.1:{server.server_port}/{name}/" for name in ("faulty", "whole")]
        monkeypatch.setattr(vae_digits, "MIRRORS", mirrors)
        yield asked
        server.shutdown()


def test_mnist_is_downloaded_from_the_first_whole_mirror_and_kept(tmp_path, asked, capsys):
    steps = [OSError, KeyboardInterrupt]  # there is no .gz to unpack; then there is a mirror's
    with patch.object(vae_digits.utils, "extract_archive", side_effect=steps):
        pytest.raises(KeyboardInterrupt, load_digits, tmp_path)
    assert "whole" in asked[-1] and whole_files(tmp_path / "MNIST" / "raw") == set()
    capsys.readouterr()
    assert is_mnist(load_digits(tmp_path))
    printed, errors = capsys.readouterr()
    assert all(f"Downloading {vae_digits.MIRRORS[1]}{name}" in printed for name in PACKED)
    assert errors == "" and whole_files(tmp_path / "MNIST" / "raw") == {*NAMES, *PACKED}
    asked.clear()
    assert is_mnist(load_digits(tmp_path))
    assert capsys.readouterr() == ("", "") and asked == []


def test_what_is_damaged_or_lacking_is_refused_or_replaced(tmp_path, folder, asked):
    (folder / NAMES[0]).write_bytes(content(NAMES[0]))
    (folder / f"{NAMES[0]}.gz").write_bytes(b"no archive")  # beside a whole file it does no harm
    for name in NAMES[1:]:
        (folder / name).write_bytes(content(name)[:-1] + b"?")
    (folder / f"{NAMES[2]}.gz").write_bytes(content(f"{NAMES[2]}.gz")[:-1000])
    (folder / f"{NAMES[3]}.gz").unlink()
    before = {file: file.read_bytes() for file in folder.glob("*ubyte*")}
    with patch.object(vae_digits, "MIRRORS", vae_digits.MIRRORS[:1]):
        words = f"{folder / NAMES[2]}.gz is missing or damaged; put the original there"
        with pytest.raises(RuntimeError, match=f"^MNIST is not available: {words} .*corrupted"):
            load_digits(tmp_path, "mnist")
    assert {file: file.read_bytes() for file in folder.glob("*ubyte*")} == before
    asked.clear()
    assert is_mnist(load_digits(tmp_path, "mnist"))
    assert {*asked} == {f"/{m}/{NAMES[i]}.gz" for m in ("faulty", "whole") for i in (2, 3)}
    (folder / f"{NAMES[0]}.gz").unlink()
    assert whole_files(folder) == {*NAMES, *PACKED} - {f"{NAMES[0]}.gz"}


LOAD = """
import os, signal, sys, vae_digits
root, killed, *vae_digits.MIRRORS = sys.argv[1:]
keep = os.replace
if killed:  # once it has kept its first file
    os.replace = lambda *names: [keep(*names), os.kill(os.getpid(), signal.SIGKILL)]
vae_digits.load_digits(root, "mnist")
"""


def test_processes_that_are_killed_or_run_at_once_end_with_whole_files(tmp_path, asked):
    def start(killed):
        command = [sys.executable, "-c", LOAD, tmp_path, killed, *vae_digits.MIRRORS]
        return subprocess.Popen(command, env=small_environment(TMPDIR=str(tmp_path)))

    folder = tmp_path / "MNIST" / "raw"
    assert start(killed="killed").wait() == -signal.SIGKILL
    assert len(whole_files(folder)) == 1
    asked.clear()
    assert [process.wait() for process in [start(killed=""), start(killed="")]] == [0, 0]
    assert {*NAMES} <= whole_files(folder)
    assert {asked.count(path) for path in asked} == {2}  # by one of them: first for redirections


def test_a_read_only_folder_is_read(tmp_path, folder, capsys):
    folder.chmod(0o555)
    for path in [tmp_path, *tmp_path.parents]:
        if path.name.startswith(("test_", "popen-", "pytest-")):  # pytest's own
            path.chmod(0o755)
    user = os.geteuid()
    try:
        if user == 0:  # the superuser could write everywhere
            os.seteuid(65534)
        with pytest.raises(PermissionError):
            (folder / "new").write_text("")
        assert is_mnist(load_digits(tmp_path, "mnist"))
        assert capsys.readouterr() == ("", "")  # nothing was downloaded in vain
    finally:
        os.seteuid(user)


def test_what_cannot_be_kept_is_used_and_that_is_said(tmp_path, asked, capsys):
    (tmp_path / "MNIST").write_text("a file in the way")
    assert is_mnist(load_digits(tmp_path, "mnist"))
    line = capsys.readouterr().out.splitlines()[-1]
    assert re.match(r"MNIST cannot be kept, and must be .*: .*Not a directory.*/MNIST", line)
    assert (tmp_path / "MNIST").read_text() == "a file in the way"


def test_a_relative_root_is_found_from_everywhere(tmp_path, folder, monkeypatch):
    (tmp_path / "elsewhere").mkdir(), (tmp_path / "données 数").mkdir()
    folder.parent.rename(tmp_path / "données 数" / "MNIST")
    places = [tmp_path, tmp_path / "elsewhere"]
    for here, beside_the_module in (places, places[::-1]):
        monkeypatch.chdir(here)
        monkeypatch.setattr(vae_digits, "HERE", beside_the_module)
        assert is_mnist(load_digits("données 数", "mnist"))


def test_embedded_digits_can_stand_in_for_mnist():
    mnist, drawn = load_digits(ROOT / "data", "mnist"), load_digits(dataset="embedded")
    images = (drawn.train_images, mnist.test_images)
    fitted, tested = ((x.flatten(start_dim=1) > 127).float() for x in images)
    nearest = drawn.train_labels[torch.cdist(tested, fitted).topk(3, largest=False).indices]
    first, second, third = nearest.T
    labels = torch.where(second == third, second, first)  # the majority's, or the nearest one's
    accuracy = (labels == mnist.test_labels).float().mean().item()
    # What data/README.md says; neighbours at the same distance may come in another order.
    assert accuracy == pytest.approx(0.899, abs=0.002)
