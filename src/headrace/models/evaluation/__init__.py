"""Evaluation: metrics, plots, slices, custom metrics, thresholds. Pure: nothing here logs or asks a store.

`headrace.evaluate` is its face for users, which logs the result.
"""

from headrace.models.evaluation.artifacts import Artifact
from headrace.models.evaluation.custom import EvaluationMetric, make_metric
from headrace.models.evaluation.evaluating import evaluate
from headrace.models.evaluation.plan import Plan
from headrace.models.evaluation.result import Evaluation
from headrace.models.evaluation.rows import Rows
from headrace.models.evaluation.slices import Slice
from headrace.models.evaluation.thresholds import Check, ChecksFailed, Threshold

__all__ = [
    "Artifact",
    "Check",
    "ChecksFailed",
    "Evaluation",
    "EvaluationMetric",
    "Plan",
    "Rows",
    "Slice",
    "Threshold",
    "evaluate",
    "make_metric",
]
