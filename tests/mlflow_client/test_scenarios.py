"""A stock MLflow client against our server gets what it gets from MLflow's own, step by step.

reference.json holds MLflow's answers (record.py). Where ours differ on purpose, `DEVIATIONS` says so, and
docs/mlflow-compatibility.md says why; nothing else may differ.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.mlflow_deviations import DEVIATIONS
from support.postgres import Postgres
from support.server import Server

HERE = Path(__file__).parent
REFERENCE = json.loads((HERE / "reference.json").read_text())["scenarios"]
DOCUMENT = HERE.parents[1] / "docs" / "mlflow-compatibility.md"
_CLIENT = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from support.mlflow_client import play
answer = play(sys.argv[2], Path(sys.argv[3]))
Path(sys.argv[3], "answer.json").write_text(json.dumps(answer))
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def answers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Our answers to all scenarios."""
    folder = tmp_path_factory.mktemp("client")
    if request.param == "sqlite":
        return _play(f"sqlite:///{folder / 'headrace.db'}", folder)
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.database() as url:
        return _play(url, folder)


def _play(store: str, folder: Path) -> dict[str, dict[str, Any]]:
    server = Server(store, folder / "server.log", "--artifacts", str(folder / "artifacts"))
    try:
        # In a process of its own: the client keeps global state, threads and exit hooks.
        subprocess.run(
            [sys.executable, "-c", _CLIENT, str(HERE.parent), server.url, str(folder)],
            check=True,
            capture_output=True,
            cwd=folder,
            env={key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"},
            timeout=300,
        )
    except subprocess.CalledProcessError as error:
        pytest.fail(error.stderr.decode()[-3000:])
    finally:
        server.stop()
    answer: dict[str, dict[str, Any]] = json.loads((folder / "answer.json").read_text())
    return answer


@pytest.mark.parametrize("scenario", REFERENCE)
def test_a_stock_client_sees_what_mlflow_would_show(
    answers: dict[str, dict[str, Any]], scenario: str
) -> None:
    ours, mlflows = answers[scenario], REFERENCE[scenario]
    assert list(ours) == list(mlflows), "scenarios changed: record MLflow's answers again"
    wrong = {}
    for step, answer in ours.items():
        deviation = DEVIATIONS.get((scenario, step))
        expected = mlflows[step] if deviation is None else deviation.ours
        if answer != expected:
            wrong[step] = {"ours": answer, "expected": expected}
        elif deviation is not None and answer == mlflows[step]:
            wrong[step] = "no deviation any more: take it off the list"
    assert not wrong, json.dumps(wrong, indent=1, ensure_ascii=False)


def test_every_deviation_is_documented_and_every_documented_one_is_seen() -> None:
    described = set(re.findall(r"^\| `([a-z-]+)` \|", DOCUMENT.read_text(), re.MULTILINE))
    assert described == {deviation.name for deviation in DEVIATIONS.values()}
    for scenario, step in DEVIATIONS:
        assert step in REFERENCE[scenario], (scenario, step)
