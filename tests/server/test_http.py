"""Requests of every kind through a real server: whatever comes, the answer is MLflow's JSON."""

from __future__ import annotations

import gzip
import json
import socket
from typing import Any

import msgspec
import pytest

from support.front import Front

JSON = {"Content-Type": "application/json"}


def test_operations_answer_under_all_of_mlflows_prefixes(front: Front) -> None:
    for number, prefix in enumerate(
        ("/api/2.0", "/ajax-api/2.0", "/api/2.0/preview", "/ajax-api/2.0/preview")
    ):
        answer = front.http.post(
            f"{prefix}/mlflow/experiments/create", json={"name": f"prefix {number}"}
        )
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"


def test_an_error_carries_code_message_and_status(front: Front) -> None:
    answer = front.http.get("/api/2.0/mlflow/runs/get", params={"run_id": "0" * 32})
    assert answer.status_code == 404
    assert answer.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert "0" * 32 in answer.json()["message"]


def test_an_unknown_route_is_a_json_404(front: Front) -> None:
    for path in (
        "/nope",
        "/api/2.0/mlflow/runs/nope",
        "/api/2.0/mlflow/runs/get/",
        "/%00",
        "/%ff",
    ):
        answer = front.http.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["error_code"] == "ENDPOINT_NOT_FOUND"


def test_a_wrong_method_is_a_405_that_names_the_right_ones(front: Front) -> None:
    answer = front.http.get("/api/2.0/mlflow/runs/search")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "OPTIONS, POST"
    assert answer.json()["error_code"] == "BAD_REQUEST"
    assert front.http.request("BREW", "/health").status_code == 405


def test_head_is_get_without_the_body(front: Front) -> None:
    got, head = front.http.get("/openapi.json"), front.http.head("/openapi.json")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == str(len(got.content))
    assert front.http.head("/api/2.0/mlflow/runs/search").status_code == 405


def test_options_names_the_methods(front: Front) -> None:
    answer = front.http.options("/api/2.0/mlflow/experiments/search")
    assert answer.status_code == 200
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""],
)
def test_a_post_must_say_that_it_is_json(front: Front, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = front.http.post(
        "/api/2.0/mlflow/experiments/create", content=b'{"name": "x"}', headers=headers
    )
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert "Content-Type" in answer.json()["message"]


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON ;x=y"]
)
def test_the_content_type_may_have_parameters(front: Front, content_type: str) -> None:
    answer = front.http.post(
        "/api/2.0/mlflow/runs/search", content=b"{}", headers={"Content-Type": content_type}
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"{}{}", b"[" * 100_000, b'{"a":' * 100_000,
        b'{"name": "\\ud800"}', b'{"name": "a\\u0000b"}', b'{"name": 1e999}', b'{"name": ' + b"9" * 5000 + b"}",
        b"\x00", b'{"name": {"name": {}}}', b'{"tags": {"a": 1}}', b'{"tags": [[]]}', b'{"tags": [null]}',
    ],
    ids=range(18),
)  # fmt: skip
@pytest.mark.parametrize("path", ["experiments/create", "runs/create", "runs/log-batch"])
def test_a_malformed_body_is_a_400(front: Front, path: str, body: bytes) -> None:
    answer = front.http.post(f"/api/2.0/mlflow/{path}", content=body, headers=JSON)
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["error_code"] in (
        "BAD_REQUEST", "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST",
    )  # fmt: skip


@pytest.mark.parametrize(
    "query",
    ["%ff", "run_id=%ff", "run_id=%00", "run_id=a&run_id=b", "run_id=", "&&&", "=", "a" * 5000,
     "&".join("x=1" for _ in range(2000))],
    ids=range(9),
)  # fmt: skip
def test_a_malformed_query_is_a_400(front: Front, query: str) -> None:
    answer = front.http.get(f"/api/2.0/mlflow/runs/get?{query}")
    assert answer.status_code == 400, answer.text
    assert answer.json()["message"]


def test_a_gzipped_body_is_unpacked_and_a_bomb_refused(front: Front) -> None:
    path = "/api/2.0/mlflow/runs/search"
    headers = {**JSON, "Content-Encoding": "gzip"}
    assert front.http.post(path, content=gzip.compress(b"{}"), headers=headers).status_code == 200
    bomb = gzip.compress(b" " * 40_000_000)
    answer = front.http.post(path, content=bomb, headers=headers)
    assert answer.status_code == 413
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_a_body_over_the_limit_is_a_413_declared_or_not(front: Front) -> None:
    path, big = "/api/2.0/mlflow/runs/search", b" " * (33 * 1024 * 1024)

    def streamed() -> Any:
        yield big

    assert front.http.post(path, content=big, headers=JSON).status_code == 413
    assert front.http.post(path, content=streamed(), headers=JSON).status_code == 413


def test_a_client_that_leaves_in_the_middle_of_a_body_does_no_harm(front: Front) -> None:
    host, port = front.http.base_url.host, front.http.base_url.port
    with socket.create_connection((host, port or 0)) as connection:
        connection.sendall(
            b"POST /api/2.0/mlflow/experiments/create HTTP/1.1\r\nHost: localhost\r\n"
            b'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"name": "cut"}'
        )
    answer = front.http.get(
        "/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": "cut"}
    )
    assert answer.status_code == 404


def test_chunks_that_make_no_sense_are_a_400(front: Front) -> None:
    host, port = front.http.base_url.host, front.http.base_url.port
    with socket.create_connection((host, port or 0)) as connection:
        connection.sendall(
            b"POST /api/2.0/mlflow/experiments/create HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
            b"Connection: close\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"error_code":"BAD_REQUEST"' in answer


def test_columns_come_as_messagepack_when_asked(front: Front) -> None:
    run_id = front.new_run()
    front.post("runs/log-metric", run_id=run_id, key="loss", value=0.5, timestamp=1, step=2)
    answer = front.http.get(
        "/api/headrace/v1/metrics/columns",
        params={"run_id": run_id, "metric_key": "loss"},
        headers={"Accept": "application/msgpack"},
    )
    assert answer.headers["content-type"] == "application/msgpack"
    columns = msgspec.msgpack.decode(answer.content)
    assert columns["count"] == 1
    assert columns["steps"] == (2).to_bytes(8, "little")


def test_health_and_version_are_text(front: Front) -> None:
    assert front.http.get("/health").text == "OK"
    assert front.http.get("/version").text[0].isdigit()
    assert front.http.get("/health").headers["content-type"].startswith("text/plain")


def test_the_front_page_leads_on(front: Front) -> None:
    page = front.http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "/openapi.json" in page.text
    assert "/health" in page.text


@pytest.mark.parametrize("prefix", ["/api", "/ajax-api"])
def test_server_info_tells_mlflow_clients_what_this_is(front: Front, prefix: str) -> None:
    info = front.http.get(f"{prefix}/3.0/mlflow/server-info").json()
    assert info["store_type"] == "SqlStore"
    assert info["workspaces_enabled"] is False


def test_every_answer_has_the_security_headers_and_an_id(front: Front) -> None:
    for answer in (front.http.get("/health"), front.http.get("/nope"), front.post("runs/search")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert answer.headers["x-request-id"]


def test_metrics_count_requests_by_operation_and_status(front: Front) -> None:
    front.post("runs/search", max_results=-5)
    page = front.http.get("/metrics").text
    assert 'headrace_http_requests_total{operation="search_runs",status="400"}' in page
    assert 'headrace_http_request_seconds_bucket{le="0.01",operation="search_runs"}' in page
    assert "headrace_http_requests_in_flight 1.0" in page
    assert "process_resident_memory_bytes" in page


def test_foreign_hosts_and_cross_origin_writes_are_refused(front: Front) -> None:
    answer = front.http.get("/api/2.0/mlflow/runs/get", headers={"Host": "evil.example"})
    assert answer.status_code == 403
    assert answer.json()["error_code"] == "PERMISSION_DENIED"
    assert front.http.get("/health", headers={"Host": "evil.example"}).status_code == 200
    origin = {"Origin": "https://evil.example"}
    assert (
        front.http.post("/api/2.0/mlflow/runs/search", json={}, headers=origin).status_code == 403
    )
    answer = front.http.get("/health", headers=origin)
    assert "access-control-allow-origin" not in answer.headers


def test_local_pages_pass_the_preflight(front: Front) -> None:
    answer = front.http.options(
        "/api/2.0/mlflow/runs/search",
        headers={
            "Origin": "http://localhost:3000",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "content-type"


def test_not_a_number_travels_as_a_string(front: Front) -> None:
    run_id = front.new_run()
    content = json.dumps({"run_id": run_id, "key": "loss", "value": "NaN", "timestamp": 1})
    answer = front.http.post("/api/2.0/mlflow/runs/log-metric", content=content, headers=JSON)
    assert answer.status_code == 200, answer.text
    run = front.http.get("/api/2.0/mlflow/runs/get", params={"run_id": run_id}).json()["run"]
    assert run["data"]["metrics"][0]["value"] == "NaN"
