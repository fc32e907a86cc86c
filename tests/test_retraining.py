"""Models trained again on subsets: as `train` makes them, alone or side by side, once, and at the cost foretold."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import attribution.retraining.blocks as blocks
from attribution import create_workspace, open_workspace
from attribution.index import silent
from attribution.methods.representer import refit
from attribution.retraining import Added, Job, Retrainer, make_plan
from attribution.retraining.blocks import Blocks
from attribution.retraining.heads import RefittedHeads, TrainedHeads, trained_heads
from attribution.retraining.plan import Plan, recipe_of
from attribution.training import Recipe, epochs_of, mean_rates, schedule_of, train
from attribution.workspace import Workspace
from tests.families import tiny_model
from tests.oracles import Convex, assert_close, reopened, with_training_data
from tests.tiny import refusal, write_tables

QUICK = Recipe(trainable="last:2", epochs=2, batch_size=8, learning_rate=1e-2)
OFF: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Single texts on a tiny model without dropout, not trained."""
    folder = tmp_path_factory.mktemp("still")
    model = tiny_model("bert", folder / "model", **OFF)
    return create_workspace(folder / "w", model=model, **write_tables(folder, n_train=30, n_test=9))[0]


def retrainer(workspace: Workspace, recipe: Recipe | None, tests: Sequence[int], l2: float = 0.01) -> Retrainer:
    """One that keeps nothing."""
    plan = Plan(recipe=recipe, l2=l2)
    return Retrainer(workspace, plan, np.array(tests), lambda question, make: dict(make()), silent)


def job(rows: Sequence[int] | np.ndarray, tests: Sequence[int] | np.ndarray, seed: int = 0) -> Job:
    return Job(rows=np.array(rows), seed=seed, tests=np.array(tests))


@pytest.mark.parametrize("trainable", ["head", "last:2", "all"])
def test_all_examples_make_the_model_of_train(still: Workspace, trainable: str) -> None:
    """With the recipe's seed the logits are those of the checkpoint that `train` saved, up to its half precision."""
    recipe = replace(QUICK, trainable=trainable, seed=3)
    trained = train(open_workspace(still.directory), recipe)
    expected = trained.classifier.collect(trained.classifier.tokenize(*trained.texts("test")))[1]
    made = retrainer(still, recipe, range(9)).logits([job(range(30), range(9), seed=3), job(range(30), range(9))])
    assert_close(made[0], expected, relative=5e-3, what=f"logits after training {trainable}")
    assert np.abs(made[1] - expected).max() > 0.02 * np.abs(expected).max(), "another seed has another order"


def test_the_recipe_is_read_from_the_checkpoints(still: Workspace) -> None:
    """Epochs, learning rate and batches; a model that came fine-tuned has none, and only its head is trained again."""
    given = Recipe(trainable="last:1", epochs=3, batch_size=7, learning_rate=2.5e-4)
    found = recipe_of(train(open_workspace(still.directory), given))
    assert found is not None and (found.trainable, found.epochs, found.learning_rate) == ("last:1", 3, 2.5e-4)
    assert [len(b) for b in next(epochs_of(found, 30))] == [len(b) for b in next(epochs_of(given, 30))]
    assert mean_rates(found, 30) == pytest.approx(mean_rates(given, 30))
    plain: dict[str, Any] = {"epochs": 0, "learning_rate": 0, "batch_size": 0, "l2": 0.1}
    trained = open_workspace(still.directory)
    assert make_plan(trained, "auto", **plain).recipe == found
    assert make_plan(trained, "head", **{**plain, "epochs": 5}).recipe == replace(found, trainable="head", epochs=5)
    trained.__dict__["checkpoints"] = []
    assert recipe_of(trained) is None and make_plan(trained, "auto", **plain).recipe is None
    assert "No retraining 'tail'. Known: auto, refit, head, last:K" in refusal(
        lambda: make_plan(trained, "tail", **plain)
    )


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_padding_changes_no_gradient(family: str, tmp_path: Path) -> None:
    """Without padding the loss of texts of unlike lengths and its gradient are those of the whole model on a padded
    batch; with matrix products in bf16 they are so up to its three digits.
    """
    workspace, _ = create_workspace(
        tmp_path / "w", model=tiny_model(family, tmp_path / "model"), **write_tables(tmp_path, n_train=12, n_test=3)
    )
    rows, found = np.array([4, 0, 7, 2, 9]), {}
    for precision in ("bf16", "fp32"):
        made = Blocks(workspace, QUICK, np.arange(3), silent, precision)
        assert made.train.is_packed and len({*made.train.lengths}) > 2
        parameters = made._restart(0)
        with made.train.model() as logits:
            found[precision] = loss_and_gradient(logits(rows), made.labels[rows], parameters)
    inputs = made.classifier.pad(made.train.encoded, rows.tolist())
    expected = loss_and_gradient(made.classifier.model(**inputs).logits, made.labels[rows], parameters)
    assert_close(found["fp32"], expected, relative=1e-5, what="loss and gradient")
    assert_close(found["bf16"], expected, relative=0.03, what="loss and gradient in bf16")
    assert np.abs(found["bf16"] - expected).max() > 1e-4 * np.abs(expected).max(), "nothing ran in bf16"


def loss_and_gradient(logits: torch.Tensor, labels: torch.Tensor, parameters: list[nn.Parameter]) -> np.ndarray:
    """The mean loss and its slope in every parameter, one after the other."""
    loss = nn.functional.cross_entropy(logits, labels)
    slopes = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([loss.detach()[None], *(slope.flatten() for slope in slopes)]).numpy()


def test_other_architectures_run_padded(tmp_path: Path) -> None:
    """Where the blocks are not BERT's the same models are made with padding."""
    model = tiny_model("distilbert", tmp_path / "model", dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0)
    workspace, _ = create_workspace(tmp_path / "w", model=model, **write_tables(tmp_path, n_train=12, n_test=3))
    recipe = replace(QUICK, trainable="last:1", epochs=1)
    assert not Blocks(workspace, recipe, np.arange(3), silent).train.is_packed
    (found,) = retrainer(workspace, recipe, range(3)).logits([job(range(12), range(3))])
    trained = train(workspace, recipe)
    expected = trained.classifier.collect(trained.classifier.tokenize(*trained.texts("test")))[1]
    assert_close(found, expected, relative=5e-3)


def test_heads_side_by_side_are_heads_alone(still: Workspace) -> None:
    """Several heads at once are each what a plain loop over a linear layer makes of its examples and seed."""
    draw = torch.Generator().manual_seed(1)
    features, labels = torch.randn(30, 6, generator=draw), torch.arange(30) % 3
    recipe = Recipe(trainable="head", epochs=3, batch_size=4, learning_rate=0.05)
    rows = np.stack([np.sort(np.random.default_rng(s).permutation(30)[:17]) for s in range(3)])
    layers = [nn.Linear(6, 3) for _ in rows]
    start = (torch.stack([layer.weight.detach() for layer in layers]), torch.stack([n.bias.detach() for n in layers]))
    weights, biases = trained_heads(features, labels, rows, recipe, [5, 6, 7], start, lambda step: None)
    for layer, own, seed, weight, bias in zip(layers, rows, (5, 6, 7), weights, biases, strict=True):
        optimiser = torch.optim.AdamW(layer.parameters(), lr=0.05, weight_decay=0.01)
        schedule = schedule_of(optimiser, recipe.steps(17) * 3)
        for batches in epochs_of(replace(recipe, seed=seed), 17):
            for at in batches:
                optimiser.zero_grad()
                nn.functional.cross_entropy(layer(features[own[at]]), labels[own[at]]).backward()
                nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
                optimiser.step()
                schedule.step()
        torch.testing.assert_close(weight, layer.weight.detach(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(bias, layer.bias.detach(), atol=1e-5, rtol=1e-4)
    jobs = [job(range(s, s + 20), range(4), seed=s) for s in range(3)]
    engine = TrainedHeads(still, replace(recipe, learning_rate=0.01), np.arange(9), silent)
    for one, found in zip(jobs, engine.logits(jobs, lambda step: None), strict=True):
        assert_close(found, engine.logits([one], lambda step: None)[0], relative=1e-5)


def test_a_refitted_head_is_at_its_optimum(convex: Convex) -> None:
    """On a subset, with the bias penalised as the weight is, and whatever it starts from: against Newton's method."""
    rows, tests, l2 = np.arange(0, 100, 3), np.arange(11), 0.01
    engine = RefittedHeads(convex.workspace, l2, tests, silent)
    features, test = (np.hstack([x, np.ones((len(x), 1))]) for x in (convex.features, convex.test_features))
    expected = test @ refit(features[rows], convex.labels[rows], 2, l2).weight.T
    assert_close(engine.logits([job(rows, tests)], lambda step: None)[0], expected, relative=1e-4)
    three = np.arange(100) // 3 % 3
    engine.labels, engine.count = three, 3
    engine.start = engine._solved(np.arange(100), None)
    expected = test @ refit(features[rows], three[rows], 3, l2).weight.T
    assert_close(engine.logits([job(rows, tests)], lambda step: None)[0], expected, relative=1e-4)


@pytest.mark.parametrize("trainable", ["head", "last:2", ""])
def test_added_examples_are_as_if_the_data_had_them(
    still: Workspace, convex: Convex, tmp_path: Path, trainable: str
) -> None:
    """One text in the place of another, and one more at the end: the model is that of a data set with these rows.

    trainable "" is the head solved to its optimum. The models are told apart by what was added when they are kept.
    """
    space = still if trainable else convex.workspace
    n, recipe = len(space.train), replace(QUICK, trainable=trainable) if trainable else None
    changed = pd.concat([space.train, space.train.iloc[[4]]], ignore_index=True)
    changed.loc[3, "text"], changed.loc[n, "text"] = "a warm and clever plot", "the stale cast was dull"
    others = with_training_data(space, changed, tmp_path / "changed")
    expected = retrainer(others, recipe, range(9)).logits([job(range(n + 1), range(9))])[0]
    added = Added(texts=changed["text"].iloc[[3, n]].tolist(), labels=space.label_ids(changed.iloc[[3, n]]))
    rows = np.append(np.arange(n), n + 1)
    rows[3] = n
    made = retrainer(space, recipe, range(9))
    made.added = added
    found = made.logits([job(rows, range(9)), job(range(n), range(9))])
    assert_close(found[0], expected, relative=1e-3)
    assert np.abs(found[1] - expected).max() > 1e-3 * np.abs(expected).max(), "the texts matter"
    kept = [made._question([job(rows, range(9))]), made._question([job(range(n), range(9))])]
    assert kept[1] == retrainer(space, recipe, range(9))._question([job(range(n), range(9))])
    made.added = replace(added, texts=["a warm and clever plot", "another"])
    assert made._question([job(rows, range(9))]) != kept[0]


def test_a_seed_and_its_examples_are_a_model(workspace: Workspace) -> None:
    """With dropout too: the same again bit by bit, whatever was made before; other examples or seeds are others."""
    made = retrainer(workspace, replace(QUICK, epochs=1), range(5))
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first, other, more, again = made.logits(
        [job(range(20), range(5)), job(range(20), range(5), seed=1), job(range(21), range(5)), job(range(20), range(5))]
    )
    assert np.array_equal(first, again) and torch.equal(before, torch.random.get_rng_state())
    assert not np.allclose(first, other) and not np.allclose(first, more)


def test_a_killed_run_goes_on_where_it_was(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was finished is not made again, and nothing at all is computed where all is kept."""
    kept: dict[str, dict[str, np.ndarray]] = {}
    made: list[int] = []
    logits = Blocks._logits

    def counted(self: Blocks, rows: np.ndarray, *arguments: Any) -> np.ndarray:
        if len(made) == 2:
            made.append(0)
            raise KeyboardInterrupt
        made.append(len(rows))
        return logits(self, rows, *arguments)

    def keep(question: Any, make: Any) -> dict[str, np.ndarray]:
        if repr(question) not in kept:
            kept[repr(question)] = make()
        return kept[repr(question)]

    monkeypatch.setattr(Blocks, "_logits", counted)
    plan, tests = Plan(recipe=replace(QUICK, trainable="last:1", epochs=1), l2=1.0), np.arange(3)
    jobs = [job(range(size), tests) for size in (10, 11, 12, 13)]

    def run() -> list[np.ndarray]:
        return Retrainer(workspace, plan, tests, keep, silent).logits(jobs)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert made == [10, 11, 0] and len(kept) == 2
    first = run()
    assert made == [10, 11, 0, 12, 13]
    monkeypatch.setattr(blocks, "load_classifier", None)
    assert all(np.array_equal(a, b) for a, b in zip(first, run(), strict=True))


def test_the_cost_is_that_of_all_steps(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every step takes two seconds, a retraining takes twice its steps, found out by a few of them.

    So it is of more examples than there are yet.
    """
    clock = [0.0]
    monkeypatch.setattr(blocks.time, "perf_counter", lambda: clock[0])
    steps: list[int] = []
    step = blocks.Learner.step

    def slow(self: Any, loss: torch.Tensor) -> None:
        steps.append(1)
        clock[0] += 2
        step(self, loss)

    monkeypatch.setattr(blocks.Learner, "step", slow)
    recipe = replace(QUICK, trainable="last:1", epochs=5, batch_size=3)
    assert retrainer(workspace, recipe, range(3)).seconds([40, 20]) == pytest.approx(2 * 14 * 5 * 1.5)
    assert 1 < len(steps) < 14
    assert retrainer(workspace, recipe, range(3)).seconds([80]) == pytest.approx(2 * 14 * 5 * 2)


def test_the_states_leave_no_file(workspace: Workspace) -> None:
    """Not even while they are in use: a killed run has nothing to tidy up."""
    opened = reopened(workspace)
    before = sorted(path.name for path in opened.storage.iterdir())
    made = Blocks(opened, replace(QUICK, epochs=1), np.arange(3), silent)
    assert sorted(path.name for path in opened.storage.iterdir()) == before
    assert made.train.states(2).shape == (made.train.lengths[2], 16)
