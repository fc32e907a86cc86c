"""The edited training data and the log of edits as files."""

import streamlit as st

from attribution.editing import changed_ids
from attribution.provenance import workspace_provenance
from dashboard import cache, editing, exports
from dashboard.data_tables import State, class_changes
from dashboard.markdown import plain

KINDS = {".csv": "text/csv", ".jsonl": "application/jsonl", ".parquet": "application/vnd.apache.parquet"}


def draw(edits: State) -> None:
    """How much the edits change, and the buttons that take it away."""
    workspace = cache.workspace()
    changed = len(changed_ids(edits))
    st.markdown("##### Cleaned data")
    if changed:
        removed = sum(edit.removed for edit in edits.values())
        counts = class_changes(editing.labels_after({}), editing.labels_after(edits))
        said = f"{changed:,} of {len(workspace.train):,} training examples changed, {removed:,} of them removed."
        st.caption(f"{said} {plain(counts)}")
    else:
        st.caption("No edit changes the data yet: the files hold what was imported.")
    made = workspace_provenance(workspace)
    with st.container(horizontal=True, vertical_alignment="center"):
        for suffix, mime in KINDS.items():
            st.download_button(
                f"Cleaned data as {suffix.removeprefix('.')}",
                lambda suffix=suffix: editing.cleaned_file(suffix),
                file_name=exports.file_name(made, "cleaned", suffix.removeprefix(".")),
                mime=mime,
                key=f"cleaned {suffix}",
                type="tertiary",
                icon=":material/download:",
            )
        st.download_button(
            "Log of edits as csv",
            editing.log_file,
            file_name=exports.file_name(made, "edits", "csv"),
            mime="text/csv",
            key="log file",
            type="tertiary",
            icon=":material/history:",
            disabled=not editing.log().entries,
        )
