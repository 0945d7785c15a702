"""Compare the pictures that two notebooks store, cell by cell: the same, or how far apart."""

import base64
import io

import numpy as np
from PIL import Image

from instructor.assignment import names_of_cells, pictures_of
from instructor.files import read_notebook


def pixels_by_cell(path):
    """The pictures of each cell that shows some, by the cell's id, as arrays (height, width, 3).

    Returns them, and names of the cells, with their places as nbdiff writes them.
    Raises: OSError or ValueError for a file that cannot be read, or whose cells have no ids.
    """
    cells = read_notebook(path, left_out=[]).cells
    if any("id" not in cell for cell in cells):
        raise ValueError(f"{path.name}: its cells have no ids. Save it with a recent Jupyter.")
    pixels = {}
    for cell in cells:
        for png in pictures_of(cell):
            picture = Image.open(io.BytesIO(base64.b64decode(png)))
            pixels.setdefault(cell.id, []).append(np.asarray(picture.convert("RGB")).astype(float))
    names = names_of_cells(cells)
    places = {cell.id: f"/cells/{place}" for place, cell in enumerate(cells)}
    return pixels, {id: f"{places[id]} {names[id]}" for id in places}


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
    """A verdict for each cell that has a picture in one of the notebooks, by the cell's name.

    Cells are matched by their ids, and named by their places in the first notebook that has them.
    Raises: OSError or ValueError for a file that cannot be read as a notebook.
    """
    (a, names_a), (b, names_b) = pixels_by_cell(path_a), pixels_by_cell(path_b)
    names = names_b | names_a
    verdicts = {}
    for id in dict.fromkeys([*a, *b]):
        of_a, of_b = a.get(id, []), b.get(id, [])
        if len(of_a) != len(of_b):
            verdicts[names[id]] = f"{len(of_a)} and {len(of_b)} pictures"
        else:
            verdicts[names[id]] = "; ".join(difference(*pair) for pair in zip(of_a, of_b))
    return verdicts
