"""What a thousand metric rules cost the ingest of metrics."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import msgspec
import numpy as np

from benchmarks.harness import load
from benchmarks.harness.bench import Bench, say
from benchmarks.harness.connection import get, post_binary
from benchmarks.harness.report import Row, against
from benchmarks.harness.servers import HEADRACE, Server, Tracking

NAME = "rules"
METHOD = (
    "Four clients, each with a run of its own, post batches of a journal (MessagePack, 10,000 points over 10 keys, the next when "
    "the last is answered) for six seconds, to a server without rules and to one with 1,000 enabled metric rules on those keys, in turns, "
    "five times each. The rules are thresholds above and below, NaN, changes and z-scores over windows and plateaus; all look "
    "at every run, and one in a hundred fires. The figure is the median of the turns' ratios of points per second; in the notes the CPU time of "
    "both servers for a million points, which other loads of the machine disturb less."
)
RULES, CLIENTS, KEYS, STEPS = 1000, 4, 10, 1000
_BATCH = msgspec.msgpack.Encoder()


def run(bench: Bench) -> Iterator[Row]:
    """Points per second with rules, of those without, on each database."""
    if not bench.ours:
        return
    for database in bench.databases:
        with bench.fresh(HEADRACE, database) as plain, bench.fresh(HEADRACE, database) as ruled:
            with ruled.connect() as connection:
                for number in range(RULES):
                    connection.post("/api/headrace/v1/rules", {"spec": rule(number)})
            loads = [_Ingest(plain), _Ingest(ruled)]
            for one in loads:
                one.turn(0.5)
            turns = [[one.turn(bench.seconds) for one in loads] for _ in range(bench.size(5, 1))]
            ratios = [with_ / without for (without, _), (with_, _) in turns]
            rates = [statistics.median(turn[side][0] for turn in turns) for side in (0, 1)]
            cpu = [statistics.median(turn[side][1] for turn in turns) for side in (0, 1)]
            fired = _fired(ruled)
        share = statistics.median(ratios)
        note = (
            f"{rates[0]:,.0f} points/s without, {rates[1]:,.0f} with; CPU for a million points {cpu[0]:.2f} s and "
            f"{cpu[1]:.2f} s; {fired} firings"
        )
        say(f"{database}: {share:.3f} of the ingest without rules; {note}")
        yield against(
            NAME,
            f"ingest with {RULES:,} metric rules, of that without, {database}",
            "",
            {HEADRACE: share},
            more_is_better=True,
            limit=0.85,
            note=note,
        )


def rule(number: int) -> dict[str, object]:
    """One of the rules: values are of a normal distribution, so that few thresholds are met."""
    key, far = f"metric_{number % KEYS}", 8 + number / 100
    kind = number // KEYS
    metric: dict[str, object]
    if number < 10:
        metric = {"key": key, "value": "> 3.5"}
    elif kind % 10 == 9:
        metric = [
            {"key": key, "change": f"> {far}", "over": "1000 steps"},
            {"key": key, "zscore": far, "over": "1000 steps"},
            {"key": key, "plateau": {"goal": "min", "over": "1h"}},
        ][kind // 10 % 3]  # fmt: skip
    elif kind % 10 == 8:
        metric = {"key": key, "value": "nan"}
    else:
        metric = {"key": key, "value": f"> {far}" if number % 2 else f"< {-far}"}
    return {
        "name": f"rule-{number:04}",
        "when": {"metric": metric},
        "severity": "error",
        "cooldown": "1h",
    }


class _Ingest:
    """Clients of one server, each with a writer and a run."""

    def __init__(self, server: Server) -> None:
        self._server = server
        with server.connect() as connection:
            tracking = Tracking(connection)
            experiment = tracking.experiment("rules")
            self._runs = [tracking.run(experiment) for _ in range(CLIENTS)]
        points = KEYS * STEPS
        self._numbers = np.tile(np.arange(KEYS, dtype="<u4"), STEPS).tobytes()
        self._steps = np.repeat(np.arange(STEPS, dtype="<i8"), KEYS)
        self._values = [
            np.random.default_rng(client).standard_normal(points).astype("<f8").tobytes()
            for client in range(CLIENTS)
        ]
        self._begin = 0
        self._now = time.time_ns() // 1_000_000

    def turn(self, seconds: float) -> tuple[float, float]:
        """Ingest for a while; points per second, and CPU seconds of the server for a million points."""
        before = self._server.cpu_seconds()
        result = load.run(self._server.port, CLIENTS, seconds, self._request, first=self._begin)
        if result.failed:
            raise RuntimeError(f"{result.failed} batches failed: {result.first_failure}")
        self._begin += result.done + CLIENTS
        points = result.done * KEYS * STEPS
        return points / result.seconds, (self._server.cpu_seconds() - before) / points * 1e6

    def _request(self, client: int, number: int) -> bytes:
        steps = self._steps + number * STEPS
        body = _BATCH.encode(
            {
                "writer": f"{client:032x}",
                "start": number * 100,
                "end": number * 100 + 100,
                "series": [(self._runs[client], f"metric_{key}") for key in range(KEYS)],
                "numbers": self._numbers,
                "steps": steps.tobytes(),
                "timestamps": (steps + self._now).tobytes(),
                "values": self._values[client],
                "alive": [self._runs[client]],
            }
        )
        return post_binary(self._server.port, "/api/headrace/v1/ingest", body)


def _fired(server: Server) -> int:
    with server.connect() as connection:
        request = get(server.port, "/api/headrace/v1/rule-firings", [("limit", "1000")])
        return len(connection.exchange(request).json().get("firings", ()))
