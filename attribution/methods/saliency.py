"""Saliency: how much each token of the test text speaks for the explained label y.

Every function returns raw scores, one a token; the table's `scores` are these divided by Σ|raw|.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, cast

import numpy as np
import torch
from torch import Tensor

from attribution import quantity
from attribution.index import Progress
from attribution.parameters import Range
from attribution.query import Query
from attribution.registry import token_method

Seed = Annotated[int, Range(low=0, high=2**31 - 1, help="Seed of the random draws.")]
Samples = Annotated[int, Range(low=2, high=2000, help="Number of random draws; cost grows with it.")]


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()


def _log_probability(query: Query) -> Callable[[Tensor], Tensor]:
    """log p(y) as a function of word embeddings (batch, tokens, width): (batch,)."""

    def forward(embeds: Tensor) -> Tensor:
        inputs = {k: v.expand(len(embeds), *v.shape[1:]) for k, v in query.example.inputs.items()}
        return query.classifier.run(inputs, embeds=embeds)[0].log_softmax(dim=-1)[:, query.label]

    return forward


def _blank_embeddings(query: Query) -> Tensor:
    """The text's embeddings with every token but the special ones replaced by the padding's: (1, tokens, width)."""
    ids = query.example.inputs["input_ids"].clone()
    plain = [token.index for token in query.example.tokens if not token.special]
    ids[0, plain] = query.classifier.tokenizer.pad_token_id
    return query.classifier.embed({"input_ids": ids})


@contextmanager
def _seeded(query: Query, seed: int) -> Iterator[None]:
    """Torch's and numpy's random states set to a seed and put back afterwards: captum draws from the global ones."""
    before = np.random.get_state()
    with query.classifier.lock, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)


@token_method(
    title="Gradient × input",
    family="saliency",
    paper="Han 2020 §2.1; Shrikumar 2017",
    formula=r"-\nabla_{e_t} \ell_y \cdot e_t",
    unit="share of the text's total (raw: log p, to first order)",
    cost="one forward and one backward pass",
    weakness="Local: a saturated, confident prediction has small and noisy gradients.",
)
def gradient_x_input(query: Query, progress: Progress) -> np.ndarray:
    """−∇_e ℓ_y · e of each token, ℓ_y = −log p(y) of the explained label (Han 2020 §2.1); positive supports y."""
    return _numpy(quantity.gradient_x_input(query.classifier, query.example, query.label, {}))


@token_method(
    title="Gradient sum",
    family="saliency",
    paper="Meng 2020 §3.1 eq. 2",
    formula=r"\sum_d \partial S_y / \partial e_{t,d}",
    unit="share of the text's total (raw: probability)",
    cost="one forward and one backward pass",
    weakness="Adds up dimensions of different meaning; the input itself plays no part.",
)
def gradient_sum(query: Query, progress: Progress) -> np.ndarray:
    """Σ_d ∂p(y)/∂e_d of each token's vector as it enters the first block (Meng et al. 2020 §3.1).

    For the word embedding before its LayerNorm the sum is 0 whatever the text.
    """
    return _numpy(quantity.gradient_sum(query.classifier, query.example, query.label, {}))


@token_method(
    title="Gradient norm",
    family="saliency",
    paper="Simonyan 2014; Li 2016",
    formula=r"\lVert \nabla_{e_t} \ell_y \rVert",
    unit="share of the text's total (raw: log p a unit of embedding)",
    cost="one forward and one backward pass",
    weakness="Says how sensitive the model is to a token, not in which direction.",
    signed=False,
)
def gradient_norm(query: Query, progress: Progress) -> np.ndarray:
    """‖∇_e ℓ_y‖ of each token; at least 0, unsigned."""
    found = quantity.word_embedding_gradient(query.classifier, query.example, query.label, {})
    return _numpy(found.norm(dim=-1))


@token_method(
    title="Integrated gradients",
    family="saliency",
    paper="Sundararajan 2017 eq. 3",
    formula=r"(e_t - b_t) \cdot \int_0^1 \nabla_{e_t} F(b + a(e - b))\, da",
    unit="share of the text's total (raw: log p; sums to F(x) − F(baseline))",
    cost="steps × a forward and a backward pass",
    weakness="Depends on the baseline: here padding in place of every word.",
)
def integrated_gradients(
    query: Query,
    progress: Progress,
    *,
    steps: Annotated[int, Range(low=5, high=1000, help="Steps of the integral; more = closer to completeness.")] = 50,
) -> np.ndarray:
    """Path integral of ∇ log p(y) from the padding baseline (Sundararajan et al. 2017), by captum.

    Special tokens keep their embeddings, so they score 0.
    """
    from captum.attr import IntegratedGradients

    explainer = IntegratedGradients(_log_probability(query))
    found = explainer.attribute(
        query.classifier.embed(query.example.inputs),
        baselines=_blank_embeddings(query),
        n_steps=steps,
        internal_batch_size=32,
    )
    return _numpy(found[0].sum(dim=-1))


@token_method(
    title="SmoothGrad × input",
    family="saliency",
    paper="Smilkov 2017 §3",
    formula=r"e_t \cdot \tfrac1m \sum_k \nabla_{e_t} F(e + \epsilon_k)",
    unit="share of the text's total (raw: log p, to first order)",
    cost="draws × a forward and a backward pass",
    weakness="The amount of noise is a free choice and changes the picture; on DeBERTa only noise is left.",
)
def smoothgrad(
    query: Query,
    progress: Progress,
    *,
    samples: Samples = 25,
    noise: Annotated[
        float, Range(low=0, above=True, high=1, help="Noise in standard deviations of the text's embeddings.")
    ] = 0.15,
    seed: Seed = 0,
) -> np.ndarray:
    """The gradient averaged over noisy copies of the embeddings (captum's NoiseTunnel), times the embedding."""
    from captum.attr import NoiseTunnel, Saliency

    embeds = query.classifier.embed(query.example.inputs)
    with _seeded(query, seed):
        found = NoiseTunnel(Saliency(_log_probability(query))).attribute(
            embeds,
            nt_type="smoothgrad",
            nt_samples=samples,
            nt_samples_batch_size=32,
            stdevs=noise * float(embeds.std()),
            abs=False,
        )
    return _numpy((cast(Tensor, found) * embeds)[0].sum(dim=-1))


@token_method(
    title="Gradient SHAP",
    family="saliency",
    paper="Lundberg 2017; Erion 2021",
    formula=r"\mathbb{E}_{a,\epsilon}\left[(e_t - b_t) \cdot \nabla_{e_t} F(b + a(e + \epsilon - b))\right]",
    unit="share of the text's total (raw: log p)",
    cost="draws × a forward and a backward pass",
    weakness="A sampled integral: noisy with few draws, and dependent on the baseline.",
)
def gradient_shap(
    query: Query,
    progress: Progress,
    *,
    samples: Samples = 50,
    noise: Annotated[float, Range(low=0, high=1, help="Noise in standard deviations of the text's embeddings.")] = 0.05,
    seed: Seed = 0,
) -> np.ndarray:
    """Expected gradients between the padding baseline and noisy copies of the text, by captum's GradientShap."""
    from captum.attr import GradientShap

    embeds = query.classifier.embed(query.example.inputs)
    explainer = GradientShap(_log_probability(query))
    total = torch.zeros_like(embeds)
    with _seeded(query, seed):
        # captum runs all draws in one batch, which on long texts takes too much memory.
        for draws in (min(32, samples - done) for done in range(0, samples, 32)):
            total += draws * explainer.attribute(
                embeds, baselines=_blank_embeddings(query), n_samples=draws, stdevs=noise * float(embeds.std())
            )
    return _numpy(total[0].sum(dim=-1) / samples)


@token_method(
    title="Erasure",
    family="saliency",
    paper="Li 2016b; Huang 2021 §3.1",
    formula=r"z_y(x) - z_y(x \setminus t)",
    unit="share of the text's total (raw: logit)",
    cost="one forward pass a token",
    weakness="A masked text is unlike any the model has seen; one token of a pair that says the same hides the other.",
)
def erasure(query: Query, progress: Progress) -> np.ndarray:
    """The fall of the label's logit when the token is replaced by [MASK]; special tokens are left in and score 0."""
    tokenizer = query.classifier.tokenizer
    mask = query.classifier.unknown_id if tokenizer.mask_token_id is None else tokenizer.mask_token_id
    plain = [token.index for token in query.example.tokens if not token.special]
    ids = query.example.inputs["input_ids"].repeat(len(plain), 1)
    ids[range(len(plain)), plain] = mask
    rows = {k: v.repeat(len(plain), 1).tolist() for k, v in query.example.inputs.items()} | {"input_ids": ids.tolist()}
    scores = np.zeros(len(query.example.tokens))
    scores[plain] = query.logits[query.label] - query.classifier.collect(rows)[1][:, query.label]
    return scores


@token_method(
    title="LIME",
    family="saliency",
    paper="Ribeiro 2016 §3.4",
    formula=r"\arg\min_w \sum_k \pi(m_k) \left(F(x \odot m_k) - w \cdot m_k\right)^2",
    unit="share of the text's total (raw: log p)",
    cost="draws × a forward pass",
    weakness="A linear fit to random maskings: noisy with few draws, and blind to words that act together.",
)
def lime(
    query: Query,
    progress: Progress,
    *,
    samples: Samples = 200,
    kernel_width: Annotated[
        float, Range(low=0, above=True, high=10, help="Width of the kernel over the share of words kept.")
    ] = 0.25,
    seed: Seed = 0,
) -> np.ndarray:
    """Weights of a linear model of log p(y) on which words are masked, fitted near the text, by captum's Lime.

    A word's weight is shared by its tokens in equal parts; special tokens are never masked and score 0.
    """
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime

    words = [word for word in query.example.words if not word.special]
    mask = torch.zeros_like(query.example.inputs["input_ids"])
    for number, word in enumerate(words, start=1):
        mask[0, list(word.tokens)] = number
    baseline = query.example.inputs["input_ids"].clone()
    baseline[mask > 0] = query.classifier.unknown_id

    def forward(ids: Tensor) -> Tensor:
        inputs = {k: v.expand(len(ids), -1) for k, v in query.example.inputs.items()} | {"input_ids": ids}
        with torch.no_grad():
            return query.classifier.run(inputs)[0].log_softmax(dim=-1)[:, query.label]

    def nearness(_: Tensor, __: Tensor, kept: Tensor, **___: object) -> Tensor:
        # The first column stands for the special tokens, which no masking touches.
        share = kept[:, 1:].float().mean() if words else torch.tensor(1.0)
        distance = 1 - share.sqrt()
        return torch.exp(-(distance**2) / kernel_width**2)

    with _seeded(query, seed):
        found = Lime(forward, interpretable_model=SkLearnRidge(alpha=1.0), similarity_func=nearness).attribute(
            query.example.inputs["input_ids"],
            baselines=baseline,
            feature_mask=mask,
            n_samples=samples,
            perturbations_per_eval=32,
        )
    scores = _numpy(found[0])
    for word in query.example.words:
        scores[list(word.tokens)] *= 0 if word.special else 1 / len(word.tokens)
    return scores
