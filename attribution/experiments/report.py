"""A finished experiment as JSON or as a table for a terminal."""

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from attribution import explain
from attribution.explain import plain_value, printable


def as_json(answer: Mapping[str, Any]) -> str:
    """One JSON object; a number that is none (NaN, infinite) is null."""
    return explain.as_json(_plain(answer))


def as_table(answer: Mapping[str, Any], *, width: int = 120) -> str:
    """The rows, then the paper's own with what differs; control characters are made visible."""
    out = StringIO()
    console = Console(file=out, width=width, no_color=True, highlight=False)
    asked = ", ".join(f"{name}={value}" for name, value in answer["parameters"].items() if value != "")
    head = f"{answer['experiment']} on {answer['workspace']['name']} (seed {answer['seed']}; {asked})"
    console.print(Text(printable(head), style="bold"))
    console.print(_rows(answer["table"]))
    for note in answer["notes"]:
        console.print(Text(printable(note)))
    if answer["paper"]:
        differences = list(dict.fromkeys(row["differs"] for row in answer["paper"]))
        marks = {text: f"[{number}]" for number, text in enumerate(differences, start=1)}
        console.print(Text("\nthe paper's own", style="bold"))
        console.print(_rows([{**row, "differs": marks[row["differs"]]} for row in answer["paper"]]))
        for text, mark in marks.items():
            console.print(Text(printable(f"{mark} {text}.".replace("..", "."))))
    return out.getvalue()


def _rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        is_text = any(isinstance(row[name], str) for row in rows)
        table.add_column(name, justify="left" if is_text else "right", overflow="fold")
    for row in rows:
        table.add_row(*[Text(printable(_shown(value))) for value in row.values()])
    return table


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return plain_value(value)
