"""Logging through the journal: what waits, what raises, what is captured, and what happens offline."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace.client.environment import setting
from headrace.errors import InvalidParameter, Unavailable
from headrace.tracking.choice import choice
from support.proxy import Proxy
from support.server import Server


def sync(*arguments: str) -> str:
    """What `headrace sync` says; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "sync", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_what_was_logged_is_there_when_it_is_read(tracking_uri: str) -> None:
    headrace.set_tracking_uri(tracking_uri)
    with headrace.start_run() as run:
        for step in range(3000):
            headrace.log_metric("loss", 1 / (step + 1), step=step)
            headrace.log({"a": 1.0, "b": {"c": 2}}, step=step)
        headrace.log_param("lr", 0.1)
        headrace.set_tag("team", "vision")
        headrace.log_text("first", "note.txt")
        headrace.log_text("second", "note.txt")
        note = headrace.artifacts.load_text(f"runs:/{run.info.run_id}/note.txt")
        assert note == "second"
        now = headrace.get_run(run.info.run_id)
        assert now.data.params == {"lr": "0.1"}
        assert now.data.metrics == {"loss": 1 / 3000, "a": 1.0, "b/c": 2.0}
        assert now.data.tags["team"] == "vision"
        assert now.info.status == "RUNNING"
    client = headrace.Client(tracking_uri)
    points = client.get_metric_history(run.info.run_id, "loss")
    assert [point.step for point in points] == list(range(3000))
    assert client.get_run(run.info.run_id).info.status == "FINISHED"
    client.close()


def test_a_conflict_that_this_process_sees_raises(tracking_uri: str) -> None:
    headrace.set_tracking_uri(tracking_uri)
    with headrace.start_run():
        headrace.log_param("lr", 0.1)
        headrace.log_param("lr", 0.1)
        with pytest.raises(InvalidParameter, match=r"already logged with value '0\.1'"):
            headrace.log_param("lr", 0.2)


def test_a_conflict_that_only_the_store_sees_is_told_and_does_not_raise(
    tracking_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    headrace.set_tracking_uri(tracking_uri)
    with headrace.start_run() as run, headrace.Client(tracking_uri) as other:
        other.log_param(run.info.run_id, "lr", 0.1)
        with caplog.at_level(logging.WARNING, "headrace"):
            headrace.log_params({"lr": 0.2, "batch": 32})
            assert headrace.flush(60)
        assert sum("'0.1'" in record.message for record in caplog.records) == 1
        assert headrace.get_run(run.info.run_id).data.params == {"lr": "0.1", "batch": "32"}
        with pytest.raises(InvalidParameter, match="already logged"):
            headrace.log_params({"lr": 0.3}, synchronous=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("loss", "high"), "is not a number"),
        (("loss", [1.0, 2.0]), "is not a number"),
        (("../loss", 1.0), "Invalid metric name"),
        (("a" * 251, 1.0), "251 characters"),
        (("nul\x00", 1.0), "Invalid metric name"),
        (("loss", 1.0, 1.5), "not a whole number"),
        (("loss", 1.0, 2**63), "64 bits"),
    ],
)
def test_what_is_wrong_here_raises_here(arguments: tuple[object, ...], message: str) -> None:
    with headrace.start_run() as run:
        headrace.log_metric("loss", 0.5)
        with pytest.raises(InvalidParameter, match=message):
            headrace.log_metric(*arguments)  # type: ignore[arg-type]
        assert headrace.get_run(run.info.run_id).data.metrics == {"loss": 0.5}


def test_numbers_of_every_kind_are_taken() -> None:
    numpy = pytest.importorskip("numpy")
    with headrace.start_run() as run:
        headrace.log_metric("int", 3)
        headrace.log_metric("bool", True)
        headrace.log_metric("float32", numpy.float32(0.5))
        headrace.log_metric("array", numpy.array([[7.0]]))
        headrace.log_metric("step", 1.0, step=numpy.int64(2))
        headrace.log({"nan": float("nan"), "inf": float("inf"), "scalar": numpy.float64(2)})
    found = headrace.get_run(run.info.run_id).data.metrics
    assert str(found.pop("nan")) == "nan"
    assert found == {
        "int": 3.0,
        "bool": 1.0,
        "float32": 0.5,
        "array": 7.0,
        "step": 1.0,
        "inf": float("inf"),
        "scalar": 2.0,
    }


def test_a_bad_status_ends_nothing() -> None:
    headrace.start_run()
    with pytest.raises(InvalidParameter, match="BOGUS"):
        headrace.end_run("BOGUS")
    run = headrace.active_run()
    assert run is not None
    headrace.end_run("killed")
    assert headrace.get_run(run.info.run_id).info.status == "KILLED"


def test_the_exception_that_ended_a_run_is_kept(tracking_uri: str) -> None:
    headrace.set_tracking_uri(tracking_uri)

    def train() -> None:
        raise ZeroDivisionError("no data")

    with pytest.raises(ZeroDivisionError), headrace.start_run() as run:
        train()
    ended = headrace.get_run(run.info.run_id)
    assert ended.info.status == "FAILED"
    assert "in train" in ended.data.tags["headrace.traceback"]
    assert "ZeroDivisionError: no data" in ended.data.tags["headrace.traceback"]


def test_a_seed_is_kept_with_the_run() -> None:
    import random

    with headrace.start_run() as run:
        assert headrace.seed(7) == 7
        first = random.random()
    assert headrace.get_run(run.info.run_id).data.tags["headrace.seed"] == "7"
    headrace.seed(7)
    assert random.random() == first


OFFLINE = """
import headrace
headrace.set_tracking_uri({uri!r})
headrace.set_experiment("far away")
with headrace.start_run(run_name="outer") as outer:
    headrace.log_param("lr", 0.1)
    headrace.log_text("hello", "notes/a.txt")
    headrace.log_table({{"question": ["2+2?"], "answer": [4]}}, "answers.json")
    headrace.log_table({{"question": ["3+3?"], "answer": [6]}}, "answers.json")
    with headrace.start_run(run_name="inner", nested=True):
        for step in range(100):
            headrace.log_metric("loss", 1 / (step + 1), step=step)
print(outer.info.run_id)
import sys
print(sorted({{"numpy", "sqlalchemy", "httpx", "obstore", "starlette"}} & set(sys.modules)))
"""


def test_offline_runs_arrive_with_sync(tracking_uri: str, tmp_path: Path) -> None:
    done = python(OFFLINE.format(uri=tracking_uri), HEADRACE_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    run_id, heavy = done.stdout.split("\n")[:2]
    assert heavy == "[]"
    sync()
    with headrace.Client(tracking_uri) as client:
        outer = client.get_run(run_id)
        assert outer.info.status == "FINISHED"
        assert outer.info.run_name == "outer"
        assert outer.data.params == {"lr": "0.1"}
        assert client.get_experiment(outer.info.experiment_id).name == "far away"
        path = Path(client.download_artifacts(run_id, "notes/a.txt", tmp_path))
        assert path.read_text() == "hello"
        answers = Path(client.download_artifacts(run_id, "answers.json", tmp_path)).read_text()
        assert json.loads(answers)["data"] == [["2+2?", 4], ["3+3?", 6]]
        assert "answers.json" in outer.data.tags["mlflow.loggedArtifacts"]
        [inner] = client.search_runs(
            [outer.info.experiment_id], f"tags.mlflow.parentRunId = '{run_id}'"
        )
        assert inner.info.status == "FINISHED"
        assert len(client.get_metric_history(inner.info.run_id, "loss")) == 100
    sync()  # nothing is left, and nothing comes twice
    assert list((tmp_path / "journals").iterdir()) == []


def test_reading_offline_says_why_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_OFFLINE", "1")
    with headrace.start_run() as run:
        headrace.log_metric("a", 1.0)
        with pytest.raises(Unavailable, match="HEADRACE_OFFLINE"):
            headrace.get_run(run.info.run_id)


def test_a_server_that_comes_late_gets_everything(
    server: Callable[..., Server], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    headrace.set_tracking_uri(f"http://127.0.0.1:{port}")
    with caplog.at_level(logging.WARNING, "headrace"):
        run = headrace.start_run(run_name="early")
    assert any("cannot be reached" in record.message for record in caplog.records)
    headrace.log_metric("loss", 0.5, step=1)
    headrace.log_text("kept", "note.txt")
    started = server(tmp_path / "store", "--port", str(port))
    assert started.url.endswith(str(port))
    assert headrace.flush(60)
    headrace.end_run()
    there = headrace.get_run(run.info.run_id)
    assert there.info.run_name == "early"
    assert there.info.status == "FINISHED"
    assert there.data.metrics == {"loss": 0.5}
    assert headrace.artifacts.load_text(f"runs:/{run.info.run_id}/note.txt") == "kept"


SHARED = """
import headrace
headrace.set_tracking_uri({uri!r})
with headrace.start_run(run_id="together", shared=True):
    for step in range(200):
        headrace.log_metric("loss/{rank}", float(step), step=step)
    headrace.set_tag("rank-{rank}", "was here")
"""


def test_many_processes_share_a_run(tracking_uri: str) -> None:
    import os

    if not tracking_uri.startswith("http"):
        headrace.set_tracking_uri(tracking_uri)
        headrace.get_run  # noqa: B018 - opened below by the children
    children = [
        subprocess.Popen(
            [sys.executable, "-c", SHARED.format(uri=tracking_uri, rank=rank)],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "4"},
        )
        for rank in range(4)
    ]
    assert [child.wait(120) for child in children] == [0] * 4
    with headrace.Client(tracking_uri) as client:
        run = client.get_run("together")
        assert run.info.status == "FINISHED"
        for rank in range(4):
            points = client.get_metric_history("together", f"loss/{rank}")
            assert [point.value for point in points] == [float(step) for step in range(200)]
            assert run.data.tags[f"rank-{rank}"] == "was here"


def test_a_shared_run_needs_an_id() -> None:
    with pytest.raises(InvalidParameter, match="run_id"):
        headrace.start_run(shared=True)


def test_a_run_captures_itself(
    tracking_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HEADRACE_CAPTURE")
    done = python(
        "import headrace\n"
        f"headrace.set_tracking_uri({tracking_uri!r})\n"
        "with headrace.start_run() as run:\n"
        "    print('epoch 1: fine')\n"
        "print(run.info.run_id)"
    )
    assert done.returncode == 0, done.stderr
    run_id = done.stdout.split()[-1]
    with headrace.Client(tracking_uri) as client:
        names = {file.path for file in client.list_artifacts(run_id, "headrace")}
        assert {"headrace/environment.json", "headrace/requirements.txt"} <= names
        page = client.get_console(run_id)
        assert [line.text for line in page.lines] == ["epoch 1: fine"]
        assert "headrace.command" in client.get_run(run_id).data.tags


def test_the_choice_is_forgotten_by_reset() -> None:
    choice.reset()
    assert setting("EXPERIMENT_NAME") is None


@pytest.mark.parametrize("run_id", [123, "half \ud800", "x" * 300_000])
def test_a_run_id_that_is_none_raises_and_holds_nothing_up(tmp_path: Path, run_id: Any) -> None:
    headrace.set_tracking_uri(tmp_path / "store")
    with headrace.start_run() as run:
        for log in (
            lambda: headrace.log_metrics({"a": 1.0}, run_id=run_id),
            lambda: headrace.log_params({"a": 1.0}, run_id=run_id),
            lambda: headrace.log_text("x", "a.txt", run_id=run_id),
            lambda: headrace.start_run(run_id=run_id, nested=True),
        ):
            with pytest.raises(InvalidParameter, match="Invalid run ID"):
                log()
        headrace.log_metric("after", 1.0)
    assert headrace.get_run(run.info.run_id).data.metrics == {"after": 1.0}


def test_a_server_that_goes_away_holds_up_no_call(server: Callable[..., Server]) -> None:
    running = server()
    headrace.set_tracking_uri(running.url)
    with headrace.start_run():
        headrace.log_metric("a", 1.0)
    running.kill()
    begun = time.monotonic()
    for _ in range(3):
        with headrace.start_run():
            headrace.log_artifact(__file__)
            headrace.log_artifacts(str(Path(__file__).parent), "more")
            headrace.log_table({"a": [1]}, "table.json")
            headrace.log_text("x", "a.txt")
    assert time.monotonic() - begun < 15  # each would repeat its request for 20 seconds


def test_journals_are_sent_in_the_order_in_which_they_began(tmp_path: Path) -> None:
    first = python(
        "import headrace; print(headrace.start_run().info.run_id)",
        HEADRACE_OFFLINE="1",
        HEADRACE_TRACKING_URI=str(tmp_path / "store"),
        HEADRACE_JOURNAL_DIR=str(tmp_path / "z"),
    )
    run_id = first.stdout.strip()
    python(
        f"import headrace; headrace.start_run('{run_id}'); headrace.log_metric('a', 1.0)",
        HEADRACE_OFFLINE="1",
        HEADRACE_TRACKING_URI=str(tmp_path / "store"),
        HEADRACE_JOURNAL_DIR=str(tmp_path / "a"),
    )
    sync(str(tmp_path / "a"), str(tmp_path / "z"))
    with headrace.Client(tmp_path / "store") as client:
        assert client.get_run(run_id).data.metrics == {"a": 1.0}


_FORK_WITHIN_IMPORT = """
import os, sys, threading
sys.path.insert(0, sys.argv[1])
import headrace.client.journal.journals
sys.importing, sys.finish = threading.Event(), threading.Event()
os.register_at_fork(before=sys.finish.set)
threading.Thread(target=lambda: __import__("slow"), name="headrace-x", daemon=True).start()
sys.importing.wait()
if not os.fork():
    import slow
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_a_child_imports_what_a_thread_of_ours_was_importing(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import sys\nsys.importing.set()\nsys.finish.wait()\n")
    done = subprocess.run(
        [sys.executable, "-c", _FORK_WITHIN_IMPORT, str(tmp_path)], timeout=30, check=False
    )
    assert done.returncode == 0


def test_many_stores_in_one_process_do_not_pile_up(tmp_path: Path) -> None:
    threads = threading.active_count()
    for number in range(30):
        headrace.set_tracking_uri(tmp_path / str(number))
        with headrace.start_run():
            headrace.log_metric("a", 1.0)
    assert threading.active_count() - threads < 60
    with headrace.Client(tmp_path / "0") as client:
        assert [run.data.metrics for run in client.search_runs(["0"])] == [{"a": 1.0}]


def test_paths_that_are_no_utf8(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.mkdir(folder)  # noqa: PTH102 - as text
    script = os.path.join(folder, "train.py")  # noqa: PTH118
    with open(script, "w") as file:  # noqa: PTH123
        file.write("import headrace; headrace.log_metric('a', 1.0); headrace.end_run()\n")
        file.write("print(headrace.last_active_run().data.metrics)")
    environment = {name: value for name, value in os.environ.items() if "TRACKING_URI" not in name}
    done = subprocess.run(
        [sys.executable, script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "{'a': 1.0}\n", done.stderr


def test_a_run_starts_though_the_server_fails_to_create_it(server: Callable[..., Server]) -> None:
    failing = True
    between = Proxy(
        server().url, lambda _method, path, _body: 500 if failing and "start" in path else None
    )
    headrace.set_tracking_uri(between.url)
    with headrace.start_run() as run:
        headrace.log_metric("a", 1.0)
    failing = False
    assert headrace.get_run(run.info.run_id).data.metrics == {"a": 1.0}
    assert any("start" in path for _, path in between.seen)
    between.close()
