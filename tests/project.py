"""What the tests share: paths, small notebooks, and changed copies."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import torch

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "vae_assignment.ipynb"
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
