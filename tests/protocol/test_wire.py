"""Requests and responses as bytes."""

from __future__ import annotations

import json
import math

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.entities import KeyValue, Metric, RunStatus, ViewType
from headrace.errors import BadRequest, HeadraceError, InvalidParameter, NotFound, from_wire
from headrace.protocol import wire
from headrace.protocol.ingest import Batch, Series, SetTags, StartRun
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


INGEST = OPERATIONS["ingest"]
IMPORT = OPERATIONS["import_runs"]
BATCH = Batch(
    writer="0" * 32,
    start=0,
    end=2**62,
    series=(Series("r", "k"),),
    numbers=b"\x00\x00\x00\x00",
    steps=b"\xff" * 8,
    timestamps=bytes(8),
    values=bytes(8),
    operations=(SetTags(run_id="r", tags=(KeyValue("ü", ""),)), StartRun(run_id="r")),
)


def test_a_request_is_the_same_in_both_encodings() -> None:
    assert wire.decode_binary(INGEST, wire.encode_binary(BATCH)) == BATCH
    assert wire.decode_body(INGEST, wire.encode(BATCH)) == BATCH
    lenient = {**json.loads(wire.encode(BATCH)), "isNew": "?"}
    assert wire.decode_body(INGEST, json.dumps(lenient).encode()) == BATCH
    from_newer_client = msgspec.msgpack.encode(
        {**msgspec.to_builtins(BATCH, builtin_types=(bytes,)), "x": 1}
    )
    assert wire.decode_binary(INGEST, from_newer_client) == BATCH


@pytest.mark.parametrize(
    ("body", "error", "word"),
    [
        (b"\xc1", BadRequest, "not MessagePack"),
        (b"\x81\xa1a", BadRequest, "not MessagePack"),
        (wire.encode_binary(BATCH) + b"\x00", BadRequest, "not MessagePack"),
        (wire.encode_binary(BATCH)[:-1], BadRequest, "not MessagePack"),
        (b"\x91" * 100_000, BadRequest, "deeply"),
        (b"\x81\xa1a" * 100_000, BadRequest, "deeply"),
        (b"\x81\xa6writer\xa3\xed\xa0\x80", BadRequest, "UTF-8"),
        (b"\x81\xa6writer\xa1\xff", BadRequest, "UTF-8"),
        (b"\x81\x01\x01", BadRequest, "map"),
        (b"\x81\x81\x01\x01\x01", BadRequest, "Messa"),
        (msgspec.msgpack.encode({"writer": "w", "start": 0, "end": 1, "series": [{1: 2}]}), InvalidParameter, "series"),
        (msgspec.msgpack.encode({"writer": "w", "start": 0, "end": 1, "operations": [{"kind": "set_tags", 1: 2}]}), InvalidParameter, "run_id"),
        (msgspec.msgpack.encode({"writer": "w", "start": 0, "end": 1, "operations": [{"kind": {1: 2}}]}), InvalidParameter, "operations"),
        (b"\x90", BadRequest, "map"),
        (b"\xc0", BadRequest, "map"),
        (b"{}", BadRequest, "not MessagePack"),
        (b"", InvalidParameter, "'writer'"),
        (b"\x80", InvalidParameter, "'writer'"),
        (msgspec.msgpack.encode({"writer": ""}), InvalidParameter, "'writer'"),
        (msgspec.msgpack.encode({"writer": 5}), InvalidParameter, "writer"),
        (msgspec.msgpack.encode({"writer": "w", "start": "x", "end": 1}), InvalidParameter, "start"),
        (msgspec.msgpack.encode({"writer": "w", "start": 0, "end": 2**63}), InvalidParameter, "end"),
        (msgspec.msgpack.encode({"writer": "w", "start": 0, "end": 1, "numbers": [1]}), InvalidParameter, "numbers"),
        (msgspec.msgpack.encode({"writer": "w", "start": 0, "end": 1, "series": [["r"]]}), InvalidParameter, "series"),
        (msgspec.msgpack.encode({"writer": "w", "start": 0, "end": 1, "series": [["r", ""]]}), InvalidParameter, "series"),
        (msgspec.msgpack.encode({"writer": "w", "start": 0, "end": 1, "operations": [{"kind": "x"}]}), InvalidParameter, "operations"),
        (msgspec.msgpack.encode({"writer": "w", "start": 0, "end": 1, "operations": [{"run_id": "r"}]}), InvalidParameter, "kind"),
        (msgspec.msgpack.encode({"writer": "w", "start": 0, "end": 1, "alive": [b"r"]}), InvalidParameter, "alive"),
    ],
)  # fmt: skip
def test_messagepack_that_cannot_be_read_is_refused_by_name(
    body: bytes, error: type[HeadraceError], word: str
) -> None:
    with pytest.raises(error, match=word):
        wire.decode_binary(INGEST, body)


@pytest.mark.parametrize("text", ["a\x00b", "\x00"])
def test_messagepack_holds_no_nul_where_json_may_not(text: str) -> None:
    body = {"runs": [{"experiment_id": "0", "params": [{"key": "k", "value": text}]}]}
    with pytest.raises(InvalidParameter, match="NUL"):
        wire.decode_binary(IMPORT, msgspec.msgpack.encode(body))
    # Other zeros are fine.
    body["runs"][0] = {"experiment_id": "0", "start_time": 2**32}
    wire.decode_binary(IMPORT, msgspec.msgpack.encode(body))


@pytest.mark.parametrize(
    "part",
    [
        {"series": [["r", "a\x00"]]},
        {"series": [["r", "\ud800"]]},
        {"alive": ["\x00"]},
        {"operations": [{"kind": "set_tags", "run_id": "r", "tags": [{"key": "k", "value": "\x00"}]}]},
        {"operations": [{"kind": "write_console", "run_id": "r", "stream": "stdout", "lines": [[1, "\x00"]]}]},
    ],
)  # fmt: skip
def test_json_holds_no_nul_and_no_half_pair_at_any_depth(part: dict[str, object]) -> None:
    body = json.dumps({"writer": "0" * 32, "start": 0, "end": 1, **part}).encode()
    with pytest.raises(InvalidParameter, match=r"NUL|surrogate"):
        wire.decode_body(INGEST, body)


def test_steps_may_be_dressed_as_protobuf_json_dresses_things() -> None:
    body = {
        "writer": "0" * 32,
        "start": "0",
        "end": 1,
        "operations": [{"kind": "start_run", "runId": "r", "userId": None, "new": 1}],
    }
    request = wire.decode_body(INGEST, json.dumps(body).encode())
    assert request.operations == (StartRun(run_id="r"),)  # type: ignore[attr-defined]
    longer = {"writer": "0" * 32, "start": 0, "end": 1, "series": [["r", "k", "of a newer client"]]}
    request = wire.decode_binary(INGEST, msgspec.msgpack.encode(longer))
    assert request.series == (Series("r", "k"),)  # type: ignore[attr-defined]


@given(st.binary(max_size=60))
def test_no_messagepack_body_raises_anything_but_our_errors(body: bytes) -> None:
    for operation in (INGEST, IMPORT):
        for one in (body, b"\x84" + body, wire.encode_binary(BATCH)[: len(body)] + body):
            try:
                wire.decode_binary(operation, one)
            except HeadraceError as error:
                assert error.status == 400


KEYED = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=4) | st.binary(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kind", "run_id", "key", "value", "tags", "lines", "metrics", "status"]) | st.integers(0, 3),
            inner | st.sampled_from(["set_tags", "log_points", "write_console", "start_run"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["series", "operations", "alive", "numbers", "runs", "steps", "silence"]), KEYED
    )
)  # fmt: skip
def test_no_messagepack_map_raises_anything_but_our_errors(value: dict[str, object]) -> None:
    body = msgspec.msgpack.encode({"writer": "w", "start": 0, "end": 1, **value})
    for operation in (INGEST, IMPORT):
        try:
            wire.decode_binary(operation, body)
        except HeadraceError as error:
            assert error.status == 400
