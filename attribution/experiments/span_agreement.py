"""Whether the spans that explain a span mean what it means (Huang et al. 2021 §4.1–4.2, §6.2)."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch

from attribution.errors import UserError
from attribution.experiments.measures import drawn_tests, mean_error
from attribution.experiments.registry import CONTROL, Findings, Row, Run, experiment, settings_of
from attribution.model import Classifier, Encoded, Example, length_sorted_batches
from attribution.parameters import Choice, Name, Range
from attribution.query import Query, make_query
from attribution.registry import run_method
from attribution.results import ScoreTable
from attribution.span_scores import explained_span
from attribution.spans import FINDERS, Finder, spans_at
from attribution.words import erased_rows, training_examples

TOP = 10
METHODS = ("influence", "if_plus", "if_plus_plus", "tracinf", "tracin_plus", "tracin_plus_plus")
MODEL = (
    "RoBERTa-large fine-tuned on {0}, each example with the span of its aspect, 200 test examples; no error, in per "
    "cent there. Ral, which retrains, is not measured here"
)
# Sag and Lag at the first top, then at the second, in per cent, for METHODS in their order.
TABLE_3 = {
    "MAMS": (
        100,
        (14.22, 17.17, 21.74, 15.89, 22.65, 23.92),
        (21.63, 25.66, 65.41, 38.20, 8.60, 78.03),
        (14.65, 15.10, 19.83, 15.97, 19.54, 21.32),
        (26.07, 25.66, 62.52, 43.19, 6.27, 75.02),
    ),
    "sentihood": (
        50,
        (4.69, 4.75, 22.54, 3.07, 0.98, 26.21),
        (53.00, 41.91, 61.96, 55.91, 18.22, 66.65),
        (3.56, 7.82, 22.21, 1.78, 1.61, 23.43),
        (56.38, 44.05, 63.16, 59.66, 17.49, 66.72),
    ),
}
PAPER = [
    {"method": m, "data": data, "k": k, "sag": sag / 100, "lag": lag / 100, "differs": MODEL.format(data)}
    for data, (second, *values) in TABLE_3.items()
    for k, sags, lags in ((TOP, values[0], values[1]), (second, values[2], values[3]))
    for m, sag, lag in zip(METHODS, sags, lags, strict=True)
]


def _seconds(run: Run, *, tests: int, **values: Any) -> float:
    ids, seconds = drawn_tests(run, 2), 0.0
    for done, method in enumerate(run.controlled, start=1):
        queries = [make_query(run.workspace, test=test) for test in ids]
        seconds += [_answer(run, query, method, values).seconds for query in queries][-1]
        run.progress(done, len(run.controlled), "methods timed")
    return seconds * len(drawn_tests(run, tests))


@experiment(
    title="Agreement of spans in meaning and label",
    paper="Huang 2021 §4.1–4.2, Table 3",
    cost="one question a test example and method; those of spans take some seconds each",
    methods=METHODS,
    small={"tests": 3, "candidates": 20},
    estimate=_seconds,
)
def span_agreement(
    run: Run,
    *,
    tests: Annotated[int, Range(low=1, high=1_000_000, help="Test examples at most, drawn.")] = 10,
    finder: Annotated[str, Choice(choices=FINDERS, help="How spans are found, as for the methods.")] = "clauses",
    candidates: Annotated[
        int, Range(low=2, high=10_000_000, help="Training examples whose spans are scored, as for the methods.")
    ] = 120,
    top: Annotated[int, Range(low=TOP + 1, high=10_000, help="How many top spans count, besides the top 10.")] = 50,
    scope: Annotated[
        str, Name(choices=("", "head", "last:2"), help="Parameters of gradient methods; none: each method's own.")
    ] = "",
) -> Findings:
    """Sag@k and Lag@k of the top 10 and `top` training spans, or whole training examples where these are the unit.

    Sag (`sag`, −1 to 1) is the mean cosine of a top span's embedding with that of the test text's most important span,
    under every method; a span's embedding is the final state of the first token less that with the span masked, a whole
    example's that state itself. Lag (`lag`, 0 to 1) is the share of them with the label that is explained, the
    predicted one. Means over the test examples with standard errors, beside a random control of whole examples. A
    test example without a span is left out (`n`).
    """
    values = {"finder": finder, "candidates": candidates, "scope": scope}
    methods, ids, tops, sags, lags = list(run.controlled), drawn_tests(run, tests), (TOP, top), [], []
    for done, test in enumerate(ids, start=1):
        question = {"experiment": "span_agreement", "test": test, "methods": methods, **values}
        question |= {"tops": tops, "seed": run.seed}
        found = run.kept(question, lambda test=test: _agreement(run, test, methods, tops, values))
        sags.append(found["sag"])
        lags.append(found["lag"])
        run.progress(done, len(ids), "test examples explained")
    if not np.isfinite(sags).any():
        raise UserError(f"finder={finder} finds no span in any of the {len(ids)} test examples.")
    rows = _rows(methods, tops, np.array(sags), np.array(lags))
    told = {f"sag@{row['k']}, {row['method']}": row["sag"] for row in rows if row["sag"] is not None}
    return Findings(summary={"tests": len(ids), **told}, table=rows, paper=PAPER)


def _answer(run: Run, query: Query, method: str, values: dict[str, Any]) -> ScoreTable:
    if method == CONTROL:
        return run.answer(query, method)
    answer = run_method(query, method, settings_of(method, **values), run.progress, rerank=False)
    assert isinstance(answer, ScoreTable)
    return answer


def _agreement(
    run: Run, test: int, methods: Sequence[str], tops: Sequence[int], values: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Sag and Lag of every method at every top for one test example: (methods, tops); NaN without a test span."""
    query, classifier = make_query(run.workspace, test=test), run.workspace.classifier
    quantity, _ = explained_span(query, Finder(name=values["finder"]))
    sag, lag = np.full((2, len(methods), len(tops)), np.nan)
    if not quantity.tokens:
        return {"sag": sag, "lag": lag}
    mine = _embeddings(classifier, [query.example], [quantity.tokens])[0]
    same = run.workspace.label_ids(run.workspace.train) == query.label
    for m, method in enumerate(methods):
        table = _answer(run, query, method, values)
        scored = table.scores[table.order] != 0  # what was not searched for spans has 0
        first = table.order[scored][: max(tops)].tolist()
        if not first:
            continue
        examples = training_examples(query.workspace, first)
        units = [()] * len(first) if table.scored.spans is None else _strongest(table, first, examples)
        theirs = _embeddings(classifier, examples, units)
        scale = np.linalg.norm(theirs, axis=1) * np.linalg.norm(mine)
        cosines = np.divide(theirs @ mine, scale, out=np.zeros(len(first)), where=scale > 0)
        for k, size in enumerate(tops):
            sag[m, k], lag[m, k] = cosines[:size].mean(), same[first[:size]].mean()
    return {"sag": sag, "lag": lag}


def _strongest(table: ScoreTable, top: list[int], examples: Sequence[Example]) -> list[tuple[int, ...]]:
    """The tokens of the strongest span of some training examples; () where one has none."""
    assert table.scored.spans is not None
    made = []
    for spans, example in zip(table.scored.spans(top), examples, strict=True):
        place = [(spans[0].start, spans[0].end, spans[0].segment)] if spans else []
        made.append(next((span.tokens for span in spans_at(example, place)), ()))
    return made


def _embeddings(classifier: Classifier, examples: Sequence[Example], spans: Sequence[tuple[int, ...]]) -> np.ndarray:
    """The embedding of a span of each example, by its tokens, or of the whole for (): (examples, width)."""
    encoded, owner = erased_rows(examples, [[tokens] if tokens else [] for tokens in spans], classifier.erased_id)
    states = start_states(classifier, encoded)
    whole = np.append(True, owner[1:] != owner[:-1])
    made = states[whole].copy()
    made[owner[~whole]] -= states[~whole]
    return made


def start_states(classifier: Classifier, encoded: Encoded) -> np.ndarray:
    """The state of the first token after the last block, for encoded rows: (rows, width)."""
    seen: list[torch.Tensor] = []

    def catch(_: torch.nn.Module, __: Any, out: Any) -> None:
        seen.append((out[0] if isinstance(out, tuple) else out)[:, 0])

    lengths = [len(ids) for ids in encoded["input_ids"]]
    made = np.empty((len(lengths), classifier.model.config.hidden_size))
    with classifier.lock, torch.no_grad():
        handle = classifier.anatomy.blocks[-1].register_forward_hook(catch)
        try:
            for rows in length_sorted_batches(lengths):
                classifier.run(classifier.pad(encoded, rows.tolist()))
                made[rows] = seen.pop().float().cpu().numpy()
        finally:
            handle.remove()
    return made


def _rows(methods: Sequence[str], tops: Sequence[int], sags: np.ndarray, lags: np.ndarray) -> list[Row]:
    made: list[Row] = []
    for m, method in enumerate(methods):
        for t, top in enumerate(tops):
            sag, sag_error = mean_error(sags[:, m, t])
            lag, lag_error = mean_error(lags[:, m, t])
            row = {"method": method, "k": top, "sag": sag, "sag_error": sag_error, "lag": lag, "lag_error": lag_error}
            made.append({**row, "n": int(np.isfinite(sags[:, m, t]).sum())})
    return made
