"""Requests and responses as bytes."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.entities import KeyValue, Metric, RunStatus, ViewType
from headrace.errors import BadRequest, HeadraceError, InvalidParameter, NotFound, from_wire
from headrace.protocol import wire
from headrace.protocol.operation import operations_of
from headrace.protocol.runs import LogBatch, SearchRuns
from headrace.protocol.store import Store

OPERATIONS = operations_of(Store)
LOG_BATCH = OPERATIONS["log_batch"]
SEARCH = OPERATIONS["search_runs"]


def test_every_operation_has_a_name_a_route_and_a_permission_of_its_own() -> None:
    routes = [route for operation in OPERATIONS.values() for route in operation.routes()]
    assert len(routes) == len(set(routes))
    for name, operation in OPERATIONS.items():
        assert operation.name == name
        assert operation.summary.endswith("."), name
        noun, verb = operation.permission.split(":")
        assert noun
        assert verb in {"create", "read", "edit", "delete", "purge"}


def test_camel_case_unknown_fields_and_nulls_are_taken_as_protobuf_takes_them() -> None:
    body = (
        b'{"runId": "r", "params": [{"key": "a", "value": null, "other": 1}], "tags": null, "x": 1}'
    )
    assert wire.decode_body(LOG_BATCH, body) == LogBatch(run_id="r", params=(KeyValue("a"),))


def test_a_body_that_was_encoded_twice_is_decoded_twice() -> None:
    body = json.dumps(json.dumps({"run_id": "r"})).encode()
    assert wire.decode_body(LOG_BATCH, body) == LogBatch(run_id="r")


def test_enums_travel_as_names_or_numbers() -> None:
    operation = OPERATIONS["update_run"]
    for spelled in ('"FINISHED"', "3"):
        request = wire.decode_body(operation, f'{{"run_id": "r", "status": {spelled}}}'.encode())
        assert request.status is RunStatus.FINISHED  # type: ignore[attr-defined]


@pytest.mark.parametrize("word", ["NaN", '"NaN"', "Infinity", '"-Infinity"', '"1e3"', "1e3", "7"])
def test_metric_values_may_be_numbers_in_every_spelling(word: str) -> None:
    body = f'{{"run_id": "r", "metrics": [{{"key": "k", "value": {word}, "timestamp": "5"}}]}}'
    point = wire.decode_body(LOG_BATCH, body.encode()).metrics[0]  # type: ignore[attr-defined]
    expected = float(word.strip('"'))
    assert point.value == expected or (math.isnan(point.value) and math.isnan(expected))
    assert (point.timestamp, point.step) == (5, 0)


@pytest.mark.parametrize(
    ("body", "error", "word"),
    [
        (b"not json", BadRequest, "not JSON"),
        (b"[1]", BadRequest, "JSON list"),
        (b"\xff\xfe", BadRequest, "UTF-8"),
        (b"[" * 100_000, BadRequest, "deeply"),
        (b'{"run_id": ' * 50_000, BadRequest, "deeply"),
        (b'{"run_id": ""}', InvalidParameter, "'run_id'"),
        (b"{}", InvalidParameter, "'run_id'"),
        (b"", InvalidParameter, "'run_id'"),
        (b'{"run_id": 5}', InvalidParameter, "run_id"),
        (b'{"run_id": "r", "runId": "s"}', InvalidParameter, "given twice"),
        (b'{"run_id": "a\\u0000b"}', InvalidParameter, "NUL"),
        (b'{"run_id": "r", "metrics": [{"key": "k", "value": true, "timestamp": 1}]}', InvalidParameter, "value"),
        (b'{"run_id": "r", "metrics": [{"key": "k", "value": 1e999, "timestamp": 1}]}', BadRequest, "float64"),
        (b'{"run_id": "r", "metrics": [{"key": "k", "value": 1, "timestamp": 1, "step": 1.5}]}', InvalidParameter, "step"),
        (b'{"run_id": "r", "metrics": [{"key": "k", "value": 1, "timestamp": -1}]}', InvalidParameter, "timestamp"),
        (b'{"run_id": "r", "metrics": [{"key": "k", "value": 1, "timestamp": 1, "step": 9223372036854775808}]}', InvalidParameter, "step"),
        (b'{"run_id": "r", "metrics": [{"value": 1, "timestamp": 1}]}', InvalidParameter, "'key'"),
        (b'{"run_id": "r", "metrics": {"key": 1}}', InvalidParameter, "metrics"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_name(
    body: bytes, error: type[HeadraceError], word: str
) -> None:
    with pytest.raises(error, match=word):
        wire.decode_body(LOG_BATCH, body)


def test_queries_repeat_repeated_fields_and_nothing_else() -> None:
    operation = OPERATIONS["get_metric_history_bulk_interval"]
    request = wire.decode_query(
        operation, [("run_ids", "a"), ("run_ids", "b"), ("metric_key", "k")]
    )
    assert request.run_ids == ("a", "b")  # type: ignore[attr-defined]
    with pytest.raises(InvalidParameter, match="2 times"):
        wire.decode_query(operation, [("metric_key", "k"), ("metric_key", "l")])


def test_a_request_survives_its_own_query() -> None:
    request = SearchRuns(
        experiment_ids=("0", "1"), filter="a = 'ü'", run_view_type=ViewType.ALL, max_results=5
    )
    assert wire.decode_query(SEARCH, wire.encode_query(request)) == request


def test_build_checks_as_the_wire_does() -> None:
    assert SEARCH.build(max_results=5, filter=None) == SearchRuns(max_results=5)
    with pytest.raises(InvalidParameter, match="max_results"):
        SEARCH.build(max_results="many")
    with pytest.raises(InvalidParameter, match="'run_id'"):
        LOG_BATCH.build(run_id="")


def test_floats_that_json_cannot_say_travel_as_words() -> None:
    for value, word in ((math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")):
        body = wire.encode([Metric(key='"value":null', value=value, timestamp=1, step=0)])
        assert json.loads(body)[0] == {
            "key": '"value":null',
            "value": word,
            "timestamp": 1,
            "step": 0,
        }


@given(st.binary(max_size=60))
def test_no_body_raises_anything_but_our_errors(body: bytes) -> None:
    for operation in (LOG_BATCH, SEARCH, OPERATIONS["update_run"]):
        try:
            wire.decode_body(operation, body)
        except HeadraceError as error:
            assert error.status == 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["run_id", "runId", "metrics", "key", "value", "timestamp", "params", "status", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["run_id", "metrics", "params", "tags", "filter", "status"]), json_values
    )
)
def test_no_json_object_raises_anything_but_our_errors(value: dict[str, object]) -> None:
    body = json.dumps(value).encode()
    for operation in (LOG_BATCH, SEARCH, OPERATIONS["update_run"]):
        try:
            wire.decode_body(operation, body)
        except HeadraceError as error:
            assert error.status == 400


def test_errors_come_back_as_the_class_they_were() -> None:
    error = NotFound("gone")
    wired = error.wire()
    back = from_wire(wired["error_code"], wired["message"], error.status)
    assert type(back) is NotFound
    assert back.message == "gone"
