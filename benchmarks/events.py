"""The event log: how soon listeners hear, how fast it is replayed, what it costs those who write."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness.bench import Bench, say
from benchmarks.harness.connection import Connection, get
from benchmarks.harness.report import Row, against
from benchmarks.harness.servers import HEADRACE, Server, Tracking

NAME = "events"
METHOD = (
    "*Heard*: 1,000 Server-Sent Events connections of one process; ten times a second a tag is set over HTTP, and each listener whose event it is notes when it arrives. "
    "Counted from the moment the request's answer was there, which is after the commit, or from its sending when the event was faster. Once each listener follows one of 1,000 runs (so one hears each event), once all follow everything. "
    "*Replayed*: 200,000 events of a store read over HTTP from one cursor, 10,000 a page, by one connection that only counts bytes. *Cost*: the median time of a write in "
    "the engine, in place, with its events and with the writing of event rows left out, in turns. MLflow has no event log, so there is nothing to compare with."
)
LISTENERS, IDLE = 1_000, 10_000
_LISTEN = Path(__file__).parent / "harness" / "listeners.py"
_EVENTS = "/api/headrace/v1/events"


def run(bench: Bench) -> Iterator[Row]:
    """Latencies, rates and shares on each database."""
    if not bench.ours:
        return
    for database in bench.databases:
        with bench.fresh(HEADRACE, database) as server:
            for all_of_them in (False, True):
                yield from _heard(bench, server, database, all_of_them=all_of_them)
        yield _replayed(bench, database)
        yield from _cost(bench, database)
    with bench.fresh(HEADRACE, bench.databases[0]) as server:
        yield _idle(bench, server, bench.databases[0])


def _heard(bench: Bench, server: Server, database: str, *, all_of_them: bool) -> Iterator[Row]:
    count = bench.size(LISTENERS, 50)
    with server.connect() as connection:
        tracking = Tracking(connection)
        experiment = tracking.experiment(f"heard-{all_of_them}")
        runs = [tracking.run(experiment) for _ in range(1 if all_of_them else count)]
        subjects = ["*"] if all_of_them else [f"run/{run}" for run in runs]
        with _listening(server, count, subjects) as listeners:
            sent, done = {}, {}
            for number in range(bench.size(200, 20)):
                sent[number] = time.monotonic()
                _tag(connection, runs[number % len(runs)], f"k{number}")
                done[number] = time.monotonic()
                time.sleep(0.1)
            _tag(connection, runs[0], "stop")
            assert listeners.stdout is not None
            arrived: list[tuple[int, float]] = json.loads(listeners.stdout.readline())
    expected = len(sent) * (count if all_of_them else 1)
    if len(arrived) != expected:
        raise RuntimeError(f"{len(arrived)} of {expected} events arrived")
    waits = sorted(max(at - done[number], 0.0) * 1e3 for number, at in arrived)
    whole = sorted((at - sent[number]) * 1e3 for number, at in arrived)
    who = "all of all" if all_of_them else "each of its own run"
    note = f"from the sending of the request: p50 {whole[len(whole) // 2]:.1f} ms"
    say(
        f"{database}, {count} listeners, {who}: p50 {waits[len(waits) // 2]:.2f} ms, p99 {waits[len(waits) * 99 // 100]:.1f} ms; {note}"
    )
    for share, limit in ((50, 5.0), (99, 50.0)):
        yield against(
            NAME,
            f"committed to heard, p{share}, {count:,} listeners, {who}, {database}",
            "ms",
            {HEADRACE: waits[len(waits) * share // 100]},
            more_is_better=False,
            limit=limit,
            note=note,
        )


def _tag(connection: Connection, run_id: str, key: str) -> None:
    connection.post("/api/2.0/mlflow/runs/set-tag", {"run_id": run_id, "key": key, "value": "x"})


@contextlib.contextmanager
def _listening(server: Server, count: int, subjects: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Listeners in a process of their own, all connected."""
    process = subprocess.Popen(
        [sys.executable, str(_LISTEN), str(server.port), str(count), *subjects],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the listeners could not connect")
        time.sleep(2)
        yield process
    finally:
        process.kill()
        process.wait()


def _replayed(bench: Bench, database: str) -> Row:
    count = bench.size(200_000, 2_000)
    folder = bench.folder("replay")
    url = bench.database(database, folder)
    _fill(url, count)
    try:
        with bench.serve(HEADRACE, url, folder) as server, server.connect() as connection:
            after, started = 0, time.perf_counter()
            while after < count:
                query = [("after", str(after)), ("limit", "10000")]
                page = connection.exchange(get(server.port, _EVENTS, query)).body
                after = int(page[page.rindex(b'"next":') + 7 :].split(b",")[0])
            rate = count / (time.perf_counter() - started)
    finally:
        bench.discard(database, folder)
    say(f"{database}: {rate:,.0f} events/s replayed")
    return against(
        NAME, f"replayed from one cursor, {database}", "events/s", {HEADRACE: rate},
        more_is_better=True, limit=100_000,
    )  # fmt: skip


def _fill(url: str, count: int) -> None:
    # Loaded here: the other benchmarks do not need it.
    from headrace.engine import Engine

    engine = Engine(url, artifact_root="file:///nowhere", compact=False)
    data = {"before": {"status": "RUNNING", "end_time": None}, "after": {"status": "FINISHED"}}
    for first in range(0, count, 1000):
        rows = [
            ("run.finished", f"run/{number:032x}", data, 0) for number in range(first, first + 1000)
        ]
        engine.within(lambda session, rows=rows: session.emit_many(rows))  # type: ignore[misc]
    engine.close()


def _cost(bench: Bench, database: str) -> Iterator[Row]:
    """Writes with and without their event rows, in one process and in turns."""
    from headrace.engine import Engine, session
    from headrace.protocol.operation import operations_of
    from headrace.protocol.store import Store

    operations = operations_of(Store)
    folder = bench.folder("cost")
    engine = Engine(
        bench.database(database, folder), artifact_root="file:///nowhere", compact=False
    )

    def call(name: str, **fields: Any) -> Any:
        return engine.call(operations[name], operations[name].build(**fields))

    def writes(turn: int) -> dict[str, list[float]]:
        times: dict[str, list[float]] = {"create_run": [], "set_tag": [], "log_metric": []}

        def timed(name: str, **fields: Any) -> Any:
            start = time.perf_counter()
            answer = call(name, **fields)
            times[name].append(time.perf_counter() - start)
            return answer

        for number in range(bench.size(150, 5)):
            run_id = timed("create_run", experiment_id="0").run.info.run_id
            timed("set_tag", run_id=run_id, key=f"k{turn}", value=str(number))
            call(
                "log_metric", run_id=run_id, key="m", value=1.0, timestamp=1
            )  # its event: once a run
            timed("log_metric", run_id=run_id, key="m", value=1.0, timestamp=2, step=1)
        return times

    append = session.append
    with_, without = {}, {}
    try:
        writes(0)
        for turn in range(1, bench.size(9, 2)):
            for left_out, kept in ((False, with_), (True, without)):
                session.append = (lambda *_: None) if left_out else append  # type: ignore[assignment]
                for name, times in writes(turn).items():
                    kept.setdefault(name, []).append(statistics.median(times))
    finally:
        session.append = append
        engine.close()
        bench.discard(database, folder)
    for name in with_:
        pairs = zip(with_[name], without[name], strict=True)
        share = statistics.median(one / other for one, other in pairs) - 1
        base = statistics.median(without[name]) * 1e6
        say(f"{database}, {name}: {share:+.1%} of {base:,.0f} µs")
        yield against(
            NAME, f"cost of events, {name}, {database}", "of a write", {HEADRACE: max(share, 0.0)},
            more_is_better=False, limit=0.10, note=f"of {base:,.0f} µs",
        )  # fmt: skip


def _idle(bench: Bench, server: Server, database: str) -> Row:
    """What very many listeners take that hear nothing."""
    count = bench.size(IDLE, 100)
    before = server.resident()
    with _listening(server, count, ["run/none"]):
        taken = (server.resident() - before) / count / 1e3
        with server.connect() as connection:
            tracking = Tracking(connection)
            experiment = tracking.experiment("beside-idle")
            started = time.perf_counter()
            for _ in range(50):
                tracking.run(experiment)
            beside = (time.perf_counter() - started) / 50 * 1e3
    note = f"runs/create beside them takes {beside:.1f} ms"
    say(f"{count:,} idle listeners: {taken:.1f} kB each; {note}")
    return against(
        NAME, f"memory of {count:,} idle listeners, {database}", "kB each", {HEADRACE: taken},
        more_is_better=False, note=note,
    )  # fmt: skip
