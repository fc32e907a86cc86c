"""Evaluate: run the experiments of the papers on this workspace, and read what they found."""

import json
from collections.abc import Sequence

import streamlit as st

from attribution.experiments.registry import Experiment, list_experiments
from attribution.experiments.results import Kept, list_kept
from attribution.registry import list_methods
from dashboard import cache, evaluating, jobs, state
from dashboard.evaluating import Question
from dashboard.markdown import plain
from dashboard.parameter_form import form, is_wrong
from dashboard.views import building, evaluation

RUN, ESTIMATE = "evaluate", "estimate"


def page() -> None:
    """Draw the page: a run to prepare or to follow, the open result, and the list of all finished runs."""
    st.markdown("#### Evaluate")
    st.caption(
        f"Which method can be trusted here? The papers' own tests of that, run on this workspace. {evaluating.SIGN}"
    )
    kept, damaged = list_kept(cache.workspace())
    _open_finished(kept)
    with st.container(border=True):
        _prepare(kept)
    for message in damaged:
        st.warning(plain(message), icon=":material/warning:")
    if not kept:
        st.info(
            "No experiment has been run on this workspace yet: choose one above and press Start. What it finds is kept "
            "here, with its settings.",
            icon=":material/science:",
        )
        return
    opened = state.current().result
    found = next((each for each in kept if each.name == opened), None)
    if opened and found is None:
        st.info("The result that the link asks for is not here: it may have been deleted.", icon=":material/link_off:")
    if found is not None:
        with st.container(border=True):
            evaluation.draw(found, ask_again=_fill)
    with st.container(border=True):
        _list(kept, found)


def _prepare(kept: Sequence[Kept]) -> None:
    """The choice of an experiment, its settings, and the way to start it; or the run under way."""
    fitting = {e.name: e for e in list_experiments(cache.workspace())}
    chosen = fitting[state.current().experiment or next(iter(fitting))]
    st.selectbox(
        "Experiment",
        list(fitting),
        index=list(fitting).index(chosen.name),
        format_func=lambda name: fitting[name].title,
        key=f"experiment {chosen.name}",
        on_change=state.on_change(f"experiment {chosen.name}", "experiment"),
    )
    asks, more = evaluating.asks(chosen)
    st.markdown(plain(asks))
    st.caption(f"{plain(more)}  \n**Paper** {plain(chosen.paper)} · **Cost** {plain(chosen.cost)}")
    question = _question(chosen)
    _act(chosen, question, kept)
    others = evaluating.unfit(cache.workspace())
    if others:
        said = "  \n".join(f"**{plain(e.title)}** {plain(why)}" for e, why in others)
        with st.expander(f"{len(others)} more need what this workspace lacks", type="compact"):
            st.caption(said)


def _memory() -> dict[str, tuple[Question, int]]:
    """By experiment what the form holds, and how often it was filled anew."""
    return state.keep("evaluate questions", {})


def _fill(question: Question) -> None:
    """Put a question into the form."""
    _, times = _memory().get(question.experiment, (question, 0))
    _memory()[question.experiment] = (question, times + 1)
    state.choose(experiment=question.experiment)


def _question(chosen: Experiment) -> Question:
    """The form of an experiment: methods, parameters and seed, kept while other pages are looked at."""
    before, times = _memory().get(chosen.name, (Question(experiment=chosen.name, parameters={}), 0))
    key, methods = f"{chosen.name} {times}", before.methods
    if chosen.methods:
        known = [m.name for m in list_methods("examples") if not m.clicked]
        state.keep(f"{key}: methods", [name for name in before.methods or chosen.methods if name in known])
        given = st.multiselect(
            "Methods",
            known,
            format_func=evaluating.method_title,
            key=f"{key}: methods",
            placeholder="the experiment's own",
        )
        methods = () if tuple(given) == chosen.methods else tuple(given)
    parameters = before.parameters
    if chosen.parameters:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            parameters = form(chosen.parameters, key=key, given=before.parameters)
    state.keep(f"{key}: seed", before.seed)
    seed = st.number_input("Seed", 0, 2**31 - 1, key=f"{key}: seed", help="Of everything that is drawn.", width=160)
    question = Question(experiment=chosen.name, methods=methods, parameters=parameters, seed=int(seed))
    _memory()[chosen.name] = (question, times)
    return question


def _act(chosen: Experiment, question: Question, kept: Sequence[Kept]) -> None:
    """Start and estimate, or the progress of what runs, and what went wrong with it."""
    running = jobs.job(RUN)
    if running is not None and running.running:
        st.markdown(f"**Running: {plain(evaluating.title_of(running.command[1]))}**")
        building.follow(lambda: jobs.job(RUN), RUN)
        return
    for key in (RUN, ESTIMATE):
        building.failure(key)
    _, times = _memory()[chosen.name]
    wrong = is_wrong(chosen.parameters, key=f"{chosen.name} {times}")
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Start", type="primary", icon=":material/play_arrow:", key="start", disabled=wrong):
            jobs.start(cache.workspace(), RUN, *question.options(), "--format", "json", command="evaluate")
            state.choose(result="")
            st.rerun()
        estimating = _estimate(chosen, question, kept, wrong)
    if estimating:
        building.follow(lambda: jobs.job(ESTIMATE), ESTIMATE)


def _estimate(chosen: Experiment, question: Question, kept: Sequence[Kept], wrong: bool) -> bool:
    """How long the run will take: what the same run took before, and measured on demand; whether it is measured now."""
    found, options = jobs.job(ESTIMATE), (*question.options(), "--estimate")
    if found is not None and found.running:
        return True
    if chosen.estimate is not None and st.button(
        "Estimate the time",
        icon=":material/timer:",
        key="estimate",
        disabled=wrong,
        help="Times a little of it, which takes some seconds.",
    ):
        jobs.start(cache.workspace(), ESTIMATE, *options, command="evaluate")
        st.rerun()
    if found is not None and found.succeeded and found.command == ("evaluate", *options):
        st.markdown(f"**About {evaluating.duration(float(found.answer()))}**")
    same = next((each for each in kept if question.asked_in(each)), None)
    if same is not None:
        took, when = evaluating.duration(same.answer["seconds"]), f"{same.finished:%d %b %H:%M} UTC"
        st.caption(f"The same run took {took} on {when}.")
    return False


def _open_finished(kept: Sequence[Kept]) -> None:
    """Open the result of a run that has ended since this page was last drawn."""
    found, seen = jobs.job(RUN), state.keep("evaluate seen", [])
    if found is None or not found.succeeded or found.began in seen:
        return
    seen.append(found.began)
    answer = json.loads(found.answer())
    made = next((each for each in kept if each.answer == answer), None)
    if made is not None and not state.current().result:
        state.choose(result=made.name)


def _list(kept: Sequence[Kept], opened: Kept | None) -> None:
    st.markdown(f"##### Finished runs :gray-badge[{len(kept)}]")
    st.caption("Choose a row to open it.")
    names = [each.name for each in kept]
    key = f"kept {len(names)} {'' if opened is None else opened.name}"

    def choose() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        state.choose(result=names[rows[0]] if rows else "")

    st.dataframe(
        evaluating.kept_rows(kept, cache.workspace()),
        key=key,
        on_select=choose,
        selection_mode="single-row",
        selection_default={"selection": {"rows": [] if opened is None else [names.index(opened.name)]}},
        hide_index=True,
        height="content" if len(names) <= 8 else 320,
        column_config={"finished": st.column_config.DatetimeColumn("finished (UTC)", format="YYYY-MM-DD HH:mm")},
    )


page()
