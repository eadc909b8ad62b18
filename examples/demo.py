"""``make demo``: train the digits example into an embedded store, show the best run, put its model in charge, and serve.

Ends after the summary when standard output is not a terminal.

    python examples/demo.py [--store DIRECTORY] [--port 5000]
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import headrace
from digits.train import load
from headrace.errors import GuardRefused
from headrace.models.evaluation import Threshold

ROOT = Path(__file__).parent.parent
TRAIN = Path(__file__).parent / "digits" / "train.py"
#: Runs that trained a model; the runs that only hold them together have no params.
TRAINED = "params.model IS NOT NULL"
#: The registered model.
MODEL = "digits"


def main() -> None:
    """Train, summarise, serve."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--store", type=Path, default=ROOT / ".headrace-demo")
    parser.add_argument("--port", type=int, default=5000, help="taken if free, else a free one")
    given = parser.parse_args()
    store = given.store.resolve()

    print(
        f"Training several models on scikit-learn's digits, tracked in {_shown(store)} …",
        flush=True,
    )
    start = time.perf_counter()
    subprocess.run([sys.executable, TRAIN, "--tracking-uri", store], check=True)
    print(f"Done in {time.perf_counter() - start:.0f} s.\n", flush=True)
    best = summarise(store)
    promote(store)
    print_hints(store, best)
    if sys.stdout.isatty():
        serve(store, given.port)


def summarise(store: Path) -> str:
    """Print the best runs by the command line's own table; the id of the best."""
    headrace_(
        "runs", "list", "-x", "digits", "-f", TRAINED, "-o", "metrics.accuracy DESC",
        "--limit", "5", "--store", str(store),
    )  # fmt: skip
    client = headrace.Client(str(store))
    experiment = client.get_experiment_by_name("digits")
    (best,) = client.search_runs(
        [experiment.experiment_id], TRAINED, order_by=["metrics.accuracy DESC"], max_results=1
    )
    print(f"\nBest: {best.info.run_name}, accuracy {best.data.metrics['accuracy']:.4f}")
    return best.info.run_id


def promote(store: Path) -> None:
    """Register the best model, and let the alias *champion* point to it once it has passed its evaluation."""
    headrace.set_tracking_uri(store)
    client = headrace.Client(str(store))
    experiment = client.get_experiment_by_name("digits")
    (best,) = client.search_runs(
        [experiment.experiment_id], "params.model IS NULL", order_by=["metrics.accuracy DESC"], max_results=1
    )  # fmt: skip
    (output,) = best.outputs.model_outputs
    version = headrace.register_model(f"models:/{output.model_id}", MODEL).version
    client.set_guard(MODEL, "champion", checks=["accuracy_score"])
    try:
        client.set_registered_model_alias(MODEL, "champion", version)
    except GuardRefused as error:
        print(
            f"\nIts model is models:/{MODEL}/{version}. The alias champion is guarded:\n  {error}"
        )
    data = load()
    result = headrace.evaluate(
        f"models:/{MODEL}/{version}",
        data.x_test,
        data.y_test,
        kind="classification",
        thresholds={"accuracy_score": Threshold(min=0.95)},
    )
    accuracy = result.metrics["accuracy_score"]
    print(f"Evaluated on {len(data.y_test)} images that it has not seen: accuracy {accuracy:.4f}.")
    if result.passed:
        client.set_registered_model_alias(MODEL, "champion", version)
        print(f"Passed: models:/{MODEL}@champion points to version {version} now.")


def print_hints(store: Path, best: str) -> None:
    """Print what to try next."""
    program = Path(sys.executable).parent / "headrace"
    command = _shown(program) if program.exists() else "headrace"
    where = f"--store {shlex.quote(_shown(store))}"
    print("\nLook at it:")
    for arguments in (
        f"runs show {best[:8]}",
        "runs list -x digits -f 'metrics.accuracy > 0.97' -o 'metrics.loss ASC'",
        "runs export -x digits -O digits.csv",
        f"artifacts ls {best}",
        f"models show models:/{MODEL}@champion",
        f"models history {MODEL}",
        "server",
    ):
        print(f"  {command} {arguments} {where}")
    sys.stdout.flush()


def serve(store: Path, port: int) -> None:
    """Serve the store until interrupted."""
    port = port if _free(port) else 0
    print("\nServing; any MLflow client works with this address. Ctrl-C ends it.", flush=True)
    server = subprocess.Popen(
        [sys.executable, "-m", "headrace", "server", "--store", str(store), "--port", str(port), "--no-access-log"]
    )  # fmt: skip
    try:
        server.wait()
    except KeyboardInterrupt:
        # The terminal sent the signal to the server too; it finishes what it accepted.
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()


def headrace_(*arguments: str) -> None:
    """Run the command line."""
    subprocess.run([sys.executable, "-m", "headrace", *arguments], check=True)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _shown(path: Path) -> str:
    """A path as a person would type it from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    main()
