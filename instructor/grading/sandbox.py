"""Where a student's code runs: in a sandbox made by bubblewrap, with a kernel that is watched.

Her code sees the system's programs, Python, and of this project the checks and the digits. It can
write to its own box alone; it has no network, and sees no process but its own.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from functools import cache
from pathlib import Path
from queue import Empty

import psutil
import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from nbval.kernel import NbvalKernelspecManager, RunningKernel

ROOT = Path(__file__).resolve().parents[2]
# The project's own, whatever she hands in:
PROVIDED = ["vae_checks", "vae_digits.py", "vae_explorer", "data"]
SYSTEM = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/nix"]

GB = 2**30
MEMORY = 6 * GB  # for each process, and for all of a kernel's together; a right notebook takes 1
PROCESSES = 200
PRINTED = 20 * 2**20  # bytes for each cell, pictures included


@cache
def why_no_sandbox():
    """Why kernels run without a sandbox here; empty if they have one."""
    if not shutil.which("bwrap"):
        return "bubblewrap (bwrap) is not installed"
    trial = "bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev true".split()
    result = subprocess.run(trial, capture_output=True, text=True)
    return f"bubblewrap does not run here: {result.stderr.strip()}" if result.returncode else ""


class Box:
    """A folder with a copy of a student's files, and the command that confines her code to it.

    Without files it is empty, and her code uses the project's helpers.
    """

    def __init__(self, files, hidden):
        self.folder = Path(tempfile.mkdtemp(prefix="vae-"))
        self.work = self.folder / "work"
        not_hers = shutil.ignore_patterns(*PROVIDED, ".*", "tests", "__pycache__")
        if files:
            shutil.copytree(files, self.work, symlinks=True, ignore=not_hers)
        self.work.mkdir(exist_ok=True)
        self.shown = [ROOT / name for name in PROVIDED + ["vae_helpers.py"] * (not files)]
        self.hidden = [ROOT, *hidden]
        # Nothing of the instructor's environment but what a run needs.
        passed = ("PATH", "LANG", "OMP_NUM_THREADS", "VAE_DATASET", "VAE_EPOCHS")
        self.environment = {name: os.environ[name] for name in passed if name in os.environ}
        self.environment |= {"HOME": str(self.folder), "PYTHONPATH": str(ROOT)}

    def command(self, *arguments):
        """Python with these arguments, in the sandbox and within limits, where the system has them.

        -P and -s: no module of hers may be imported before the checks and what they use.
        """
        sizes = {"data": MEMORY, "fsize": GB, "core": 0}
        if not why_no_sandbox():
            sizes["nproc"] = PROCESSES  # counted inside; outside, it counts the instructor's, too
        command = ["prlimit", *(f"--{name}={size}" for name, size in sizes.items()), "--"]
        command = command * bool(shutil.which("prlimit")) + [sys.executable, "-P", "-s"]
        command += map(str, arguments)
        if why_no_sandbox():
            return command
        sandbox = "bwrap --unshare-all --die-with-parent --new-session --cap-drop ALL".split()
        for folder in SYSTEM:
            sandbox += ["--ro-bind-try", folder, folder]
        sandbox += ["--proc", "/proc", "--dev", "/dev"]
        for folder in ["/tmp", "/dev/shm", *map(str, self.hidden)]:
            sandbox += ["--size", str(GB // 4), "--tmpfs", folder]
        for path in map(str, [sys.prefix, sys.base_prefix, *self.shown]):
            sandbox += ["--ro-bind", path, path]
        for folder in ["/", "/dev", *map(str, self.hidden)]:
            sandbox += ["--remount-ro", folder]
        sandbox += ["--bind", str(self.folder), str(self.folder), "--chdir", str(self.work)]
        return [*sandbox, "--", *command]

    def run(self, *arguments, timeout):
        """Run Python to its end; the last lines that it prints."""
        with tempfile.TemporaryFile() as output:
            try:
                subprocess.run(
                    self.command(*arguments),
                    cwd=self.work,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    timeout=timeout,
                )
            except subprocess.TimeoutExpired:
                return [f"failed: not done after {timeout} seconds"]
            output.seek(max(0, output.tell() - 10_000))
            return output.read().decode(errors="replace").splitlines()

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Kernel(RunningKernel):
    """A kernel whose death is noticed at once, and that is not listened to for ever.

    With a box it runs in there and is watched; without one, as notebooks always do.
    """

    deadline = float("inf")

    def __init__(self, kernel_name, startup_timeout, cwd=None, box=None):
        self.box, self.heard, self.n_heard = box, deque(), 0
        specs, options, start = NbvalKernelspecManager(), {}, {"cwd": cwd}
        if box:
            spec = KernelSpec(
                argv=box.command("-m", "ipykernel_launcher", "-f", "{connection_file}"),
                interrupt_mode="message",  # a signal would reach the sandbox and not what is inside
            )
            specs.get_kernel_spec = lambda name: spec
            options["connection_file"] = str(box.folder / "connection.json")
            if not why_no_sandbox():  # sockets that need no network
                options |= {"transport": "ipc", "ip": str(box.folder / "socket")}
            # "independent": it must not look for this process, which it cannot see.
            start = {"cwd": box.work, "env": box.environment, "independent": True}
        self.km = KernelManager(kernel_name=kernel_name, kernel_spec_manager=specs, **options)
        self.km.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **start)
        self.kc = self.km.client()
        self.kc.context.setsockopt(zmq.MAXMSGSIZE, 2 * PRINTED)
        self.kc.start_channels()
        self.kc.wait_for_ready(timeout=startup_timeout)
        self._ensure_iopub_up()

    def get_message(self, stream, timeout=None):
        if time.monotonic() > self.deadline:  # it goes on printing after it was interrupted
            raise Empty
        if stream == "iopub":
            return self.heard.popleft() if self.heard else self.hear(timeout)
        message = super().get_message(stream, timeout)
        self.reply = message["content"]
        return message

    def hear(self, timeout):
        message = super().get_message("iopub", timeout)
        self.n_heard += len(str(message["content"]))
        if self.n_heard > PRINTED:
            self.end(f"it printed more than {PRINTED >> 20} MB")
        return message

    def await_reply(self, msg_id, timeout=None):
        end, self.n_heard = time.monotonic() + timeout, 0
        while True:
            try:
                return super().await_reply(msg_id, timeout=1)
            except Empty:
                if not self.is_alive():
                    raise RuntimeError("the kernel died in this cell") from None
                while self.kc.iopub_channel.msg_ready():  # what it prints must not pile up
                    self.heard.append(self.hear(timeout=0))
                if self.box:
                    self.watch()
                if time.monotonic() > end:
                    raise

    def watch(self):
        try:
            processes = psutil.Process(self.km.provisioner.pid).children(recursive=True)
            if len(processes) > PROCESSES:
                self.end(f"it started more than {PROCESSES} processes")
            if sum(process.memory_info().rss for process in processes) > MEMORY:
                self.end(f"it took more than {MEMORY // GB} GB of memory")
            if any(process.status() == psutil.STATUS_STOPPED for process in processes):
                self.end("it stopped a process of its own")
        except psutil.NoSuchProcess:
            pass  # one that has just ended

    def end(self, reason):
        self.stop()
        raise RuntimeError(f"the kernel was stopped: {reason}") from None

    def ask(self, expression):
        """The value in the kernel's namespace of an expression that gives a string or None."""
        msg_id = self.kc.execute("", silent=True, user_expressions={"answer": expression})
        self.deadline = time.monotonic() + 70
        try:
            self.await_reply(msg_id, timeout=60)
        except Empty:
            self.end("it did not answer")
        answer = self.reply["user_expressions"]["answer"]
        if answer["status"] != "ok":
            raise RuntimeError(f"the kernel does not answer: {answer['evalue']}")
        return ast.literal_eval(answer["data"]["text/plain"])
