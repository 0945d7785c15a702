"""The notebook's cells: the ids that tools and tests name, and what a cell holds."""

ELBO = "ccf226b8-90b6-11eb-15a2-d30c9e27aebb"
TRAINING = "c86a877c-90b9-11eb-31d8-bbcb71e4fa66"
SCATTER = "db18e7e2-90bb-11eb-18e5-87e4f094123d"
LAST_GRADED = "3cb18062-90c2-11eb-3622-1f29d445e0ba"  # shows picture 4
LAST_PART = "evidence"  # the heading below it

# The four texts that ask for a picture: it must be shown below them.
PICTURES = {
    "1201bfee-90bb-11eb-23e5-af9a61f64679": "picture 1, the digits in the latent space",
    "dcedbba4-90bb-11eb-2652-bf6448095107": "picture 2, digits from the prior",
    "82b0a368-90be-11eb-0ddb-310f332a83f0": "picture 3, reconstructions",
    "02181adc-90c1-11eb-29d7-736dce72a0ac": "picture 4, the latent space as a map",
}

HELPERS_CHECKS = {"check-bernoulli", "check-gaussian", "check-samplers"}


def is_check(id):
    """Whether the cell with this id checks what a student wrote."""
    return id.startswith("check-")


def cell_of(notebook, id):
    """The notebook's cell with this id."""
    return next(cell for cell in notebook.cells if cell.get("id") == id)


def pictures_of(cell):
    """The pictures that a cell stores, as base64 text."""
    found = (output.get("data", {}).get("image/png") for output in cell.get("outputs", []))
    return [png.strip() for png in found if png]
