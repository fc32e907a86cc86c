"""Why does the model look at this token? Influence of training examples on a token's saliency (Meng et al. 2020)."""

from typing import Annotated

from attribution.methods.gradients import Bias, Damping, Normalise, ScopeName, Scorer, Seed, Solver
from attribution.parameters import Choice
from attribution.quantity import Quantity
from attribution.query import Query
from attribution.registry import gradient_method
from attribution.scoring import Choices


@gradient_method(
    preset=Choices(scope="last:2", solver="auto", normalise="relatif"),
    title="Influence on a token's saliency",
    family="pairing",
    paper="Meng 2020 §3.2 eq. 5 and 8",
    formula=r"\nabla w_y(e_t)^\top (H + \lambda I)^{-1} (-\nabla \ell_i)",
    unit="cosine (normalise=relatif), or change of raw saliency",
    cost="a double backward pass of the test example, then one scan of the index",
    weakness="A scope sees what its own layers can change, not what the layers below it learnt.",
    clicked=True,
    index=("curvature", "factors", "norms"),
)
def saliency_influence(
    query: Query,
    *,
    saliency: Annotated[
        str, Choice(choices=("gradient_x_input", "gradient_sum"), help="Which saliency of the token is explained.")
    ] = "gradient_x_input",
    scope: ScopeName = "last:2",
    solver: Solver = "auto",
    normalise: Normalise = "relatif",
    damping: Damping = 0.1,
    bias: Bias = False,
    scorer: Scorer = "auto",
    seed: Seed = 0,
) -> Quantity:
    """∇w_y(e_t)ᵀ(H + λI)⁻¹(−∇ℓ_i): did training on example i raise the saliency of the clicked token?

    F = w_y(e_t) is the raw saliency of the clicked token(s) for the explained label (Meng et al. 2020 eq. 5). Meng's
    I(z, w) is dw/dε for up-weighting z and equals this score: positive = raised it. `normalise=none` is eq. 5 as
    published; the default divides by RelatIF's norms, so that the rows answer the question asked and not the largest
    loss. Raises UserError without a token.
    """
    return query.saliency(saliency)
