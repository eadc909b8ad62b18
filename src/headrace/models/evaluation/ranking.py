"""Ranking: how well scores order the rows of each query.

A target is a grade of relevance, from 0 (irrelevant). Means are over queries; a query without a relevant row
says nothing about the order, and counts only in precision.

Several rows of one score have no order among them. NDCG averages over all orders, as scikit-learn's
``ndcg_score`` does, and so do precision and recall; reciprocal rank and average precision take the worst order,
as scikit-learn's ``label_ranking_average_precision_score`` does. So no metric depends on the order of rows.
scikit-learn takes one query in a call, or several of equal length; all queries are measured at once here, and the
tests hold the values to scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from headrace.errors import InvalidParameter
from headrace.models.evaluation import artifacts, plots
from headrace.models.evaluation.arrays import Array, Floats, Indices, numbers, vector, weighted_mean
from headrace.models.evaluation.artifacts import Artifact
from headrace.models.evaluation.plan import Plan
from headrace.models.evaluation.predicting import Predicted
from headrace.models.evaluation.rows import Rows

#: Cut-offs of the plot.
_DEEPEST = 20


def ranked(
    truth: Array, predicted: Predicted, weight: Floats | None, rows: Rows, plan: Plan
) -> Ranked:
    """Targets and scores of a ranking, ready to be measured.

    Raises:
        InvalidParameter: No queries are given; targets or scores that are missing, infinite or no numbers, or
            of different lengths; a negative target.
    """
    if plan.groups is None:
        raise InvalidParameter(
            "A ranking needs groups: the column of queries, or an array with each row's query."
        )
    targets = numbers(truth, "targets")
    negative = np.flatnonzero(targets < 0)
    if len(negative):
        raise InvalidParameter(
            f"Relevance cannot be negative: row {negative[0]} has {targets[negative[0]]:g}."
        )
    scores = numbers(vector(predicted.values, "predictions", len(targets)), "predictions")
    codes, names = rows.codes(plan.groups, "groups")
    return Ranked(targets, scores, codes, names, weight, sorted(set(plan.k)))


class Ranked:
    """Rows with their relevance, score and query."""

    primary = "ndcg"
    probabilities: Floats | None = None

    def __init__(
        self,
        targets: Floats,
        predictions: Floats,
        queries: Indices,
        names: Array,
        weight: Floats | None,
        k: Sequence[int],
    ) -> None:
        self.targets = targets
        self.predictions = predictions
        self.units = queries
        self.names = names
        self.weight = weight
        self.k = k

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def notes(self) -> list[str]:
        """What to know about the metrics."""
        idle = int((self._queries.relevant == 0).sum())
        if not idle:
            return []
        return [
            f"{idle} of {len(self._queries.relevant)} queries have no relevant row: they count in precision only."
        ]

    def take(self, rows: Indices, units: Indices | None = None) -> Ranked:
        """The same for some of the rows, whose queries may have other numbers."""
        return Ranked(
            self.targets[rows],
            self.predictions[rows],
            self.units[rows] if units is None else units,
            self.names,
            None if self.weight is None else self.weight[rows],
            self.k,
        )

    @cached_property
    def _queries(self) -> _Queries:
        return _Queries(self.targets, self.predictions, self.units, self.weight)

    def metrics(self) -> dict[str, float]:
        """All metrics, by name."""
        queries = self._queries
        found: dict[str, float] = {
            "example_count": len(self),
            "query_count": len(queries.relevant),
            "ndcg": queries.mean(queries.ndcg(None)),
            "mrr": queries.mean(queries.reciprocal_rank),
            "map": queries.mean(queries.average_precision),
        }
        for cut in self.k:
            hits = queries.hits(cut)
            found[f"ndcg_at_{cut}"] = queries.mean(queries.ndcg(cut))
            found[f"precision_at_{cut}"] = weighted_mean(hits / cut, queries.weight)
            found[f"recall_at_{cut}"] = queries.mean(queries.recall(hits))
        return found

    def artifacts(self) -> list[Artifact]:
        """Tables and plots."""
        queries = self._queries
        per_query: dict[str, Any] = {
            "query": self.names[queries.codes],
            "rows": queries.sizes,
            "relevant": queries.relevant.astype(int),
            "ndcg": queries.ndcg(None),
            "mrr": queries.reciprocal_rank,
            "map": queries.average_precision,
        }
        cuts = np.arange(1, min(_DEEPEST, int(queries.sizes.max())) + 1)
        curves = self._curves(cuts)
        lines = [
            plots.Curve(name, cuts, values, "o-") for name, values in curves.items() if name != "k"
        ]
        return [
            artifacts.table("per_query", per_query),
            artifacts.table("ranking_curves", curves),
            artifacts.plot(
                "ranking_curves_plot",
                lambda: plots.lines("Ranking", "k", "mean over queries", lines),
            ),
        ]

    def _curves(self, cuts: Array) -> dict[str, Any]:
        queries = self._queries
        hits = [queries.hits(int(cut)) for cut in cuts]
        return {
            "k": cuts,
            "precision": [
                weighted_mean(found / cut, queries.weight)
                for found, cut in zip(hits, cuts, strict=True)
            ],
            "recall": [queries.mean(queries.recall(found)) for found in hits],
            "ndcg": [queries.mean(queries.ndcg(int(cut))) for cut in cuts],
        }


class _Queries:
    """All queries at once: rows sorted by query, then by score from the highest.

    Attributes:
        codes: The queries' numbers.
        sizes: Rows of each.
        relevant: Relevant rows of each.
        weight: Of each: the mean weight of its rows; None: all alike.
    """

    def __init__(
        self, targets: Floats, scores: Floats, queries: Indices, weight: Floats | None
    ) -> None:
        order = np.lexsort((-scores, queries))
        self._targets, scores, grouped = targets[order], scores[order], queries[order]
        self.codes, self._starts, self.sizes = np.unique(
            grouped, return_index=True, return_counts=True
        )
        places = np.arange(len(grouped)) - np.repeat(self._starts, self.sizes)
        first, last = _ties(grouped, scores)
        start = np.repeat(self._starts, self.sizes)
        #: Ranks from 1 that rows of this score have between them.
        self._low, self._high = first - start + 1, last - start + 1
        self._places = places
        self._relevant = (self._targets > 0).astype(np.float64)
        self.relevant = self._sum(self._relevant)
        running = np.cumsum(self._relevant)
        before = np.concatenate([[0.0], running])[self._starts]
        #: Relevant rows of this score or a higher one.
        self._above = running[last] - np.repeat(before, self.sizes)
        self.weight = None if weight is None else self._sum(weight[order]) / self.sizes

    def _sum(self, values: Floats) -> Floats:
        summed: Floats = np.add.reduceat(values, self._starts)
        return summed

    def mean(self, values: Floats) -> float:
        """Over the queries that have a relevant row."""
        some = self.relevant > 0
        return weighted_mean(values[some], None if self.weight is None else self.weight[some])

    def recall(self, hits: Floats) -> Floats:
        """Share of a query's relevant rows; NaN where there are none."""
        return _ratio(hits, self.relevant)

    def hits(self, cut: int) -> Floats:
        """Relevant rows among the first ones; of rows with one score at the edge, the expected number."""
        within = np.clip((cut - self._low + 1) / (self._high - self._low + 1), 0.0, 1.0)
        return self._sum(self._relevant * within)

    @cached_property
    def reciprocal_rank(self) -> Floats:
        """1 / rank of the first relevant row."""
        ranks = np.where(self._relevant > 0, self._high, np.inf)
        best = np.minimum.reduceat(ranks, self._starts)
        return np.where(self.relevant > 0, 1 / best, np.nan)

    @cached_property
    def average_precision(self) -> Floats:
        """Mean over relevant rows of the precision down to their rank."""
        return _ratio(self._sum(self._relevant * self._above / self._high), self.relevant)

    def ndcg(self, cut: int | None) -> Floats:
        """Discounted gain over the best there could be (Järvelin and Kekäläinen, 2002); gain is the target."""
        longest = int(self.sizes.max())
        discounts = 1 / np.log2(np.arange(2, longest + 2))
        if cut is not None:
            discounts[cut:] = 0
        running = np.concatenate([[0.0], np.cumsum(discounts)])
        average = (running[self._high] - running[self._low - 1]) / (self._high - self._low + 1)
        codes = np.repeat(np.arange(len(self.sizes)), self.sizes)
        best = self._targets[np.lexsort((-self._targets, codes))]
        ideal = self._sum(best * discounts[self._places])
        return _ratio(self._sum(self._targets * average), ideal)


def _ties(queries: Array, scores: Floats) -> tuple[Indices, Indices]:
    """For each sorted row, the first and the last row of its query with its score."""
    change = (queries[1:] != queries[:-1]) | (scores[1:] != scores[:-1])
    starts = np.concatenate([[0], np.flatnonzero(change) + 1])
    lengths = np.diff(np.append(starts, len(scores)))
    return np.repeat(starts, lengths), np.repeat(starts + lengths - 1, lengths)


def _ratio(above: Floats, below: Floats) -> Floats:
    """A quotient; NaN where there is nothing to divide by."""
    found = np.full(len(above), np.nan)
    np.divide(above, below, out=found, where=below > 0)
    return found
