"""Reading artifacts by their address, under the names of ``mlflow.artifacts``.

An address is ``runs:/<run_id>/<path>``, or any URI that artifacts lie at: a path, ``file://``, ``s3://``,
``gs://``, ``az://``, ``mlflow-artifacts:``.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from headrace.client.files import download
from headrace.entities import FileInfo
from headrace.errors import InvalidParameter
from headrace.tracking.choice import choice

if TYPE_CHECKING:
    import PIL.Image

    from headrace.artifacts import ArtifactStore

__all__ = ["download_artifacts", "list_artifacts", "load_dict", "load_image", "load_text"]


def download_artifacts(
    artifact_uri: str | None = None,
    run_id: str | None = None,
    artifact_path: str | None = None,
    dst_path: str | os.PathLike[str] | None = None,
    tracking_uri: str | None = None,
) -> str:
    """Bring a file or folder here; its local path.

    Args:
        artifact_uri: Its address. Or give ``run_id``.
        run_id: The run whose artifact it is.
        artifact_path: Path in the run's artifacts; default all of them.
        dst_path: Folder to put it into, made if missing. Default: a new temporary folder; for what lies
            on this machine, its own place, without a copy.
        tracking_uri: The run's store; default the one that was set.

    Raises:
        NotFound: No such artifact.
        InvalidParameter: Both or neither of ``artifact_uri`` and ``run_id``.
    """
    store, path = _place(artifact_uri, run_id, artifact_path, tracking_uri)
    if dst_path is not None:
        os.makedirs(dst_path, exist_ok=True)  # noqa: PTH103 - any path-like
    return download(store, path, dst_path)


def list_artifacts(
    artifact_uri: str | None = None,
    run_id: str | None = None,
    artifact_path: str | None = None,
    tracking_uri: str | None = None,
) -> list[FileInfo]:
    """The direct children of a folder, with paths relative to the root of its run (or of the URI)."""
    store, path = _place(artifact_uri, run_id, artifact_path, tracking_uri, folder=True)
    return store.list(path)


def load_text(artifact_uri: str) -> str:
    """A text file's content.

    Raises:
        InvalidParameter: It is not UTF-8.
    """
    store, path = _place(artifact_uri, None, None, None)
    with store.read(path) as content:
        try:
            return content.read().decode()
        except UnicodeDecodeError:
            raise InvalidParameter(
                f"'{artifact_uri}' is not text in UTF-8; get it with download_artifacts."
            ) from None


def load_dict(artifact_uri: str) -> Any:
    """What a JSON file (or, with that extension, YAML file) says.

    Raises:
        InvalidParameter: It does not parse.
    """
    text = load_text(artifact_uri)
    try:
        if artifact_uri.lower().endswith((".yml", ".yaml")):
            import yaml  # lazily: seldom needed

            return yaml.safe_load(text)
        return json.loads(text)
    except ValueError as error:
        raise InvalidParameter(f"'{artifact_uri}' is not JSON: {error}.") from None


def load_image(artifact_uri: str) -> PIL.Image.Image:
    """An image file as a Pillow image. Needs Pillow."""
    import io

    import PIL.Image

    store, path = _place(artifact_uri, None, None, None)
    with store.read(path) as content:
        return PIL.Image.open(io.BytesIO(content.read()))


def _place(
    artifact_uri: str | None,
    run_id: str | None,
    artifact_path: str | None,
    tracking_uri: str | None,
    *,
    folder: bool = False,
) -> tuple[ArtifactStore, str]:
    """The store that an artifact lies in, and its path there."""
    if (artifact_uri is None) == (run_id is None):
        raise InvalidParameter("Give artifact_uri, or run_id with artifact_path; not both.")
    client = choice.client(tracking_uri)
    if run_id is not None:
        return client.artifacts_of(run_id), artifact_path or ""
    assert artifact_uri is not None
    if artifact_path is not None:
        raise InvalidParameter("artifact_path goes with run_id; append it to artifact_uri instead.")
    if artifact_uri.startswith("runs:/"):
        run, _, path = artifact_uri.removeprefix("runs:").strip("/").partition("/")
        return client.artifacts_of(run), path
    if folder:
        return client.artifacts_at(artifact_uri), ""
    root, _, name = artifact_uri.rstrip("/").rpartition("/")
    return client.artifacts_at(root), name
