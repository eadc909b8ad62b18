"""A training process whose every logging call can be told afterwards, and counted.

The calls are a fixed sequence: call ``n`` follows from ``n``. A process keeps its account outside of
what it logs to: it writes one byte into a pipe after each call that returned.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import headrace
from headrace.client import Client

TESTS = Path(__file__).parents[1]


def call(n: int) -> None:
    """The n-th logging call to the active run."""
    kind = n % 10
    if kind == 3:
        headrace.log_param(f"p{n}", n)
    elif kind == 6:
        headrace.set_tag(f"t{n}", f"tag {n}")
    elif kind == 9:
        headrace.log({"a": n, "b": -n}, step=n)
    elif n == 15:
        headrace.log_text(f"text {n}", "texts/15.txt")
    else:
        headrace.log_metric("loss", n / 4, step=n)


def expected(count: int) -> dict[str, Any]:
    """What a run holds after so many calls."""
    calls = range(count)
    pairs = [n for n in calls if n % 10 == 9]
    return {
        "loss": [(n, n / 4) for n in calls if n % 10 not in (3, 6, 9) and n != 15],
        "a": [(n, float(n)) for n in pairs],
        "b": [(n, float(-n)) for n in pairs],
        "params": {f"p{n}": str(n) for n in calls if n % 10 == 3},
        "tags": {f"t{n}": f"tag {n}" for n in calls if n % 10 == 6},
        "files": ["texts/15.txt"] if count > 15 else [],
    }


def held(client: Client, run_id: str, *, files: bool = True) -> dict[str, Any]:
    """What the store holds of a run, each point of it, in order of steps."""
    run = client.get_run(run_id)
    found: dict[str, Any] = {
        key: points(client, run_id, key) if key in run.data.metrics else []
        for key in ("loss", "a", "b")
    }
    found["params"] = dict(run.data.params)
    found["tags"] = {key: value for key, value in run.data.tags.items() if key[0] == "t"}
    texts = client.list_artifacts(run_id, "texts") if files else []
    found["files"] = [file.path for file in texts]
    if not files:
        del found["files"]
    return found


def points(client: Client, run_id: str, key: str) -> list[tuple[int, float]]:
    """Every point of a metric that the store holds, in order of steps; twice what is there twice."""
    return sorted((point.step, point.value) for point in client.get_metric_history(run_id, key))


def check(
    client: Client, run_id: str, accepted: int, unsure: int = 1, *, files: bool = True
) -> None:
    """The store holds what was accepted, and at most the call that was under way besides."""
    found = held(client, run_id, files=files)
    wanted = [expected(accepted + more) for more in range(unsure + 1)]
    if unsure and accepted % 10 == 9:  # of the two points of this call, one may be there
        wanted.append({**wanted[0], "a": wanted[1]["a"]})
    if not files:
        for one in wanted:
            del one["files"]
    if found not in wanted:
        differing = {
            key: (_lacks(found[key], value), _lacks(value, found[key]))
            for key, value in wanted[0].items()
            if found[key] != value
        }
        print("lacks, and has besides:", differing)
        assert found == wanted[0], f"run {run_id}, of which {accepted} calls returned"


def _lacks(these: Any, those: Any) -> list[Any]:
    """The first of those that are not among these, or are there less often."""
    count = Counter(those.items() if isinstance(those, dict) else those)
    count.subtract(these.items() if isinstance(these, dict) else these)
    return [one for one, times in count.items() if times > 0][:10]


def environment(journals: Path, **settings: str) -> dict[str, str]:
    """The environment of a training process, without what tests do not ask for."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HEADRACE_", "MLFLOW_"))
    }
    return {
        **inherited,
        "PYTHONPATH": str(TESTS),
        "HEADRACE_JOURNAL_DIR": str(journals),
        "HEADRACE_CAPTURE": "0",
        "HEADRACE_ENABLE_SYSTEM_METRICS_LOGGING": "false",
        **{f"HEADRACE_{name}": value for name, value in settings.items()},
    }


class Training:
    """A process that runs some code; what it prints last is JSON, its answer."""

    def __init__(self, code: str | Path, journals: Path, *arguments: str, **settings: str) -> None:
        # Open as long as the process.
        self._errors = ""
        self._out = tempfile.TemporaryFile()  # noqa: SIM115
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        program = [str(code)] if isinstance(code, Path) else ["-c", PRELUDE + code]
        self.process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            stdout=self._out,
            stderr=self._err,
            stdin=subprocess.PIPE,
            env=environment(journals, **settings),
            cwd=journals.parent,
        )

    def wait(self, seconds: float = 120) -> Any:
        """Its answer, when it has ended as it should."""
        try:
            self.process.communicate(timeout=seconds)
            self._out.seek(0)
            lines = self._out.read().splitlines()
        finally:
            self.close()
        assert self.process.returncode == 0, self.errors()
        assert "Traceback" not in self.errors(), self.errors()
        return json.loads(lines[-1]) if lines else None

    def errors(self) -> str:
        """What it wrote to standard error so far."""
        if not self._err.closed:
            self._err.seek(0)
            self._errors = self._err.read().decode(errors="replace")
        return self._errors

    def close(self) -> None:
        """Kill it, if it is still there."""
        if self.process.poll() is None:
            self.process.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()
        self.errors()
        self._err.close()
        self._out.close()


PRELUDE = """
import json, os, random, signal, sys, threading, time, uuid
import headrace
from support.training import call, kill_one, spawned
"""


def kill_one(work: Any, after: int, delay: float) -> int:
    """Fork a child that works, and SIGKILL it; the number of calls that returned in it.

    Args:
        work: Called in the child with a function to be called after each call.
        after: Number of returned calls to wait for.
        delay: Seconds to wait beyond that.
    """
    import time

    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        try:
            work(lambda: os.write(writing, b"."))
        finally:
            os._exit(3)
    os.close(writing)
    done = 0
    while done < after:
        data = os.read(reading, 4096)
        if not data:
            break
        done += len(data)
    end = time.perf_counter() + delay
    while time.perf_counter() < end:
        pass  # a sleep is coarser than the calls are long
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    while data := os.read(reading, 65536):
        done += len(data)
    os.close(reading)
    return done


def spawned(count: int, work: Any) -> None:
    """Fork some children that work and end as processes do, a few at a time; all must end with 0."""
    running: set[int] = set()
    for number in range(count):
        pid = os.fork()
        if not pid:
            status = 1
            try:
                work(number)
                status = 0
            finally:
                if status:
                    import traceback

                    traceback.print_exc()
                os._exit(status)
        running.add(pid)
        if len(running) >= 8:
            running.discard(_reaped())
    while running:
        running.discard(_reaped())


def _reaped() -> int:
    pid, status = os.wait()
    assert status == 0, status
    return pid


def sync(*arguments: str | Path, expected: int = 0) -> dict[str, Any]:
    """``headrace sync``: what it says as JSON; ``errors`` is what it said to people."""
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "sync", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment(Path("/nonexistent")),
    )
    assert done.returncode == expected, (done.returncode, done.stdout, done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return {**answer, "errors": done.stderr}


def left(journals: Iterable[Path]) -> list[str]:
    """Files that are left in journal directories."""
    return [str(path) for place in journals for path in place.rglob("*") if path.is_file()]
