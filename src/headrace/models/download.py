"""From the address of a model to its folder on this machine, and back.

A model's location is looked up in the registry, among the logged models, or below a run. What lies on this machine is
used where it is; anything else is downloaded whole, beside its place, and then put there by one rename.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import posixpath
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.artifacts import artifact_path
from headrace.artifacts.local import LocalArtifacts
from headrace.client import transfer
from headrace.client.client import Client
from headrace.errors import EndpointNotFound, InvalidParameter, NotFound, Unsupported
from headrace.protocol.model_uris import Kind, ModelUri, parse_model_uri

if TYPE_CHECKING:
    from headrace.artifacts import ArtifactStore
    from headrace.entities import LoggedModel, ModelVersion

#: A version's source may be another model's address; so many may follow on one another.
_HOPS = 8
#: Ends of the names of folders that are not whole yet.
_PARTIAL = ".headrace-part"


class Located(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model is.

    Attributes:
        uri: As it was asked for.
        location: URI or path of the folder.
        version: The version, where the registry was asked.
        model_id: The logged model, where it is known.
        run_id: The run that made it, where it is known.
        digest: ``sha256:…`` of the folder, where it was recorded; None too for a path within it.
    """

    uri: str
    location: str
    version: ModelVersion | None = None
    model_id: str | None = None
    run_id: str | None = None
    digest: str | None = None


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A model's folder on this machine, and where it came from."""

    folder: Path
    located: Located

    @property
    def digest(self) -> str | None:
        """What the folder's digest was recorded to be."""
        return self.located.digest


def locate_model(uri: str | os.PathLike[str], *, client: Client) -> Located:
    """Find out where a model is, and what is recorded of it. Nothing of it is read.

    Args:
        uri: Any of the forms in `headrace.protocol.model_uris`.
        client: Of the store that has the models and runs.

    Raises:
        InvalidParameter: It is no address of a model.
        NotFound: There is no such version, logged model or run.
    """
    parsed = parse_model_uri(uri)
    return msgspec.structs.replace(_located(client, parsed, _HOPS), uri=os.fspath(uri))


def fetch_model(
    uri: str | os.PathLike[str], *, client: Client, dst_path: str | os.PathLike[str] | None = None
) -> Fetched:
    """Bring a model's folder here.

    Args:
        uri: Any of the forms in `headrace.protocol.model_uris`.
        client: Of the store that has the models and runs.
        dst_path: A folder that is not there, or is empty: the model's files are put in it. Default: where the
            model lies on this machine, that folder itself; else a new temporary one, removed when the process ends.

    Returns:
        The folder, whole: a download that is cut leaves nothing. It is not checked against its digest.

    Raises:
        InvalidParameter: It is no address of a model, or the folder is not empty.
        NotFound: There is no such model, or nothing where it should be.
        Unavailable: The store cannot be reached after several tries.
    """
    located = locate_model(uri, client=client)
    store = client.artifacts_at(located.location)
    if isinstance(store, LocalArtifacts) and not store.root.is_dir():
        raise nothing_at(located)
    if isinstance(store, LocalArtifacts) and dst_path is None:
        return Fetched(folder=store.root, located=located)
    folder = _temporary() if dst_path is None else Path(dst_path)
    _download(store, folder, located)
    return Fetched(folder=folder, located=located)


def download_model(
    uri: str | os.PathLike[str], *, client: Client, dst_path: str | os.PathLike[str] | None = None
) -> Path:
    """The folder of `fetch_model` alone."""
    return fetch_model(uri, client=client, dst_path=dst_path).folder


def upload_model(client: Client, folder: str | os.PathLike[str], location: str) -> None:
    """Copy a model's folder to where it belongs, such as a logged model's ``artifact_location``.

    Raises:
        NotADirectoryError: No such folder here.
        Unavailable: The store cannot be reached after several tries.
    """
    transfer.upload_dir(client.artifacts_at(location), folder)


def nothing_at(located: Located) -> NotFound:
    """The error for a place that has no model."""
    uri, location = located.uri, located.location
    if uri != location:
        return NotFound(f"There is no model at {location}, where '{uri}' should be.")
    hint = ""
    if not set("/\\:@").intersection(uri):
        hint = f" A registered model's version is models:/{uri}/1, models:/{uri}@alias or models:/{uri}/latest."
    return NotFound(f"There is no folder '{uri}' with a model.{hint}")


def _located(client: Client, uri: ModelUri, hops: int) -> Located:
    if uri.registered:
        try:
            return _of_registry(client, uri, hops)
        except NotFound:
            decoded = uri.decoded
            if decoded is None:
                raise
        return _of_registry(client, decoded, hops)
    if uri.kind is Kind.LOGGED:
        return _of_logged(client.get_logged_model(uri.model_id))
    if uri.kind is Kind.RUN:
        return _of_run(client, uri)
    return Located(uri=str(uri), location=uri.location)


def _of_registry(client: Client, uri: ModelUri, hops: int) -> Located:
    if not hops:
        raise InvalidParameter(
            f"'{uri}' is a copy of a copy of a copy, or of itself: no end is in sight."
        )
    version = _version(client, uri)
    source = client.get_model_version_download_uri(version.name, version.version)
    inner = _located(client, parse_model_uri(source), hops - 1)
    return Located(
        uri=str(uri),
        location=_within(inner.location, uri.path),
        version=version,
        model_id=version.model_id or inner.model_id,
        run_id=version.run_id or inner.run_id,
        digest=None if uri.path else version.digest or inner.digest,
    )


def _version(client: Any, uri: ModelUri) -> ModelVersion:
    """The version that an address names."""
    found: ModelVersion
    if uri.kind is Kind.VERSION:
        found = client.get_model_version(uri.name, uri.version)
        return found
    if uri.kind is Kind.ALIAS:
        try:
            found = client.get_model_version_by_alias(uri.name, uri.alias)
        except InvalidParameter:  # MLflow's code for an alias that is not there
            if uri.alias in client.get_registered_model(uri.name).aliases:
                raise
            raise NotFound(
                f"The registered model '{uri.name}' has no alias '{uri.alias}'."
            ) from None
        return found
    stages = [uri.stage] if uri.kind is Kind.STAGE else None
    versions = client.get_latest_versions(uri.name, stages)
    if not versions:
        where = f" in stage '{uri.stage}'" if stages else ""
        raise NotFound(f"The registered model '{uri.name}' has no version{where}.")
    found = max(versions, key=lambda one: int(one.version))
    return found


def _of_logged(model: LoggedModel) -> Located:
    return Located(
        uri=model.model_uri,
        location=model.artifact_location,
        model_id=model.model_id,
        run_id=model.source_run_id,
        digest=model.digest,
    )


def _of_run(client: Client, uri: ModelUri) -> Located:
    """A logged model that the run made, by its name; else a folder of the run's artifacts."""
    run = client.get_run(uri.run_id)
    name, _, rest = uri.path.partition("/")
    model = _made_by(client, run.info.experiment_id, uri.run_id, name) if name else None
    if model is not None:
        found = _of_logged(model)
        return msgspec.structs.replace(
            found,
            location=_within(found.location, rest),
            digest=None if rest else found.digest,
        )
    location = _within(run.info.artifact_uri, uri.path)
    return Located(uri=str(uri), location=location, run_id=uri.run_id)


def _made_by(client: Client, experiment_id: str, run_id: str, name: str) -> LoggedModel | None:
    """The newest logged model of that name that a run made."""
    if not set("/:.%\"'").isdisjoint(name):
        return None  # no logged model has such a name
    try:
        found = client.search_logged_models(
            [experiment_id], f"name = '{name}' AND source_run_id = '{run_id}'", max_results=1
        )
    except (EndpointNotFound, Unsupported):  # a server of a time before logged models
        return None
    return next(iter(found), None)


def _within(location: str, path: str) -> str:
    """A folder below a location."""
    if not path:
        return location
    path = artifact_path(path)
    if location.startswith(("file:", "mlflow-artifacts:")):  # the others take paths as they are
        from urllib.parse import quote

        path = quote(path)
    return posixpath.join(location, path)


def _download(store: ArtifactStore, folder: Path, located: Located) -> None:
    """All files of a store into a folder that is new or empty; there is nothing in it until all is there."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow symlinks
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidParameter(
            f"'{folder}' is not empty: give a folder that is empty, or not there, to put the model in."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name[:100]}-{secrets.token_hex(6)}{_PARTIAL}")
    try:
        transfer.download(store, "", partial)
        if not any(partial.iterdir()):
            raise nothing_at(located)
        partial.replace(folder)  # an empty folder may be replaced
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _temporary() -> Path:
    """A new folder that goes when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-model-"))
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, pid: int) -> None:
    if pid == os.getpid():  # a forked child leaves it to its parent
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
