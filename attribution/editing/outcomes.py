"""What another version of a workspace does to its test examples: which are fixed, which are broken."""

import numpy as np
import pandas as pd

from attribution.errors import UserError
from attribution.workspace import Workspace

OUTCOMES = ("fixed", "broken", "same")


def outcome_of(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """For each test example fixed, broken or same, from whether it was right before and is right after: (tests,)."""
    return np.select([after & ~before, before & ~after], OUTCOMES[:2], OUTCOMES[2])


def outcomes(before: Workspace, after: Workspace) -> pd.DataFrame:
    """By test id the labels that both predict (`before`, `after`) and the outcome.

    fixed: only `after` is right; broken: only `before` is; same: both are right, or both are wrong. Raises UserError
    where the test data of the two differs. Cost: the test predictions of both, once each.
    """
    if before.settings.test_digest != after.settings.test_digest:
        raise UserError(f"'{after.name}' has other test data than '{before.name}': they cannot be compared.")
    told = {name: w.predict_test().idxmax(axis=1) for name, w in (("before", before), ("after", after))}
    true = before.test["label"]
    was, now = (told[name].to_numpy() == true.to_numpy() for name in ("before", "after"))
    return pd.DataFrame({**told, "outcome": outcome_of(was, now)}, index=before.test.index)
