"""The pages: a student's notebook as it ran, with verdicts and pictures, and the class."""

import base64
import io
from functools import cache
from itertools import zip_longest
from pathlib import Path

import jinja2
from nbconvert.filters import Highlight2HTML, ansi2html
from nbformat.v4 import new_markdown_cell
from PIL import Image
from pygments.formatters import HtmlFormatter

from instructor.cells import is_check, pictures_of
from instructor.grading.limits import TEXT
from instructor.grading.restored import given
from instructor.page import student_text_to_html

WIDTH = 640  # pixels, of the assignment's pictures

templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True
)
templates.tests["contains"] = lambda ids, id: id in ids
templates.filters["ansi2html"] = ansi2html  # which escapes all markup
templates.filters["highlight"] = Highlight2HTML(pygments_lexer="ipython3")


def student_page(student, result, of, settings):
    """A student's page as HTML, which needs no other file, and holds no markup of the student's."""
    styles = [HtmlFormatter(style=s).get_style_defs(".highlight") for s in ("xcode", "github-dark")]
    return templates.get_template("student.html.j2").render(
        student=student,
        result=result,
        remarks=result.all_remarks(),
        points=result.points(),
        of=of,
        cells=[shown(cell, result.messages.get(cell.id)) for cell in result.cells],
        helpers=result.helpers[:TEXT],
        styles=styles,
        settings=settings,
    )


def class_page(rows, points, settings, others):
    """The page about the class as HTML: a table that can be sorted."""
    page = templates.get_template("index.html.j2")
    return page.render(rows=rows, points=points, settings=settings, others=others)


def shown(cell, message):
    """What the page shows of a cell."""
    original = given().get(cell.id)
    if cell.cell_type != "code":
        if original and cell.source == original.source:  # of a given text only the headings
            headings = [line for line in cell.source.splitlines() if line.startswith("#")]
            cell = new_markdown_cell("\n".join(headings))
        return {"text": student_text_to_html(cell)}
    pictures = zip_longest(pictures_of(cell), map(small, pictures_of(original or {})))
    return {
        "id": cell.id,
        "check": is_check(cell.id),
        "source": cell.source[:TEXT],
        "message": message,
        "pictures": list(pictures),
        "outputs": [*printed(cell.outputs, message)],
    }


def printed(outputs, message):
    """The text of the outputs, as much as one can read."""
    for output in outputs:
        if output.output_type == "error":
            text = "\n".join(line[:TEXT] for line in output.traceback[-20:])
            if text != message:
                yield text
        elif "image/png" not in output.get("data", {}):
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            yield str(text)[:TEXT]


@cache
def small(picture):
    """The picture no larger than it is shown."""
    image, png = Image.open(io.BytesIO(base64.b64decode(picture))), io.BytesIO()
    image.thumbnail((WIDTH, 4 * WIDTH))
    image.save(png, format="png")
    return base64.b64encode(png.getvalue()).decode()
