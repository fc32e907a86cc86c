"""What retraining showed: accuracies and their differences with intervals, and the test examples that changed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribution.editing.outcomes import OUTCOMES, outcome_of
from attribution.workspace import softmax

BASELINE, EDITED, CONTROL = "unedited", "edited", "random edits"
NORMAL = 1.96


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Test probabilities (seeds, tests, labels) of the models by kind, and the true labels (tests,)."""

    shares: Mapping[str, np.ndarray]
    labels: np.ndarray

    @classmethod
    def of(cls, logits: Mapping[str, np.ndarray], labels: np.ndarray) -> "Measured":
        """From logits (seeds, tests, labels) by kind."""
        return cls(shares={name: softmax(found) for name, found in logits.items()}, labels=labels)

    def right(self, kind: str) -> np.ndarray:
        """Whether each model predicts each test example's true label: (seeds, tests)."""
        return self.shares[kind].argmax(axis=-1) == self.labels

    def accuracies(self) -> list[dict[str, Any]]:
        """A row a kind: its accuracy, the 95 % interval and the accuracy of each seed's model."""
        return [
            {"models": kind, **interval(self.right(kind)), "by_seed": self.right(kind).mean(axis=1).tolist()}
            for kind in self.shares
        ]

    def differences(self) -> list[dict[str, Any]]:
        """What the edits added to the accuracy, what random ones added, and the first minus the second."""
        pairs = ((EDITED, BASELINE), (CONTROL, BASELINE), (EDITED, CONTROL))
        return [
            {"models": one, "over": other, **interval(self.right(one).astype(float) - self.right(other))}
            for one, other in pairs
        ]

    def outcomes(self, kind: str) -> dict[str, np.ndarray]:
        """Positions of the test examples that a kind fixed and broke against the unedited models, and of the others.

        What the models of a kind say is the label of the highest mean probability over their seeds.
        """
        before, after = (self.shares[name].mean(axis=0).argmax(axis=1) == self.labels for name in (BASELINE, kind))
        found = outcome_of(before, after)
        return {name: np.flatnonzero(found == name) for name in OUTCOMES}

    def example(self, position: int) -> list[dict[str, Any]]:
        """A row a kind: the mean probability of a test example's true label over seeds, and its standard error."""
        rows = []
        for kind, shares in self.shares.items():
            own = shares[:, position, self.labels[position]]
            error = float(own.std(ddof=1) / math.sqrt(len(own))) if len(own) > 1 else None
            predicted = int(shares[:, position].mean(axis=0).argmax())
            rows.append({"models": kind, "probability": float(own.mean()), "error": error, "predicted": predicted})
        return rows


def interval(values: np.ndarray) -> dict[str, float]:
    """The mean of values (seeds, tests) with the 95 % interval of it for other seeds and other test examples.

    The variances of the mean over tests and over seeds add up, as if both were drawn anew; what they share is counted
    twice, so the interval is rather too wide. With one seed it covers the choice of test examples only.
    """
    mean, variance = float(values.mean()), 0.0
    for by_one in (values.mean(axis=0), values.mean(axis=1)):
        if len(by_one) > 1:
            variance += float(by_one.var(ddof=1)) / len(by_one)
    reach = NORMAL * math.sqrt(variance)
    return {"mean": mean, "low": mean - reach, "high": mean + reach}
