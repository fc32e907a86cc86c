"""Data artifacts: features of the training examples, and how influence goes with them (Han et al. 2020 §5.1)."""

from attribution.artifacts.features import Feature, feature_values, list_features, overlap_rate
from attribution.artifacts.fits import Fit, SliceFit, artifact_fit, slice_fit

__all__ = [
    "Feature",
    "Fit",
    "SliceFit",
    "artifact_fit",
    "feature_values",
    "list_features",
    "overlap_rate",
    "slice_fit",
]
