"""What an entry of the catalogue is."""

from typing import NamedTuple

HELPERS = "vae_helpers.py"


class Change(NamedTuple):
    """A change to one cell of the solved notebook, or to the helpers.

    place: a name that the cell defines, the cell's id, or vae_helpers.py.
    replaces: the piece of its source that the code replaces; None: the code runs after all of it.
    """

    place: str
    replaces: str | None
    code: str


class Entry(NamedTuple):
    """A mistake, or a correct solution written differently.

    changes: the changes to the solved notebook.
    check: the id of the check that must catch the mistake, and the only one that does; None for
        a correct solution.
    says: a piece of the message that names the mistake.
    """

    name: str
    changes: list[Change]
    check: str | None = None
    says: str = ""


def variants(place, codes, replaces=None, check=None, says={}, more=()):
    """An entry for each of the codes, by their names, in one place.

    A newline at the end of a code, or of what it replaces, is left out. says: by the names of the
    codes; more: further changes, the same for all.
    """
    assert says.keys() <= codes.keys(), says.keys() - codes.keys()
    replaces = replaces and replaces.removesuffix("\n")
    for name, code in codes.items():
        changes = [Change(place, replaces, code.removesuffix("\n")), *more]
        yield Entry(name, changes, check, says.get(name, ""))
