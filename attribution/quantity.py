"""Explained quantities F: numbers computed from the model for one example, higher = more of it.

Each is a function of the parameters (`weights`, by name) that autograd can differentiate, so that
score(i) = −∇F · P · ∇ℓ_i can be formed for any of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attribution.model import Classifier, Example

Weights = Mapping[str, Tensor]


class OfLogits(ABC):
    """A quantity that depends on the logits of the text alone."""

    @abstractmethod
    def of_logits(self, logits: Tensor) -> Tensor:
        """F from the logits (labels,)."""

    def __call__(self, classifier: Classifier, example: Example, weights: Weights) -> Tensor:
        return self.of_logits(classifier.run(example.inputs, weights=weights)[0].float()[0])


@dataclass(frozen=True, kw_only=True)
class LogProbability(OfLogits):
    """log p(label | x): natural logarithm, at most 0."""

    label: int
    name: ClassVar[str] = "log_probability"

    def of_logits(self, logits: Tensor) -> Tensor:
        return logits.log_softmax(dim=-1)[self.label]


@dataclass(frozen=True, kw_only=True)
class Margin(OfLogits):
    """The logit of a label minus that of another: the log of their odds."""

    label: int
    against: int
    name: ClassVar[str] = "margin"

    def of_logits(self, logits: Tensor) -> Tensor:
        return logits[self.label] - logits[self.against]


@dataclass(frozen=True, kw_only=True)
class LogOdds(OfLogits):
    """log p(label | x) − log(1 − p(label | x)): the logit of the label against all others (Park et al. 2023 §3.1)."""

    label: int
    name: ClassVar[str] = "log_odds"

    def of_logits(self, logits: Tensor) -> Tensor:
        others = torch.cat([logits[: self.label], logits[self.label + 1 :]])
        return logits[self.label] - others.logsumexp(dim=0)


@dataclass(frozen=True, kw_only=True)
class Importance:
    """log p(label | x) minus log p(label | x with the tokens of a span erased) (Huang et al. 2021 §3.1).

    With `against`, what erasing them takes from the margin over that label. 0 for a span of no token.
    """

    label: int
    tokens: tuple[int, ...]
    against: int | None = None
    name: ClassVar[str] = "importance"

    def __call__(self, classifier: Classifier, example: Example, weights: Weights) -> Tensor:
        ids = example.inputs["input_ids"].repeat(2, 1)
        ids[1, list(self.tokens)] = classifier.erased_id
        inputs = {n: v.expand(2, *v.shape[1:]) for n, v in example.inputs.items()} | {"input_ids": ids}
        logits = classifier.run(inputs, weights=weights)[0].float()
        drop = self.drops(logits)[1]
        return drop if self.tokens else 0 * drop

    def drops(self, logits: Tensor) -> Tensor:
        """How far the first row's log p or margin lies above that of each row: (rows,) from (rows, labels)."""
        values = logits.log_softmax(dim=-1)[:, self.label]
        if self.against is not None:
            values = logits[:, self.label] - logits[:, self.against]
        return values[0] - values


@dataclass(frozen=True, kw_only=True)
class Saliency:
    """The raw (not normalised) saliency of some tokens, summed, for a label, under a differentiable saliency."""

    label: int
    tokens: tuple[int, ...]
    kind: str = "gradient_x_input"
    name: ClassVar[str] = "saliency"

    def __call__(self, classifier: Classifier, example: Example, weights: Weights) -> Tensor:
        scores = DIFFERENTIABLE[self.kind](classifier, example, self.label, weights, True)
        return scores[list(self.tokens)].sum()


Quantity = LogProbability | LogOdds | Margin | Importance | Saliency


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The mean over several texts of a quantity of each one's logits."""

    parts: tuple[LogProbability | LogOdds | Margin, ...]

    @property
    def name(self) -> str:
        return f"mean_{self.parts[0].name}"

    def of_rows(self, logits: Tensor, rows: Sequence[int]) -> Tensor:
        """What some of the texts add to F, from their logits (rows, labels)."""
        values = [self.parts[row].of_logits(own) for row, own in zip(rows, logits, strict=True)]
        return torch.stack(values).sum() / len(self.parts)


Explained = Quantity | Mean


def gradient_x_input(
    classifier: Classifier, example: Example, label: int, weights: Weights, create_graph: bool = False
) -> Tensor:
    """−∇_e ℓ_label · e of every token (Han et al. 2020 §2.1, before their L1 normalisation): (tokens,).

    ℓ_label = −log p(label), so a positive score supports the label. e is the word embedding, or, where that would
    give 0 by construction (`Classifier.scale_free`), the token's vector as it enters the first block.
    """
    embeds = classifier.embed(example.inputs, weights).requires_grad_()
    with classifier.watching(0) as entering:
        logits, _ = classifier.run(example.inputs, embeds=embeds, weights=weights)
    point = entering[0] if classifier.scale_free else embeds
    (gradient,) = torch.autograd.grad(logits.log_softmax(dim=-1)[0, label], point, create_graph=create_graph)
    return (gradient * point)[0].sum(dim=-1)


def gradient_sum(
    classifier: Classifier, example: Example, label: int, weights: Weights, create_graph: bool = False
) -> Tensor:
    """Σ_d ∂p(label)/∂e_d of every token (Meng et al. 2020 §3.1, eq. 2 summed over the dimensions): (tokens,).

    e is the token's vector as it enters the first block. For the word embedding itself the sum is 0 for every token:
    the LayerNorm that follows takes out whatever is added to all dimensions alike.
    """
    embeds = classifier.embed(example.inputs, weights).requires_grad_()
    with classifier.watching(0) as entering:
        logits, _ = classifier.run(example.inputs, embeds=embeds, weights=weights)
    (gradient,) = torch.autograd.grad(logits.softmax(dim=-1)[0, label], entering[0], create_graph=create_graph)
    return gradient[0].sum(dim=-1)


DIFFERENTIABLE: dict[str, Callable[[Classifier, Example, int, Weights, bool], Tensor]] = {
    "gradient_x_input": gradient_x_input,
    "gradient_sum": gradient_sum,
}


def gradient(
    classifier: Classifier, example: Example, quantity: Quantity, names: tuple[str, ...], weights: Weights
) -> list[Tensor]:
    """∇F over the named parameters, each in the parameter's shape; zeros where F does not depend on one.

    Cost: one backward pass for a log-probability; for a saliency, a backward pass through a backward pass.
    """
    own = dict(classifier.model.named_parameters())
    leaves = {name: weights.get(name, own[name]).detach().clone().requires_grad_() for name in names}
    value = quantity(classifier, example, {**weights, **leaves})
    return list(torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True))


def word_embedding_gradient(classifier: Classifier, example: Example, label: int, weights: Weights) -> Tensor:
    """∇ log p(label) over each position's word embedding: (tokens, width). A word's row is the sum of its positions."""
    embeds = classifier.embed(example.inputs, weights).requires_grad_()
    logits, _ = classifier.run(example.inputs, embeds=embeds, weights=weights)
    (gradient,) = torch.autograd.grad(logits.log_softmax(dim=-1)[0, label], embeds)
    return gradient[0]
