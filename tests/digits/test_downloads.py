"""MNIST's files: found, downloaded, or refused. Small random digits and local servers stand in."""

import gzip
import hashlib
import http.server
import json
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

import vae_digits
from idx_files import contents, holds, idx, random_digits
from project import small_environment
from vae_digits import FILES, load_digits

PACKED = [f"{name}.gz" for name in FILES]
UNPACKED_CONTENT = dict(zip(FILES, map(idx, random_digits())))
CONTENT = {f"{name}.gz": gzip.compress(UNPACKED_CONTENT[name], mtime=0) for name in FILES}
NOT_MNIST = "NOT MNIST: these are the drawn digits embedded in this project. "


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture(autouse=True)
def small_mnist(monkeypatch):
    """Small random digits take MNIST's place; there is no network."""
    monkeypatch.setitem(vae_digits.MD5S, "MNIST", [*map(md5, UNPACKED_CONTENT.values())])
    resources = [(name, md5(content)) for name, content in CONTENT.items()]
    monkeypatch.setattr(vae_digits.MNIST, "resources", resources)
    monkeypatch.setattr(vae_digits.MNIST, "mirrors", ["http://no.such.host.invalid/"])
    monkeypatch.delenv("VAE_DATASET", raising=False)


@pytest.fixture
def folder(tmp_path):
    """The empty folder for MNIST's files, where tmp_path is the root."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    return folder


class Mirror(http.server.ThreadingHTTPServer):
    """A server on this machine that has MNIST's files, or what a test puts in their place."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.files, self.asked = dict(CONTENT), []
        self.cut_off = None  # the name of a file that breaks off before its end
        self.before_answer = lambda name: None

    def handle_error(self, *request):
        """Nothing: torchvision hangs up when it has seen the headers of its first request."""


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.strip("/")
        self.server.asked.append(name)
        self.server.before_answer(name)
        self.send_response(200)
        content = self.server.files[name]
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:-100] if name == self.server.cut_off else content)

    def log_message(self, *words):
        pass


@pytest.fixture
def mirror(small_mnist, monkeypatch):
    with Mirror() as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        monkeypatch.setattr(vae_digits.MNIST, "mirrors", [server.url])
        yield server
        server.shutdown()


# What is downloaded ------------------------------------------------------------------------------


def test_mnist_is_downloaded(tmp_path, mirror):
    digits = load_digits(tmp_path)
    assert digits.name == "MNIST" and holds(digits, random_digits())


def test_a_download_is_kept(tmp_path, folder, mirror):
    load_digits(tmp_path)
    assert contents(tmp_path) == {folder / name: CONTENT[name] for name in PACKED}


def test_what_was_kept_is_not_downloaded_again(tmp_path, mirror):
    load_digits(tmp_path)
    mirror.asked.clear()
    assert holds(load_digits(tmp_path), random_digits())
    assert mirror.asked == []


def test_a_download_is_announced_and_stderr_stays_empty(tmp_path, folder, mirror, capfd):
    load_digits(tmp_path)
    printed, errors = capfd.readouterr()
    assert printed.startswith(f"Downloading MNIST into {folder}\n")
    assert errors == ""


def test_files_that_are_there_are_used_and_stay_as_they_are(tmp_path, folder, mirror):
    (folder / FILES[0]).write_bytes(UNPACKED_CONTENT[FILES[0]])
    repacked = gzip.compress(UNPACKED_CONTENT[FILES[2]], compresslevel=1)
    (folder / PACKED[2]).write_bytes(repacked)
    assert holds(load_digits(tmp_path), random_digits())
    assert contents(folder) == {
        folder / FILES[0]: UNPACKED_CONTENT[FILES[0]],
        folder / PACKED[1]: CONTENT[PACKED[1]],
        folder / PACKED[2]: repacked,
        folder / PACKED[3]: CONTENT[PACKED[3]],
    }


def test_the_next_mirror_is_asked_where_the_first_has_web_pages(tmp_path, mirror, monkeypatch):
    with Mirror() as portal:
        threading.Thread(target=portal.serve_forever, args=[0.01], daemon=True).start()
        portal.files = {name: b"<html>Please log in.</html>" for name in PACKED}
        monkeypatch.setattr(vae_digits.MNIST, "mirrors", [portal.url, mirror.url])
        assert holds(load_digits(tmp_path, "mnist"), random_digits())
        portal.shutdown()


def test_the_time_limit_of_sockets_is_put_back(tmp_path, mirror):
    socket.setdefaulttimeout(77)
    try:
        load_digits(tmp_path)
        assert socket.getdefaulttimeout() == 77
    finally:
        socket.setdefaulttimeout(None)


# What cannot be downloaded -----------------------------------------------------------------------


@pytest.fixture(params=["web page", "byte changed", "cut off"])
def faulty_mirror(request, mirror):
    """A mirror that has two whole files before a faulty one."""
    if request.param == "web page":
        mirror.files[PACKED[2]] = b"<html>Please log in.</html>"
    elif request.param == "byte changed":
        mirror.files[PACKED[2]] = CONTENT[PACKED[2]][:-1] + b"?"
    else:
        mirror.cut_off = PACKED[2]


def test_a_faulty_download_is_refused(tmp_path, folder, faulty_mirror):
    line = f"^MNIST is not in {folder}, .* be downloaded: .*{PACKED[2]}.*corrupted.*$"
    with pytest.raises(RuntimeError, match=line):
        load_digits(tmp_path, "mnist")


def test_nothing_of_a_faulty_download_is_kept(tmp_path, folder, faulty_mirror):
    load_digits(tmp_path)
    assert [*folder.iterdir()] == []


def url_of(server):
    return "http://{}:{}/".format(*server.getsockname())


@contextmanager
def no_host():
    yield "http://no.such.host.invalid/"


@contextmanager
def refusing():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = url_of(server)
    yield url


@contextmanager
def silent():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield url_of(server)


@contextmanager
def dropping():
    """No connection can be made, as through some firewalls: the server's queue is full."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.listen(0)
        with socket.create_connection(server.getsockname()):
            yield url_of(server)


@contextmanager
def not_http():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeting) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield url_of(server.socket)
        server.shutdown()


class Greeting(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(1000)
        self.request.sendall(b"220 ready for mail\r\n")


NETWORKS = {
    no_host: r"urlopen error \[Errno (-\d|8|11001)\]",  # on Linux, macOS, Windows
    refusing: r"urlopen error \[(Errno|WinError) \d+\]",
    silent: "timed out",
    dropping: "timed out>",
    not_http: "220 ready for mail",
}


@pytest.fixture(params=NETWORKS, ids=lambda network: network.__name__)
def no_mirror(request, small_mnist, monkeypatch):
    """A network without MNIST; the words in which that is reported."""
    monkeypatch.setattr(vae_digits, "TIMEOUT", 0.2)  # seconds instead of 5
    with request.param() as url:
        monkeypatch.setattr(vae_digits.MNIST, "mirrors", [url, url])
        yield NETWORKS[request.param]


def test_the_embedded_digits_are_used_where_mnist_is_not_available(tmp_path, no_mirror):
    assert load_digits(tmp_path).name == "embedded digits"


def test_that_they_are_used_is_said_in_one_line_with_the_reason(tmp_path, folder, no_mirror, capfd):
    load_digits(tmp_path)
    printed, errors = capfd.readouterr()
    announced, line = printed.splitlines()
    assert announced == f"Downloading MNIST into {folder}"
    reason = f"MNIST is not in {folder}, .* be downloaded: .*({no_mirror}).*"
    assert re.fullmatch(NOT_MNIST + reason, line)
    assert errors == ""


def test_mnist_or_an_error_in_one_line(tmp_path, folder, no_mirror):
    line = f"^MNIST is not in {folder}, .* be downloaded: .*({no_mirror}).*$"
    with pytest.raises(RuntimeError, match=line):
        load_digits(tmp_path, "mnist")


def test_a_network_without_mnist_costs_seconds(tmp_path, no_mirror):
    started = time.monotonic()
    load_digits(tmp_path)
    # Two mirrors of one address each; the embedded digits are read in far less than three seconds.
    assert time.monotonic() - started < 2 * vae_digits.TIMEOUT + 3


def test_a_folder_that_cannot_be_made_is_a_reason(tmp_path, mirror, capsys):
    (tmp_path / "MNIST").write_text("a file in the way")
    assert load_digits(tmp_path).name == "embedded digits"
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(NOT_MNIST) and f"'{tmp_path / 'MNIST'}" in line
    assert (tmp_path / "MNIST").read_text() == "a file in the way"


# Files that are not MNIST's ----------------------------------------------------------------------

OTHER_DIGITS = {f"{n}.gz": gzip.compress(idx(a + 1)) for n, a in zip(FILES, random_digits())}
WRONG = {
    "other digits": (PACKED[0], OTHER_DIGITS[PACKED[0]], "is not the original file, or"),
    "unpacked in part": (FILES[0], UNPACKED_CONTENT[FILES[0]][:-9], "is not the original file, or"),
    "downloaded in part": (PACKED[1], CONTENT[PACKED[1]][:-9], "cannot be read: remove it"),
    "no archive": (PACKED[2], b"<html>Please log in.</html>", "cannot be read: remove it"),
    "of another name": (PACKED[3], CONTENT[PACKED[1]], "is not the original file, or"),
}


@pytest.fixture(params=WRONG)
def wrong_file(request, folder):
    """A file among MNIST's that is not MNIST's, and what is said of it."""
    name, content, words = WRONG[request.param]
    (folder / name).write_bytes(content)
    return folder / name, words


@pytest.mark.parametrize("dataset", ["auto", "mnist"])
@pytest.mark.parametrize("others", ["there", "missing"])
def test_a_file_that_is_not_mnists_is_an_error_and_never_replaced(
    dataset, others, tmp_path, folder, wrong_file, mirror
):
    file, words = wrong_file
    for name in PACKED if others == "there" else []:
        if not file.name.startswith(name.removesuffix(".gz")):
            (folder / name).write_bytes(CONTENT[name])
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=f"^{file} {words}.*$"):
        load_digits(tmp_path, dataset)
    assert contents(tmp_path) == before
    assert mirror.asked == []


def test_own_digits_among_mnists_are_told_where_they_belong(tmp_path, folder, mirror):
    for name, content in OTHER_DIGITS.items():
        (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match="digits of your own .* another folder.* VAE_DATASET"):
        load_digits(tmp_path)
    assert contents(folder) == {folder / name: data for name, data in OTHER_DIGITS.items()}


# Processes, users and places ---------------------------------------------------------------------

LOAD = """
import json, sys, vae_digits
root, settings = sys.argv[1:]
settings = json.loads(settings)
vae_digits.MNIST.mirrors = settings["mirrors"]
vae_digits.MNIST.resources = settings["resources"]
vae_digits.MD5S["MNIST"] = settings["md5s"]
print(vae_digits.load_digits(root, "mnist").name)
"""
posix_only = pytest.mark.skipif(
    os.name != "posix", reason="it kills a process, or changes the user"
)


def start(root):
    """A process that loads MNIST, with the small one in its place."""
    settings = {
        "mirrors": vae_digits.MNIST.mirrors,
        "resources": vae_digits.MNIST.resources,
        "md5s": vae_digits.MD5S["MNIST"],
    }
    command = [sys.executable, "-c", LOAD, root, json.dumps(settings)]
    return subprocess.Popen(command, env=small_environment(), text=True, stdout=subprocess.PIPE)


def test_processes_that_download_at_once_end_with_whole_files(tmp_path, folder, mirror):
    both = threading.Barrier(2, timeout=60)
    mirror.before_answer = lambda name: both.wait()  # neither is ahead of the other
    processes = [start(tmp_path), start(tmp_path)]
    assert [process.communicate()[0].splitlines()[-1] for process in processes] == 2 * ["MNIST"]
    assert contents(tmp_path) == {folder / name: CONTENT[name] for name in PACKED}


@posix_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_after_a_process_was_stopped_the_next_one_downloads(number, tmp_path, folder, mirror):
    reached, ended = threading.Event(), threading.Event()

    def hold(name):
        if name == PACKED[2] and not ended.is_set():
            reached.set()
            ended.wait(60)

    mirror.before_answer = hold
    process = start(tmp_path)
    assert reached.wait(60)
    process.send_signal(number)
    process.communicate()
    ended.set()
    assert process.returncode != 0
    assert [*folder.glob("*ubyte*")] == []
    assert holds(load_digits(tmp_path, "mnist"), random_digits())


@pytest.fixture
def read_only(tmp_path, folder):
    """The folder for MNIST's files, in which this user cannot write."""
    folder.chmod(0o555)
    for path in [tmp_path, *tmp_path.parents]:
        if path.name.startswith(("test_", "popen-", "pytest-")):  # pytest's own
            path.chmod(0o755)
    user = os.geteuid()
    if user == 0:  # the superuser could write everywhere
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            (folder / "new").write_text("")
        yield folder
    finally:
        os.seteuid(user)


@pytest.fixture
def complete(folder):
    """The folder with all files."""
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    return folder


@posix_only
def test_a_read_only_folder_is_read(tmp_path, complete, read_only, capfd):
    assert holds(load_digits(tmp_path, "mnist"), random_digits())
    assert capfd.readouterr() == ("", "")


@posix_only
def test_a_read_only_folder_without_mnist_is_a_reason(tmp_path, read_only, mirror, capsys):
    assert load_digits(tmp_path).name == "embedded digits"
    line = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(f"{NOT_MNIST}.*Permission denied.*{read_only}.*", line)


def test_a_relative_root_is_looked_for_from_the_working_directory(tmp_path, complete, monkeypatch):
    complete.parent.rename(tmp_path / "MNIST elsewhere")
    (tmp_path / "données 数").mkdir()
    (tmp_path / "MNIST elsewhere").rename(tmp_path / "données 数" / "MNIST")
    monkeypatch.chdir(tmp_path)
    assert holds(load_digits("données 数", "mnist"), random_digits())


def test_a_relative_root_is_looked_for_beside_the_module(tmp_path, complete, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(vae_digits, "HERE", tmp_path.parent)
    assert holds(load_digits(tmp_path.name, "mnist"), random_digits())
