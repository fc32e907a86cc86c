"""The experiments of the papers, one file each; `attribution.experiments.registry` runs them."""
