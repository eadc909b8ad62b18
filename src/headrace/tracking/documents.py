"""Artifacts of the active run. Paths are POSIX and relative to the run's artifact root."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import IO, Any

from headrace.client.base import RunOperations
from headrace.tracking.active import active_or_new
from headrace.tracking.choice import choice, experiment_id


def log_artifact(
    local_path: str | os.PathLike[str],
    artifact_path: str | None = None,
    run_id: str | None = None,
) -> None:
    """Copy a local file (or folder, under its name) into a folder of the run's artifacts."""
    choice.client().log_artifact(_run(run_id), local_path, artifact_path)


def log_artifacts(
    local_dir: str | os.PathLike[str],
    artifact_path: str | None = None,
    run_id: str | None = None,
) -> None:
    """Copy what is in a local folder, at any depth, into a folder of the run's artifacts."""
    choice.client().log_artifacts(_run(run_id), local_dir, artifact_path)


def log_text(text: str, artifact_file: str, run_id: str | None = None) -> None:
    """Write text, in UTF-8."""
    choice.client().log_text(_run(run_id), text, artifact_file)


def log_dict(dictionary: Any, artifact_file: str, run_id: str | None = None) -> None:
    """Write a dictionary or list: as YAML for ``.yml`` and ``.yaml``, else as JSON."""
    choice.client().log_dict(_run(run_id), dictionary, artifact_file)


def log_stream(stream: IO[bytes], artifact_file: str, run_id: str | None = None) -> None:
    """Write what a binary stream yields."""
    choice.client().log_stream(_run(run_id), stream, artifact_file)


def log_figure(
    figure: Any, artifact_file: str, *, save_kwargs: dict[str, Any] | None = None
) -> None:
    """Write a matplotlib or plotly figure in the format that the file's extension names."""
    choice.client().log_figure(_run(None), figure, artifact_file, save_kwargs=save_kwargs)


def log_image(
    image: Any,
    artifact_file: str | None = None,
    key: str | None = None,
    step: int | None = None,
    timestamp: int | None = None,
    synchronous: bool | None = None,
) -> RunOperations | None:
    """Write an image, alone (``artifact_file``) or as one of a series (``key``, ``step``)."""
    return choice.client().log_image(
        _run(None), image, artifact_file, key, step, timestamp, synchronous
    )


def log_table(data: Mapping[str, Any] | Any, artifact_file: str, run_id: str | None = None) -> None:
    """Write a table (a pandas frame or a dictionary of columns), or append to it."""
    choice.client().log_table(_run(run_id), data, artifact_file)


def load_table(
    artifact_file: str,
    run_ids: Sequence[str] | None = None,
    extra_columns: Sequence[str] | None = None,
) -> Any:
    """The tables of that name of the active experiment's runs; see `Client.load_table`."""
    return choice.client().load_table(experiment_id(), artifact_file, run_ids, extra_columns)


def get_artifact_uri(artifact_path: str | None = None) -> str:
    """URI of the active run's artifact root, or of a path below it."""
    root = active_or_new().info.artifact_uri.rstrip("/")
    return f"{root}/{artifact_path.strip('/')}" if artifact_path else root


def _run(run_id: str | None) -> str:
    return run_id or active_or_new().info.run_id
