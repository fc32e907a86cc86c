"""Whether saliency and influence tell the same story of a prediction (Han et al. 2020 §4, RQ2)."""

import re
from collections.abc import Sequence
from typing import Annotated

import numpy as np

from attribution.errors import UserError
from attribution.experiments.measures import Entry, asking_seconds, drawn_tests, mean_error
from attribution.experiments.registry import Findings, Row, Run, experiment
from attribution.parameters import Name, Range
from attribution.query import Query, make_query
from attribution.registry import get_method, list_methods, run_method
from attribution.results import ScoreTable, TokenScores
from attribution.tokens import Token

FIRST, SECOND = "examples with the token", "overlap without it"
KINDS = ("most positive", "median", "most negative")
ANY = "any"
OF_TOP = (0.1, 0.2, 0.5, 1.0)
OF_ALL = (0.001, 0.002, 0.005, 0.01)
MODEL = (
    "BERT-base, its last 4 blocks and head fine-tuned on {0}, influence by LiSSA; without an error. The paper does not "
    "say of which label the influence is once the token is gone; ours is of the label that is predicted then"
)
SENTIMENT = MODEL.format("10,000 sentences of SST-2, 50 test sentences")
NLI = MODEL.format("10,000 MNLI pairs, 30 HANS pairs")
TABLE_3 = {
    "most negative": (75.6, 77.4, 80.0, 82.4),
    "median": (84.2, 86.7, 88.9, 89.1),
    "most positive": (65.2, 68.8, 71.4, 72.0),
}
TABLE_4 = {
    "most negative": (33.0, 33.5, 37.5, 40.9),
    "median": (79.3, 78.0, 80.5, 84.0),
    "most positive": (46.0, 48.3, 49.9, 54.9),
}


def _seconds(run: Run, *, tests: int, saliency: str, scope: str) -> float:
    """A question whole, and with each of three tokens taken out."""
    entries = [Entry(method=method, scope=scope) for method in run.controlled]
    return asking_seconds(run, entries, (1 + len(KINDS)) * len(drawn_tests(run, tests)))


@experiment(
    title="Saliency against influence",
    paper="Han 2020 §4 RQ2, Figs 2–3, Tables 3–4",
    cost="four questions a test example and method",
    methods=("influence",),
    small={"tests": 4},
    estimate=_seconds,
)
def saliency_consistency(
    run: Run,
    *,
    tests: Annotated[int, Range(low=1, high=1_000_000, help="Test examples at most, drawn.")] = 50,
    saliency: Annotated[
        str, Name(choices=("gradient_x_input", "integrated_gradients", "erasure"), help="The saliency of the tokens.")
    ] = "gradient_x_input",
    scope: Annotated[
        str, Name(choices=("", "head", "last:2"), help="Parameters of gradient methods; none: each method's own.")
    ] = "",
) -> Findings:
    """The paper's two experiments with the token of most positive, of median and of most negative saliency.

    Examples with the token: the mean z-score of influence (standard deviations) over those of the most
    influential 10, 20, 50 and 100 % of the training examples that hold the token and have the predicted label; `any`
    is the same whatever token they hold. Saliency agrees with influence where the most positive token lies highest.

    Overlap without it: the share, 0 to 1, of the top 0.1, 0.2, 0.5 and 1 % of the training examples that stays
    when the token is taken out of the text and its then predicted label is explained. They agree where the most
    positive token's removal leaves least. `prediction_changed`: the share of the test examples where it does.

    Means over the test examples for which there is a value (`n`), with standard errors, beside a random control. A
    token is one of the model's; [CLS] and the like are none. An index's scores are read as they are.
    """
    if saliency not in (known := [m.name for m in list_methods("tokens")]):
        get_method(saliency)
        raise UserError(f"{saliency} does not score the tokens of a text. Known: {', '.join(known)}.")
    methods, ids = list(run.controlled), drawn_tests(run, tests)
    holding = _holding(run)
    means, overlaps, changed, short = [], [], [], 0
    for done, test in enumerate(ids, start=1):
        asked = {"methods": methods, "saliency": saliency, "scope": scope, "seed": run.seed}

        def make(test: int = test) -> dict[str, np.ndarray]:
            return _both(run, test, methods, saliency, scope, holding)

        found = run.kept({"experiment": "saliency_consistency", "test": test, **asked}, make)
        run.progress(done, len(ids), "test examples explained")
        if not len(found["changed"]):
            short += 1
            continue
        means.append(found["means"])
        overlaps.append(found["overlaps"])
        changed.append(found["changed"])
    if not means:
        raise UserError(f"None of the {len(ids)} test examples has {len(KINDS)} tokens to compare.")
    rows = _rows(methods, np.stack(means), np.stack(overlaps), np.stack(changed))
    note = f"Left out: {short} of {len(ids)} test examples, which have fewer than {len(KINDS)} tokens."
    shown = {
        f"{row['experiment']}, {row['token']}, {row['method']}, top {row['top']:g}": row["value"]
        for row in rows
        if row["top"] in (OF_TOP[0], OF_ALL[-1]) and row["value"] is not None
    }
    return Findings(
        summary={"tests": len(means), **shown}, table=rows, paper=_paper(run), notes=(note,) if short else ()
    )


def _holding(run: Run) -> list[frozenset[int]]:
    """The model's token ids in each training example."""
    return [frozenset(ids) for ids in run.workspace.encoded_train()[0]["input_ids"]]


def salient(tokens: Sequence[Token], scores: np.ndarray) -> list[Token]:
    """The tokens of a text with the most positive, the median and the most negative score, in the order of KINDS.

    Of an even number the lower of the two in the middle is the median; [] where the text has fewer than three.
    """
    own = [token for token in tokens if not token.special and token.end > token.start]
    order = sorted(own, key=lambda token: float(scores[token.index]))
    return [order[-1], order[(len(order) - 1) // 2], order[0]] if len(order) >= len(KINDS) else []


def without(query: Query, token: Token) -> Query | None:
    """The question about the text without the characters of a token, for the label predicted then.

    None where a text would be blank.
    """
    texts = list(query.example.texts)
    text = texts[token.segment]
    texts[token.segment] = re.sub(r"\s+", " ", f"{text[: token.start]}{text[token.end :]}").strip()
    if not texts[token.segment]:
        return None
    return make_query(query.workspace, text=texts[0], text_pair=texts[1] if len(texts) > 1 else None)


def _both(
    run: Run, test: int, methods: Sequence[str], saliency: str, scope: str, holding: Sequence[frozenset[int]]
) -> dict[str, np.ndarray]:
    """Both experiments on one test example: means (methods, 1 + kinds, tops), overlaps (methods, kinds, tops), changed.

    Empty where it has too few tokens; NaN where no training example fits or the text would be blank.
    """
    query = make_query(run.workspace, test=test)
    found = run_method(query, saliency)
    assert isinstance(found, TokenScores)
    tokens = salient(query.example.tokens, found.scores)
    if not tokens:
        return {"changed": np.zeros(0)}
    same = run.workspace.label_ids(run.workspace.train) == query.label
    ids = [int(query.example.inputs["input_ids"][0, token.index]) for token in tokens]
    fits = np.stack([same, *[same & np.array([token in held for held in holding]) for token in ids]])
    others = [without(query, token) for token in tokens]
    means, overlaps = [], []
    for method in methods:
        before = run.answer(query, method, scope=scope)
        means.append([[_mean_of_top(before, fit, share) for share in OF_TOP] for fit in fits])
        after = [None if other is None else run.answer(other, method, scope=scope) for other in others]
        overlaps.append([[_shared_top(before, other, share) for share in OF_ALL] for other in after])
    changed = [np.nan if other is None else float(other.label != query.label) for other in others]
    return {"means": np.array(means), "overlaps": np.array(overlaps), "changed": np.array(changed)}


def _top(table: ScoreTable, share: float) -> np.ndarray:
    """The positions of the top share of the training examples, one at least."""
    return table.order[: max(1, round(share * len(table.order)))]


def _mean_of_top(table: ScoreTable, fits: np.ndarray, share: float) -> float:
    """The mean z-score of the fitting examples among the top share; NaN where there is none."""
    top = _top(table, share)
    fitting = table.z[top[fits[top]]]
    return float(fitting.mean()) if len(fitting) else np.nan


def _shared_top(one: ScoreTable, other: ScoreTable | None, share: float) -> float:
    if other is None:
        return np.nan
    top = _top(one, share)
    return len(np.intersect1d(top, _top(other, share))) / len(top)


def _rows(methods: Sequence[str], means: np.ndarray, overlaps: np.ndarray, changed: np.ndarray) -> list[Row]:
    """Rows from arrays (tests, methods, tokens, tops) and changed (tests, kinds)."""
    made: list[Row] = []
    parts = ((FIRST, (ANY, *KINDS), OF_TOP, means), (SECOND, KINDS, OF_ALL, overlaps))
    for experiment_name, tokens, tops, values in parts:
        for m, method in enumerate(methods):
            for k, token in enumerate(tokens):
                for t, top in enumerate(tops):
                    mean, error = mean_error(values[:, m, k, t])
                    row = {"experiment": experiment_name, "method": method, "token": token, "top": top, "value": mean}
                    shift = mean_error(changed[:, k])[0] if experiment_name == SECOND else None
                    counted = int(np.isfinite(values[:, m, k, t]).sum())
                    made.append({**row, "standard_error": error, "prediction_changed": shift, "n": counted})
    return made


def _paper(run: Run) -> list[Row]:
    pair = run.workspace.is_pair
    table, place, differs = (TABLE_4, "Table 4", NLI) if pair else (TABLE_3, "Table 3", SENTIMENT)
    told = "Fig. 3: lower than median and negative" if pair else "Fig. 2: generally the highest"
    first: Row = {"experiment": FIRST, "token": "most positive", "top": None, "value": None}
    rows = [{**first, "place": told, "differs": f"{differs}. The figure prints no numbers that can be read off"}]
    for token, values in table.items():
        for top, value in zip(OF_ALL, values, strict=True):
            row = {"experiment": SECOND, "token": token, "top": top, "value": value / 100}
            rows.append({**row, "place": place, "differs": differs})
    return rows
