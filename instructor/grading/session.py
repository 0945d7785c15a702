"""A kernel in a box, in which a student's cells run one after the other within limits."""

import logging
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import zmq
from jupyter_client import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerFactory
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbconvert.filters import strip_ansi
from nbformat.v4 import new_notebook

from instructor.assignment import is_training
from instructor.files import is_valid_output
from instructor.grading.sandbox import PROVISIONER, why_no_sandbox
from instructor.limits import GB, MB

IN_KERNEL = Path(__file__).with_name("in_kernel.py").read_text(encoding="utf-8")
TIMEOUT = {"ename": "out of time", "evalue": "", "traceback": []}

logging.getLogger("traitlets").setLevel(logging.CRITICAL)  # the rows say what went wrong


class CellFailed(Exception):
    """A cell failed, with the message for the student."""


class KernelEnded(Exception):
    """The kernel ended in the cell `id`, for the reason in the message. No more can be run."""

    def __init__(self, id, reason):
        super().__init__(reason)
        self.id = id


class Session(NotebookClient):
    """A kernel for cells: `with Session(...).running() as session:`, then session.run(cell).

    python: the version of Python that the notebook says it was run with, if it does.
    """

    def __init__(self, cells, box, limits, n_epochs, python=None):
        KernelProvisionerFactory.instance().provisioners[PROVISIONER.name] = PROVISIONER
        place = {"connection_file": str(box.folder / "connection.json")}
        if not why_no_sandbox():  # sockets that need no network
            place |= {"transport": "ipc", "ip": str(box.folder / "socket")}
        manager = AsyncKernelManager(**place)
        provisioner = {"provisioner_name": PROVISIONER.name}
        manager.kernel_spec.metadata = {"kernel_provisioner": provisioner}
        manager.context.setsockopt(zmq.MAXMSGSIZE, limits.message)
        super().__init__(
            new_notebook(cells=cells),
            manager,
            timeout_func=self.seconds_for,
            interrupt_on_timeout=True,
            error_on_timeout=TIMEOUT,
            startup_timeout=limits.startup,
            iopub_timeout=limits.grace,
            shutdown_kernel="immediate",
            allow_errors=True,
            record_timing=False,
            coalesce_streams=True,
            on_cell_executed=self.keep_reply,
        )
        self.box, self.limits, self.n_epochs, self.python = box, limits, n_epochs, python
        self.places = {cell.id: place for place, cell in enumerate(cells)}
        self.seconds_left = limits.notebook
        self.reply, self.printed, self.unreadable, self.why_stopped = None, 0, 0, None

    @contextmanager
    def running(self):
        """Start the kernel, and watch it. Raises: RuntimeError if it does not start."""
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with self.setup_kernel(cleanup_kc=True, box=self.box, **silent):
            threading.Thread(target=self.watch, daemon=True).start()
            if error := self.call("find_modules_last_in", str(self.box.work), self.limits.startup):
                raise RuntimeError(f"the kernel does not start: {error}")
            yield self

    # Cells ---------------------------------------------------------------------------------------

    def run(self, cell):
        """Run a code cell; it gets its outputs. Raises: CellFailed, KernelEnded."""
        started = time.monotonic()
        self.printed, self.unreadable, self.reply = 0, 0, None
        cell.execution_count, cell.metadata = None, {}
        try:
            self.execute_cell(cell, self.places[cell.id])
        except DeadKernelError:
            raise KernelEnded(cell.id, self.why_ended()) from None
        finally:
            if not is_training(cell.id):
                self.seconds_left -= time.monotonic() - started
        valid = [output for output in cell.outputs if is_valid_output(output)]
        self.unreadable += len(cell.outputs) - len(valid)
        cell.outputs = valid
        reply = self.reply["content"] if self.reply else {"status": "ok"}  # for an empty cell
        if reply.get("ename") == TIMEOUT["ename"]:
            self.require_end(cell)
        if any(payload.get("source") == "ask_exit" for payload in reply.get("payload", [])):
            raise KernelEnded(cell.id, "it ended the kernel")
        self.settle(cell)
        if reply["status"] != "ok":
            raise CellFailed(self.message_of(reply, cell))
        if self.unreadable:
            raise CellFailed(f"{self.unreadable} of its outputs could not be read")

    def seconds_for(self, cell):
        if is_training(cell.id):
            return self.limits.cell + self.limits.epoch * self.n_epochs
        return min(self.limits.cell, max(1, self.seconds_left))

    def keep_reply(self, cell, cell_index, execute_reply):
        self.reply = execute_reply

    def process_message(self, message, cell, cell_index):
        self.printed += len(str(message["content"]))
        if self.printed > self.limits.printed:
            self.stop(f"it printed more than {self.limits.printed / MB:.3g} MB")
            return None
        if message["msg_type"] == "error":  # an exception may have a traceback of its own, or None
            message["content"]["traceback"] = message["content"].get("traceback") or []
        try:
            return super().process_message(message, cell, cell_index)
        except CellControlSignal:  # the cell has ended
            raise
        except Exception:  # seen: ValidationError of nbformat, TypeError
            self.unreadable += 1
            return None

    def message_of(self, reply, cell):
        """What an error says, in one text: a check's diagnosis as it is, others with their type."""
        name, text = reply["ename"], reply["evalue"]
        if name == TIMEOUT["ename"]:
            return f"Timeout of {self.seconds_for(cell):g} seconds exceeded"
        if not text:
            return f"{name} in {line_at_fault(reply.get('traceback') or []) or 'this cell'}"
        if name in ("CheckFailed", "AssertionError"):
            return text
        if name == "SyntaxError":
            return f"{name}: {text} ({self.versions()})"
        return f"{name}: {text}"

    def versions(self):
        here = ".".join(map(str, sys.version_info[:3]))
        if self.python and self.python != here:
            return f"the notebook was run with Python {self.python}, and here with {here}"
        return f"in Python {here}"

    def require_end(self, cell):
        """Stop the kernel if a cell does not end though nbclient has interrupted it."""
        if self.call("settle", {}):
            self.stop("this cell could not be interrupted")
            raise KernelEnded(cell.id, self.why_stopped) from None

    def settle(self, cell):
        """See whether the kernel still runs after the cell. Raises: KernelEnded."""
        told = {name: value for name, value in self.box.environment.items() if "VAE_" in name}
        try:
            error = self.call("settle", told, self.limits.answer)
        except DeadKernelError:
            raise KernelEnded(cell.id, self.why_ended()) from None
        if error == "KernelEnds":
            raise KernelEnded(cell.id, "it ended the kernel")
        if error:
            self.stop(f"after this cell it was no use: {error}")
            raise KernelEnded(cell.id, self.why_stopped)

    def load_checks(self, cell):
        """Load the checks anew before this cell. Raises: CellFailed, KernelEnded."""
        try:
            error = self.call("load_checks", str(self.box.assignment), self.limits.answer)
        except DeadKernelError:
            raise KernelEnded(cell.id, self.why_ended()) from None
        if error:
            raise CellFailed(f"no verdict: the checks cannot be loaded in this kernel: {error}")

    def call(self, function, argument, seconds=None):
        """Call a function of in_kernel.py in the kernel; the error that it raises, or None.

        Raises: DeadKernelError.
        """
        run = "__import__('builtins').exec"  # the student's cells may have a variable `exec`
        source = f"{IN_KERNEL}\n{function}({argument!r})"
        self.timeout = seconds or self.limits.grace
        request = self.kc.execute(f"{run}({source!r}, {{}})", silent=True, store_history=False)
        reply = self.wait_for_reply(request)
        if not reply:
            return f"no answer within {self.timeout:g} seconds"
        content = reply["content"]
        if content["status"] == "ok":
            return None
        return ": ".join(filter(None, [content.get("ename"), content.get("evalue")]))

    # Limits --------------------------------------------------------------------------------------

    def watch(self):
        """Stop the kernel when it takes more than it may; runs in a thread of its own."""
        try:
            kernel = psutil.Process(self.km.provisioner.pid)
            while kernel.is_running() and not self.why_stopped:
                processes = [kernel, *kernel.children(recursive=True)]
                if len(processes) > self.limits.processes:
                    self.stop(f"it started more than {self.limits.processes} processes")
                resident = sum(process.memory_info().rss for process in processes)
                if resident > self.limits.memory and unshared(processes) > self.limits.memory:
                    self.stop(f"it took more than {self.limits.memory / GB:.1f} GB of memory")
                time.sleep(0.5)
        except (psutil.NoSuchProcess, AttributeError):
            pass  # a process, or the kernel, that has just ended

    def stop(self, reason):
        """Kill the kernel; nbclient notices that within a second."""
        self.why_stopped = f"the kernel was stopped: {reason}"
        self.km.provisioner.process.kill()

    def why_ended(self):
        return self.why_stopped or "the kernel died in this cell"


def line_at_fault(traceback):
    """The number and the text of the last line that a traceback points at; empty without one."""
    lines = strip_ansi("\n".join(map(str, traceback))).splitlines()
    found = [re.match(r"-+> *(\d+) (.*)", line) for line in lines]
    found = [match for match in found if match]
    return f"line {found[-1][1]}: {found[-1][2].strip()}" if found else ""


def unshared(processes):
    """The bytes that they take together; where the system tells, shared ones count once."""
    infos = (process.memory_full_info() for process in processes)
    return sum(getattr(info, "pss", info.rss) for info in infos)
