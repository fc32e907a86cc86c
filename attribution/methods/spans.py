"""Spans of training examples as explanations (Huang et al. 2021): IF⁺, IF⁺⁺, TracIn⁺, TracIn⁺⁺.

The unit is ψ = ∇ℓ(z) − ∇ℓ(z with the span masked), the slope of what the loss gains by the span. With ++ the explained
quantity is the importance of a span of the test text too. A score is −∇F · P · ψ: positive = training on the span
raised F. So is the paper's IF⁺ and TracIn⁺; its ++ have the opposite sign, under which a span opposes itself.
"""

from typing import Annotated

from attribution.index import Progress
from attribution.masked_texts import KIND as MASKED
from attribution.methods.gradients import Bias, Damping, ScopeName, Seed, Solver
from attribution.parameters import Choice, Range
from attribution.query import Query
from attribution.registry import example_method
from attribution.results import Scored
from attribution.scoring import SCORERS, Choices
from attribution.span_scores import explained_span, score_spans
from attribution.spans import FINDERS, Finder

FinderName = Annotated[
    str,
    Choice(
        choices=FINDERS,
        help="clauses; sentences; ngrams; aspect: clauses of text 2 that hold text 1; given: columns of the data.",
    ),
]
Size = Annotated[int, Range(low=1, high=100, help="Words of an n-gram, for finder=ngrams.")]
Candidates = Annotated[
    int,
    Range(
        low=1,
        high=10_000_000,
        help="Spans of the training set that are scored exactly: those foretold to be strongest, from either end.",
    ),
]
Scorer = Annotated[
    str,
    Choice(choices=SCORERS, help="What the candidates are foretold from: auto, head, index; sweep: score every span."),
]
Copies = Annotated[int, Range(low=1, high=20, help="How many copies of the final model are summed over.")]
Step = Annotated[float, Range(low=0, above=True, high=1, help="η of the one step that makes a copy.")]
CopySeed = Annotated[int, Range(low=0, high=2**31 - 1, help="Seed of the copies' mini-batches.")]

SEARCH = ("features", MASKED)
INVERSE = Choices(scope="last:2", solver="auto")
COPIES = Choices(scope="last:2", checkpoints="copies")


@example_method(
    preset=INVERSE,
    title="Influence of spans on a prediction",
    family="spans",
    paper="Huang 2021 §3.1, IF⁺",
    formula=r"\nabla F(x')^\top (H + \lambda I)^{-1} \left(\nabla \ell(z_{-ij}) - \nabla \ell(z)\right)",
    unit="n × the predicted fall of log p when the span's part in its example's loss is removed",
    cost="one scan of the index, then a row through the exact sweep for each candidate and each of their examples",
    weakness="Masking what a label rests on raises the loss: an example that is learnt well can come out an opponent.",
    words=True,
    spans="training",
    index=("curvature", "factors", *SEARCH),
)
def if_plus(
    query: Query,
    progress: Progress,
    *,
    finder: FinderName = "clauses",
    candidates: Candidates = 300,
    size: Size = 4,
    scope: ScopeName = "last:2",
    solver: Solver = "auto",
    damping: Damping = 0.1,
    bias: Bias = False,
    scorer: Scorer = "auto",
    seed: Seed = 0,
) -> Scored:
    """−∇Fᵀ(H + λI)⁻¹(∇ℓ(z) − ∇ℓ(z₋ᵢⱼ)) for the spans ij of training examples z, F = log p (Huang et al. 2021 §3.1).

    z₋ᵢⱼ is z with [MASK] in place of every token of the span. An example's score is that of its strongest span, the one
    of largest magnitude, with its sign; 0 where no span was scored. Words carry the score of their span. Positive =
    proponent, as the paper has it.
    """
    choices = INVERSE.overlaid(
        {"scope": scope, "solver": solver, "damping": damping, "bias": bias, "scorer": scorer, "seed": seed}
    )
    return score_spans(query, query.quantity(), choices, Finder(name=finder, size=size), candidates, progress)


@example_method(
    preset=INVERSE,
    title="Influence of spans on a span",
    family="spans",
    paper="Huang 2021 §3.1, IF⁺⁺; appendix B",
    formula=r"\nabla \left(F(x') - F(x'_{-kl})\right)^\top (H + \lambda I)^{-1}"
    r" \left(\nabla \ell(z_{-ij}) - \nabla \ell(z)\right)",
    unit="n × the predicted fall of the test span's importance (log p) when the training span's part is removed",
    cost="as if_plus, and a forward pass a span of the test text where none is clicked",
    weakness="A masked text is unlike any the model has seen, on both sides of the product.",
    words=True,
    spans="both",
    index=("curvature", "factors", *SEARCH),
)
def if_plus_plus(
    query: Query,
    progress: Progress,
    *,
    finder: FinderName = "clauses",
    candidates: Candidates = 300,
    size: Size = 4,
    scope: ScopeName = "last:2",
    solver: Solver = "auto",
    damping: Damping = 0.1,
    bias: Bias = False,
    scorer: Scorer = "auto",
    seed: Seed = 0,
) -> Scored:
    """As if_plus with F the importance of a test span: log p less log p with the span masked (Huang et al. 2021 §3.1).

    The span is the clicked tokens; without, the most important one that the finder finds in the test text, and the
    notes say which. Positive: training on the span raised that importance, so a span supports itself; the published
    formula has the opposite sign. An example's score is that of its strongest span, with its sign; 0 where none was
    scored.
    """
    spans = Finder(name=finder, size=size)
    quantity, notes = explained_span(query, spans)
    choices = INVERSE.overlaid(
        {"scope": scope, "solver": solver, "damping": damping, "bias": bias, "scorer": scorer, "seed": seed}
    )
    return score_spans(query, quantity, choices, spans, candidates, progress, notes)


@example_method(
    preset=COPIES,
    title="TracIn of spans on a prediction",
    family="spans",
    paper="Huang 2021 §3.3, TracIn⁺",
    formula=r"\sum_k \nabla F_{\theta + \delta_k}(x') \cdot"
    r" \left(\nabla \ell_{\theta + \delta_k}(z_{-ij}) - \nabla \ell_{\theta + \delta_k}(z)\right)",
    unit="change of log p for a unit step on the span's part in its example's loss, summed over the copies",
    cost="as if_plus, without a curvature; the top rows once more on each copy",
    weakness="As if_plus: the paper's own table has it find examples of another label than the test's.",
    words=True,
    spans="training",
    index=("factors", *SEARCH),
)
def tracin_plus(
    query: Query,
    progress: Progress,
    *,
    finder: FinderName = "clauses",
    candidates: Candidates = 300,
    size: Size = 4,
    scope: ScopeName = "last:2",
    copies: Copies = 3,
    step: Step = 1e-4,
    bias: Bias = False,
    scorer: Scorer = "auto",
    seed: CopySeed = 0,
) -> Scored:
    """Σ_k −⟨∇F, ∇ℓ(z) − ∇ℓ(z₋ᵢⱼ)⟩ at copies θ + δ_k of the final model θ, F = log p (Huang et al. 2021 §3.3).

    δ_k is one step of gradient descent on 32 random training examples, as in tracinf. As the step goes to 0 the score
    becomes copies × the product at θ, which stands in for it outside the `exact` rows. An example's score is that of
    its strongest span, with its sign; 0 where none was scored. Positive = proponent, as the paper has it.
    """
    choices = COPIES.overlaid(
        {"scope": scope, "copies": copies, "step": step, "bias": bias, "scorer": scorer, "seed": seed}
    )
    return score_spans(query, query.quantity(), choices, Finder(name=finder, size=size), candidates, progress)


@example_method(
    preset=COPIES,
    title="TracIn of spans on a span",
    family="spans",
    paper="Huang 2021 §3.3, TracIn⁺⁺; appendix C",
    formula=r"\sum_k \nabla \left(F_{\theta + \delta_k}(x') - F_{\theta + \delta_k}(x'_{-kl})\right) \cdot"
    r" \left(\nabla \ell_{\theta + \delta_k}(z_{-ij}) - \nabla \ell_{\theta + \delta_k}(z)\right)",
    unit="change of the test span's importance (log p) for a unit step on the training span's part",
    cost="as tracin_plus, and a forward pass a span of the test text where none is clicked",
    weakness="A masked text is unlike any the model has seen; small steps barely move the gradients.",
    words=True,
    spans="both",
    index=("factors", *SEARCH),
)
def tracin_plus_plus(
    query: Query,
    progress: Progress,
    *,
    finder: FinderName = "clauses",
    candidates: Candidates = 300,
    size: Size = 4,
    scope: ScopeName = "last:2",
    copies: Copies = 3,
    step: Step = 1e-4,
    bias: Bias = False,
    scorer: Scorer = "auto",
    seed: CopySeed = 0,
) -> Scored:
    """As tracin_plus with F the importance of a test span, as in if_plus_plus (Huang et al. 2021 §3.3).

    Positive: training on the span raised the importance of the test span, so a span supports itself; the published
    formula has the opposite sign.
    """
    spans = Finder(name=finder, size=size)
    quantity, notes = explained_span(query, spans)
    choices = COPIES.overlaid(
        {"scope": scope, "copies": copies, "step": step, "bias": bias, "scorer": scorer, "seed": seed}
    )
    return score_spans(query, quantity, choices, spans, candidates, progress, notes)
