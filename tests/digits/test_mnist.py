"""What needs the real MNIST, as .gz files in data/MNIST/raw; without them these are skipped."""

import functools
import gzip
import http.server
import os
import re
import shutil
import signal
import threading
import time

import pytest
import torch

import vae_digits
from loading_process import start_loading
from project import MNIST_FOLDER, ROOT, binarized
from vae_digits import PACKED, load_digits

NAMES = [packed.removesuffix(".gz") for packed in PACKED]

pytestmark = [
    pytest.mark.mnist,
    pytest.mark.skipif(
        not all((MNIST_FOLDER / name).exists() for name in PACKED),
        reason="MNIST's .gz files are not in data/MNIST/raw",
    ),
    pytest.mark.skipif(os.name != "posix", reason="they kill processes, and change the user"),
]


@pytest.fixture
def packed(tmp_path):
    """A data folder with the four .gz files of MNIST; the folder that they lie in."""
    folder = tmp_path / "data" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in PACKED:
        shutil.copy(MNIST_FOLDER / name, folder)
    return folder


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr(vae_digits, "MIRRORS", ["no-network:"])


@pytest.fixture(scope="module")
def mnist():
    return load_digits(ROOT / "data", "mnist")


def unpack(packed, name):
    """Replace a .gz by what is in it."""
    file = packed / f"{name}.gz"
    (packed / name).write_bytes(gzip.decompress(file.read_bytes()))
    file.unlink()


def whole_files(root):
    """Names of MNIST's files below root, which all must be whole."""
    files = list((root / "MNIST" / "raw").glob("*ubyte*"))
    for file in files:
        packed = (MNIST_FOLDER / f"{file.name.removesuffix('.gz')}.gz").read_bytes()
        assert file.read_bytes() == (packed if file.suffix else gzip.decompress(packed)), file
    return {file.name for file in files}


def is_mnist(digits, mnist):
    return digits.name == "MNIST" and all(torch.equal(a, b) for a, b in zip(digits[1:], mnist[1:]))


# Whole and faulty ---------------------------------------------------------------------------


def one_byte_changed(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.fixture
def mirror():
    """Starts a mirror of MNIST: its address and the list of the files that it is asked for."""
    servers = []

    def start(folder=MNIST_FOLDER, seconds=0):
        asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path.removeprefix("/"))
                time.sleep(seconds)
                super().do_GET()

            def log_message(self, *words):
                pass

        handler = functools.partial(Handler, directory=folder)
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        servers[-1].handle_error = lambda *words: None  # the other side has gone
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_mnist_is_downloaded_once_and_kept(tmp_path, monkeypatch, capsys, mirror, mnist):
    address, asked = mirror()
    monkeypatch.setattr(vae_digits, "MIRRORS", [address])
    assert is_mnist(load_digits(tmp_path), mnist)
    printed, errors = capsys.readouterr()
    assert all(f"Downloading {address}{name}" in printed for name in PACKED) and errors == ""
    assert set(asked) == {*PACKED} and whole_files(tmp_path) == {*NAMES, *PACKED}
    asked.clear()
    assert is_mnist(load_digits(tmp_path), mnist)
    assert capsys.readouterr() == ("", "") and asked == []


def test_a_faulty_download_comes_from_the_next_mirror_or_is_refused(
    tmp_path, monkeypatch, mirror, mnist
):
    for name in PACKED:
        (tmp_path / name).write_text("<html>Please log in to this network.</html>")
    faulty, whole = mirror(tmp_path)[0], mirror()[0]
    monkeypatch.setattr(vae_digits, "MIRRORS", [faulty])
    with pytest.raises(RuntimeError, match="train-images-idx3-ubyte.gz: File not found or corrup"):
        load_digits(tmp_path, "mnist")
    assert not whole_files(tmp_path)
    monkeypatch.setattr(vae_digits, "MIRRORS", [faulty, whole])
    assert is_mnist(load_digits(tmp_path, "mnist"), mnist)


def test_only_what_is_lacking_is_downloaded(packed, monkeypatch, mirror, mnist):
    address, asked = mirror()
    monkeypatch.setattr(vae_digits, "MIRRORS", [address])
    unpack(packed, NAMES[0])
    (packed / f"{NAMES[0]}.gz").write_bytes(b"no archive")  # beside a whole file it does no harm
    (packed / f"{NAMES[3]}.gz").unlink()
    assert is_mnist(load_digits(packed.parents[1], "mnist"), mnist)
    assert set(asked) == {f"{NAMES[3]}.gz"}


@pytest.mark.parametrize("name", [NAMES[0], NAMES[3]])
def test_a_damaged_unpacked_file_is_seen(name, packed, no_network, mnist):
    unpack(packed, name)
    file, root = packed / name, packed.parents[1]
    damaged = one_byte_changed(file.read_bytes())
    file.write_bytes(damaged)
    refused = f"^MNIST is not available: {file}.gz is missing or damaged; put the"
    with pytest.raises(RuntimeError, match=refused):
        load_digits(root, "mnist")
    assert file.read_bytes() == damaged
    # With its .gz beside it, it is replaced.
    shutil.copy(MNIST_FOLDER / f"{name}.gz", packed)
    assert is_mnist(load_digits(root, "mnist"), mnist)
    assert {name} <= whole_files(root)


def test_a_damaged_gz_is_fetched_again_or_named(packed, no_network, monkeypatch, mirror, mnist):
    file = packed / f"{NAMES[2]}.gz"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(RuntimeError, match=f"{file} is missing or damaged"):
        load_digits(packed.parents[1], "mnist")
    monkeypatch.setattr(vae_digits, "MIRRORS", [mirror()[0]])
    assert is_mnist(load_digits(packed.parents[1], "mnist"), mnist)
    assert {file.name} <= whole_files(packed.parents[1])


# Folders ------------------------------------------------------------------------------------


def test_a_read_only_folder_is_read(packed, no_network, capsys, mnist):
    folders = [packed, *packed.parents]
    for folder in folders[:3]:
        folder.chmod(0o555)
    for folder in folders[3:]:
        if folder.name.startswith(("test_", "popen-", "pytest-")):  # pytest's own
            folder.chmod(0o755)
    user = os.geteuid()
    try:
        if user == 0:  # the superuser could write everywhere
            os.seteuid(65534)
        with pytest.raises(PermissionError):
            (packed / "new").write_text("")
        assert is_mnist(load_digits(packed.parents[1], "mnist"), mnist)
        assert capsys.readouterr() == ("", "")  # nothing was downloaded in vain
    finally:
        os.seteuid(user)


def test_what_cannot_be_kept_is_used_and_that_is_said(tmp_path, monkeypatch, capsys, mirror, mnist):
    monkeypatch.setattr(vae_digits, "MIRRORS", [mirror()[0]])
    (tmp_path / "MNIST").write_text("a file in the way")
    assert is_mnist(load_digits(tmp_path, "mnist"), mnist)
    line = capsys.readouterr().out.splitlines()[-1]
    assert re.match(r"MNIST cannot be kept, and must be .*: .*Not a directory.*/MNIST", line)
    assert (tmp_path / "MNIST").read_text() == "a file in the way"


def test_a_relative_root_is_found_from_everywhere(packed, no_network, monkeypatch, tmp_path, mnist):
    project = packed.parents[2].rename(tmp_path.parent / "données für MNIST 数")
    monkeypatch.chdir(project)
    monkeypatch.setattr(vae_digits, "HERE", project / "elsewhere")
    assert is_mnist(load_digits("data", "mnist"), mnist)
    (project / "elsewhere").mkdir()
    monkeypatch.chdir(project / "elsewhere")
    monkeypatch.setattr(vae_digits, "HERE", project)
    assert is_mnist(load_digits("data", "mnist"), mnist)


# Processes ----------------------------------------------------------------------------------


def test_many_processes_at_once_end_with_whole_files(tmp_path, mirror):
    address, asked = mirror(seconds=0.2)
    processes = [start_loading(tmp_path, address) for _ in range(3)]
    printed = [process.communicate(timeout=300)[0] for process in processes]
    assert all(output.endswith("MNIST\n") for output in printed), printed
    assert whole_files(tmp_path) == {*NAMES, *PACKED}
    assert sorted(asked) == sorted([*PACKED] * 2)  # by one of them: first for redirections


KILLED_WHILE_IT_KEEPS_FILES = """
def replace(*names, replace=os.replace):
    replace(*names)
    os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace
"""


@pytest.mark.parametrize(
    "how", ["SIGINT", "SIGKILL", KILLED_WHILE_IT_KEEPS_FILES], ids=["SIGINT", "SIGKILL", "keeping"]
)
def test_interrupted_at_any_moment_it_heals_itself(how, tmp_path, mirror, monkeypatch, mnist):
    address, asked = mirror(seconds=0.5)
    while_downloading = hasattr(signal, how)
    setup = "" if while_downloading else how
    process = start_loading(tmp_path, address, setup=setup, TMPDIR=str(tmp_path))
    if while_downloading:
        while len(asked) < 3:  # in the middle of the second file
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(getattr(signal, how))
    assert process.wait() != 0
    assert len(whole_files(tmp_path)) == (0 if while_downloading else 1)
    monkeypatch.setattr(vae_digits, "MIRRORS", [mirror()[0]])
    assert is_mnist(load_digits(tmp_path, "mnist"), mnist)


# The digits themselves ----------------------------------------------------------------------


def test_mnist_is_the_real_one(mnist):
    assert mnist.train_images.shape == (60_000, 28, 28)
    assert mnist.test_images.shape == (10_000, 28, 28)
    assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


def nearest_neighbours_accuracy(images, labels, test_images, test_labels, k=3):
    """Share of the test digits that the majority of their k nearest neighbours reads correctly."""
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
    # What data/README.md says; neighbours at the same distance may come in another order.
    assert accuracy == pytest.approx(0.899, abs=0.002)
