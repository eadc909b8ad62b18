"""The evaluation is a function of what was seen, not of how it was cut into looks."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.metrics.columns import Points
from headrace.engine.rules.compiled import CompiledRule
from headrace.engine.rules.evaluator import Evaluator, Outcome
from headrace.engine.rules.leaves import Matcher
from headrace.engine.rules.machine import Fired, GroupState, Resolved, step
from headrace.engine.rules.observations import Arrived, Happened, Looked, RunFacts
from headrace.engine.rules.records import decode_state, encode_state
from headrace.errors import InvalidParameter
from headrace.protocol.cloudevents import Row
from headrace.protocol.rule_check import parse_rule
from headrace.protocol.rule_spec import EventMatch, spec_document
from headrace.protocol.rule_text import comparison, millis, window

RUN = RunFacts(1, "r1", "sunny", 7, "RUNNING", 0)

values = st.one_of(
    st.floats(-100, 100).map(lambda x: round(x, 3)),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
metrics = st.sampled_from(
    [
        {"change": "> 20", "over": "10 steps"},
        {"change": "< -50%", "over": "40 steps"},
        {"change": "> 5", "over": "100s"},
        {"zscore": 1.5, "over": "64 steps"},
        {"zscore": 2, "over": "5m"},
        {"plateau": {"goal": "min", "over": "10 steps"}},
        {"plateau": {"goal": "max", "over": "30s"}},
        {"plateau": {"goal": "min", "over": "5 steps", "delta": 7.5}},
        {"plateau": {"goal": "max", "over": "12 steps", "delta": 0.5}, "from_step": 20},
    ]
)


def compiled(when: dict[str, Any], **fields: Any) -> CompiledRule:
    return CompiledRule(parse_rule({"name": "r", "when": when, **fields}))


def points(series: list[float]) -> Points:
    steps = np.arange(len(series), dtype=np.int64)
    return Points(steps, steps * 1000, np.array(series, np.float64))


def fed(rule: CompiledRule, parts: list[Points]) -> GroupState:
    state = GroupState()
    for part in parts:
        state, _ = step(rule, state, Arrived(0, RUN, "m", part, {}), 0, 0)
    return state


@given(st.lists(values, min_size=1, max_size=300), metrics)
def test_many_points_at_once_come_to_what_they_come_to_one_by_one(
    series: list[float], metric: dict[str, Any]
) -> None:
    rule = compiled({"metric": {"key": "m", **metric}})
    whole = points(series)
    single = fed(rule, [whole.take(slice(n, n + 1)) for n in range(whole.size)])
    at_once = fed(rule, [whole])
    one, other = (state.leaves["when"].get("r1\nm") for state in (single, at_once))
    assert (one is None) == (other is None)
    if one is None or other is None:
        return
    assert _plain(one) == pytest.approx(_plain(other), rel=1e-6, abs=1e-6, nan_ok=True)


def _plain(value: Any) -> Any:
    """Numbers of a state, in a row."""
    if isinstance(value, dict):
        return [number for key in sorted(value) for number in _plain(value[key])]
    if isinstance(value, list | tuple):
        return [number for one in value for number in _plain(one)]
    return [math.nan if value is None else value]


@given(
    st.lists(values, min_size=1, max_size=200), st.lists(st.integers(0, 200), max_size=6), metrics
)
def test_points_that_come_again_change_nothing(
    series: list[float], cuts: list[int], metric: dict[str, Any]
) -> None:
    rule = compiled({"metric": {"key": "m", **metric}})
    whole = points(series)
    edges = sorted({min(cut, whole.size) for cut in cuts} | {whole.size})
    # Each part begins anew with all that was before it, as after a takeover.
    state = fed(rule, [whole.take(slice(0, edge)) for edge in edges if edge])
    again, changes = step(rule, state, Arrived(0, RUN, "m", whole, {}), 0, 0)
    assert _plain(again.leaves) == pytest.approx(_plain(state.leaves), nan_ok=True)
    assert changes == []


@given(st.lists(st.tuples(st.integers(0, 40_000), values), max_size=60))
def test_a_step_changes_nothing_that_it_was_given_and_says_the_same_again(
    looks: list[tuple[int, float]],
) -> None:
    rule = compiled({"metric": {"key": "m", "value": "> 10"}}, **{"for": "20s"}, cooldown="1m")
    state, now = GroupState(), 0
    firing = False
    for passed, value in looks:
        now += passed
        low = high = value
        if math.isnan(value):
            low, high = math.inf, -math.inf
        seen = Looked(now, RUN, "m", low, high, value, 0, math.isnan(value), None, {}, 0)
        before = copy.deepcopy(state)
        after, changes = step(rule, state, seen, now, 0)
        assert encode_state(state) == encode_state(before)
        kept = decode_state(encode_state(state))  # what is stored is all that there is
        again, the_same = step(rule, kept, seen, now, 0)
        assert encode_state(again) == encode_state(after)
        assert [type(one) for one in changes] == [type(one) for one in the_same]
        for change in changes:  # it fires and is resolved in turns
            assert isinstance(change, Resolved) == firing
            firing = isinstance(change, Fired)
        assert (after.phase == "firing") == firing
        state = after


@given(st.lists(values, min_size=2, max_size=80), st.integers(1, 80))
def test_asking_only_those_concerned_is_as_good_as_asking_all(
    series: list[float], size: int
) -> None:
    thresholds = ["> 10", ">= 50", "< -20", "<= 0", "== 3", "!= 4", "nan", "infinite", "> -inf"]
    rules = [
        CompiledRule(parse_rule({"name": f"r{n}", "when": {"metric": {"key": "m", "value": one}}}))
        for n, one in enumerate(thresholds)
    ]
    evaluator = Evaluator(0)
    evaluator.set_rules(rules)
    states = {rule.name: GroupState() for rule in rules}
    for begin in range(0, len(series), size):
        part = series[begin : begin + size]
        numbers = [one for one in part if not math.isnan(one)]
        seen = Looked(
            begin, RUN, "m", min(numbers, default=math.inf), max(numbers, default=-math.inf),
            part[-1], begin, len(numbers) < len(part), None, {}, begin - 1,
        )  # fmt: skip
        told = [
            (one.rule.name, type(one.change))
            for one in evaluator.feed(seen, begin)
            if isinstance(one, Outcome)
        ]
        expected = []
        for rule in rules:
            states[rule.name], changes = step(rule, states[rule.name], seen, begin, 0)
            expected += [(rule.name, type(one)) for one in changes]
        assert told == expected


words = st.text(max_size=30)
junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=10,
)


@given(
    junk, st.sampled_from(["when", "scope", "then", "for", "resolve", "name", "title", "cooldown"])
)
def test_whatever_is_no_rule_is_refused_in_words(value: Any, field: str) -> None:
    document = {"name": "r", "when": {"event": {"types": "run.failed"}}, field: value}
    try:
        spec = parse_rule(document)
    except InvalidParameter as error:
        assert error.message
        return
    assert parse_rule(spec_document(spec)) == spec


@given(st.text(max_size=20))
def test_small_texts_are_understood_or_refused(text: str) -> None:
    for read in (millis, window, comparison):
        try:
            read(text, "field")  # type: ignore[operator]
        except InvalidParameter as error:
            assert "field" in error.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90_000),
        ("1h30m", 5_400_000),
        ("3d", 259_200_000),
        ("500ms", 500),
        ("1.5h", 5_400_000),
    ],
)
def test_lengths_of_time(text: str, expected: int) -> None:
    assert millis(text, "x") == expected


@pytest.mark.parametrize(
    ("wanted", "data", "matches"),
    [
        ({"a.b": "x*"}, {"a": {"b": "xyz"}}, True),
        ({"a.b": "x?"}, {"a": {"b": "xyz"}}, False),
        ({"a.b": "[x]*"}, {"a": {"b": "[x] y"}}, True),
        ({"params.opt.lr": "> 0.1"}, {"params": {"opt.lr": "0.5"}}, True),
        ({"keys": "val*"}, {"keys": ["loss", "val_loss"]}, True),
        ({"n": ">= 3"}, {"n": 3}, True),
        ({"n": ">= 3"}, {"n": "three"}, False),
        ({"n": ">= 1"}, {"n": True}, False),
        ({"n": 3}, {"n": 3.0}, True),
        ({"n": True}, {"n": 1}, False),
        ({"n": None}, {"n": None}, True),
        ({"n": None}, {}, False),
        ({"a": "*"}, {"a": {"b": 1}}, False),
    ],
)
def test_fields_of_events(wanted: dict[str, Any], data: dict[str, Any], matches: bool) -> None:
    match = Matcher(EventMatch(types="run.*", data=wanted))
    row = Row(1, 0, "run.created", "run/r1", "", 7, "{}")
    assert match(Happened(0, row, data, RUN)) == matches
