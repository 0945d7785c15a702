"""Execute the assignment in place, the way its stored outputs are made: MNIST, 100 epochs.

    .venv/bin/python instructor/execute.py [NOTEBOOK]

Or, with a second file, leave the notebook alone and write what came out, as a notebook or as HTML.
Then VAE_DATASET and VAE_EPOCHS may change the run:

    .venv/bin/python instructor/execute.py NOTEBOOK RESULT.html

The terminal shows the running cell and its progress bar. A file is written only if every cell ran.
It holds no times and nothing of this machine, so that two executions differ only where results do.
"""

import os
import re
import sys
from pathlib import Path

import latex2mathml.converter
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

NOTEBOOK = Path(__file__).resolve().parents[1] / "vae_assignment.ipynb"
AS_COMMITTED = {"VAE_DATASET": "mnist", "VAE_EPOCHS": "100"}

# nbconvert's page without the scripts that it fetches, and with the alt texts that it leaves out.
PAGE = """
{% extends "index.html.j2" %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}
<style>
math {
  font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", "DejaVu Math TeX Gyre", math;
}
</style>
{% endblock %}
{% block data_png %}
{% set alt = output | get_metadata("alt", "image/png") %}
{{ super() | replace("<img", '<img alt="%s"' % (alt | e)) if alt else super() }}
{% endblock %}
"""

# Where latex2mathml departs from TeX: what it writes, and what would look as TeX sets it.
THIN_SPACE = '<mspace width="0.167em"></mspace>'
NAME = "<mi>(?:log|tanh)</mi>"
CORRECTIONS = [
    (
        r"<mo>(&#x0(?:002E|002F|2026|221E);)</mo>",
        r"<mi>\1</mi>",
    ),  # no space around / . ... infinity
    (r"<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>"),  # "distributed as" is a relation
    (  # a sign is one that follows an operator or an opening bracket
        r"(<mo>[^<]+</mo>|(?:[([{]|&#x000(?:28|5B|7B);)</mo>)<mo>(&#x0(?:002B|2212);)</mo>",
        r'\1<mo form="prefix">\2</mo>',
    ),
    (rf"(</m(?:i|n|sub|style)>|&#x00029;</mo>)({NAME})", rf"\1{THIN_SPACE}\2"),
    (rf"({NAME})(?!</mrow>|<mo [^>]*>(?:[([]|&#x000(?:28|5B);))", rf"\1{THIN_SPACE}"),
]


class Client(NotebookClient):
    """A client that shows on the terminal which cell runs, and the bar that the cell draws."""

    def show(self, text, end=""):
        print(f"\r\033[K{text}", end=end, flush=True)

    def process_message(self, message, cell, cell_index):
        text = message["content"].get("text", "")
        if "\r" in text:
            self.show(text.rstrip().rpartition("\r")[2])
        return super().process_message(message, cell, cell_index)


class MathMLRenderer(IPythonRenderer):
    """Sets the equations of a text in MathML, for which a browser needs no script."""

    def inline_math(self, body):
        return mathml(body)

    def block_math(self, body):
        return mathml(body, display="block")


def mathml(latex, display="inline"):
    element = latex2mathml.converter.convert(latex, display=display)
    for pattern, right in CORRECTIONS:
        element = re.sub(pattern, right, element)
    return element


def markdown_to_html(source):
    return MarkdownWithMath(renderer=MathMLRenderer(escape=False)).render(source)


def execute(path, environment):
    """Run every cell of the notebook in the file; returns it with its new outputs."""
    notebook = nbformat.read(path, as_version=4)
    if any("id" not in cell for cell in notebook.cells):
        raise ValueError("Its cells have no ids: save it with a recent Jupyter first.")
    client = Client(
        notebook,
        timeout=None,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.on_cell_execute = lambda cell, cell_index: client.show(
        f"cell {cell_index + 1} of {len(notebook.cells)}: {cell.id}"
    )
    client.execute(env={**os.environ, **environment})
    for cell in notebook.cells:
        if any(output.get("name") == "stderr" for output in cell.get("outputs", [])):
            raise RuntimeError(f"cell {cell.id} writes to stderr")
    notebook.metadata.language_info = {"name": "python"}  # without this machine's version
    return notebook


def write(notebook, path):
    """Write the notebook, as HTML where the name ends so; the old file stays until all is there."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        if path.suffix == ".html":
            filters = {"markdown2html": markdown_to_html}
            exporter = HTMLExporter(raw_template=PAGE, filters=filters)
            html, _ = exporter.from_notebook_node(notebook)
            unfinished.write_text(html, encoding="utf-8")
        else:
            nbformat.write(notebook, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def main(source=NOTEBOOK, result=None):
    environment = {} if result else AS_COMMITTED
    result = Path(result or source)
    try:
        notebook = execute(Path(source).resolve(), environment)
        write(notebook, result)
    except (CellExecutionError, OSError, RuntimeError, ValueError) as error:
        sys.exit(f"\n{error}\n{result} was not written.")
    print(f"\r\033[K{result} is written.")


if __name__ == "__main__":
    if len(sys.argv) > 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
