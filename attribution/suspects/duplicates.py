"""Training examples with the same text, or nearly the same, and those of them that have different labels."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from attribution.errors import UserError
from attribution.index import Progress, silent
from attribution.workspace import Workspace

THRESHOLD = 0.8
MOST_CANDIDATES = 100_000_000
ROWS, PAIRS = 128, 200_000  # of candidates looked for, and of pairs compared, at once
_NOT_WORDS = re.compile(r"[\W_]+")


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """`frame`: the training examples that have a duplicate, by id, with `group` (from 0, the largest first), `size` of
    it, `labels` (how many different ones it has), and `similarity`, the largest to another of its group: 1 where the
    texts are the same but for case, blanks and punctuation.

    `texts` different ones were there; near-duplicates were looked for among the first `compared` of them.
    """

    frame: pd.DataFrame
    texts: int
    compared: int


def find_duplicates(
    workspace: Workspace,
    *,
    threshold: float = THRESHOLD,
    most_candidates: int = MOST_CANDIDATES,
    progress: Progress = silent,
) -> Duplicates:
    """Groups of training examples whose texts share at least `threshold` of their shingles, directly or over others.

    Shingles are words and pairs of neighbouring words; the share is the Jaccard similarity of the two sets; both texts
    of a pair count. `threshold` 1 asks for the same text only. Nothing at or above the threshold is missed, unless more
    than `most_candidates` pairs share a rare word, as in texts made from templates: then the search ends there.
    UserError where the threshold is not in (0, 1]. Cost: grows with the pairs that share a rare word; seconds for
    7,000 sentences, about a minute for 100,000.
    """
    if not 0 < threshold <= 1:
        raise UserError(f"The threshold must be above 0 and at most 1, not {threshold:g}.")
    texts = workspace.texts("train")
    columns = [text for text in texts if text is not None]
    keys = ["\n".join(map(normalised, parts)) for parts in zip(*columns, strict=True)]
    codes, unique = pd.factorize(np.array(keys, dtype=object))
    counts = np.bincount(codes)
    best = np.where(counts > 1, 1.0, 0.0)
    groups, compared = np.arange(len(unique)), len(unique)
    if threshold < 1 and len(unique) > 1:
        near = _Near(len(unique))
        compared = near.search(_shingles(unique.tolist()), threshold, most_candidates, progress)
        groups, best = near.groups(), np.maximum(best, near.best)
    frame = pd.DataFrame({"group": groups[codes], "similarity": best[codes]}, index=workspace.train.index)
    label = workspace.train["label"]
    frame["size"] = frame.groupby("group")["group"].transform("size")
    frame["labels"] = label.groupby(frame["group"]).transform("nunique")
    order = np.lexsort((frame["group"], -frame["size"]))
    frame = frame.iloc[order[frame["size"].to_numpy()[order] > 1]]
    frame = frame.assign(group=pd.factorize(frame["group"])[0])
    return Duplicates(frame=frame, texts=len(unique), compared=compared)


def conflicts(found: Duplicates, *, near: bool = False) -> pd.DataFrame:
    """The duplicates whose group has several labels; the same text, unless `near` ones are asked for too.

    The search must have been for the same text only (`threshold` 1), or `near` be true: a group of near-duplicates does
    not say which of them are the same.
    """
    if not near and found.frame["similarity"].lt(1).to_numpy().any():
        raise UserError("These duplicates were searched below a threshold of 1: search with threshold=1, or near=True.")
    return found.frame.loc[found.frame["labels"].to_numpy() > 1]


def normalised(text: str) -> str:
    """The words of a text in lower case, one blank between them; the text itself where it has no words."""
    words = _NOT_WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()
    return words or text.strip()


def _shingles(keys: Sequence[str]) -> csr_array:
    """The sets of words and neighbouring pairs of words: (texts, vocabulary) of ones, rare columns first."""

    def cut(key: str) -> list[str]:
        made = []
        for side, text in enumerate(key.split("\n")):
            words = [f"{side} {word}" for word in text.split(" ")]
            made += [*words, *(f"{one} {other}" for one, other in pairwise(words))]
        return made

    sets = [set(cut(key)) for key in keys]
    codes, names = pd.factorize(np.array([shingle for each in sets for shingle in each], dtype=object))
    rare_first = np.argsort(np.bincount(codes), kind="stable")
    place = np.empty_like(rare_first)
    place[rare_first] = np.arange(len(place))
    first = np.concatenate([[0], np.cumsum([len(each) for each in sets])])
    ones = np.ones(len(codes), dtype=np.float32)
    made = csr_array((ones, place[codes], first), shape=(len(keys), len(names)))
    made.sort_indices()
    return made


class _Near:
    """Near-duplicates among texts, found with bounded memory: which belong together, and each one's best similarity."""

    def __init__(self, count: int) -> None:
        self.best = np.zeros(count)
        self._group = np.arange(count)

    def groups(self) -> np.ndarray:
        """The number of each text's group, from 0 by first member: (texts,)."""
        return pd.factorize(self._group)[0]

    def search(self, shingles: csr_array, threshold: float, most: int, progress: Progress) -> int:
        """Compare what may be alike; how many texts were looked at before `most` candidate pairs were used up.

        Two sets of sizes a and b with a Jaccard similarity of t or more share one of the a − ⌈ta⌉ + 1 first elements of
        the one and the b − ⌈tb⌉ + 1 first of the other, in any common order (Bayardo et al. 2007): with the rare ones
        first, few pairs do.
        """
        sizes = np.diff(shingles.indptr)
        prefix = sizes - np.ceil(threshold * sizes - 1e-9).astype(int) + 1
        within = np.arange(shingles.nnz) - np.repeat(shingles.indptr[:-1], sizes)
        kept = within < np.repeat(prefix, sizes)
        counted = np.concatenate([[0], np.cumsum(kept)])[shingles.indptr]
        heads = csr_array((shingles.data[kept], shingles.indices[kept], counted), shape=shingles.shape)
        turned, seen = csr_array(heads.T), 0
        for start in range(0, len(sizes), ROWS):
            pairs = coo_array(heads[start : start + ROWS] @ turned)
            left, right = pairs.coords[0] + start, pairs.coords[1]
            smaller, larger = np.minimum(sizes[left], sizes[right]), np.maximum(sizes[left], sizes[right])
            likely = (left < right) & (smaller >= threshold * larger - 1e-9)
            left, right = left[likely], right[likely]
            seen += len(left)
            for at in range(0, len(left), PAIRS):
                self._compare(shingles, sizes, left[at : at + PAIRS], right[at : at + PAIRS], threshold)
            done = min(start + ROWS, len(sizes))
            progress(done, len(sizes), "near-duplicates")
            if seen > most:
                return done
        return len(sizes)

    def _compare(
        self, shingles: csr_array, sizes: np.ndarray, left: np.ndarray, right: np.ndarray, threshold: float
    ) -> None:
        shared = np.asarray(shingles[left].multiply(shingles[right]).sum(axis=1)).ravel()
        similarity = shared / (sizes[left] + sizes[right] - shared)
        alike = similarity >= threshold - 1e-9
        left, right, similarity = left[alike], right[alike], similarity[alike]
        np.maximum.at(self.best, left, similarity)
        np.maximum.at(self.best, right, similarity)
        n = len(self._group)
        ends = np.concatenate([left, np.arange(n)]), np.concatenate([right, self._group])
        if len(left):
            self._group = _first_of(connected_components(coo_array((np.ones(len(ends[0])), ends), shape=(n, n)))[1])


def _first_of(components: np.ndarray) -> np.ndarray:
    """Each element's component, named by the first element in it."""
    _, first, inverse = np.unique(components, return_index=True, return_inverse=True)
    return first[inverse]
