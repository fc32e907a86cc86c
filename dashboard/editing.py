"""The Data page's way to the library: what was found, kept between runs and made in the background, and the edits."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from attribution.editing import Change, EditLog, RowEdit, edited_table
from attribution.editing.apply import imported_columns, log_table, write_new
from attribution.editing.changes import undone
from attribution.editing.effect import Effect, predicted_effect
from attribution.errors import UserError
from attribution.group import GroupTable, attribute_group, make_group, whole_test_set
from attribution.index import Part, Progress, parts
from attribution.neighbours import NEAREST, neighbours, neighbours_part
from attribution.provenance import spreadsheet_csv, workspace_provenance
from attribution.self_influence import needed_parts
from attribution.suspects import Cluster, Duplicates, find_duplicates, hard_clusters, suspicious_labels
from attribution.suspects.clusters import cluster_parts
from dashboard import background, cache, state, workspaces
from dashboard.data_tables import State, log_rows

METHODS = ("influence_head", "influence", "tracin_last", "gd", "representer")
UNASKED = 20_000
PATIENCE = 1.0
_PROBLEM, _DONE = "data problem", "data done"


@workspaces.keep_by_workspace()
def log() -> EditLog:
    """The edits of this workspace, shared by all sessions."""
    return EditLog(cache.workspace())


def current() -> State:
    """What holds now, by training id; UserError where the log cannot be read."""
    return log().current()


def undone_batches() -> set[int]:
    """The first numbers of the batches that were taken back."""
    return undone(log().entries)


def holding_until(last: int) -> list[int]:
    """The numbers up to `last` of the edits that hold and change the data; a note does not."""
    entries = log().entries
    gone, kinds = undone(entries), ("relabel", "remove", "perturb")
    return [e.number for e in entries if e.number <= last and e.action in kinds and e.first not in gone]


def history() -> pd.DataFrame:
    """The log as a table, the latest edit first."""
    return log_rows(log().entries, undone_batches(), cache.workspace().train)


def act(done: str, *changes: Change) -> None:
    """Make some edits as one batch; what is wrong with them is kept and shown until it is dismissed."""
    _try(lambda: log().append(*changes), done)


def undo(numbers: Sequence[int], done: str) -> None:
    """Take edits back, all of them or none; one undo of that brings them back."""
    _try(lambda: log().undo(*numbers), done)


def _try(make: Callable[[], object], done: str) -> None:
    try:
        make()
    except UserError as error:
        st.session_state[_PROBLEM] = str(error)
    else:
        st.session_state.pop(_PROBLEM, None)
        st.session_state[_DONE] = done


def problem() -> str | None:
    """Why the last edit was refused, until it is dismissed or another one is made."""
    return st.session_state.get(_PROBLEM)


def just_done() -> str | None:
    """What the last edit did, said once."""
    return st.session_state.pop(_DONE, None)


def dismiss() -> None:
    """Forget the problem."""
    st.session_state.pop(_PROBLEM, None)


def preview(changes: Sequence[Change]) -> dict[int, RowEdit]:
    """What would hold after these changes; UserError where one of them is refused."""
    return log().preview(*changes)


def labels_after(edits: State) -> pd.Series:
    """The labels of the training examples that are left after the edits."""
    table = edited_table(cache.workspace(), edits)
    return pd.Series(table["label"].to_numpy(), index=table.index)


def missing_for_labels(method: str) -> list[Part]:
    """What of the index has to be computed before labels can be ranked."""
    wanted = dict.fromkeys([*parts(cache.workspace(), "features"), *needed_parts(cache.workspace(), method)])
    return [part for part in wanted if not part.is_built(cache.workspace())]


def missing_for_clusters(scope: str) -> list[Part]:
    """What of the index has to be computed before hard examples can be clustered."""
    return [part for part in cluster_parts(cache.workspace(), scope) if not part.is_built(cache.workspace())]


def is_small() -> bool:
    """Whether a search over the training set takes so little that it is begun unasked."""
    return len(cache.workspace().train) <= UNASKED


def most_neighbours() -> int:
    """How many neighbours are asked for: the usual number, or all others of a tiny training set."""
    return min(NEAREST, len(cache.workspace().train) - 1)


def labels_key(method: str) -> tuple:
    """The key of the work of `find_labels`."""
    return ("suspicious labels", method)


def find_labels(method: str) -> Callable[[Progress], pd.DataFrame]:
    """The work that ranks the labels."""
    workspace, count = cache.workspace(), most_neighbours()
    return lambda progress: suspicious_labels(workspace, method=method, count=count, progress=progress)


def known_labels() -> pd.DataFrame | None:
    """The labels as they were ranked on the page, where they are there already."""
    found = background.find(labels_key(state.keep("self-influence by", METHODS[0])))
    return None if found is None else found.result


def known_suspicions() -> dict[int, str] | None:
    """The suspected label by training id, where it is known already."""
    table = known_labels()
    return None if table is None else dict(zip(table.index.tolist(), table["suspected_label"].tolist(), strict=True))


def find_acting(tests: Sequence[int], method: str) -> Callable[[Progress], GroupTable]:
    """The work that scores the training examples for the margin of the wrong label over the true one, on average."""
    group = make_group(cache.workspace(), tests, label="predicted", against="true")
    return lambda progress: attribute_group(group, method, progress=progress)


def find_same(threshold: float) -> Callable[[Progress], Duplicates]:
    """The work that looks for duplicates."""
    workspace = cache.workspace()
    return lambda progress: find_duplicates(workspace, threshold=threshold, progress=progress)


def find_clusters(hard: int, clusters: int, scope: str) -> Callable[[Progress], list[Cluster]]:
    """The work that clusters the hard examples."""
    workspace = cache.workspace()
    return lambda progress: hard_clusters(workspace, hard=hard, clusters=clusters, scope=scope, progress=progress)


def nearest(train_id: int) -> tuple[list[int], list[float]]:
    """The nearest training examples of one and their cosines; none where they were not computed yet."""
    workspace, count = cache.workspace(), most_neighbours()
    if not count or not neighbours_part(workspace, count).is_built(workspace):
        return [], []
    positions, cosines = neighbours(workspace, count)
    at = workspace.train.index.get_loc(train_id)
    return workspace.train.index[np.asarray(positions[at])].tolist(), [float(value) for value in cosines[at]]


def effect_key(whole: bool, method: str) -> tuple:
    """The key of the work of `find_effect`: another one whenever the edits or the example change."""
    return ("effect", log().version, None if whole else cache.key_of_query(cache.query_of(state.current())), method)


def find_effect(whole: bool, method: str) -> Callable[[Progress], Effect]:
    """The work that predicts what the edits do to the mean loss of the test set, or to the example last looked at."""
    question = whole_test_set(cache.workspace()) if whole else cache.query_of(state.current())
    edits = log().current()
    return lambda progress: predicted_effect(question, edits, method=method, progress=progress)


def cleaned_file(suffix: str) -> bytes:
    """The training data with the edits applied, in the columns of the file it came from."""
    workspace = cache.workspace()
    table = imported_columns(workspace, edited_table(workspace, log().current()))
    with tempfile.TemporaryDirectory() as folder:
        return write_new(table, Path(folder) / f"cleaned{suffix}").read_bytes()


def log_file() -> str:
    """The log as csv, every edit with what it was made on."""
    return spreadsheet_csv(log_table(log()), workspace_provenance(cache.workspace()))
