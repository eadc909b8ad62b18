"""MLflow's database filled directly, where its public calls would take hours.

The schema is made by MLflow's own ``mlflow db upgrade``; the rows are those that its store would write for the
same calls, in the same order.
"""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.bench import SQLITE, Bench
from benchmarks.harness.peer import peer_url
from benchmarks.harness.processes import environment

EXPERIMENT = 1000

_COLUMNS = {
    "experiments": (
        "experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time"
    ),
    "runs": (
        "run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, "
        "source_version, lifecycle_stage, artifact_uri, experiment_id"
    ),
    "tags": "key, value, run_uuid",
    "params": "key, value, run_uuid",
    "metrics": "key, value, timestamp, run_uuid, step, is_nan",
    "registered_models": "workspace, name, creation_time, last_updated_time, description",
    "registered_model_tags": "workspace, key, value, name",
    "registered_model_aliases": "workspace, alias, version, name",
    "model_versions": (
        "workspace, name, version, creation_time, last_updated_time, current_stage, source, run_id, status"
    ),
    "model_version_tags": "workspace, key, value, name, version",
    "latest_metrics": "key, value, timestamp, step, is_nan, run_uuid",
}


class PeerRows:
    """Writes rows into a database that MLflow has prepared. Use as a context."""

    def __init__(self, bench: Bench, kind: str, url: str, folder: Path) -> None:
        assert bench.peer is not None
        subprocess.run(
            [bench.peer.parent / "mlflow", "db", "upgrade", peer_url(url)],
            check=True,
            capture_output=True,
            cwd=folder,
            env=environment(MLFLOW_DISABLE_TELEMETRY="true"),
        )
        self._sqlite: sqlite3.Connection | None = None
        if kind == SQLITE:
            self._sqlite = sqlite3.connect(url.removeprefix("sqlite:///"))
            self._sqlite.execute("PRAGMA synchronous=OFF")
        else:
            self._postgres = bench.postgres.connect(url.rpartition("/")[2])

    def __enter__(self) -> PeerRows:
        row = (EXPERIMENT, "bench", f"mlflow-artifacts:/{EXPERIMENT}", "active", 1, 1)
        self.insert("experiments", [row])
        return self

    def __exit__(self, *_: object) -> None:
        if self._sqlite is not None:
            self._sqlite.close()
        else:
            self._postgres.execute("VACUUM ANALYZE")  # as autovacuum would in time
            self._postgres.close()

    def insert(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Write rows in one transaction."""
        columns = _COLUMNS[table]
        if self._sqlite is not None:
            marks = ", ".join("?" * (columns.count(",") + 1))
            with self._sqlite:
                self._sqlite.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)
            return
        copy = f"COPY {table} ({columns}) FROM STDIN"
        with self._postgres.cursor() as cursor, cursor.copy(copy) as into:
            for row in rows:
                into.write_row(row)

    def runs(self, ids: Sequence[str], start: int) -> None:
        """Finished runs of the experiment, one millisecond apart, with the tag that names them."""
        self.insert(
            "runs",
            (
                (
                    one,
                    f"run-{one[:8]}",
                    "UNKNOWN",
                    "",
                    "",
                    "bench",
                    "FINISHED",
                    start + n,
                    start + n + 1000,
                    "",
                    "active",
                    f"mlflow-artifacts:/{EXPERIMENT}/{one}/artifacts",
                    EXPERIMENT,
                )
                for n, one in enumerate(ids)
            ),
        )
        self.insert("tags", (("mlflow.runName", f"run-{one[:8]}", one) for one in ids))
