"""Changes to training examples: what is asked for, what the log keeps of it, and the state that follows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import pandas as pd

from attribution.errors import UserError, unknown

Action = Literal["relabel", "remove", "perturb", "note", "undo"]
ACTIONS: tuple[Action, ...] = ("relabel", "remove", "perturb", "note", "undo")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change that is asked for. `row`: the training id; the other fields as the action needs them."""

    action: Action
    row: int | None = None
    label: str | None = None
    text: str | None = None
    text_pair: str | None = None
    note: str | None = None


def relabel(row: int, label: str) -> Change:
    """Give a training example another label; its first one takes the change back."""
    return Change(action="relabel", row=int(row), label=label)


def remove(row: int) -> Change:
    """Leave a training example out."""
    return Change(action="remove", row=int(row))


def perturb(row: int, *, text: str | None = None, text_pair: str | None = None) -> Change:
    """Give a training example another text, or another second text; None leaves one as it is."""
    return Change(action="perturb", row=int(row), text=text, text_pair=text_pair)


def note(row: int, words: str) -> Change:
    """Write something down about a training example; its data stays."""
    return Change(action="note", row=int(row), note=words)


@dataclass(frozen=True, kw_only=True)
class Edit(Change):
    """A change as the log keeps it.

    `number` counts from 1; `first` and `last` are those of the edits that were made with it, which are undone with it.
    `when` is UTC in ISO 8601; `of`: the first number of what an undo takes back.
    """

    number: int
    first: int
    last: int
    when: str
    of: int | None = None


@dataclass(frozen=True, kw_only=True)
class RowEdit:
    """What holds for one training example: None where the imported data holds.

    `numbers`: by action, the number of the edit that says so.
    """

    label: str | None = None
    text: str | None = None
    text_pair: str | None = None
    removed: bool = False
    note: str | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_changed(self) -> bool:
        """Whether the training data changes; a note changes nothing."""
        return self.removed or any(value is not None for value in (self.label, self.text, self.text_pair))


State = dict[int, RowEdit]


def undone(edits: Iterable[Edit]) -> set[int]:
    """The first numbers of the batches that do not hold; undoing an undo makes what it took back hold again."""
    gone: set[int] = set()
    for edit in sorted(edits, key=lambda edit: -edit.number):
        if edit.action == "undo" and edit.of is not None and edit.first not in gone:
            gone.add(edit.of)
    return gone


def replay(edits: Iterable[Edit], train: pd.DataFrame) -> State:
    """The state after some edits by rising number: a later one replaces an earlier one of the same row and kind."""
    edits, state = list(edits), {}
    gone = undone(edits)
    for edit in edits:
        if edit.action != "undo" and edit.first not in gone and edit.row is not None:
            state[edit.row] = _with(state.get(edit.row, RowEdit()), edit)
    tidied = {row: _without_returns(edit, train.loc[row]) for row, edit in state.items()}
    return {row: edit for row, edit in tidied.items() if edit != RowEdit()}


def _with(before: RowEdit, edit: Edit) -> RowEdit:
    given = {name: getattr(edit, name) for name in ("label", "text", "text_pair", "note")}
    given = {name: value for name, value in given.items() if value is not None}
    numbers = {**before.numbers, edit.action: edit.number}
    return replace(before, **given, removed=before.removed or edit.action == "remove", numbers=numbers)


def _without_returns(edit: RowEdit, imported: pd.Series) -> RowEdit:
    """Without values that are those of the imported data again."""
    names = [name for name in ("label", "text", "text_pair") if name in imported]
    kept = {name: None for name in names if getattr(edit, name) == imported[name]}
    edit = replace(edit, **kept)
    says = {
        "relabel": edit.label is not None,
        "perturb": edit.text is not None or edit.text_pair is not None,
        "remove": edit.removed,
        "note": edit.note is not None,
    }
    return replace(edit, numbers={action: number for action, number in edit.numbers.items() if says[action]})


def check_change(change: Change, before: Mapping[int, RowEdit], train: pd.DataFrame, labels: tuple[str, ...]) -> None:
    """Raise UserError for a change that names what is not there, or that changes nothing."""
    row = change.row
    if change.action not in ACTIONS or row is None:
        raise unknown("action", change.action, [action for action in ACTIONS if action != "undo"])
    if row not in train.index:
        raise UserError(f"No training example {row}: ids go from {train.index.min()} to {train.index.max()}.")
    held = before.get(row, RowEdit())
    if held.removed and change.action != "note":
        raise UserError(f"Training example {row} is removed (edit {held.numbers['remove']}): undo that first.")
    if change.action == "relabel":
        _check_label(change, held, str(train.loc[row, "label"]), labels)
    elif change.action == "perturb":
        _check_texts(change, held, train)
    elif change.action == "note" and not (change.note or "").strip():
        raise UserError(
            f"The note on training example {row} is blank: write something, or undo the note that is there."
        )


def _check_label(change: Change, held: RowEdit, imported: str, labels: tuple[str, ...]) -> None:
    if change.label not in labels:
        raise unknown("label", change.label, labels)
    if change.label == (held.label or imported):
        others = ", ".join(label for label in labels if label != change.label)
        raise UserError(f"Training example {change.row} has the label '{change.label}' already: choose {others}.")


def _check_texts(change: Change, held: RowEdit, train: pd.DataFrame) -> None:
    given = {name: getattr(change, name) for name in ("text", "text_pair")}
    given = {name: value for name, value in given.items() if value is not None}
    if "text_pair" in given and "text_pair" not in train:
        raise UserError("This workspace classifies single texts: leave text_pair out.")
    for name, value in given.items():
        if not value.strip():
            raise UserError(f"The new {name} of training example {change.row} is blank: remove the example instead.")
    if all(value == (getattr(held, name) or train.loc[change.row, name]) for name, value in given.items()):
        raise UserError(f"Training example {change.row} has this text already: change a word of it.")


def check_classes(state: Mapping[int, RowEdit], train: pd.DataFrame) -> None:
    """Raise UserError where a state leaves no training example of a label that the imported data has."""
    labels = train["label"].copy()
    for row, edit in state.items():
        if edit.label is not None:
            labels[row] = edit.label
    removed = [row for row, edit in state.items() if edit.removed]
    lost = sorted(set(train["label"]) - set(labels.drop(index=removed)))
    if lost:
        raise UserError(f"This would leave no training example with the label '{lost[0]}': keep at least one.")
