"""What the Evaluate page says and asks: questions as commands, kept results as rows, exports. No Streamlit."""

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from attribution.experiments.registry import Experiment, get_experiment, list_experiments
from attribution.experiments.results import Kept
from attribution.registry import get_method
from attribution.workspace import Workspace
from dashboard.catalogue import shown
from dashboard.experiment_tables import Row

SIGN = "Positive score: training on the example raised what is explained; every method has this sign."
PROMISED = frozenset(
    "experiment workspace parameters methods seed seconds summary table paper notes".split()
)  # of the JSON answer
MOST_METRICS = 6


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to run: methods are none for the experiment's own, parameters those that are not at their default."""

    experiment: str
    methods: tuple[str, ...] = ()
    parameters: Mapping[str, Any]
    seed: int = 0

    def options(self) -> tuple[str, ...]:
        """The arguments of `influscope evaluate WORKSPACE …`."""
        methods = ("--methods", ",".join(self.methods)) if self.methods else ()
        settings = (f"--set={name}={shown(value)}" for name, value in self.parameters.items())
        return (self.experiment, *methods, *settings, "--seed", str(self.seed))

    def asked_in(self, kept: Kept) -> bool:
        """Whether a finished run is an answer to this question."""
        chosen = get_experiment(self.experiment)
        whole = {name: parameter.default for name, parameter in chosen.parameters.items()} | dict(self.parameters)
        methods = list(self.methods or chosen.methods)
        return kept.question == {
            "experiment": self.experiment,
            "methods": methods,
            "parameters": whole,
            "seed": self.seed,
        }


def question_of(kept: Kept) -> Question:
    """The question that a finished run answers, in the words of today's registry: what it lacks is left out."""
    chosen, answer = get_experiment(kept.experiment), kept.answer
    known = {n: v for n, v in answer["parameters"].items() if n in chosen.parameters}
    return Question(
        experiment=chosen.name,
        methods=tuple(answer["methods"]),
        parameters={n: v for n, v in known.items() if v != chosen.parameters[n].default},
        seed=answer["seed"],
    )


def asks(experiment: Experiment) -> tuple[str, str]:
    """What an experiment measures, in a sentence, and the rest of what is said of it."""
    said = (inspect.getdoc(experiment.function) or "").replace("`", "")
    first, _, rest = said.partition("\n\n")
    return " ".join(first.split()), " ".join(rest.split())


def unfit(workspace: Workspace) -> list[tuple[Experiment, str]]:
    """The experiments that cannot be run on a workspace, each with the reason."""
    has = "pairs of texts" if workspace.is_pair else "single texts"
    wants = {"pair": "pairs of texts", "single": "single texts"}
    return [
        (e, f"needs {wants[e.needs]}, and this workspace has {has}")
        for e in list_experiments()
        if not e.fits(workspace)
    ]


def title_of(experiment: str) -> str:
    """An experiment's title; of one that the registry has no more, its name."""
    return next((e.title for e in list_experiments() if e.name == experiment), experiment)


def duration(seconds: float) -> str:
    """About how long, in words."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def kept_rows(kept: Sequence[Kept], workspace: Workspace) -> pd.DataFrame:
    """The list of finished runs: experiment, finished (UTC), methods, settings, seed, took, and whether it holds."""
    rows = [
        {
            "experiment": title_of(each.experiment),
            "finished": pd.Timestamp(each.finished),
            "of": "this model and data" if each.is_of(workspace) else "other weights or data",
            "methods": ", ".join(each.answer["methods"]),
            "settings": settings(each),
            "seed": each.answer["seed"],
            "took": duration(each.answer["seconds"]),
        }
        for each in kept
    ]
    return pd.DataFrame(rows)


def settings(kept: Kept) -> str:
    """The parameters of a finished run that were not left empty, as they are written after --set."""
    return ", ".join(f"{n}={shown(v)}" for n, v in kept.answer["parameters"].items() if v != "")


def provenance(kept: Kept) -> dict[str, str]:
    """What a result is of and how it was made, by name, in words."""
    answer = kept.answer
    space = answer["workspace"]
    return {
        "experiment": f"{title_of(kept.experiment)} ({kept.experiment})",
        "workspace": f"{space['name']}: {space['n_train']:,} train, {space['n_test']:,} test",
        "model and data digest": space["digest"][:16],
        "methods": ", ".join(answer["methods"]) or "none",
        "parameters": settings(kept) or "none",
        "seed": str(answer["seed"]),
        "finished": f"{kept.finished:%Y-%m-%d %H:%M} UTC",
        "took": duration(answer["seconds"]),
        "software": f"influscope {kept.version}",
        "sign": SIGN,
    }


def stale(kept: Kept, workspace: Workspace) -> str:
    """Why a result says nothing of the workspace as it is; "" where it does."""
    if kept.is_of(workspace):
        return ""
    was, now = kept.answer["workspace"]["digest"][:8], workspace.digest[:8]
    return f"This is a result of other weights or data (digest {was}) than the workspace has now ({now})."


def metrics(kept: Kept) -> dict[str, float]:
    """The few numbers of the summary that are of the whole run, not of a row of its table."""
    told = {value for row in kept.answer["table"] for value in row.values() if isinstance(value, str)}
    summary = kept.answer["summary"].items()
    whole = {n: v for n, v in summary if ", " not in n and n not in told and v is not None}
    return dict(list(whole.items())[:MOST_METRICS])


def differences(paper: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The paper's rows with a mark in place of what differs, and what the marks stand for, from 1."""
    texts = list(dict.fromkeys(row["differs"] for row in paper))
    return [{**row, "differs": f"[{texts.index(row['differs']) + 1}]"} for row in paper], texts


def further(kept: Kept) -> dict[str, list[Row]]:
    """The other tables of an answer, by name, such as a ranking of all training examples."""
    return {
        name: value
        for name, value in kept.answer.items()
        if name not in PROMISED and isinstance(value, list) and value and isinstance(value[0], dict)
    }


def as_json(kept: Kept) -> str:
    """The answer as `influscope evaluate --format json` printed it."""
    return json.dumps({**kept.answer, "provenance": provenance(kept)}, ensure_ascii=False, indent=2)


def as_csv(kept: Kept) -> str:
    """Our rows and the paper's, one a line, told apart by `source`; every line says what it is of."""
    said = provenance(kept)
    rows = [{"source": "this workspace", **row} for row in kept.answer["table"]]
    rows += [{"source": "paper", **row} for row in kept.answer["paper"] or ()]
    frame = pd.DataFrame(rows)
    for name, text in said.items():
        # A column of the table goes before what is said of the whole run under the same name.
        if name not in frame:
            frame[name] = text
    return frame.to_csv(index=False, quoting=2)


def as_html(kept: Kept, figures: Sequence[go.Figure]) -> str:
    """A page that needs nothing else: what it is of, the figures, and both tables, all text escaped."""
    answer = kept.answer
    parts = [f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in provenance(kept).items()]
    drawn = [
        each.to_html(full_html=False, include_plotlyjs=number == 0, config={"displaylogo": False})
        for number, each in enumerate(figures)
    ]
    tables = [_html_table(answer["table"])]
    if answer["paper"]:
        tables.append(f"<h2>The paper's own</h2>{_html_table(answer['paper'])}")
    notes = "".join(f"<p>{escape(note)}</p>" for note in answer["notes"])
    title = escape(title_of(kept.experiment))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><dl>{''.join(parts)}</dl>{''.join(drawn)}{''.join(tables)}{notes}</html>"
    )


_STYLE = (
    "body{font:15px system-ui;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1c2024;background:#fff}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dt{color:#667085}dd{margin:0}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;border-bottom:1px solid #e4e7ec;"
    "text-align:left}"
)


def _html_table(rows: Sequence[Row]) -> str:
    return pd.DataFrame(list(rows)).to_html(index=False, border=0, escape=True, float_format="{:.4g}".format, na_rep="")


def file_name(kept: Kept) -> str:
    """The name of an export, without its suffix."""
    return f"influscope-{kept.name}"


def method_title(name: str) -> str:
    """A method as it is offered: its title, and its name for those who know it."""
    return f"{get_method(name).title} ({name})"
