"""A process of its own that loads digits, to be limited, killed, or run beside others."""

import os
import subprocess
import sys

from project import ROOT

LOAD = """
import os, signal, sys, vae_digits
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
root, setup, *vae_digits.MIRRORS = sys.argv[1:]
exec(setup)
print(vae_digits.load_digits(root).name)
"""


def start_loading(root, *mirrors, setup="", **environment):
    """Start a process that runs `setup`, loads the digits, and prints their name."""
    own = {"PYTHONPATH": str(ROOT), "VAE_DATASET": "auto", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", LOAD, root, setup, *mirrors],
        env={**os.environ, **own, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
