"""Gradient products over the classification head: GD, GC, TracIn on the last layer, influence, RelatIF.

All score −∇F · P · ∇ℓ_i with F = log p(explained label), so that positive = proponent. The papers write the loss of
the test example in place of F; the sign is turned here once.
"""

from typing import Annotated, Literal

from attribution.index import Progress
from attribution.parameters import Choice, Flag, Range
from attribution.query import Query
from attribution.registry import example_method
from attribution.results import Scored
from attribution.scoring import Choices, score_head

Bias = Annotated[bool, Flag(help="Count the head's bias too; left out by default (Yeh 2022 §3.2).")]
Damping = Annotated[
    float,
    Range(low=0, above=True, high=1000, help="λ as a multiple of the Hessian's mean eigenvalue; larger = smoother."),
]
States = Annotated[str, Choice(choices=("all", "final"), help="Sum over all saved checkpoints, or the final one only.")]


@example_method(
    title="Gradient dot product",
    family="tracin",
    paper="Charpiat 2019; Pezeshkpour 2021 §2 eq. 2",
    formula=r"\nabla F(x') \cdot (-\nabla \ell_i)",
    unit="change of log p for a unit step on the example",
    cost="closed form on the head: one pass over the features",
    weakness="The same few high-loss examples lead whatever the question (Pezeshkpour 2021 §4).",
    words=True,
    index=("features",),
)
def gd(query: Query, progress: Progress, *, bias: Bias = False) -> Scored:
    """⟨∇F, −∇ℓ_i⟩ over the head (Pezeshkpour et al. 2021 §2, GD); positive = proponent."""
    return score_head(query, query.log_probability(), Choices(bias=bias), progress)


@example_method(
    title="Gradient cosine",
    family="tracin",
    paper="Charpiat 2019; Pezeshkpour 2021 §2 eq. 3",
    formula=r"\cos(\nabla F(x'), -\nabla \ell_i)",
    unit="cosine, −1 to 1",
    cost="closed form on the head: one pass over the features",
    weakness="On a two-label head it is the feature cosine times ±1 for the label; the size of the loss is lost.",
    words=True,
    index=("features",),
)
def gc(query: Query, progress: Progress, *, bias: Bias = False) -> Scored:
    """cos(∇F, −∇ℓ_i) over the head (Pezeshkpour et al. 2021 §2, GC); positive = proponent."""
    return score_head(query, query.log_probability(), Choices(bias=bias, normalise="cosine"), progress)


@example_method(
    title="TracIn, last layer",
    family="tracin",
    paper="Pruthi 2020; Yeh 2022 §2.1 eq. 2",
    formula=r"\sum_c \eta_c\, \nabla F_c(x') \cdot (-\nabla \ell_{i,c})",
    unit="change of log p that the steps on the example made, to first order",
    cost="closed form on the head: one pass over the features a checkpoint",
    weakness="The last layer is shared by all examples, so large scores cancel (Yeh 2022 §3).",
    words=True,
    index=("features",),
    needs=("checkpoints",),
)
def tracin_last(query: Query, progress: Progress, *, checkpoints: States = "all", bias: Bias = False) -> Scored:
    """Σ_c η_c ⟨∇F_c, −∇ℓ_ic⟩ over the last layer (Yeh et al. 2022 eq. 2), weights only unless `bias`.

    η_c is the mean learning rate of the steps up to checkpoint c. A model that came fine-tuned has one state, η = 1.
    """
    states: Literal["final", "all"] = "all" if checkpoints == "all" else "final"
    choices = Choices(bias=bias, checkpoints=states, rates=True)
    return score_head(query, query.log_probability(), choices, progress)


@example_method(
    title="Influence function, head",
    family="influence",
    paper="Koh & Liang 2017; Pezeshkpour 2021 §2, IF (linear)",
    formula=r"\nabla F(x')^\top (H + \lambda I)^{-1} (-\nabla \ell_i)",
    unit="n × the predicted fall of log p when the example is removed",
    cost="one Cholesky factor of the head's Hessian, then one pass over the features",
    weakness="Predicts removal well, but high-loss examples lead whatever the question.",
    words=True,
    index=("features",),
)
def influence_head(query: Query, progress: Progress, *, damping: Damping = 0.01) -> Scored:
    """∇Fᵀ(H + λI)⁻¹(−∇ℓ_i) with the exact softmax-head Hessian, bias included (Koh & Liang 2017 eq. 2).

    Removing example i is predicted to change F by −score/n. Positive = proponent.
    """
    choices = Choices(bias=True, solver="exact", damping=damping)
    return score_head(query, query.log_probability(), choices, progress)


@example_method(
    title="RelatIF",
    family="influence",
    paper="Barshan 2020; Pezeshkpour 2021 §2 eq. 1",
    formula=r"\cos\left(H_\lambda^{-1/2} \nabla F(x'),\; -H_\lambda^{-1/2} \nabla \ell_i\right)",
    unit="cosine, −1 to 1",
    cost="as influence, plus the norm of every training gradient once",
    weakness="Rows read well, but the size of the effect is divided out: use influence to predict removal.",
    words=True,
    index=("features",),
)
def relatif(query: Query, progress: Progress, *, damping: Damping = 0.01, bias: Bias = False) -> Scored:
    """cos(H^−½∇F, −H^−½∇ℓ_i) over the head with its exact Hessian (Pezeshkpour et al. 2021 eq. 1)."""
    choices = Choices(bias=bias, solver="exact", normalise="relatif", damping=damping)
    return score_head(query, query.log_probability(), choices, progress)
