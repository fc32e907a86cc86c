"""Clusters of hard training examples by the direction of their gradients: what the model is taught against its will.

Gradients are compared as `gc` compares them (Pezeshkpour et al. 2021 §2 eq. 3): two examples whose gradients point the
same way teach the same, however large their losses are.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.cluster import KMeans

from attribution.errors import UserError
from attribution.factor_index import factor_parts, open_factors
from attribution.head import head_units
from attribution.index import Part, Progress, load, parts, silent
from attribution.projection import make_projection
from attribution.self_influence import losses
from attribution.workspace import Workspace

HARD, CLUSTERS = 500, 8
SIDE = 24
WORDS = 6
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """`ids`: its training examples, the nearest to its middle first, and `closeness` their cosines with it (size,).

    `labels`: how many of each label, the most frequent first. `words`: those that set it apart from the whole training
    set. `loss`: the mean.
    """

    ids: tuple[int, ...]
    closeness: np.ndarray
    labels: dict[str, int]
    words: tuple[str, ...]
    loss: float


def cluster_parts(workspace: Workspace, scope: str = "head") -> list[Part]:
    """What of the index the clusters read, whether it is built or not."""
    factors = [] if scope == "head" else factor_parts(workspace, scope)
    return [*parts(workspace, "features"), *factors]


def hard_clusters(
    workspace: Workspace,
    *,
    hard: int = HARD,
    clusters: int = CLUSTERS,
    scope: str = "head",
    seed: int = 0,
    progress: Progress = silent,
) -> list[Cluster]:
    """k-means over ∇ℓ_i / ‖∇ℓ_i‖ of the `hard` training examples with the largest loss; the largest cluster first.

    Over the head the gradients are exact; over another scope they are the index's, randomly projected to 576 numbers.
    UserError where there are fewer examples than clusters. Cost: a second.
    """
    n = len(workspace.train)
    if not 1 <= clusters <= min(hard, n):
        raise UserError(f"Clusters must be from 1 to {min(hard, n)}, the examples clustered, not {clusters}.")
    loss = losses(workspace, progress)
    rows = np.argsort(-loss, kind="stable")[:hard]
    vectors = directions(workspace, rows, scope, progress)
    found = KMeans(n_clusters=clusters, random_state=seed).fit(vectors)
    middles = found.cluster_centers_
    middles = middles / np.maximum(np.linalg.norm(middles, axis=1, keepdims=True), 1e-12)
    everywhere, made = document_frequency(_texts(workspace.train)), []
    for number in range(clusters):
        own = np.flatnonzero(found.labels_ == number)
        closeness = vectors[own] @ middles[number]
        order = np.argsort(-closeness, kind="stable")
        table = workspace.train.iloc[rows[own[order]]]
        made.append(
            Cluster(
                ids=tuple(map(int, table.index)),
                closeness=closeness[order],
                labels={str(label): int(size) for label, size in table["label"].value_counts().items()},
                words=distinctive_words(_texts(table), everywhere, n),
                loss=float(loss[rows[own]].mean()),
            )
        )
    return sorted((each for each in made if each.ids), key=lambda each: (-len(each.ids), each.ids))


def directions(workspace: Workspace, rows: np.ndarray, scope: str = "head", progress: Progress = silent) -> np.ndarray:
    """∇ℓ_i / ‖∇ℓ_i‖ of some training examples by position: (rows, parameters) over the head, else (rows, 576)."""
    if scope == "head":
        (part,) = parts(workspace, "features")
        arrays = load(workspace, part, progress)
        labels = workspace.label_ids(workspace.train)[rows]
        units = head_units(np.asarray(arrays["features"])[rows], np.asarray(arrays["logits"])[rows], labels, bias=False)
        flat = np.einsum("nc,nd->ncd", units.residuals, units.features).reshape(len(rows), -1)
    else:
        (part,) = factor_parts(workspace, scope)
        index = open_factors(workspace, part, progress)
        projection = make_projection(workspace, index.scope, SIDE, seed=0)
        pieces = np.empty((len(rows), SIDE**2))
        first = 0
        for shard in index.shards:
            mine = np.flatnonzero((rows >= first) & (rows < first + len(shard.energy)))
            if len(mine):
                taken = torch.from_numpy(rows[mine] - first)
                pairs = {name: (left[taken], right[taken]) for name, (left, right) in shard.pairs.items()}
                pieces[mine] = projection.of_pairs(pairs).cpu().numpy()
            first += len(shard.energy)
        flat = pieces
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30)


def document_frequency(texts: Iterable[str]) -> Counter[str]:
    """In how many of the texts each word of two letters or more is; numbers are no words."""
    return Counter(word for text in texts for word in set(_WORD.findall(text.lower())))


def distinctive_words(
    inside: Sequence[str], everywhere: Mapping[str, int], texts: int, most: int = WORDS
) -> tuple[str, ...]:
    """The words that most set the texts inside apart, by p · log(p / q), p and q the shares of texts that have them.

    `everywhere`: the document frequency in all `texts`. Only words in two of the texts inside, and more of them there.
    """
    gains = {}
    for word, count in document_frequency(inside).items():
        p, q = count / len(inside), everywhere[word] / texts
        if count > 1 and p > q:
            gains[word] = p * math.log(p / q)
    return tuple(sorted(gains, key=lambda word: (-gains[word], word))[:most])


def _texts(table: pd.DataFrame) -> list[str]:
    return table["text"].tolist() if "text_pair" not in table else (table["text"] + "\n" + table["text_pair"]).tolist()
