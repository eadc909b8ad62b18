"""Searching runs, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from headrace.client.tables import has_pandas
from headrace.entities import Run, ViewType
from headrace.errors import InvalidParameter
from headrace.tracking.choice import choice, experiment_id
from headrace.tracking.experiments import search_experiments

_PAGE = 10_000


def search_runs(
    experiment_ids: Sequence[str] | None = None,
    filter_string: str = "",
    run_view_type: ViewType | str | int = ViewType.ACTIVE_ONLY,
    max_results: int = 100_000,
    order_by: Sequence[str] | None = None,
    output_format: Literal["pandas", "list"] = "pandas",
    search_all_experiments: bool = False,
    experiment_names: Sequence[str] | None = None,
) -> Any:
    """Search runs.

    Args:
        experiment_ids: Where to look; default the active experiment.
        filter_string: ``metrics.loss < 0.1 AND params.model = 'cnn'``; see docs/search.md.
        run_view_type: Active ones, deleted ones, or all.
        max_results: At most so many.
        order_by: ``["metrics.loss ASC"]``; default started last first.
        output_format: ``pandas`` or ``list``.
        search_all_experiments: Look in every active experiment, if neither ids nor names are given.
        experiment_names: Where to look, by name, instead of by id.

    Returns:
        For ``list``: a list of `Run`. For ``pandas``: a frame with the columns run_id, experiment_id,
        status, artifact_uri, start_time, end_time, and ``metrics.*``, ``params.*``, ``tags.*`` for
        every key that a run has; when pandas is not installed, a list of dictionaries with the same
        keys, each only with what its run has.

    Raises:
        InvalidParameter: A filter or order that does not parse, another output format, or both ids
            and names.
    """
    if output_format not in ("pandas", "list"):
        raise InvalidParameter(f"Unknown output_format '{output_format}': use 'pandas' or 'list'.")
    ids = _where(experiment_ids, experiment_names, search_all_experiments)
    runs: list[Run] = []
    token: str | None = None
    while ids and len(runs) < max_results:
        size = min(_PAGE, max_results - len(runs))
        page = choice.client().search_runs(ids, filter_string, run_view_type, size, order_by, token)
        runs.extend(page)
        token = page.token
        if token is None:
            break
    if output_format == "list":
        return runs
    return _frame(runs) if has_pandas() else [_record(run) for run in runs]


def _where(ids: Sequence[str] | None, names: Sequence[str] | None, everywhere: bool) -> list[str]:
    if ids and names:
        raise InvalidParameter("Give experiment_ids or experiment_names, not both.")
    if names:
        found = [choice.client().get_experiment_by_name(name) for name in names]
        return [experiment.experiment_id for experiment in found if experiment is not None]
    if ids:
        return [str(one) for one in ids]
    if everywhere:
        return [experiment.experiment_id for experiment in search_experiments()]
    return [experiment_id()]


def _record(run: Run) -> dict[str, Any]:
    info = run.info
    record: dict[str, Any] = {
        "run_id": info.run_id,
        "experiment_id": info.experiment_id,
        "status": str(info.status),
        "artifact_uri": info.artifact_uri,
        "start_time": _time(info.start_time),
        "end_time": _time(info.end_time),
    }
    for kind, values in (
        ("metrics", run.data.metrics),
        ("params", run.data.params),
        ("tags", run.data.tags),
    ):
        for key, value in values.items():
            record[f"{kind}.{key}"] = value
    return record


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _frame(runs: Sequence[Run]) -> Any:
    import pandas as pd

    data: dict[str, Any] = {
        "run_id": [run.info.run_id for run in runs],
        "experiment_id": [run.info.experiment_id for run in runs],
        "status": [str(run.info.status) for run in runs],
        "artifact_uri": [run.info.artifact_uri for run in runs],
    }
    for name in ("start_time", "end_time"):
        times = [getattr(run.info, name) for run in runs]
        data[name] = pd.to_datetime(pd.Series(times, dtype="Int64"), unit="ms", utc=True)
    for kind, missing in (("metrics", float("nan")), ("params", None), ("tags", None)):
        rows = [getattr(run.data, kind) for run in runs]
        for key in dict.fromkeys(key for row in rows for key in row):
            data[f"{kind}.{key}"] = [row.get(key, missing) for row in rows]
    return pd.DataFrame(data)
