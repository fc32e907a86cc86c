"""An explanation as one HTML file that stands alone: no script, nothing fetched, every text escaped."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from attribution.explain import explain, printable
from attribution.index import Progress, silent
from attribution.pairs import METHOD, WordPairs, pairs_parts, word_pairs
from attribution.provenance import provenance
from attribution.query import Query
from attribution.registry import get_method

TEMPLATE = Path(__file__).with_name("report.html")
THEMES = {
    "light": {"page": (255, 255, 255), "ink": (28, 32, 36), "supports": (33, 102, 172), "opposes": (224, 130, 20)},
    "dark": {"page": (15, 18, 22), "ink": (232, 234, 237), "supports": (92, 158, 222), "opposes": (240, 160, 70)},
}
DEEPEST, READABLE = 0.9, 4.5
LINE = 26
WEAKEST, MOST = 0.06, 150


def report(
    query: Query,
    name: str,
    parameters: Mapping[str, Any],
    *,
    top: int = 10,
    train_id: int | None = None,
    progress: Progress = silent,
) -> str:
    """The answer of a method to a query as an HTML page, light or dark as the reader's system is.

    Heatmap, probabilities, the sign's sentence, `top` proponents and opponents with shaded words, and word by word the
    pair of the text and a training example: `train_id`, or the first proponent; where the index has not yet what the
    pair reads, the page says so. Ends with what it was made from. Cost: an explanation and one `word_pairs`.
    """
    answer = explain(query, name, parameters, top=top, progress=progress)
    first = train_id if train_id is not None else next((row["train_id"] for row in answer["proponents"]), None)
    pairs, missing = None, False
    if first is not None:
        given = answer["parameters"] if get_method(name).clicked else {}
        missing = not all(part.is_built(query.workspace) for part in pairs_parts(query.workspace, given))
        if not missing:
            words = [word for word in query.example.words if not word.special or set(word.tokens) & set(query.tokens)]
            pairs = word_pairs(query, first, given, groups=[word.tokens for word in words], progress=progress)
    return as_html(query, answer, pairs, missing=missing)


def as_html(query: Query, answer: Mapping[str, Any], pairs: WordPairs | None, *, missing: bool = False) -> str:
    """The page from an answer of `explain` and a pair, if there is one; `missing`: it was not computed."""
    how = "exact" if answer["exact"] else f"top {answer['exact_rows']} exact"
    words = [
        abs(w["score"]) for side in ("proponents", "opponents") for row in answer[side] for w in row["words"] or []
    ]
    scores = [abs(row["score"]) for side in ("proponents", "opponents") for row in answer[side]]
    return _template().render(
        answer=answer,
        method=get_method(answer["method"]),
        facts=provenance(query, answer["method"], answer["parameters"], how=f"{answer['scorer']}, {how}"),
        tokens=_heatmap(query, answer),
        word_scale=max(words, default=0.0) or 1.0,
        row_scale=max(scores, default=0.0) or 1.0,
        pair=None if pairs is None else _drawn(pairs),
        pair_facts=None if pairs is None else provenance(pairs.query, METHOD, pairs.parameters),
        missing=missing,
        shade=shade,
        pieces=_pieces,
        signed=_signed,
        themes=THEMES,
    )


@cache
def _template() -> jinja2.Template:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        # What a browser obeys in a text, such as a change of direction, shows as a mark.
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    return made.get_template(TEMPLATE.name)


def _heatmap(query: Query, answer: Mapping[str, Any]) -> dict[str, Any]:
    """The words of the test text with their share, in one list a text, and the scale of the colours."""
    shares = [token["score"] for token in answer["tokens"]]
    clicked, segments, ends = set(query.tokens), [[] for _ in query.example.texts], [0, 0]
    for word in query.example.words:
        between = query.example.texts[word.segment][ends[word.segment] : word.start]
        segments[word.segment].append(
            {
                "text": word.text,
                "score": sum(shares[index] for index in word.tokens),
                "special": word.special,
                "space": word.special or bool(between),
                "clicked": bool(set(word.tokens) & clicked),
            }
        )
        ends[word.segment] = max(ends[word.segment], word.end)
    plain = [abs(word["score"]) for words in segments for word in words if not word["special"]]
    return {"segments": segments, "scale": max(plain, default=0.0) or 1.0}


def _pieces(text: str, words: Sequence[Mapping[str, Any]] | None, segment: int) -> list[tuple[str, float | None]]:
    """The text in reading order: (piece, score of a word or None)."""
    made: list[tuple[str, float | None]] = []
    reached = 0
    for word in sorted(words or [], key=lambda word: word["start"]):
        if word["segment"] != segment or word["start"] < reached or word["end"] <= word["start"]:
            continue
        made += [(text[reached : word["start"]], None), (text[word["start"] : word["end"]], word["score"])]
        reached = word["end"]
    return [*made, (text[reached:], None)]


def _drawn(pairs: WordPairs) -> dict[str, Any]:
    """The words of both sides, the strongest links between their places, and the matrix."""
    tokens = pairs.query.example.tokens
    rows = [" ".join(dict.fromkeys(pairs.query.example.words[tokens[i].word].text for i in g)) for g in pairs.groups]
    columns = [word.text for word in pairs.words]
    scale = float(abs(pairs.scores).max(initial=0.0)) or 1.0
    links: list[dict[str, Any]] = [
        {"row": i, "column": j, "level": float(pairs.scores[i, j]) / scale, "score": float(pairs.scores[i, j])}
        for i in range(len(rows))
        for j in range(len(columns))
        if abs(pairs.scores[i, j]) >= WEAKEST * scale
    ]
    links.sort(key=lambda link: abs(link["level"]))
    for link in links:
        y, v = LINE * (link["row"] + 0.5), LINE * (link["column"] + 0.5)
        link["path"] = f"M 0 {y} C 50 {y} 50 {v} 100 {v}"
    return {
        "train_id": pairs.train_id,
        "rows": rows,
        "columns": columns,
        "links": links[-MOST:],
        "scores": pairs.scores.tolist(),
        "scale": scale,
        "line": LINE,
        "height": LINE * max(len(rows), len(columns)),
    }


def _signed(score: float | None, digits: int = 3) -> str:
    return "–" if score is None else f"{score:+#.{digits}g}".rstrip(".").replace("-", "−")


def shade(strength: float) -> str:
    """Fill and text colour of a strength in [-1, 1] in both themes, as CSS variables; text keeps 4.5 to 1."""
    made = []
    for theme, colours in THEMES.items():
        ink = colours["opposes" if strength < 0 else "supports"]
        alpha = DEEPEST * min(1.0, abs(strength))
        fill = tuple(round(p + alpha * (i - p)) for p, i in zip(colours["page"], ink, strict=True))
        black, white = (0, 0, 0), (255, 255, 255)
        readable = colours["ink"] if contrast(colours["ink"], fill) >= READABLE else None
        text = readable or max((black, white), key=lambda one: contrast(one, fill))
        made += [f"--{theme}:rgb{fill}", f"--{theme}-text:rgb{text}"]
    return ";".join(made).replace(" ", "")


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """WCAG contrast ratio of two colours, 1 to 21."""
    dark, bright = sorted(_luminance(colour) for colour in (one, other))
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: Sequence[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
