"""What is wrong with a notebook as it was handed in, as far as it shows without running it.

nbval compares a notebook with itself. It cannot see that a check was changed and run again, or that
outputs were stripped: with nothing stored there is nothing to compare.
"""

import json
from hashlib import sha256
from pathlib import Path

# The check cells of the assignment, as it was executed last: id and SHA-256 of the source.
CHECK_CELLS = Path(__file__).with_name("check_cells.json")

# The four texts that ask for a picture: it must be shown below them.
PICTURES = {
    "1201bfee-90bb-11eb-23e5-af9a61f64679": "picture 1, the digits in the latent space",
    "dcedbba4-90bb-11eb-2652-bf6448095107": "picture 2, digits from the prior",
    "82b0a368-90be-11eb-0ddb-310f332a83f0": "picture 3, reconstructions",
    "02181adc-90c1-11eb-29d7-736dce72a0ac": "picture 4, the latent space as a map",
}


def problems_of(notebook):
    """One line for each problem: cells that were not run, checks that changed, pictures missing."""
    if any("id" not in cell for cell in notebook.cells):
        yield "its cells have no ids: it must be made from the assignment, by a recent Jupyter"
        return

    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    for cell in code:
        ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
        if cell.execution_count is None or (ignored and not cell.outputs):
            yield f"{cell.id} was not run, or its outputs were removed: run all cells and save"

    cells = {cell.id: cell for cell in code}
    expected = json.loads(CHECK_CELLS.read_text())
    for id, digest in expected.items():
        if id not in cells:
            yield f"{id} is missing: copy this cell from the assignment"
        elif digest_of(cells[id]) != digest or cells[id].metadata.get("tags"):
            yield f"{id} is not as it is in the assignment: restore this cell"
    if [id for id in cells if id in expected] != [id for id in expected if id in cells]:
        yield "the check cells are not in the order of the assignment"

    section, shown = None, set()
    for cell in notebook.cells:
        section = cell.id if cell.id in PICTURES else section
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            shown.add(section)
    for section, picture in PICTURES.items():
        if section not in shown:
            yield f"{picture}, is missing"


def digest_of(cell):
    return sha256(cell.source.encode()).hexdigest()


def record_check_cells(notebook):
    """From now on the check cells of this notebook are those of the assignment."""
    digests = {cell.id: digest_of(cell) for cell in notebook.cells if cell.id.startswith("check-")}
    CHECK_CELLS.write_text(json.dumps(digests, indent=1) + "\n")
