"""Blanks for solutions: what is cut out, and the line in its place that says what is missing."""

import re
import symtable
from textwrap import indent

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
MARK = re.compile(r"(?mi)^.*\b(?:BEGIN|END)\W+SOLUTION.*$")  # misspelled ones, too
REGION = re.compile(rf"(?ms)^( *){BEGIN}\n(.*?)^ *{END}$")
HEADING = re.compile(r"(?m)^#+ (.*)")
ITEM = re.compile(r"(?ms)^(\d+)\. (.*?)(?=^\S|\Z)")  # of a list in a text
DEFINITION = re.compile(r"(?m)^def (\w+)")


def with_texts(notebook):
    """Each cell, with the last text down to it that has a heading; the text is empty at first."""
    text = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and HEADING.search(cell.source):
            text = cell.source
        yield cell, text


def blanked(source, texts, is_picture=False):
    """The source with a blank in place of each solution.

    texts: those that may ask for the solution, in a numbered item; is_picture: whether it draws
    the picture that the last item asks for, and so need not define a name.
    Raises: ValueError for marks that are not in pairs, and for a solution that no text asks for.
    """
    marks = [mark.strip() for mark in MARK.findall(source)]
    if marks != [BEGIN, END] * (len(marks) // 2):
        raise ValueError(f"each {BEGIN} needs its {END}, both alone on their lines")

    def blank(region):
        margin = region[1]
        asked_for, heading, number = task(names_of(region), texts, is_picture)
        listed, verb = ", ".join(asked_for), "is" if len(asked_for) == 1 else "are"
        message = f"{listed} {verb} not written yet: see '{heading}', {number}."
        label = "" if margin else f"# Step {number}: {listed}\n"
        return indent(f'{label}raise NotImplementedError("{message}")', margin)

    return REGION.sub(blank, source)


def names_of(region):
    """The names that a solution defines: its function's, or those that a cell assigns, in order."""
    margin, solution = region.groups()
    if margin:
        return DEFINITION.findall(region.string[: region.start()])[-1:]
    symbols = symtable.symtable(solution, "cell", "exec").get_symbols()
    return [symbol.get_name() for symbol in symbols if symbol.is_assigned()]


def task(names, texts, is_picture):
    """Those of the names that a text asks for, the text's heading, and the item's number.

    Raises: ValueError if no numbered item asks for one of them.
    """
    for text in texts:
        for number, item in ITEM.findall(text):
            asked_for = [name for name in names if re.search(rf"`{name}\b", item)]
            if asked_for:
                return asked_for, HEADING.search(text)[1], number
        if is_picture and ITEM.search(text):
            return ["the plot"], HEADING.search(text)[1], ITEM.findall(text)[-1][0]
    raise ValueError(f"no numbered item of the text above asks for {', '.join(names) or 'it'}")
