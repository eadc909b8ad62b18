"""What runs in a tool's own environment: log, and time each call. Standard library only, but for numpy
where there is work between the calls.

``python child.py JOB RESULT`` reads the first file and writes the second, both JSON.
"""

from __future__ import annotations

import json
import os
import random
import sys
import textwrap
import time
from array import array
from pathlib import Path
from typing import Any

# The statement stands in the loop as it would in the user's, so no call of ours is timed with it. It may
# have names of its own: what a round has to keep has an underscore.
_LATENCY = """
def log(first, calls, values, times, work, deadline):
    for _number in range(calls):
        step = first + _number
        value = values[_number % 1024]
        ten = {{f"metric_{{key}}": value for key in range(10)}} if {ten} else None
        if work is not None:
            work()
        _start = clock()
{statement}
        times[_number] = clock() - _start
        if _start > deadline:
            return _number + 1
    return calls
"""
_THROUGHPUT = """
def log(first, calls, values, times, work, deadline):
    for step in range(first, first + calls):
        value = values[step % 1024]
        {make_ten}
{statement}
        if not step & 63 and clock() > deadline:
            return step - first + 1
    return calls
"""
_MAKE_TEN = "ten = {" + ", ".join(f'"metric_{key}": value' for key in range(10)) + "}"


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Run a job; its kind names the function."""
    sys.path.extend(job.get("path", ()))
    names: dict[str, Any] = {"clock": time.perf_counter_ns, "__name__": "__main__"}
    exec(job["start"], names)
    return {"latency": _latency, "throughput": _throughput}[job["kind"]](job, names)


def _compile(template: str, names: dict[str, Any], statement: str, indent: int) -> Any:
    ten = "ten" in statement
    source = template.format(
        statement=textwrap.indent(statement, " " * indent),
        ten=ten,
        make_ten=_MAKE_TEN if ten else "pass",
    )
    exec(source, names)
    return names["log"]


def _latency(job: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    """Nanoseconds per call, each call timed; and of an empty statement, which is the clock itself."""
    values = _values(job["values"])
    work = _work() if job["pause"] else None
    calls: int = job["calls"]
    times = array("q", bytes(8 * calls))

    log = _compile(_LATENCY, names, "pass", 8)
    empty = min(calls, 20_000 if job["pause"] else calls)
    log(0, empty, values, times, None, time.perf_counter_ns() + 60 * 10**9)
    clock = _quantiles(times[:empty])

    log = _compile(_LATENCY, names, job["statement"], 8)
    limit = int(job["limit"] * 1e9)
    warm = log(0, job["warm"], values, times, None, time.perf_counter_ns() + limit // 6)
    deadline = time.perf_counter_ns() + limit
    done = log(warm, calls, values, times, work, deadline)
    if not job["abandon"]:
        exec(job["finish"], names)
    return {
        "calls": done,
        "clock": clock,
        "call": _quantiles(times[:done]),
    }


def _throughput(job: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    """Seconds for so many calls, in the loop and until they have arrived; memory at marks."""
    values = _values("float")
    log = _compile(_THROUGHPUT, names, job["statement"], 8)
    per_call = 10 if "ten" in job["statement"] else 1
    memory = {0: _memory()}
    begin = time.perf_counter()
    deadline = time.perf_counter_ns() + int(job["limit"] * 1e9)
    done = 0
    for mark in job["marks"]:
        wanted = mark // per_call - done
        got = log(done, wanted, values, None, None, deadline)
        done += got
        memory[done * per_call] = _memory()
        if got < wanted:
            break
    logged = time.perf_counter()
    exec(job["finish"], names)
    end = time.perf_counter()
    return {
        "points": done * per_call,
        "loop": logged - begin,
        "all": end - begin,
        "memory": memory,
    }


def _values(kind: str) -> list[Any]:
    source = random.Random(1)
    numbers = [source.random() for _ in range(1024)]
    if kind == "float":
        return numbers
    if kind == "torch":
        import torch

        return [torch.tensor(number) for number in numbers]
    import numpy as np

    return [getattr(np, kind)(number) for number in numbers]


def _work() -> Any:
    """About a millisecond of numpy, which leaves the GIL to other threads and sweeps the caches."""
    import numpy as np

    a, out = np.random.default_rng(1).standard_normal((256, 256)), np.empty((256, 256))
    a @ a
    start = time.perf_counter()
    for _ in range(20):
        np.matmul(a, a, out=out)
    times = max(1, round(0.001 * 20 / (time.perf_counter() - start)))

    def work() -> None:
        for _ in range(times):
            np.matmul(a, a, out=out)

    return work


def _quantiles(times: array[int]) -> dict[str, float]:
    ordered = sorted(times)
    last = len(ordered) - 1
    return {
        "p50": ordered[last // 2],
        "p99": ordered[int(last * 0.99)],
        "p99.9": ordered[int(last * 0.999)],
        "max": ordered[last],
        "mean": sum(ordered) / len(ordered),
    }


def _memory() -> dict[str, int]:
    """Resident bytes: all, and those that no file is behind."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("VmRSS", "RssAnon"):
            found[name] = 1024 * int(rest.split()[0])
    return found


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    result = main(given)
    # By another name first: the parent must never read half of it.
    part = Path(sys.argv[2] + ".part")
    part.write_text(json.dumps(result))
    part.replace(sys.argv[2])
    if given.get("abandon"):
        os._exit(0)
