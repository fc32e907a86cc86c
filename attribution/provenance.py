"""Where an exported figure comes from, as plain strings, and tables that a spreadsheet may open."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from attribution import __version__
from attribution.explain import sign_sentence
from attribution.query import Query
from attribution.results import ScoreTable, TokenScores
from attribution.workspace import Workspace

SHOWN = 16
_FORMULA = re.compile(r"[\s\x00]*[=+\-@＝＋－＠]")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)*")


def provenance(query: Query, method: str, parameters: Mapping[str, Any], *, how: str = "") -> dict[str, str]:
    """What an exported answer depends on: workspace, digests, method, parameters, question, sign, version and date.

    Digests are cut to 16 hexadecimal digits; that of the workspace covers its model, its checkpoints and both tables.
    `how`: by which scorer and how exactly it was made.
    """
    against, explained = query.against, f"label {query.label_name}"
    if against is not None:
        explained += f" over {query.workspace.labels[against]}"
    if query.tokens:
        explained += f", tokens {'-'.join(map(str, query.tokens))}"
    return {
        **workspace_provenance(query.workspace),
        "question": "a text of one's own" if query.test is None else f"test example {query.test}",
        "explained": explained,
        "method": method,
        "parameters": json.dumps(dict(parameters), sort_keys=True),
        "scorer": how,
        "sign": sign_sentence(query, method),
    }


def workspace_provenance(workspace: Workspace) -> dict[str, str]:
    """The part of it that no question changes."""
    settings = workspace.settings
    return {
        "workspace": workspace.name,
        "workspace_digest": workspace.digest[:SHOWN],
        "model_digest": settings.model_digest[:SHOWN],
        "train_digest": settings.train_digest[:SHOWN],
        "test_digest": settings.test_digest[:SHOWN],
        "version": f"influscope {__version__}",
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def provenance_of(result: ScoreTable | TokenScores) -> dict[str, str]:
    """As `provenance`, of an answer."""
    how = ""
    if isinstance(result, ScoreTable):
        scored = result.scored
        rows = 0 if scored.exact_rows is None else len(scored.exact_rows)
        how = f"{scored.scorer}, {'exact' if scored.exact else f'top {rows} exact'}"
    return provenance(result.query, result.method, result.parameters, how=how)


def provenance_of_all(results: Sequence[ScoreTable]) -> dict[str, str]:
    """As `provenance_of`, of several methods' answers to one question: what differs is told by method."""
    each = {result.method: provenance_of(result) for result in results}
    first = next(iter(each.values()))
    told = {
        name: value
        if all(made[name] == value for made in each.values())
        else "; ".join(f"{method}: {made[name]}" for method, made in each.items())
        for name, value in first.items()
    }
    return {**told, "method": "; ".join(each)}


def spreadsheet_csv(frame: pd.DataFrame, made: Mapping[str, str]) -> str:
    """A table as csv, with its provenance in further columns and no text that a spreadsheet would run as a formula.

    The provenance is in columns and not in a file beside it, nor in lines before it: one file cannot be parted from it,
    every reader takes it, and rows of several exports can be put together. A text that begins as a formula does (=, +,
    -, @) gets an apostrophe before it, unless it is a plain number.
    """
    whole = frame.assign(**{name: value for name, value in made.items() if name not in frame})
    for name in whole.columns:
        whole[name] = [harmless(value) if isinstance(value, str) else value for value in whole[name]]
    # Python before 3.13 leaves a lone carriage return unquoted, where it would end the line.
    return whole.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC)


def harmless(text: str) -> str:
    """The text, with an apostrophe before it where a spreadsheet would take it for a formula."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text
