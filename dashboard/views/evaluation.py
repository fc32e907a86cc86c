"""One finished run of an experiment: what it found in a sentence, its figure, its table beside the paper's, exports."""

from collections.abc import Callable, Sequence

import pandas as pd
import streamlit as st

from attribution.experiments.registry import list_experiments
from attribution.experiments.results import Kept, delete_kept
from dashboard import cache, evaluating, experiment_charts, experiment_tables, state
from dashboard.evaluating import Question
from dashboard.experiment_tables import Reading
from dashboard.markdown import plain


def draw(kept: Kept, *, ask_again: Callable[[Question], None]) -> None:
    """Draw a result; `ask_again` is what fills the form with its question."""
    workspace, answer = cache.workspace(), kept.answer
    stale = evaluating.stale(kept, workspace)
    badge = ":orange-badge[other weights or data]" if stale else ":green-badge[this model and data]"
    st.markdown(f"#### {plain(evaluating.title_of(kept.experiment))} {badge}")
    said = evaluating.provenance(kept)
    st.caption(
        f"{said['finished']}, {said['took']} · seed {said['seed']} · digest {said['model and data digest']} · "
        f"{said['software']}  \n**Methods** {plain(said['methods'])}  \n**Settings** {plain(said['parameters'])}"
    )
    _acts(kept, ask_again)
    if stale:
        st.warning(f"{stale} Run it again to see what holds now.", icon=":material/history:")
    _found(kept)
    _tables(kept)
    for note in answer["notes"]:
        st.caption(plain(note))
    for name, rows in evaluating.further(kept).items():
        with st.expander(f"{name.replace('_', ' ').capitalize()}: {len(rows):,} rows", type="compact"):
            st.dataframe(pd.DataFrame(rows), hide_index=True)


def _acts(kept: Kept, ask_again: Callable[[Question], None]) -> None:
    """Run again, export, delete and close, in one row."""
    name = evaluating.file_name(kept)
    known = any(e.name == kept.experiment and e.fits(cache.workspace()) for e in list_experiments())
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Run again",
            icon=":material/replay:",
            key="run again",
            disabled=not known,
            help="Fill the form above with these settings.",
            on_click=lambda: ask_again(evaluating.question_of(kept)),
        )
        with st.popover("Export", icon=":material/download:"):
            _export(kept, name)
        with st.popover("Delete", icon=":material/delete:"):
            st.markdown("Delete this result for good?")
            st.button("Delete it", type="primary", key="delete result", on_click=_delete, args=(kept.name,))
        st.button("Close", key="close result", type="tertiary", on_click=lambda: state.choose(result=""))


def _export(kept: Kept, name: str) -> None:
    st.caption(
        "Every file says of which model, data, methods and parameters it is. The camera on the figure saves a PNG."
    )
    st.download_button("Rows (CSV)", evaluating.as_csv(kept), f"{name}.csv", "text/csv", on_click="ignore")
    st.download_button(
        "All of it (JSON)", evaluating.as_json(kept), f"{name}.json", "application/json", on_click="ignore"
    )
    st.download_button(
        "Figure and tables (HTML)",
        lambda: evaluating.as_html(
            kept,
            [
                experiment_charts.figure(reading, kept.answer["paper"] or (), dark=False)
                for reading in experiment_tables.readings(kept.answer["table"])
            ],
        ),
        f"{name}.html",
        "text/html",
        on_click="ignore",
    )


def _delete(name: str) -> None:
    delete_kept(cache.workspace(), name)
    state.choose(result="")


def _found(kept: Kept) -> None:
    """The sentence, the numbers of the whole run, and the figure."""
    found = experiment_tables.readings(kept.answer["table"])
    titles = [reading.title for reading in found]
    reading = found[0]
    if len(found) > 1:
        chosen = st.segmented_control(
            "Drawn",
            range(len(found)),
            default=0,
            required=True,
            format_func=lambda at: plain(titles[at].replace("_", " ")),
            key=f"drawn {kept.name}",
        )
        reading = found[chosen or 0]
    st.markdown(f"**{plain(experiment_tables.headline(reading))}**")
    figure, numbers = st.columns([2.4, 1], gap="medium")
    with figure:
        _figure(kept, reading)
    with numbers:
        for name, value in evaluating.metrics(kept).items():
            st.metric(plain(name if " " in name else name.replace("_", " ")), experiment_tables.number(value))


def _figure(kept: Kept, reading: Reading) -> None:
    dark = st.context.theme.type == "dark"
    st.plotly_chart(
        experiment_charts.figure(reading, kept.answer["paper"] or (), dark=dark),
        key=f"figure {kept.name} {reading.title}",
        config={
            "displaylogo": False,
            "displayModeBar": True,
            "modeBarButtons": [["toImage"]],
            "toImageButtonOptions": {"format": "png", "scale": 2, "filename": evaluating.file_name(kept)},
        },
        alt=experiment_tables.description(reading),
    )


def _tables(kept: Kept) -> None:
    """Our rows beside the paper's, with what differs below them."""
    paper: Sequence = kept.answer["paper"] or ()
    ours, theirs = st.columns(2, gap="medium") if paper else (st.container(), None)
    with ours:
        st.markdown("##### This workspace")
        st.dataframe(pd.DataFrame(kept.answer["table"]), hide_index=True, key=f"ours {kept.name}")
    if theirs is None:
        return
    rows, differences = evaluating.differences(paper)
    with theirs:
        st.markdown("##### The paper's own")
        st.dataframe(pd.DataFrame(rows), hide_index=True, key=f"theirs {kept.name}")
    st.caption("  \n".join(f"**{plain(f'[{at}]')}** {plain(text)}" for at, text in enumerate(differences, start=1)))
