"""Premises and hypotheses from a grammar of our own, among which lexical overlap predicts entailment as often as asked.

The setting of McCoy et al. 2019 in small: a training set with an artifact, and a test set in which it misleads.
"""

from random import Random

import pandas as pd

from attribution.errors import UserError
from attribution.grammar import natural  # registers its patterns
from attribution.grammar.clauses import Draw, overlap, written
from attribution.grammar.patterns import CASES, ENTAILMENT, LABELS, PATTERNS, Pattern

__all__ = ["HIGH", "LOW", "overlap", "sentence_pairs"]

# Shares of the hypothesis's words that are in the premise: no pair lies between.
HIGH, LOW = 0.7, 0.6


def sentence_pairs(
    *, artifact: float = 0.9, n_train: int = 6000, n_natural: int = 400, n_case: int = 80, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test pairs: columns text (the premise), text_pair, label, case, pattern, overlap; index "row".

    Of either label, the share `artifact` of the natural pairs has the overlap that predicts it: at least HIGH for
    entailment, at most LOW for non-entailment. 0.5 is the control: overlap says nothing. The training pairs and
    `n_natural` test pairs are natural; the test set has `n_case` further ones of either label for each of the cases
    overlap, subsequence and constituent, where overlap is 1 throughout. No pair comes twice.

    UserError: a share outside 0 to 1, or a natural part that cannot be halved.
    """
    if not 0 <= artifact <= 1:
        raise UserError(f"artifact must be between 0 and 1, not {artifact}.")
    for name, count in (("n_train", n_train), ("n_natural", n_natural)):
        if count < 2 or count % 2:
            raise UserError(f"{name} must be even and at least 2, not {count}.")
    drawn = _Drawn(seed)
    train = drawn.natural(n_train, artifact)
    test = drawn.natural(n_natural, artifact)
    for case in CASES:
        for label in LABELS:
            patterns = [found for found in PATTERNS if (found.case, found.label) == (case, label)]
            test += [drawn.pair(patterns, case) for _ in range(n_case)]
    return drawn.table(train), drawn.table(test)


class _Drawn:
    """Pairs from one stream of random numbers, none of them twice."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._seen: set[tuple[str, str]] = set()

    def natural(self, count: int, artifact: float) -> list[dict[str, object]]:
        """Half of either label, the share `artifact` of each with the overlap that predicts it."""
        rows = []
        for label in LABELS:
            agreeing = round(artifact * count / 2)
            for number in range(count // 2):
                high = (label == ENTAILMENT) == (number < agreeing)
                patterns = [found for found in PATTERNS if found.label == label and found.high == high]
                rows.append(self.pair(patterns, natural.NATURAL))
        return rows

    def pair(self, patterns: list[Pattern], case: str) -> dict[str, object]:
        """A new pair of one of the patterns, on the side of HIGH and LOW that the pattern says."""
        weighted = [found for found in patterns for _ in range(found.weight)]
        while True:
            draw = Draw(self._random)
            found = draw.choice(weighted)
            premise, hypothesis = (written(text) for text in found.make(draw))
            share = overlap(premise, hypothesis)
            if (premise, hypothesis) in self._seen or not (share >= HIGH if found.high else share <= LOW):
                continue
            self._seen.add((premise, hypothesis))
            return {
                "text": premise,
                "text_pair": hypothesis,
                "label": found.label,
                "case": case,
                "pattern": found.name,
                "overlap": round(share, 3),
            }

    def table(self, rows: list[dict[str, object]]) -> pd.DataFrame:
        """The rows in a random order."""
        order = sorted(range(len(rows)), key=[self._random.random() for _ in rows].__getitem__)
        return pd.DataFrame([rows[position] for position in order]).rename_axis("row")
