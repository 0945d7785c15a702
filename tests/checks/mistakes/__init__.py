"""What a student may write: typical mistakes, and correct solutions written differently.

MISTAKES and RIGHT hold an Entry for each; a module for each part of the notebook holds those of
that part.
"""

from . import bound, encoder, helpers, model, objective, pictures, training
from .entry import HELPERS, Change, Entry

PARTS = helpers, model, encoder, objective, training, bound, pictures
MISTAKES = [entry for part in PARTS for entry in part.MISTAKES]
RIGHT = [entry for part in PARTS for entry in part.RIGHT]

__all__ = ["HELPERS", "MISTAKES", "RIGHT", "Change", "Entry"]
