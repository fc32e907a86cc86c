"""Whether a method's ranking depends on what the model has learnt at all (Pezeshkpour et al. 2021 §4, Table 1)."""

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from typing import Annotated

import numpy as np
import torch

from attribution.experiments.measures import Entry, asking_seconds, drawn_tests, mean_error
from attribution.experiments.registry import CONTROL, Findings, Row, Run, experiment
from attribution.loading import model_digest, quiet
from attribution.parameters import Choice, Name, Range
from attribution.query import make_query
from attribution.rank_correlation import spearman
from attribution.storage import work_folder
from attribution.workspace import Workspace, open_workspace, write_settings, write_tables

DIFFERS = (
    "BERT-base fine-tuned on {0}; one random model, and the paper does not say for which label its answers are, nor "
    "how much of the model is drawn anew"
)
SST = DIFFERS.format("6,920 sentences of SST-2")
MNLI = DIFFERS.format("10,000 pairs of MNLI")
TABLE_1 = {
    "nn_euc": (0.056, 0.023),
    "nn_cos": (0.045, 0.018),
    "nn_dot": (0.005, -0.002),
    "influence_head": (-0.296, 0.018),
    "representer": (-0.217, 0.053),
    "relatif": (-0.021, 0.013),
    "gd": (-0.290, 0.017),
    "gc": (-0.021, 0.012),
}


def _seconds(run: Run, *, tests: int, models: int, scope: str, label: str, reset: str) -> float:
    """Twice the questions of every model, and reading the training set with it."""
    entries = [Entry(method=method, scope=scope) for method in run.controlled]
    classifier, train = run.workspace.classifier, len(run.workspace.train)
    some = np.linspace(0, train - 1, min(train, 256)).astype(int)
    encoded, _ = run.workspace.encoded_train(some)
    classifier.collect(encoded)
    began = time.perf_counter()
    classifier.collect(encoded)
    reading = (time.perf_counter() - began) * train / len(some)
    return models * reading + asking_seconds(run, entries, models * 2 * len(drawn_tests(run, tests)))


@experiment(
    title="Rankings under a random model",
    paper="Pezeshkpour 2021 §4, Table 1; Hanawa 2021",
    cost="a random model reads the training set, then one question a test example, method and model",
    methods=(*TABLE_1, CONTROL),
    small={"tests": 3, "models": 1},
    estimate=_seconds,
)
def randomized_model(
    run: Run,
    *,
    tests: Annotated[int, Range(low=1, high=1_000_000, help="Test examples at most, drawn.")] = 50,
    models: Annotated[int, Range(low=1, high=1000, help="Random models, of which the mean is taken.")] = 2,
    reset: Annotated[
        str, Choice(choices=("all", "trained"), help="What is drawn anew: all, or what fine-tuning has trained.")
    ] = "all",
    label: Annotated[
        str, Choice(choices=("same", "own"), help="Explained is the trained model's label, or each model's own.")
    ] = "same",
    scope: Annotated[
        str, Name(choices=("head", "last:2"), help="Parameters of the methods that take a scope; the paper's: head.")
    ] = "head",
) -> Findings:
    """Spearman's correlation, −1 to 1, of a method's scores under the trained and under a randomly initialised model.

    Means over test examples and models; the standard error is over the test examples, `between_models` the standard
    deviation of the models' means. A method that looks at what was learnt should be near 0. With label=same the signs
    of gradient methods go by the same label in both models, which alone correlates their scores; with label=own the
    random model's label differs from the trained one's for about half of the examples. Methods that do not read the
    model (bm25, sbert_cos) have 1. `random` draws anew under each model.
    """
    methods, ids = list(run.controlled), drawn_tests(run, tests)
    found = np.full((models, len(ids), len(methods)), np.nan)
    for model in range(models):
        with ExitStack() as stack:

            @cache
            def drawn(model: int = model, stack: ExitStack = stack) -> Run:
                number = run.seed + 1 + model
                other = stack.enter_context(reinitialised(run.workspace, reset=reset, seed=number))
                return replace(run, workspace=other, seed=number)

            for at, test in enumerate(ids):
                asked = {"methods": methods, "reset": reset, "label": label, "scope": scope, "seed": run.seed}
                question = {"experiment": "randomized_model", "model": model, "test": test, **asked}

                def make(test: int = test) -> dict[str, np.ndarray]:
                    return {"spearman": _correlations(run, drawn(), test, methods, label=label, scope=scope)}

                found[model, at] = run.kept(question, make)["spearman"]
                run.progress(model * len(ids) + at + 1, models * len(ids), "test examples under random models")
    rows = [_row(method, found[:, :, m]) for m, method in enumerate(methods)]
    told = {row["method"]: row["spearman"] for row in rows if row["spearman"] is not None}
    paper = [
        {"method": method, "spearman": both[run.workspace.is_pair], "place": "Table 1", "differs": differs}
        for differs in [MNLI if run.workspace.is_pair else SST]
        for method, both in TABLE_1.items()
    ]
    return Findings(summary={"tests": len(ids), "models": models, **told}, table=rows, paper=paper)


@contextmanager
def reinitialised(workspace: Workspace, *, reset: str, seed: int) -> Iterator[Workspace]:
    """A temporary workspace with the same data and architecture and with parameters drawn anew from a seed.

    `reset`: all of them, or only those that fine-tuning has trained. Needs the room of the model and of its index.
    """
    with work_folder(workspace.storage, ".random-") as folder:
        own = workspace.classifier
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(seed)
            model = type(own.model)(copy.deepcopy(own.model.config))
            if reset == "trained":
                kept = {n: p.cpu() for n, p in own.model.named_parameters() if n not in workspace.trained}
                model.load_state_dict(kept, strict=False)
            model.save_pretrained(folder / "model")
            own.tokenizer.save_pretrained(folder / "model")
        write_tables((workspace.train, workspace.test), (folder / "train.parquet", folder / "test.parquet"))
        settings = replace(workspace.settings, model="model", model_digest=model_digest(folder / "model"))
        write_settings(folder, replace(settings, source="files", has_head=True))
        yield open_workspace(folder, device=workspace.device)


def _correlations(run: Run, drawn: Run, test: int, methods: Sequence[str], *, label: str, scope: str) -> np.ndarray:
    """Each method's correlation for one test example: (methods,)."""
    query = make_query(run.workspace, test=test)
    other = make_query(drawn.workspace, test=test, label=query.label_name if label == "same" else "predicted")
    made = [[r.answer(q, m, scope=scope).scores for r, q in ((run, query), (drawn, other))] for m in methods]
    return np.array([spearman(np.stack(pair))[0, 1] for pair in made])


def _row(method: str, found: np.ndarray) -> Row:
    """A row from correlations (models, tests)."""
    mean, error = mean_error(found.mean(axis=0))
    spread = float(found.mean(axis=1).std(ddof=1)) if len(found) > 1 else None
    counted = int(np.isfinite(found.mean(axis=0)).sum())
    return {"method": method, "spearman": mean, "standard_error": error, "between_models": spread, "n": counted}
