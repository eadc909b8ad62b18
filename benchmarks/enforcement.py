"""What it costs to hold one row of input against a model's signature."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

from benchmarks.harness.bench import Bench, say
from benchmarks.harness.processes import environment
from benchmarks.harness.report import Row, compare
from benchmarks.harness.servers import HEADRACE, MLFLOW_BEST

NAME = "enforcement"
METHOD = (
    "One row held against a signature whose columns are doubles, longs, text and booleans in turn, as `predict` of a loaded "
    "model does it before the model sees the data: headrace's `compile_signature(...).inputs`, MLflow's "
    "`_enforce_schema`. The row is a frame of pandas that nobody has looked at before, or a dictionary. Median of "
    "single calls in one thread, the frames made before the clock starts; both give a frame."
)
#: Columns, and the most microseconds that a row may take.
TARGETS = {4: 20.0, 30: 60.0}

_COMMON = """
import json, statistics, sys, time
import pandas as pd
kinds = ["double", "long", "string", "boolean"]
values = {"double": 1.5, "long": 3, "string": "x", "boolean": True}
found = {}
for width in (4, 30):
    columns = [{"name": f"c{n}", "type": kinds[n % 4], "required": True} for n in range(width)]
    row = {one["name"]: values[one["type"]] for one in columns}
    enforce = compiled(json.dumps(columns))
    for name in ("frame", "dictionary"):
        calls = int(sys.argv[1])
        data = [pd.DataFrame([row]) if name == "frame" else dict(row) for _ in range(calls)]
        times = []
        for one in data:
            start = time.perf_counter_ns()
            result = enforce(one)
            times.append(time.perf_counter_ns() - start)
        assert list(result.columns) == list(row) and len(result) == 1
        found[f"{width} {name}"] = statistics.median(times[calls // 10:]) / 1e3
print(json.dumps(found))
"""
_OURS = """
from headrace.models.enforcement import compile_signature
from headrace.models.signature import ModelSignature, Schema
def compiled(text):
    return compile_signature(ModelSignature(Schema.from_json(text))).inputs
"""
_THEIRS = """
from mlflow.models.utils import _enforce_schema
from mlflow.types import Schema
def compiled(text):
    schema = Schema.from_json(text)
    return lambda data: _enforce_schema(data, schema)
"""


def run(bench: Bench) -> Iterator[Row]:
    """Microseconds for one row of 4 and of 30 columns."""
    found: dict[str, dict[str, float]] = {}
    if bench.ours:
        found[HEADRACE] = _measure(bench, HEADRACE, _OURS, bench.size(4000, 200))
    if bench.peer:
        found[MLFLOW_BEST] = _measure(bench, MLFLOW_BEST, _THEIRS, bench.size(400, 40))
    for width, target in TARGETS.items():
        for name in ("frame", "dictionary"):
            yield compare(
                NAME,
                f"one row held against a signature of {width} columns, a {name}",
                "µs",
                {kind: figures[f"{width} {name}"] for kind, figures in found.items()},
                more_is_better=False,
                at_most=target,
            )


def _measure(bench: Bench, kind: str, code: str, calls: int) -> dict[str, float]:
    done = subprocess.run(
        [bench.python_of(kind), "-c", code + _COMMON, str(calls)],
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    say(f"{kind}: " + ", ".join(f"{name} {figure:.1f} µs" for name, figure in found.items()))
    return found
