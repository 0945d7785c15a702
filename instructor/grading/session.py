"""A kernel in a box, in which a student's cells run one after the other within limits."""

import ast
import json
import logging
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import zmq
from jupyter_client import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerFactory
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat.v4 import new_notebook

from instructor.cells import TRAINING
from instructor.grading.limits import GB, MB
from instructor.grading.sandbox import PROVISIONER, why_no_sandbox

TRUST = Path(__file__).with_name("trust.py").read_text()
DIED = "the kernel died in this cell"
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
    """A kernel for cells: `with Session(...).running() as session:`, then session.run(cell)."""

    def __init__(self, cells, box, limits, n_epochs):
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
        self.box, self.limits, self.n_epochs = box, limits, n_epochs
        self.seconds_left, self.cell_before = limits.notebook, None
        self.reply, self.printed, self.why_stopped = None, 0, None

    @contextmanager
    def running(self):
        """Start the kernel, watch it, and note what the checks rest on before any cell runs.

        Raises: RuntimeError if the kernel does not start.
        """
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with self.setup_kernel(cleanup_kc=True, box=self.box, **silent):
            threading.Thread(target=self.watch, daemon=True).start()
            self.trusted = self.trust({}, self.limits.startup)
            # The student's files come last on Python's path, so that they shadow nothing.
            self.ask(f"__import__('sys').path.append({str(self.box.work)!r})")
            yield self

    # Cells ---------------------------------------------------------------------------------------

    def run(self, cell):
        """Run a code cell; it gets its outputs. Raises: CellFailed, KernelEnded."""
        started, self.printed, self.reply = time.monotonic(), 0, None
        cell.execution_count, cell.metadata = None, {}
        try:
            self.execute_cell(cell, self.nb.cells.index(cell))
        except DeadKernelError:
            raise KernelEnded(cell.id, self.why_stopped or DIED) from None
        finally:
            self.cell_before = cell.id
            if cell.id != TRAINING:
                self.seconds_left -= time.monotonic() - started
        reply = self.reply["content"] if self.reply else {"status": "ok"}  # for an empty cell
        if reply.get("ename") == TIMEOUT["ename"]:
            self.require_end(cell)
        if any(payload.get("source") == "ask_exit" for payload in reply.get("payload", [])):
            raise KernelEnded(cell.id, "it ended the kernel")
        if reply["status"] != "ok":
            raise CellFailed(self.message_of(reply, cell))

    def seconds_for(self, cell):
        if cell.id == TRAINING:
            return self.limits.cell + self.limits.epoch * self.n_epochs
        return min(self.limits.cell, max(1, self.seconds_left))

    def keep_reply(self, cell, cell_index, execute_reply):
        self.reply = execute_reply

    def process_message(self, message, cell, cell_index):
        self.printed += len(str(message["content"]))
        if self.printed > self.limits.printed:
            self.stop(f"it printed more than {self.limits.printed / MB:.3g} MB")
            return None
        return super().process_message(message, cell, cell_index)

    def message_of(self, reply, cell):
        """What an error says, in one text: a check's diagnosis as it is, others with their type."""
        if reply["ename"] == TIMEOUT["ename"]:
            return f"Timeout of {self.seconds_for(cell):g} seconds exceeded"
        if reply["ename"] in ("CheckFailed", "AssertionError"):
            return reply["evalue"]
        return f"{reply['ename']}: {reply['evalue']}"

    def require_end(self, cell):
        """Stop the kernel if a cell does not end though nbclient has interrupted it."""
        try:
            self.ask("None")
        except RuntimeError:
            self.stop(f"{cell.id} could not be interrupted")
            raise KernelEnded(cell.id, self.why_stopped) from None

    def restore_settings(self):
        """Set again what the grading was told of digits and epochs: the student's may differ."""
        told = {name: value for name, value in self.box.environment.items() if "VAE_" in name}
        self.ask(f"__import__('os').environ.update({told})")

    # Checks --------------------------------------------------------------------------------------

    def make_checks(self):
        """Put the project's checks in place. Raises: CellFailed if the student replaced a part."""
        if replaced := self.trust(self.trusted):
            raise CellFailed(f"no verdict: {', '.join([*replaced][:3])} was replaced")

    def trust(self, before, seconds=None):
        """Run trust.py in the kernel: what the checks rest on that was not there before."""
        call = f"lambda names: exec({TRUST!r}, names) or names['make_checks'](globals(), {before})"
        return json.loads(self.ask(f"({call})({{}})", seconds))

    def ask(self, expression, seconds=None):
        """The value in the kernel's namespace of an expression that gives a string or None.

        Raises: RuntimeError if the kernel does not answer, or not with such a value; KernelEnded if
        it has ended since the cell before.
        """
        self.timeout = seconds or self.limits.grace
        request = self.kc.execute("", silent=True, user_expressions={"answer": expression})
        try:
            reply = self.wait_for_reply(request) or {"content": {}}
        except DeadKernelError as dead:
            if not self.cell_before:
                raise RuntimeError(str(dead)) from None
            raise KernelEnded(self.cell_before, self.why_stopped or DIED) from None
        answer = reply["content"].get("user_expressions", {}).get("answer", {})
        if answer.get("status") != "ok":
            raise RuntimeError(
                f"the kernel does not answer: {answer.get('evalue', 'no time left')}"
            )
        return ast.literal_eval(answer["data"]["text/plain"])

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


def unshared(processes):
    """The bytes that they take together; where the system tells, shared ones count once."""
    infos = (process.memory_full_info() for process in processes)
    return sum(getattr(info, "pss", info.rss) for info in infos)
