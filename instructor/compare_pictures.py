"""Compare the pictures that are stored in two notebooks, cell by cell: the same, or how far apart.

    .venv/bin/python instructor/compare_pictures.py NOTEBOOK NOTEBOOK

A line for each cell with a picture, matched by the cell's id. Exits with 1 if any two differ.
"""

import base64
import io
import sys

import nbformat
import numpy as np
from PIL import Image


def pictures_of(path):
    """The pictures of each cell that shows some, by the cell's id, as arrays (height, width, 3)."""
    pictures = {}
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                picture = Image.open(io.BytesIO(base64.b64decode(png)))
                pixels = np.asarray(picture.convert("RGB")).astype(float)
                pictures.setdefault(cell.id, []).append(pixels)
    return pictures


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
    """A verdict for each cell that has a picture in one of the notebooks, by the cell's id."""
    a, b = pictures_of(path_a), pictures_of(path_b)
    verdicts = {}
    for id in dict.fromkeys([*a, *b]):
        if len(a.get(id, [])) != len(b.get(id, [])):
            verdicts[id] = f"{len(a.get(id, []))} and {len(b.get(id, []))} pictures"
        else:
            verdicts[id] = "; ".join(difference(*pair) for pair in zip(a[id], b[id]))
    return verdicts


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        verdicts = compare(*sys.argv[1:])
    except (OSError, ValueError, AttributeError) as error:
        sys.exit(f"These cannot be compared: {error}")
    for id, verdict in verdicts.items():
        print(f"{id:36}  {verdict}")
    sys.exit(any(set(verdict.split("; ")) != {"same"} for verdict in verdicts.values()))
