"""Times on the reviews demo, medians over test examples, in milliseconds unless said: `python -m tests.benchmarks`."""

import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from attribution import open_workspace
from attribution.cli import Reporter
from attribution.demo import demo_directory
from attribution.index import build, parts
from attribution.query import make_query
from attribution.registry import list_methods, run_method
from attribution.results import ScoreTable
from attribution.workspace import Workspace

TESTS = 10


def median_ms(calls: Sequence[Callable[[], object]]) -> float:
    """The median time of some calls, after one that warms up."""
    calls[0]()
    times = []
    for call in calls:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return round(1000 * statistics.median(times), 1)


def method_times(workspace: Workspace) -> dict[str, float]:
    """Every method on the same test examples; the clicked token is the third."""
    queries = [make_query(workspace, test=int(test), token=3) for test in workspace.test.index[:TESTS]]
    return {
        method.name: median_ms([lambda q=q, m=method: run_method(q, m.name) for q in queries])
        for method in list_methods()
    }


def word_times(workspace: Workspace, name: str) -> float:
    """The words of the top 10 rows of a method."""
    tables = [run_method(make_query(workspace, test=int(test), token=3), name) for test in workspace.test.index[:TESTS]]
    calls = [lambda t=t: t.words_of(t.frame(10)["train_id"].tolist()) for t in tables if isinstance(t, ScoreTable)]
    return median_ms(calls)


def main() -> None:
    """Build what is missing, measure, print."""
    workspace = open_workspace(demo_directory())
    for kind in ("features", "word_gradients"):
        build(workspace, parts(workspace, kind, "all"), Reporter())
    measured = {
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "n_train": len(workspace.train),
        "methods": method_times(workspace),
        "words_of_10_rows": {
            name: word_times(workspace, name) for name in ("saliency_influence", "relatif", "tracin_we")
        },
    }
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
