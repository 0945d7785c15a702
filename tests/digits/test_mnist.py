"""What needs the real MNIST, as .gz files in data/MNIST/raw. Without them these are skipped."""

import gzip
import http.server
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest
import torch

import vae_digits
from loading_process import binarized, start_loading
from project import MNIST_FOLDER, ROOT
from vae_digits import PACKED, load_digits

resource = pytest.importorskip("resource", reason="these tests limit and kill processes of Unix")

NAMES = [packed.removesuffix(".gz") for packed in PACKED]

pytestmark = pytest.mark.skipif(
    not all((MNIST_FOLDER / f"{name}.gz").exists() for name in NAMES),
    reason="MNIST's .gz files are not in data/MNIST/raw",
)


@pytest.fixture
def packed(tmp_path):
    """A data folder with the four .gz files of MNIST; the folder that they lie in."""
    folder = tmp_path / "data" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in NAMES:
        shutil.copy(MNIST_FOLDER / f"{name}.gz", folder)
    return folder


@pytest.fixture
def unpacked(packed):
    """The same, unpacked."""
    for name in NAMES:
        file = packed / f"{name}.gz"
        (packed / name).write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    return packed


@pytest.fixture
def no_network(monkeypatch):
    """test_data.py has real ones."""
    monkeypatch.setattr(vae_digits, "MIRRORS", ["no-network:"])


@pytest.fixture(scope="module")
def mnist():
    return load_digits(ROOT / "data", "mnist")


def whole_files(root):
    """Names of MNIST's files below root, which all must be whole."""
    files = list((root / "MNIST" / "raw").glob("*ubyte*"))
    for file in files:
        packed = (MNIST_FOLDER / f"{file.name.removesuffix('.gz')}.gz").read_bytes()
        assert file.read_bytes() == (packed if file.suffix else gzip.decompress(packed)), file
    return {file.name for file in files}


def is_mnist(digits, mnist):
    return digits.name == "MNIST" and all(torch.equal(a, b) for a, b in zip(digits[1:], mnist[1:]))


# Mirrors, whole and faulty -------------------------------------------------------------------


def cut_off(content):
    return content[: len(content) // 2]


def one_byte_changed(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def error_page(content):
    return b"<html><body>Please log in to this network.</body></html>"


def whole(content):
    return content


@pytest.fixture
def mirror():
    """Starts a mirror of MNIST: its address and the list of the files that it is asked for."""
    servers = []

    def start(fault=whole, bytes_a_second=None):
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rsplit("/", 1)[1]
                asked.append(name)
                original = (MNIST_FOLDER / name).read_bytes()
                content = fault(original)
                # An error page has its own length; what is cut off has promised more.
                promised = original if fault is cut_off else content
                self.send_response(200)
                self.send_header("Content-Length", str(len(promised)))
                self.end_headers()
                step = (bytes_a_second or 10**9) // 10
                for i in range(0, len(content), step):
                    self.wfile.write(content[i : i + step])
                    if bytes_a_second:
                        time.sleep(0.1)

            def do_HEAD(self):
                self.send_response(200)
                self.end_headers()

            def log_message(self, *words):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                pass  # the other side has gone

        server = Server(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/", asked

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


@pytest.mark.parametrize("fault", [cut_off, one_byte_changed, error_page])
def test_a_faulty_download_comes_from_the_next_mirror_or_is_refused(
    fault, tmp_path, monkeypatch, mirror, mnist
):
    faulty, whole = mirror(fault)[0], mirror()[0]
    monkeypatch.setattr(vae_digits, "MIRRORS", [faulty])
    with pytest.raises(RuntimeError, match="train-images-idx3-ubyte.gz: File not found or corrup"):
        load_digits(tmp_path, "mnist")
    assert not whole_files(tmp_path)
    monkeypatch.setattr(vae_digits, "MIRRORS", [faulty, whole])
    assert is_mnist(load_digits(tmp_path, "mnist"), mnist)


def test_only_what_is_lacking_is_downloaded(packed, monkeypatch, mirror, mnist):
    address, asked = mirror()
    monkeypatch.setattr(vae_digits, "MIRRORS", [address])
    (packed / NAMES[0]).write_bytes(gzip.decompress((packed / f"{NAMES[0]}.gz").read_bytes()))
    (packed / f"{NAMES[0]}.gz").unlink()
    (packed / f"{NAMES[3]}.gz").unlink()
    assert is_mnist(load_digits(packed.parents[1], "mnist"), mnist)
    assert set(asked) == {f"{NAMES[3]}.gz"}


# Damaged files ------------------------------------------------------------------------------


def number(n):
    return n.to_bytes(4, "big")


DAMAGE = {
    "truncated": lambda content: content[:-1000],
    "empty": lambda content: b"",
    "wrong magic number": lambda content: number(0x1234) + content[4:],
    "claims 2^31 images": lambda content: content[:4] + number(2**31 - 1) + content[8:],
    "another data set of this shape": lambda content: content[:16] + content[:15:-1],
    "one byte changed": one_byte_changed,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", [NAMES[0], NAMES[3]])
def test_damaged_unpacked_files_are_seen(damage, name, unpacked, no_network, mnist):
    damaged = DAMAGE[damage]((unpacked / name).read_bytes())
    (unpacked / name).write_bytes(damaged)
    refused = f"^MNIST is not available: {unpacked / name}.gz is missing or damaged; put the"
    with pytest.raises(RuntimeError, match=refused):
        load_digits(unpacked.parents[1], "mnist")
    assert (unpacked / name).read_bytes() == damaged
    # With its .gz beside it, it is replaced.
    shutil.copy(MNIST_FOLDER / f"{name}.gz", unpacked)
    assert is_mnist(load_digits(unpacked.parents[1], "mnist"), mnist)
    assert (unpacked / name).read_bytes() != damaged


def test_swapped_names_are_seen(unpacked, no_network):
    images, labels = unpacked / NAMES[2], unpacked / NAMES[3]
    images.rename(unpacked / "other")
    labels.rename(images)
    (unpacked / "other").rename(labels)
    with pytest.raises(RuntimeError, match=f"{NAMES[2]}.gz is missing or damaged"):
        load_digits(unpacked.parents[1], "mnist")


@pytest.mark.parametrize("damage", [cut_off, one_byte_changed, error_page])
def test_damaged_gz_files_are_fetched_again_or_named(
    damage, packed, no_network, monkeypatch, mirror, mnist
):
    file = packed / f"{NAMES[2]}.gz"
    content = file.read_bytes()
    file.write_bytes(damage(content))
    with pytest.raises(RuntimeError, match=f"{file} is missing or damaged"):
        load_digits(packed.parents[1], "mnist")
    monkeypatch.setattr(vae_digits, "MIRRORS", [mirror()[0]])
    assert is_mnist(load_digits(packed.parents[1], "mnist"), mnist)
    assert file.read_bytes() == content


def test_a_damaged_gz_beside_a_whole_unpacked_file_does_no_harm(unpacked, no_network, mnist):
    (unpacked / f"{NAMES[0]}.gz").write_bytes(b"no archive")
    assert is_mnist(load_digits(unpacked.parents[1], "mnist"), mnist)


# Folders ------------------------------------------------------------------------------------


@pytest.fixture
def ordinary_user():
    """Where the tests run as the superuser, who could write everywhere."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_a_read_only_folder_is_read(packed, no_network, mnist, request):
    for folder in [packed, *packed.parents[:2]]:
        folder.chmod(0o555)
    for folder in packed.parents[2:]:  # pytest's own
        if folder.name.startswith(("test_", "popen-", "pytest-")):
            folder.chmod(0o755)
    request.getfixturevalue("ordinary_user")
    with pytest.raises(PermissionError):
        (packed / "new").write_text("")
    assert is_mnist(load_digits(packed.parents[1], "mnist"), mnist)


def test_what_cannot_be_kept_is_used_and_that_is_said(tmp_path, monkeypatch, capsys, mirror, mnist):
    monkeypatch.setattr(vae_digits, "MIRRORS", [mirror()[0]])
    (tmp_path / "MNIST").write_text("a file in the way")
    assert is_mnist(load_digits(tmp_path, "mnist"), mnist)
    line = capsys.readouterr().out.splitlines()[-1]
    assert re.match(r"MNIST cannot be kept, and must be .*: .*Not a directory.*/MNIST", line)
    assert (tmp_path / "MNIST").read_text() == "a file in the way"


def test_a_full_disk_leaves_nothing_behind(tmp_path, mirror):
    """A file system of 4 MB for the data folder, if mounting one is permitted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        output = start_loading(disk, mirror()[0]).communicate(timeout=120)[0]
        assert re.search("MNIST cannot be kept.*No space left on device.*\nMNIST, .* s\n$", output)
        assert whole_files(disk) < {*NAMES, *PACKED}
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("limit", [5, 20])
def test_where_no_large_file_can_be_written_the_embedded_digits_serve(limit, tmp_path, mirror):
    """As on a full disk: no file may grow beyond so many megabytes, temporary ones included."""

    def limit_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit * 10**6, resource.RLIM_INFINITY))

    process = start_loading(tmp_path, mirror()[0], preexec_fn=limit_files)
    output = process.communicate(timeout=120)[0]
    assert re.search("NOT MNIST.*File too large.*\nembedded digits, ", output), output


def test_paths_may_hold_spaces_and_other_letters(packed, no_network, mnist):
    root = packed.parents[1].rename(packed.parents[2] / "données für MNIST 数")
    assert is_mnist(load_digits(root, "mnist"), mnist)


def test_a_relative_path_is_the_same_from_every_working_directory(
    packed, no_network, monkeypatch, tmp_path, mnist
):
    monkeypatch.chdir(packed.parents[2])
    assert is_mnist(load_digits("data", "mnist"), mnist)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(vae_digits, "HERE", packed.parents[2])
    assert is_mnist(load_digits("data", "mnist"), mnist)


# Processes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 10])
def test_many_processes_at_once_end_with_whole_files(n, tmp_path, mirror):
    address, asked = mirror()
    processes = [start_loading(tmp_path, address) for _ in range(n)]
    printed = [process.communicate(timeout=300)[0] for process in processes]
    assert all(re.search(r"(^|\n)MNIST, .* s\n$", output) for output in printed), printed
    assert whole_files(tmp_path) == {*NAMES, *PACKED}
    assert sorted(asked) == sorted([*PACKED] * 2)  # by one of them: first for redirections


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_interrupted_at_any_moment_it_heals_itself(how, tmp_path, mirror, monkeypatch, mnist):
    address, asked = mirror(bytes_a_second=8 * 10**6)
    for moment in (0.0, 1.0, 2.0):  # of about three seconds
        asked.clear()
        process = start_loading(tmp_path, address, TMPDIR=str(tmp_path))
        while not asked:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(moment)
        process.send_signal(how)
        assert process.wait() != 0
        whole_files(tmp_path)
    monkeypatch.setattr(vae_digits, "MIRRORS", [address])
    assert is_mnist(load_digits(tmp_path, "mnist"), mnist)


# The digits themselves ----------------------------------------------------------------------


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
    # What data/README.md says; neighbours at the same distance may come in another order.
    assert accuracy == pytest.approx(0.899, abs=0.002)
