"""Models, logged to the active run and loaded from the chosen store, under MLflow's names."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from headrace.errors import InvalidParameter, Unavailable
from headrace.tracking.active import active_run
from headrace.tracking.choice import choice, experiment_id
from headrace.tracking.logged_models import note_logged_model

if TYPE_CHECKING:
    from headrace.entities import ModelVersion
    from headrace.models.logging import ModelInfo
    from headrace.models.mlmodel import MLModel
    from headrace.models.policy import Policy

__all__ = ["load_model", "log_model", "register_model"]

_log = logging.getLogger("headrace")


def log_model(
    model: Any,
    name: str | None = None,
    *,
    artifact_path: str | None = None,
    flavor: str | None = None,
    registered_model_name: str | None = None,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    model_type: str | None = None,
    step: int = 0,
    model_id: str | None = None,
    run_id: str | None = None,
    await_registration_for: int | None = None,
    **saving: Any,
) -> ModelInfo:
    """Save a model, upload it, and note it as an output of the active run, if there is one.

    While the store is away the model is kept in the journal as files of the run, ``runs:/<run id>/<name>``, and is
    uploaded when the store is back; it is no logged model then, and is not registered.

    Args:
        model: Of a library that has a flavor, a `headrace.models.PythonModel`, a function, or the path of a
            Python file that calls ``set_model``.
        name: The logged model's name; default ``model``.
        artifact_path: The same under its older name.
        flavor: How to save it; default: the flavor that claims it.
        registered_model_name: Register it under this name too.
        params: Of the logged model; default: those of the run.
        tags: Of the logged model.
        model_type: Any word.
        step: Of the run, at which the model was made.
        model_id: A logged model that is there already and waits for its files.
        run_id: Another run than the active one.
        await_registration_for: Taken as MLflow takes it; there is nothing to wait for.
        saving: As `headrace.models.save_model`: ``signature``, ``input_example``, ``pip_requirements``, …, and the flavor's own.

    Raises:
        InvalidParameter: No flavor claims the model, an option that it does not know, or a name that cannot be.
    """
    from headrace.models import logging as models
    from headrace.models.saving import save_model

    def make(folder: Path) -> MLModel:
        return save_model(model, folder, flavor=flavor, **saving)

    name = name or artifact_path or "model"
    run = active_run()
    if run_id is None and run is not None:
        run_id = run.info.run_id
    client = choice.client()
    try:
        if run_id is None:
            experiment = experiment_id()
        else:
            found = client.get_run(run_id)
            experiment = found.info.experiment_id
            params = {**found.data.params, **(params or {})}
        info = models.log_model(
            client,
            make,
            name,
            experiment_id=experiment,
            run_id=run_id,
            model_id=model_id,
            model_type=model_type,
            params=params,
            tags=tags,
            step=step,
            registered_model_name=registered_model_name,
        )
        if info.model_id:
            note_logged_model(info.model_id)
        return info
    except Unavailable as error:
        if run_id is None:
            raise
        with tempfile.TemporaryDirectory(prefix="headrace-model-") as temporary:
            folder = Path(temporary) / "model"
            written = make(folder)
            digest = models.folder_digest(folder).hash
            client.log_artifacts(run_id, folder, name)
        _log.warning(
            "%s Model '%s' is kept as files of run %s and is sent when the store is back%s.",
            error.message,
            name,
            run_id,
            "; register it then" if registered_model_name else "",
        )
        return models.ModelInfo(
            model_uri=f"runs:/{run_id}/{name}",
            model_id=None,
            name=name,
            run_id=run_id,
            artifact_path=f"runs:/{run_id}/{name}",
            digest=digest,
            model=written,
        )


def load_model(
    model_uri: str | os.PathLike[str],
    *,
    as_: Literal["pyfunc", "native"] = "pyfunc",
    flavor: str | None = None,
    policy: Policy | None = None,
    allow: Iterable[str] = (),
    dst_path: str | os.PathLike[str] | None = None,
    model_config: Any = None,
) -> Any:
    """Open a model: parse, audit, and only then build. docs/models-safety.md says what is refused, and when.

    Args:
        model_uri: ``models:/name/3``, ``models:/name@alias``, ``models:/name/Stage``, ``models:/m-…``,
            ``runs:/<run id>/<name>``, a folder, or the URI of one.
        as_: ``pyfunc`` for something with ``predict(data)``, whatever the library; ``native`` for the library's own.
        flavor: Which of the model's flavors to open natively; default the library's own.
        policy: What may be opened; default: that of the environment and of the user's file.
        allow: Formats that may be opened besides, such as ``pickle``.
        dst_path: Folder to download it into. Default: a temporary one, and none at all for what lies on this machine.
        model_config: In place of the configuration that the model was saved with.

    Raises:
        PolicyViolation: The policy forbids it; nothing of the model was opened.
        InvalidModel: It is not a model, or not a whole one.
        NotFound: There is none at that address.
    """
    from headrace.models.download import fetch_model
    from headrace.models.loading import load_folder

    fetched = fetch_model(str(model_uri), client=choice.client(), dst_path=dst_path)
    return load_folder(
        fetched.folder,
        as_=as_,
        flavor=flavor,
        policy=policy,
        allow=allow,
        digest=fetched.digest,
        model_config=model_config,
    )


def register_model(
    model_uri: str,
    name: str,
    await_registration_for: int | None = None,
    *,
    tags: Mapping[str, Any] | None = None,
) -> ModelVersion:
    """Make a version of a registered model from a model that was logged; the registered model is made if need be.

    Args:
        model_uri: ``models:/m-…``, ``runs:/<run id>/<name>``, another version, or the URI of a folder.
        name: The registered model.
        await_registration_for: Taken as MLflow takes it; there is nothing to wait for.
        tags: Of the version.

    Raises:
        NotFound: There is no such model.
    """
    from headrace.models.download import locate_model
    from headrace.models.logging import register

    client = choice.client()
    found = locate_model(model_uri, client=client)
    return register(
        client,
        name,
        model_uri,
        run_id=found.run_id,
        model_id=found.model_id,
        digest=found.digest,
        tags=tags,
    )


class Face:
    """One flavor under the names of MLflow's module: ``headrace.sklearn.log_model`` and its like."""

    def __init__(self, flavor: str, keyword: str, *, pyfunc: bool = False) -> None:
        """Name a flavor.

        Args:
            flavor: Its name.
            keyword: What MLflow's functions call the model: ``sk_model``.
            pyfunc: Models are loaded as functions.
        """
        self._flavor = flavor
        self._keyword = keyword
        self._as: Literal["pyfunc", "native"] = "pyfunc" if pyfunc else "native"

    def save_model(
        self, model: Any = None, path: str | os.PathLike[str] | None = None, **saving: Any
    ) -> MLModel:
        """Save a model into a folder; see `headrace.models.save_model`."""
        from headrace.models.saving import save_model

        model = self._model(model, saving)
        if path is None:
            raise InvalidParameter(
                f"save_model needs a path: the folder to save {self._keyword} in."
            )
        return save_model(model, Path(path), flavor=self._flavor, **saving)

    def log_model(
        self, model: Any = None, artifact_path: str | None = None, **logging: Any
    ) -> ModelInfo:
        """Save a model and upload it; see `headrace.log_model`."""
        model = self._model(model, logging)
        return log_model(model, artifact_path=artifact_path, flavor=self._flavor, **logging)

    def load_model(
        self, model_uri: str | os.PathLike[str], dst_path: str | None = None, **loading: Any
    ) -> Any:
        """Open a model of this flavor; see `headrace.models.load_model`."""
        flavor = self._flavor if self._as == "native" else None
        return load_model(model_uri, as_=self._as, flavor=flavor, dst_path=dst_path, **loading)

    def absent(self, name: str) -> NoReturn:
        """Say that its module has no such name: what module ``__getattr__`` is."""
        from headrace.absent import missing

        flavor = "pyfunc" if self._as == "pyfunc" else self._flavor
        raise missing(f"headrace.{flavor}", name)

    def _model(self, given: Any, options: dict[str, Any]) -> Any:
        model = options.pop(self._keyword, None) if given is None else given
        if model is None and self._as == "native":
            raise InvalidParameter(f"There is no model: give it first, or as {self._keyword}=.")
        return model
