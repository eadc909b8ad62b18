"""``headrace runs logs``, and how a lost run is shown."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from headrace.client import Client
from headrace.client.remote import RemoteStore
from headrace.client.stores import open_store
from headrace.engine import Engine, schema
from support.api import Api
from support.journal import Journal
from support.server import Server

from .conftest import Headrace, NewRun

_PATIENCE_S = 60


@pytest.fixture
def journal(client: Client, store: str) -> Iterator[Journal]:
    with contextlib.closing(open_store(store)) as opened:
        yield Journal(opened)


@pytest.fixture
def run_id(client: Client, journal: Journal) -> str:
    """A running run that has printed ten lines, and is writing an eleventh."""
    run_id = client.create_run("0", run_name="one").info.run_id
    for number in range(1, 11):
        stream = "stdout" if number % 2 else "stderr"
        journal.print(run_id, f"epoch {number}", times=[1_700_000_000_000 + number], stream=stream)
    journal.print(run_id, unfinished="50% done")
    return run_id


def lose(store: str, run_id: str, journal: Journal) -> None:
    """Make a run lost, as if it had been silent for long."""
    journal.say_alive(run_id)
    url = f"sqlite:///{store}/headrace.db"
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.update(schema.heartbeat).values(seen_time=1_700_000_000_000))
    Engine(url, artifact_root="file:///nowhere", compact=False).close()


def test_the_output_of_a_run_is_printed(headrace: Headrace, run_id: str) -> None:
    out = headrace("runs", "logs", run_id).stdout
    assert out.splitlines() == [*(f"epoch {number}" for number in range(1, 11)), "50% done"]
    assert headrace("runs", "logs", "--run-id", run_id[:8]).stdout == out


def test_lines_are_chosen(headrace: Headrace, run_id: str) -> None:
    def lines(*arguments: str) -> list[str]:
        return headrace("runs", "logs", run_id, *arguments).stdout.splitlines()

    assert lines("--tail", "2") == ["epoch 9", "epoch 10", "50% done"]
    assert lines("--tail", "0") == ["50% done"]
    assert lines("--grep", "EPOCH 1") == ["epoch 1", "epoch 10"]
    assert lines("--stream", "stderr", "--tail", "2") == ["epoch 8", "epoch 10"]
    assert lines("--source", "rank-1") == []


def test_times_and_sources_are_shown(
    headrace: Headrace, client: Client, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    run_id = client.create_run("0").info.run_id
    journal.print(run_id, "hello", times=[1_700_000_000_123], source="rank-3")
    out = headrace("runs", "logs", run_id, "--timestamps").stdout
    assert out == "2023-11-14 22:13:20.123 [rank-3] hello\n"
    monkeypatch.undo()
    time.tzset()


def test_json_holds_everything(headrace: Headrace, run_id: str) -> None:
    found = headrace.json("runs", "logs", run_id, "--tail", "1")
    assert (found["run_id"], found["total"], found["ended"], found["lost"]) == (
        run_id, 10, False, False,
    )  # fmt: skip
    assert found["lines"] == [
        {"number": 10, "time": 1_700_000_000_010, "stream": "stderr", "source": "", "text": "epoch 10"}
    ]  # fmt: skip
    assert found["unfinished"][0]["text"] == "50% done"
    assert found["unfinished"][0]["number"] is None


def test_output_cannot_command_the_terminal(
    headrace: Headrace, client: Client, journal: Journal
) -> None:
    run_id = client.create_run("0").info.run_id
    journal.print(
        run_id,
        "\x1b[1;31mred\x1b[0m",
        "\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b",
        "\x1b[2J\x1b(Bc\x1b",
        "a\tb\x07",
        "ünï [bold]",
    )
    assert headrace("runs", "logs", run_id).stdout.splitlines() == [
        "red",
        "ab",
        "c\ufffd",
        "a       b\ufffd",
        "ünï [bold]",
    ]
    found = headrace.json("runs", "logs", run_id)
    assert found["lines"][0]["text"] == "\x1b[1;31mred\x1b[0m"


def test_a_run_is_followed_until_it_ends(
    headrace: Headrace, client: Client, journal: Journal, run_id: str
) -> None:
    def go_on() -> None:
        for number in range(11, 14):
            time.sleep(0.3)  # so that there is something to wait for; nothing depends on it
            journal.print(run_id, f"epoch {number}", stream="stderr")
        journal.print(run_id)
        client.set_terminated(run_id)

    writer = threading.Thread(target=go_on)
    writer.start()
    out = headrace("runs", "logs", run_id, "--follow", "--tail", "1").stdout
    writer.join()
    assert [line for line in out.splitlines() if line != "50% done"] == [
        f"epoch {number}" for number in range(10, 14)
    ]
    out = headrace("runs", "logs", run_id, "--follow", "--tail", "2", "--json").stdout
    assert [json.loads(line)["number"] for line in out.splitlines()] == [12, 13]


def test_a_run_that_has_ended_keeps_what_it_did_not_finish(
    headrace: Headrace, client: Client, run_id: str
) -> None:
    client.set_terminated(run_id, "FAILED")
    out = headrace("runs", "logs", run_id, "-f", "-n", "1").stdout
    assert out.splitlines() == ["epoch 10", "50% done"]


def test_following_on_a_terminal_draws_the_unfinished_line_and_ends_by_ctrl_c(
    journal: Journal, store: str, run_id: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "headrace", "runs", "logs", run_id, "-f", "--store", store]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "40", "LINES": "20", "TERM": "xterm"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment
    ) as process:
        os.close(theirs)
        seen = _read_until(ours, b"50% done")
        journal.print(run_id, unfinished="75% " + "#" * 100)
        seen += _read_until(ours, b"75%")
        journal.print(run_id, "100%")
        seen += _read_until(ours, b"100%")
        process.send_signal(signal.SIGINT)
        assert process.wait(_PATIENCE_S) == 130
        os.close(ours)
    shown = re.findall(r"\r\x1b\[2K([^\r\n]+)", seen.decode())
    assert shown[0] == "50% done"
    assert "75% " + "#" * 35 in shown
    assert "100%" in shown
    assert "Traceback" not in seen.decode()


def test_following_outlives_the_server(server: Callable[..., Server], tmp_path: Path) -> None:
    first = server(tmp_path / "store")
    port = first.url.rpartition(":")[2]
    command = [sys.executable, "-m", "headrace", "runs", "logs", "-f", "--store", first.url]
    environment = {**os.environ, "HEADRACE_HTTP_REQUEST_MAX_RETRIES": "0"}
    with contextlib.closing(RemoteStore(first.url)) as store:
        api, journal = Api(store), Journal(store)
        run_id = api.new_run()
        journal.print(run_id, "before")
        with subprocess.Popen(
            [*command, run_id],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "before\n"
            first.kill()
            assert "Waiting for it" in process.stderr.readline()
            server(tmp_path / "store", "--port", port)
            journal.print(run_id, "after")
            api.update_run(run_id=run_id, status="FINISHED")
            out, complaints = process.communicate(timeout=_PATIENCE_S)
            assert (process.returncode, out, complaints) == (0, "after\n", "")


def _read_until(descriptor: int, text: bytes) -> bytes:
    found = b""
    deadline = time.monotonic() + _PATIENCE_S
    while text not in found:
        assert time.monotonic() < deadline, found
        if select.select([descriptor], [], [], 1)[0]:
            found += os.read(descriptor, 65_536)
    return found


def test_what_is_wrong_has_its_exit_code(headrace: Headrace, run_id: str) -> None:
    headrace("runs", "logs", "0" * 32, code=3)
    headrace("runs", "logs", code=2)
    headrace("runs", "logs", run_id, "--run-id", run_id, code=2)
    headrace("runs", "logs", run_id, "--stream", "stdin", code=2)


def test_a_lost_run_is_shown_as_lost(
    headrace: Headrace, store: str, journal: Journal, run_id: str, new_run: NewRun, tmp_path: Path
) -> None:
    new_run("two")
    assert "LOST" not in headrace("runs", "list").stdout
    lose(store, run_id, journal)
    table = headrace("runs", "list").stdout.splitlines()
    assert [("LOST" in line, "one" in line) for line in table[1:]] == [(False, False), (True, True)]
    found = {run["run_name"]: run for run in headrace.json("runs", "list")}
    assert (found["one"]["status"], found["one"]["lost"]) == ("RUNNING", True)
    assert not found["two"]["lost"]
    (only,) = headrace.json("runs", "list", "--filter", "status = 'LOST'")
    assert only["run_id"] == run_id
    fields = dict(
        line.split(maxsplit=1)
        for line in headrace("runs", "show", run_id).stdout.replace("last ", "last-").splitlines()
        if len(line.split()) > 1
    )
    assert fields["status"] == "LOST"
    assert fields["last-seen"].startswith("2023-11-1")
    assert fields["log"].split() == ["lines", "10"]
    shown = headrace.json("runs", "show", run_id)
    assert (shown["lost"], shown["seen_time"], shown["console_lines"]) == (
        True, 1_700_000_000_000, 10,
    )  # fmt: skip
    compared = headrace.json("runs", "compare", run_id, found["two"]["run_id"])
    statuses = [row["values"] for row in compared["rows"] if row["key"] == "status"]
    assert statuses == [["LOST", "FINISHED"]]
    exported = headrace("runs", "export", run_id).stdout
    assert ",LOST," in exported
    assert headrace.json("runs", "logs", run_id)["lost"]
