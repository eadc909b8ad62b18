"""Logging, registering and loading a small model, in a store of its own on this machine."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness.bench import Bench, say
from benchmarks.harness.processes import environment
from benchmarks.harness.report import Row, compare
from benchmarks.harness.servers import HEADRACE, MLFLOW_BEST

NAME = "models"
METHOD = (
    "A logistic regression of scikit-learn on the iris data, with a signature: `sklearn.log_model(…, "
    "registered_model_name=…)` in a run, then `pyfunc.load_model('models:/name/version')` and a prediction of one row; medians of "
    "rounds in one process after two that are not counted, in a local SQLite store with local artifacts. Both save in their default format "
    "(skops). MLflow infers the requirements of a model in a process of its own; in the second line it is spared that "
    "by `pip_requirements`."
)
#: Runs under either tool: the functions have the same names.
_CODE = """
import importlib, json, sys, time, warnings
tool, rounds, requirements = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
warnings.simplefilter("ignore")
import logging
logging.disable(logging.WARNING)
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
t = importlib.import_module(tool)
sklearn, pyfunc, models = (importlib.import_module(f"{tool}.{n}") for n in ("sklearn", "pyfunc", "models"))
x, y = load_iris(return_X_y=True, as_frame=True)
model = LogisticRegression(max_iter=500).fit(x, y)
signature = models.infer_signature(x, model.predict(x))
more = {} if requirements is None else {"pip_requirements": requirements}
log, load = [], []
t.set_experiment("models")
for number in range(rounds + 2):
    start = time.perf_counter()
    with t.start_run():
        info = sklearn.log_model(model, name="iris", signature=signature, registered_model_name="iris", **more)
    middle = time.perf_counter()
    loaded = pyfunc.load_model(f"models:/iris/{info.registered_model_version}")
    loaded.predict(x.head(1))
    end = time.perf_counter()
    if number >= 2:
        log.append(middle - start)
        load.append(end - middle)
print(json.dumps([log, load]))
"""


def run(bench: Bench) -> Iterator[Row]:
    """Milliseconds to log and register, and to load and predict."""
    both: dict[str, float] = {}
    spared: dict[str, float] = {}
    notes = []
    for tool, python in ((HEADRACE, bench.python if bench.ours else None), ("mlflow", bench.peer)):
        if python is None:
            continue
        rounds = bench.size(20, 3) if tool == HEADRACE else bench.size(5, 1)
        for figures, requirements in ((both, None), (spared, ["scikit-learn"])):
            log, load = _measure(bench, python, tool, rounds, requirements)
            figures[HEADRACE if tool == HEADRACE else MLFLOW_BEST] = 1e3 * (log + load)
            notes.append(f"{tool} {1e3 * log:.0f} + {1e3 * load:.0f} ms")
            say(notes[-1])
    note = "log and register + load and predict"
    yield compare(
        NAME,
        "log, register and load a small scikit-learn model",
        "ms",
        both,
        more_is_better=False,
        times=15,
        note=f"{note}: {', '.join(notes[::2])}",
    )
    yield compare(
        NAME,
        "the same, requirements given",
        "ms",
        spared,
        more_is_better=False,
        note=f"{note}: {', '.join(notes[1::2])}",
    )


def _measure(
    bench: Bench, python: Path, tool: str, rounds: int, requirements: list[str] | None
) -> tuple[float, float]:
    folder = bench.folder(f"models-{tool}")
    uri = f"sqlite:///{folder / 'store.db'}"
    answer = subprocess.run(
        [str(python), "-P", "-c", _CODE, tool, str(rounds), json.dumps(requirements)],
        cwd=folder,
        env={
            **environment(),
            "HEADRACE_TRACKING_URI": uri,
            "MLFLOW_TRACKING_URI": uri,
            "HEADRACE_JOURNAL_DIR": str(folder / "journal"),
            "XDG_STATE_HOME": str(folder / "state"),
        },
        check=True,
        capture_output=True,
        text=True,
    )
    log, load = json.loads(answer.stdout.splitlines()[-1])
    return statistics.median(log), statistics.median(load)
