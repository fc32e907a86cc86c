"""Training many models again on subsets of the training data, to see what removing examples does."""

from attribution.retraining.jobs import Added, Job
from attribution.retraining.plan import Plan, make_plan
from attribution.retraining.retrainer import Retrainer

__all__ = ["Added", "Job", "Plan", "Retrainer", "make_plan"]
