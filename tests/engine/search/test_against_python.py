"""Random filters and orders over random runs, against the same thing written in plain Python."""

from __future__ import annotations

import functools
import math
import operator
import random
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.engine.search import selection
from headrace.engine.search.parse import parse_filter, parse_order
from headrace.engine.search.tree import (
    And,
    Field,
    Kind,
    Node,
    Not,
    Operator,
    Or,
    Stat,
)
from support.searched import Searched

NAN, INF = math.nan, math.inf
_COMPARE = {
    Operator.EQ: operator.eq,
    Operator.NE: operator.ne,
    Operator.LT: operator.lt,
    Operator.LE: operator.le,
    Operator.GT: operator.gt,
    Operator.GE: operator.ge,
    Operator.IN: lambda value, among: value in among,
    Operator.NOT_IN: lambda value, among: value not in among,
}


def random_runs(seed: int) -> dict[str, dict[str, Any]]:
    """Small runs with few different values, so that ties, gaps and NaN abound."""
    chance = random.Random(seed)
    values = [-INF, -1.5, 0.0, 0.5, 0.5, 1.0, 2.0, INF, NAN]
    texts = ["", "a", "A", "b", "0.5", "1e0", "ab%", "a_b", "é", "x\\"]
    runs: dict[str, dict[str, Any]] = {}
    for number in range(40):
        start = chance.randrange(4)
        tags = {key: chance.choice(texts) for key in ("t", "u") if chance.random() < 0.6}
        if chance.random() < 0.2:
            tags["mlflow.parentRunId"] = chance.choice(["run00", "run01"])
        runs[f"run{number:02}"] = {
            "run_id": f"run{number:02}",
            "experiment": chance.randrange(3),
            "start_time": start,
            "end_time": start + chance.randrange(3) if chance.random() < 0.6 else None,
            "status": chance.choice(["FINISHED", "FAILED"]),
            "run_name": chance.choice(["a", "B", "ab"]),
            "metrics": {
                key: [chance.choice(values) for _ in range(chance.randint(1, 3))]
                for key in ("m", "n", "n.min")
                if chance.random() < 0.7
            },
            "params": {key: chance.choice(texts) for key in ("p", "q") if chance.random() < 0.7},
            "tags": tags,
        }
    return runs


def value_of(run: dict[str, Any], field: Field) -> Any:
    """What a field is for a run: None when it is missing."""
    if field.kind is Kind.METRIC:
        key, stat = field.key, field.stat
        if field.loose and key != "n.min":  # the one metric that is really named like that
            key, stat = key.rpartition(".")[0], Stat(key.rpartition(".")[2])
        points = run["metrics"].get(key)
        if points is None or stat is Stat.LAST:
            return points and points[-1]
        numbers = [point for point in points if not math.isnan(point)]
        return NAN if not numbers else min(numbers) if stat is Stat.MIN else max(numbers)
    if field.kind is Kind.PARAM:
        return run["params"].get(field.key)
    if field.kind is Kind.TAG:
        return run["tags"].get(field.key)
    if field.key == "duration":
        return None if run["end_time"] is None else run["end_time"] - run["start_time"]
    return run.get(field.key)


def matches(run: dict[str, Any], node: Node) -> bool:
    if isinstance(node, And):
        return all(matches(run, item) for item in node.items)
    if isinstance(node, Or):
        return any(matches(run, item) for item in node.items)
    if isinstance(node, Not):
        return not matches(run, node.item)
    value, wanted = value_of(run, node.field), node.value
    if isinstance(value, float) and math.isnan(value) and node.field.stat is not Stat.LAST:
        value = None  # no least and no greatest number
    if (
        isinstance(value, float)
        and math.isnan(value)
        and node.field.loose
        and node.field.key != "n.min"
    ):
        value = None
    if node.operator in (Operator.IS_NULL, Operator.IS_NOT_NULL):
        return (value is None) == (node.operator is Operator.IS_NULL)
    if value is None:
        return False
    sample = wanted[0] if isinstance(wanted, tuple) else wanted
    if node.field.kind is Kind.PARAM and not isinstance(sample, str):
        try:
            value = float(value)
        except ValueError:
            return False
    if node.operator in _COMPARE:
        return bool(_COMPARE[node.operator](value, wanted))
    pattern = re.escape(str(wanted)).replace("%", ".*").replace("_", ".")
    insensitive = "ILIKE" in node.operator
    found = re.fullmatch(pattern, value, re.DOTALL | (re.IGNORECASE if insensitive else 0))
    return (found is None) == node.operator.startswith("NOT")


def expected(
    runs: dict[str, dict[str, Any]], experiments: list[int], filter: str, order_by: list[str]
) -> list[str]:
    node = parse_filter(filter)
    found = [
        run_id
        for run_id, run in sorted(runs.items())
        if run["experiment"] in experiments and (node is None or matches(run, node))
    ]
    found.sort(key=lambda run_id: -runs[run_id]["start_time"])

    def compare(order: Any, left: str, right: str) -> int:
        places = []
        for run_id in (left, right):
            value = value_of(runs[run_id], order.field)
            nan = isinstance(value, float) and math.isnan(value)
            places.append((2, 0) if value is None else (1, 0) if nan else (0, value))
        (first, one), (second, other) = places
        if first != second:
            return first - second
        sign = (one > other) - (one < other)
        return sign if order.ascending else -sign

    for order in reversed(parse_order(tuple(order_by))):
        found.sort(key=functools.cmp_to_key(functools.partial(compare, order)))
    return found


_NUMBER = st.sampled_from(["-1.5", "0", "0.5", "1", "1.5", "2e0", "3"])
_TEXT = st.sampled_from(["''", "'a'", "'A'", "'0.5'", "'ab%'", "'é'", "'B'", "'FAILED'"])
_PATTERN = st.sampled_from(["'%'", "'_'", "'a%'", "'%B'", "'a_%'", "''", "'x\\%'", "'%b%'"])
_SIZE = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
_METRIC = st.sampled_from(
    ["metrics.m", "metrics.n", "metrics.n.min", "metrics.`n`.min", "metrics.m.max", "metrics.none"]
)
_PARAM = st.sampled_from(["params.p", "params.q", "params.none"])
_TAG = st.sampled_from(["tags.t", "tags.u", "tags.none", "tags.mlflow.parentRunId"])
_WORD = st.sampled_from(["status", "run_name"])
_TIME = st.sampled_from(["start_time", "end_time", "duration"])
_NUMBERS, _TEXTS = (
    st.lists(one, min_size=1, max_size=3).map(lambda some: f"({', '.join(some)})")
    for one in (_NUMBER, _TEXT)
)
_NAMED = st.one_of(_PARAM, _TAG, _WORD)
_NUMERIC = st.one_of(_METRIC, _METRIC, _PARAM, _TIME)
_join = " ".join
_COMPARISON = st.one_of(
    st.tuples(_NUMERIC, _SIZE, _NUMBER).map(_join),
    st.tuples(_NUMERIC, st.sampled_from(["IN", "NOT IN"]), _NUMBERS).map(_join),
    st.tuples(_NAMED, st.sampled_from(["=", "!="]), _TEXT).map(_join),
    st.tuples(_NAMED, st.sampled_from(["IN", "NOT IN"]), _TEXTS).map(_join),
    st.tuples(_NAMED, st.sampled_from(["LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE"]), _PATTERN).map(
        _join
    ),
    st.tuples(st.one_of(_NUMERIC, _NAMED), st.sampled_from(["IS NULL", "IS NOT NULL"])).map(_join),
)
_FILTER = st.one_of(
    st.just(""),
    _COMPARISON,
    st.recursive(
        _COMPARISON,
        lambda inner: st.one_of(
            st.lists(inner, min_size=2, max_size=3).map(lambda some: f"({' AND '.join(some)})"),
            st.lists(inner, min_size=2, max_size=3).map(lambda some: f"({' OR '.join(some)})"),
            inner.map(lambda one: f"NOT {one}"),
        ),
        max_leaves=5,
    ),
)
_ORDER = st.lists(
    st.tuples(
        st.one_of(_METRIC, _METRIC, _PARAM, _TAG, _WORD, _TIME, st.just("run_id")),
        st.sampled_from(["ASC", "DESC"]),
    ).map(_join),
    max_size=3,
)


@pytest.mark.parametrize(("seed", "few"), [(1, 2000), (2, 3)])
def test_a_search_finds_what_plain_python_finds(
    store: Searched, seed: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `few` small, every way in which a search can begin is taken."""
    monkeypatch.setattr(selection, "FEW", few)
    runs = random_runs(seed)
    ids = [store.experiment(str(number)) for number in range(3)]
    for number, experiment in enumerate(ids):
        store.add(
            experiment,
            {
                run_id: {
                    key: value for key, value in run.items() if key not in ("experiment", "run_id")
                }
                for run_id, run in runs.items()
                if run["experiment"] == number
            },
        )

    @settings(
        max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        experiments=st.sampled_from([[0], [1, 2], [0, 1, 2]]),
        filter=_FILTER,
        order_by=_ORDER,
        size=st.sampled_from([1, 3, 7, 50]),
    )
    def search(experiments: list[int], filter: str, order_by: list[str], size: int) -> None:
        found = store.walk([ids[number] for number in experiments], filter, order_by, size)
        # Only experiments that have the metric n.min read metrics.n.min so.
        assert found == expected(runs, experiments, filter, order_by)

    search()
