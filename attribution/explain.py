"""One explanation as plain data: what `influscope explain` prints as a table, as JSON or as CSV."""

import csv
import json
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict
from io import StringIO
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from attribution.index import Progress, silent
from attribution.query import Query
from attribution.registry import Method, get_method, run_method
from attribution.results import ScoreTable, SpanScore, TokenScores, WordScore

OBEYED = ("Cc", "Zl", "Zp")
TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def explain(
    query: Query, name: str, parameters: Mapping[str, Any], *, top: int = 10, progress: Progress = silent
) -> dict[str, Any]:
    """The answer of a method to a query, in the shape of `explain --format json` (a contract: only ever add to it).

    top=0 gives every training example in "proponents". Words are computed for the rows shown, not for top=0.
    """
    result = run_method(query, name, parameters, progress)
    tokens = result if isinstance(result, TokenScores) else run_method(query, "gradient_x_input")
    assert isinstance(tokens, TokenScores)
    workspace = query.workspace
    proponents, opponents = ([], []) if isinstance(result, TokenScores) else _rows(result, top)
    scored = None if isinstance(result, TokenScores) else result.scored
    return {
        "workspace": workspace.describe(),
        "method": name,
        "parameters": dict(result.parameters),
        "scorer": scored.scorer if scored else "none",
        "exact": scored.exact if scored else True,
        "exact_rows": None if scored is None or scored.exact_rows is None else len(scored.exact_rows),
        "fidelity": scored.fidelity if scored else None,
        "notes": list(scored.notes) if scored else [],
        "scope": None
        if scored is None or scored.scope is None
        else {"name": scored.scope, "numbers": scored.scope_size},
        "seconds": round(result.seconds, 4),
        "text": query.example.text,
        "text_pair": query.example.text_pair,
        "truncated": [cut for cut in query.example.cut if cut is not None],
        "true_label": query.true_label,
        "predicted_label": workspace.labels[query.predicted],
        "probabilities": query.probabilities,
        "explained": {
            "quantity": scored.quantity if scored else "log_probability",
            "label": query.label_name,
            "against": None if query.against is None else workspace.labels[query.against],
            "token": query.tokens[0] if query.tokens else None,
            "tokens": list((scored.tokens if scored else ()) or query.tokens),
        },
        "sign": sign_sentence(query, name),
        "tokens": _plain(tokens.frame().drop(columns="raw")),
        "proponents": proponents,
        "opponents": opponents,
    }


def sign_sentence(query: Query, name: str) -> str:
    """The one sentence that says what a positive score of this method means, for this query."""
    method, label = get_method(name), f"'{query.label_name}'"
    other = None if query.against is None else f"'{query.workspace.labels[query.against]}'"
    if other is not None and method.spans == "both":
        return sign_rule(method, f"{label} over {other}", _clicked(query))
    if other is not None and method.preset is not None and not method.clicked:
        return f"Positive: training on {_unit(method)} moved the model from {other} towards {label}."
    return sign_rule(method, label, _clicked(query))


def sign_rule(method: Method, label: str = "the explained label", clicked: str = "") -> str:
    """What a positive score of a method means, of a label and clicked words, or of whichever they are."""
    if method.explains == "tokens":
        if not method.signed:
            return f"Larger: the probability of {label} reacts more to this token; no direction."
        return f"Positive: this token supports {label}; negative: it opposes {label}."
    if not method.signed:
        return (
            "Higher: more alike; not a statement about training." if method.name != "random" else "Random: a control."
        )
    return f"Positive: training on {_unit(method)} raised {_quantity(method, label, clicked)}."


def raised_quantity(query: Query, name: str, label: str | None = None) -> str:
    """What a positive score of a signed method of examples says was raised; `label` in words, or the query's."""
    return _quantity(get_method(name), label or f"'{query.label_name}'", _clicked(query))


def _unit(method: Method) -> str:
    return "this example" if method.spans == "none" else "the example's span"


def _quantity(method: Method, label: str, clicked: str) -> str:
    if method.clicked:
        return f"the saliency of {clicked or 'the clicked token'} for {label}"
    if method.spans == "both":
        span = clicked or "the text's most important span"
        return f"the importance of {span} for {label}"
    return f"the {'logit' if method.family == 'representer' else 'probability'} of {label}"


def _clicked(query: Query) -> str:
    words = {t.word for t in query.example.tokens if t.index in query.tokens}
    clicked = " ".join(query.example.words[word].text for word in sorted(words))
    return f"'{clicked}'" if clicked else ""


def _rows(table: ScoreTable, top: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    if top == 0:
        return [{**row, "words": None, "spans": None} for row in _listed(table, table.frame(0))], []
    sides = [table.frame(top), table.frame(top, opponents=True)]
    ids = sorted({int(i) for side in sides for i in side["train_id"]})
    words = dict(zip(ids, table.words_of(ids), strict=True)) if table.scored.words else {}
    spans = dict(zip(ids, table.spans_of(ids), strict=True)) if table.scored.spans else {}

    def told(row: dict[str, Any]) -> dict[str, Any]:
        at = row["train_id"]
        return {**row, "words": _words(words.get(at)), "spans": _spans(spans.get(at))}

    rows = [[told(row) for row in _listed(table, side)] for side in sides]
    return rows[0], rows[1]


def _listed(table: ScoreTable, frame: pd.DataFrame) -> list[dict[str, Any]]:
    return _plain(frame if table.query.workspace.is_pair else frame.assign(text_pair=None))


def _words(words: list[WordScore] | None) -> list[dict[str, Any]] | None:
    if words is None:
        return None
    return [{"text": w.text, "start": w.start, "end": w.end, "segment": w.segment, "score": w.score} for w in words]


def _spans(spans: list[SpanScore] | None) -> list[dict[str, Any]] | None:
    return None if spans is None else [asdict(span) for span in spans]


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{k: plain_value(v) for k, v in row.items()} for row in frame.to_dict("records")]


def plain_value(value: Any) -> Any:
    """A number of NumPy as Python's; None for one that JSON does not know (NaN, infinite)."""
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def as_json(answer: Mapping[str, Any]) -> str:
    return json.dumps(answer, ensure_ascii=False, indent=2, allow_nan=False)


def as_csv(answer: Mapping[str, Any]) -> str:
    """The rows of an answer, one a line: training examples, or tokens for a saliency method."""
    rows = [{"side": side, **row} for side in ("proponents", "opponents") for row in answer[side]]
    frame = pd.DataFrame(rows).drop(columns=["words", "spans"]) if rows else pd.DataFrame(answer["tokens"])
    # Python before 3.13 leaves a lone carriage return unquoted, where it would end the line.
    return frame.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC)


def as_table(answer: Mapping[str, Any], *, width: int = 120) -> str:
    """The answer for a terminal; control characters in texts are made visible."""
    out = StringIO()
    console = Console(file=out, width=width, no_color=True, highlight=False)
    for text in filter(None, (answer["text"], answer["text_pair"])):
        console.print(Text(printable(text), style="bold"))
    shares = ", ".join(f"{label} {p:.3f}" for label, p in answer["probabilities"].items())
    true = f", true {answer['true_label']}" if answer["true_label"] is not None else ""
    console.print(Text(printable(f"predicted {answer['predicted_label']}{true} ({shares})")))
    if answer["truncated"]:
        console.print(Text(f"The model reads the text only to character {answer['truncated'][0]}."))
    console.print(Text(printable(f"{answer['method']} for '{answer['explained']['label']}'. {answer['sign']}")))
    if not answer["proponents"]:
        console.print(
            _table(["token", "text", "score"], [[t["index"], t["text"], _signed(t["score"])] for t in answer["tokens"]])
        )
    console.print(Text(printable(_made(answer))))
    for note in answer["notes"]:
        console.print(Text(printable(note)))
    for side in ("proponents", "opponents"):
        if answer[side]:
            rows = [[r["rank"], r["train_id"], _signed(r["score"]), r["label"], _joined(r)] for r in answer[side]]
            head = ["rank", "train id", "score", "label", "text"]
            if any(row["spans"] for row in answer[side]):
                head, rows = [*head, "span"], [[*row, _strongest(r)] for row, r in zip(rows, answer[side], strict=True)]
            console.print(Text(f"\n{side}", style="bold"))
            console.print(_table(head, rows))
    return out.getvalue()


def _made(answer: Mapping[str, Any]) -> str:
    """Over which parameters, by which scorer, and how exactly an answer was made."""
    over = f"Over {answer['scope']['name']} ({answer['scope']['numbers']:,} parameters), " if answer["scope"] else ""
    rows = f", top {answer['exact_rows']} exact" if answer["exact_rows"] else ""
    agreement = f" (Spearman {answer['fidelity']:.3f} with exact)" if answer["fidelity"] is not None else ""
    how = "exact" if answer["exact"] else f"not all exact{agreement}{rows}"
    return f"{over}scorer {answer['scorer']}, {how}, {answer['seconds']:.2f} s."


def printable(text: str) -> str:
    """The text with what a terminal would obey replaced by a mark: controls, line separators, changes of direction."""
    return "".join(
        "�" if unicodedata.category(c) in OBEYED or unicodedata.bidirectional(c) in TURNING else c for c in text
    )


def _signed(score: float | None) -> str:
    return "–" if score is None else f"{score:+.4g}"


def _joined(row: Mapping[str, Any]) -> str:
    return row["text"] if row.get("text_pair") is None else f"{row['text']} | {row['text_pair']}"


def _strongest(row: Mapping[str, Any]) -> str:
    """The text of a row's strongest span, that its score is of; "" where it has none."""
    if not row["spans"]:
        return ""
    span = row["spans"][0]
    return (row["text_pair"] if span["segment"] else row["text"])[span["start"] : span["end"]]


def _table(head: list[str], rows: list[list[Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, justify="left" if name in ("text", "label", "span") else "right", overflow="fold")
    for row in rows:
        table.add_row(*[Text(printable(str(value))) for value in row])
    return table
