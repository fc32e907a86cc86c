"""The one place that touches session_state and query_params: what is selected, as one typed value.

The selection lives in the URL, so that a link restores it; the session keeps it when a page change clears the URL.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from attribution.errors import UserError
from attribution.query import read_tokens, write_tokens
from attribution.spans import FINDERS
from dashboard import method_settings
from dashboard.markdown import plain

LONGEST_PATTERN = 500
MOST_METHODS = 4
PAIR_DRAWINGS = ("links", "heatmap")
_NUMBER = re.compile(r"[0-9]{1,18}")
_RESULT = re.compile(r"[0-9A-Za-z_-]{1,100}")
_SESSION = "influscope selection"
_NOTICES = "influscope notices"
_WORKSPACE = "influscope workspace"
_STRIP = "influscope work"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the person is looking at. `own_text` is a text of their own (text, second text) in place of `test`.

    `edited` is the test example that the text of their own was written from, if it was. `against` is the label over
    which the margin of `label` is explained, none for the label's own probability.
    `token`: the model's tokens clicked, or marked as a span; `finder`: what finds spans where they are the unit.
    `methods` are those compared, none for the ones that are ready; `axes` the two of them whose scores are drawn
    against each other; `row` the training example that is marked in every list, `lowest` the end that the lists show.
    `settings` are the parameters of methods that are not at their default. `family` and `find` narrow the catalogue of
    methods. `feature` of the training examples, none for the workspace's first; `pattern` is what the feature of that
    name seeks. `experiment` is the one whose run is prepared, none for the workspace's first; `result` the finished run
    that is open. `pairs`: how the text and `row` are drawn word by word, if that was asked for. `suspects`: the list of
    training examples that the Data page shows, none for its first; `by`: what it is sorted by; `group`: the test
    examples whose training examples are asked for there, none for all mispredictions.
    """

    test: int | None = None
    token: tuple[int, ...] = ()
    label: str = "predicted"
    against: str = ""
    method: str = "relatif"
    saliency: str = "gradient_x_input"
    finder: str = "clauses"
    own_text: tuple[str, str | None] | None = None
    edited: int | None = None
    methods: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    row: int | None = None
    lowest: bool = False
    family: str = ""
    find: str = ""
    feature: str = ""
    pattern: str = ""
    pairs: str = ""
    experiment: str = ""
    result: str = ""
    suspects: str = ""
    by: str = ""
    group: tuple[int, ...] = ()
    settings: method_settings.Chosen = ()


def workspace() -> str:
    """The folder that this session looks at; "" for the one the server was started on, as outside of any session."""
    return st.session_state.get(_WORKSPACE, "") if get_script_run_ctx(suppress_warning=True) else ""


def linked_workspace() -> str | None:
    """The folder that the URL names, where it names one."""
    return st.query_params.get("workspace") or None


def choose_workspace(folder: str) -> None:
    """Begin anew with another workspace: nothing that was chosen in the one before means anything in it."""
    st.session_state.clear()
    st.session_state[_WORKSPACE] = folder


def write_workspace(*, alone: bool = False) -> None:
    """Say in the URL which workspace this is; `alone`: nothing else stays there, for it was said of another one."""
    if alone:
        st.query_params.clear()
    if workspace():
        st.query_params["workspace"] = workspace()
    elif "workspace" in st.query_params:
        del st.query_params["workspace"]


def current() -> Selection:
    """The selection of this session."""
    return st.session_state.get(_SESSION, Selection())


def choose(**changes: Any) -> None:
    """Change the selection. Another example or text clears the token, which belonged to the old one."""
    if "test" in changes:
        changes = {"own_text": None, "token": (), **changes}
    if "own_text" in changes and changes["own_text"] is not None:
        now = current()
        changes = {"test": None, "token": (), "edited": now.edited if now.test is None else now.test, **changes}
    _store(replace(current(), **changes))


def sync(
    *,
    tests: Sequence[int],
    trains: Collection[int],
    labels: Sequence[str],
    methods: Sequence[str],
    saliencies: Sequence[str],
    families: Sequence[str],
    features: Sequence[str],
    experiments: Sequence[str],
    suspects: Sequence[str],
    criteria: Sequence[str],
) -> None:
    """Read the URL into the session, once a page run; what it names but the workspace lacks is ignored and noted."""
    choices = {
        "label": ("predicted", "true", *labels),
        "against": labels,
        "method": methods,
        "saliency": saliencies,
        "finder": FINDERS,
        "family": families,
        "feature": features,
        "pairs": PAIR_DRAWINGS,
        "experiment": experiments,
        "suspects": suspects,
        "by": criteria,
    }
    changes = _comparison(methods, trains)
    if given := st.query_params.get_all("set"):
        changes["settings"], refusals = method_settings.read(given)
        for refusal in refusals:
            notice(refusal)
    for name, allowed in choices.items():
        value = st.query_params.get(name)
        if value in allowed:
            changes[name] = value
        elif value is not None:
            notice(f"The link asks for {name} '{value}', which is none of {', '.join(allowed)}; it is ignored.")
    pattern = st.query_params.get("pattern")
    if pattern is not None and len(pattern) <= LONGEST_PATTERN:
        changes["pattern"] = pattern
    elif pattern is not None:
        notice(f"The link's pattern has {len(pattern):,} characters, {LONGEST_PATTERN} at most; it is ignored.")
    result = st.query_params.get("result")
    if result is not None and _RESULT.fullmatch(result):
        changes["result"] = result
    elif result is not None:
        notice("The link asks for a result whose name no result can have; it is ignored.")
    if (group := st.query_params.get("group")) is not None:
        changes["group"] = _group(group, tests)
    before = current()
    test, token = st.query_params.get("test"), st.query_params.get("token")
    if test is not None and test in map(str, tests):
        changes["test"] = int(test)
    elif test == "own" and before.own_text is None:
        notice("The link is to a text of someone's own, which a link does not carry; a test example is shown instead.")
        token = None
    elif test not in ("own", None):
        notice(f"The link asks for test example '{test}'; this workspace has {min(tests)} to {max(tests)}.")
        token = None
    if token is not None:
        changes |= _tokens(token)
    if changes.get("test", before.test) != before.test:
        changes = {"token": (), "own_text": None, **changes}
    selection = replace(before, **changes)
    if selection.test is None and selection.own_text is None:
        selection = replace(selection, test=int(tests[0]))
    _store(selection)


def _tokens(given: str) -> dict[str, Any]:
    """The tokens that the URL names, each once and in order; nothing, and a notice, where it names none."""
    try:
        found = read_tokens(given)
    except UserError:
        found = ()
    if found and min(found) >= 0:
        return {"token": tuple(sorted(set(found)))}
    notice(f"The link asks for token '{given[:40]}', which is no number and no range such as 3-7; it is ignored.")
    return {}


def _group(given: str, tests: Sequence[int]) -> tuple[int, ...]:
    """The test examples of the group that the URL names; what it names but the workspace lacks is ignored and noted."""
    try:
        found = set(read_tokens(given))
    except UserError:
        notice(f"The link asks for group '{given[:40]}', which is no list such as 3-7,12; it is ignored.")
        return ()
    if not found <= set(tests):
        notice(f"The link asks for group '{given[:40]}'; test examples that this workspace lacks are ignored.")
    return tuple(sorted(found & set(tests)))


def _comparison(methods: Sequence[str], trains: Collection[int]) -> dict[str, Any]:
    """What the URL says of the compared methods, their marked row, and the search among all methods."""
    changes: dict[str, Any] = {}
    for name, most in (("methods", MOST_METHODS), ("axes", 2)):
        asked = list(dict.fromkeys(filter(None, st.query_params.get(name, "").split(","))))
        for wrong in [each for each in asked if each not in methods]:
            notice(f"The link asks for {name} '{wrong}', which is none of {', '.join(methods)}; it is ignored.")
        known = tuple(each for each in asked if each in methods)
        if len(known) > most:
            notice(f"The link asks for {len(known)} {name}; the first {most} are shown.")
        if known:
            changes[name] = known[:most]
    row = st.query_params.get("row")
    if row is not None and _NUMBER.fullmatch(row) and int(row) in trains:
        changes["row"] = int(row)
    elif row is not None:
        notice(f"The link asks for training example '{row}', which this workspace does not have; it is ignored.")
    side = st.query_params.get("side")
    if side == "lowest":
        changes["lowest"] = True
    elif side is not None:
        notice(f"The link asks for side '{side}', which is not lowest; it is ignored.")
    if "find" in st.query_params:
        changes["find"] = st.query_params["find"]
    return changes


def _store(selection: Selection) -> None:
    st.session_state[_SESSION] = selection
    wanted = {
        "workspace": workspace(),
        "test": "own" if selection.own_text is not None else str(selection.test),
        "token": write_tokens(selection.token),
        "label": selection.label,
        "against": selection.against,
        "method": selection.method,
        "saliency": "" if selection.saliency == "gradient_x_input" else selection.saliency,
        "finder": "" if selection.finder == "clauses" else selection.finder,
        "feature": selection.feature,
        "pattern": selection.pattern,
        "experiment": selection.experiment,
        "result": selection.result,
        "methods": ",".join(selection.methods),
        "axes": ",".join(selection.axes),
        "row": "" if selection.row is None else str(selection.row),
        "side": "lowest" if selection.lowest else "",
        "family": selection.family,
        "find": selection.find,
        "pairs": selection.pairs,
        "suspects": selection.suspects,
        "by": selection.by,
        "group": write_tokens(selection.group),
    }
    asked = {name: [value] for name, value in wanted.items() if value}
    if selection.settings:
        asked["set"] = method_settings.written(selection.settings)
    if asked != {name: st.query_params.get_all(name) for name in st.query_params}:
        st.query_params.from_dict(asked)


def notice(message: str) -> None:
    """Say something once, in a box that stays until it is dismissed."""
    notices = st.session_state.setdefault(_NOTICES, [])
    if message not in notices:
        notices.append(message)


def show_notices() -> None:
    """Draw the notices that were not dismissed yet."""
    for number, message in enumerate(list(st.session_state.get(_NOTICES, []))):
        box, button = st.columns([12, 1], vertical_alignment="center")
        box.warning(plain(message), icon=":material/info:")
        button.button("Dismiss", key=f"dismiss-{number}", on_click=_dismiss, args=(message,), type="tertiary")


def _dismiss(message: str) -> None:
    st.session_state[_NOTICES].remove(message)


Followed = tuple[Callable[[], Any], Callable[[], bool]]


@dataclass(kw_only=True)
class Strip:
    """The work that the page waits for, by name, and the names whose progress is drawn; None while the page is."""

    works: dict[str, Followed] = field(default_factory=dict)
    drawn: tuple[str, ...] | None = None


def followed(*, anew: bool = False) -> Strip:
    """What the page of this session waits for; `anew` where it is about to be drawn."""
    if anew:
        st.session_state[_STRIP] = Strip()
    return st.session_state.setdefault(_STRIP, Strip())


def keep(key: str, default: Any) -> Any:
    """A value of this session that is not part of the selection, such as a filter."""
    return st.session_state.setdefault(key, default)


def on_change(key: str, name: str) -> Callable[[], None]:
    """A widget callback that puts the widget's value into the selection under `name`."""

    def write() -> None:
        value = st.session_state[key]
        if value is not None:
            choose(**{name: value})

    return write
