"""Compare the pictures that two notebooks store, cell by cell: the same, or how far apart."""

import base64
import io

import numpy as np
from PIL import Image

from instructor.cells import pictures_of
from instructor.files import read_notebook


def pixels_by_cell(path):
    """The pictures of each cell that shows some, by the cell's id, as arrays (height, width, 3)."""
    pixels = {}
    for cell in read_notebook(path).cells:
        for png in pictures_of(cell):
            picture = Image.open(io.BytesIO(base64.b64decode(png)))
            pixels.setdefault(cell.id, []).append(np.asarray(picture.convert("RGB")).astype(float))
    return pixels


def difference(a, b):
    """How far two pictures are apart, in words."""
    if a.shape != b.shape:
        sizes = [f"{array.shape[1]} x {array.shape[0]}" for array in (a, b)]
        return f"sizes differ, {sizes[0]} and {sizes[1]} pixels"
    if np.array_equal(a, b):
        return "same"
    distance = np.abs(a - b)
    pixels = distance.max(axis=2) > 0
    return f"{pixels.mean():.1%} of the pixels differ, by {distance.mean():.2f} of 255 on average"


def compare(path_a, path_b):
    """A verdict for each cell that has a picture in one of the notebooks, by the cell's id.

    Raises: OSError or ValueError for a file that cannot be read as a notebook.
    """
    a, b = pixels_by_cell(path_a), pixels_by_cell(path_b)
    verdicts = {}
    for id in dict.fromkeys([*a, *b]):
        if len(a.get(id, [])) != len(b.get(id, [])):
            verdicts[id] = f"{len(a.get(id, []))} and {len(b.get(id, []))} pictures"
        else:
            verdicts[id] = "; ".join(difference(*pair) for pair in zip(a[id], b[id]))
    return verdicts
