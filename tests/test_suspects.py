"""Suspicious labels and clusters of hard examples: against loops over autograd and all pairs, and planted flips."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribution.factor_index import factor_parts
from attribution.index import build, load, parts
from attribution.neighbours import nearest, neighbours
from attribution.self_influence import SELF, needed_parts
from attribution.suspects import CRITERIA, hard_clusters, suspicious_labels
from attribution.suspects.clusters import directions, distinctive_words, document_frequency
from attribution.suspects.ranking import neighbour_votes, suspected_labels
from attribution.training import Recipe, train
from attribution.workspace import Workspace, softmax
from tests.oracles import HEAD, assert_close, training_gradients
from tests.tiny import BAD, FILLER, GOOD, refusal, sentences, workspace_of


def test_self_influence_is_the_squared_norm_of_each_gradient(workspace: Workspace) -> None:
    """gd over the head: one example at a time through autograd, in float64."""
    found = suspicious_labels(workspace, method="gd")["self_influence"]
    expected = np.square(training_gradients(workspace, HEAD)).sum(axis=1)
    assert_close(found.to_numpy(), expected, relative=1e-4)


def test_what_a_self_influence_reads_is_what_it_needs(fresh: Workspace) -> None:
    """With the named parts there, every self-influence answers without building any other."""
    for method in SELF:
        wanted = needed_parts(fresh, method)
        build(fresh, wanted)
        folders = set((fresh.storage / "index").iterdir())
        SELF[method](fresh, lambda *_: None)
        assert set((fresh.storage / "index").iterdir()) == folders, method


@pytest.mark.parametrize("block", [1, 90, 10_000])
def test_neighbours_are_those_of_all_pairs(block: int) -> None:
    """Whatever fits into memory at once: a loop over all pairs of vectors, one of them zero; never itself."""
    vectors = np.random.default_rng(0).normal(size=(37, 5)).astype(np.float32)
    vectors[4] = 0
    positions, cosines = nearest(vectors, 6, block=block)
    for i, one in enumerate(vectors):
        lengths = [max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-12) for other in vectors]
        likeness = {j: float(one @ other) / lengths[j] for j, other in enumerate(vectors) if j != i}
        best = sorted(likeness.values(), reverse=True)[:6]
        np.testing.assert_allclose(cosines[i], best, atol=1e-6)
        np.testing.assert_allclose([likeness[j] for j in positions[i]], best, atol=1e-6)
        assert len(set(positions[i])) == 6


def test_disagreement_and_the_suspected_label(workspace: Workspace) -> None:
    """A loop over each example's neighbours, and the rule of who is believed, in words."""
    table = suspicious_labels(workspace, count=5)
    positions, cosines = neighbours(workspace, 5)
    (part,) = parts(workspace, "features")
    shares = softmax(np.asarray(load(workspace, part)["logits"]))
    for at, row in enumerate(table.to_dict("records")):
        votes = dict.fromkeys(workspace.labels, 0.0)
        for position, cosine in zip(positions[at], cosines[at], strict=True):
            votes[workspace.train["label"].iloc[position]] += max(float(cosine), 1e-9)
        total = sum(votes.values())
        assert row["disagreement"] == pytest.approx(1 - votes[row["label"]] / total)
        assert row["loss"] == pytest.approx(-np.log(row["probability"]))
        assert row["predicted"] == workspace.labels[shares[at].argmax()]
        (other,) = set(workspace.labels) - {row["label"]}
        majority = max(votes, key=lambda label: votes[label])
        says = {(True, True): "model and neighbours", (False, True): "neighbours"}
        assert row["suspected_label"] == other
        assert row["suspected_by"] == says.get((row["predicted"] == other, majority == other), "model")


def test_of_three_labels_the_better_one_is_named() -> None:
    """Both agree; they differ: the model's; only the neighbours object; nobody does: the model's second choice."""
    probabilities = np.array([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2], [0.6, 0.1, 0.3], [0.6, 0.1, 0.3]])
    votes = np.array([[0.0, 1.0, 0.0], [0.0, 0.2, 0.8], [0.1, 0.8, 0.1], [0.9, 0.1, 0.0]])
    suspected, by = suspected_labels(np.zeros(4, dtype=int), probabilities, votes)
    assert suspected.tolist() == [1, 1, 1, 2]
    assert by.tolist() == ["model and neighbours", "model", "neighbours", "model"]


def test_votes_of_neighbours_that_point_away() -> None:
    """Only where all point away do they count, and then alike."""
    positions = np.array([[1, 2], [0, 2], [0, 1]])
    cosines = np.array([[0.5, -0.5], [-0.1, -0.9], [0.25, 0.75]])
    votes = neighbour_votes(positions, cosines, np.array([0, 1, 0]), 2)
    np.testing.assert_allclose(votes, [[0, 1], [1, 0], [0.25, 0.75]], atol=1e-8)


def test_ranks_go_from_the_most_suspicious(workspace: Workspace) -> None:
    """Each criterion ranks every example once, the largest first; together is by the mean of the three ranks."""
    table = suspicious_labels(workspace)
    for name in CRITERIA:
        ranks = table[f"rank_{name}"]
        assert sorted(ranks) == list(range(1, len(table) + 1))
        ordered = table.sort_values(f"rank_{name}")[name]
        assert all(one <= other if name == "together" else one >= other for one, other in pairwise(ordered))
    mean = (table["rank_self_influence"] + table["rank_loss"] + table["rank_disagreement"]) / 3
    np.testing.assert_allclose(table["together"], mean)


def test_planted_flips_come_first(tmp_path: Path) -> None:
    """5 of 120 labels are flipped before training: each ranking has 4 in its first 15 %, and the suspicion is right."""
    draw, words = random.Random(0), (BAD, GOOD)
    texts = [f"{draw.choice(words[i % 2])} {draw.choice(FILLER)}" for i in range(120)]
    rows = pd.DataFrame({"text": texts, "label": ["negative", "positive"] * 60})
    planted, right = [3, 16, 41, 58, 77], rows["label"].copy()
    rows.loc[planted, "label"] = rows.loc[planted, "label"].map({"negative": "positive", "positive": "negative"})
    made = train(
        workspace_of(tmp_path, rows, sentences(8, seed=9)),
        Recipe(trainable="all", epochs=20, batch_size=8, learning_rate=3e-3),
    )
    table = suspicious_labels(made)
    for name in CRITERIA:
        first = table.sort_values(f"rank_{name}").index[:18]
        assert len(set(first) & set(planted)) >= 4, name
    assert (table.loc[planted, "suspected_label"] == right[planted]).all()


def test_what_cannot_be_asked(workspace: Workspace) -> None:
    """A method without self-influence, too many neighbours and too many clusters are refused with the rule."""
    assert "Known: influence_head" in refusal(lambda: suspicious_labels(workspace, method="bm25"))
    assert "from 1 to 39" in refusal(lambda: suspicious_labels(workspace, count=40))
    assert "from 1 to 10" in refusal(lambda: hard_clusters(workspace, hard=10, clusters=11))


def test_directions_over_the_head_are_normalised_gradients(workspace: Workspace) -> None:
    """One example at a time through autograd; over a scope of the index their cosines survive the projection."""
    rows = np.array([3, 0, 21])
    expected = training_gradients(workspace, HEAD)[rows]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert_close(directions(workspace, rows), expected, relative=1e-4)
    build(workspace, factor_parts(workspace, "last:1"))
    found = directions(workspace, np.arange(40), "last:1")
    names = tuple(
        name
        for name, value in workspace.model.named_parameters()
        if value.dim() == 2 and name.startswith(("bert.encoder.layer.2.", "bert.pooler.", "classifier."))
    )
    whole = training_gradients(workspace, names)
    whole = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    assert np.abs(found @ found.T - whole @ whole.T).mean() < 0.1


def test_clusters_hold_the_hardest_once(workspace: Workspace) -> None:
    """The examples clustered are those of largest loss, each in one cluster, nearest to its middle first."""
    table = suspicious_labels(workspace)
    found = hard_clusters(workspace, hard=18, clusters=3)
    ids = [train_id for each in found for train_id in each.ids]
    assert sorted(ids) == sorted(table.sort_values("rank_loss").index[:18])
    assert [len(each.ids) for each in found] == sorted((len(each.ids) for each in found), reverse=True)
    vectors = {i: v for i, v in zip(table.index, directions(workspace, np.arange(40)), strict=True)}
    for each in found:
        members = table.loc[list(each.ids)]
        assert sum(each.labels.values()) == len(each.ids)
        assert each.labels == members["label"].value_counts().to_dict()
        assert each.loss == pytest.approx(members["loss"].mean())
        assert list(each.closeness) == sorted(each.closeness, reverse=True)
        middle = np.mean([vectors[i] for i in each.ids], axis=0)
        assert each.closeness[0] == pytest.approx(vectors[each.ids[0]] @ middle / np.linalg.norm(middle), abs=1e-5)


def test_words_that_set_texts_apart() -> None:
    """A word in all texts inside and few elsewhere leads; one as frequent everywhere, and numbers, are left out."""
    inside = ["dull plot 10", "dull cast 10", "the dull song", "the stale dull plot"]
    texts = [*inside, *["the film and the plot"] * 12]
    everywhere = document_frequency(texts)
    assert everywhere["the"] == 14 and everywhere["dull"] == 4 and "10" not in everywhere
    # p · log(p / q): dull 1 · log 4; cast, song and stale are in one text only; plot and the are rarer inside.
    assert distinctive_words(inside, everywhere, len(texts)) == ("dull",)
    assert distinctive_words(["10 %", "…"], everywhere, len(texts)) == ()
