"""Speed and agreement on the reviews demo, as JSON: `python -m tests.benchmarks [--tests N] [--quick]`.

Ratios are between times of one run. Medians unless said; milliseconds where a name ends in ms.
"""

import argparse
import json
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attribution import open_workspace
from attribution.cli import Reporter
from attribution.demo import demo_directory
from attribution.factor_index import (
    SHARD,
    FactorIndex,
    Shard,
    choose_layout,
    factor_parts,
    layout_for,
    make_shard,
    open_factors,
)
from attribution.factors import computing_in, fast_dtype
from attribution.index import build, silent
from attribution.model import length_sorted_batches
from attribution.query import Query, make_query
from attribution.refinement import refine
from attribution.registry import list_methods, run_method, standard_parts
from attribution.results import ScoreTable
from attribution.scoring import Choices, plan, side_of
from attribution.sides import IndexSide
from attribution.sketching import sketch
from attribution.workspace import Workspace
from tests.benchmarks import agreement, browser, retraining
from tests.benchmarks.peers import PEERS

SIZES = (7_030, 14_060, 28_120, 100_000)


def median_ms(calls: Sequence[Callable[[], object]]) -> float:
    """The median time of some calls, after one that warms up."""
    calls[0]()
    times = []
    for call in calls:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return round(1000 * statistics.median(times), 1)


def seconds(call: Callable[[], object]) -> float:
    """The time of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def one_pass(workspace: Workspace) -> None:
    """A forward and a backward pass over the training set in the fast precision, all weights, no index."""
    classifier = workspace.classifier
    encoded = classifier.tokenize(*workspace.texts("train"))
    labels = torch.from_numpy(workspace.label_ids(workspace.train)).to(classifier.device)
    weights = {name: p.detach().clone().requires_grad_() for name, p in classifier.model.named_parameters()}
    for rows in length_sorted_batches([len(ids) for ids in encoded["input_ids"]]):
        with computing_in(classifier.device, fast_dtype(classifier.device)):
            logits, _ = classifier.run(classifier.pad(encoded, rows.tolist()), weights=weights)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels[rows])
        torch.autograd.grad(loss, list(weights.values()), allow_unused=True)


def index_figures(workspace: Workspace) -> dict[str, Any]:
    """Build the gradients over last:2 in an empty folder, and the plain pass beside it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(workspace.directory, copy, ignore=shutil.ignore_patterns("index", "results"))
        fresh = open_workspace(copy)
        parts = standard_parts(fresh)
        assert fresh.train is not None
        times = {part.kind: round(seconds(lambda part=part: build(fresh, [part], Reporter())), 1) for part in parts}
        size = sum(path.stat().st_size for part in parts for path in part.folder(fresh).iterdir())
    plain = seconds(lambda: one_pass(workspace))
    return {
        "seconds": times["factors"],
        "one_pass_seconds": round(plain, 1),
        "ratio": round(times["factors"] / plain, 2),
        "seconds_by_part": times,
        "bytes_per_example": size // len(workspace.train),
        "peak_memory_mb": peak_memory(),
    }


def peak_memory() -> int:
    """The most memory that this process has held, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1 if sys.platform == "darwin" else 1024)


def low_rank(workspace: Workspace, layer: str) -> torch.Tensor:
    """A matrix of a layer's shape and of a gradient's rank."""
    out, entering = workspace.model.get_submodule(layer).weight.shape
    draw = torch.Generator().manual_seed(0)
    return torch.randn(out, 8, generator=draw) @ torch.randn(8, entering, generator=draw)


def query_figures(workspace: Workspace, tests: int) -> dict[str, Any]:
    """One question each: a click, the prediction, with and without curvature; and what a scan reads a second."""
    queries = [make_query(workspace, test=int(test), token=3) for test in workspace.test.index[:tests]]

    def ask(method: str, **settings: Any) -> float:
        return median_ms([lambda q=q: run_method(q, method, settings) for q in queries])

    plain = {"solver": "identity", "normalise": "none"}
    (part,) = factor_parts(workspace, "last:2")
    index = open_factors(workspace, part)
    vectors = {name: sketch(low_rank(workspace, name)) for name in index.scope.layers}
    read = sum(side.nbytes for shard in index.shards for pair in shard.pairs.values() for side in pair)
    scan = median_ms([lambda: index.dot(vectors)] * 5) / 1000
    block = torch.zeros(2**27, dtype=torch.int16)
    copy = median_ms([block.clone] * 5) / 1000
    tables = [run_method(q, "saliency_influence", {}) for q in queries[:5]]
    words = [lambda t=t: t.words_of(t.frame(10)["train_id"].tolist()) for t in tables if isinstance(t, ScoreTable)]
    return {
        "n_train": len(workspace.train),
        "click_ms": ask("saliency_influence", **plain),
        "loss_ms": ask("influence", **plain),
        "click_ekfac_ms": ask("saliency_influence"),
        "click_head_ms": ask("saliency_influence", scope="head"),
        "words_of_10_rows_ms": median_ms(words),
        "scan_gb_per_s": round(read / scan / 1e9, 1),
        "copy_gb_per_s": round(2 * block.nbytes / copy / 1e9, 1),
    }


def growth(workspace: Workspace) -> list[dict[str, Any]]:
    """A click over repeated rows, with the pairs that their number leaves room for, and what making them takes."""
    (part,) = factor_parts(workspace, "last:2")
    index, rows = open_factors(workspace, part), np.arange(min(1024, len(workspace.train)))
    made = seconds(lambda: make_shard(workspace, part, rows, choose_layout(workspace, part))) / len(rows)
    queries = [make_query(workspace, test=int(test), token=3) for test in workspace.test.index[:10]]
    planned = plan(workspace, Choices(scope="last:2"))

    def click(query: Query, repeated: FactorIndex) -> None:
        asked = side_of(query, query.saliency("gradient_x_input"), planned, workspace.states()[-1], silent, [])
        assert isinstance(asked, IndexSide)
        order = np.argsort(-replace(asked, scanned=repeated).train(silent), kind="stable")
        asked.exactly(order[:20] % len(workspace.train))

    found = []
    for size in SIZES:
        repeated = replace(index, shards=repeated_shards(index, size, layout_for(workspace, part, size).ranks.tolist()))
        taken = median_ms([lambda q=q, r=repeated: click(q, r) for q in queries])
        gigabytes = (
            sum(side.nbytes for shard in repeated.shards for pair in shard.pairs.values() for side in pair) / 1e9
        )
        row = {"n_train": size, "query_ms": taken, "index_seconds": round(made * size, 1)}
        found.append({**row, "gigabytes": round(gigabytes, 2)})
    return found


def repeated_shards(index: FactorIndex, size: int, ranks: list[int]) -> list[Shard]:
    """Copies of an index's whole shards, cut to so many pairs a layer, until there are `size` rows."""
    shards, left, whole = [], size, [shard for shard in index.shards if len(shard.energy) == SHARD] or index.shards
    while left > 0:
        shard = whole[len(shards) % len(whole)]
        count = min(left, len(shard.energy))
        cut = zip(shard.pairs.items(), ranks, strict=True)
        pairs = {name: (a[:count, :rank].clone(), b[:count, :rank].clone()) for (name, (a, b)), rank in cut}
        shards.append(Shard(pairs=pairs, energy=shard.energy[:count], hidden=None, first=shard.first))
        left -= count
    return shards


def slope(grown: list[dict[str, Any]]) -> float:
    """Milliseconds a click takes longer for 1,000 more training examples, by least squares."""
    line = np.polyfit([row["n_train"] for row in grown], [row["query_ms"] for row in grown], 1)
    return round(1000 * float(line[0]), 2)


def method_times(workspace: Workspace, tests: int) -> dict[str, float]:
    """Every method whose index is there, on the same test examples; the clicked token is the third."""
    from attribution.registry import required_parts

    queries = [make_query(workspace, test=int(test), token=3) for test in workspace.test.index[:tests]]
    ready = [m for m in list_methods() if all(p.is_built(workspace) for p in required_parts(workspace, m.name))]
    return {m.name: median_ms([lambda q=q, m=m: run_method(q, m.name) for q in queries]) for m in ready}


def refine_seconds(workspace: Workspace) -> float:
    """The exact answer to one click over the whole training set, norms included, from nothing."""
    shutil.rmtree(workspace.storage / "results", ignore_errors=True)
    table = run_method(make_query(workspace, test=int(workspace.test.index[7]), token=3), "saliency_influence")
    assert isinstance(table, ScoreTable)
    return round(seconds(lambda: refine(table, silent)), 1)


def peers(workspace: Workspace) -> dict[str, Any]:
    """Every peer that is installed; one that fails says so and leaves the others their turn."""
    found: dict[str, Any] = {}
    for name, peer in PEERS.items():
        try:
            found[name] = peer(workspace)
        except ImportError as error:
            found[name] = {"missing": str(error)}
        except Exception as error:
            found[name] = {"failed": f"{type(error).__name__}: {error}"}
        print(f"{name}: {json.dumps(found[name])}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Build what is missing, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--tests", type=int, default=50, help="test examples for the agreement")
    parser.add_argument("--quick", action="store_true", help="without growth and peers")
    given = parser.parse_args()
    workspace = open_workspace(demo_directory())
    build(workspace, standard_parts(workspace), Reporter())
    measured: dict[str, Any] = {
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
    }
    blocks: dict[str, Callable[[], Any]] = {
        "query": lambda: query_figures(workspace, 10),
        "methods_ms": lambda: method_times(workspace, 5),
        "agreement": lambda: agreement.measure(workspace, given.tests) | {"refine_seconds": refine_seconds(workspace)},
        "index": lambda: index_figures(workspace),
        "browser": lambda: browser.measure(workspace.directory),
    }
    if not given.quick:
        blocks |= {
            "retraining_seconds": lambda: retraining.measure(workspace),
            "growth": lambda: growth(workspace),
            "peers": lambda: peers(workspace),
        }
    for name, block in blocks.items():
        began = time.perf_counter()
        measured[name] = block()
        # A block at a time: a benchmark that is stopped has still said something.
        print(f"{name}, {time.perf_counter() - began:.0f} s: {json.dumps(measured[name])}", file=sys.stderr, flush=True)
    if "growth" in measured:
        measured["growth_ms_per_1000"] = slope(measured["growth"])
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
