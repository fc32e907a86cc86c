"""What is being explained: one test example or text, a label, and perhaps a clicked token."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from attribution.errors import UserError, unknown
from attribution.matrices import Matrix
from attribution.model import Classifier, Example
from attribution.quantity import LogOdds, LogProbability, Margin, Quantity, Saliency, Weights, gradient
from attribution.question_factors import gradient_factors
from attribution.workspace import Workspace, softmax

# One index may be negative: then it is the index that is refused, by what the text has.
_TOKENS = re.compile(r"-[0-9]{1,6}|[0-9]{1,6}(-[0-9]{1,6})*")
_INDEX = re.compile(r"^-[0-9]+|[0-9]+")


class Question(Protocol):
    """What a scorer needs of a question, be it about one text or about several."""

    @property
    def workspace(self) -> Workspace: ...

    @property
    def classifier(self) -> Classifier: ...

    def gradient(self, quantity: Any, names: tuple[str, ...], weights: Weights) -> list[Tensor]:
        """∇F over the named parameters, each in the parameter's shape, where `weights` stand in for the model's."""
        ...

    def over_layers(self, quantity: Any, layers: tuple[str, ...], weights: Weights) -> dict[str, Matrix]:
        """∇F over the weights of linear layers that run once an example, by layer, whole or as factors."""
        ...


@dataclass(frozen=True, kw_only=True)
class Query:
    """One question to a workspace.

    `logits` (labels,) and penultimate `features` (width,) are the final model's. `label` is the number of the explained
    label, `against` that of the label it is held against, if any; `tokens` are the clicked tokens or ().
    """

    workspace: Workspace
    example: Example
    logits: np.ndarray
    features: np.ndarray
    label: int
    tokens: tuple[int, ...]
    test: int | None
    true_label: str | None
    against: int | None = None

    @property
    def classifier(self) -> Classifier:
        return self.workspace.classifier

    @property
    def predicted(self) -> int:
        return int(self.logits.argmax())

    @property
    def probabilities(self) -> dict[str, float]:
        return dict(zip(self.workspace.labels, softmax(self.logits).tolist(), strict=True))

    @property
    def label_name(self) -> str:
        return self.workspace.labels[self.label]

    def quantity(self) -> LogProbability | Margin:
        """log p of the explained label, or its margin over the label it is held against."""
        if self.against is None:
            return LogProbability(label=self.label)
        return Margin(label=self.label, against=self.against)

    def value(self) -> float:
        """`quantity` under the final model."""
        return float(self.quantity().of_logits(torch.from_numpy(self.logits).double()))

    def gradient(self, quantity: Quantity, names: tuple[str, ...], weights: Weights) -> list[Tensor]:
        """∇F over the named parameters, each in the parameter's shape, where `weights` stand in for the model's."""
        return gradient(self.classifier, self.example, quantity, names, weights)

    def over_layers(self, quantity: Quantity, layers: tuple[str, ...], weights: Weights) -> dict[str, Matrix]:
        """∇F over the weights of linear layers that run once an example, by layer, whole or as factors."""
        return gradient_factors(self.classifier, self.example, quantity, layers, weights)

    def odds(self) -> Quantity:
        """The log odds of the explained label against all others, or against the one it is held against."""
        return LogOdds(label=self.label) if self.against is None else self.quantity()

    def saliency(self, kind: str) -> Quantity:
        """Saliency of the clicked tokens; UserError where none was clicked."""
        if not self.tokens:
            raise UserError(
                "saliency_influence explains the saliency of a token: give its index (--token I), "
                f"0 to {len(self.example.tokens) - 1}."
            )
        return Saliency(label=self.label, tokens=self.tokens, kind=kind)


def sample_ids(ids: Sequence[int], most: int, seed: int = 0) -> list[int]:
    """At most `most` of some ids of test examples, drawn without replacement, in rising order.

    The same for the same seed, whatever the order of the ids.
    """
    return sorted(np.random.default_rng(seed).permutation(np.sort(np.asarray(ids, dtype=np.int64)))[:most].tolist())


def make_query(
    workspace: Workspace,
    *,
    test: int | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str = "predicted",
    against: str | None = None,
    token: int | tuple[int, ...] | None = None,
) -> Query:
    """Encode and classify what is asked about: a test example by its id, or a text of one's own.

    `label` is "predicted", "true" (test examples only) or a label's name; `against` names a second label, over which
    the margin is explained. `token` is an index into the model's tokens, or several that count as one. Raises UserError
    for each thing that is not there. Cost: one forward pass.
    """
    if (test is None) == (text is None):
        raise UserError("Give either a test example (its id) or a text, not both and not neither.")
    true_label = None
    if test is not None:
        row = workspace.test_row(test)
        text, true_label = str(row["text"]), str(row["label"])
        text_pair = str(row["text_pair"]) if workspace.is_pair else None
    _check_text(workspace, str(text), text_pair)
    example = workspace.classifier.example(str(text), text_pair)
    with torch.no_grad():
        logits, features = (made[0].float().cpu().numpy() for made in workspace.classifier.run(example.inputs))
    chosen = _label_id(workspace, label, int(logits.argmax()), true_label)
    other = None if against is None else _label_id(workspace, against, int(logits.argmax()), true_label)
    if other == chosen:
        raise UserError(f"The margin of '{workspace.labels[chosen]}' over itself is 0: choose another label.")
    made = Query(
        workspace=workspace,
        example=example,
        logits=logits,
        features=features,
        label=chosen,
        against=other,
        tokens=(),
        test=test,
        true_label=true_label,
    )
    return made if token is None else with_tokens(made, (token,) if isinstance(token, int) else tuple(token))


def with_tokens(query: Query, tokens: tuple[int, ...]) -> Query:
    """The same question about some clicked tokens; UserError for one that is not there."""
    for index in tokens:
        if not 0 <= index < len(query.example.tokens):
            raise UserError(f"No token {index}: this text has tokens 0 to {len(query.example.tokens) - 1}.")
    return replace(query, tokens=tokens)


def read_tokens(given: str) -> tuple[int, ...]:
    """Token indices from what a person or a link wrote: '5', '3-7' for all of 3 to 7, or several with commas, '2,5-6'.

    Raises UserError for anything else. A longer '3-4-7' has the ends of a run too.
    """
    found: list[int] = []
    for piece in given.split(","):
        if not _TOKENS.fullmatch(piece):
            raise UserError(
                f"--token takes an index, the first and the last of several as 3-7, or more with commas, not '{given}'."
            )
        bounds = [int(index) for index in _INDEX.findall(piece)]
        if bounds != sorted(bounds):
            raise UserError(f"--token {given} runs backwards: give the first token before the last, as 3-7.")
        found += range(bounds[0], bounds[-1] + 1)
    return tuple(found)


def write_tokens(tokens: Sequence[int]) -> str:
    """What `read_tokens` reads as these indices: neighbours that follow each other as a range."""
    runs: list[list[int]] = []
    for index in tokens:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _check_text(workspace: Workspace, text: str, text_pair: str | None) -> None:
    if workspace.is_pair and text_pair is None:
        raise UserError(f"Workspace '{workspace.name}' classifies pairs of texts: give the second text too.")
    if not workspace.is_pair and text_pair is not None:
        raise UserError(f"Workspace '{workspace.name}' classifies single texts: leave the second text out.")
    if not text.strip() or (text_pair is not None and not text_pair.strip()):
        raise UserError("The text is blank: there is nothing to explain.")


def _label_id(workspace: Workspace, label: str, predicted: int, true_label: str | None) -> int:
    if label == "predicted":
        return predicted
    if label == "true":
        if true_label is None:
            raise UserError("A text of one's own has no true label: choose 'predicted' or a label's name.")
        return workspace.labels.index(true_label)
    if label not in workspace.labels:
        raise unknown("label", label, ("predicted", "true", *workspace.labels))
    return workspace.labels.index(label)
