"""The pages: a student's notebook as it ran, with verdicts and pictures, and the class."""

import base64
import io
import re
from functools import cache
from itertools import zip_longest
from pathlib import Path
from urllib.parse import unquote

import jinja2
from nbconvert.filters import Highlight2HTML, ansi2html
from nbformat.v4 import new_markdown_cell
from PIL import Image
from pygments.formatters import HtmlFormatter

from instructor.assignment import (
    assignment_cells,
    is_to_write,
    is_training,
    pictures_of,
    points_of_checks,
)
from instructor.limits import PICTURE_FILE, TEXT
from instructor.page import student_text_to_html

WIDTH = 640  # pixels, of the assignment's pictures
KINDS = {  # of pictures that a page can show, by what their files' names end in
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
}


def student_page(student, result, settings):
    """A student's page as HTML, which needs no other file, and holds no markup of the student's."""
    styles = [HtmlFormatter(style=s).get_style_defs(".highlight") for s in ("xcode", "github-dark")]
    return templates.get_template("student.html.j2").render(
        student=student,
        result=result,
        names=result.names(),
        checks=points_of_checks(),
        settings=settings,
        reference=said_by_reference(),
        styles=styles,
    )


def class_page(rows, points, settings, others):
    """The page about the class as HTML: a table that can be sorted."""
    page = templates.get_template("index.html.j2")
    return page.render(rows=rows, points=points, settings=settings, others=others)


# Texts -------------------------------------------------------------------------------------------


def text_of(cell, files):
    """A text cell as HTML: of a given text only the headings. It may show the student's files."""
    original = assignment_cells().get(cell.id)
    if original and not is_to_write(original) and cell.source == original.source:
        headings = [line for line in cell.source.splitlines() if line.startswith("#")]
        return student_text_to_html(new_markdown_cell("\n".join(headings)))
    return student_text_to_html(with_pictures(cell, files))


def with_pictures(cell, files):
    """The text cell with the pictures that it names attached to it, or why one is not shown."""
    attachments = dict(cell.get("attachments", {}))

    def attach(match):
        alt, url = match["alt"] or "", unquote(match["url"]).removeprefix("./")
        if url.startswith("attachment:"):
            return match[0]
        if re.match(r"\w+:", url):
            return f"{alt} [the picture {match['url']} is not shown: the page fetches nothing]"
        file, kind = files.get(url), KINDS.get(Path(url).suffix.lower())
        if not file:
            return f"{alt} [the picture {match['url']} is not shown: it was not handed in]"
        if not kind or file.stat().st_size > PICTURE_FILE:
            return f"{alt} [the picture {match['url']} is not shown: see the file]"
        name = f"picture-{len(attachments)}"
        attachments[name] = {kind: base64.b64encode(file.read_bytes()).decode()}
        return f"![{alt}](attachment:{name})"

    source = re.sub(
        r'<img\s[^>]*?src=["\'](?P<url>[^"\']+)["\'][^>]*>', r"![](<\g<url>>)", cell.source
    )
    source = re.sub(r"!\[(?P<alt>[^]]*)\]\(<?(?P<url>[^)>]+?)>?\)", attach, source)
    return new_markdown_cell(source, attachments=attachments)


# Outputs -----------------------------------------------------------------------------------------


def picture_pairs(cell):
    """The pictures of a cell, as data URLs, beside the assignment's; None where there are fewer."""
    shown = [url for output in cell.outputs if (url := picture_url(output))]
    given = pictures_of(assignment_cells().get(cell.id, {}))
    return zip_longest(shown, (f"data:image/png;base64,{small(png)}" for png in given))


def picture_url(output):
    """The picture of an output as a data URL, in which no script runs; None if it has none."""
    for kind, content in output.get("data", {}).items():
        if kind in KINDS.values() and isinstance(content, str):
            if kind == "image/svg+xml":
                content = base64.b64encode(content.encode()).decode()
            return f"data:{kind};base64,{''.join(content.split())}"
    return None


def printed(cell, message):
    """The texts of the outputs, as much as one can read, but for an error that is the message."""
    for output in cell.outputs:
        if output.output_type == "error":
            text = "\n".join(line[:TEXT] for line in output.traceback[-20:])
            if text != message:
                yield text
        elif not picture_url(output):
            data = output.get("data", {})
            text = str(output.get("text") or data.get("text/plain", ""))[:TEXT]
            others = sorted(set(data) - {"text/plain"})
            if others:
                text = f"{text}\n[not shown: {', '.join(others)}]".lstrip()
            yield text


def said_by_reference():
    """What the assignment's own notebook says of its training, in its stored output."""
    for cell in assignment_cells().values():
        if is_training(cell.id):
            lines = "".join(o.get("text", "") for o in cell.outputs).strip().splitlines()
            return lines[-1].rpartition("\r")[2] if lines else ""
    return ""


@cache
def small(picture):
    """The picture no larger than it is shown."""
    image, png = Image.open(io.BytesIO(base64.b64decode(picture))), io.BytesIO()
    image.thumbnail((WIDTH, 4 * WIDTH))
    image.save(png, format="png")
    return base64.b64encode(png.getvalue()).decode()


def highlighted(source):
    return Highlight2HTML(pygments_lexer="ipython3")(source[:TEXT])


templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True
)
templates.tests["contains"] = lambda ids, id: id in ids
templates.filters["ansi2html"] = ansi2html  # which escapes all markup
templates.filters["highlight"] = highlighted
templates.globals |= {"text_of": text_of, "picture_pairs": picture_pairs, "printed": printed}
