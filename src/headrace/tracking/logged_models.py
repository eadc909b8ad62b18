"""Logged models of the fluent API, under MLflow's names."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from headrace.client.tables import has_pandas
from headrace.entities import LoggedModel, LoggedModelStatus
from headrace.errors import InvalidParameter
from headrace.tracking.active import active_run
from headrace.tracking.active_model import current as active_model
from headrace.tracking.active_model import get_active_model_id
from headrace.tracking.choice import choice, experiment_id, get_tracking_uri
from headrace.tracking.origin import default_tags

EXTERNAL_TAG = "mlflow.model.isExternal"

_log = logging.getLogger("headrace")

_PAGE = 1000
#: The store's address, and the model's id.
_last: ContextVar[tuple[str, str] | None] = ContextVar("headrace_last_logged_model", default=None)


class ActiveModel(LoggedModel, frozen=True):
    """A logged model that was made the active one; leaving its block makes active what was so before."""

    before: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        active_model.set(self.before)


def initialize_logged_model(
    name: str | None = None,
    source_run_id: str | None = None,
    tags: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    model_type: str | None = None,
    experiment_id: str | None = None,
) -> LoggedModel:
    """Create a logged model that waits for its files: its status is PENDING until `finalize_logged_model`.

    Args:
        name: Without any of ``/ : . % " '``; default: a random one.
        source_run_id: The run that made it; default: the active run.
        tags: More tags than those that say who made it, where.
        params: Values are taken as text.
        model_type: A word for this kind of model, to find it by.
        experiment_id: Default: the active run's, else the chosen one.
    """
    model = _created(name, source_run_id, tags, params, model_type, experiment_id)
    note_logged_model(model.model_id)
    return model


def create_external_model(
    name: str | None = None,
    source_run_id: str | None = None,
    tags: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    model_type: str | None = None,
    experiment_id: str | None = None,
) -> LoggedModel:
    """Create a logged model whose files are kept elsewhere; it is READY at once.

    Its only file is an ``MLmodel`` that says so. Arguments as for `initialize_logged_model`.
    """
    tags = {**(tags or {}), EXTERNAL_TAG: "true"}
    model = _created(name, source_run_id, tags, params, model_type, experiment_id)
    client = choice.client()
    with tempfile.TemporaryDirectory(prefix="headrace-model-") as folder:
        file = Path(folder, "MLmodel")
        file.write_text(_external(model), encoding="utf-8")
        client.log_model_artifact(model.model_id, file)
    model = client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    note_logged_model(model.model_id)
    return model


def set_active_model(*, name: str | None = None, model_id: str | None = None) -> ActiveModel:
    """Make a logged model the active one, from here on or for a ``with`` block.

    Args:
        name: The newest model of that name in the chosen experiment; where there is none it is made, as an
            external one.
        model_id: A model that is there.

    Raises:
        InvalidParameter: Neither is given, or the model of that id has another name.
        NotFound: There is no model of that id.
    """
    client = choice.client()
    if model_id is not None:
        model = client.get_logged_model(model_id)
        if name is not None and model.name != name:
            raise InvalidParameter(
                f"The logged model '{model_id}' is called '{model.name}', not '{name}': give one of both."
            )
    elif name is not None:
        found = (
            client.search_logged_models([experiment_id()], f"name = '{name}'", max_results=2)
            if "'" not in name  # there is none; making it says so
            else ()
        )
        if len(found) > 1:
            _log.warning("There are several logged models named '%s'; the newest is active.", name)
        model = found[0] if found else create_external_model(name=name)
    else:
        raise InvalidParameter("Give the name of a model, or its model_id, to make it active.")
    before = get_active_model_id()
    active_model.set(model.model_id)
    return ActiveModel(info=model.info, data=model.data, before=before)


def finalize_logged_model(model_id: str, status: LoggedModelStatus | str) -> LoggedModel:
    """Say how logging a model went: READY or FAILED."""
    return choice.client().finalize_logged_model(model_id, status)


def get_logged_model(model_id: str) -> LoggedModel:
    """A logged model with params, tags and all that was logged about it.

    Raises:
        NotFound: There is none of that id, or it is deleted.
    """
    return choice.client().get_logged_model(model_id)


def last_logged_model() -> LoggedModel | None:
    """The logged model that was made last in this context and in the store that is chosen; None when none was."""
    last = _last.get()
    if last is None or last[0] != get_tracking_uri():
        return None
    return get_logged_model(last[1])


def note_logged_model(model_id: str) -> None:
    """Make a model the one that `last_logged_model` gives; for whoever logs one by another way."""
    _last.set((get_tracking_uri(), model_id))


def set_logged_model_tags(model_id: str, tags: Mapping[str, Any]) -> None:
    """Set tags of a logged model, their values as text."""
    choice.client().set_logged_model_tags(model_id, tags)


def delete_logged_model_tag(model_id: str, key: str) -> None:
    """Delete a tag of a logged model.

    Raises:
        NotFound: The model has no such tag.
    """
    choice.client().delete_logged_model_tag(model_id, key)


def delete_logged_model(model_id: str) -> None:
    """Put a logged model into the trash."""
    choice.client().delete_logged_model(model_id)


def log_model_params(params: Mapping[str, Any], model_id: str | None = None) -> None:
    """Log params of a logged model, their values as text.

    Args:
        params: Values by key.
        model_id: Default: the active model.

    Raises:
        InvalidParameter: The model has one of them with another value, or there is no model.
    """
    model_id = model_id or get_active_model_id()
    if model_id is None:
        raise InvalidParameter("No model is active: give model_id, or call set_active_model first.")
    choice.client().log_model_params(model_id, params)


def search_logged_models(
    experiment_ids: Sequence[str] | None = None,
    filter_string: str | None = None,
    datasets: Sequence[Mapping[str, Any]] | None = None,
    max_results: int | None = None,
    order_by: Sequence[Mapping[str, Any]] | None = None,
    output_format: Literal["pandas", "list"] = "pandas",
) -> Any:
    """Search logged models; arguments as for `headrace.Client.search_logged_models`.

    Args:
        experiment_ids: Where to look; default the chosen experiment.
        filter_string: ``metrics.acc > 0.9 AND name = 'm'``.
        datasets: On which metrics count.
        max_results: At most so many; default all.
        order_by: What to order by; default the newest first.
        output_format: ``pandas`` or ``list``.

    Returns:
        For ``list``: a list of `LoggedModel`. For ``pandas``: a frame with a column for each of its properties;
        where pandas is not installed, a list of dictionaries of the same.
    """
    if output_format not in ("pandas", "list"):
        raise InvalidParameter(f"Unknown output_format '{output_format}': use 'pandas' or 'list'.")
    ids = [str(one) for one in experiment_ids] if experiment_ids else [experiment_id()]
    models: list[LoggedModel] = []
    token: str | None = None
    while max_results is None or len(models) < max_results:
        size = _PAGE if max_results is None else min(_PAGE, max_results - len(models))
        page = choice.client().search_logged_models(
            ids, filter_string, datasets, size, order_by, token
        )
        models.extend(page)
        token = page.token
        if token is None:
            break
    if output_format == "list":
        return models
    records = [_record(model) for model in models]
    if not has_pandas():
        return records
    import pandas as pd

    return pd.DataFrame(records, columns=None if records else list(_COLUMNS))


_COLUMNS = (
    "artifact_location",
    "creation_timestamp",
    "experiment_id",
    "last_updated_timestamp",
    "metrics",
    "model_id",
    "model_type",
    "name",
    "params",
    "source_run_id",
    "status",
    "status_message",
    "tags",
    "digest",
)


def _record(model: LoggedModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in _COLUMNS}


def _created(
    name: str | None,
    source_run_id: str | None,
    tags: Mapping[str, Any] | None,
    params: Mapping[str, Any] | None,
    model_type: str | None,
    experiment: str | None,
) -> LoggedModel:
    run = active_run()
    client = choice.client()
    if source_run_id is None and run is not None:
        source_run_id = run.info.run_id
    if experiment is None:
        experiment = experiment_id() if run is None else run.info.experiment_id
    return client.create_logged_model(
        experiment, name, source_run_id, {**default_tags(), **(tags or {})}, params, model_type
    )


def _external(model: LoggedModel) -> str:
    """An MLmodel without a flavor: MLflow's registry asks for one."""
    import yaml

    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    fields: dict[str, Any] = {
        "artifact_path": model.artifact_location,
        "flavors": {},
        "model_id": model.model_id,
        "model_uuid": model.model_id,
        "utc_time_created": made,
        "metadata": {EXTERNAL_TAG: True},
    }
    if model.source_run_id:
        fields["run_id"] = model.source_run_id
    return str(yaml.safe_dump(fields, sort_keys=False))
