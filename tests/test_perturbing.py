"""Changing one word of a training example: I(z, z̃, F) against autograd and retraining, and the two-stage search."""

import copy
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from attribution.perturbing import (
    Kind,
    Replacement,
    copy_scores,
    own_replacement,
    random_replacement,
    score_replacements,
    search_replacements,
    synonyms_and_antonyms_of,
    synonyms_of,
)
from attribution.quantity import Quantity
from attribution.query import Query, make_query
from attribution.scoring import Choices
from attribution.workspace import Workspace
from tests.oracles import Convex, assert_close, assert_predicts, encoded, own_model, penultimate, saliency
from tests.tiny import BAD, GOOD, refusal

PLAIN = Choices(scope="last:1", solver="identity", normalise="none")
HEAD = Choices(scope="head", bias=True, solver="exact", normalise="none")


def tiny_lexicon(word: str) -> Mapping[str, Kind]:
    """Words of the tests' own vocabulary in each other's place, so that no replacement is unknown to the model."""
    same = next((group for group in (GOOD, BAD) if word in group), [])
    return {**dict.fromkeys([w for w in same if w != word], "synonym"), **({"cast": "own"} if word == "plot" else {})}


def quantity_of(query: Query, name: str) -> Quantity:
    return query.saliency("gradient_x_input") if name == "saliency" else query.quantity()


def ask(space: Workspace, name: str) -> Query:
    against = space.labels[0] if name == "margin" else None
    return make_query(space, test=3, label=space.labels[1], against=against, token=2)


@pytest.mark.parametrize("name", ["saliency", "margin", "log_probability"])
def test_the_score_is_the_changed_gradient_minus_the_original(workspace: Workspace, name: str) -> None:
    """I(z, z̃, F) = −∇F · (∇ℓ(z̃) − ∇ℓ(z)): ∇F by finite differences along v, ∇ℓ by plain autograd, one at a time."""
    query = ask(workspace, name)
    (found,) = search_replacements(
        query, copy_scores(query, quantity_of(query, name), PLAIN), [7], raises=True, lexicon=tiny_lexicon
    )
    model = own_model(workspace)
    names = [
        n for n, _ in model.named_parameters() if n.startswith(("bert.encoder.layer.2.", "bert.pooler", "classif"))
    ]
    names = [n for n in names if n.endswith("weight") and "LayerNorm" not in n]
    parameters = [dict(model.named_parameters())[n].requires_grad_() for n in names]
    original, label = workspace.train.loc[7], workspace.labels.index(workspace.train.loc[7, "label"])

    def slope(text: str) -> list[torch.Tensor]:
        logits = model(**encoded(workspace, pd.Series({"text": text}))).logits
        return list(torch.autograd.grad(-logits.log_softmax(dim=-1)[0, label], parameters))

    def value() -> float:
        inputs = encoded(workspace, workspace.test.loc[3])
        if name == "saliency":
            return float(saliency(model, inputs, 1, "gradient_x_input")[2])
        logits = model(**inputs).logits[0].detach()
        return float(logits[1] - logits[0] if name == "margin" else logits.log_softmax(dim=-1)[1])

    def moved(directions: list[torch.Tensor], step: float) -> float:
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter += step * direction
        made = value()
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter -= step * direction
        return made

    before, expected = slope(str(original["text"])), []
    for each in found.replacements:
        way = [a - b for a, b in zip(slope(each.text), before, strict=True)]
        expected.append(-(moved(way, 1e-5) - moved(way, -1e-5)) / 2e-5)
    assert len(expected) >= 4
    assert_close(np.array([each.score for each in found.replacements]), np.array(expected), relative=2e-3)


def test_it_predicts_what_training_on_the_changed_example_does(convex: Convex) -> None:
    """Solving the convex head again with z̃ in place of z changes the log-probability by I(z, z̃, F) / n."""
    space, model = convex.workspace, own_model(convex.workspace)
    query = make_query(space, test=0, label=space.labels[1])
    score = copy_scores(query, query.quantity(), Choices(**{**HEAD.__dict__, "damping": convex.damping}))
    searches = search_replacements(query, score, list(range(12)), raises=False, lexicon=tiny_lexicon)
    changed = [each for found in searches for each in found.replacements]

    def log_p(theta: np.ndarray) -> float:
        weight, bias = convex.split(theta)
        logits = weight @ convex.test_features[0] + bias
        return float(logits[1] - np.logaddexp(*logits))

    actual = []
    for each in changed:
        other = copy.copy(convex)
        other.features = convex.features.copy()
        other.features[each.train_id] = penultimate(model, encoded(space, pd.Series({"text": each.text})))
        actual.append(log_p(other.fit(np.ones(len(convex.labels)), start=convex.theta)) - log_p(convex.theta))
    predicted = np.array([each.score for each in changed]) / len(convex.labels)
    assert len(changed) > 40
    assert_predicts(predicted, np.array(actual), pearson=0.95)


def linear(space: Workspace, weights: Mapping[str, float]) -> Any:
    """A score that adds up a weight for every token, so that the best word and replacement are known by hand."""
    ids = {space.tokenizer.convert_tokens_to_ids(word): weight for word, weight in weights.items()}

    def score(rows: dict[str, list[list[int]]], labels: np.ndarray, owner: np.ndarray) -> np.ndarray:
        return np.array([sum(ids.get(token, 0.0) for token in row) for row in rows["input_ids"]])

    return score


@pytest.fixture
def known(fresh: Workspace) -> Workspace:
    """A workspace whose first training texts are known; their number and labels stay."""
    fresh.train.loc[0, "text"] = "a warm plot , a dull story and a lively scene"
    fresh.train.loc[1, "text"] = "the film and the cast"
    fresh.train.loc[2, "text"] = "an un-warm plot"
    return fresh


def test_stage_one_picks_the_word_that_matters_most(known: Workspace) -> None:
    """To lower F the word that raises it most leads; to raise F, the one that lowers it most."""
    score = linear(known, {"warm": 3, "dull": -5, "lively": 1, "bright": 2, "tender": 7, "stale": 4, "clumsy": -6})
    query = make_query(known, test=0)
    given: dict[str, Any] = {"lexicon": tiny_lexicon, "candidates": 0}
    (falls,) = search_replacements(query, score, [0], raises=False, **given)
    (rises,) = search_replacements(query, score, [0], raises=True, **given)
    assert {w.text: w.score for w in falls.words} == {"warm": 3, "plot": 0, "dull": -5, "lively": 1}
    assert [w.text for w in falls.tried] == ["warm"] and [w.text for w in rises.tried] == ["dull"]
    assert (falls.replacements[0].other, falls.replacements[0].score) == ("clever", -3)
    assert {(r.other, r.score) for r in falls.replacements} == {
        ("bright", -1),
        ("clever", -3),
        ("lively", -2),
        ("tender", 4),
    }
    assert (rises.replacements[0].other, rises.replacements[0].score) == ("stale", 9)
    assert rises.replacements[0].text == "a warm plot , a stale story and a lively scene"
    scores = [r.score for r in rises.replacements]
    assert scores == sorted(scores, reverse=True) and len(scores) == len(BAD) - 1


def test_the_random_words_are_kept_from_a_local_optimum(known: Workspace) -> None:
    """T further words are drawn with the seed and all their replacements scored: with enough of them, brute force."""
    weights = {"warm": 3.0, "bright": 3.0, "clever": 3.0, "tender": 3.0, "lively": 2.0, "cast": -50.0}
    query, score = make_query(known, test=0), linear(known, weights)
    every = [
        own_replacement(query, score, 0, segment=0, start=w.start, other=other).score
        for w in known.classifier.example(str(known.train.loc[0, "text"])).words
        if not w.special
        for other in tiny_lexicon(w.text)
    ]
    drawn = [
        search_replacements(query, score, [0], raises=False, lexicon=tiny_lexicon, candidates=c, seed=s)[0]
        for c, s in itertools.product((0, 1, 5), range(6))
    ]
    assert {found.replacements[0].score for found in drawn[:6]} == {-1.0}, "the leading word alone"
    assert min(every) == -50
    assert {found.replacements[0].score for found in drawn[12:]} == {-50.0}
    assert len({found.tried[1].text for found in drawn[6:12]}) > 1, "the seed draws"
    assert [len(found.tried) for found in drawn[::6]] == [1, 2, 4]


def test_joined_words_and_examples_without_one_are_left_alone(known: Workspace) -> None:
    """'un-warm' is not torn apart; an example without a word to replace gives an empty search beside others."""
    query = make_query(known, test=0)
    found = search_replacements(query, linear(known, {"warm": 1}), [1, 0, 2], raises=True, lexicon=tiny_lexicon)
    assert [f.train_id for f in found] == [1, 0, 2]
    assert found[0].words == found[0].tried == found[0].replacements == ()
    assert [w.text for w in found[2].words] == ["plot"]
    assert search_replacements(query, linear(known, {}), [], raises=True) == []


def test_of_a_pair_either_text_may_change(pairs: Workspace) -> None:
    """A replacement in the second text leaves the first as it is, and I is that of the changed pair."""
    query = make_query(pairs, test=0)
    score = copy_scores(query, query.quantity(), HEAD)
    (found,) = search_replacements(query, score, [4], raises=True, lexicon=tiny_lexicon)
    row = pairs.train.loc[4]
    assert {r.segment for r in found.replacements} == {0, 1}
    for each in found.replacements:
        texts = [row["text"], row["text_pair"]]
        texts[each.segment] = f"{texts[each.segment][: each.start]}{each.other}{texts[each.segment][each.end :]}"
        assert [each.text, each.text_pair] == texts
    assert_close(
        np.array([each.score for each in score_replacements(query, score, found.replacements[:3])]),
        np.array([each.score for each in found.replacements[:3]]),
        relative=1e-4,
    )


def test_own_word_and_what_is_refused(workspace: Workspace) -> None:
    """A word of one's own is scored as any other; a place without a word, a blank and no change are refused."""
    query = make_query(workspace, test=0)
    score = linear(workspace, {"bright": 2.0})
    text = str(workspace.train.loc[3, "text"])
    first = text.split()[0]
    made = own_replacement(query, score, 3, segment=0, start=0, other=" bright ")
    assert (made.word, made.other, made.kind, made.text) == (first, "bright", "own", f"bright{text[len(first) :]}")
    assert made.score == 2.0 * (first != "bright")
    assert "begins at character 1" in refusal(lambda: own_replacement(query, score, 3, segment=0, start=1, other="x"))
    assert "another word" in refusal(lambda: own_replacement(query, score, 3, segment=0, start=0, other=first))
    assert "another word" in refusal(lambda: own_replacement(query, score, 3, segment=0, start=0, other=" "))
    assert "from 0 to 39" in refusal(lambda: search_replacements(query, score, [40], raises=True))


def test_the_control_draws_among_the_same_replacements(known: Workspace) -> None:
    """Every replacement of the lexicon can be drawn, none else, and none where there is none."""
    query, draw = make_query(known, test=0), np.random.default_rng(0)
    drawn = [random_replacement(query, 0, tiny_lexicon, draw) for _ in range(200)]
    seen = {(each.word, each.other) for each in drawn if isinstance(each, Replacement)}
    assert seen == {(w, other) for w in ("warm", "plot", "dull", "lively") for other in tiny_lexicon(w)}
    assert random_replacement(query, 1, tiny_lexicon, draw) is None


def test_an_attack_takes_synonyms_and_a_repair_antonyms_too() -> None:
    """Meng §4.2 and §4.3."""
    assert synonyms_of("loved") == {w: "synonym" for w in synonyms_of("loved")} and "hated" not in synonyms_of("loved")
    assert synonyms_and_antonyms_of("loved")["hated"] == "antonym"
    assert synonyms_of("loved").items() <= synonyms_and_antonyms_of("loved").items()
