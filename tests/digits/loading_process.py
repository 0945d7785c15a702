"""What the tests of the digits share: a process that loads them, and their binary pixels."""

import os
import subprocess
import sys

from project import ROOT

LOAD = """
import signal, sys, time, vae_digits
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
vae_digits.MIRRORS = sys.argv[2:]
started = time.monotonic()
name = vae_digits.load_digits(sys.argv[1]).name
print(f"{name}, {time.monotonic() - started:.1f} s")
"""


def start_loading(root, *mirrors, preexec_fn=None, **environment):
    """A process of its own that loads digits and prints their name and how long it took."""
    own = {"PYTHONPATH": str(ROOT), "VAE_DATASET": "auto", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", LOAD, root, *mirrors],
        env={**os.environ, **own, **environment},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=preexec_fn,
    )


def binarized(images):
    return (images.flatten(1) > 127).float()
