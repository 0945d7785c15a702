"""The notebook as a page of HTML that fetches nothing: its equations are set beforehand."""

import re
from html import escape

import jinja2
import latex2mathml.converter
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import (
    InvalidNotebook,
    IPythonRenderer,
    MarkdownWithMath,
)

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
    (r"<mo>(&#x0(?:002E|002F|2026|221E);)</mo>", r"<mi>\1</mi>"),  # no space around . / ... ∞
    (r"<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>"),  # "distributed as" is a relation
    (  # a sign is one that follows an operator or an opening bracket
        r"(<mo>[^<]+</mo>|(?:[([{]|&#x000(?:28|5B|7B);)</mo>)<mo>(&#x0(?:002B|2212);)</mo>",
        r'\1<mo form="prefix">\2</mo>',
    ),
    (rf"(</m(?:i|n|sub|style)>|&#x00029;</mo>)({NAME})", rf"\1{THIN_SPACE}\2"),
    (rf"({NAME})(?!</mrow>|<mo [^>]*>(?:[([]|&#x000(?:28|5B);))", rf"\1{THIN_SPACE}"),
]


class TextRenderer(IPythonRenderer):
    """Sets a text, with a gap for a picture that is not attached to it."""

    def image(self, text, url, title=None):
        try:
            return super().image(text, url, title)
        except InvalidNotebook:
            return f"<em>[{escape(text)}: this picture is missing]</em>"


class MathMLRenderer(TextRenderer):
    """Sets the equations, too, in MathML, for which a browser needs no script."""

    def inline_math(self, body):
        return mathml(body)

    def block_math(self, body):
        return mathml(body, display="block")


def mathml(latex, display="inline"):
    try:
        element = latex2mathml.converter.convert(latex, display=display)
    except Exception:  # its errors have no common base; a wrong equation is shown as written
        return f"<code>{escape(latex)}</code>"
    for pattern, corrected in CORRECTIONS:
        element = re.sub(pattern, corrected, element)
    return element


@jinja2.pass_context
def markdown_to_html(context, source):
    attachments = context["cell"].get("attachments", {})
    renderer = MathMLRenderer(escape=False, attachments=attachments)
    return MarkdownWithMath(renderer=renderer).render(source)


def student_text_to_html(cell):
    """A student's text as HTML without any markup of its own; equations stay as they are written.

    (latex2mathml lets markup in an equation through.)
    """
    attachments = cell.get("attachments", {})
    renderer = TextRenderer(escape=True, exclude_anchor_links=True, attachments=attachments)
    return MarkdownWithMath(renderer=renderer).render(cell.source)


def html_page(notebook):
    """The notebook as HTML; the file that its last cell writes belongs beside it."""
    exporter = HTMLExporter(raw_template=PAGE, filters={"markdown2html": markdown_to_html})
    return exporter.from_notebook_node(notebook)[0]
