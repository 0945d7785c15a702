"""The notebook as the tests use it: its cells, and a way to run them in a real kernel."""

import os
from contextlib import contextmanager

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from notebook_kernel import Kernel
from project import NOTEBOOK, SMALL_RUN

# Two processes that each use every core slow one another many times over.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture
def notebook():
    """The committed notebook; a test may change its copy."""
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="session")
def kernel_for(tmp_path_factory):
    """Context manager that starts a kernel for a notebook, by default for a small run.

    It runs in an empty folder, so that nothing that the notebook saves lands in the project.
    """

    @contextmanager
    def start(notebook, **environment):
        client = NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            coalesce_streams=True,
            resources={"metadata": {"path": str(tmp_path_factory.mktemp("kernel"))}},
        )
        with client.setup_kernel(env={**os.environ, **SMALL_RUN, **environment}):
            yield Kernel(client)

    return start
