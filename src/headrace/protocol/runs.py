"""Runs, with their params, tags and metric points: declarations."""

from __future__ import annotations

from headrace.entities import (
    DatasetInput,
    KeyValue,
    LoggedModelInput,
    LoggedModelOutput,
    Run,
    RunInfo,
    RunStatus,
    ViewType,
)
from headrace.protocol.limits import Int64, Millis, Required
from headrace.protocol.operation import (
    NATIVE_PREFIXES,
    Empty,
    Interface,
    Request,
    Response,
    operation,
)


class MetricPoint(Request, frozen=True, kw_only=True):
    """One point to record. ``dataset_name`` and ``dataset_digest`` come together or not at all."""

    key: Required
    value: float
    timestamp: Millis
    step: Int64 = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""
    run_id: str = ""


class CreateRun(Request, frozen=True, kw_only=True):
    """``experiment_id`` is required; ``start_time`` defaults to now, ``run_name`` to a random one."""

    experiment_id: str = ""
    user_id: str = ""
    run_name: str = ""
    start_time: Millis | None = None
    tags: tuple[KeyValue, ...] = ()


class RunResponse(Response, frozen=True, kw_only=True):
    run: Run


class UpdateRun(Request, frozen=True, kw_only=True):
    run_id: str = ""
    run_uuid: str = ""
    status: RunStatus | None = None
    end_time: Millis | None = None
    run_name: str | None = None


class UpdatedRun(Response, frozen=True, kw_only=True):
    run_info: RunInfo


class RunId(Request, frozen=True, kw_only=True):
    run_id: Required


class GetRun(Request, frozen=True, kw_only=True):
    run_id: str = ""
    run_uuid: str = ""


class SearchRuns(Request, frozen=True, kw_only=True):
    """``max_results`` is from 1 to 50,000."""

    experiment_ids: tuple[str, ...] = ()
    filter: str = ""
    run_view_type: ViewType = ViewType.ACTIVE_ONLY
    max_results: Int64 = 1000
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class RunsPage(Response, frozen=True, kw_only=True):
    runs: tuple[Run, ...] = ()
    next_page_token: str = ""


class LogMetric(Request, frozen=True, kw_only=True):
    run_id: str = ""
    run_uuid: str = ""
    key: Required
    value: float
    timestamp: Millis
    step: Int64 = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LogParam(Request, frozen=True, kw_only=True):
    run_id: str = ""
    run_uuid: str = ""
    key: Required
    value: str = ""


class SetTag(Request, frozen=True, kw_only=True):
    run_id: str = ""
    run_uuid: str = ""
    key: Required
    value: str = ""


class DeleteTag(Request, frozen=True, kw_only=True):
    run_id: Required
    key: Required


class LogBatch(Request, frozen=True, kw_only=True):
    run_id: Required
    metrics: tuple[MetricPoint, ...] = ()
    params: tuple[KeyValue, ...] = ()
    tags: tuple[KeyValue, ...] = ()


class LogModel(Request, frozen=True, kw_only=True):
    """``model_json`` is an MLmodel document as JSON text."""

    run_id: Required
    model_json: Required


class LogInputs(Request, frozen=True, kw_only=True):
    run_id: Required
    datasets: tuple[DatasetInput, ...] = ()
    models: tuple[LoggedModelInput, ...] = ()


class LogOutputs(Request, frozen=True, kw_only=True):
    run_id: Required
    models: tuple[LoggedModelOutput, ...] = ()


class ImportedRun(Request, frozen=True, kw_only=True):
    """A whole run for `Runs.import_runs`.

    ``run_id`` is made when not given; importing an existing id again changes nothing.
    """

    experiment_id: Required
    run_id: str = ""
    run_name: str = ""
    user_id: str = ""
    status: RunStatus = RunStatus.FINISHED
    start_time: Millis | None = None
    end_time: Millis | None = None
    params: tuple[KeyValue, ...] = ()
    tags: tuple[KeyValue, ...] = ()
    metrics: tuple[MetricPoint, ...] = ()


class ImportRuns(Request, frozen=True, kw_only=True):
    """At most 1000 runs, 100,000 metric points in all."""

    runs: tuple[ImportedRun, ...] = ()


class ImportedRuns(Response, frozen=True, kw_only=True):
    """Ids in the order of the request; ``created`` counts those that were new."""

    run_ids: tuple[str, ...] = ()
    created: int = 0


class SearchKeys(Request, frozen=True, kw_only=True):
    """``kind`` is ``metric``, ``param`` or ``tag``; ``contains`` narrows by substring, any case."""

    experiment_ids: tuple[str, ...] = ()
    kind: str = "metric"
    contains: str = ""
    max_results: Int64 = 1000


class Keys(Response, frozen=True, kw_only=True):
    keys: tuple[str, ...] = ()


class Runs(Interface):
    """Executions and what they log.

    Where a request has both ``run_id`` and ``run_uuid``, either names the run. Every method raises
    `NotFound` for an unknown run, and every write `InvalidParameter` for a deleted one, unless said
    otherwise. A request is carried out whole or not at all.
    """

    @operation("POST", "/mlflow/runs/create", permission="run:create")
    def create_run(self, request: CreateRun) -> RunResponse:
        """Start a run in an active experiment.

        The tag ``mlflow.runName`` and ``run_name`` are one thing.

        Raises:
            InvalidParameter: No experiment id, a deleted experiment, or two different names.
            NotFound: The experiment does not exist.
        """
        raise NotImplementedError

    @operation("GET", "/mlflow/runs/get", permission="run:read", reads=True)
    def get_run(self, request: GetRun) -> RunResponse:
        """Get a run with its params, tags, last metric points, inputs and outputs; deleted ones too."""
        raise NotImplementedError

    @operation("POST", "/mlflow/runs/update", permission="run:edit")
    def update_run(self, request: UpdateRun) -> UpdatedRun:
        """Change status, end time or name. What is not given stays."""
        raise NotImplementedError

    @operation("POST", "/mlflow/runs/delete", permission="run:delete")
    def delete_run(self, request: RunId) -> Empty:
        """Put a run into the trash. Deleting a deleted run is allowed and changes nothing."""
        raise NotImplementedError

    @operation("POST", "/mlflow/runs/restore", permission="run:delete")
    def restore_run(self, request: RunId) -> Empty:
        """Take a run out of the trash. Restoring an active run is allowed and changes nothing."""
        raise NotImplementedError

    @operation("POST", "/mlflow/runs/search", permission="run:read", reads=True)
    def search_runs(self, request: SearchRuns) -> RunsPage:
        """Search the runs of some experiments; unknown experiment ids are ignored.

        Raises:
            InvalidParameter: A filter or order that does not parse (the message points at the
                character), a page token that is not from this search, ``max_results`` out of range.
        """
        raise NotImplementedError

    @operation("POST", "/mlflow/runs/log-metric", permission="run:edit")
    def log_metric(self, request: LogMetric) -> Empty:
        """Record one metric point. An exact duplicate of a recorded point changes nothing."""
        raise NotImplementedError

    @operation("POST", "/mlflow/runs/log-parameter", permission="run:edit")
    def log_param(self, request: LogParam) -> Empty:
        """Record a param. The same value again changes nothing.

        Raises:
            InvalidParameter: The run has the param with another value.
        """
        raise NotImplementedError

    @operation("POST", "/mlflow/runs/set-tag", permission="run:edit")
    def set_tag(self, request: SetTag) -> Empty:
        """Set a tag; its value is kept whole, up to 100,000 characters."""
        raise NotImplementedError

    @operation("POST", "/mlflow/runs/delete-tag", permission="run:edit")
    def delete_tag(self, request: DeleteTag) -> Empty:
        """Delete a tag.

        Raises:
            NotFound: The run has no such tag.
        """
        raise NotImplementedError

    @operation("POST", "/mlflow/runs/log-batch", permission="run:edit")
    def log_batch(self, request: LogBatch) -> Empty:
        """Record metrics, params and tags together, all or nothing.

        At most 1000 metrics, 100 params, 100 tags, 1000 in total.

        Raises:
            InvalidParameter: Over a limit, a bad key or value, a param twice in the request or in
                conflict with the run's.
        """
        raise NotImplementedError

    @operation("POST", "/mlflow/runs/log-model", permission="run:edit")
    def log_model(self, request: LogModel) -> Empty:
        """Append a model's MLmodel document to the run's tag ``mlflow.log-model.history``."""
        raise NotImplementedError

    @operation("POST", "/mlflow/runs/log-inputs", permission="run:edit")
    def log_inputs(self, request: LogInputs) -> Empty:
        """Record data sets and models that the run read.

        A data set is known within its experiment by (name, digest); the first schema and profile win.
        """
        raise NotImplementedError

    @operation("POST", "/mlflow/runs/outputs", permission="run:edit")
    def log_outputs(self, request: LogOutputs) -> Empty:
        """Record models that the run produced."""
        raise NotImplementedError

    @operation("POST", "/runs/import", permission="run:create", prefixes=NATIVE_PREFIXES)
    def import_runs(self, request: ImportRuns) -> ImportedRuns:
        """Create many whole runs in one transaction; repeating a request changes nothing."""
        raise NotImplementedError

    @operation("POST", "/keys/search", permission="run:read", reads=True, prefixes=NATIVE_PREFIXES)
    def search_keys(self, request: SearchKeys) -> Keys:
        """Which metric, param or tag keys the runs of some experiments have, sorted."""
        raise NotImplementedError
