"""What leaves the page as a file: names, plots as pictures and as pages, each with what it was made from."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from attribution.pairs import METHOD, WordPairs
from attribution.provenance import (
    provenance,
    provenance_of,
    provenance_of_all,
    spreadsheet_csv,
)
from attribution.results import ScoreTable

_UNSAFE = re.compile(r"[^\w.-]+")
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem; color: #1c2024; background: #fff; }}
dl {{ display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 0.1rem 1rem; font-size: 0.87rem; }}
dt {{ color: #57606a; }} dd {{ margin: 0; overflow-wrap: anywhere; unicode-bidi: isolate; }}</style></head>
<body><h1 style="font-size:1.2rem">{title}</h1>
{plot}
<dl>{facts}</dl></body></html>
"""


def file_name(made: Mapping[str, str], what: str, suffix: str) -> str:
    """Such as influscope-reviews-test-example-412-relatif-scores.csv."""
    parts = ["influscope", made["workspace"], made.get("question", ""), made.get("method", ""), what]
    plain = [_UNSAFE.sub("-", part).strip("-.")[:40] for part in parts]
    return f"{'-'.join(filter(None, plain))}.{suffix}"


def scores_csv(table: ScoreTable) -> str:
    """All rows of an answer."""
    return spreadsheet_csv(table.frame(0), provenance_of(table))


def comparison_csv(tables: Sequence[ScoreTable]) -> str:
    """All training examples with score and rank under several methods, by the first one's rank."""
    made = tables[0].frame(0).drop(columns=["rank", "score", "z"])
    for table in tables:
        own = table.frame(0).set_index("train_id").loc[made["train_id"]]
        made[f"score {table.method}"] = own["score"].to_numpy()
        made[f"rank {table.method}"] = own["rank"].to_numpy()
    return spreadsheet_csv(made, provenance_of_all(tables))


def pairs_csv(found: WordPairs, rows: Sequence[str], columns: Sequence[str]) -> str:
    """One line a pair of words: the test word, the training word and the score."""
    lines = [
        {"test word": test, "training word": train, "score": float(score)}
        for test, scores in zip(rows, found.scores, strict=True)
        for train, score in zip(columns, scores, strict=True)
    ]
    return spreadsheet_csv(pd.DataFrame(lines).assign(train_id=found.train_id), pairs_provenance(found))


def pairs_provenance(found: WordPairs) -> dict[str, str]:
    """What a pair of texts was made from."""
    return provenance(found.query, METHOD, found.parameters, how="exact")


def plot_config(name: str) -> dict[str, Any]:
    """Plotly's settings for a plot whose one button saves it as a picture of that name."""
    return {"displaylogo": False, "modeBarButtons": [["toImage"]], "toImageButtonOptions": picture(name)}


def picture(name: str) -> dict[str, Any]:
    """What plotly's own camera makes: a PNG at twice the size on the page."""
    return {"format": "png", "filename": name.removesuffix(".png"), "scale": 2}


def plot_page(figure: go.Figure, title: str, made: Mapping[str, str]) -> str:
    """The plot as one HTML page that fetches nothing, with what it was made from."""
    # The page around it is white, so its letters are dark whatever the dashboard's theme is.
    drawn = go.Figure(figure).update_layout(template="plotly_white", font={"color": "#1c2024"})
    facts = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(value)}</dd>" for name, value in made.items()
    )
    plot = drawn.to_html(full_html=False, include_plotlyjs=True, config=plot_config(file_name(made, title, "png")))
    return _PAGE.format(title=escape(title), plot=plot, facts=facts)
