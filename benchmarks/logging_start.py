"""How long a script waits for its tracking before it can work."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness.bench import Bench, say
from benchmarks.harness.report import Row, against
from benchmarks.harness.tools import Scene, scene, tools
from benchmarks.peers import LOCAL, OFFLINE, Tool

NAME = "logging-start"
METHOD = (
    "A script that imports the tool, starts a run and logs one number, with every default of the tool, headrace with "
    "`HEADRACE_OFFLINE=1`: from the start of the interpreter until the first call has returned, and until the process has "
    "ended, less the same of a bare interpreter of the same environment; medians of 20 fresh processes each, alternating, "
    "after two that are not counted (MLflow's make its database). Everything is byte-compiled."
)
#: Says on standard output, at once, that it has come so far.
_MARK = "\nimport sys\nsys.stdout.write('\\n@@\\n')\nsys.stdout.flush()\n"


def run(bench: Bench) -> Iterator[Row]:
    """Milliseconds above a bare interpreter until the first point is logged, and until the end."""
    first: dict[str, float] = {}
    whole: dict[str, float] = {}
    notes = []
    chosen = [tool for tool in tools(bench, LOCAL) if tool.name != "headrace"]
    for tool in [*tools(bench, OFFLINE), *chosen]:
        with scene(bench, tool) as here:
            first[tool.name], whole[tool.name], bare = _measure(bench, here)
        notes.append(f"{tool.name} {bare:.0f} ms")
        say(f"{tool.name}: {first[tool.name]:.0f} ms, {whole[tool.name]:.0f} ms to the end")
    yield against(
        NAME,
        "import, start a run, log once",
        "ms",
        first,
        more_is_better=False,
        limit=100,
        ahead=True,
        note=f"the bare interpreter: {', '.join(notes)}",
    )
    yield against(NAME, "the same script to its end", "ms", whole, more_is_better=False, ahead=True)


def _measure(bench: Bench, here: Scene) -> tuple[float, float, float]:
    script, nothing = here.folder / "first.py", here.folder / "bare.py"
    script.write_text(_script(here.tool))
    nothing.write_text(_MARK)
    first, whole, bare, bare_whole = [], [], [], []
    for number in range(bench.size(22, 4)):
        one, another = _seconds(here, script), _seconds(here, nothing)
        if number < 2:
            continue
        first.append(one[0])
        whole.append(one[1])
        bare.append(another[0])
        bare_whole.append(another[1])
    median = statistics.median
    return (
        1e3 * (median(first) - median(bare)),
        1e3 * (median(whole) - median(bare_whole)),
        1e3 * median(bare),
    )


def _script(tool: Tool) -> str:
    return f"{tool.start}\nvalue, step = 0.5, 0\n{tool.scalar}\n{_MARK}"


def _seconds(here: Scene, script: Path) -> tuple[float, float]:
    """Until the mark, and until the process has ended."""
    variables = here.variables()
    start = time.perf_counter()
    with subprocess.Popen(
        [str(here.python), "-P", str(script)],
        cwd=here.folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        marked = None
        for line in process.stdout:
            if line == b"@@\n":
                marked = time.perf_counter() - start
        process.wait()
    ended = time.perf_counter() - start
    if process.returncode or marked is None:
        raise RuntimeError(f"{here.tool.name}: {script} ended with {process.returncode}")
    return marked, ended
