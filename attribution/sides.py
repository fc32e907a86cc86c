"""The query's side of the product, v = P ∇F, and the three scorers that meet it with the training examples.

Every scorer has the same two questions: the score of every training example (`train`), and the scores of further
encoded rows, normalised as the training examples they were made from (`copies`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from attribution.ekfac import Layer
from attribution.exact_norms import exact_norms_part
from attribution.factor_index import DTYPES, SCORED, FactorIndex, States, precision_of
from attribution.head import HeadHessian, HeadUnits, cosine, head_units
from attribution.index import Part, Progress, load, silent
from attribution.matrices import Matrix, Pair
from attribution.model import Encoded
from attribution.scope import Scope
from attribution.sketching import needed_pairs, sketch
from attribution.sketching import products as products_with
from attribution.sweep import Direction, Metric, layer_dots, products, sweep
from attribution.variants import State, unmoved_below, weights_of
from attribution.workspace import Workspace

LEADING = 64


class Side(Protocol):
    """One saved state's answer; scores are −⟨v, ∇ℓ⟩, normalised where asked."""

    def train(self, progress: Progress) -> np.ndarray:
        """The score of every training example: (train,)."""
        ...

    def exactly(self, positions: np.ndarray) -> np.ndarray:
        """Exact scores of some training examples: (positions,)."""
        ...

    def whole(self, positions: np.ndarray) -> np.ndarray:
        """Scores of some training examples in the precision of `copies`, so that they can be held against those."""
        ...

    def copies(
        self, encoded: Encoded, labels: np.ndarray, owner: np.ndarray, states: States | None = None
    ) -> np.ndarray:
        """Scores of encoded rows with these label ids; `owner`: the training position whose norm each row takes.

        `states`: those of the final model that enter a block, read in place of what lies below where they are the same.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class HeadSide:
    """The head in closed form: v (labels, width), and the norms to divide by or None."""

    workspace: Workspace
    state: int
    bias: bool
    vector: np.ndarray
    norm: float
    units: HeadUnits
    norms: np.ndarray | None

    def train(self, progress: Progress) -> np.ndarray:
        return self._scaled(-self.units.dot(self.vector), self.norms)

    def exactly(self, positions: np.ndarray) -> np.ndarray:
        return self._scaled(-self.units.dot(self.vector), self.norms)[positions]

    def whole(self, positions: np.ndarray) -> np.ndarray:
        return self.exactly(positions)

    def copies(
        self, encoded: Encoded, labels: np.ndarray, owner: np.ndarray, states: States | None = None
    ) -> np.ndarray:
        return self.of_units(self.units_of(encoded, labels), owner)

    def units_of(self, encoded: Encoded, labels: np.ndarray) -> HeadUnits:
        """The head's gradients of encoded rows, which do not depend on what is asked."""
        features, logits = self.workspace.classifier.collect(encoded, weights=weights_of(self.workspace, self.state))
        return head_units(features, logits, labels, bias=self.bias)

    def of_units(self, units: HeadUnits, owner: np.ndarray) -> np.ndarray:
        """As `copies`, from the gradients of the rows."""
        return self._scaled(-units.dot(self.vector), None if self.norms is None else self.norms[owner])

    def _scaled(self, dots: np.ndarray, norms: np.ndarray | None) -> np.ndarray:
        return dots if norms is None else cosine(dots, norms, self.norm)


def head_norms(units: HeadUnits, hessian: HeadHessian | None) -> np.ndarray:
    """‖∇ℓ_i‖, or √(∇ℓ_iᵀ(H + λI)⁻¹∇ℓ_i) with a Hessian: (train,)."""
    return units.norms() if hessian is None else hessian.norms(units)


@dataclass(frozen=True, kw_only=True)
class SweepSide:
    """Any scope, by the exact sweep: v by parameter name, ‖v‖ or ‖P^½∇F‖, and how the training side is normalised.

    `layers`: EK-FAC, where it is the curvature; then `given` is v in its eigenbasis. `index`: where there is one, the
    states it kept below the first block are read from it, in half precision.
    """

    workspace: Workspace
    state: State
    scope: Scope
    given: Mapping[str, Matrix]
    norm: float
    normalise: str
    layers: Mapping[str, Layer] | None
    damping: float
    index: FactorIndex | None

    @cached_property
    def vector(self) -> Mapping[str, Matrix]:
        """v in the parameters' own coordinates."""
        if self.layers is None:
            return self.given
        return {f"{layer}.weight": direction.own for layer, direction in self._by_layer.items()}

    @cached_property
    def _by_layer(self) -> dict[str, Direction]:
        layers, names = self.layers or {}, [name.removesuffix(".weight") for name in self.given]
        return {
            layer: Direction(given=v, basis=layers.get(layer))
            for layer, v in zip(names, self.given.values(), strict=True)
        }

    def train(self, progress: Progress) -> np.ndarray:
        n = len(self.workspace.train)
        positions, what = np.arange(n), f"exact scores over {self.scope.text}"
        dots = -sweep(
            self.workspace.classifier,
            *self.workspace.encoded_train(positions),
            self.vector,
            weights=weights_of(self.workspace, self.state),
            states=self._states(positions),
            dtype=DTYPES[precision_of(self.workspace.classifier)],
            progress=lambda done: progress(done, n, what),
        )
        return dots if self.normalise == "none" else cosine(dots, self._norms(positions, progress), self.norm)

    def exactly(self, positions: np.ndarray) -> np.ndarray:
        """Exact scores of some training examples, in float32: (positions,).

        To three digits where the pass starts from states that the index keeps in half precision.
        """
        if self.normalise != "none" and not self._are_norms_kept:
            found, norms = self._products(positions)
            return cosine(-found, norms, self.norm)
        rows = self.workspace.encoded_train(positions)
        options: Any = {"weights": weights_of(self.workspace, self.state), "states": self._states(positions)}
        if self.scope.is_linear:
            found = -layer_dots(self.workspace.classifier, *rows, self._by_layer, **options)
        else:
            found = -sweep(self.workspace.classifier, *rows, self.vector, **options)
        return found if self.normalise == "none" else cosine(found, self._norms(positions, silent), self.norm)

    def whole(self, positions: np.ndarray) -> np.ndarray:
        return self._swept(*self.workspace.encoded_train(positions), positions, self._states(positions))

    def copies(
        self, encoded: Encoded, labels: np.ndarray, owner: np.ndarray, states: States | None = None
    ) -> np.ndarray:
        unmoved = min(self.scope.first_block or 0, unmoved_below(self.workspace, self.state))
        return self._swept(encoded, labels, owner, states if states and states.block <= unmoved else None)

    def _swept(self, encoded: Encoded, labels: np.ndarray, owner: np.ndarray, states: States | None) -> np.ndarray:
        dots = -sweep(
            self.workspace.classifier,
            encoded,
            labels,
            self.vector,
            weights=weights_of(self.workspace, self.state),
            states=states,
            dtype=DTYPES[precision_of(self.workspace.classifier)],
        )
        if self.normalise == "none":
            return dots
        positions, place = np.unique(owner, return_inverse=True)
        norms = self._norms(positions, silent) if self._are_norms_kept else self.norms(positions)
        return cosine(dots, norms[place], self.norm)

    def norms(self, positions: np.ndarray) -> np.ndarray:
        """Exact norms of some training examples' gradients, made anew: (positions,)."""
        return self._products(positions)[1]

    def _norms(self, positions: np.ndarray, progress: Progress) -> np.ndarray:
        """The norms of some training examples' gradients: kept, and made for all of them where they are not yet."""
        if isinstance(self.state, int):
            return np.asarray(load(self.workspace, self._kept, progress)["norms"])[positions]
        key = ("exact norms", self.state, self.scope, self.normalise, self.damping)
        everything = np.arange(len(self.workspace.train))
        return self.workspace.memo(key, lambda: self._products(everything, progress)[1])[positions]

    @property
    def _are_norms_kept(self) -> bool:
        return isinstance(self.state, int) and self._kept.is_built(self.workspace)

    @property
    def _kept(self) -> Part:
        assert isinstance(self.state, int)
        damping = self.damping if self.normalise == "relatif" else None
        precision = self._metric_precision
        return exact_norms_part(self.workspace, self.scope.text, self.state, damping=damping, precision=precision)

    @property
    def _metric_precision(self) -> str:
        return precision_of(self.workspace.classifier) if self.normalise == "relatif" else "fp32"

    def _products(self, positions: np.ndarray, progress: Progress = silent) -> tuple[np.ndarray, np.ndarray]:
        """⟨v, ∇ℓ_i⟩ and the norms of some training examples' gradients, of which nothing is dropped."""
        layers = self.layers if self.normalise == "relatif" else None
        dots, squares = products(
            self.workspace.classifier,
            *self.workspace.encoded_train(positions),
            self._by_layer,
            Metric(names=self.scope.layers, layers=layers, damping=self.damping),
            weights=weights_of(self.workspace, self.state),
            states=self._states(positions),
            metric_dtype=DTYPES[self._metric_precision],
            progress=lambda done: progress(done, len(positions), "exact norms"),
        )
        return dots, np.sqrt(squares)

    def _states(self, positions: np.ndarray) -> States | None:
        return None if self.index is None else self.index.states(positions)


@dataclass(frozen=True, kw_only=True)
class Projected:
    """Projected training gradients R ∇ℓ_i (train, side²), and the vector (side²,) that meets them: v = Rᵀ vector."""

    gradients: np.ndarray
    vector: np.ndarray


@dataclass(frozen=True, kw_only=True)
class IndexSide:
    """Linear layers, read from the index or from projected gradients; further rows go through the exact sweep.

    Without EK-FAC a scan reads only the pairs that a sample's order needs, and the 64 rows that lead by it are scored
    again with all of them.
    """

    sweep: SweepSide
    scanned: FactorIndex | Projected
    norms: np.ndarray | None

    def train(self, progress: Progress) -> np.ndarray:
        if isinstance(self.scanned, Projected):
            return self._scaled(-(self.scanned.gradients @ self.scanned.vector).astype(np.float64))
        index, vectors = self.scanned, {layer: self._pair(layer) for layer in self.sweep.scope.layers}
        if self.sweep.layers is not None or index.count <= SCORED:
            return self._scaled(-index.dot(vectors))  # what EK-FAC has inverted meets nearly all of the pairs
        dots = -index.dot(vectors, needed_pairs(vectors, index.sample))
        leading = np.sort(np.argsort(-self._scaled(dots), kind="stable")[:LEADING])
        dots[leading] = -products_with(vectors, index.pairs_of(leading))
        return self._scaled(dots)

    def _scaled(self, dots: np.ndarray) -> np.ndarray:
        return dots if self.norms is None else cosine(dots, self.norms, self.sweep.norm)

    def _pair(self, layer: str) -> Pair:
        """What of v meets the pairs of a layer: left (rank, out), right (rank, in)."""
        given = self.sweep.given[f"{layer}.weight"]
        if self.sweep.layers is None:
            return sketch(given)
        fitted = self.sweep.layers[layer]
        left, right = sketch(given, fitted.scale())
        return left @ fitted.of_gradients.T, right @ fitted.of_inputs.T

    def exactly(self, positions: np.ndarray) -> np.ndarray:
        return self.sweep.exactly(positions)

    def whole(self, positions: np.ndarray) -> np.ndarray:
        return self.sweep.whole(positions)

    def copies(
        self, encoded: Encoded, labels: np.ndarray, owner: np.ndarray, states: States | None = None
    ) -> np.ndarray:
        return self.sweep.copies(encoded, labels, owner, states)
