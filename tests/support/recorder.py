"""Notes what each step of a scenario gave, in a form that two servers can be compared by."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from mlflow.entities import Dataset, DatasetInput, Experiment, FileInfo, Metric, Run
from mlflow.exceptions import MlflowException

_RUN_ID = re.compile(r"\b[0-9a-f]{32}\b")
_RANDOM_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")
_PROXY = re.compile(r"mlflow-artifacts:/\d+")
_DAY = 86_400_000
#: What the client adds to a run from where it runs; it says nothing about the server.
_OF_THE_PLACE = ("mlflow.source.", "mlflow.user")


class Recorder:
    """Steps and their outcomes, in order: ``record("name", function, *arguments)``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.steps: dict[str, Any] = {}
        self._known: dict[str, str] = {}

    def known(self, value: str, name: str) -> None:
        """Write ``name`` wherever an outcome has ``value`` as an experiment's id."""
        self._known[value] = name

    def __call__(
        self, step: str, function: Callable[..., Any], /, *arguments: Any, **named: Any
    ) -> Any:
        """Do one step; what it returned comes back, and None if it raised."""
        assert step not in self.steps, step
        value = None
        try:
            value = function(*arguments, **named)
            outcome = self.plain(value)
        except MlflowException as error:
            outcome = {
                "raised": type(error).__name__,
                "error_code": error.error_code,
                "status": error.get_http_status_code(),
            }
        except Exception as error:  # noqa: BLE001 - which class comes is what is compared
            outcome = {"raised": type(error).__name__}
        self.steps[step] = outcome
        return value

    def post(self, step: str, path: str, body: str | bytes) -> None:
        """Send a body as it is."""
        headers = {"Content-Type": "application/json"}
        url = f"{self.url}/api/2.0/mlflow/{path}"
        self(step, lambda: httpx.post(url, content=body, headers=headers, timeout=60))

    def get(self, step: str, path: str, *, ajax: bool = False) -> None:
        """Send a query as it is."""
        url = f"{self.url}/{'ajax-api' if ajax else 'api'}/2.0/mlflow/{path}"
        self(step, lambda: httpx.get(url, timeout=60))

    def plain(self, value: Any) -> Any:
        """A value as JSON, with what differs from server to server replaced."""
        if isinstance(value, httpx.Response):
            return self._response(value)
        if isinstance(value, Run):
            return self._run(value)
        if isinstance(value, Experiment):
            fields = ("name", "experiment_id", "artifact_location", "lifecycle_stage", "tags")
            fields += ("creation_time", "last_update_time")
        elif isinstance(value, Metric):
            fields = ("key", "value", "timestamp", "step")
        elif isinstance(value, FileInfo):
            fields = ("path", "is_dir", "file_size")
        elif isinstance(value, Dataset):
            fields = ("name", "digest", "source_type", "source", "schema", "profile")
        elif isinstance(value, DatasetInput):
            return [self.plain(value.dataset), {tag.key: tag.value for tag in value.tags}]
        elif isinstance(value, Mapping):
            return {
                str(key): self._known.get(one, one) if key == "experiment_id" else self.plain(one)
                for key, one in sorted(value.items(), key=lambda item: str(item[0]))
                if not str(key).startswith(_OF_THE_PLACE)
            }
        elif isinstance(value, list | tuple):
            return [self.plain(one) for one in value]
        else:
            return self._scalar(value)
        return self.plain({field: getattr(value, field) for field in fields})

    def _run(self, run: Run) -> dict[str, Any]:
        info = run.info
        fields = ("run_name", "experiment_id", "status", "start_time", "end_time")
        fields += ("artifact_uri", "lifecycle_stage", "user_id")
        return {
            "info": self.plain({field: getattr(info, field) for field in fields}),
            "metrics": self.plain(run.data.metrics),
            "params": self.plain(run.data.params),
            "tags": self.plain(run.data.tags),
            "inputs": self.plain(run.inputs.dataset_inputs if run.inputs else []),
            "model_inputs": sorted(
                one.model_id for one in (run.inputs.model_inputs or [] if run.inputs else [])
            ),
            "outputs": sorted(
                [one.model_id, one.step]
                for one in (run.outputs.model_outputs or [] if run.outputs else [])
            ),
        }

    def _response(self, response: httpx.Response) -> dict[str, Any]:
        outcome: dict[str, Any] = {"status": response.status_code}
        try:
            body = response.json()
        except ValueError:
            return {**outcome, "body": "not JSON"}
        if response.status_code == 200:
            return {**outcome, "body": self.plain(_without_place(body))}
        return {**outcome, "error_code": body.get("error_code")}

    def _scalar(self, value: Any) -> Any:
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int):
            return "<now>" if abs(value - time.time() * 1000) < _DAY else value
        if isinstance(value, float):
            return value if math.isfinite(value) else repr(value)
        if isinstance(value, str):
            if any(f'"{word}' in value for word in _OF_THE_PLACE):
                return "<place>"
            if _RANDOM_NAME.fullmatch(value):
                return "<random name>"
            return _PROXY.sub("mlflow-artifacts:/<experiment>", _RUN_ID.sub("<id>", value))[:300]
        return type(value).__name__


def _without_place(value: Any) -> Any:
    """A JSON answer with its lists of key-value pairs sorted, because their order means nothing."""
    if isinstance(value, dict):
        return {key: _without_place(one) for key, one in value.items()}
    if isinstance(value, list):
        items = [_without_place(one) for one in value]
        if items and all(isinstance(one, dict) and {"key", "value"} <= set(one) for one in items):
            items = [one for one in items if not one["key"].startswith(_OF_THE_PLACE)]
            items.sort(key=lambda one: one["key"])  # stable: a history keeps its order
        return items
    return value
