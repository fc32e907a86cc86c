"""The exact answer that replaces an index's: every row by the sweep, kept, the same in another process."""

import json
from typing import Any

import numpy as np
import pytest

from attribution import attribute, exact_norms, refinement, sides
from attribution.refinement import refine
from attribution.results import ScoreTable
from attribution.workspace import Workspace
from tests.oracles import reopened

ASKED: dict[str, Any] = {"test": 3, "token": 2}


def quick(space: Workspace) -> ScoreTable:
    return attribute(space, "saliency_influence", scorer="index", **ASKED)


def test_every_row_becomes_exact_and_is_kept(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep's scores take the place of the index's; a second time, in a workspace opened anew, nothing is swept."""
    table = quick(fresh)
    exact = refine(table)
    expected = attribute(fresh, "saliency_influence", scorer="sweep", **ASKED)
    np.testing.assert_allclose(exact.scores, expected.scores, rtol=1e-6)
    assert exact.scored.exact and exact.scored.scorer == "sweep" and exact.scored.exact_rows is None
    assert exact.reranked() is exact and refine(exact) is exact
    assert np.abs(table.scores - exact.scores).max() > 0, "the index was exact already"
    (note,) = (fresh.directory / "results").glob("exact-*.json")
    assert json.loads(note.read_text())["tokens"] == [2]
    monkeypatch.setattr(refinement, "run_method", None)
    np.testing.assert_array_equal(refine(quick(reopened(fresh))).scores, exact.scores)


def test_another_question_has_another_answer(fresh: Workspace) -> None:
    """Another token, label, damping or text is not answered from what was kept."""
    table = quick(fresh)
    first = refine(table).scores
    label = next(name for name in fresh.labels if name != table.query.label_name)
    changes: list[dict[str, Any]] = [{"token": 3}, {"label": label}, {"damping": 1.0}, {"test": 4}]
    for change in changes:
        other = attribute(fresh, "saliency_influence", scorer="index", **{**ASKED, **change})
        assert np.abs(refine(other).scores - first).max() > 1e-6 * np.abs(first).max(), change


def test_stopped_work_leaves_nothing(fresh: Workspace) -> None:
    """What is raised from within the progress ends the work, and no half answer is found later."""

    def stop(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refine(quick(fresh), stop)
    assert not list((fresh.directory / "results").glob("exact-*"))


@pytest.mark.parametrize("normalise", ["none", "relatif"])
def test_in_half_precision_it_is_nearly_the_same(
    fresh: Workspace, normalise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model wide enough is swept in bfloat16: the scores correlate with those in float32 above .99."""
    table = attribute(fresh, "saliency_influence", scorer="index", normalise=normalise, **ASKED)
    whole = attribute(reopened(fresh), "saliency_influence", scorer="sweep", normalise=normalise, **ASKED).scores
    monkeypatch.setattr(sides, "precision_of", lambda classifier: "bf16")
    half = refine(table).scores
    assert np.abs(half - whole).max() > 0, "nothing was done in bfloat16"
    assert np.corrcoef(half, whole)[0, 1] > 0.99


@pytest.mark.parametrize("method", ["relatif", "gc"])
def test_norms_are_made_once_and_kept(fresh: Workspace, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second exact answer, and the exact top of an index's, read the norms, and are what they are without them."""
    asked: dict[str, Any] = {"scope": "last:2", "test": 4}
    alone = attribute(fresh, method, scorer="index", **asked).reranked()
    refine(attribute(fresh, method, scorer="index", **{**asked, "test": 3}))
    space = reopened(fresh)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("norms were made again")

    monkeypatch.setattr(sides, "products", never)
    monkeypatch.setattr(exact_norms, "products", never)
    again = attribute(space, method, scorer="index", **asked).reranked()
    np.testing.assert_allclose(again.scores, alone.scores, rtol=1e-4, atol=1e-6)
    rows = again.scored.exact_rows
    np.testing.assert_allclose(refine(again).scores[rows], again.scores[rows], rtol=1e-4, atol=1e-6)
