"""Checkpoint folders as a Hugging Face Trainer leaves them, of tiny models."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from attribution.loading import quiet

LABELS = ("negative", "positive")
RATES = {5: 4e-3, 10: 3e-3, 15: 2e-3, 20: 1e-3, 30: 5e-4}


def trained(folder: Path, model: Path, steps: int, *, labels: Sequence[str] = LABELS) -> Path:
    """A checkpoint-N folder as Trainer leaves it: weights, configuration, state and pickles, no tokenizer.

    The weights are those of the model (with a head from seed 1 where it has none) after N equal little steps.
    """
    torch.manual_seed(1)
    names = dict(enumerate(labels))
    with quiet():
        moved = AutoModelForSequenceClassification.from_pretrained(
            model, num_labels=len(labels), id2label=names, label2id={v: k for k, v in names.items()}
        )
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter += 1e-3 * steps * torch.randn(parameter.shape, generator=draw)
    target = folder / f"checkpoint-{steps}"
    with quiet():
        moved.save_pretrained(target)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        (target / name).write_bytes(b"a pickle that must not be read")
    return target


def with_log(folder: Path, rates: dict[int, float], **changes: Any) -> Path:
    """Trainer's state beside the weights: a rate every few steps, an evaluation, and the summary of the run."""
    step = int(folder.name.removeprefix("checkpoint-"))
    history = [{"epoch": s / 10, "learning_rate": r, "loss": 0.5, "step": s} for s, r in rates.items() if s <= step]
    history.append({"epoch": step / 10, "eval_accuracy": 0.5, "eval_loss": 0.7, "step": step})
    state = {"epoch": step / 10, "global_step": step, "log_history": history, **changes}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    return folder
