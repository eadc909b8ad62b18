"""MessagePack in requests and answers of native operations."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import msgspec
import pytest

from support.batches import columns, line, new_writer
from support.front import Front

MSGPACK = "application/msgpack"
INGEST = "/api/headrace/v1/ingest"
IMPORT = "/api/headrace/v1/runs/import"


def send(front: Front, path: str, body: bytes, **headers: str) -> httpx.Response:
    return front.http.post(path, content=body, headers={"Content-Type": MSGPACK, **headers})


def batch(run_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "writer": new_writer(),
        "start": 0,
        "end": 9,
        **columns(line(run_id, "m", [1, 2])),
        **fields,
    }


def count(front: Front, run_id: str) -> int:
    path = "/api/2.0/mlflow/metrics/get-history"
    answer = front.http.get(path, params={"run_id": run_id, "metric_key": "m"})
    return len(answer.json().get("metrics", []))


def test_every_native_operation_takes_messagepack_and_answers_in_it_when_asked(
    front: Front,
) -> None:
    run = {"experiment_id": "0", "run_id": "imported"}
    body = msgspec.msgpack.encode({"runs": [run]})
    answer = send(front, IMPORT, body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"run_ids": ["imported"], "created": 1}
    answer = send(
        front, IMPORT, body, **{"Content-Type": "Application/MsgPack; x=y", "Accept": MSGPACK}
    )
    assert answer.headers["content-type"] == MSGPACK
    assert msgspec.msgpack.decode(answer.content) == {"run_ids": ["imported"]}


def test_a_batch_may_come_as_messagepack_or_as_json(front: Front) -> None:
    run_id = front.new_run()
    answer = send(front, INGEST, msgspec.msgpack.encode(batch(run_id)), Accept=MSGPACK)
    assert msgspec.msgpack.decode(answer.content) == {"position": 9}
    fields = batch(run_id, **columns(line(run_id, "m", [3])))
    plain = {
        key: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for key, value in fields.items()
    }
    answer = front.http.post(
        INGEST, content=msgspec.json.encode(plain), headers={"Content-Type": "application/json"}
    )
    assert answer.json() == {"position": 9}
    assert count(front, run_id) == 3


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", b"\x91" * 100_000, b"{}", b"\x80", b"\x81\x81\x01\x01\x01", b"\x81\xa6writer\xa1\xff",
     b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", bytes(1000)],
    ids=range(10),
)  # fmt: skip
@pytest.mark.parametrize("path", [INGEST, IMPORT])
def test_malformed_messagepack_is_a_400_in_json(front: Front, path: str, body: bytes) -> None:
    answer = send(front, path, body, Accept=MSGPACK)
    if path == IMPORT and body in (b"", b"\x80"):  # nothing is required there
        assert answer.status_code == 200
        return
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error_code"] in ("BAD_REQUEST", "INVALID_PARAMETER_VALUE")
    assert answer.json()["message"]


def test_a_batch_cut_anywhere_is_a_400_and_leaves_nothing(front: Front) -> None:
    run_id = front.new_run()
    body = msgspec.msgpack.encode(batch(run_id))
    for length in range(1, len(body), 7):
        assert send(front, INGEST, body[:length]).status_code == 400
    assert count(front, run_id) == 0


def test_the_field_that_is_wrong_is_named(front: Front) -> None:
    body = msgspec.msgpack.encode(batch("r", steps=5))
    message = send(front, INGEST, body).json()["message"]
    assert "steps" in message
    assert "ingest" in message


def test_mlflows_operations_take_json_only(front: Front) -> None:
    answer = send(front, "/api/2.0/mlflow/runs/search", b"\x80")
    assert answer.status_code == 400
    assert "Content-Type must be one of ['application/json']" in answer.json()["message"]
    answer = send(front, INGEST, b"\x80", **{"Content-Type": "text/plain"})
    assert "application/msgpack" in answer.json()["message"]


def test_the_document_lists_both(front: Front) -> None:
    document = front.http.get("/openapi.json").json()
    body = document["paths"][INGEST]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", MSGPACK}
    steps = document["components"]["schemas"]["Batch"]["properties"]["operations"]["items"]
    names = {one["$ref"].rpartition("/")[2] for one in steps["anyOf"]}
    assert names <= set(document["components"]["schemas"])
    assert {"StartRun", "IngestUpdateRun"} <= names
    search = document["paths"]["/api/2.0/mlflow/runs/search"]["post"]["requestBody"]["content"]
    assert set(search) == {"application/json"}
