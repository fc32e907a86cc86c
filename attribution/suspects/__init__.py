"""Training examples that a person should look at: suspicious labels, duplicates, conflicts, clusters of hard ones."""

from attribution.suspects.clusters import Cluster, hard_clusters
from attribution.suspects.duplicates import Duplicates, conflicts, find_duplicates
from attribution.suspects.ranking import CRITERIA, suspicious_labels

__all__ = [
    "CRITERIA",
    "Cluster",
    "Duplicates",
    "conflicts",
    "find_duplicates",
    "hard_clusters",
    "suspicious_labels",
]
