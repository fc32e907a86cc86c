"""The first stage of a search for spans: features of masked texts, and scores foretold from whole examples."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from attribution import attribute, span_search
from attribution.cost import build_seconds
from attribution.index import build, load, silent
from attribution.span_search import Foretold, foretell, search_parts
from attribution.spans import Finder
from attribution.workspace import Workspace
from tests.oracles import encoded, own_model, with_training_data
from tests.test_span_methods import every_span, masked, windows

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


def scores_of(workspace: Workspace, **asked: Any) -> tuple[np.ndarray, np.ndarray]:
    """The scores foretold for all windows from those of whole examples, and the exact ones."""
    given: dict[str, Any] = {"test": 3, "finder": "ngrams", "size": 2, **asked, "candidates": 10_000}
    exact = attribute(workspace, "if_plus", **given)
    of_whole = attribute(workspace, "influence", test=3, **{k: asked[k] for k in ("scope", "solver")})
    found = foretell(workspace, FINDER, of_whole.scores, silent)
    spans = {at: sorted(every_span(exact, at).items()) for at in range(40)}
    true = [spans[at][place][1] for at, place in zip(found.owner.tolist(), found.place.tolist(), strict=True)]
    return found.scores, np.array(true)


@pytest.mark.parametrize("solver", ["identity", "exact"])
def test_scores_over_the_head_are_foretold_as_they_are(workspace: Workspace, solver: str) -> None:
    """They are linear in the head's gradient, which is what the fit goes by."""
    foretold, true = scores_of(workspace, scope="head", solver=solver)
    assert np.corrcoef(foretold, true)[0, 1] > 0.999
    np.testing.assert_allclose(foretold, true, atol=0.05 * np.abs(true).max())


def test_scores_of_deeper_scopes_are_foretold_by_rank(workspace: Workspace) -> None:
    """Most of the twenty strongest spans are among the forty foretold to be strongest."""
    foretold, true = scores_of(workspace, scope="last:2", solver="identity")
    assert np.asarray(spearmanr(foretold, true))[0] > 0.6
    strongest, looked = (set(np.argsort(-np.abs(s))[:n].tolist()) for s, n in ((true, 20), (foretold, 40)))
    assert len(strongest & looked) >= 12


def test_both_ends_are_searched() -> None:
    """Half the spans lead the ranking, half end it; no more are asked for than there are."""
    draw = np.random.default_rng(0)
    owner, scores = np.repeat(np.arange(7), 3), draw.normal(size=21)
    found = Foretold(owner=owner, place=np.tile(np.arange(3), 7), scores=scores, examples=7)
    order = np.argsort(-scores)
    for count in (1, 2, 9, 20, 21, 400):
        wanted = {*order[: (count + 1) // 2].tolist(), *order[max(0, 21 - count // 2) :].tolist()}
        chosen = found.ends(count)
        assert {at * 3 + place for at, places in chosen.items() for place in places} == wanted


def test_a_large_training_set_is_looked_at_in_part(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more masked texts than are to be read some examples' are, and the answer says how many."""
    monkeypatch.setattr(span_search, "MOST_TOKENS", 500)
    monkeypatch.setattr(span_search, "SHARD", 8)
    found = attribute(fresh, "if_plus", test=3, scope="head", finder="ngrams", size=2, candidates=10_000)
    looked = int(kept_of(fresh)["looked"].sum())
    assert 0 < looked < 40 and looked % 8 == 0 and np.count_nonzero(found.scores) == looked
    assert f"beyond the {looked} of 40 examples" in found.scored.notes[-1] and not found.scored.exact


def test_an_interrupted_build_goes_on(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards that were finished are not made again, and the whole is what one build makes."""
    monkeypatch.setattr(span_search, "SHARD", 8)
    made: list[int] = []
    collect = fresh.classifier.collect

    def counted(encoded: Any, **options: Any) -> Any:
        made.append(len(encoded["input_ids"]))
        if len(made) == 3:
            raise KeyboardInterrupt
        return collect(encoded, **options)

    build(fresh, search_parts(fresh, FINDER)[:1])
    monkeypatch.setattr(fresh.classifier, "collect", counted)
    with pytest.raises(KeyboardInterrupt):
        build(fresh, search_parts(fresh, FINDER))
    build(fresh, search_parts(fresh, FINDER))
    kept = kept_of(fresh)
    assert (
        len(made) == 6 and sum(made) - made[2] == len(kept["owner"]) and sorted(set(kept["owner"])) == list(range(40))
    )


def test_texts_without_spans_have_no_score(workspace: Workspace, tmp_path: Any) -> None:
    """Where the data give no span at all there is nothing to search."""
    space = with_training_data(workspace, pd.DataFrame(workspace.train.assign(span="")), tmp_path / "none")
    found = attribute(space, "if_plus", test=3, scope="head", finder="given")
    assert not found.scores.any() and found.scored.exact


def test_the_estimate_of_the_build_counts_what_is_read(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that the features took, for as many tokens as all masked texts have, or as are read at most."""
    features, masked_texts = search_parts(fresh, FINDER)
    assert build_seconds(fresh, [masked_texts]) is None
    build(fresh, [features])
    inputs = [encoded(fresh, row) for _, row in fresh.train.iterrows()]
    lengths = [of["input_ids"].shape[1] for of in inputs]
    read = sum(length * len(windows(fresh, of)) for length, of in zip(lengths, inputs, strict=True))
    took = build_seconds(fresh, [features])
    assert took and build_seconds(fresh, [masked_texts]) == pytest.approx(took * read / sum(lengths), rel=0.2)
    monkeypatch.setattr(span_search, "MOST_TOKENS", read // 10)
    assert build_seconds(fresh, [masked_texts]) == pytest.approx(took * read / 10 / sum(lengths), rel=0.2)
