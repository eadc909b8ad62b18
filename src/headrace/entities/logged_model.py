"""Logged model: what a run, or somebody outside of any run, made."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from headrace.entities.base import Entity, KeyValue, as_dict


class LoggedModelStatus(StrEnum):
    """Where a logged model stands.

    `READY` and `FAILED` are final words, though they may be changed: whoever logs a model anew says it again.
    """

    PENDING = "PENDING"
    READY = "READY"
    FAILED = "FAILED"


class LoggedModelState(StrEnum):
    """The same as MLflow's wire has it, in the order of its numbering, which starts at 1."""

    PENDING = "LOGGED_MODEL_PENDING"
    READY = "LOGGED_MODEL_READY"
    FAILED = "LOGGED_MODEL_UPLOAD_FAILED"


class LoggedModelMetric(Entity, frozen=True, kw_only=True, gc=False):
    """One point that was logged about a model, by a run, maybe on a data set; otherwise a `Metric`."""

    key: str
    value: float
    timestamp: int
    step: int = 0
    model_id: str
    run_id: str
    dataset_name: str | None = None
    dataset_digest: str | None = None


class LoggedModelInfo(Entity, frozen=True, kw_only=True):
    """What identifies a logged model. Times are milliseconds since the Unix epoch.

    ``digest`` is the SHA-256 of the model's folder (`headrace.models.hashing`), where the client that logged
    the model gave it. It never changes. MLflow's clients know no such thing.
    """

    model_id: str
    experiment_id: str
    name: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    artifact_uri: str
    status: LoggedModelState
    model_type: str = ""
    source_run_id: str = ""
    status_message: str = ""
    tag_list: tuple[KeyValue, ...] = msgspec.field(default=(), name="tags")
    digest: str = ""
    deleted: bool = False


class LoggedModelData(Entity, frozen=True, kw_only=True):
    """Params, and every point that was logged about the model."""

    param_list: tuple[KeyValue, ...] = msgspec.field(default=(), name="params")
    metrics: tuple[LoggedModelMetric, ...] = ()


class LoggedModel(Entity, frozen=True, kw_only=True):
    """A model of an experiment, with its own artifacts. The properties have MLflow's names."""

    info: LoggedModelInfo
    data: LoggedModelData = LoggedModelData()

    @property
    def model_id(self) -> str:
        """``m-`` and 32 hexadecimal digits."""
        return self.info.model_id

    @property
    def model_uri(self) -> str:
        """``models:/m-…``."""
        return f"models:/{self.info.model_id}"

    @property
    def experiment_id(self) -> str:
        """The experiment that it belongs to."""
        return self.info.experiment_id

    @property
    def name(self) -> str:
        """Its name; several models of an experiment may have the same."""
        return self.info.name

    @property
    def artifact_location(self) -> str:
        """URI of the folder with its files."""
        return self.info.artifact_uri

    @property
    def creation_timestamp(self) -> int:
        """When it was created."""
        return self.info.creation_timestamp_ms

    @property
    def last_updated_timestamp(self) -> int:
        """When its status changed last, or it was deleted."""
        return self.info.last_updated_timestamp_ms

    @property
    def model_type(self) -> str | None:
        """Whatever word its maker uses for this kind of model."""
        return self.info.model_type or None

    @property
    def source_run_id(self) -> str | None:
        """The run that made it."""
        return self.info.source_run_id or None

    @property
    def status(self) -> LoggedModelStatus:
        """Where it stands."""
        return LoggedModelStatus[self.info.status.name]

    @property
    def status_message(self) -> str | None:
        """More about the status."""
        return self.info.status_message or None

    @property
    def digest(self) -> str | None:
        """SHA-256 of its folder, if whoever logged it gave it."""
        return self.info.digest or None

    @property
    def tags(self) -> dict[str, str]:
        """Value by tag key."""
        return as_dict(self.info.tag_list)

    @property
    def params(self) -> dict[str, str]:
        """Value by param key."""
        return as_dict(self.data.param_list)

    @property
    def metrics(self) -> tuple[LoggedModelMetric, ...]:
        """Every point that was logged about it, by key, time and step."""
        return self.data.metrics
