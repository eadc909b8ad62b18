"""Ranking: the metrics of each query are scikit-learn's, and none depends on the order of rows."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from headrace.errors import InvalidParameter
from headrace.models.evaluation import Evaluation, Plan, evaluate

pd = importlib.import_module("pandas")

#: Few different scores, so that many are equal.
_rows = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 5)), min_size=2, max_size=40
)


def of(scores: Any, relevance: Any, queries: Any, **plan: Any) -> Evaluation:
    return evaluate(scores, None, relevance, Plan(kind="ranking", groups=queries, **plan))


@settings(max_examples=30, deadline=None)
@given(_rows)
def test_each_query_has_the_values_of_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    queries, relevance, scores = (np.array(column) for column in zip(*rows, strict=True))
    result = of(scores, relevance, queries, k=(2,))
    table = result.artifacts["per_query.csv"].table
    ndcg, at_two, precision = [], [], []
    for place, query in enumerate(table["query"]):
        truth, score = relevance[queries == query][None], scores[queries == query][None]
        if not truth.any():
            assert np.isnan(table["ndcg"][place])
            continue
        precision.append(sk.label_ranking_average_precision_score(truth > 0, score))
        assert table["map"][place] == pytest.approx(precision[-1])
        # One document is no order, says scikit-learn; here it is a perfect one.
        several = truth.shape[1] > 1
        ndcg.append(sk.ndcg_score(truth, score) if several else 1.0)
        at_two.append(sk.ndcg_score(truth, score, k=2) if several else 1.0)
        assert table["ndcg"][place] == pytest.approx(ndcg[-1])
    for name, values in (("ndcg", ndcg), ("ndcg_at_2", at_two), ("map", precision)):
        mean = np.mean(values) if values else np.nan
        assert result.metrics[name] == pytest.approx(mean, nan_ok=True)


@settings(max_examples=30, deadline=None)
@given(_rows, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: list[tuple[int, int, int]], random: Any) -> None:
    def metrics() -> dict[str, float]:
        queries, relevance, scores = zip(*rows, strict=True)
        return of(scores, relevance, queries).metrics

    before = metrics()
    random.shuffle(rows)
    assert metrics() == pytest.approx(before, nan_ok=True)


def test_precision_recall_and_reciprocal_rank_are_as_counted_by_hand() -> None:
    #         a: relevant at 2 and 4          b: relevant at 1       c: nothing relevant
    frame = pd.DataFrame(
        {
            "query": [*"aaaa", *"bb", "c"],
            "grade": [0, 1, 0, 2, 1, 0, 0],
            "score": [0.9, 0.8, 0.7, 0.6, 0.9, 0.1, 0.5],
        }
    )
    result = evaluate("score", frame, "grade", Plan(groups="query", k=(1, 2)))
    assert result.kind == "ranking"
    found = result.metrics
    assert found["query_count"] == 3
    assert found["mrr"] == (1 / 2 + 1) / 2
    assert found["map"] == ((1 / 2 + 2 / 4) / 2 + 1) / 2
    assert found["precision_at_1"] == pytest.approx((0 + 1 + 0) / 3)
    assert found["precision_at_2"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert found["recall_at_2"] == (1 / 2 + 1) / 2
    assert result.notes[-1].startswith("1 of 3 queries have no relevant row")
    curve = result.artifacts["ranking_curves.csv"].table
    assert curve["precision"][1] == found["precision_at_2"]
    assert result.artifacts["ranking_curves_plot.png"].content.startswith(b"\x89PNG")


def test_resamples_are_of_queries() -> None:
    queries = np.repeat(np.arange(30), 5)
    relevance = np.tile([1, 0, 0, 0, 0], 30)
    result = of(relevance, relevance, queries, bootstrap=20)
    assert result.intervals["mrr"] == (1, 1)


@pytest.mark.parametrize(
    ("relevance", "queries", "message"),
    [
        ([1, -1], ["a", "a"], "row 1 has -1"),
        ([1, 0], None, "needs groups"),
        ([1, 0], ["a"], "1 groups for 2 rows"),
        ([1, 0], ["a", None], "1 of 2 groups are missing"),
    ],
)
def test_what_cannot_be_is_said(relevance: Any, queries: Any, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        of([0.1, 0.2], relevance, queries)
