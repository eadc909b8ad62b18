"""Logging to the active run: params, metrics, tags, inputs, outputs.

Every function starts a run if none is active. Params, metrics and tags go to the journal: the call
returns when they are there, in about a microsecond, and a thread sends them to the store. It raises for
what can be seen here (a key that is none, a value that is no number); what only the store can see, such
as a param that another process logged with another value, is said in a warning and kept as an event.

``synchronous=True`` waits for the store and raises what it says; ``synchronous=False`` returns a
`RunOperations` to wait on. `flush` waits for everything.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from time import time
from typing import Any
from zlib import crc32

from headrace.client.base import RunOperations
from headrace.client.journal import journals
from headrace.client.journal.format import RESIDUE, pack_point, seal
from headrace.client.metrics import point_fields
from headrace.client.values import metric_value, now_ms, whole_number
from headrace.entities import (
    DatasetInput,
    KeyValue,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Run,
)
from headrace.errors import InvalidParameter
from headrace.protocol.ingest import LogInputs, LogOutputs, LogPoints
from headrace.protocol.limits import check_key
from headrace.protocol.runs import MetricPoint
from headrace.tracking.active import recorder_of, stack
from headrace.tracking.active_model import current as _active_model
from headrace.tracking.active_model import get_active_model_id
from headrace.tracking.alerts import raise_alert
from headrace.tracking.choice import choice
from headrace.tracking.data import dataset_input, dataset_name_and_digest
from headrace.tracking.recorder import PLAIN as _PLAIN
from headrace.tracking.recorder import Point, quick

_active = stack.get
_about = _active_model.get
#: What sends a call the other way: no run, a new key, a full segment, a value or step that is unusual.
_OTHERWISE = (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error)
#: What a point may say beyond key, value, step and time.
_MORE_THAN_COLUMNS = {"model_id", "dataset_name", "dataset_digest"}


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
        InvalidParameter: A value is not a number; nothing of the call is logged.
    """
    if _about() is not None and (model_id := get_active_model_id()):
        now, at = now_ms(), whole_number("step", step, 0)
        about = {"timestamp": now, "step": at, "model_id": model_id}
        log_batch([{"key": key, "value": value, **about} for key, value in _flat(values)])
        return
    try:  # the way of plain floats under known keys; whatever is different raises, and takes the other
        lane = _active()[-1].lane
        series = lane.series
        now = int(time() * 1000)
        at = 0 if step is None else step
        records = []
        for key, value in values.items():
            if type(value) not in _PLAIN:
                value = quick(value)
            record = pack_point(at, now, value, series[key])
            records.append(seal(record, crc32(record, RESIDUE)))
        lane.write(b"".join(records))
        return
    except _OTHERWISE:
        pass
    now, at = now_ms(), whole_number("step", step, 0)
    recorder_of(None).points([Point(key, value, at, now) for key, value in _flat(values)])


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
        value: A number, or an array or tensor of one element. NaN and infinities are kept. A value on a
            GPU is waited for in the background, not here.
        step: Default 0.
        synchronous: See above.
        timestamp: Milliseconds since the Unix epoch; default now.
        run_id: Default: the active run.
        model_id: The logged model that the metric is about; default: the active model.
        dataset: The data set that the metric is about, as for `log_input`.

    Raises:
        InvalidParameter: A key, value, step or timestamp that is not acceptable.
    """
    if model_id is None and _about() is not None:
        model_id = get_active_model_id()
    if (
        synchronous is None
        and timestamp is None
        and run_id is None
        and model_id is None
        and dataset is None
    ):
        try:  # as in `log`
            lane = _active()[-1].lane
            record = pack_point(
                0 if step is None else step,
                int(time() * 1000),
                value if type(value) in _PLAIN else quick(value),
                lane.series[key],
            )
            lane.write(seal(record, crc32(record, RESIDUE)))
            return None
        except _OTHERWISE:
            pass
    return log_metrics({key: value}, step, synchronous, run_id, timestamp, model_id, dataset)


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
    now, at = whole_number("timestamp", timestamp, now_ms()), whole_number("step", step, 0)
    model_id = model_id or get_active_model_id()
    about = {"model_id": model_id, "dataset_name": name, "dataset_digest": digest}
    about = {field: text for field, text in about.items() if text}
    if synchronous or about:
        points = [
            {"key": key, "value": value, "timestamp": now, "step": at, **about}
            for key, value in metrics.items()
        ]
        return log_batch(points, run_id=run_id, synchronous=synchronous)
    recorder = recorder_of(run_id)
    recorder.points(Point(str(key), value, at, now) for key, value in metrics.items())
    return recorder.future(synchronous)


def log_param(key: str, value: Any, synchronous: bool | None = None) -> Any:
    """Log a param, its value as text (at most 100,000 characters); returns the value.

    Raises:
        InvalidParameter: A key or value that is not acceptable, or this process logged the param with
            another value: params do not change.
    """
    return log_params({key: value}, synchronous) or value


def log_params(
    params: Mapping[str, Any], synchronous: bool | None = None, run_id: str | None = None
) -> RunOperations | None:
    """Log several params."""
    return log_batch(params=params, run_id=run_id, synchronous=synchronous)


def log_batch(
    metrics: Iterable[Metric | Mapping[str, Any]] = (),
    params: Iterable[KeyValue] | Mapping[str, Any] = (),
    tags: Iterable[KeyValue] | Mapping[str, Any] = (),
    run_id: str | None = None,
    synchronous: bool | None = None,
) -> RunOperations | None:
    """Log metrics at any steps and times, params and tags together; see `Client.log_batch`.

    Metrics that name no model are about the active model, if there is one.
    """
    recorder = recorder_of(run_id)
    model_id = get_active_model_id() if _about() is not None else None
    if model_id:
        now = now_ms()
        metrics = [{"model_id": model_id, **point_fields(metric, now)} for metric in metrics]
    if synchronous:
        choice.client().log_batch(recorder.run_id, metrics, params, tags)
        return None
    now = now_ms()
    plain, special = [], []
    for metric in metrics:
        fields = point_fields(metric, now)
        if fields.keys() & _MORE_THAN_COLUMNS:
            check_key(fields["key"], "metric")
            fields["value"] = metric_value(fields["key"], fields.get("value"))
            special.append(MetricPoint(**fields))
        else:
            plain.append(
                Point(fields["key"], fields.get("value"), fields["step"], fields["timestamp"])
            )
    if params:
        recorder.params(_mapping(params))
    if plain:
        recorder.points(plain)
    if special:
        recorder.step(LogPoints(run_id=recorder.run_id, metrics=tuple(special)))
    if tags:
        recorder.tags(_mapping(tags))
    return recorder.future(synchronous)


def set_tag(key: str, value: Any, synchronous: bool | None = None) -> RunOperations | None:
    """Set a tag, its value as text."""
    return log_batch(tags={key: value}, synchronous=synchronous)


def set_tags(tags: Mapping[str, Any], synchronous: bool | None = None) -> RunOperations | None:
    """Set several tags."""
    return log_batch(tags=tags, synchronous=synchronous)


def delete_tag(key: str) -> None:
    """Delete a tag.

    Raises:
        NotFound: The run has no such tag.
    """
    choice.client().delete_tag(recorder_of(None).run_id, key)


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
    recorder = recorder_of(None)
    recorder.step(
        LogInputs(
            run_id=recorder.run_id,
            datasets=tuple(inputs),
            models=tuple(model for model in models or () if model),
        )
    )


def log_outputs(models: Sequence[LoggedModelOutput] | None = None) -> None:
    """Record models that the run produced."""
    if models:
        recorder = recorder_of(None)
        recorder.step(LogOutputs(run_id=recorder.run_id, models=tuple(models)))


def alert(title: str, text: str = "", severity: str = "warn", run_id: str | None = None) -> None:
    """Tell people something about the run: an event ``run.alert.raised``, which webhooks and rules can follow.

    It goes through the journal, like metrics: the call does not wait, and what it accepted arrives once. A plain
    MLflow server has no alerts; there the last one is the run's tag ``headrace.alert.last``.

    Args:
        title: One line, 1 to 250 characters.
        text: More, at most 10,000 characters.
        severity: ``info``, ``warn``, ``error`` or ``critical``.
        run_id: Default: the active run.

    Raises:
        InvalidParameter: A title, text or severity that is not acceptable.
    """
    raise_alert(recorder_of(run_id), title, text, severity)


def seed(n: int) -> int:
    """Seed every random number generator there is, and keep the seed with the run, as tag ``headrace.seed``.

    Python's `random`, NumPy, PyTorch (all devices) and TensorFlow, where they are loaded, else when they
    are; ``PYTHONHASHSEED`` for processes started from here. JAX has no global generator: begin with
    ``jax.random.key(headrace.seed(n))``.

    Args:
        n: From 0 to 4,294,967,295.

    Returns:
        The same number.

    Raises:
        InvalidParameter: Another number.
    """
    from headrace.tracking.capture import seeds  # lazily: few runs set one

    seeds.seed(n)
    for recorder in _active():
        recorder.tags(seeds.tags())
    return n


def flush(timeout: float | None = None) -> bool:
    """Wait until everything that this process logged is durable in its store.

    Args:
        timeout: Seconds to wait at most. Default: as long as the store answers; it returns at once when
            the store is away.

    Returns:
        Whether it is. If not, it is safe in the journal and sent later.
    """
    return journals.flush(timeout)


def flush_async_logging() -> None:
    """Wait for what was logged: `flush` under MLflow's name."""
    journals.flush(None)


def flush_artifact_async_logging() -> None:
    """Wait for artifacts that were logged while the store was away, if it is back."""
    journals.flush(None)


def _mapping(values: Iterable[KeyValue] | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(values, Mapping):
        return values
    return {pair.key: pair.value for pair in values}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value
