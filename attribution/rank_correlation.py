"""Spearman's rank correlation."""

import numpy as np
from scipy.stats import rankdata


def spearman(scores: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation between the rows of scores (methods, train): (methods, methods).

    Equal scores share their mean rank. NaN for a row whose scores are all equal, which has no order to compare.
    """
    centred = rankdata(scores, axis=1)
    centred -= centred.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1)
    units = centred / np.where(lengths > 0, lengths, np.nan)[:, None]
    return np.clip(units @ units.T, -1, 1)
