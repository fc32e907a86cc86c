"""The index of masked texts: features, logits and states against a plain model on ids masked by hand."""

import shutil
from typing import Any

import numpy as np
import pytest
import torch

from attribution import masked_texts, sides
from attribution.cost import build_seconds
from attribution.index import build, load
from attribution.masked_texts import KeptStates, masked_part, open_masked
from attribution.span_search import search_parts
from attribution.spans import Finder
from attribution.workspace import Workspace
from tests.oracles import assert_close, encoded, own_model, reopened
from tests.test_span_methods import MASK, ask, masked, windows

FINDER = Finder(name="ngrams", size=2)


def kept_of(workspace: Workspace) -> dict[str, np.ndarray]:
    """The arrays that the index keeps, its shards one after the other."""
    kept = load(workspace, search_parts(workspace, FINDER)[1])
    names = {name.rpartition("-")[2] for name in kept}
    return {own: np.concatenate([kept[n] for n in sorted(kept) if n.endswith(f"-{own}")]) for own in names}


def test_kept_are_the_features_of_masked_texts(workspace: Workspace) -> None:
    """Every window of every example, by a plain model on ids masked by hand; each span knows its example and place."""
    kept = kept_of(workspace)
    model, seen = own_model(workspace), []
    model.get_submodule("classifier").register_forward_pre_hook(lambda _, args: seen.append(args[0][0]))
    rows = {key: at for at, key in enumerate(zip(kept["owner"].tolist(), kept["place"].tolist(), strict=True))}
    expected = {}
    for at, (_, row) in enumerate(workspace.train.iterrows()):
        inputs = encoded(workspace, row)
        for place, tokens in enumerate(windows(workspace, inputs)):
            with torch.no_grad():
                logits = model(**masked(inputs, tokens)).logits[0]
            expected[at, place] = (seen.pop().numpy(), logits.numpy())
    assert rows.keys() == expected.keys() and kept["looked"].sum() == 40
    for key, (features, logits) in expected.items():
        np.testing.assert_allclose(kept["features"][rows[key]], features, rtol=2e-3, atol=1e-3)
        np.testing.assert_allclose(kept["logits"][rows[key]], logits, rtol=1e-4, atol=1e-5)


def test_an_interrupted_build_goes_on(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards that were finished are not made again, and the whole is what one build makes."""
    monkeypatch.setattr(masked_texts, "SHARD", 8)
    made: list[int] = []
    passes = fresh.classifier.passes

    def counted(encoded: Any, **options: Any) -> Any:
        made.append(len(encoded["input_ids"]))
        if len(made) == 3:
            raise KeyboardInterrupt
        return passes(encoded, **options)

    build(fresh, search_parts(fresh, FINDER)[:1])
    monkeypatch.setattr(fresh.classifier, "passes", counted)
    with pytest.raises(KeyboardInterrupt):
        build(fresh, search_parts(fresh, FINDER))
    build(fresh, search_parts(fresh, FINDER))
    kept = kept_of(fresh)
    assert (
        len(made) == 6 and sum(made) - made[2] == len(kept["owner"]) and sorted(set(kept["owner"])) == list(range(40))
    )


def test_the_estimate_of_the_build_counts_what_is_read(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that the features took, for as many tokens as all masked texts have, or as are read at most."""
    features, part = search_parts(fresh, FINDER)
    assert build_seconds(fresh, [part]) is None
    build(fresh, [features])
    inputs = [encoded(fresh, row) for _, row in fresh.train.iterrows()]
    lengths = [of["input_ids"].shape[1] for of in inputs]
    read = sum(length * len(windows(fresh, of)) for length, of in zip(lengths, inputs, strict=True))
    took = build_seconds(fresh, [features])
    assert took and build_seconds(fresh, [part]) == pytest.approx(took * read / sum(lengths), rel=0.2)
    monkeypatch.setattr(masked_texts, "MOST_TOKENS", read // 10)
    assert build_seconds(fresh, [part]) == pytest.approx(took * read / 10 / sum(lengths), rel=0.2)


def states_of(workspace: Workspace) -> KeptStates:
    """What is kept of the states; the tiny models have three blocks, so they enter the second."""
    states = open_masked(workspace, masked_part(workspace, FINDER)).states
    assert states.block == 1
    return states


def test_kept_states_enter_the_last_two_blocks(workspace: Workspace) -> None:
    """They are those of a plain model on ids masked by hand, to half precision."""
    model, kept, seen = own_model(workspace), states_of(workspace), 0
    for at, (_, row) in enumerate(workspace.train.iterrows()):
        inputs = encoded(workspace, row)
        for place, tokens in enumerate(windows(workspace, inputs)):
            with torch.no_grad():
                expected = model(**masked(inputs, tokens), output_hidden_states=True).hidden_states[1][0]
            np.testing.assert_allclose(kept.by_span[at, place], expected, rtol=1e-3, atol=1e-3)
            seen += 1
    assert seen == len(kept.by_span) > 100


def test_states_are_kept_up_to_a_size(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the first texts read; the search scores the others from their first block on, to the same result."""
    everything = ask(fresh, "if_plus", candidates=60)
    bare = reopened(fresh)
    bare.storage.joinpath("index").rename(bare.storage / "other")
    width = fresh.classifier.model.config.hidden_size
    monkeypatch.setattr(masked_texts, "MOST_BYTES", 2 * width * 400)
    monkeypatch.setattr(masked_texts, "SHARD", 8)
    some = ask(bare, "if_plus", candidates=60)
    kept = states_of(bare).by_span
    tokens = sum(len(states) for states in kept.values())
    assert 380 < tokens <= 400 and len(kept) < len(kept_of(bare)["owner"])
    assert_close(some.scores, everything.scores, relative=5e-3)


@pytest.mark.parametrize(
    ("space", "method", "scope", "used"),
    [
        ("workspace", "if_plus", "last:1", {1}),
        ("workspace", "if_plus_plus", "last:2", {1}),
        ("workspace", "if_plus", "last:3", {None}),
        ("workspace", "if_plus_plus", "all", {None}),
        ("workspace", "tracin_plus", "last:2", {1}),
        ("moving", "if_plus", "last:2", {1}),
        ("moving", "tracin_plus", "last:2", {1, None}),
    ],
)
def test_states_are_read_where_nothing_moves_below_them(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    space: str,
    method: str,
    scope: str,
    used: set[int | None],
) -> None:
    """Not below a scope's first block, nor by a copy whose step moved what lies below; scores are the full scan's."""
    shutil.copytree(request.getfixturevalue(space).directory, tmp_path / "own", ignore=shutil.ignore_patterns("index"))
    own = reopened(request.getfixturevalue(space), tmp_path / "own")
    options: dict[str, Any] = {"scope": scope} | ({"solver": "identity"} if scope == "all" else {})
    full = ask(own, method, scorer="sweep", **options)
    seen: set[int | None] = set()
    run = sides.sweep

    def noted(*args: Any, states: Any = None, **rest: Any) -> Any:
        masked_ones = any(MASK in ids for ids in args[1]["input_ids"])
        seen.update([states and states.block] if masked_ones else [])
        return run(*args, states=states, **rest)

    monkeypatch.setattr(sides, "sweep", noted)
    found = ask(own, method, candidates=30, **options)
    assert seen == used
    rows = found.scored.exact_rows
    assert rows is not None
    assert_close(found.scores[rows], full.scores[rows], relative=5e-3)
