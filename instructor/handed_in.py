"""What is wrong with a notebook as it was handed in, as far as it shows without running it.

nbval compares a notebook with itself. It cannot see that a check was changed and run again, or that
outputs were stripped: with nothing stored there is nothing to compare.
"""

import ast
import json
import re
import symtable
from hashlib import sha256
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager

# The check cells of the assignment, as it was executed last: id and SHA-256 of the source.
CHECK_CELLS = Path(__file__).with_name("check_cells.json")

# The four texts that ask for a picture: it must be shown below them.
PICTURES = {
    "1201bfee-90bb-11eb-23e5-af9a61f64679": "picture 1, the digits in the latent space",
    "dcedbba4-90bb-11eb-2652-bf6448095107": "picture 2, digits from the prior",
    "82b0a368-90be-11eb-0ddb-310f332a83f0": "picture 3, reconstructions",
    "02181adc-90c1-11eb-29d7-736dce72a0ac": "picture 4, the latent space as a map",
}

# Modules, functions and losses that are probability made by a library.
FORBIDDEN = re.compile(
    r"distributions?|scipy|pyro|numpyro|log_prob|logpdf|normal|bernoulli_?|binomial|multinomial|"
    r"poisson|kl_div|\w*cross_entropy\w*|(mse|l1|smooth_l1|huber|\w*nll)_loss|\w*Loss"
)


def problems_of(notebook):
    """One line for each problem: cells not run, checks changed, library-made probability, ..."""
    if any("id" not in cell for cell in notebook.cells):
        yield "its cells have no ids: it must be made from the assignment, by a recent Jupyter"
        return
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    trees = {id: parsed(cell.source) for id, cell in cells.items()}
    yield from not_run(cells, trees)
    yield from checks_changed(cells, trees)
    for id, tree in trees.items():
        for name in sorted(filter(FORBIDDEN.fullmatch, library_names(tree))):
            yield f"{name}, in {id}, is library-made probability: write the density or sample out"
    yield from pictures_missing(notebook)


def not_run(cells, trees):
    for id, cell in cells.items():
        ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
        if trees[id].body and (cell.execution_count is None or (ignored and not cell.outputs)):
            first_line = cell.source.splitlines()[0]
            yield f"{id} was not run, or lost its outputs: run all cells and save ({first_line})"


def checks_changed(cells, trees):
    expected = json.loads(CHECK_CELLS.read_text())
    for id, digest in expected.items():
        if id not in cells:
            yield f"{id} is missing: copy this cell from the assignment"
        elif digest_of(cells[id]) != digest or cells[id].metadata.get("tags"):
            yield f"{id} is not as it is in the assignment: restore this cell"
    if [id for id in cells if id in expected] != [id for id in expected if id in cells]:
        yield "the check cells are not in the order of the assignment"
    used_by_checks = set().union(*(defined_names(trees[id]) for id in expected if id in trees))
    for id, tree in trees.items():
        for name in sorted(defined_names(tree) & used_by_checks):
            if id not in expected:
                yield f"{name}, in {id}, has a name that the checks use: choose another"


def pictures_missing(notebook):
    section, shown = None, set()
    for cell in notebook.cells:
        section = cell.id if cell.id in PICTURES else section
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            shown.add(section)
    for section, picture in PICTURES.items():
        if section not in shown:
            yield f"{picture}, is missing"


def parsed(source):
    """The syntax tree of a cell, what only IPython understands translated."""
    source = re.sub(r"\A\s*%%.*", "", source)  # a cell magic, whose cell would become a string
    try:
        source = TransformerManager().transform_cell(source)
        compile(source, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        return ast.parse(source)
    except SyntaxError:
        return ast.parse("...")  # running it will tell


def defined_names(tree):
    """The names that a cell itself, not a function in it, defines or imports."""
    symbols = symtable.symtable(ast.unparse(tree), "cell", "exec").get_symbols()
    return {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()}


def library_names(tree):
    """The parts of all names that a cell imports, and of all attributes that it uses."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in [getattr(node, "module", ""), *(alias.name for alias in node.names)]:
                names |= set((name or "").split("."))
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
    return names


def digest_of(cell):
    return sha256(cell.source.encode()).hexdigest()


def record_check_cells(notebook):
    """From now on the check cells of this notebook are those of the assignment."""
    digests = {cell.id: digest_of(cell) for cell in notebook.cells if cell.id.startswith("check-")}
    CHECK_CELLS.write_text(json.dumps(digests, indent=1) + "\n")
