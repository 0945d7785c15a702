"""Reading what the command leaves."""

import csv
import re
from html import unescape


def rows_of(folder):
    """The rows of the table in folder/grades, by student."""
    with open(folder / "grades" / "grades.csv", newline="", encoding="utf-8") as file:
        return {row["student_id"]: row for row in csv.DictReader(file)}


def remarks(folder, page):
    """All remarks on a student's page, as text."""
    text = (folder / "grades" / f"{page}.html").read_text()
    return unescape("\n".join(re.findall("<li>((?!<a).*?)</li>", text, re.S)))
