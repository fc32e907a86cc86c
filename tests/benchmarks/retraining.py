"""What one model trained again costs: the last two blocks and the head, beside a loop as one would write it first."""

import statistics
import time

import numpy as np
from torch import nn

from attribution.factors import computing_in
from attribution.index import silent
from attribution.retraining.blocks import Blocks
from attribution.retraining.heads import RefittedHeads
from attribution.retraining.jobs import Job
from attribution.retraining.plan import make_plan
from attribution.training import Learner, epochs_of
from attribution.workspace import Workspace

STEPS = 30
TESTS = np.arange(40)


def measure(workspace: Workspace) -> dict[str, float]:
    """The retraining block of the benchmark's JSON, in seconds: on all training examples, by the workspace's recipe."""
    everything = Job(rows=np.arange(len(workspace.train)), seed=0, tests=TESTS)
    plan = make_plan(workspace, "last:2", epochs=0, learning_rate=0, batch_size=0, l2=0.01)
    assert plan.recipe is not None
    began = time.perf_counter()
    blocks = Blocks(workspace, plan.recipe, TESTS, silent)
    prefix = time.perf_counter() - began
    whole, plain = blocks.seconds(everything), plain_seconds(blocks)
    heads = RefittedHeads(workspace, plan.l2, TESTS, silent)
    began = time.perf_counter()
    heads.logits([Job(rows=everything.rows[10:], seed=0, tests=TESTS)], lambda step: None)
    made = {"prefix_once": prefix, "last_2": whole, "plain_loop": plain, "refit": time.perf_counter() - began}
    return {name: round(value, 1) for name, value in made.items()} | {"plain_against_ours": round(plain / whole, 2)}


def plain_seconds(blocks: Blocks) -> float:
    """The same steps from the same kept states, in the same precision, on padded batches through the model as it is."""
    recipe, classifier, part = blocks.recipe, blocks.classifier, blocks.train
    learner, times = Learner(blocks._restart(0), recipe, len(part.lengths)), []
    classifier.model.train()
    try:
        with classifier.cut_before(blocks.cut or 0) as suffix:
            for rows in next(epochs_of(recipe, len(part.lengths)))[:STEPS]:
                began = time.perf_counter()
                with computing_in(classifier.device, part.dtype):
                    logits = suffix.logits(*part.batch(rows))
                learner.step(nn.functional.cross_entropy(logits.float(), blocks.labels[rows]))
                times.append(time.perf_counter() - began)
    finally:
        classifier.model.eval()
    return statistics.mean(times) * recipe.steps(len(part.lengths)) * recipe.epochs
