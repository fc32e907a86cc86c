"""The influence of training examples on their own loss: ∇ℓ_i · P · ∇ℓ_i, never negative but for `representer`.

What the model could learn from no other example, it has to learn from the example itself: wrong labels and rare cases
have the most (Koh & Liang 2017 §5.4; Pruthi et al. 2020 §4.1). Each takes the parameters of the method of its name.
"""

from collections.abc import Callable

import numpy as np

from attribution.ekfac import norms_parts
from attribution.head import HeadUnits, head_hessian, head_units
from attribution.index import Part, Progress, load, parts
from attribution.methods.representer import refit
from attribution.registry import get_method
from attribution.workspace import Workspace, softmax

LOSS = "loss"
SelfInfluence = Callable[[Workspace, Progress], np.ndarray]


def _features(workspace: Workspace, state: int, progress: Progress, *, bias: bool) -> HeadUnits:
    part = parts(workspace, "features", "all")[state]
    arrays = load(workspace, part, progress)
    labels = workspace.label_ids(workspace.train)
    return head_units(np.asarray(arrays["features"]), np.asarray(arrays["logits"]), labels, bias=bias)


def losses(workspace: Workspace, progress: Progress) -> np.ndarray:
    """−log p of every training example's label: (train,)."""
    (part,) = parts(workspace, "features")
    shares = softmax(np.asarray(load(workspace, part, progress)["logits"]))
    labels = workspace.label_ids(workspace.train)
    return -np.log(np.maximum(shares[np.arange(len(labels)), labels], np.finfo(np.float64).tiny))


def _gd(workspace: Workspace, progress: Progress) -> np.ndarray:
    """‖∇ℓ_i‖² over the head's weight."""
    return _features(workspace, -1, progress, bias=False).norms() ** 2


def _tracin_last(workspace: Workspace, progress: Progress) -> np.ndarray:
    """Σ_c η_c ‖∇ℓ_ic‖² over the head's weight."""
    states = workspace.states()
    return sum(
        (workspace.rate(c) * _features(workspace, c, progress, bias=False).norms() ** 2 for c in states),
        np.zeros(len(workspace.train)),
    )


def _influence_head(workspace: Workspace, progress: Progress) -> np.ndarray:
    """∇ℓ_iᵀ(H + λI)⁻¹∇ℓ_i over the head, with the method's own damping."""
    units = _features(workspace, -1, progress, bias=True)
    damping = get_method("influence_head").parameters["damping"].default
    return head_hessian(units, damping=damping).norms(units) ** 2


def _influence_part(workspace: Workspace) -> Part:
    own = get_method("influence").parameters
    (part,) = norms_parts(workspace, own["scope"].default, own["damping"].default)
    return part


def _influence(workspace: Workspace, progress: Progress) -> np.ndarray:
    """∇ℓ_iᵀ(H + λI)⁻¹∇ℓ_i with EK-FAC, over the method's own scope with its own damping."""
    return np.asarray(load(workspace, _influence_part(workspace), progress)["norms"], dtype=np.float64) ** 2


def _representer(workspace: Workspace, progress: Progress) -> np.ndarray:
    """α_ij ‖f_i‖² for the example's own label j."""
    units = _features(workspace, -1, progress, bias=False)
    labels = workspace.label_ids(workspace.train)
    l2 = get_method("representer").parameters["l2"].default
    alpha = refit(units.features, labels, len(workspace.labels), l2).alpha
    return alpha[np.arange(len(labels)), labels] * np.square(units.features).sum(axis=1)


SELF: dict[str, SelfInfluence] = {
    "influence_head": _influence_head,
    "influence": _influence,
    "gd": _gd,
    "tracin_last": _tracin_last,
    "representer": _representer,
    LOSS: losses,
}


def needed_parts(workspace: Workspace, method: str) -> list[Part]:
    """What of the index the self-influence of a method reads, whether it is built or not."""
    if method == "influence":
        return [_influence_part(workspace)]
    return parts(workspace, "features", "all" if method == "tracin_last" else "final")
