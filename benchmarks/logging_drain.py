"""How many points a process can log, for how long, and how fast they arrive."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmarks.harness.bench import Bench, say
from benchmarks.harness.report import Row, against
from benchmarks.harness.tools import Scene, scene, tools
from benchmarks.peers import LOCAL, OFFLINE, OURS, SERVER, Tool

NAME = "logging-drain"
METHOD = (
    "*Sustained*: one process calls `log_metric` in a loop, 100 million times, offline and with the drain shipping to a server "
    "on the same two cores; its memory is read from `/proc` at 10, 50 and 100 million (in the notes: all that is resident, "
    "and what no file is behind). The peers log for 20 s (MLflow async for 2: it needs minutes to store them), and until their own close or flush has returned. *Arrived*: "
    "10 million points by `log` of ten at a time, from the first call until `flush` has returned, client and server on the "
    "same two cores; the peers as many as they do in that time. *Shipped by `headrace sync`*: the same points logged offline first, "
    "then the wall time of the command. Each time the points are counted where they arrived."
)
MILLION = 1_000_000


def run(bench: Bench) -> Iterator[Row]:
    """Points per second into the journal, through the drain, and by ``headrace sync``."""
    marks = [10 * MILLION, 50 * MILLION, 100 * MILLION]
    if bench.quick:
        marks = [MILLION // 2, 5 * MILLION // 2, 5 * MILLION]
    peers_of_offline: dict[str, float] = {}
    for place in (LOCAL, SERVER, OFFLINE):
        yield from _sustained(bench, place, marks, peers_of_offline)
    yield from _arrived(bench)
    yield from _synced(bench)


def _sustained(
    bench: Bench, place: str, marks: list[int], known: dict[str, float]
) -> Iterator[Row]:
    figures: dict[str, float] = dict(known) if place == OFFLINE else {}
    notes = []
    for tool in tools(bench, place):
        ours = tool in OURS
        if ours and place == LOCAL:
            continue  # its journal is one and the same; the two extremes are measured
        with scene(bench, tool) as here:
            job = _throughput(here, tool.scalar, marks if ours else [marks[0]], bench, ours)
            counted = _counted(here, job["points"]) if place != OFFLINE else ""
        # Of headrace what the loop took: the rest is in the journal, and safe there.
        figures[tool.name] = job["points"] / job["loop" if ours else "all"]
        notes.append(f"{tool.name}: {_memory(job['memory'])}")
        if counted:
            late = job["all"] - job["loop"]
            notes[-1] += f"; {counted}, the last {late:.1f} s after its call"
        say(f"{place}, {tool.name}: {figures[tool.name]:,.0f} points/s; {notes[-1]}")
    if place == LOCAL:
        known.update({name: rate for name, rate in figures.items() if "MLflow" not in name})
        if not known:
            return
    yield against(
        NAME,
        f"sustained, {'the peers alone, ' if place == LOCAL else ''}{place}",
        "points/s",
        figures,
        more_is_better=True,
        limit=None if place == LOCAL else 500_000,
        ahead=place != LOCAL,
        note="; ".join(notes),
    )


def _arrived(bench: Bench) -> Iterator[Row]:
    points = bench.size(10 * MILLION, MILLION)
    for name in ("ten", "scalar"):
        figures: dict[str, float] = {}
        notes = []
        for tool in tools(bench, SERVER):
            ours = tool in OURS
            with scene(bench, tool) as here:
                job = _throughput(here, getattr(tool, name), [points], bench, ours)
                figures[tool.name] = job["points"] / job["all"]
                notes.append(_counted(here, job["points"]))
            say(f"{tool.name}: {figures[tool.name]:,.0f} points/s; {notes[-1]}")
        yield against(
            NAME,
            f"arrived at the server, {'`log` of ten' if name == 'ten' else '`log_metric`'}",
            "points/s",
            figures,
            more_is_better=True,
            limit=MILLION if name == "ten" else None,
            ahead=name == "ten",
            note="; ".join(notes),
        )


def _synced(bench: Bench) -> Iterator[Row]:
    if not bench.ours:
        return
    points = bench.size(10 * MILLION, MILLION)
    server_tool, offline_tool = (_ours(place) for place in (SERVER, OFFLINE))
    with scene(bench, server_tool) as here:
        # Logged offline to the very server; only then may anything be shipped.
        here.tool = replace(
            server_tool, environment=offline_tool.environment, finish=offline_tool.finish
        )
        job = _throughput(here, here.tool.ten, [points], bench, True)
        here.tool = server_tool
        command = shutil.which("headrace", path=here.python.parent)
        if command is None:
            raise RuntimeError("the headrace command is not installed beside this Python")
        start = time.perf_counter()
        here.call([command, "sync", str(here.folder / "journal")])
        seconds = time.perf_counter() - start
        note = _counted(here, job["points"])
    rate = job["points"] / seconds
    say(f"sync: {rate:,.0f} points/s; {note}")
    yield against(
        NAME,
        "shipped by `headrace sync`, from start to exit of the command",
        "points/s",
        {"headrace": rate},
        more_is_better=True,
        limit=MILLION,
        note=note,
    )


def _ours(place: str) -> Tool:
    return next(tool for tool in OURS if tool.place == place)


def _throughput(
    here: Scene, statement: str, marks: list[int], bench: Bench, ours: bool
) -> dict[str, Any]:
    return here.run(
        kind="throughput",
        statement=statement,
        marks=marks,
        limit=3000 if ours else bench.size(20, 3) / (10 if here.tool.lags else 1),
    )


def _counted(here: Scene, logged: int) -> str:
    found = here.count()
    if found is None:
        return f"{here.tool.name} logged {logged:,}"
    if found != logged and here.tool in OURS:
        raise RuntimeError(f"{logged:,} points were logged, and {found:,} are at the server")
    return f"{here.tool.name} logged {logged:,}, and {found:,} arrived"


def _memory(marks: dict[str, dict[str, int]]) -> str:
    return ", ".join(
        f"{memory['VmRSS'] / 1e6:.0f} MB ({memory['RssAnon'] / 1e6:.0f} MB its own) "
        f"at {int(points) / 1e6:.3g} M"
        for points, memory in marks.items()
    )
