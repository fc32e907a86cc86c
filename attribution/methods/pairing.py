"""Why does the model look at this token? Influence of training examples on a token's saliency (Meng et al. 2020)."""

from typing import Annotated, Literal, cast

from attribution.index import Progress
from attribution.methods.gradients import Bias, Damping
from attribution.parameters import Choice
from attribution.query import Query
from attribution.registry import example_method
from attribution.results import Scored
from attribution.scoring import Choices, score_head


@example_method(
    title="Influence on a token's saliency",
    family="pairing",
    paper="Meng 2020 §3.2 eq. 5 and 8",
    formula=r"\nabla w_y(e_t)^\top (H + \lambda I)^{-1} (-\nabla \ell_i)",
    unit="cosine (normalise=relatif), or change of raw saliency",
    cost="a double backward pass of the test example, then one pass over the features",
    weakness="With the head as scope it sees what the last layer can change, not what earlier layers learnt.",
    words=True,
    clicked=True,
    index=("features",),
)
def saliency_influence(
    query: Query,
    progress: Progress,
    *,
    saliency: Annotated[
        str, Choice(choices=("gradient_x_input", "gradient_sum"), help="Which saliency of the token is explained.")
    ] = "gradient_x_input",
    solver: Annotated[str, Choice(choices=("exact", "identity"), help="The head's exact Hessian, or none.")] = "exact",
    normalise: Annotated[
        str, Choice(choices=("relatif", "cosine", "none"), help="none is Meng's eq. 5 as published.")
    ] = "relatif",
    damping: Damping = 0.01,
    bias: Bias = False,
) -> Scored:
    """∇w_y(e_t)ᵀ(H + λI)⁻¹(−∇ℓ_i): did training on example i raise the saliency of the clicked token?

    F = w_y(e_t) is the raw saliency of the clicked token(s) for the explained label (Meng et al. 2020 eq. 5). Meng's
    I(z, w) is dw/dε for up-weighting z and equals this score: positive = raised it. The default divides by RelatIF's
    norms, so that the rows answer the question asked and not the largest loss. Raises UserError without a token.
    """
    choices = Choices(
        bias=bias,
        solver=cast(Literal["exact", "identity"], solver),
        normalise=cast(Literal["none", "cosine", "relatif"], normalise),
        damping=damping,
    )
    return score_head(query, query.saliency(saliency), choices, progress)
