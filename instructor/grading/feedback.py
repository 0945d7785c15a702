"""A student's page: her notebook as it ran, with verdicts, and the assignment's pictures beside."""

import base64
import io
from functools import cache
from itertools import zip_longest

from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from pygments.formatters import HtmlFormatter

from instructor.cells import is_check
from instructor.grading.gradebook import POINTS, TEMPLATES
from instructor.grading.handed_in import given

MOST_TEXT = 20_000  # characters of one output
WIDTH = 640  # pixels, of the assignment's pictures


def page_of(work, points):
    """The page as HTML, which needs no other file."""
    cells = [shown(cell, work.messages.get(cell.id)) for cell in work.cells]
    if work.files:
        helpers = (work.files / "vae_helpers.py").read_text(errors="replace")
        cells.insert(0, new_code_cell(helpers[:MOST_TEXT]))
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(new_notebook(cells=cells))
    styles = [
        HtmlFormatter(style=name).get_style_defs(".highlight") for name in ("xcode", "github-dark")
    ]
    page = TEMPLATES.get_template("feedback.html.j2")
    settings = work.config.gradebook.settings
    return page.render(
        work=work, points=points, of=POINTS, body=body, styles=styles, settings=settings
    )


def shown(cell, message):
    """The cell as the page shows it: a verdict, what it printed, pictures side by side."""
    original = given().get(cell.id, new_code_cell())
    if cell.cell_type != "code":
        if cell.source == original.source:  # of the text that she was given, only the headings
            headings = [line for line in cell.source.splitlines() if line.startswith("#")]
            cell = new_markdown_cell("\n".join(headings))
        return cell
    pictures = [*zip_longest(pictures_of(cell), map(small, pictures_of(original)))]
    notes = TEMPLATES.get_template("cell.html.j2").render(
        id=cell.id, check=is_check(cell.id), message=message, pictures=pictures
    )
    return new_code_cell(
        cell.source,
        outputs=[new_output("display_data", {"text/html": notes})]
        + [*plain(cell.outputs, message)],
    )


def plain(outputs, message):
    """The text of the outputs, as much as one can read; no markup of hers."""
    for output in outputs:
        if output.output_type == "error":
            lines = [line[:MOST_TEXT] for line in output.traceback[-20:]]
            if lines != [message]:
                yield new_output("error", ename="", evalue="", traceback=lines)
        elif "image/png" not in output.get("data", {}):
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            yield new_output("stream", text=str(text)[:MOST_TEXT])


def pictures_of(cell):
    data = [output.get("data", {}) for output in cell.get("outputs", [])]
    return [d["image/png"].strip() for d in data if "image/png" in d]


@cache
def small(picture):
    """The picture no larger than it is shown."""
    image, png = Image.open(io.BytesIO(base64.b64decode(picture))), io.BytesIO()
    image.thumbnail((WIDTH, 4 * WIDTH))
    image.save(png, format="png")
    return base64.b64encode(png.getvalue()).decode()
