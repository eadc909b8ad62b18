"""What a logging call costs the loop that makes it, tool by tool."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness.bench import Bench, say
from benchmarks.harness.report import Row, against
from benchmarks.harness.tools import TORCH, scene, tools, torch_folder
from benchmarks.peers import LOCAL, OFFLINE, OURS, SERVER, Tool

NAME = "logging-calls"
METHOD = (
    "Each call is timed by itself with `perf_counter_ns` in the process that logs, the tool's own lines compiled into the "
    "loop, 1,000,000 calls after a warm-up (fewer from a tool that is not done with them in 8 s, or 4 s with "
    "other types), in a tight loop and with a "
    "millisecond of numpy before each call (20,000 calls, 15 s at most). What the clock itself costs, the median of an "
    "empty statement, is taken off. Every default of every tool is as it is; headrace's drain ships meanwhile. *Local store*: "
    "MLflow on a SQLite file, the others as they come; *server*: the tool's server on the same two cores (MLflow's best "
    "case); *offline*: nobody ships, and the peers without a server are compared with once more. `log` of ten: MLflow's "
    "`log_metrics`, a dictionary for the others, ten calls for tensorboardX. What a returned call is worth differs: "
    "MLflow's waits for the disk, headrace's outlives a SIGKILL of its process; MLflow async, trackio and tensorboardX keep "
    "the point in the memory of the process for now."
)
WHAT = {"tight loop": False, "1 ms of work between": True}
VALUES = ("float32", "float64", "torch")
_DESCRIBED = {
    "float32": "a numpy float32",
    "float64": "a numpy float64",
    "torch": "a 0-d torch tensor",
}
Figures = dict[str, dict[str, float]]


def run(bench: Bench) -> Iterator[Row]:
    """Microseconds in the caller, at the median and at the worst of a thousand."""
    at: dict[tuple[str, str], Figures] = {}
    calls: dict[tuple[str, str], dict[str, int]] = {}
    clocks: list[float] = []
    cases = [
        *((f"`log_metric`, {how}", "scalar", "float", pause) for how, pause in WHAT.items()),
        ("`log` of ten, tight loop", "ten", "float", False),
    ]
    typed = [
        (f"`log_metric` of {_DESCRIBED[kind]}", "scalar", kind, False)
        for kind in VALUES
        if kind != "torch" or torch_folder() is not None
    ]
    for place in (LOCAL, SERVER, OFFLINE):
        for tool in tools(bench, place):
            for what, statement, values, pause in cases + (typed if place == LOCAL else []):
                key = (what, place)
                result = _measure(bench, tool, statement, values, pause)
                if result is None:
                    continue
                figures, count, clock = result
                at.setdefault(key, {})[tool.name] = figures
                calls.setdefault(key, {})[tool.name] = count
                clocks.append(clock)
                say(
                    f"{place}, {tool.name}, {what}: "
                    + ", ".join(f"{name} {figure:,.2f} µs" for name, figure in figures.items())
                    + f" ({count:,} calls; the clock {clock * 1e3:.0f} ns)"
                )
    for (what, place), found in at.items():
        if place == OFFLINE:
            found = {**_without_server(at.get((what, LOCAL), {})), **found}
        counted = [
            f"{name} {count:,} calls"
            for name, count in calls[what, place].items()
            if count < bench.size(20_000 if "work" in what else 1_000_000, 0)
        ]
        clock = f"the clock took {1e3 * min(clocks):.0f} to {1e3 * max(clocks):.0f} ns"
        yield from _rows(at, what, place, found, "; ".join([*counted, clock]))
    if torch_folder() is None:
        say(f"no torch: set {TORCH} to what pip should install, such as torch==2.13.0+cpu")


def _rows(
    at: dict[tuple[str, str], Figures], what: str, place: str, found: Figures, note: str
) -> Iterator[Row]:
    ten = "ten" in what
    typed = " of a " in what
    plain = at.get(("`log_metric`, tight loop", LOCAL), {}).get("headrace")
    for quantile, limit in (("p50", 5.0 if ten else 1.5), ("p99.9", None if ten else 50.0)):
        if typed and quantile != "p50":
            continue
        if typed and plain is not None:
            # A tenth of the float's, and the tick of the clock: what two runs of one thing differ by.
            limit = round(1.1 * plain["p50"] + 0.05, 2)
        yield against(
            NAME,
            f"{what}, {place}, {quantile}",
            "µs",
            {name: figures[quantile] for name, figures in found.items()},
            more_is_better=False,
            limit=limit,
            ahead=not typed,
            note=note if quantile == "p50" else "",
        )


def _measure(
    bench: Bench, tool: Tool, statement: str, values: str, pause: bool
) -> tuple[dict[str, float], int, float] | None:
    torch = torch_folder()
    try:
        with scene(bench, tool) as here:
            result = here.run(
                kind="latency",
                statement=getattr(tool, statement),
                values=values,
                pause=pause,
                abandon=tool.lags,
                calls=bench.size(20_000, 500) if pause else bench.size(1_000_000, 5_000),
                warm=bench.size(5_000, 200),
                limit=bench.size(15 if pause else 8 if values == "float" else 4, 2),
                path=[str(torch)] if values == "torch" else [],
            )
    except RuntimeError as error:
        if tool in OURS:
            raise
        # A peer that refuses a type is no reason to lose the others' figures.
        say(f"{tool.name}: {statement} of {values} could not be run: {str(error)[-300:]}")
        return None
    clock = result["clock"]["p50"] / 1e3
    figures = {name: result["call"][name] / 1e3 - clock for name in ("p50", "p99.9")}
    return figures, result["calls"], clock


def _without_server(found: Figures) -> Figures:
    """The figures of tools that keep everything on the machine anyway."""
    return {
        name: figures
        for name, figures in found.items()
        if name != "headrace" and not name.startswith("MLflow")
    }
