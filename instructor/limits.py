"""What a submission may take before it is stopped: the one place for these numbers."""

from dataclasses import dataclass

MB, GB = 2**20, 2**30

FILE_SIZE = 50 * MB  # of a notebook, or of a file that it may use; the solved notebook has 2
UNPACKED_SIZE = 4 * GB  # of a .zip: a class of a thousand has less
SCRATCH_PATH = 80  # characters: the path of a socket in that folder may have 107


@dataclass(frozen=True)
class Limits:
    """Seconds and sizes. A correct notebook takes a tenth of each on a slow machine."""

    startup: float = 60  # seconds for a kernel to start
    cell: float = 120  # seconds for each cell; the training gets `epoch` more for each epoch
    epoch: float = 30
    notebook: float = 600  # seconds for all cells but the training
    grace: float = 10  # seconds for an interrupted cell to end
    answer: float = 60  # seconds for the kernel to answer between two cells
    helpers: float = 120  # seconds for the tests of vae_helpers.py
    memory: int = 6 * GB  # of one process, and of a kernel's together; a correct notebook takes 1
    file: int = 1 * GB  # that it writes
    processes: int = 200
    printed: int = 20 * MB  # by each cell, pictures included
    message: int = 100 * MB  # from the kernel; it is cut off after a larger one


PICTURE_FILE = 5 * MB  # of a picture beside the notebook that the student's page shows
TEXT = 20_000  # characters of one output that the student's page shows
MESSAGE = 2_000  # characters of a message in a row
