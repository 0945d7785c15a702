"""What the tests share: paths, small notebooks, and changed copies."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "vae_assignment.ipynb"

# Cells of the assignment, by their ids.
ELBO = "ccf226b8-90b6-11eb-15a2-d30c9e27aebb"
TRAINING = "c86a877c-90b9-11eb-31d8-bbcb71e4fa66"
SCATTER = "db18e7e2-90bb-11eb-18e5-87e4f094123d"  # shows picture 1
LAST_GRADED = "3cb18062-90c2-11eb-3622-1f29d445e0ba"  # shows picture 4

MNIST_FOLDER = ROOT / "data" / "MNIST" / "raw"

# The environment of a kernel that runs the notebook in any folder, in seconds, on one core.
SMALL_RUN = {"VAE_DATASET": "embedded", "VAE_EPOCHS": "2", "OMP_NUM_THREADS": "1"}
SMALL_RUN |= {"PYTHONPATH": str(ROOT)}


def small_environment(**variables):
    """This process's environment, without what pytest-xdist puts into it, for a small run."""
    return {k: v for k, v in os.environ.items() if "XDIST" not in k} | SMALL_RUN | variables


def instructor(*arguments, **variables):
    """What comes of `python -m instructor` with these arguments, by default for a small run."""
    command, env = [sys.executable, "-m", "instructor", *arguments], small_environment(**variables)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)


def needs_cells(*ids):
    """A mark that skips tests of cells that this edition of the assignment does not have."""
    there = {cell.id for cell in nbformat.read(NOTEBOOK, as_version=4).cells}
    missing = [id for id in ids if id not in there]
    return pytest.mark.skipif(bool(missing), reason=f"the notebook has no cell {missing}")


def changed(source, right, wrong):
    """The source with one piece of it replaced, which must be there exactly once."""
    assert source.count(right) == 1, f"{right!r} is there {source.count(right)} times"
    return source.replace(right, wrong)


def code_cell(source, id, **more):
    return nbformat.v4.new_code_cell(source, id=id, **more)


def notebook_of(*sources):
    """A small notebook, not executed, with the cells cell-1, cell-2, ..."""
    cells = [code_cell(source, f"cell-{i}") for i, source in enumerate(sources, start=1)]
    return nbformat.v4.new_notebook(cells=cells)


def notebook_functions(**names):
    """A namespace with the notebook's functions, which use these names and none of its values."""
    namespace = SimpleNamespace(DEVICE=torch.device("cpu"), **names)
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type == "code":
            tree = ast.parse(re.sub("(?m)^%.*", "", cell.source))  # without IPython's magics
            kinds = ast.Import | ast.ImportFrom | ast.FunctionDef
            tree.body = [statement for statement in tree.body if isinstance(statement, kinds)]
            exec(compile(tree, cell.id, "exec"), vars(namespace))
    return namespace
