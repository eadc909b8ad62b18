"""The artifact proxy, over HTTP."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from support.server import Server

BASE = "/api/2.0/mlflow-artifacts"


class Proxy:
    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.http = httpx.Client(base_url=server.url, timeout=60)

    def files(self) -> set[str]:
        return {
            p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file()
        }

    def wait_for_requests(self, count: int) -> None:
        """Until so many requests are being answered."""
        metric = f"headrace_http_requests_in_flight {count + 1}.0\n"  # the question is one of them
        while metric not in self.http.get("/metrics").text:
            time.sleep(0.01)

    def raw(self, method: str, target: str) -> tuple[int, bytes]:
        """A request whose path nobody normalises."""
        with socket.create_connection(("127.0.0.1", self.http.base_url.port)) as peer:
            peer.sendall(
                f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
                "Connection: close\r\n\r\nx".encode("latin-1")
            )
            answer = b""
            while piece := peer.recv(65536):
                answer += piece
        return int(answer.split(b" ", 2)[1]), answer


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    base = tmp_path_factory.mktemp("proxy")
    server = Server(base / "store", base / "server.log")
    one = Proxy(server, base / "store/artifacts")
    yield one
    one.http.close()
    server.stop()


def test_a_file_goes_up_and_comes_down(proxy: Proxy) -> None:
    body = bytes(range(256)) * 20_000
    put = proxy.http.put(f"{BASE}/artifacts/1/up/model.bin", content=body)
    assert (put.status_code, put.content) == (200, b"")
    assert (proxy.folder / "1/up/model.bin").read_bytes() == body
    got = proxy.http.get("/ajax-api/2.0/mlflow-artifacts/artifacts/1/up/model.bin")
    assert got.content == body
    assert got.headers["content-disposition"] == 'attachment; filename="model.bin"'
    assert got.headers["content-length"] == str(len(body))
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["etag"] == put.headers["etag"]


def test_an_upload_of_unknown_length_works(proxy: Proxy) -> None:
    put = proxy.http.put(f"{BASE}/artifacts/1/chunked", content=iter([b"ab", b"cd"]))
    assert put.status_code == 200
    assert proxy.http.get(f"{BASE}/artifacts/1/chunked").content == b"abcd"


@pytest.mark.parametrize("name", ["a b.txt", "ü日本.txt", "h#x.txt", "100%.txt", "a+b.txt", "q?z.txt", "a%20b.txt", "é&=;'\".txt"])  # fmt: skip
def test_names_travel_to_the_letter(proxy: Proxy, name: str) -> None:
    url = f"{BASE}/artifacts/names/{quote(name)}"
    assert proxy.http.put(url, content=name.encode()).status_code == 200
    assert (proxy.folder / "names" / name).read_text() == name
    listed = proxy.http.get(f"{BASE}/artifacts", params={"path": "names"}).json()["files"]
    assert name in [file["path"] for file in listed]
    assert proxy.http.get(url).text == name
    assert proxy.http.delete(url).json() == {}


def test_a_question_mark_that_a_client_did_not_encode_is_part_of_the_name(proxy: Proxy) -> None:
    assert proxy.raw("PUT", f"{BASE}/artifacts/raw/q?z%20y.txt")[0] == 200
    assert "raw/q?z y.txt" in proxy.files()


def test_listing_gives_last_names_only(proxy: Proxy) -> None:
    for path in ("l/r/a.txt", "l/r/sub/b.txt"):
        proxy.http.put(f"{BASE}/artifacts/{path}", content=b"12345")
    answer = proxy.http.get(f"{BASE}/artifacts", params={"path": "l/r"})
    assert answer.json() == {
        "files": [
            {"path": "a.txt", "is_dir": False, "file_size": 5},
            {"path": "sub", "is_dir": True},
        ]
    }
    assert proxy.http.get(f"{BASE}/artifacts", params={"path": "l/nope"}).json() == {}


@pytest.mark.parametrize(
    ("asked", "status", "expected", "described"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=4-2", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=x", 200, b"0123456789", None),
    ],
)
def test_ranges(
    proxy: Proxy, asked: str, status: int, expected: bytes | None, described: str | None
) -> None:
    proxy.http.put(f"{BASE}/artifacts/range", content=b"0123456789")
    got = proxy.http.get(f"{BASE}/artifacts/range", headers={"Range": asked})
    assert (got.status_code, got.headers.get("content-range")) == (status, described)
    if expected is not None:
        assert got.content == expected


def test_a_range_of_an_older_version_gets_the_whole_new_one(proxy: Proxy) -> None:
    old = proxy.http.put(f"{BASE}/artifacts/version", content=b"old old").headers["etag"]
    new = proxy.http.put(f"{BASE}/artifacts/version", content=b"new new").headers["etag"]
    headers = {"Range": "bytes=1-2", "If-Range": old}
    assert proxy.http.get(f"{BASE}/artifacts/version", headers=headers).content == b"new new"
    headers["If-Range"] = new
    assert proxy.http.get(f"{BASE}/artifacts/version", headers=headers).content == b"ew"
    unchanged = proxy.http.get(f"{BASE}/artifacts/version", headers={"If-None-Match": new})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_head_tells_size_and_type_without_the_bytes(proxy: Proxy) -> None:
    proxy.http.put(f"{BASE}/artifacts/head/page.html", content=b"<p>")
    got = proxy.http.head(f"{BASE}/artifacts/head/page.html")
    assert (got.status_code, got.content) == (200, b"")
    assert got.headers["content-length"] == "3"
    assert got.headers["content-type"] == "text/html"
    assert got.headers["content-disposition"].startswith("attachment")
    assert proxy.http.head(f"{BASE}/artifacts/head/nope").status_code == 404


def test_errors_are_mlflows(proxy: Proxy) -> None:
    proxy.http.put(f"{BASE}/artifacts/e/file", content=b"x")
    folder = proxy.http.get(f"{BASE}/artifacts/e")
    assert (folder.status_code, folder.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    missing = proxy.http.get(f"{BASE}/artifacts/e/nope")
    assert (missing.status_code, missing.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    presigned = proxy.http.get(f"{BASE}/presigned/e/file")
    assert (presigned.status_code, presigned.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
    assert proxy.http.delete(f"{BASE}/artifacts/").status_code == 400
    assert "e/file" in proxy.files()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "..%2fx", "%2e%2e/x", "%252e%252e/x", "%25252e%25252e%25252fx", "/etc/passwd", "%2fetc%2fpasswd", "a%5c..%5cx", "C:/x", "a%00b", "%c0%ae%c0%ae/x/%2e%2e", "a/..%2f..%2f..%2f..%2fetc/passwd"],
)  # fmt: skip
def test_no_path_leads_out(proxy: Proxy, method: str, path: str) -> None:
    before = {p.name for p in proxy.folder.parent.iterdir()}
    status, answer = proxy.raw(method, f"{BASE}/artifacts/{path}")
    assert status == 400, answer
    assert b"Invalid path" in answer
    assert {p.name for p in proxy.folder.parent.iterdir()} == before
    listed = proxy.http.get(f"{BASE}/artifacts?path={path}")
    assert listed.status_code == 400


@pytest.mark.parametrize("call", ["create", "complete", "abort"])
@pytest.mark.parametrize("path", ["a%2F..%2F..%2Fx", "%25252e%25252e/x"])
def test_no_multipart_path_leads_out(proxy: Proxy, call: str, path: str) -> None:
    body = {"path": "f", "num_parts": 1, "upload_id": "0" * 32, "parts": [{"part_number": 1}]}
    assert proxy.http.post(f"{BASE}/mpu/{call}/{path}", json=body).status_code == 400


def test_an_upload_cut_in_the_middle_leaves_nothing(proxy: Proxy) -> None:
    proxy.http.put(f"{BASE}/artifacts/cut/kept", content=b"old")
    for name in ("kept", "new"):
        with socket.create_connection(("127.0.0.1", proxy.http.base_url.port)) as peer:
            peer.sendall(
                f"PUT {BASE}/artifacts/cut/{name} HTTP/1.1\r\nHost: localhost\r\n"
                f"Content-Length: 10000000\r\n\r\n".encode()
            )
            peer.sendall(b"x" * 5_000_000)
            proxy.wait_for_requests(1)  # it has begun before it is cut
        proxy.wait_for_requests(0)
    assert {name for name in proxy.files() if "cut" in name or "partial" in name} == {"cut/kept"}
    assert proxy.http.get(f"{BASE}/artifacts/cut/kept").text == "old"


def test_slow_uploads_keep_nobody_from_reading(proxy: Proxy) -> None:
    proxy.http.put(f"{BASE}/artifacts/read/me", content=b"here")
    with contextlib.ExitStack() as stack:
        for number in range(140):  # more than may upload at once
            peer = socket.create_connection(("127.0.0.1", proxy.http.base_url.port))
            stack.enter_context(peer).sendall(
                f"PUT {BASE}/artifacts/slow/{number} HTTP/1.1\r\nHost: localhost\r\n"
                "Content-Length: 10\r\n\r\nx".encode()
            )
        proxy.wait_for_requests(140)
        assert proxy.http.get(f"{BASE}/artifacts/read/me").text == "here"


def test_a_refused_upload_ends_without_a_word_in_the_log(proxy: Proxy) -> None:
    proxy.http.put(f"{BASE}/artifacts/folder/file", content=b"x")
    with socket.create_connection(("127.0.0.1", proxy.http.base_url.port)) as peer:
        peer.sendall(
            f"PUT {BASE}/artifacts/folder HTTP/1.1\r\nHost: localhost\r\n"
            "Content-Length: 10000000\r\n\r\nx".encode()
        )
        assert peer.recv(12) == b"HTTP/1.1 400"
    assert proxy.http.get(f"{BASE}/artifacts/folder/file").text == "x"
    assert "never retrieved" not in proxy.server.output()


def test_a_reader_that_goes_away_is_let_go(proxy: Proxy) -> None:
    proxy.http.put(f"{BASE}/artifacts/long", content=b"x" * (64 << 20))
    for _ in range(3):
        with proxy.http.stream("GET", f"{BASE}/artifacts/long") as response:
            next(response.iter_raw(1000))
    assert proxy.http.get(f"{BASE}/artifacts/long", headers={"Range": "bytes=-1"}).text == "x"
    assert "Traceback" not in proxy.server.output()


def test_parts_go_through_the_server_where_the_store_has_no_urls(proxy: Proxy) -> None:
    created = proxy.http.post(
        f"{BASE}/mpu/create/9/run/artifacts", json={"path": "/home/me/a b?.bin", "num_parts": 3}
    ).json()
    parts = []
    for target in reversed(created["credentials"]):
        body = str(target["part_number"]).encode() * 1000
        put = httpx.put(target["url"], content=body, headers=target.get("headers"), timeout=60)
        parts.append({"part_number": target["part_number"], "etag": put.headers["etag"], "url": target["url"]})  # fmt: skip
    done = {"path": "/home/me/a b?.bin", "upload_id": created["upload_id"], "parts": parts}
    answer = proxy.http.post(f"{BASE}/mpu/complete/9/run/artifacts", json=done)
    assert (answer.status_code, answer.json()) == (200, {})
    file = proxy.folder / "9/run/artifacts/a b?.bin"
    assert file.read_bytes() == b"1" * 1000 + b"2" * 1000 + b"3" * 1000
    assert proxy.http.post(f"{BASE}/mpu/complete/9/run/artifacts", json=done).status_code == 404


def test_malformed_multipart_calls_are_400(proxy: Proxy) -> None:
    for call, body in (
        ("create", {}),
        ("create", {"path": "f", "num_parts": 0}),
        ("create", {"path": "f", "num_parts": 10_001}),
        ("create", {"path": "f", "num_parts": "many"}),
        ("create", {"path": ""}),
        ("complete", {"path": "f", "upload_id": "x"}),
        ("abort", {"path": "f"}),
    ):
        answer = proxy.http.post(f"{BASE}/mpu/{call}/a", json=body)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert proxy.http.post(f"{BASE}/mpu/create/a", content=b"{").status_code == 400
    for number in ("0", "-1", "one", "9" * 5000):
        answer = proxy.http.put(f"{BASE}/mpu/part/{'0' * 32}/{number}/f", content=b"x")
        assert answer.status_code in (400, 404), number


def test_artifacts_of_runs_are_listed_and_got_by_run(proxy: Proxy) -> None:
    api = "/api/2.0/mlflow"
    experiment = proxy.http.post(f"{api}/experiments/create", json={"name": "by run"}).json()
    run = proxy.http.post(f"{api}/runs/create", json=experiment).json()["run"]["info"]
    root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    proxy.http.put(f"{BASE}/artifacts/{root}/plots/a.txt", content=b"hello")
    listed = proxy.http.get(f"{api}/artifacts/list", params={"run_id": run["run_id"], "path": "plots"})  # fmt: skip
    assert listed.json() == {
        "root_uri": run["artifact_uri"],
        "files": [{"path": "plots/a.txt", "is_dir": False, "file_size": 5}],
    }
    query = {"run_uuid": run["run_id"], "path": "plots/a.txt"}
    assert proxy.http.get("/get-artifact", params=query).text == "hello"
    query["path"] = "../../x"
    assert proxy.http.get("/get-artifact", params=query).status_code == 400
    asked = {"run_id": run["run_id"], "path": "plots/a.txt"}
    refused = proxy.http.post(f"{api}/artifacts/presigned-download-url", json=asked)
    assert refused.status_code == 400
    assert "proxied" in refused.json()["message"]


def test_a_run_cannot_make_the_server_read_its_own_files(proxy: Proxy, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    api = "/api/2.0/mlflow"
    body = {"name": "elsewhere", "artifact_location": tmp_path.as_uri()}
    experiment = proxy.http.post(f"{api}/experiments/create", json=body).json()
    run = proxy.http.post(f"{api}/runs/create", json=experiment).json()["run"]["info"]["run_id"]
    listed = proxy.http.get(f"{api}/artifacts/list", params={"run_id": run})
    assert (listed.status_code, listed.json()["error_code"]) == (403, "PERMISSION_DENIED")
    got = proxy.http.get("/get-artifact", params={"run_id": run, "path": "secret"})
    assert got.status_code == 403


@pytest.mark.parametrize("allowed", ["", "s3://other,s3://team", "*"])
def test_a_run_reaches_only_buckets_that_the_server_was_given(
    server: Callable[..., Server], allowed: str
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    url = server(None, "--allowed-artifacts", allowed, environment=keys).url

    def presigned(location: str) -> int:
        body = {"name": location, "artifact_location": location}
        experiment = http.post("/experiments/create", json=body).json()
        run = http.post("/runs/create", json=experiment).json()["run"]["info"]["run_id"]
        asked = {"run_id": run, "path": "a.txt"}
        return http.post("/artifacts/presigned-upload-url", json=asked).status_code

    with httpx.Client(base_url=f"{url}/api/2.0/mlflow", timeout=60) as http:
        assert presigned("s3://team/a") == (200 if allowed else 403)
        assert presigned("s3://teammates/a") == (200 if allowed == "*" else 403)


def test_a_server_without_proxy_says_so(server: Callable[..., Server]) -> None:
    url = server(None, "--no-serve-artifacts").url
    for method, path in (
        ("GET", "artifacts"),
        ("GET", "artifacts/x"),
        ("PUT", "artifacts/x"),
        ("DELETE", "artifacts/x"),
        ("POST", "mpu/create/x"),
    ):
        answer = httpx.request(method, f"{url}{BASE}/{path}", timeout=60)
        assert answer.status_code == 503, (method, path)
        assert "--serve-artifacts" in answer.json()["message"]
