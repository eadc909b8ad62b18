"""Alerts of runs, and what is told of their artifacts, implemented: both are events alone."""

from __future__ import annotations

from typing import Any

from headrace.engine.runs import RunOperations, RunRow
from headrace.errors import InvalidParameter
from headrace.protocol.alerts import Alerts, check_alert
from headrace.protocol.ingest import LogArtifacts, RaiseAlert
from headrace.protocol.operation import Empty

#: Files that one event names, and characters of a path.
_MOST_FILES, _LONGEST_PATH = 100, 4096


class AlertOperations(RunOperations, Alerts):
    """`Alerts`, and ``log_artifacts`` of `headrace.protocol.ingest.Ingest`."""

    def raise_alert(self, request: RaiseAlert) -> Empty:
        check_alert(request.title, request.text, request.severity)
        self.emit_alert(self._active_run(request.run_id), request)
        return Empty()

    def emit_alert(self, run: RunRow, alert: RaiseAlert) -> None:
        """Tell of an alert of an active run.

        Raises:
            InvalidParameter: See `check_alert`.
        """
        check_alert(alert.title, alert.text, alert.severity)
        data = {
            "title": alert.title,
            "text": alert.text,
            "severity": alert.severity,
            "raised_time": self.now if alert.time is None else alert.time,
        }
        self.emit("run.alert.raised", f"run/{run.uuid}", data, run.experiment_id)

    def log_artifacts(self, request: LogArtifacts) -> Empty:
        self.emit_artifacts(self._active_run(request.run_id), request)
        return Empty()

    def emit_artifacts(self, run: RunRow, stored: LogArtifacts) -> None:
        """Tell of files of an active run.

        Raises:
            InvalidParameter: No file is given, or a path is too long.
        """
        if not stored.artifacts:
            raise InvalidParameter(
                "Missing value for required parameter 'artifacts': give at least one file."
            )
        files = []
        for one in stored.artifacts[:_MOST_FILES]:
            if len(one.path) > _LONGEST_PATH:
                raise InvalidParameter(
                    f"The path '{one.path[:100]}...' has {len(one.path)} characters; at most "
                    f"{_LONGEST_PATH} are allowed."
                )
            file: dict[str, Any] = {"path": one.path}
            if one.size is not None:
                file["size"] = one.size
            files.append(file)
        data = {"artifacts": files, "count": max(stored.count, len(stored.artifacts))}
        type = "run.artifacts.deleted" if stored.deleted else "run.artifacts.logged"
        self.emit(type, f"run/{run.uuid}", data, run.experiment_id)
