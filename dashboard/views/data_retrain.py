"""Retrain and verify: models with the edits beside random edits in a process of its own, and the versions it left."""

import streamlit as st

from attribution.editing import changed_ids
from attribution.editing.versions import Version, list_versions
from attribution.errors import UserError
from dashboard import cache, editing, jobs, present, retraining, state, versions
from dashboard.data_tables import State
from dashboard.markdown import plain
from dashboard.views import building, version_button

RUN, ESTIMATE = "retrain", "retrain estimate"
MOST_SEEDS = 20
PERCENT = "%.1f%%"


def draw(edits: State) -> None:
    """The way to start a retraining, or its progress; then what the versions showed."""
    st.markdown("##### Retrain and verify")
    st.caption(
        "Trains with the edits, with as many random edits of the same kinds and with the data as imported, on the same "
        "seeds. Only the comparison tells whether the edits helped. The result is kept as a version of the workspace."
    )
    kept = _known()
    running = next((name for name in (RUN, ESTIMATE) if (found := jobs.job(name)) is not None and found.running), None)
    if running is not None:
        building.follow(lambda: jobs.job(running), running)
    else:
        for name in (RUN, ESTIMATE):
            building.failure(name)
        _offer(edits)
    if kept:
        _version(kept)


def _known() -> list[Version]:
    """The versions that there are, and of what this one is a version; a damaged one is said."""
    try:
        kept, above = list_versions(cache.workspace()), versions.above()
    except UserError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return []
    if above is not None:
        st.info(plain(above), icon=":material/fork_right:")
        found = versions.others().get(versions.ORIGINAL)
        if found is not None:
            version_button.draw(found, versions.ORIGINAL)
    return kept


def _offer(edits: State) -> None:
    count = len(changed_ids(edits))
    test = state.current().test
    with st.container(horizontal=True, vertical_alignment="bottom"):
        seeds = st.number_input("Seeds", 1, MOST_SEEDS, 3, key="seeds", persist_state="session", width=100)
        options = ["--edits", "--seeds", str(int(seeds))]
        tests = [] if test is None else ["--test", str(test)]
        if st.button(
            f"Retrain with {count:,} {'edit' if count == 1 else 'edits'}" if count else "Retrain",
            key="retrain",
            type="primary",
            icon=":material/model_training:",
            disabled=not count,
            help="No edit changes the data yet." if not count else None,
        ):
            jobs.start(cache.workspace(), RUN, *options, *tests, "--format", "json", command="retrain")
            st.rerun()
        if st.button("Estimate the time", key="estimate retraining", icon=":material/timer:", disabled=not count):
            jobs.start(cache.workspace(), ESTIMATE, *options, "--estimate", command="retrain")
            st.rerun()
        found = jobs.job(ESTIMATE)
        if found is not None and found.succeeded and found.command == ("retrain", *options, "--estimate"):
            st.markdown(f"**{plain(present.duration(float(found.answer())).capitalize())}**")


def _version(kept: list[Version]) -> None:
    """What one version showed: against the control, by seed, on the test examples; and how it is opened."""
    by_number = {version.number: version for version in reversed(kept)}
    number = st.selectbox(
        "Version",
        list(by_number),
        format_func=lambda number: versions.title(number).capitalize(),
        key=f"version of {len(kept)}",
        width=160,
        label_visibility="collapsed",
    )
    version = by_number[number]
    about = version.about
    st.markdown(f"**{plain(retraining.verdict(about))}**")
    st.caption(plain(retraining.made_of(about, editing.log().version)))
    share = {name: st.column_config.NumberColumn(format=PERCENT) for name in ("accuracy", "low", "high")}
    st.dataframe(retraining.accuracy_rows(about), column_config=share)
    st.caption(f"Accuracy with its 95 % interval. {plain(retraining.changed_sentence(about))}")
    if about["tests"]:
        shares = {name: st.column_config.NumberColumn(format=PERCENT) for name in retraining.TITLES.values()}
        st.dataframe(retraining.example_rows(about), hide_index=True, column_config=shares)
        st.caption("Probability of the true label, the mean over seeds.")
    _act_on(version)


def _act_on(version: Version) -> None:
    """Open a version, compare it, or take its edits back."""
    with st.container(horizontal=True, vertical_alignment="center"):
        version_button.draw(version.folder, "this version")
        if st.button("Compare on Errors", key="compare version", type="tertiary", icon=":material/compare_arrows:"):
            versions.compare_with(versions.title(version.number))
            st.switch_page("views/errors.py")
        left = editing.holding_until(version.about["edits"].get("last", 0))
        if left:
            st.button(
                f"Take back {len(left):,} edit{'s' if len(left) > 1 else ''}",
                key="revert version",
                type="tertiary",
                icon=":material/undo:",
                on_click=lambda: editing.undo(left, f"Undone: {len(left):,}"),
                help="Those that this version was made with. They stay in the log, where one undo brings them back; "
                "later edits and notes hold.",
            )
    st.caption("The workspace stays as it is: going back is opening it. On a server of its own:")
    st.code(f"influscope dashboard {version.folder} --port 8502", language=None, wrap_lines=True)
