"""Files and folders to and from a server, through a line that breaks."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.artifacts import ArtifactStore, open_artifacts
from headrace.client.artifacts import RemoteArtifacts, artifacts_at
from headrace.client.remote import RemoteStore
from headrace.client.transfer import PART_SIZE, download, download_file, upload, upload_dir
from headrace.errors import InvalidParameter, NotFound, Unavailable
from support.server import Server


@pytest.fixture(autouse=True)
def everything_goes_through_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it files of a server on this machine would be read where they lie."""
    monkeypatch.setenv("HEADRACE_READ_FILES_HERE", "0")


class Line:
    """A TCP relay before a server that can be told to hang up.

    Attributes:
        budget: Bytes from the server that it passes on before it cuts a connection; None for all.
        cuts: How many more connections it cuts.
        passed: Bytes from the server that it passed on.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.budget: int | None = None
        self.cuts = 0
        self.passed = 0
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [near, far]
                for pair in ((near, far, False), (far, near, True)):
                    thread = threading.Thread(target=self._pump, args=pair)
                    self._threads.append(thread)
                    thread.start()

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        left = self.budget if counted and self.cuts > 0 else None
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                if left is not None:
                    left -= len(piece)
                    if left < 0:
                        with self._lock:
                            self.cuts -= 1
                        break
                target.sendall(piece)
                if counted:
                    with self._lock:
                        self.passed += len(piece)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("transfer")
    server = Server(base / "store", base / "server.log")
    yield server
    server.stop()


@pytest.fixture
def line(running: Server) -> Iterator[Line]:
    one = Line(int(running.url.rpartition(":")[2]))
    yield one
    one.close()


@pytest.fixture
def remote(line: Line, tmp_path: Path) -> Iterator[ArtifactStore]:
    tracking = RemoteStore(f"http://127.0.0.1:{line.port}")
    yield artifacts_at(f"mlflow-artifacts:/{tmp_path.name}/run/artifacts", tracking)
    tracking.close()


def test_a_remote_store_is_a_store(remote: ArtifactStore) -> None:
    assert isinstance(remote, RemoteArtifacts)
    stat = remote.write("a b/ü?#%.txt", [b"01234", b"56789"])
    assert remote.stat("a b/ü?#%.txt") == remote.stat("a b/ü?#%.txt")
    assert remote.stat("a b/ü?#%.txt").etag == stat.etag
    assert [(i.path, i.is_dir, i.file_size) for i in remote.list()] == [("a b", True, None)]
    assert [(i.path, i.file_size) for i in remote.list("a b")] == [("a b/ü?#%.txt", 10)]
    for start, stop, expected in ((0, None, b"0123456789"), (2, 5, b"234"), (-3, None, b"789")):
        with remote.read("a b/ü?#%.txt", start, stop) as content:
            assert content.read() == expected
            assert content.stat.size == 10
    with pytest.raises(NotFound):
        remote.read("nope")
    with pytest.raises(NotFound):
        remote.stat("nope")
    with pytest.raises(InvalidParameter, match="directory"):
        remote.read("a b")
    with pytest.raises(InvalidParameter, match=r"'\.\.'"):
        remote.write("../x", [b""])
    remote.delete("a b")
    assert remote.list() == []


def test_an_upload_whose_source_breaks_leaves_nothing(remote: ArtifactStore) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x" * 100_000
        yield b"x" * 100_000
        raise RuntimeError("the disk went away")

    with pytest.raises(RuntimeError, match="disk"):
        remote.write("broken", chunks())
    assert remote.list() == []


def test_a_log_that_grows_meanwhile_is_uploaded_as_it_was_at_the_start(
    remote: ArtifactStore, tmp_path: Path
) -> None:
    log = tmp_path / "train.log"
    log.write_bytes(b"x" * (8 << 20))

    def grow(path: str, done: int, total: int) -> None:
        with log.open("ab") as stream:
            stream.write(b"y" * 1000)

    upload(remote, log, "train.log", grow)
    with remote.read("train.log") as content:
        assert content.read() == b"x" * (8 << 20)


def test_a_folder_goes_there_and_back(
    store: ArtifactStore, remote: ArtifactStore, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    names = ["top.txt", "a/b.txt", "a/c/d e.txt", "ü/100%.txt"]
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    seen: list[tuple[str, int, int]] = []
    for one in (store, remote):
        assert upload_dir(one, source, "in", lambda *report: seen.append(report)) == sorted(
            f"in/{name}" for name in names
        )
        back = Path(download(one, "in"))
        assert {p.relative_to(back).as_posix() for p in back.rglob("*") if p.is_file()} == set(
            names
        )
        assert (back / "a/c/d e.txt").read_text() == "a/c/d e.txt"
        (tmp_path / "here").mkdir(exist_ok=True)
        file = download(one, "in/top.txt", tmp_path / "here")
        assert (file, Path(file).read_text()) == (str(tmp_path / "here/top.txt"), "top.txt")
        with pytest.raises(NotFound):
            download(one, "nope", tmp_path)
    assert ("in/top.txt", 7, 7) in seen


def test_a_large_download_comes_in_parts(
    store: ArtifactStore, remote: ArtifactStore, big: Callable[[int], bytes], tmp_path: Path
) -> None:
    body = big(2 * PART_SIZE + 12345)
    (tmp_path / "local").write_bytes(body)
    for number, one in enumerate((store, remote)):
        done: list[tuple[str, int, int]] = []
        upload(one, tmp_path / "local", "big", lambda *report, done=done: done.append(report))
        assert done[-1] == ("big", len(body), len(body))
        download_file(one, "big", tmp_path / f"back{number}")
        assert (tmp_path / f"back{number}").read_bytes() == body
    assert sorted(p.name for p in tmp_path.iterdir() if "part" in p.name) == []


def test_a_broken_line_is_mended_under_way(
    line: Line, remote: ArtifactStore, big: Callable[[int], bytes], tmp_path: Path
) -> None:
    body = big(3 * PART_SIZE)
    remote.write("big", [body])
    line.budget, line.cuts = 5 << 20, 4
    remote._remote.close()  # type: ignore[attr-defined]
    tracking = RemoteStore(f"http://127.0.0.1:{line.port}")
    again = artifacts_at(remote.uri, tracking)
    download_file(again, "big", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == body
    assert line.cuts <= 0
    tracking.close()


def test_a_cut_download_goes_on_where_it_stopped(
    running: Server,
    remote: ArtifactStore,
    big: Callable[[int], bytes],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    body = big(6 * PART_SIZE)
    remote.write("big", [body])
    target = tmp_path / "back"

    class Stop(Exception):
        pass

    def stop(path: str, done: int, total: int) -> None:
        if done > 4 * PART_SIZE:
            raise Stop

    with pytest.raises(Stop):
        download_file(remote, "big", target, stop)
    assert not target.exists()
    seen: list[int] = []
    line = Line(int(running.url.rpartition(":")[2]))
    request.addfinalizer(line.close)
    tracking = RemoteStore(f"http://127.0.0.1:{line.port}")
    request.addfinalizer(tracking.close)
    again = artifacts_at(remote.uri, tracking)
    download_file(again, "big", target, lambda path, done, total: seen.append(done))
    assert target.read_bytes() == body
    # However the bytes were spread over the parts that came at the same time.
    assert seen[0] > 4 * PART_SIZE
    assert line.passed < len(body) - seen[0] + 100_000  # headers
    assert [p.name for p in tmp_path.iterdir()] == ["back"]


def test_a_killed_download_goes_on_where_it_stopped(
    running: Server, remote: ArtifactStore, big: Callable[[int], bytes], tmp_path: Path
) -> None:
    body = big(6 * PART_SIZE)
    remote.write("big", [body])
    target = tmp_path / "back"
    script = """if True:
        import os, signal, sys
        from headrace.client.artifacts import artifacts_at
        from headrace.client.remote import RemoteStore
        from headrace.client.transfer import download_file

        def stop(path, done, total):
            if done > 48 << 20:
                os.kill(os.getpid(), signal.SIGKILL)

        url, uri, target = sys.argv[1:]
        download_file(artifacts_at(uri, RemoteStore(url)), "big", target, stop)
    """
    killed = subprocess.run(
        [sys.executable, "-c", script, running.url, remote.uri, str(target)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert not target.exists()
    seen: list[int] = []
    download_file(remote, "big", target, lambda path, done, total: seen.append(done))
    assert target.read_bytes() == body
    # Of each of the four parts that were coming, no more is lost than what was not noted yet.
    assert seen[0] > (48 << 20) - 4 * (5 << 20)
    assert [p.name for p in tmp_path.iterdir()] == ["back"]


def test_a_partial_download_of_an_older_version_is_not_used(
    remote: ArtifactStore, big: Callable[[int], bytes], tmp_path: Path
) -> None:
    body = big(3 * PART_SIZE)
    remote.write("big", [body])
    target = tmp_path / "back"

    def stop(path: str, done: int, total: int) -> None:
        if done > 2 * PART_SIZE:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        download_file(remote, "big", target, stop)
    new = body[::-1]
    remote.write("big", [new])
    download_file(remote, "big", target)
    assert target.read_bytes() == new


def test_a_server_that_is_gone_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        tracking = RemoteStore(f"http://127.0.0.1:{unused.getsockname()[1]}")
        store = artifacts_at("mlflow-artifacts:/1/x", tracking)
        (tmp_path / "f").write_text("x")
        with pytest.raises(Unavailable):
            upload(store, tmp_path / "f", "f")
        tracking.close()


def test_a_proxied_uri_needs_a_server() -> None:
    with pytest.raises(InvalidParameter, match="http"):
        artifacts_at("mlflow-artifacts:/1/x")


def test_large_uploads_go_straight_to_s3_when_the_server_sends_them_there(
    bucket: str,
    s3_environment: dict[str, str],
    server: Callable[..., Server],
    big: Callable[[int], bytes],
    tmp_path: Path,
) -> None:
    one = server(None, "--artifacts", bucket, environment=s3_environment)
    tracking = RemoteStore(one.url)
    store = artifacts_at("mlflow-artifacts:/1/r/artifacts", tracking)
    body = big(65 << 20)
    (tmp_path / "big").write_bytes(body)
    upload(store, tmp_path / "big", "m/big")
    with open_artifacts(bucket).read("1/r/artifacts/m/big") as content:
        assert content.read() == body
    presigned = store.presign("GET", "m/big", 60)
    assert presigned.file_size == len(body)
    assert Path(download(store, "m/big", tmp_path / "back")).read_bytes() == body
    tracking.close()


def test_a_file_that_lies_on_this_machine_does_not_go_through_the_line(
    line: Line,
    remote: ArtifactStore,
    big: Callable[[int], bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = big(2 * PART_SIZE + 1)
    remote.write("here/big ü%.bin", [body])
    monkeypatch.delenv("HEADRACE_READ_FILES_HERE")
    store = artifacts_at(remote.uri, RemoteStore(f"http://127.0.0.1:{line.port}"))
    place = Path(store.stat("here/big ü%.bin").place)
    assert place.read_bytes() == body
    before, seen = line.passed, [0]
    (tmp_path / "back.headrace-part").write_bytes(b"of a process that was killed")
    download_file(
        store, "here/big ü%.bin", tmp_path / "back", lambda path, done, total: seen.append(done)
    )
    assert (tmp_path / "back").read_bytes() == body
    assert seen[-1] == len(body)
    assert line.passed - before < 10_000
    assert [path.name for path in tmp_path.iterdir()] == ["back"]
    store._remote.close()  # type: ignore[attr-defined]


def test_where_a_file_lies_is_told_to_who_asks_from_this_machine_alone(
    running: Server, remote: ArtifactStore
) -> None:
    remote.write("asked", [b"x"])
    http = remote._remote.http  # type: ignore[attr-defined]
    url = f"api/2.0/mlflow-artifacts/artifacts/{remote._root}/asked"  # type: ignore[attr-defined]
    ask = {"x-headrace-file": "?"}
    assert http.head(url, headers=ask).headers["x-headrace-file"].endswith("/asked")
    for headers in ({}, {**ask, "x-forwarded-for": "10.0.0.1"}, {**ask, "via": "1.1 proxy"}):
        assert "x-headrace-file" not in http.head(url, headers=headers).headers
    assert remote.stat("asked").place == ""  # the client did not ask
