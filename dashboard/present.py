"""From answers to what the components draw. Pure functions: no Streamlit, nothing computed but layout."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from attribution.pairs import WordPairs
from attribution.query import Query
from attribution.registry import Method
from attribution.results import ScoreTable, SpanScore, TokenScores, WordScore
from attribution.tokens import Word
from dashboard.components import LabelProbability, PairWord, Token, TrainingRow
from dashboard.components import Word as ShadedWord

SHORT = 60


def heatmap(scores: TokenScores, *, subwords: bool) -> tuple[list[Token], float, str]:
    """Tokens to draw (words, or the model's own tokens), the largest |score|, and the legend's caption."""
    example = scores.query.example
    groups = _single_tokens(scores) if subwords else example.words
    values = [float(scores.scores[list(word.tokens)].sum()) for word in groups]
    ranks = np.empty(len(groups), dtype=int)
    ranks[np.argsort(-np.abs(values), kind="stable")] = np.arange(1, len(groups) + 1)
    tokens: list[Token] = []
    ends = [0, 0]
    for word, value, rank in zip(groups, values, ranks, strict=True):
        text = example.texts[word.segment]
        before = text[ends[word.segment] : word.start]
        tokens.append(
            Token(
                index=word.tokens[0],
                text=word.text,
                score=value,
                raw=float(scores.raw[list(word.tokens)].sum()),
                rank=int(rank),
                pieces=[{"text": example.tokens[i].text, "score": float(scores.scores[i])} for i in word.tokens],
                special=word.special,
                space_before=word.special or bool(before) or ends[word.segment] == 0,
                truncated=False,
                segment=word.segment,
            )
        )
        ends[word.segment] = max(ends[word.segment], word.end)
    plain = [abs(v) for v, word in zip(values, groups, strict=True) if not word.special]
    tokens.extend(_cut_off(scores, len(tokens)))
    return tokens, max(plain, default=0.0) or 1.0, _caption(scores, subwords)


def _single_tokens(scores: TokenScores) -> list[Word]:
    return [
        Word(tokens=(t.index,), text=t.text, start=t.start, end=t.end, special=t.special, segment=t.segment)
        for t in scores.query.example.tokens
    ]


def _cut_off(scores: TokenScores, rank: int) -> list[Token]:
    """What lies beyond the model's maximum length, as one token a text that cannot be selected."""
    example = scores.query.example
    rest = [(segment, example.texts[segment][cut:]) for segment, cut in enumerate(example.cut) if cut is not None]
    return [
        Token(
            index=-1 - segment,
            text=text.strip(),
            score=0.0,
            raw=0.0,
            rank=rank + 1 + segment,
            pieces=[],
            special=False,
            space_before=text[:1].isspace(),
            truncated=True,
            segment=segment,
        )
        for segment, text in rest
    ]


def _caption(scores: TokenScores, subwords: bool) -> str:
    special = [t for t in scores.query.example.tokens if t.special]
    share = float(np.abs(scores.scores[[t.index for t in special]]).sum())
    names = " and ".join(dict.fromkeys(t.text for t in special))
    unit = "of the example's total"
    held = f" · {names} hold {share:.0%}" if special else ""
    return f"{unit}{held} · {'subwords' if subwords else 'words'}"


def tokens_of(scores: TokenScores, drawn: Sequence[int], *, subwords: bool) -> tuple[int, ...]:
    """The model tokens that are selected where these drawn tokens are, in order."""
    if subwords:
        return tuple(sorted(drawn))
    return tuple(sorted(i for word in scores.query.example.words if word.tokens[0] in drawn for i in word.tokens))


def drawn(scores: TokenScores, tokens: Sequence[int], *, subwords: bool) -> list[int]:
    """The drawn tokens that hold any of these model tokens."""
    if subwords:
        return list(tokens)
    return [word.tokens[0] for word in scores.query.example.words if set(word.tokens) & set(tokens)]


def probabilities(query: Query) -> list[LabelProbability]:
    """The labels with their probability; the true one is marked where it is known."""
    return [
        LabelProbability(
            label=label,
            probability=float(p),
            predicted=label == query.workspace.labels[query.predicted],
            true=label == query.true_label,
        )
        for label, p in query.probabilities.items()
    ]


def visible(
    table: ScoreTable, method: Method, *, opponents: bool, count: int, within: np.ndarray | None = None
) -> list[tuple[int, int]]:
    """The training ids to show and how many further identical rows each stands for, best first.

    A signed method's proponents end at zero, and so do its opponents; `within` (train,) says which are shown instead.
    """
    order = table.order[::-1] if opponents else table.order
    if within is not None:
        order = order[within[order]]
    elif method.signed:
        order = order[table.scores[order] < 0] if opponents else order[table.scores[order] > 0]
    _, first, copies = np.unique(table.query.workspace.same_texts[order], return_index=True, return_counts=True)
    return [(int(table.ids[order[first[at]]]), int(copies[at]) - 1) for at in np.argsort(first)[:count]]


def faithfulness(table: ScoreTable) -> str:
    """How many examples were scored, how exactly, and in how long."""
    scored = table.scored
    if scored.exact:
        how = "exact"
    else:
        agreement = "" if scored.fidelity is None else f" (Spearman {scored.fidelity:.3f} with exact)"
        top = "" if scored.exact_rows is None else f", top {len(scored.exact_rows)} exact"
        how = f"index{agreement}{top}"
    return f"{len(table.scores):,} · {how} · {table.seconds:.2f} s"


def training_rows(
    table: ScoreTable,
    method: Method,
    shown: Sequence[tuple[int, int]],
    words: Mapping[int, Sequence[WordScore] | Sequence[SpanScore]],
    *,
    opponents: bool,
) -> list[TrainingRow]:
    """The rows of training examples as they are drawn; one scale for all bars and one for all words, or spans.

    Of spans, which come the strongest first, that one is drawn bold.
    """
    rows, count = table.rows([train_id for train_id, _ in shown]), len(table.scores)
    largest = float(np.abs(rows["score"].to_numpy()).max()) or 1.0
    parts = [abs(w.score) for scored in words.values() for w in scored]
    word_scale = max(parts, default=0.0) or 1.0
    made: list[TrainingRow] = []
    for (train_id, copies), row in zip(shown, rows.to_dict("records"), strict=True):
        scored = words.get(train_id)
        made.append(
            TrainingRow(
                train_id=train_id,
                rank=count + 1 - row["rank"] if opponents else row["rank"],
                label=row["label"],
                other_label=row["label"] != table.query.label_name,
                score=float(row["score"]),
                score_text=signed(row["score"]) if method.signed else signed(row["score"]).removeprefix("+"),
                share=float(row["score"]) / largest,
                text=row["text"],
                text_pair=row.get("text_pair"),
                words=None
                if scored is None
                else [_shaded(w, at == 0) for at, w in enumerate(scored) if w.end > w.start],
                unit="word" if table.scored.spans is None else "span",
                word_scale=word_scale,
                duplicates=copies,
                details=[
                    ["Standard deviations from the mean score", f"{row['z']:+.2f}"],
                    ["Rank", f"{row['rank']:,} of {count:,}"],
                ],
            )
        )
    return made


def _shaded(word: WordScore | SpanScore, first: bool) -> ShadedWord:
    strong = first and isinstance(word, SpanScore)
    return ShadedWord(start=word.start, end=word.end, score=word.score, part=word.segment, strong=strong)


def signed(score: float) -> str:
    """A score with its sign and three digits; a real minus sign."""
    return f"{score:+#.3g}".rstrip(".").replace("-", "−")


def pair_groups(scores: TokenScores, *, clicked: tuple[int, ...], subwords: bool) -> list[tuple[int, ...]]:
    """The rows of a pair view: the text's words, or its tokens; a special token only where it is clicked."""
    groups = _single_tokens(scores) if subwords else scores.query.example.words
    return [word.tokens for word in groups if not word.special or set(word.tokens) & set(clicked)]


def is_short(row: pd.Series) -> bool:
    """Whether a training example has so few words that a pair view of it is there in a second or two."""
    return len(f"{row['text']} {row.get('text_pair') or ''}".split()) <= SHORT


def pair_words(found: WordPairs) -> tuple[list[PairWord], list[PairWord]]:
    """The words of both sides of a pair view as they are drawn."""
    example = found.query.example
    rows = []
    for group in found.groups:
        pieces = [example.tokens[index] for index in group]
        first = pieces[0]
        whole = next((word for word in example.words if word.tokens == tuple(group)), None)
        text = whole.text if whole is not None else first.text
        rows.append((text, first.start, pieces[-1].end, first.segment, first.special))
    columns = [(word.text, word.start, word.end, word.segment, word.special) for word in found.words]
    return _spaced(rows, example.texts), _spaced(columns, found.example.texts)


def _spaced(words: Sequence[tuple[str, int, int, int, bool]], texts: Sequence[str]) -> list[PairWord]:
    made, ends = [], [0, 0]
    for text, start, end, segment, special in words:
        gap = special or start > ends[segment] or not made
        made.append(PairWord(text=text, space_before=gap, segment=segment, special=special))
        ends[segment] = max(ends[segment], end)
    return made


def pair_row(found: WordPairs, clicked: tuple[int, ...]) -> int | None:
    """The row of the clicked tokens, if one is."""
    return next((number for number, group in enumerate(found.groups) if set(group) & set(clicked)), None)


def pair_facts(found: WordPairs) -> str:
    """How large the matrix is, over which parameters, and how long it took."""
    rows, columns = found.scores.shape
    return f"{rows} × {columns} words · exact over {found.parameters['scope']} · {found.seconds:.2f} s"


def duration(seconds: float) -> str:
    """How long something takes, to about two digits: "about 40 s", "about 3 min", "about 2 h"."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"about {seconds / size:.0f} {unit}"
    return f"about {max(1, round(seconds)):d} s"


def clipped(text: str, most: int) -> str:
    """The text with blanks run together, cut after `most` characters."""
    whole = " ".join(text.split())
    return whole if len(whole) <= most else f"{whole[: most - 1].rstrip()}…"
