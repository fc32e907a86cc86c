"""What the Data page lists, as tables and sentences. Pure functions: no Streamlit, nothing computed but layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from attribution.editing import Edit, RowEdit
from attribution.editing.effect import Effect
from attribution.group import GroupTable
from attribution.suspects import Cluster, Duplicates
from dashboard.components import TrainingRow

LISTS = {
    "labels": "Suspicious labels",
    "duplicates": "Duplicates",
    "conflicts": "Conflicts",
    "clusters": "Hard clusters",
    "acting": "Behind mispredictions",
    "edits": "Edits",
}
MOST = 2_000
State = Mapping[int, RowEdit]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Training examples to choose from: `frame` by training id in the order shown, of which `total` there are.

    `key` is another one wherever the rows are others. `extra`: the places of those that repeat an earlier one of
    their group.
    """

    key: str
    frame: pd.DataFrame
    total: int
    extra: tuple[int, ...] = ()


def edit_mark(edit: RowEdit | None) -> str:
    """What was done to a training example, in a word or two: "→ positive, note"."""
    if edit is None:
        return ""
    if edit.removed:
        done = ["removed"]
    else:
        changed = edit.text is not None or edit.text_pair is not None
        done = [f"→ {edit.label}"] * (edit.label is not None) + ["text changed"] * changed
    return ", ".join([*done, *["note"] * (edit.note is not None)])


def edit_count(edits: State) -> str:
    """How many training examples are changed: "3 edits"."""
    return _counted(len(edits), "edit")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what if count == 1 else f'{what}s'}"


def narrowed(
    train: pd.DataFrame, ids: pd.Index, edits: State, *, words: str, label: str | None, hide_edited: bool
) -> pd.Index:
    """Those of the training ids, in their order, that pass every filter."""
    rows = train.loc[ids]
    kept = np.ones(len(rows), dtype=bool)
    if words:
        texts = rows["text"] if "text_pair" not in rows else rows["text"] + "\n" + rows["text_pair"]
        kept &= np.array([words.casefold() in text.casefold() for text in texts], dtype=bool)
    if label is not None:
        kept &= rows["label"].to_numpy() == label
    if hide_edited:
        kept &= ~rows.index.isin(list(edits))
    return rows.index[kept]


def listing(key: str, train: pd.DataFrame, ids: pd.Index, edits: State, columns: Mapping[str, Sequence]) -> Listing:
    """A list of training examples: their texts and label, these columns beside them, and what was done to them."""
    shown = ids[:MOST]
    texts = [name for name in ("text", "text_pair") if name in train]
    frame = train.loc[shown, [*texts, "label"]].rename_axis("row")
    frame["edit"] = [edit_mark(edits.get(int(train_id))) for train_id in shown]
    for name, values in columns.items():
        frame[name] = list(values)[: len(shown)]
    return Listing(key=key, frame=frame, total=len(ids))


def label_listing(table: pd.DataFrame, train: pd.DataFrame, ids: pd.Index, edits: State, *, by: str) -> Listing:
    """The suspicious labels by a criterion, of these training ids."""
    found = table.loc[ids].sort_values(f"rank_{by}", kind="stable")
    measures = sorted(("loss", "disagreement", "self_influence"), key=lambda name: name != by)
    names = {"suspected": "suspected_label", **{name: name for name in measures}}
    return listing(f"labels {by}", train, found.index, edits, {name: found[c].tolist() for name, c in names.items()})


def duplicate_listing(
    frame: pd.DataFrame, train: pd.DataFrame, ids: pd.Index, edits: State, suspected: pd.DataFrame | None, *, key: str
) -> Listing:
    """Duplicates or conflicts group by group; the suspected label where it is known."""
    found = frame.loc[ids]
    columns = {"group": (found["group"] + 1).tolist()}
    if suspected is not None and key.startswith("conflicts"):
        columns["suspected"] = suspected.loc[ids, "suspected_label"].tolist()
    columns["similarity"] = found["similarity"].tolist()
    made = listing(key, train, ids, edits, columns)
    later = made.frame["group"].duplicated().to_numpy()
    return Listing(key=key, frame=made.frame, total=made.total, extra=tuple(np.flatnonzero(later).tolist()))


def acting_listing(
    found: GroupTable, train: pd.DataFrame, ids: pd.Index, edits: State, suspected: Mapping[int, str] | None
) -> Listing:
    """The training examples by their score for several mispredictions, those that raised the wrong labels first."""
    scores = pd.Series(found.scores, index=train.index).loc[ids].sort_values(ascending=False, kind="stable")
    columns: dict[str, Sequence] = {}
    if suspected is not None:
        columns["suspected"] = [suspected[train_id] for train_id in scores.index]
    return listing(
        f"acting {found.method} {found.group.tests}", train, scores.index, edits, {**columns, "score": scores}
    )


def cluster_rows(clusters: Sequence[Cluster]) -> pd.DataFrame:
    """One row a cluster, numbered from 1: size, labels, words, mean loss."""
    rows = [
        {
            "size": len(each.ids),
            "labels": ", ".join(f"{label} {count}" for label, count in each.labels.items()),
            "words": ", ".join(each.words),
            "mean loss": each.loss,
        }
        for each in clusters
    ]
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1, name="cluster"))


def duplicates_sentence(found: Duplicates, threshold: float) -> str:
    """How many duplicates were found, and among how many texts."""
    frame = found.frame
    groups = len(set(frame["group"]))
    said = f"{len(frame):,} training examples in {_counted(groups, 'group')}" if groups else "No training examples"
    how = "have the same text" if threshold == 1 else f"share {threshold:.0%} of their words and pairs of words or more"
    ended = ""
    if found.compared < found.texts:
        ended = f" The search ended at {found.compared:,} of {found.texts:,} texts: too many are alike to compare all."
    return f"{said} {how}; case, blanks and punctuation do not count.{ended}"


def log_rows(entries: Sequence[Edit], gone: set[int], train: pd.DataFrame) -> pd.DataFrame:
    """The log, the latest edit first: what, of which training example, to what, when, and whether it holds."""
    rows = []
    for edit in reversed(entries):
        to = {
            "relabel": edit.label,
            "perturb": edit.text if edit.text is not None else edit.text_pair,
            "note": edit.note,
            "undo": f"edit {edit.of}",
        }.get(edit.action)
        rows.append(
            {
                "edit": edit.number,
                "action": edit.action,
                "row": edit.row,
                "to": to or "",
                "text": "" if edit.row is None else train.at[edit.row, "text"],
                "when": pd.Timestamp(edit.when),
                "holds": edit.first not in gone,
            }
        )
    made = pd.DataFrame(rows, columns=["edit", "action", "row", "to", "text", "when", "holds"])
    return made.astype({"row": "Int64"}).set_index("edit")


def class_changes(before: pd.Series, after: pd.Series) -> str:
    """How many training examples each label has before and after, where it changes: "negative 3,515 → 3,512"."""
    counts = before.value_counts(), after.value_counts()
    labels = sorted(set(before) | set(after))
    said = [f"{x} {counts[0].get(x, 0):,} → {counts[1].get(x, 0):,}" for x in labels]
    return " · ".join(text for text, x in zip(said, labels, strict=True) if counts[0].get(x, 0) != counts[1].get(x, 0))


def effect_sentences(whole: Effect | None, example: Effect | None, of: str) -> list[str]:
    """What the edits are predicted to do to the test set's mean loss, and to the probability of one example's label."""
    said = []
    if whole is not None:
        said.append(
            f"Mean loss of the test set: {-whole.value:.4f} → {-whole.value - whole.change:.4f} "
            f"({_signed(-whole.change)}; lower is better)"
        )
    if example is not None:
        before, after = float(np.exp(example.value)), float(np.exp(min(0.0, example.value + example.change)))
        said.append(f"{of}: {before:.2%} → {after:.2%}")
    return said


def effect_rows(found: Effect, train: pd.DataFrame, edits: State, most: int = 100) -> pd.DataFrame:
    """The parts of the edits in an effect, the largest first: the text, what was done to it, its part of the loss."""
    rows = found.rows.head(most)
    ids = rows["train_id"].tolist()
    return pd.DataFrame(
        {
            "text": train.loc[ids, "text"].tolist(),
            "edit": [edit_mark(edits.get(train_id)) for train_id in ids],
            "loss": (-rows["change"]).tolist(),
        },
        index=pd.Index(ids, name="row"),
    )


def _signed(value: float) -> str:
    return f"{value:+.2g}".replace("-", "−")


def alike_rows(
    train: pd.DataFrame, ids: Sequence[int], likeness: Sequence[float], label: str, *, what: str
) -> list[TrainingRow]:
    """Training examples like another one, as they are drawn; those without its label are marked."""
    made: list[TrainingRow] = []
    for rank, (train_id, value) in enumerate(zip(ids, likeness, strict=True), start=1):
        row = train.loc[train_id]
        made.append(
            TrainingRow(
                train_id=int(train_id),
                rank=rank,
                label=str(row["label"]),
                other_label=row["label"] != label,
                score=float(value),
                score_text=f"{value:.2f}".replace("-", "−"),
                share=float(np.clip(value, -1, 1)),
                text=str(row["text"]),
                text_pair=row.get("text_pair"),
                words=None,
                word_scale=1.0,
                duplicates=0,
                details=[[what, f"{value:.3f}".replace("-", "−")]],
            )
        )
    return made
