"""Models into a tracking store: a folder becomes a logged model, and a version of a registered one.

The order is MLflow's, so that a half-logged model is never taken for a whole one: the logged model is created
(PENDING), its folder written and uploaded, the model finalized (READY, or FAILED), noted as an output of its
run, registered.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.entities import LoggedModelOutput
from headrace.errors import AlreadyExists, HeadraceError
from headrace.models import produced
from headrace.models.download import upload_model
from headrace.models.hashing import folder_digest as folder_digest
from headrace.models.mlmodel import FILE_NAME, MLModel

if TYPE_CHECKING:
    from headrace.client import Client
    from headrace.entities import LoggedModel, ModelVersion
    from headrace.models.signature import ModelSignature


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was logged. The names are MLflow's, ``digest`` apart.

    Attributes:
        model_uri: ``models:/m-…``, or ``runs:/…`` where the store has no logged models or was away.
        model_id: Its id as a logged model.
        name: Its name.
        run_id: The run that made it, if one did.
        artifact_path: URI of its folder.
        digest: SHA-256 of its folder; what whoever loads it can compare. None where none was recorded.
        model: What its ``MLmodel`` says.
        registered_model_version: Number of the version, if it was registered.
    """

    model_uri: str
    model_id: str | None
    name: str
    run_id: str | None
    artifact_path: str
    digest: str | None
    model: MLModel
    registered_model_version: int | None = None

    @property
    def flavors(self) -> dict[str, Any]:
        """What each flavor needs to open it, by the flavor's name."""
        return self.model.flavors

    @property
    def signature(self) -> ModelSignature | None:
        """What it takes and gives."""
        return self.model.signature

    @property
    def metadata(self) -> dict[str, Any] | None:
        """The user's own."""
        return self.model.metadata

    @property
    def saved_input_example_info(self) -> dict[str, Any] | None:
        """Where its input example is."""
        return self.model.saved_input_example_info

    @property
    def utc_time_created(self) -> str | None:
        """When it was saved."""
        return self.model.utc_time_created

    @property
    def mlflow_version(self) -> str | None:
        """The release of MLflow whose format it has."""
        return self.model.mlflow_version

    @property
    def model_uuid(self) -> str | None:
        """The same as ``model_id``, under the name that older MLflow has."""
        return self.model.model_uuid


def log_model(
    client: Client,
    make: Callable[[Path], MLModel],
    name: str,
    *,
    experiment_id: str,
    run_id: str | None = None,
    model_id: str | None = None,
    model_type: str | None = None,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    step: int = 0,
    registered_model_name: str | None = None,
) -> ModelInfo:
    """Log a model.

    Args:
        client: Of the store.
        make: Writes the model into a folder that is not there yet, such as a call of ``save_model``.
        name: The logged model's name.
        experiment_id: Where it belongs.
        run_id: The run that made it.
        model_id: A logged model that is there already and waits for its files; else one is created.
        model_type: Any word.
        params: Of the logged model.
        tags: Of the logged model.
        step: Of the run, at which the model was made.
        registered_model_name: Register it under this name too; the registered model is made if need be.

    Raises:
        Unavailable: The store is away.
        InvalidParameter: A name that cannot be, or a model that cannot be saved.
    """
    if model_id is None:
        logged = client.create_logged_model(
            experiment_id,
            name,
            source_run_id=run_id,
            tags=_texts(tags),
            params=_texts(params),
            model_type=model_type,
        )
    else:
        logged = client.get_logged_model(model_id)
    with tempfile.TemporaryDirectory(prefix="headrace-model-") as temporary:
        folder = Path(temporary) / "model"
        try:
            model, digest = _written(make, folder, logged, run_id)
            upload_model(client, folder, logged.artifact_location)
        except BaseException:  # says how it went, raises again
            with contextlib.suppress(HeadraceError):
                client.finalize_logged_model(logged.model_id, "FAILED")
            raise
    client.finalize_logged_model(logged.model_id, "READY", digest=digest)
    if run_id is not None:
        client.log_outputs(run_id, [LoggedModelOutput(model_id=logged.model_id, step=step)])
    info = ModelInfo(
        model_uri=logged.model_uri,
        model_id=logged.model_id,
        name=logged.name,
        run_id=run_id,
        artifact_path=logged.artifact_location,
        digest=digest,
        model=model,
    )
    if registered_model_name is None:
        return info
    version = register(
        client,
        registered_model_name,
        info.model_uri,
        run_id=run_id,
        model_id=info.model_id,
        digest=digest,
    )
    return msgspec.structs.replace(info, registered_model_version=int(version.version))


def register(
    client: Client,
    name: str,
    source: str,
    *,
    run_id: str | None = None,
    model_id: str | None = None,
    digest: str | None = None,
    tags: Mapping[str, Any] | None = None,
) -> ModelVersion:
    """Make a version of a registered model, and the registered model if there is none.

    Args:
        client: Of the store.
        name: Of the registered model.
        source: URI of the model.
        run_id: The run that made it.
        model_id: Its logged model.
        digest: SHA-256 of its folder; whoever loads the version compares it.
        tags: Of the version.
    """
    with contextlib.suppress(AlreadyExists):
        client.create_registered_model(name)
    return client.create_model_version(
        name, source, run_id=run_id, tags=_texts(tags), model_id=model_id, digest=digest
    )


class Copied:
    """For `log_model`: a folder that was saved before. Files are linked where they can be, else copied.

    Attributes:
        own: Whether this user saved it on this machine. A stranger's does not become his own by being logged.
    """

    def __init__(self, source: Path) -> None:
        self.own = False
        self._source = source

    def __call__(self, folder: Path) -> MLModel:
        model = MLModel.read(self._source)
        shutil.copytree(self._source, folder, symlinks=True, copy_function=_link)
        self.own = produced.is_produced(folder_digest(folder).hash)
        # Or writing the new MLmodel would write into the one that it was linked to.
        (folder / FILE_NAME).unlink()
        return model


def _written(
    make: Callable[[Path], MLModel], folder: Path, logged: LoggedModel, run_id: str | None
) -> tuple[MLModel, str]:
    """Write the folder, its MLmodel naming the logged model; that and the folder's digest."""
    model = make(folder)
    model.model_id = model.model_uuid = logged.model_id
    model.run_id = run_id
    model.artifact_path = logged.artifact_location
    model.write(folder)
    digest = folder_digest(folder).hash
    if not isinstance(make, Copied) or make.own:
        produced.remember(digest)
    return model, digest


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _texts(values: Mapping[str, Any] | None) -> dict[str, str]:
    return {key: str(value) for key, value in (values or {}).items()}
