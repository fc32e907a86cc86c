"""Whether the spans that explain a span mean what it does, and whether removing them hurts (Huang et al. 2021 §4)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch

from attribution.errors import UserError
from attribution.experiments.accuracy_loss import accuracy_losses, read_shares
from attribution.experiments.measures import drawn_tests, mean_error
from attribution.experiments.registry import CONTROL, Findings, Row, Run, experiment, settings_of
from attribution.experiments.retrained import BatchSize, Epochs, LearningRate, Penalty, Retrain, Seeds
from attribution.model import Classifier, Encoded, Example, length_sorted_batches
from attribution.parameters import Choice, Name, Range
from attribution.query import Query, make_query
from attribution.registry import run_method
from attribution.results import ScoreTable
from attribution.retraining import Retrainer, make_plan
from attribution.span_scores import explained_span
from attribution.spans import FINDERS, Finder, spans_at
from attribution.words import erased_rows, training_examples

TOP = 10
REMOVED = ("20%", "50%")
VERSION = 2
METHODS = ("influence", "if_plus", "if_plus_plus", "tracinf", "tracin_plus", "tracin_plus_plus")
MODEL = (
    "RoBERTa-large fine-tuned on {0}, each example with the span of its aspect, 200 test examples; no error, in per "
    "cent there"
)
# Sag and Lag at the first top, then at the second, then Ral, in per cent, for METHODS in their order.
TABLE_3 = {
    "MAMS": (
        100,
        (14.22, 17.17, 21.74, 15.89, 22.65, 23.92),
        (21.63, 25.66, 65.41, 38.20, 8.60, 78.03),
        (14.65, 15.10, 19.83, 15.97, 19.54, 21.32),
        (26.07, 25.66, 62.52, 43.19, 6.27, 75.02),
        (9.80, 5.64, 3.55, 9.80, 11.89, 16.05),
        (28.55, 1.47, 18.14, 22.30, 5.64, 18.14),
    ),
    "sentihood": (
        50,
        (4.69, 4.75, 22.54, 3.07, 0.98, 26.21),
        (53.00, 41.91, 61.96, 55.91, 18.22, 66.65),
        (3.56, 7.82, 22.21, 1.78, 1.61, 23.43),
        (56.38, 44.05, 63.16, 59.66, 17.49, 66.72),
        (10.56, 16.21, 6.91, 9.23, 6.91, 9.23),
        (16.21, 18.53, 11.05, 27.83, 9.23, 4.58),
    ),
}
NOTHING: Row = {"k": None, "removed": None, "sag": None, "lag": None, "ral": None}
PAPER = [
    {"method": m, "data": data, **NOTHING, **told, "differs": MODEL.format(data)}
    for data, (second, sags, lags, more_sags, more_lags, *rals) in TABLE_3.items()
    for at, m in enumerate(METHODS)
    for told in (
        {"k": TOP, "sag": sags[at] / 100, "lag": lags[at] / 100},
        {"k": second, "sag": more_sags[at] / 100, "lag": more_lags[at] / 100},
        *({"removed": share, "ral": ral[at] / 100} for share, ral in zip(REMOVED, rals, strict=True)),
    )
]


def _seconds(
    run: Run,
    *,
    tests: int,
    finder: str,
    candidates: int,
    scope: str,
    remove: str,
    retrain: str,
    seeds: int,
    top: int,
    **training: Any,
) -> float:
    values = {"finder": finder, "candidates": candidates, "scope": scope}
    plan = make_plan(run.workspace, retrain, **training)
    ids, seconds = drawn_tests(run, 2), 0.0
    for done, method in enumerate(run.controlled, start=1):
        queries = [make_query(run.workspace, test=test) for test in ids]
        seconds += [_answer(run, query, method, values).seconds for query in queries][-1]
        run.progress(done, len(run.controlled), "methods timed")
    n, everyone = len(run.workspace.train), np.arange(len(run.workspace.test))
    sizes = [n, *[n - count for count in read_shares(remove, n).values()] * len(run.controlled)]
    models = Retrainer(run.workspace, plan, everyone, run.kept, run.progress)
    return seconds * len(drawn_tests(run, tests)) + models.seconds(sizes * seeds)


@experiment(
    title="Agreement of spans in meaning and label",
    paper="Huang 2021 §4.1–4.2, Table 3",
    cost="one question a test example and method, those of spans some seconds each; shares × methods retrainings",
    methods=METHODS,
    small={"tests": 3, "candidates": 20},
    estimate=_seconds,
)
def span_agreement(
    run: Run,
    *,
    tests: Annotated[int, Range(low=1, high=1_000_000, help="Test examples at most, drawn.")] = 10,
    finder: Annotated[str, Choice(choices=FINDERS, help="How spans are found, as for the methods.")] = "clauses",
    candidates: Annotated[int, Range(low=2, high=10_000_000, help="Spans that are scored, as for the methods.")] = 300,
    top: Annotated[int, Range(low=TOP + 1, high=10_000, help="How many top spans count, besides the top 10.")] = 50,
    scope: Annotated[
        str, Name(choices=("", "head", "last:2"), help="Parameters of gradient methods; none: each method's own.")
    ] = "",
    remove: Annotated[
        str, Name(choices=("20%,50%", "20%"), help="How much of the training set goes for Ral: shares or numbers.")
    ] = ",".join(REMOVED),
    retrain: Retrain = "refit",
    epochs: Epochs = 0,
    learning_rate: LearningRate = 0.0,
    batch_size: BatchSize = 0,
    l2: Penalty = 0.001,
    seeds: Seeds = 1,
) -> Findings:
    """Sag@k and Lag@k of the top 10 and `top` training spans, or whole training examples where these are the unit; Ral.

    Sag (`sag`, −1 to 1) is the mean cosine of a top span's embedding with that of the test text's most important span,
    under every method; a span's embedding is the final state of the first token less that with the span masked, a whole
    example's that state itself. Lag (`lag`, 0 to 1) is the share of them with the label that is explained, the
    predicted one. Means over the test examples with standard errors, beside a random control of whole examples. A
    test example without a span is left out (`n`).

    Ral (`ral`) is what accuracy on all test examples loses when the training examples that lead in the sum of the
    scores over the asked test examples are removed and the model is trained again: positive = it gets worse. Means over
    the seeds. What no search scored has 0; such ties are broken at random.
    """
    training = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size, "l2": l2}
    values = {"finder": finder, "candidates": candidates, "scope": scope}
    plan = make_plan(run.workspace, retrain, **training)
    shares = read_shares(remove, len(run.workspace.train))
    methods, ids, tops, sags, lags = list(run.controlled), drawn_tests(run, tests), (TOP, top), [], []
    total = np.zeros((len(methods), len(run.workspace.train)))
    for done, test in enumerate(ids, start=1):
        question = {"experiment": "span_agreement", "test": test, "methods": methods, **values}
        question |= {"tops": tops, "seed": run.seed, "version": VERSION}
        found = run.kept(question, lambda test=test: _agreement(run, test, methods, tops, values))
        sags.append(found["sag"])
        lags.append(found["lag"])
        total += found["scores"]
        run.progress(done, len(ids), "test examples explained")
    if not np.isfinite(sags).any():
        raise UserError(f"finder={finder} finds no span in any of the {len(ids)} test examples.")
    losses, notes = accuracy_losses(run, plan, dict(zip(methods, total, strict=True)), shares, seeds)
    rows = _rows(methods, tops, np.array(sags), np.array(lags)) + _loss_rows(losses, shares)
    told = {f"sag@{row['k']}, {row['method']}": row["sag"] for row in rows if row["sag"] is not None}
    told |= {f"ral {row['removed']}, {row['method']}": row["ral"] for row in rows if row["ral"] is not None}
    return Findings(summary={"tests": len(ids), **told}, table=rows, paper=PAPER, notes=(*notes, plan.sentence()))


def _answer(run: Run, query: Query, method: str, values: dict[str, Any]) -> ScoreTable:
    if method == CONTROL:
        return run.answer(query, method)
    answer = run_method(query, method, settings_of(method, **values), run.progress, rerank=False)
    assert isinstance(answer, ScoreTable)
    return answer


def _agreement(
    run: Run, test: int, methods: Sequence[str], tops: Sequence[int], values: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Sag and Lag of every method at every top for one test example: (methods, tops), NaN without a test span.

    And every method's scores, 0 without one: (methods, train).
    """
    query, classifier = make_query(run.workspace, test=test), run.workspace.classifier
    quantity, _ = explained_span(query, Finder(name=values["finder"]))
    sag, lag = np.full((2, len(methods), len(tops)), np.nan)
    scores = np.zeros((len(methods), len(run.workspace.train)), dtype=np.float32)
    if not quantity.tokens:
        return {"sag": sag, "lag": lag, "scores": scores}
    mine = _embeddings(classifier, [query.example], [quantity.tokens])[0]
    same = run.workspace.label_ids(run.workspace.train) == query.label
    for m, method in enumerate(methods):
        table = _answer(run, query, method, values)
        scores[m] = table.scores
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
    return {"sag": sag, "lag": lag, "scores": scores}


def _loss_rows(losses: Mapping[tuple[str, str], np.ndarray], shares: Mapping[str, int]) -> list[Row]:
    made: list[Row] = []
    for (method, share), values in losses.items():
        mean, error = mean_error(values)
        row = {"method": method, **NOTHING, "k": shares[share], "removed": share, "ral": mean}
        made.append({**row, "sag_error": None, "lag_error": None, "ral_error": error, "n": len(values)})
    return made


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
            row = {"method": method, **NOTHING, "k": top, "sag": sag, "lag": lag}
            errors = {"sag_error": sag_error, "lag_error": lag_error, "ral_error": None}
            made.append({**row, **errors, "n": int(np.isfinite(sags[:, m, t]).sum())})
    return made
