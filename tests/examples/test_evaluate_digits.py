"""The example in which a second model has to be better than the first."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from headrace.client import Client

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "evaluate_digits.py"


def test_the_first_model_fails_and_the_second_passes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE, "--tracking-uri", tmp_path / "store"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    checks = re.findall(r"^(passed|FAILED): ([^\n]*?): ", done.stdout, re.MULTILINE)
    assert [word for word, _ in checks] == ["FAILED"] * 4 + ["passed"] * 5
    assert checks[1][1] == "slice:digit=*/accuracy_score"
    client = Client(str(tmp_path / "store"))
    experiment = client.get_experiment_by_name("evaluate digits")
    assert experiment is not None
    better, worse = client.search_runs(
        [experiment.experiment_id], order_by=["metrics.accuracy_score DESC"]
    )
    assert better.data.metrics["accuracy_score"] > 0.95 > worse.data.metrics["accuracy_score"]
    files = {file.path for file in client.list_artifacts(better.info.run_id, "evaluation")}
    assert {"evaluation/slices.csv", "evaluation/confusion_matrix.png"} <= files
