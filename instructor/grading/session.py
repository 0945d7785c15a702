"""A kernel in a box, in which a student's cells run one after the other within limits."""

import ast
import json
import logging
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from queue import Empty

import psutil
import zmq
from jupyter_client import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerFactory
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_notebook

from instructor.cells import TRAINING
from instructor.grading.limits import GB, MB
from instructor.grading.sandbox import PROVISIONER, why_no_sandbox

TRUST = Path(__file__).with_name("trust.py").read_text()

logging.getLogger("traitlets").setLevel(logging.CRITICAL)  # the rows say what went wrong


class CellFailed(Exception):
    """A cell failed, with the message for the student."""


class KernelEnded(Exception):
    """The kernel ended in the cell `id`, for the reason in the message. No more can be run."""

    def __init__(self, id, reason):
        super().__init__(reason)
        self.id = id


class Session(NotebookClient):
    """A notebook's kernel: `with session.running():`, then session.run(cell) for each code cell."""

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
        """Start the kernel, and watch it. Raises: RuntimeError if it does not start."""
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with self.setup_kernel(cleanup_kc=True, box=self.box, **silent):
            threading.Thread(target=self.watch, daemon=True).start()
            yield

    def begin(self):
        """Note what the checks rest on, before the first cell runs."""
        self.trusted, _ = self.what_checks_rest_on(seconds=self.limits.startup)
        self.ask(f"__import__('sys').path.append({str(self.box.work)!r})")  # last: shadows nothing

    def seconds_for(self, cell):
        if cell.id == TRAINING:
            return self.limits.cell + self.limits.epoch * self.n_epochs
        return min(self.limits.cell, max(1, self.seconds_left))

    # Cells ---------------------------------------------------------------------------------------

    def run(self, cell):
        """Run a code cell; it gets its outputs. Raises: CellFailed, KernelEnded."""
        started, self.printed = time.monotonic(), 0
        cell.execution_count, cell.metadata, self.reply = None, {}, None
        try:
            self.execute_cell(cell, self.nb.cells.index(cell))
        except CellTimeoutError:
            if self.why_stopped:
                raise self.ended(cell.id) from None
            self.interrupt(cell.id)
            raise CellFailed(f"Timeout of {self.seconds_for(cell):g} seconds exceeded") from None
        except DeadKernelError:
            started_here = cell.execution_count is not None or not self.cell_before
            raise self.ended(cell.id if started_here else self.cell_before) from None
        finally:
            self.cell_before = cell.id
            if cell.id != TRAINING:
                self.seconds_left -= time.monotonic() - started
        reply = self.reply["content"] if self.reply else {"status": "ok"}
        if any(payload.get("source") == "ask_exit" for payload in reply.get("payload", [])):
            raise KernelEnded(cell.id, "it ended the kernel")
        if reply["status"] != "ok":
            raise CellFailed(message_of(reply))

    def keep_reply(self, cell, cell_index, execute_reply):
        self.reply = execute_reply

    def process_message(self, message, cell, cell_index):
        self.printed += len(str(message["content"]))
        if self.printed > self.limits.printed:
            self.stop(f"it printed more than {self.limits.printed / MB:.3g} MB")
            return None
        return super().process_message(message, cell, cell_index)

    def ended(self, id):
        return KernelEnded(id, self.why_stopped or "the kernel died in this cell")

    def interrupt(self, id):
        """Interrupt the running cell; end the kernel if the cell does not end."""
        run_sync(self.km.interrupt_kernel)()
        try:
            self.ask("None")
        except RuntimeError:
            self.stop(f"{id} could not be interrupted")

    # Questions -----------------------------------------------------------------------------------

    def ask(self, expression, seconds=None):
        """The value in the kernel's namespace of an expression that gives a string or None.

        Raises: RuntimeError if the kernel does not answer, or not with such a value.
        """
        return run_sync(self.async_ask)(expression, seconds or self.limits.grace)

    async def async_ask(self, expression, seconds):
        msg_id = self.kc.execute("", silent=True, user_expressions={"answer": expression})
        end = time.monotonic() + seconds
        while True:
            try:
                message = await self.kc.get_shell_msg(timeout=max(0, end - time.monotonic()))
            except Empty:
                raise RuntimeError("the kernel does not answer") from None
            if message["parent_header"].get("msg_id") == msg_id:
                break
        answer = message["content"].get("user_expressions", {}).get("answer", {})
        if answer.get("status") != "ok":
            raise RuntimeError(f"the kernel does not answer: {answer.get('evalue')}")
        return ast.literal_eval(answer["data"]["text/plain"])

    def what_checks_rest_on(self, known=(), suspects=(), seconds=None):
        """The identities of what the checks rest on; the suspects that a library replaced."""
        given = f"'notebook': globals(), 'known': {set(known)}, 'suspects': {list(suspects)}"
        expression = f"(lambda names: exec({TRUST!r}, names) or names['answer'])({{{given}}})"
        return json.loads(self.ask(expression, seconds))

    def make_checks(self):
        """Put the project's checks in place. Raises: CellFailed if the student replaced a part."""
        now, _ = self.what_checks_rest_on()
        changed = [n for n in {**self.trusted, **now} if now.get(n) != self.trusted.get(n)]
        if changed:
            parts = [part for found in self.trusted.values() for part in found]
            known = {id for part in parts if isinstance(part, list) for id in part}
            _, cleared = self.what_checks_rest_on(known, changed)
            changed = [name for name in changed if name not in cleared]
        if changed:
            raise CellFailed(f"no verdict: {', '.join(changed[:3])} was replaced")

    # Limits --------------------------------------------------------------------------------------

    def watch(self):
        """Stop the kernel when it takes more than it may; runs in a thread of its own."""
        try:
            kernel = psutil.Process(self.km.provisioner.pid)
            while kernel.is_running() and not self.why_stopped:
                processes = [kernel, *kernel.children(recursive=True)]
                if len(processes) > self.limits.processes:
                    self.stop(f"it started more than {self.limits.processes} processes")
                if sum(process.memory_info().rss for process in processes) > self.limits.memory:
                    self.stop(f"it took more than {self.limits.memory / GB:.1f} GB of memory")
                if any(process.status() == psutil.STATUS_STOPPED for process in processes):
                    self.stop("it stopped a process of its own")
                time.sleep(0.5)
        except (psutil.NoSuchProcess, AttributeError):
            pass  # a process, or the kernel, that has just ended

    def stop(self, reason):
        """Kill the kernel; nbclient notices that within a second."""
        self.why_stopped = f"the kernel was stopped: {reason}"
        self.km.provisioner.process.kill()


def message_of(reply):
    """What an error says, in one text: a check's diagnosis as it is, others with their type."""
    if reply["ename"] in ("CheckFailed", "AssertionError"):
        return reply["evalue"]
    return f"{reply['ename']}: {reply['evalue']}"
