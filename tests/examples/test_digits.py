"""The examples, as a reader of the README runs them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.client import Client

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
TRAINED = "params.model IS NOT NULL"


def python(*arguments: str | Path) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_training(client: Client) -> None:
    """What the training leaves behind, whichever client logged it."""
    experiment = client.get_experiment_by_name("digits")
    runs = client.search_runs([experiment.experiment_id])
    trained = client.search_runs([experiment.experiment_id], TRAINED)
    assert (len(runs), len(trained)) == (18, 13)
    assert {run.info.status for run in runs} == {"FINISHED"}
    parents = {run.info.run_id for run in runs} - {run.info.run_id for run in trained}
    assert {run.data.tags["mlflow.parentRunId"] for run in trained} == parents
    for run in trained:
        assert run.data.metrics["accuracy"] > 0.8
        (used,) = run.inputs.dataset_inputs
        assert used.dataset.name == "digits"
        names = [file.path for file in client.list_artifacts(run.info.run_id)]
        assert names == ["confusion_matrix.csv", "report.json"]
    (curve, *_) = client.search_runs(
        [experiment.experiment_id], "params.model = 'neural-network'", max_results=1
    )
    history = client.get_metric_history(curve.info.run_id, "loss")
    assert [point.step for point in history] == list(range(20))
    assert history[-1].value < history[0].value


def test_the_demo_trains_tells_the_best_and_ends_without_a_terminal(tmp_path: Path) -> None:
    store = tmp_path / "store"
    out = python(EXAMPLES / "demo.py", "--store", store)
    client = Client(str(store))
    check_training(client)
    best = re.search(r"^Best: (.+), accuracy (0\.9\d+)$", out, re.MULTILINE)
    assert best is not None, out
    assert best[1] in out.partition("Best:")[0]  # the table has it too
    shown = re.search(r"runs show ([0-9a-f]{8}) ", out)
    assert shown is not None
    run = json.loads(python("-m", "headrace", "runs", "show", shown[1], "--json", "--store", store))
    assert run["run_name"] == best[1]


@pytest.mark.parametrize("library", ["headrace", "mlflow"])
def test_training_is_tracked_by_a_server_with_either_client(
    server, tmp_path: Path, library: str
) -> None:
    url = server(tmp_path / "store").url
    python(EXAMPLES / "digits" / "train.py", "--client", library, "--tracking-uri", url)
    check_training(Client(url))
