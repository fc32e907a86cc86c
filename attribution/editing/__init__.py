"""Edits of the training data: kept in a log that only grows, applied to a copy, undone at will."""

from attribution.editing.apply import changed_ids, edited_table
from attribution.editing.changes import Change, Edit, RowEdit, note, perturb, relabel, remove
from attribution.editing.log import EditLog

__all__ = [
    "Change",
    "Edit",
    "EditLog",
    "RowEdit",
    "changed_ids",
    "edited_table",
    "note",
    "perturb",
    "relabel",
    "remove",
]
