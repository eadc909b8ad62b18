"""The store behind a server: what goes over the wire, and what happens when that fails.

The other end is a real HTTP server on loopback that answers as it is told to.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headrace.client.client import Client
from headrace.client.remote import RemoteStore
from headrace.errors import (
    AlreadyExists,
    HeadraceError,
    InternalError,
    InvalidParameter,
    NotFound,
    PermissionDenied,
    Unavailable,
    Unsupported,
)

RUN = {
    "run": {
        "info": {
            "run_id": "r", "run_uuid": "r", "run_name": "n", "experiment_id": "0", "user_id": "u",
            "status": "RUNNING", "start_time": 1, "artifact_uri": "x", "lifecycle_stage": "active",
        },
        "data": {"tags": [{"key": "mlflow.user", "value": "u"}]},
        "inputs": {},
    }
}  # fmt: skip


class Peer:
    """A server that answers with a list of (status, body, headers); the last one again and again.

    A body of None closes the connection without an answer.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {key.lower(): value for key, value in self.headers.items()}
                peer.requests.append(
                    (self.command, self.path, headers, json.loads(body) if body else None)
                )
                status, content, more = (
                    peer.answers.pop(0) if len(peer.answers) > 1 else peer.answers[0]
                )
                if content is None:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for key, value in more.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = answer  # noqa: N815 - the names are http.server's

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def says(self, *answers: tuple[int, Any] | tuple[int, Any, dict[str, str]]) -> None:
        self.answers = [(*answer, {}) if len(answer) == 2 else answer for answer in answers]  # type: ignore[misc]

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    monkeypatch.setenv("HEADRACE_HTTP_REQUEST_BACKOFF_FACTOR", "0.001")
    one = Peer()
    yield one
    one.close()


@pytest.fixture
def client(peer: Peer) -> Iterator[Client]:
    with Client(peer.url) as one:
        yield one


def test_reads_are_queries_and_writes_are_json(peer: Peer, client: Client) -> None:
    peer.says((200, {}))
    client.get_metric_history("r", "a key/ü")
    client.log_batch("r", [{"key": "m", "value": float("nan"), "timestamp": 1}], {"p": 1})
    (method, path, _, _), (method2, path2, headers, body) = peer.requests
    assert method == "GET"
    assert path.startswith("/api/2.0/mlflow/metrics/get-history?run_id=r&metric_key=a")
    assert (method2, path2) == ("POST", "/api/2.0/mlflow/runs/log-batch")
    assert headers["content-type"] == "application/json"
    assert body == {
        "run_id": "r",
        "metrics": [{"key": "m", "value": "NaN", "timestamp": 1}],
        "params": [{"key": "p", "value": "1"}],
    }


def test_an_answer_may_lack_what_is_empty_as_mlflows_do(peer: Peer, client: Client) -> None:
    peer.says((200, RUN))
    run = client.create_run("0", run_name="n")
    assert run.data.tags == {"mlflow.user": "u"}
    assert run.data.metrics == {}
    assert run.outputs.model_outputs == ()
    assert run.info.end_time is None


def test_a_prefix_in_the_address_is_kept(peer: Peer) -> None:
    peer.says((200, RUN))
    with Client(f"{peer.url}/some/prefix/") as client:
        client.get_run("r")
        assert client.tracking_uri == f"{peer.url}/some/prefix"
    assert peer.requests[0][1].startswith("/some/prefix/api/2.0/mlflow/runs/get?run_id=r")


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_not_now_is_tried_again(status: int, peer: Peer, client: Client) -> None:
    peer.says((status, b"busy"), (status, b"busy"), (200, RUN))
    assert client.get_run("r").info.run_id == "r"
    assert len(peer.requests) == 3


def test_a_broken_connection_is_tried_again(peer: Peer, client: Client) -> None:
    peer.says((0, None), (200, {}))
    client.log_metric("r", "m", 1)
    assert len(peer.requests) == 2
    assert peer.requests[0][3] == peer.requests[1][3]  # the same point, so it counts once


CREATIONS: dict[str, Callable[[Client], object]] = {
    "create_run": lambda client: client.create_run("0"),
    "create_experiment": lambda client: client.create_experiment("e"),
    "delete_tag": lambda client: client.delete_tag("r", "t"),
    "delete_experiment": lambda client: client.delete_experiment("1"),
    "purge_trash": lambda client: client.purge_trash(),
}


@pytest.mark.parametrize("name", CREATIONS)
@pytest.mark.parametrize("answer", [(503, b"busy"), (0, None)], ids=["503", "broken"])
def test_what_must_not_happen_twice_is_sent_once(
    name: str, answer: tuple[int, Any], peer: Peer, client: Client
) -> None:
    peer.says(answer)
    with pytest.raises(Unavailable):
        CREATIONS[name](client)
    assert len(peer.requests) == 1


def test_even_that_is_tried_again_when_it_cannot_have_happened(peer: Peer, client: Client) -> None:
    peer.says((429, b"slow down", {"Retry-After": "0"}), (200, RUN))
    assert client.create_run("0").info.run_id == "r"


def test_imported_runs_have_ids_so_that_they_can_be_sent_again(peer: Peer, client: Client) -> None:
    peer.says((503, b"busy"), (200, {}))
    [run_id] = client.import_runs([{"experiment_id": "0", "params": {"a": 1}}])
    bodies = [body for *_, body in peer.requests]
    assert bodies[0] == bodies[1]
    assert bodies[0]["runs"][0]["run_id"] == run_id


def test_tries_end_with_an_error_that_says_where(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    peer.says((503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "the disk is full"}))
    with Client(peer.url) as client, pytest.raises(Unavailable, match="the disk is full"):
        client.get_run("r")
    assert len(peer.requests) == 3


def test_nobody_there_is_unavailable_and_hides_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADRACE_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("HEADRACE_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and does not listen: nobody else may take the port
        port = deaf.getsockname()[1]
        with (
            Client(f"http://me:secret@127.0.0.1:{port}") as client,
            pytest.raises(Unavailable, match=rf"127\.0\.0\.1:{port} cannot be reached") as caught,
        ):
            client.create_run("0")
        assert "secret" not in str(caught.value)


def test_a_slow_answer_is_unavailable(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HTTP_REQUEST_TIMEOUT", "0.2")
    monkeypatch.setenv("HEADRACE_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Client(f"http://127.0.0.1:{silent.getsockname()[1]}") as client,
        pytest.raises(Unavailable, match="in time"),
    ):
        client.get_run("r")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"}, NotFound),
        (400, {"error_code": "RESOURCE_ALREADY_EXISTS", "message": "taken"}, AlreadyExists),
        (400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "bad"}, InvalidParameter),
        (403, b"Permission denied", PermissionDenied),
        (404, b"<html>Not Found</html>", Unsupported),
        (400, b"<html>Bad</html>", InvalidParameter),
        (500, b"<html>Oops</html>", InternalError),
        (500, {"error_code": "SOMETHING_NEW", "message": "?"}, InternalError),
        (307, b"", Unavailable),
        (200, b"<html>a web page</html>", InternalError),
        (200, {"run": "nonsense"}, InternalError),
    ],
)
def test_answers_become_the_same_errors_as_locally(
    status: int, body: Any, error: type[HeadraceError], peer: Peer, client: Client
) -> None:
    peer.says((status, body))
    with pytest.raises(error) as caught:
        client.get_run("r")
    assert type(caught.value) is error
    if isinstance(body, dict) and "message" in body:
        assert caught.value.message == body["message"]


def test_an_mlflow_server_does_not_know_our_own_operations(peer: Peer, client: Client) -> None:
    peer.says((404, b"<!doctype html><title>404 Not Found</title>"))
    with pytest.raises(Unsupported, match="needs a headrace server"):
        client.get_metric_chart("r", "m")
    peer.says((404, {"detail": "Not Found"}))
    with pytest.raises(Unsupported, match="needs a headrace server"):
        client.search_keys(["0"])


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"MLFLOW_TRACKING_TOKEN": "t"}, "Bearer t"),
        ({"MLFLOW_TRACKING_TOKEN": "t", "HEADRACE_TRACKING_TOKEN": "h"}, "Bearer h"),
        (
            {"MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p"},
            basic("u", "p"),
        ),
        (
            {"HEADRACE_TRACKING_USERNAME": "h", "MLFLOW_TRACKING_PASSWORD": "p"},
            basic("h", "p"),
        ),
    ],
)
def test_credentials_come_from_the_environment(
    environment: dict[str, str],
    expected: str | None,
    peer: Peer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    peer.says((200, RUN))
    with Client(peer.url) as client:
        client.get_run("r")
    assert peer.requests[0][2].get("authorization") == expected


def test_credentials_come_from_mlflows_file_or_the_address(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = file\nmlflow_tracking_password = p%w\n"
    )
    peer.says((200, RUN))
    with Client(peer.url) as client:
        client.get_run("r")
    with Client(peer.url.replace("//", "//me:p%40w@")) as client:
        client.get_run("r")
        assert "p%40w" not in repr(client)
    assert [headers["authorization"] for _, _, headers, _ in peer.requests] == [
        basic("file", "p%w"),
        basic("me", "p@w"),
    ]


@pytest.mark.parametrize("uri", ["http://", "https:///x", "http://[", "http://a b"])
def test_an_address_without_a_host_is_refused(uri: str) -> None:
    with pytest.raises(InvalidParameter, match="is not a server"):
        Client(uri)


def test_a_bad_setting_is_named(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HTTP_REQUEST_TIMEOUT", "soon")
    with pytest.raises(InvalidParameter, match=r"HEADRACE_HTTP_REQUEST_TIMEOUT.*'soon'"):
        Client(peer.url).get_run("r")


def test_requests_are_checked_before_they_are_sent(peer: Peer, client: Client) -> None:
    peer.says((200, {}))
    with pytest.raises(InvalidParameter, match="key"):
        client.log_metric("r", "", 1)
    with pytest.raises(InvalidParameter, match="status"):
        client.update_run("r", status="DANCING")
    assert peer.requests == []


def test_a_closed_store_says_so(peer: Peer) -> None:
    store = RemoteStore(peer.url)
    store.close()
    with pytest.raises(Unavailable, match="closed"):
        _ = store.http


def test_many_threads_share_a_client(peer: Peer, client: Client) -> None:
    peer.says((200, RUN))
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                client.get_run("r")
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(peer.requests) == 160


@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(peer: Peer, client: Client) -> None:
    peer.says((200, RUN))
    client.get_run("r")
    child = os.fork()
    if child == 0:
        try:
            ok = client.get_run("r").info.run_id == "r"
        except BaseException:  # noqa: BLE001 - the exit code tells
            ok = False
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client.get_run("r").info.run_id == "r"
