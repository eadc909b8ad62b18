"""What is logged arrives: at once, later, and once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.client import Client
from headrace.client.journal.destination import _Native
from headrace.client.journal.journals import Journal
from headrace.entities import KeyValue, RunStatus
from headrace.protocol.events import Events
from headrace.protocol.ingest import Ingested, LogParams, StartRun, UpdateRun
from support.logged import log_points, steps_of, until
from support.proxy import Proxy
from support.server import Server

RUN = "0123456789abcdef0123456789abcdef"
Begin = Callable[[str], Journal]


def start(journal: Journal, run_id: str = RUN) -> None:
    journal.step(StartRun(run_id=run_id, run_name="n"))


def test_everything_is_there_after_a_flush(journal: Begin, store: str) -> None:
    one = journal(store)
    start(one)
    log_points(one, RUN, "loss", range(70_000))
    one.step(LogParams(run_id=RUN, params=(KeyValue("lr", "0.1"),)))
    assert one.pending
    assert one.flush(60)
    assert not one.pending
    with Client(store) as client:
        assert steps_of(client, RUN, "loss") == list(range(70_000))
        assert client.get_run(RUN).data.params == {"lr": "0.1"}
    assert one.native
    assert one.reachable


def test_segments_that_arrived_are_removed_and_so_is_the_journal(
    journal: Begin, store: str, journals_dir: Path
) -> None:
    one = journal(store)
    start(one)
    log_points(one, RUN, "loss", range(50_000))
    assert one.flush(60)
    until(lambda: len(list((journals_dir / one.writer.id).glob("*.journal"))) <= 2)
    one.stage(RUN, "a.txt", b"text")
    one.close(30)
    assert list(journals_dir.iterdir()) == []


def test_hooks_run_before_a_flush_and_may_fail(
    journal: Begin, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = journal(store)
    start(one)
    left = ["collected"]

    def collect() -> None:
        if left:
            one.step(LogParams(run_id=RUN, params=(KeyValue("from", left.pop()),)))
        raise RuntimeError("broken")

    one.before_flush.append(collect)
    assert one.flush(60)
    with Client(store) as client:
        assert client.get_run(RUN).data.params == {"from": "collected"}
    assert caplog.text.count("broken") == 1


def test_nobody_waits_for_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.client.journal.drain._STUCK", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one = Journal(f"http://127.0.0.1:{silent.getsockname()[1]}")
        start(one)
        begun = time.monotonic()
        assert not one.flush(None)
        assert one.reachable is False
        assert not one.flush(None)
        assert time.monotonic() - begun < 30  # a request takes up to 120 seconds
    one.close()


def test_a_store_that_names_ever_the_same_place_is_asked_later(
    journal: Begin, store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_Native, "ingest", lambda _self, _batch: Ingested(position=7))
    one = journal(store)
    start(one)
    assert not one.flush(None)
    assert "does not say how far it is" in caplog.text
    monkeypatch.undo()
    assert one.flush(30)


def test_runs_that_threads_begin_and_end_at_once_all_give_signs_of_life(
    journal: Begin, store: str
) -> None:
    one = journal(store)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(
                target=lambda n=number: [one.begin(f"{n}-{i}") for i in range(500)]  # type: ignore[misc]
            )
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(one._drain._alive) == 2000


def test_what_the_store_refuses_is_said_once_and_kept(
    journal: Begin, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = journal(store)
    start(one)
    for value in "123":
        one.step(LogParams(run_id=RUN, params=(KeyValue("a", value),)))
        assert one.flush(60)
    log_points(one, "unknown", "m", range(3))
    assert one.flush(60)
    assert [found.what for found in one.rejections(RUN)] == ["param a"]
    assert [found.what for found in one.rejections("unknown")] == ["metrics"]
    assert caplog.text.count("param a was not recorded") == 1


def test_a_file_is_uploaded_as_it_was_when_it_was_staged(
    journal: Begin, store: str, tmp_path: Path
) -> None:
    one = journal(store)
    start(one)
    file = tmp_path / "big.bin"
    file.write_bytes(b"before" * 100_000)
    one.stage(RUN, "models/big.bin", file)
    file.write_bytes(b"after")
    one.stage(RUN, "note.txt", "grün".encode())
    one.step(UpdateRun(run_id=RUN, status=RunStatus.FINISHED, end_time=7))
    assert one.flush(60)
    with Client(store) as client:
        root = Path(client.download_artifacts(RUN, "", str(tmp_path)))
        assert (root / "models/big.bin").read_bytes() == b"before" * 100_000
        assert (root / "note.txt").read_text("utf-8") == "grün"
        assert client.get_run(RUN).info.status == RunStatus.FINISHED


def test_a_missing_file_is_reported_and_passed(
    journal: Begin, store: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_OFFLINE", "1")
    offline = journal(store)
    start(offline)
    offline.stage(RUN, "gone.txt", b"x")
    log_points(offline, RUN, "m", [1])
    folder = offline.writer.folder
    assert folder is not None
    for file in (folder / "staged").iterdir():
        file.unlink()
    offline.close()
    monkeypatch.delenv("HEADRACE_OFFLINE")
    one = journal(store)
    with Client(store) as client:
        until(lambda: not folder.exists())
        assert steps_of(client, RUN, "m") == [1]
    assert "gone.txt" in caplog.text
    assert one.flush(60)


def test_a_lost_answer_applies_a_batch_once(
    journal: Begin, server: Callable[..., Server], proxy: Callable[..., Proxy]
) -> None:
    lost = iter([False, True, False, True, True])
    upstream = server()

    def rule(method: str, path: str, body: bytes) -> str | None:
        return "drop" if path.endswith("/ingest") and next(lost, False) else None

    one = journal(proxy(upstream.url, rule).url)
    start(one)
    log_points(one, RUN, "m", range(200_000))
    assert one.flush(120)
    with Client(upstream.url) as client:
        assert client.get_run(RUN).info.run_name == "n"
        history = client.get_metric_history(RUN, "m")
        assert [point.step for point in history] == list(range(200_000))


def test_a_store_that_is_away_is_said_once_and_gets_everything_later(
    journal: Begin,
    server: Callable[..., Server],
    proxy: Callable[..., Proxy],
    caplog: pytest.LogCaptureFixture,
) -> None:
    upstream = server()
    between = proxy(upstream.url, lambda *_: 503)
    one = journal(between.url)
    start(one)
    assert one.probe(30) is None
    log_points(one, RUN, "m", range(1000))
    assert not one.flush(None)
    assert one.reachable is False
    assert one.pending
    between.rule = None
    assert one.flush(60)
    until(lambda: "is back; 1,001 records sent" in caplog.text)
    assert caplog.text.count("does not take records now") == 1
    assert one.probe(30) is True
    with Client(upstream.url) as client:
        assert steps_of(client, RUN, "m") == list(range(1000))


def test_a_batch_that_is_refused_is_halved_until_one_record_is_left_out(
    journal: Begin,
    server: Callable[..., Server],
    proxy: Callable[..., Proxy],
    caplog: pytest.LogCaptureFixture,
) -> None:
    upstream = server()

    def rule(method: str, path: str, body: bytes) -> int | None:
        return 400 if b"poison" in body else 413 if len(body) > 500_000 else None

    one = journal(proxy(upstream.url, rule).url)
    start(one)
    log_points(one, RUN, "m", range(30_000))
    for name in ("a", "poison", "b"):
        one.step(LogParams(run_id=RUN, params=(KeyValue(name, "1"),)))
    assert one.flush(60)
    with Client(upstream.url) as client:
        assert steps_of(client, RUN, "m") == list(range(30_000))
        assert set(client.get_run(RUN).data.params) == {"a", "b"}
    assert one.writer.folder is not None
    (kept,) = (one.writer.folder / "rejected").iterdir()
    assert b"poison" in kept.read_bytes()
    assert str(kept) in caplog.text


def test_a_server_that_refuses_everything_loses_nothing(
    journal: Begin, server: Callable[..., Server], proxy: Callable[..., Proxy]
) -> None:
    upstream = server()
    between = proxy(upstream.url)
    one = journal(between.url)
    start(one)
    assert one.flush(60)
    for status in (400, 401, 403, 404, 500):
        between.rule = lambda *_, status=status: status  # type: ignore[misc]
        log_points(one, RUN, "m", [status])
        assert not one.flush(None)
    between.rule = None
    assert one.flush(60)
    with Client(upstream.url) as client:
        assert steps_of(client, RUN, "m") == [400, 401, 403, 404, 500]
    assert one.writer.folder is not None
    assert not (one.writer.folder / "rejected").exists()


def test_a_store_that_lost_what_it_had_gets_it_again(
    journal: Begin,
    server: Callable[..., Server],
    proxy: Callable[..., Proxy],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    between = proxy(server().url)
    one = journal(between.url)
    start(one)
    log_points(one, RUN, "m", range(100))
    assert one.flush(60)
    between.rule = lambda *_: 503
    log_points(one, RUN, "m", [100])
    assert not one.flush(None)
    older = server(tmp_path / "backup")
    between.upstream, between.rule = older.url, None
    assert one.flush(60)
    with Client(older.url) as client:
        assert steps_of(client, RUN, "m") == list(range(101))
    assert "restored from a backup" in caplog.text


def test_signs_of_life_go_out_while_nothing_is_logged(
    journal: Begin, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_HEARTBEAT_SECONDS", "0.2")
    monkeypatch.setenv("HEADRACE_LOST_AFTER", "2")
    one = journal(store)
    start(one)
    one.begin(RUN)
    assert one.flush(60)
    with Client(store) as client:
        one.close(30)
        until(lambda: client.get_run(RUN).info.lost)
        again = journal(store)
        again.begin(RUN)
        until(lambda: not client.get_run(RUN).info.lost)


def test_a_run_that_logs_nothing_hears_that_it_is_to_stop(journal: Begin, store: str) -> None:
    one = journal(store)
    heard: list[str] = []
    one.on_stop.append(lambda notice: heard.append(f"{notice.run_id} {notice.reason}"))
    start(one)
    one.begin(RUN)
    assert one.flush(60)
    with Client(store) as client:
        client.stop_run(RUN, "enough")
    until(lambda: heard[:1] == [f"{RUN} enough"])


def test_uploads_to_where_no_server_sees_them_are_told_of_once(journal: Begin, store: str) -> None:
    one = journal(store)
    start(one)
    for number in range(20):  # more than go in one piece
        one.stage(RUN, f"{number:02}.txt", b"x" * number)
    assert one.flush(60)
    with Client(store) as client:
        page = client._call(Events.list_events, type=("run.artifacts.logged",))
        found = [file for one in page.events for file in one.data["artifacts"]]
        assert found == [{"path": f"{number:02}.txt", "size": number} for number in range(20)]


def test_offline_nothing_is_sent_and_nothing_heavy_is_loaded(tmp_path: Path) -> None:
    code = """
import sys
from headrace.client.journal.journals import journal_for, flush, pending
from headrace.protocol.ingest import StartRun
journal = journal_for("http://127.0.0.1:9")
journal.step(StartRun(run_id="r"))
assert flush(None) and journal.flush(5) and journal.probe(5) is None
assert pending("http://127.0.0.1:9")
heavy = {"httpx", "numpy", "sqlalchemy", "rich", "headrace.engine"} & set(sys.modules)
assert not heavy, heavy
"""
    environment = {
        **os.environ,
        "HEADRACE_OFFLINE": "1",
        "HEADRACE_JOURNAL_DIR": str(tmp_path / "j"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    (folder,) = (tmp_path / "j").iterdir()
    assert list(folder.glob("*.journal"))
