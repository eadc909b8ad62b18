"""Datasets that a run read."""

from __future__ import annotations

from headrace.entities.base import Entity, KeyValue


class Dataset(Entity, frozen=True, kw_only=True):
    """A data set, known within an experiment by (name, digest). All fields are opaque text."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


class DatasetInput(Entity, frozen=True, kw_only=True):
    """A data set as one run used it; the tag ``mlflow.data.context`` says for what."""

    tags: tuple[KeyValue, ...] = ()
    dataset: Dataset
