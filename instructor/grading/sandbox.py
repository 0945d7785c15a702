"""Where a student's code runs: a box made by bubblewrap, and a way to start a kernel in it.

The code sees the system's programs, Python, and of this project the checks and the digits. It can
write to the box alone; it has no network, and sees no process but its own.
"""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path

from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

from instructor.files import ROOT
from instructor.limits import GB

SYSTEM = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/nix"]


@cache
def why_no_sandbox():
    """Why students' code runs without a sandbox here, and what would help; empty if it has one."""
    if not sys.platform.startswith("linux"):
        return "bubblewrap needs Linux: grade in WSL 2 or in a Linux container to have a sandbox"
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed: install it, as in `apt-get install bubblewrap`"
    trial = "bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev true".split()
    result = subprocess.run(trial, capture_output=True, text=True)
    return f"bubblewrap does not run here: {result.stderr.strip()}" if result.returncode else ""


class Box:
    """A folder with a copy of a student's files, and the command that confines code to it.

    files: those that were handed in, by the path that each gets in the box. Of the project only
    `provided` is seen, in a folder that comes first on Python's path.
    """

    def __init__(self, files, provided, limits):
        self.limits = limits
        self.folder = Path(tempfile.mkdtemp(prefix="vae-"))
        self.work = self.folder / "work"
        self.work.mkdir()
        self.left_out = []  # a line for each file that cannot be copied
        for name, source in files.items():
            self.copy(source, name)
        self.provided = {name: ROOT / name for name in provided}
        self.assignment = Path("/assignment")
        if why_no_sandbox():
            self.assignment = self.folder / "assignment"
            self.assignment.mkdir()
            for name, source in self.provided.items():
                link_or_copy(source, self.assignment / name)
        # Nothing of the instructor's environment but what a run needs.
        passed = ("PATH", "LANG", "SYSTEMROOT", "OMP_NUM_THREADS", "VAE_DATASET", "VAE_EPOCHS")
        self.environment = {name: os.environ[name] for name in passed if name in os.environ}
        self.environment |= {"HOME": str(self.folder), "PYTHONPATH": str(self.assignment)}

    def copy(self, source, name):
        """Copy a file into the box. Raises: OSError if the disk is full."""
        try:
            (self.work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, self.work / name)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.left_out.append(f"{name} was left out: {error.strerror}")

    def command(self, *arguments):
        """Python with these arguments, in the sandbox and within limits, where the system has them.

        -P and -s: the student's files are not on Python's path. They come last on it, later.
        """
        sizes = {"data": self.limits.memory, "fsize": self.limits.file, "core": 0}
        if not why_no_sandbox():
            sizes["nproc"] = self.limits.processes  # outside, it would count the instructor's, too
        command = [sys.executable, "-P", "-s", *map(str, arguments)]
        if shutil.which("prlimit"):
            limits = [f"--{name}={size}" for name, size in sizes.items()]
            command = ["prlimit", *limits, "--", *command]
        if why_no_sandbox():
            return command
        sandbox = "bwrap --unshare-all --die-with-parent --new-session --cap-drop ALL".split()
        for folder in SYSTEM:
            sandbox += ["--ro-bind-try", folder, folder]
        sandbox += ["--proc", "/proc", "--dev", "/dev"]
        for folder in ("/tmp", "/dev/shm"):
            sandbox += ["--size", str(GB // 4), "--tmpfs", folder]
        for folder in (sys.prefix, sys.base_prefix):
            sandbox += ["--ro-bind", folder, folder]
        for name, source in self.provided.items():
            sandbox += ["--ro-bind", str(source), str(self.assignment / name)]
        own_digits = self.environment.get("VAE_DATASET", "")
        if os.path.isabs(own_digits):
            sandbox += ["--ro-bind", own_digits, own_digits]
        sandbox += ["--remount-ro", "/", "--remount-ro", "/dev"]
        sandbox += ["--bind", str(self.folder), str(self.folder), "--chdir", str(self.work)]
        return [*sandbox, "--", *command]

    def run(self, *arguments, seconds):
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
                    timeout=seconds,
                )
            except subprocess.TimeoutExpired:
                return [f"failed: not done after {seconds:g} seconds"]
            output.seek(max(0, output.tell() - 10_000))
            return output.read().decode(errors="replace").splitlines()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)


def link_or_copy(source, target):
    """Link to a file or folder; on Windows that may need rights that few users have."""
    try:
        target.symlink_to(source)
    except OSError:
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)


class BoxProvisioner(LocalProvisioner):
    """Launches a kernel in the box that it is given: start_kernel(box=box)."""

    async def pre_launch(self, box, **options):
        self.kernel_spec.interrupt_mode = "message"  # a signal would reach bubblewrap alone
        options |= {"env": box.environment, "cwd": box.work}
        options = await super().pre_launch(**options)
        kernel = ["-m", "ipykernel_launcher", "-f", self.parent.connection_file]
        options["cmd"] = box.command(*kernel)
        # In the sandbox it must not look for this process, which it cannot see.
        options["independent"] = not why_no_sandbox()
        return options


# By this name jupyter_client finds it.
PROVISIONER = EntryPoint(
    "vae-box", f"{__name__}:BoxProvisioner", KernelProvisionerFactory.GROUP_NAME
)
