"""Spans as explanations: every score against loops of plain autograd over texts masked by hand, with dense inverses."""

import itertools
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from attribution import attribute, open_workspace
from attribution.errors import UserError
from attribution.explain import as_csv, as_table, explain
from attribution.query import make_query
from attribution.refinement import refine
from attribution.results import ScoreTable
from attribution.variants import Copy
from attribution.workspace import Workspace
from tests.dense import LAST, ekfac_inverse, last
from tests.oracles import (
    HEAD,
    assert_close,
    damped,
    encoded,
    flat_gradient,
    head_hessian_of,
    log_probability,
    own_model,
    reopened,
    with_training_data,
)
from tests.test_variants import stepped
from tests.tiny import refusal

TEST, LABEL, MASK, SIZE = 3, 1, 4, 2
CLICKED = (1, 2)
METHODS = ("if_plus", "if_plus_plus", "tracin_plus", "tracin_plus_plus")
Inputs = dict[str, torch.Tensor]


@pytest.fixture(scope="module", params=["single", "pair"])
def space(request: pytest.FixtureRequest, workspace: Workspace, pairs: Workspace) -> Workspace:
    return workspace if request.param == "single" else pairs


def ask(space: Workspace, method: str, **parameters: Any) -> ScoreTable:
    """The answer with windows of two words as spans, and the first two tokens clicked where a span is explained."""
    token = CLICKED if method.endswith("plus_plus") else None
    chosen = {"finder": "ngrams", "size": SIZE, "candidates": 10_000, **parameters}
    return attribute(space, method, test=TEST, label=space.labels[LABEL], token=token, **chosen)


def masked(inputs: Inputs, tokens: tuple[int, ...]) -> Inputs:
    ids = inputs["input_ids"].clone()
    ids[0, list(tokens)] = MASK
    return {**inputs, "input_ids": ids}


def windows(space: Workspace, inputs: Inputs) -> list[tuple[int, ...]]:
    """Two neighbouring tokens of one text, by the tokenizer's own marks; in the tiny vocabulary a token is a word."""
    special = np.isin(inputs["input_ids"][0].numpy(), [2, 3])
    return [(i, i + 1) for i in range(len(special) - 1) if not special[i] and not special[i + 1]]


def question(space: Workspace, model: Any, names: tuple[str, ...], plus_plus: bool) -> np.ndarray:
    """∇F by autograd: of log p, or of log p less log p with the clicked tokens masked."""
    inputs = encoded(space, space.test.loc[TEST])
    value = log_probability(model, inputs, LABEL)
    if plus_plus:
        value = value - log_probability(model, masked(inputs, CLICKED), LABEL)
    return flat_gradient(model, value, names)


def units(space: Workspace, model: Any, names: tuple[str, ...]) -> list[np.ndarray]:
    """ψ = ∇ℓ(z) − ∇ℓ(z masked) of every window of every training example: a list of (windows, parameters)."""
    made = []
    for _, row in space.train.iterrows():
        label, inputs = space.labels.index(row["label"]), encoded(space, row)

        def slope(of: Inputs, label: int = label) -> np.ndarray:
            return flat_gradient(model, -log_probability(model, of, label), names)

        whole = slope(inputs)
        made.append(np.stack([whole - slope(masked(inputs, tokens)) for tokens in windows(space, inputs)]))
    return made


@cache
def final_units(space: Workspace, names: tuple[str, ...]) -> list[np.ndarray]:
    return units(space, grown(own_model(space), names), names)


def grown(model: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        model.get_parameter(name).requires_grad_()
    return model


def strongest(scores: list[np.ndarray]) -> np.ndarray:
    """The score of largest magnitude of each example: (train,)."""
    return np.array([own[np.abs(own).argmax()] for own in scores])


def assert_spans(table: ScoreTable, expected: list[np.ndarray], rows: Any, *, relative: float) -> None:
    """Each row's score is its strongest window's, and each span told is a window with that window's score."""
    found = table.spans_of([int(table.ids[row]) for row in rows])
    assert_close(table.scores[rows], strongest(expected)[rows], relative=relative)
    scale = max(np.abs(own).max() for own in expected)
    space = table.query.workspace
    for row, spans in zip(rows, found, strict=True):
        example = space.train.iloc[row]
        offsets = space.tokenizer(
            *((example["text"], example["text_pair"]) if space.is_pair else (example["text"],)),
            return_offsets_mapping=True,
        )
        places = {}
        for score, (i, j) in zip(expected[row], windows(space, encoded(space, example)), strict=True):
            key = (offsets["offset_mapping"][i][0], offsets["offset_mapping"][j][1], offsets.sequence_ids()[i])
            places[key] = score
        assert spans[0].score == table.scores[row]
        for span in spans:
            assert places[(span.start, span.end, span.segment)] == pytest.approx(span.score, abs=relative * scale)
        for a, b in itertools.combinations(spans, 2):
            assert abs(a.score) >= abs(b.score)
            assert a.segment != b.segment or a.end <= b.start or b.end <= a.start, "two of the spans overlap"


CHOICES = {
    "exact": ({"scope": "head", "solver": "exact"}, HEAD),
    "ekfac": ({"scope": "last:1", "solver": "ekfac"}, LAST["last:1"]),
    "identity": ({"scope": "last:2", "solver": "identity"}, LAST["last:2"]),
    "swept": ({"scope": "last:2", "solver": "identity", "scorer": "sweep"}, LAST["last:2"]),
}


def inverse(space: Workspace, kind: str, size: int) -> np.ndarray:
    if kind == "exact":
        return np.linalg.inv(damped(head_hessian_of(space, bias=False), 0.1))
    return ekfac_inverse(space, tuple(last(1)), 0.1) if kind == "ekfac" else np.eye(size)


@pytest.mark.oracle("if_plus", "if_plus_plus")
@pytest.mark.parametrize("kind", CHOICES)
@pytest.mark.parametrize("method", METHODS[:2])
def test_influence_of_spans_is_the_dense_product(space: Workspace, method: str, kind: str) -> None:
    """−∇F·P·ψ: ∇F and ψ by autograd, one text at a time, P dense (closed form, EK-FAC block by block, identity)."""
    parameters, names = CHOICES[kind]
    model = grown(own_model(space), names)
    query = question(space, model, names, method.endswith("plus_plus"))
    vector = inverse(space, kind, len(query)) @ query
    expected = [-own @ vector for own in final_units(space, names)]
    table = ask(space, method, damping=0.1, **parameters)
    assert table.scored.exact and table.scored.quantity == (
        "importance" if "plus_plus" in method else "log_probability"
    )
    assert_spans(table, expected, range(len(expected)), relative=2e-3)


def over_copies(space: Workspace, method: str, names: tuple[str, ...], *, copies: int, step: float, seed: int) -> Any:
    """Σ_k −⟨∇F, ψ⟩ at models that torch's own SGD has moved by one step: a list of (windows,)."""
    total: list[np.ndarray] = []
    for number in range(copies):
        model = stepped(space, Copy(number=number, step=step, seed=seed))
        query = question(space, model, names, method.endswith("plus_plus"))
        scores = [-own @ query for own in units(space, model, names)]
        total = [a + b for a, b in zip(total, scores, strict=True)] if total else scores
    return total


@pytest.mark.oracle("tracin_plus", "tracin_plus_plus")
@pytest.mark.parametrize("scorer", ["sweep", "index"])
@pytest.mark.parametrize("method", METHODS[2:])
def test_tracin_of_spans_is_the_loop_over_copies(workspace: Workspace, method: str, scorer: str) -> None:
    """A step so large that the copies differ: all rows of the sweep, and the exact rows otherwise, are theirs."""
    options = {"copies": 2, "step": 0.3, "seed": 4}
    expected = over_copies(workspace, method, LAST["last:1"], **options)
    table = ask(workspace, method, scope="last:1", scorer=scorer, **options)
    rows = range(len(expected)) if scorer == "sweep" else table.scored.exact_rows
    assert rows is not None and table.scored.exact == (scorer == "sweep")
    assert_spans(table, expected, list(rows), relative=5e-3)
    still = ask(workspace, "if_plus" + method.removeprefix("tracin_plus"), scope="last:1", solver="identity").scores
    found = strongest(expected)
    assert np.abs(found - 2 * still).max() > 0.05 * np.abs(found).max(), "the copies are the model itself"


@pytest.mark.oracle("tracin_plus", "tracin_plus_plus")
@pytest.mark.parametrize("method", METHODS[2:])
def test_small_steps_give_copies_times_the_product(workspace: Workspace, method: str) -> None:
    """As the step goes to 0, three copies are three times −∇F·ψ at the model itself (identity in place of H⁻¹)."""
    asked = {"scope": "last:1", "scorer": "sweep"}
    plain = ask(workspace, "if_plus" + method.removeprefix("tracin_plus"), solver="identity", **asked).scores
    found = [ask(workspace, method, step=step, **asked).scores for step in (1e-1, 1e-3)]
    far, near = (float(np.abs(scores - 3 * plain).max() / np.abs(3 * plain).max()) for scores in found)
    assert near < 1e-2 and near < far / 10


@pytest.mark.parametrize("method", METHODS)
def test_candidates_have_the_scores_of_the_full_scan(workspace: Workspace, method: str) -> None:
    """Of 30 candidates each has what the full scan gives it; of both ends all spans are scored; a note says so."""
    some = ask(workspace, method, scope="last:1", candidates=30)
    full = ask(workspace, method, scope="last:1", scorer="sweep")  # from the states that the search had kept
    (everything,), (searched,) = (np.nonzero(table.scores) for table in (full, some))
    assert 10 < len(searched) < len(everything) == 40 and not some.scored.exact
    scale, scored = np.abs(full.scores).max(), 0
    for at, own in zip(searched, some.spans_of(some.ids[searched].tolist()), strict=True):
        assert own[0].score == some.scores[at]
        known = every_span(full, int(at))
        for span in own:
            assert span.score == pytest.approx(known[span.start, span.end], abs=2e-3 * scale)
        scored += len(own)
    assert scored >= 30 and some.scored.exact_rows is not None
    exact = some.scored.exact_rows.tolist()
    assert set(some.order[:3].tolist()) <= set(exact) <= set(searched.tolist())
    assert_close(some.scores[exact], full.scores[exact], relative=2e-3)
    assert any("Scored are 30 of " in note for note in some.scored.notes)
    assert not any("candidates" in note for note in full.scored.notes)


def every_span(table: ScoreTable, row: int) -> dict[tuple[int, int], float]:
    """The scores of all windows of a training example, those under a stronger one too, by their characters."""
    made: Any = table.scored.spans
    return {(span.start, span.end): span.score for span in made.__self__.known[row]}


@pytest.mark.parametrize("method", ["if_plus_plus", "tracin_plus_plus"])
def test_without_a_click_the_most_important_span_is_explained(space: Workspace, method: str) -> None:
    """The window whose masking lowers log p most, by a plain model; the answer is that of clicking it, and says so."""
    model, inputs = own_model(space), encoded(space, space.test.loc[TEST])
    chosen = windows(space, inputs)
    drops = [-float(log_probability(model, masked(inputs, tokens), LABEL)) for tokens in chosen]
    best = chosen[int(np.argmax(drops))]
    asked: dict[str, Any] = {"test": TEST, "label": space.labels[LABEL], "finder": "ngrams", "size": SIZE}
    asked["candidates"] = 10_000
    found, clicked = (attribute(space, method, scope="head", token=token, **asked) for token in (None, best))
    assert found.scored.tokens == best == clicked.scored.tokens
    np.testing.assert_allclose(found.scores, clicked.scores, rtol=1e-4, atol=1e-7)
    (note,) = found.scored.notes
    words = [found.query.example.tokens[i].text for i in best]
    assert f"'{' '.join(words)}'" in note and not clicked.scored.notes


def test_a_span_supports_itself(workspace: Workspace, tmp_path: Path) -> None:
    """The test text as a training example with the explained label: its span has −∇F·P·ψ = ψ·P·ψ > 0, for every test.

    The published IF⁺⁺ and TracIn⁺⁺ have this negative.
    """
    texts = workspace.test.loc[:4, "text"]
    frame = pd.concat([workspace.train, pd.DataFrame({"text": texts, "label": "positive"})], ignore_index=True)
    ends = [len(" ".join(text.split()[:2])) for text in texts]
    space = with_training_data(workspace, frame.assign(span=[""] * 40 + [f"0-{end}" for end in ends]), tmp_path / "own")
    for test in texts.index:
        for method in ("if_plus_plus", "tracin_plus_plus"):
            found = attribute(space, method, test=test, label="positive", token=CLICKED, scope="last:1", finder="given")
            assert list(np.flatnonzero(found.scores)) == [40, 41, 42, 43, 44]
            assert found.scores[40 + test] > 0, f"{method} of test example {test}: {found.scores[40 + test]}"


def test_a_text_of_one_piece_is_a_span(workspace: Workspace) -> None:
    """Where nothing parts a text, its span is the text, and the two-step question is about all of it."""
    found = attribute(workspace, "if_plus_plus", text="warm film", scope="head")
    assert found.scored.tokens == (1, 2) and np.abs(found.scores).max() > 0


def test_a_text_without_a_span_has_no_importance(workspace: Workspace) -> None:
    """Of a text of which no token is left every score is 0, and a note says why."""
    found = attribute(workspace, "if_plus_plus", text="\u200b\ufeff", scope="head")
    assert not found.scores.any() and "no span" in found.scored.notes[0]


def test_long_texts_are_masked_as_far_as_they_are_read(workspace: Workspace, tmp_path: Path) -> None:
    """A training text beyond the model's length: its spans end at the cut, and masking is of the tokens read."""
    long = "a warm film . " * 30
    table = pd.concat([workspace.train, pd.DataFrame([{"text": long, "label": "positive"}])], ignore_index=True)
    space = with_training_data(workspace, table, tmp_path / "long")
    found = attribute(space, "if_plus", test=TEST, scope="head", solver="identity", finder="sentences")
    spans = found.spans_of([40])[0]
    cut = space.classifier.example(long).cut[0]
    assert max(span.end for span in spans) == cut and len(spans) == 12
    model, inputs = grown(own_model(space), HEAD), encoded(space, space.train.loc[40])
    query = flat_gradient(model, log_probability(model, encoded(space, space.test.loc[TEST]), found.query.label), HEAD)
    for span in spans:
        first = 1 + long[: span.start].count(" ")
        tokens = tuple(range(first, min(first + 4, 47)))
        values = [-log_probability(model, given, 1) for given in (inputs, masked(inputs, tokens))]
        expected = -query @ (flat_gradient(model, values[0], HEAD) - flat_gradient(model, values[1], HEAD))
        assert span.score == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_aspects_and_given_spans_of_a_pair(pairs: Workspace, tmp_path: Path) -> None:
    """finder=aspect masks the clause of the second text, finder=given what the columns say; a row without has 0."""
    texts = ["the film was warm , but the song was dull", "the song was cold . the film was stale ."]
    rows = [
        {"text": a, "text_pair": t, "label": label}
        for t, label in zip(texts, pairs.labels, strict=True)
        for a in ("film", "song", "cast")
    ]
    frame = pd.DataFrame(rows).assign(start=[4, 28, np.nan, 24, 4, np.nan], end=[8, 32, np.nan, 28, 8, np.nan])
    space = with_training_data(pairs, frame, tmp_path / "aspects")
    expected = {
        "aspect": ["the film was warm ,", "but the song was dull", "the film was stale .", "the song was cold ."],
        "given": ["film", "song", "film", "song"],
    }
    for finder, spans in expected.items():
        found = attribute(space, "if_plus", test=TEST, scope="head", finder=finder)
        told = found.spans_of(found.ids.tolist())
        assert [frame.loc[i, "text_pair"][s.start : s.end] for i, own in enumerate(told) for s in own] == spans
        assert list(np.flatnonzero(found.scores)) == [0, 1, 3, 4] and {s.segment for own in told for s in own} == {1}


def test_a_mistake_in_the_data_names_its_row(workspace: Workspace, tmp_path: Path) -> None:
    """Columns of spans that are none; without the columns, what finder=given reads; and a text of one's own."""
    frame = workspace.train.assign(span="0-3")
    frame.loc[7, "span"] = "5-2"
    space = with_training_data(workspace, frame, tmp_path / "given")
    asked: dict[str, Any] = {"test": TEST, "finder": "given", "scope": "head"}
    assert "training example 7: the span 5-2" in refusal(lambda: attribute(space, "if_plus", **asked))
    assert "'start' and 'end', or 'span'" in refusal(lambda: attribute(workspace, "if_plus", **asked))
    own: dict[str, Any] = {"text": "a warm film", "finder": "given", "scope": "head"}
    assert "text of one's own" in refusal(lambda: attribute(space, "if_plus_plus", **own))


def test_clicked_tokens_that_are_no_span_are_refused(pairs: Workspace) -> None:
    """Over the separator of a pair, special tokens, all tokens: one line each; if_plus does not mind a click."""
    example = make_query(pairs, test=TEST).example
    middle = next(t.index for t in example.tokens if t.special and t.index)
    for tokens, message in {(middle - 1, middle + 1): "separator", (0,): "[CLS]", (1, 1): "twice"}.items():
        for method in ("if_plus_plus", "tracin_plus_plus"):
            assert message in refusal(lambda t=tokens, m=method: attribute(pairs, m, test=TEST, token=t, scope="head"))
    every = tuple(t.index for t in example.tokens if not t.special)
    with pytest.raises(UserError):
        attribute(pairs, "if_plus_plus", test=TEST, token=every, scope="head")
    assert attribute(pairs, "if_plus", test=TEST, token=0, scope="head").scored.tokens == ()


def test_a_model_without_a_mask_uses_what_it_has(workspace: Workspace) -> None:
    """[UNK] stands in, the notes say so, and the scores are those of texts with it."""
    space = open_workspace(workspace.directory)
    space.tokenizer.mask_token = None
    found = ask(space, "if_plus", scope="head", solver="identity")
    assert found.scored.notes == ("This model has no mask token: [UNK] stands in for it.",)
    model = grown(own_model(space), HEAD)
    query, inputs = question(space, model, HEAD, False), encoded(space, space.train.loc[0])
    label = space.labels.index(space.train.loc[0, "label"])
    scores = []
    for tokens in windows(space, inputs):
        ids = masked(inputs, tokens)["input_ids"].clone()
        ids[ids == MASK] = space.tokenizer.unk_token_id
        values = [-log_probability(model, i, label) for i in (inputs, {**inputs, "input_ids": ids})]
        scores.append(-query @ (flat_gradient(model, values[0], HEAD) - flat_gradient(model, values[1], HEAD)))
    assert found.scores[0] == pytest.approx(strongest([np.array(scores)])[0], rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_the_answer_tells_the_spans(workspace: Workspace, method: str) -> None:
    """JSON has them by row, strongest first; the table prints the strongest; csv and top=0 have the scores alone."""
    query = make_query(workspace, test=TEST)
    answer = explain(query, method, {"finder": "ngrams", "size": 2, "scope": "head"}, top=3)
    table = as_table(answer, width=200)
    for row in [*answer["proponents"], *answer["opponents"]]:
        assert row["spans"][0]["score"] == row["score"] and set(row["spans"][0]) == {"start", "end", "segment", "score"}
        assert row["text"][row["spans"][0]["start"] : row["spans"][0]["end"]] in table.replace(row["text"], "", 1)
        for word in row["words"]:
            inside = [s for s in row["spans"] if s["start"] < word["end"] and word["start"] < s["end"]]
            assert word["score"] == (inside[0]["score"] if inside else 0)
    assert bool(answer["explained"]["tokens"]) == method.endswith("plus_plus")
    assert "span" in answer["sign"] and "spans" not in as_csv(answer).partition("\n")[0]
    assert explain(query, method, {"scope": "head"}, top=0)["proponents"][0]["spans"] is None
    assert explain(query, "gd", {}, top=1)["proponents"][0]["spans"] is None


def test_methods_without_spans_say_so(workspace: Workspace) -> None:
    """One line in place of spans."""
    assert "gd explains by whole training examples" in refusal(lambda: attribute(workspace, "gd", test=0).spans_of([0]))


def test_refining_searches_every_example(fresh: Workspace) -> None:
    """The exact answer is the full scan's, kept with its notes: no candidates are spoken of any more."""
    asked: dict[str, Any] = {"test": TEST, "scope": "last:1", "finder": "ngrams"}
    some = attribute(fresh, "if_plus", candidates=6, **asked)
    assert 0 < np.count_nonzero(some.scores) <= 6
    for space in (fresh, reopened(fresh)):
        full = refine(attribute(space, "if_plus", candidates=6, **asked))
        expected = attribute(space, "if_plus", scorer="sweep", **asked)
        np.testing.assert_allclose(full.scores, expected.scores, rtol=1e-6)
        assert full.scored.exact and full.scored.notes == expected.scored.notes == ()
        assert full.spans_of([int(full.ids[full.order[0]])])[0][0].score == pytest.approx(full.scores.max(), rel=1e-3)
