"""The first stage of a search for spans: features of masked texts, and scores foretold from whole examples."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from attribution import attribute, masked_texts
from attribution.index import silent
from attribution.masked_texts import masked_part, open_masked
from attribution.span_search import Foretold, foretell
from attribution.spans import Finder
from attribution.workspace import Workspace
from tests.oracles import with_training_data
from tests.test_span_methods import every_span

FINDER = Finder(name="ngrams", size=2)


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
    monkeypatch.setattr(masked_texts, "MOST_TOKENS", 500)
    monkeypatch.setattr(masked_texts, "SHARD", 8)
    found = attribute(fresh, "if_plus", test=3, scope="head", finder="ngrams", size=2, candidates=10_000)
    looked = open_masked(fresh, masked_part(fresh, FINDER)).examples
    assert 0 < looked < 40 and looked % 8 == 0 and np.count_nonzero(found.scores) == looked
    assert f"beyond the {looked} of 40 examples" in found.scored.notes[-1] and not found.scored.exact


def test_texts_without_spans_have_no_score(workspace: Workspace, tmp_path: Any) -> None:
    """Where the data give no span at all there is nothing to search."""
    space = with_training_data(workspace, pd.DataFrame(workspace.train.assign(span="")), tmp_path / "none")
    found = attribute(space, "if_plus", test=3, scope="head", finder="given")
    assert not found.scores.any() and found.scored.exact
