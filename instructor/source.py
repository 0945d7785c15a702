"""What the source of a cell says, without running it."""

import ast
import re
import symtable

from IPython.core.inputtransformer2 import TransformerManager


def python_of(source):
    """A cell's source with IPython's magics translated; `...` for one that cannot be compiled."""
    source = re.sub(r"\A\s*%%.*", "", source)  # a cell magic, whose cell would become a string
    try:
        source = TransformerManager().transform_cell(source)
        compile(source, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        return source
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "..."  # running it will tell


def statements(source):
    """A cell's source in parts of one statement each, or whole with a cell magic or an error."""
    python = python_of(source)
    if source.lstrip().startswith("%%") or python == "...":
        return [source]
    try:
        return [ast.unparse(statement) for statement in ast.parse(python).body]
    except RecursionError:
        return [source]


def first_name(source):
    """The first name that a function, a class or an assignment in the source defines, or None."""
    found = []
    for node in ast.walk(ast.parse(python_of(source))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.append((node.lineno, node.col_offset, node.name))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.append((node.lineno, node.col_offset, node.id))
    return min(found)[2] if found else None


def defined_names(source):
    """The names that a cell itself, not a function in it, defines or imports."""
    symbols = symtable.symtable(python_of(source), "cell", "exec").get_symbols()
    return {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()}


def library_names(source):
    """The parts of all names that a source imports, and of all attributes that are not its own.

    Its own are the names of the functions, classes and attributes that it defines itself.
    """
    imported, used, own = set(), set(), set()
    for node in ast.walk(ast.parse(python_of(source))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in [getattr(node, "module", ""), *(alias.name for alias in node.names)]:
                imported |= set((name or "").split("."))
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") != "checks":
            if isinstance(node.ctx, ast.Load):
                used.add(node.attr)
            else:
                own.add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
    return imported | (used - own)
