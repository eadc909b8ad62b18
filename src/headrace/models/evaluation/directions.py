"""Which way is better, for the metrics that are built in."""

from __future__ import annotations

import re

#: True: greater is better. Metrics that only count are not here.
_DIRECTIONS = {
    "accuracy_score": True,
    "precision_score": True,
    "recall_score": True,
    "f1_score": True,
    "roc_auc": True,
    "precision_recall_auc": True,
    "true_positives": True,
    "true_negatives": True,
    "log_loss": False,
    "false_positives": False,
    "false_negatives": False,
    "mean_absolute_error": False,
    "mean_squared_error": False,
    "root_mean_squared_error": False,
    "max_error": False,
    "mean_absolute_percentage_error": False,
    "r2_score": True,
    "ndcg": True,
    "mrr": True,
    "map": True,
    "mae": False,
    "rmse": False,
    "smape": False,
    "wape": False,
    "mase": False,
}
_FAMILIES = (
    (re.compile(r"(ndcg|precision|recall)_at_\d+"), True),
    (re.compile(r"pinball_[\d.e-]+"), False),
    (re.compile(r"(coverage_gap|interval_width)_[\d.]+"), False),
)
#: Built-in metrics of which neither way is better: they have limits, but no direction.
_NEITHER = re.compile(
    r"(example|query|series)_count|(sum|mean)_on_target|bias|coverage_[\d.]+", re.ASCII
)


def greater_is_better(metric: str) -> bool | None:
    """Which way is better; None: neither, or not known."""
    if metric in _DIRECTIONS:
        return _DIRECTIONS[metric]
    return next((better for name, better in _FAMILIES if name.fullmatch(metric)), None)


def is_built_in(metric: str) -> bool:
    """Whether some kind of evaluation has a metric of this name."""
    return greater_is_better(metric) is not None or _NEITHER.fullmatch(metric) is not None
