"""Logging to the active run: params, metrics, tags, inputs, outputs.

Every function starts a run if none is active. ``synchronous=False`` is accepted; logging is done when
the call returns, and it then returns a `RunOperations`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headrace.client.base import RunOperations
from headrace.client.values import metric_value, now_ms
from headrace.entities import (
    DatasetInput,
    KeyValue,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Run,
)
from headrace.errors import InvalidParameter
from headrace.tracking.active import active_or_new
from headrace.tracking.choice import choice
from headrace.tracking.data import dataset_input, dataset_name_and_digest


def get_run(run_id: str) -> Run:
    """A run with everything logged to it so far.

    Raises:
        NotFound: There is none of that id.
    """
    return choice.client().get_run(run_id)


def get_parent_run(run_id: str) -> Run | None:
    """The run that a run is nested in; None when it is not nested."""
    return choice.client().get_parent_run(run_id)


def delete_run(run_id: str) -> None:
    """Put a run into the trash."""
    choice.client().delete_run(run_id)


def restore_run(run_id: str) -> None:
    """Take a run out of the trash."""
    choice.client().restore_run(run_id)


def log(values: Mapping[str, Any], step: int | None = None) -> None:
    """Log several metrics at one step: ``log({"loss": 0.1, "val": {"loss": 0.2}}, step=3)``.

    Args:
        values: Numbers by key. A dictionary inside joins its keys with a slash: ``val/loss``.
        step: Default 0.

    Raises:
        InvalidParameter: A value is not a number.
    """
    log_metrics(dict(_flat(values)), step=step)


def log_metric(
    key: str,
    value: Any,
    step: int | None = None,
    synchronous: bool | None = None,
    timestamp: int | None = None,
    run_id: str | None = None,
    model_id: str | None = None,
    dataset: Any = None,
) -> RunOperations | None:
    """Log one metric point.

    Args:
        key: At most 250 letters, digits, ``_ - . space : /``.
        value: A number, or an array or tensor of one element. NaN and infinities are kept.
        step: Default 0.
        synchronous: See above.
        timestamp: Milliseconds since the Unix epoch; default now.
        run_id: Default: the active run.
        model_id: The logged model that the metric is about.
        dataset: The data set that the metric is about, as for `log_input`.
    """
    name, digest = dataset_name_and_digest(dataset)
    return choice.client().log_metric(
        run_id or active_or_new().info.run_id,
        key,
        value,
        timestamp,
        step,
        synchronous,
        dataset_name=name,
        dataset_digest=digest,
        model_id=model_id,
    )


def log_metrics(
    metrics: Mapping[str, Any],
    step: int | None = None,
    synchronous: bool | None = None,
    run_id: str | None = None,
    timestamp: int | None = None,
    model_id: str | None = None,
    dataset: Any = None,
) -> RunOperations | None:
    """Log several metrics at one step and time; arguments as for `log_metric`."""
    name, digest = dataset_name_and_digest(dataset)
    shared: dict[str, Any] = {
        "timestamp": now_ms() if timestamp is None else timestamp,
        "step": step,
    }
    about = {"model_id": model_id, "dataset_name": name, "dataset_digest": digest}
    shared |= {field: text for field, text in about.items() if text}
    points = [{"key": key, "value": value, **shared} for key, value in metrics.items()]
    run_id = run_id or active_or_new().info.run_id
    return choice.client().log_batch(run_id, metrics=points, synchronous=synchronous)


def log_param(key: str, value: Any, synchronous: bool | None = None) -> Any:
    """Log a param, its value as text (at most 6000 characters); returns the value.

    Raises:
        InvalidParameter: The run has the param with another value: params do not change.
    """
    return choice.client().log_param(active_or_new().info.run_id, key, value, synchronous)


def log_params(
    params: Mapping[str, Any], synchronous: bool | None = None, run_id: str | None = None
) -> RunOperations | None:
    """Log several params; more than 100 are sent in groups."""
    run_id = run_id or active_or_new().info.run_id
    return choice.client().log_batch(run_id, params=params, synchronous=synchronous)


def log_batch(
    metrics: Iterable[Metric | Mapping[str, Any]] = (),
    params: Iterable[KeyValue] | Mapping[str, Any] = (),
    tags: Iterable[KeyValue] | Mapping[str, Any] = (),
    run_id: str | None = None,
    synchronous: bool | None = None,
) -> RunOperations | None:
    """Log metrics at any steps and times, params and tags together; see `Client.log_batch`."""
    run_id = run_id or active_or_new().info.run_id
    return choice.client().log_batch(run_id, metrics, params, tags, synchronous)


def set_tag(key: str, value: Any, synchronous: bool | None = None) -> RunOperations | None:
    """Set a tag, its value as text."""
    return choice.client().set_tag(active_or_new().info.run_id, key, value, synchronous)


def set_tags(tags: Mapping[str, Any], synchronous: bool | None = None) -> RunOperations | None:
    """Set several tags; more than 100 are sent in groups."""
    run_id = active_or_new().info.run_id
    return choice.client().log_batch(run_id, tags=tags, synchronous=synchronous)


def delete_tag(key: str) -> None:
    """Delete a tag.

    Raises:
        NotFound: The run has no such tag.
    """
    choice.client().delete_tag(active_or_new().info.run_id, key)


def log_input(
    dataset: Any = None,
    context: str | None = None,
    tags: Mapping[str, str] | None = None,
    model: LoggedModelInput | None = None,
) -> None:
    """Record a data set that the run reads.

    Args:
        dataset: From `headrace.data` (or ``mlflow.data``), or a `headrace.entities.Dataset`.
        context: What it is for: ``"training"``, ``"evaluation"``.
        tags: More tags of this use.
        model: A logged model that the run reads.
    """
    log_inputs([dataset], [context], [tags], [model])


def log_inputs(
    datasets: Sequence[Any] | None = None,
    contexts: Sequence[str | None] | None = None,
    tags_list: Sequence[Mapping[str, str] | None] | None = None,
    models: Sequence[LoggedModelInput | None] | None = None,
) -> None:
    """Record several data sets, each with its context and tags in the other lists.

    Raises:
        InvalidParameter: Lists of different lengths.
    """
    some: Sequence[Any] = datasets or ()
    uses = contexts or [None] * len(some)
    tags = tags_list or [None] * len(some)
    if not len(some) == len(uses) == len(tags):
        raise InvalidParameter(
            f"{len(some)} datasets, {len(uses)} contexts and {len(tags)} tags: give as many of each."
        )
    inputs: list[DatasetInput] = [
        dataset_input(dataset, use, tag)
        for dataset, use, tag in zip(some, uses, tags, strict=True)
        if dataset is not None
    ]
    run_id = active_or_new().info.run_id
    choice.client().log_inputs(run_id, inputs, [model for model in models or () if model])


def log_outputs(models: Sequence[LoggedModelOutput] | None = None) -> None:
    """Record models that the run produced."""
    if models:
        choice.client().log_outputs(active_or_new().info.run_id, models)


def flush_async_logging() -> None:
    """Wait for what was logged with ``synchronous=False``: nothing, in this version."""


def flush_artifact_async_logging() -> None:
    """Wait for artifacts that were logged with ``synchronous=False``: none, in this version."""


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, float]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", metric_value(f"{prefix}{key}", value)
