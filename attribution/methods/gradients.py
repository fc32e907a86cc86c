"""Presets of the one equation that explain the prediction: GD, GC, TracIn, influence functions, RelatIF.

All score −∇F · P · ∇ℓ_i with F = log p(explained label), so that positive = proponent. The papers write the loss of
the test example in place of F; the sign is turned here once. With `against`, F is the margin over another label.
"""

from typing import Annotated

from attribution.parameters import Choice, Flag, Name, Range
from attribution.quantity import Quantity
from attribution.query import Query
from attribution.registry import gradient_method
from attribution.scope import KNOWN
from attribution.scoring import NORMALISATIONS, SCORERS, SOLVERS, Choices

ScopeName = Annotated[
    str, Name(choices=KNOWN, help="Parameters the gradient is over: these, last:K, or a pattern of parameter names.")
]
Solver = Annotated[
    str, Choice(choices=SOLVERS, help="What inverts the curvature; auto: exact for the head, EK-FAC otherwise.")
]
Normalise = Annotated[str, Choice(choices=NORMALISATIONS, help="none; cosine; relatif, the cosine in the curvature.")]
Scorer = Annotated[
    str, Choice(choices=SCORERS, help="auto; head: closed form; index: quick, top rows exact; sweep: all rows exact.")
]
Bias = Annotated[bool, Flag(help="Count biases and LayerNorms too; left out by default (Yeh 2022 §3.2).")]
Damping = Annotated[
    float,
    Range(low=0, above=True, high=1000, help="λ as a multiple of a layer's mean eigenvalue; larger = smoother."),
]
States = Annotated[str, Choice(choices=("all", "final"), help="Sum over all saved checkpoints, or the final one only.")]
Seed = Annotated[int, Range(low=0, high=2**31 - 1, help="Seed of what is drawn: probes of cg, lissa and arnoldi.")]


@gradient_method(
    preset=Choices(),
    title="Gradient dot product",
    family="tracin",
    paper="Charpiat 2019; Pezeshkpour 2021 §2 eq. 2",
    formula=r"\nabla F(x') \cdot (-\nabla \ell_i)",
    unit="change of log p for a unit step on the example",
    cost="head: closed form; other scopes: one scan of the index",
    weakness="The same few high-loss examples lead whatever the question (Pezeshkpour 2021 §4).",
    index=("features",),
)
def gd(query: Query, *, scope: ScopeName = "head", bias: Bias = False, scorer: Scorer = "auto") -> Quantity:
    """⟨∇F, −∇ℓ_i⟩ over a scope, the head by default (Pezeshkpour et al. 2021 §2, GD); positive = proponent."""
    return query.quantity()


@gradient_method(
    preset=Choices(normalise="cosine"),
    title="Gradient cosine",
    family="tracin",
    paper="Charpiat 2019; Pezeshkpour 2021 §2 eq. 3",
    formula=r"\cos(\nabla F(x'), -\nabla \ell_i)",
    unit="cosine, −1 to 1",
    cost="head: closed form; other scopes: one scan of the index",
    weakness="On a two-label head it is the feature cosine times ±1 for the label; the size of the loss is lost.",
    index=("features",),
)
def gc(query: Query, *, scope: ScopeName = "head", bias: Bias = False, scorer: Scorer = "auto") -> Quantity:
    """cos(∇F, −∇ℓ_i) over a scope, the head by default (Pezeshkpour et al. 2021 §2, GC); positive = proponent."""
    return query.quantity()


@gradient_method(
    preset=Choices(scope="last:2", checkpoints="all", rates=True),
    title="TracIn",
    family="tracin",
    paper="Pruthi 2020; Yeh 2022 §2.1 eq. 2",
    formula=r"\sum_c \eta_c\, \nabla F_c(x') \cdot (-\nabla \ell_{i,c})",
    unit="change of log p that the steps on the example made, to first order",
    cost="one scan of the index a checkpoint",
    weakness="Large scores of layers that all examples share cancel (Yeh 2022 §3); high-loss examples lead.",
    index=("factors",),
    needs=("checkpoints",),
)
def tracin(
    query: Query,
    *,
    scope: ScopeName = "last:2",
    checkpoints: States = "all",
    rates: Annotated[bool, Flag(help="Weigh each checkpoint by its learning rate η; false weighs all alike.")] = True,
    normalise: Annotated[str, Choice(choices=("none", "cosine"), help="cosine divides by both gradients.")] = "none",
    bias: Bias = False,
    scorer: Scorer = "auto",
) -> Quantity:
    """Σ_c η_c ⟨∇F_c, −∇ℓ_ic⟩ over the saved checkpoints (Yeh et al. 2022 eq. 2), weights only unless `bias`.

    η_c is the mean learning rate of the steps up to checkpoint c. A model that came fine-tuned has one state, η = 1.
    """
    return query.quantity()


@gradient_method(
    preset=Choices(checkpoints="all", rates=True),
    title="TracIn, last layer",
    family="tracin",
    paper="Pruthi 2020; Yeh 2022 §2.1 eq. 2",
    formula=r"\sum_c \eta_c\, \nabla F_c(x') \cdot (-\nabla \ell_{i,c})",
    unit="change of log p that the steps on the example made, to first order",
    cost="closed form on the head: one pass over the features a checkpoint",
    weakness="The last layer is shared by all examples, so large scores cancel (Yeh 2022 §3).",
    index=("features",),
    needs=("checkpoints",),
)
def tracin_last(query: Query, *, checkpoints: States = "all", bias: Bias = False) -> Quantity:
    """Σ_c η_c ⟨∇F_c, −∇ℓ_ic⟩ over the last layer (Yeh et al. 2022 eq. 2), weights only unless `bias`.

    η_c is the mean learning rate of the steps up to checkpoint c. A model that came fine-tuned has one state, η = 1.
    """
    return query.quantity()


@gradient_method(
    preset=Choices(scope="last:2", checkpoints="copies"),
    title="TracInF",
    family="tracin",
    paper="Huang 2021 §3.2",
    formula=r"\sum_k \nabla F_{\theta + \delta_k}(x') \cdot (-\nabla \ell_{i,\theta + \delta_k})",
    unit="change of log p for a unit step on the example, summed over the copies",
    cost="one scan of the index a copy; its top rows are scored exactly on each copy",
    weakness="Small steps barely move the gradients, so it ranks much as gd over the same scope does.",
    index=("factors",),
)
def tracinf(
    query: Query,
    *,
    scope: ScopeName = "last:2",
    copies: Annotated[int, Range(low=1, high=20, help="How many copies of the final model are summed over.")] = 3,
    step: Annotated[float, Range(low=0, above=True, high=1, help="η of the one step that makes a copy.")] = 1e-4,
    bias: Bias = False,
    scorer: Scorer = "auto",
    seed: Annotated[int, Range(low=0, high=2**31 - 1, help="Seed of the copies' mini-batches.")] = 0,
) -> Quantity:
    """Σ_k ⟨∇F, −∇ℓ_i⟩ at copies θ + δ_k of the final model θ (Huang et al. 2021 §3.2, δ-faithful).

    δ_k is one step of gradient descent on 32 random training examples, over what fine-tuning trained; the paper takes
    3 copies and the learning rate 1e-4. As the step goes to 0 the score becomes copies × gd. Positive = proponent. The
    index holds the gradients of θ; `exact` rows are those of the copies.
    """
    return query.quantity()


@gradient_method(
    preset=Choices(scope="last:2", solver="projection", damping=0.01),
    title="TRAK",
    family="influence",
    paper="Park 2023 §3",
    formula=r"\phi(x')^\top (\Phi^\top \Phi + \lambda I)^{-1} \phi_i\, (1 - p_i)",
    unit="predicted fall of the label's log odds when the example is removed",
    cost="projected gradients and their kernel once, then one scan of them",
    weakness="One model and one projection: the paper averages over many, which are noisy alone.",
    index=("factors", "features", "projected_gradients"),
)
def trak(
    query: Query,
    *,
    scope: ScopeName = "last:2",
    side: Annotated[int, Range(low=2, high=64, help="Root of the projection's size: 32 is 1,024 numbers.")] = 32,
    damping: Damping = 0.01,
    scorer: Annotated[
        str, Choice(choices=("auto", "index", "sweep"), help="index: top rows exact; sweep: all.")
    ] = "auto",
    seed: Annotated[int, Range(low=0, high=2**31 - 1, help="Seed of the projection.")] = 0,
) -> Quantity:
    """φ(x')ᵀ(ΦᵀΦ + λI)⁻¹φ_i (1 − p_i), φ the projected gradient of a label's log odds (Park et al. 2023 eq. 15).

    φ(x') is of the explained label, or of its margin with `against`; φ_i and p_i are of the training label. One model
    stands for the paper's ensemble. ΦᵀΦ is formed from the index's pairs. Positive = proponent.
    """
    return query.odds()


@gradient_method(
    preset=Choices(scope="last:2", solver="auto"),
    title="Influence function",
    family="influence",
    paper="Koh & Liang 2017 eq. 2; Han 2020 §2.2",
    formula=r"\nabla F(x')^\top (H + \lambda I)^{-1} (-\nabla \ell_i)",
    unit="n × the predicted fall of log p when the example is removed",
    cost="one scan of the index; cg, lissa, arnoldi: some hundred passes over a sample",
    weakness="Predicts removal best, but the same high-loss examples lead whatever the question.",
    index=("curvature", "factors"),
)
def influence(
    query: Query,
    *,
    scope: ScopeName = "last:2",
    solver: Solver = "auto",
    normalise: Normalise = "none",
    damping: Damping = 0.1,
    bias: Bias = False,
    scorer: Scorer = "auto",
    seed: Seed = 0,
) -> Quantity:
    """∇Fᵀ(H + λI)⁻¹(−∇ℓ_i) over a scope (Koh & Liang 2017 eq. 2; Han et al. 2020 §2.2), H the Gauss–Newton matrix.

    Removing example i is predicted to change F by −score/n. Positive = proponent. Han's papers take the test loss of
    the predicted label; F is its negative here.
    """
    return query.quantity()


@gradient_method(
    preset=Choices(bias=True, solver="exact"),
    title="Influence function, head",
    family="influence",
    paper="Koh & Liang 2017; Pezeshkpour 2021 §2, IF (linear)",
    formula=r"\nabla F(x')^\top (H + \lambda I)^{-1} (-\nabla \ell_i)",
    unit="n × the predicted fall of log p when the example is removed",
    cost="one Cholesky factor of the head's Hessian, then one pass over the features",
    weakness="Predicts removal well, but high-loss examples lead whatever the question.",
    index=("features",),
)
def influence_head(query: Query, *, damping: Damping = 0.01) -> Quantity:
    """∇Fᵀ(H + λI)⁻¹(−∇ℓ_i) with the exact softmax-head Hessian, bias included (Koh & Liang 2017 eq. 2).

    Removing example i is predicted to change F by −score/n. Positive = proponent.
    """
    return query.quantity()


@gradient_method(
    preset=Choices(scope="last:2", solver="auto", normalise="relatif"),
    title="RelatIF",
    family="influence",
    paper="Barshan 2020; Pezeshkpour 2021 §2 eq. 1",
    formula=r"\cos\left(H_\lambda^{-1/2} \nabla F(x'),\; -H_\lambda^{-1/2} \nabla \ell_i\right)",
    unit="cosine, −1 to 1",
    cost="as influence, plus the norm of every training gradient once",
    weakness="Rows read well, but the size of the effect is divided out: use influence to predict removal.",
    index=("curvature", "factors", "norms"),
)
def relatif(
    query: Query,
    *,
    scope: ScopeName = "last:2",
    solver: Annotated[
        str, Choice(choices=("auto", "exact", "ekfac"), help="auto: exact for the head, EK-FAC otherwise.")
    ] = "auto",
    damping: Damping = 0.1,
    bias: Bias = False,
    scorer: Scorer = "auto",
) -> Quantity:
    """cos(H^−½∇F, −H^−½∇ℓ_i) over a scope, H damped (Barshan et al. 2020; Pezeshkpour et al. 2021 eq. 1)."""
    return query.quantity()
