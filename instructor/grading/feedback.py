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


def student_page(student, result, of, settings):
    """A student's page as HTML, which needs no other file, and holds no markup of the student's."""
    styles = [HtmlFormatter(style=s).get_style_defs(".highlight") for s in ("xcode", "github-dark")]
    page = templates.get_template("student.html.j2")
    return page.render(student=student, result=result, of=of, settings=settings, styles=styles)


def class_page(rows, points, settings, others):
    """The page about the class as HTML: a table that can be sorted."""
    page = templates.get_template("index.html.j2")
    return page.render(rows=rows, points=points, settings=settings, others=others)


def text_of(cell):
    """A text cell as HTML: of a given text only the headings."""
    original = given().get(cell.id)
    if original and cell.source == original.source:
        headings = [line for line in cell.source.splitlines() if line.startswith("#")]
        cell = new_markdown_cell("\n".join(headings))
    return student_text_to_html(cell)


def picture_pairs(cell):
    """The pictures of a cell beside the assignment's; None where there are fewer."""
    return zip_longest(pictures_of(cell), map(small, pictures_of(given().get(cell.id, {}))))


def printed(cell, message):
    """The texts of the outputs, as much as one can read, but for an error that is the message."""
    for output in cell.outputs:
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


templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True
)
templates.tests["contains"] = lambda ids, id: id in ids
templates.tests["check"] = is_check
templates.filters["ansi2html"] = ansi2html  # which escapes all markup
templates.filters["highlight"] = lambda s: Highlight2HTML(pygments_lexer="ipython3")(s[:TEXT])
templates.globals |= {"text_of": text_of, "picture_pairs": picture_pairs, "printed": printed}
