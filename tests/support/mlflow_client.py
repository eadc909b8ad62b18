"""Driving a server with the MLflow client that is installed here, unmodified."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

#: No retries (a 500 is an answer here), no telemetry, no git.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


def play(url: str, folder: Path, only: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
    """Outcomes of the scenarios against a server: by scenario, by step.

    Args:
        url: The server, with a fresh store.
        folder: For the files that the scenarios make.
        only: Names of scenarios; default all.
    """
    os.environ.update(ENVIRONMENT)
    with warnings.catch_warnings():
        # The client's own: deprecations of its dependencies and of its own names are not ours to fix.
        warnings.simplefilter("ignore")
        import mlflow

        from support.mlflow_scenarios import SCENARIOS
        from support.recorder import Recorder

        mlflow.set_tracking_uri(url)
        outcomes = {}
        for name in only or SCENARIOS:
            place = folder / name
            place.mkdir()
            recorder = Recorder(url)
            try:
                SCENARIOS[name](recorder, mlflow.MlflowClient(url), place)
            finally:
                while mlflow.active_run():
                    mlflow.end_run()
            outcomes[name] = recorder.steps
        return outcomes
