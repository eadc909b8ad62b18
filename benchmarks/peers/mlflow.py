"""MLflow, waiting for every call and not, on a SQLite file of its own and on a server."""

from __future__ import annotations

from benchmarks.peers.tool import LOCAL, SERVER, Tool

SYNC, ASYNC = "MLflow", "MLflow async"

_COUNT = """
import sqlite3
print(sqlite3.connect("store.db").execute("SELECT count(*) FROM metrics").fetchone()[0])
"""


def _tool(name: str, place: str, option: str) -> Tool:
    return Tool(
        name=name,
        place=place,
        packages=("mlflow", "psycopg2-binary"),
        start="import mlflow\nmlflow.start_run()",
        scalar=f'mlflow.log_metric("loss", value, step=step{option})',
        ten=f"mlflow.log_metrics(ten, step=step{option})",
        finish="mlflow.flush_async_logging()\nmlflow.end_run()",
        count=_COUNT,
        lags=name == ASYNC,
        environment={"MLFLOW_TRACKING_URI": "{uri}", "MLFLOW_DISABLE_TELEMETRY": "true"},
    )


TOOLS = tuple(
    _tool(name, place, option)
    for place in (LOCAL, SERVER)
    for name, option in ((SYNC, ""), (ASYNC, ", synchronous=False"))
)
