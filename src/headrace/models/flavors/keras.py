"""Keras 3: its own archives (``.keras``), opened in Keras' safe mode after we have read their configuration.

The layout is MLflow's: ``data/model.keras`` beside ``data/keras_module.txt``, and ``data``, ``keras_version``,
``keras_backend`` and ``save_exported_model`` in MLmodel. An archive names classes and functions to build. Those
of Keras' own layers, losses and the like are the format ``keras``; a Lambda layer (its code lies in the archive), a
layer that reads a file or wraps another library's module, and every class of somebody else's are ``keras-code``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace.errors import InvalidModel, InvalidParameter
from headrace.models.flavor import Permit, Predict, Saved
from headrace.models.inspection import keras_config
from headrace.models.magic import HDF5, MAX_JSON, head, is_pickle, json_objects, unknown
from headrace.models.opening import require, trusted_class
from headrace.models.options import Options
from headrace.models.paths import inside

_log = logging.getLogger(__name__)

_DATA, _FILE = "data", "model.keras"
_BACKENDS = ("tensorflow", "torch", "jax", "openvino")

_MEMBERS = re.compile(
    r"(config\.json|metadata\.json|model\.weights(_\d+)?\.h5|model\.weights\.json|assets/.*)"
)


class Keras:
    """See the module."""

    name = "keras"
    library = "keras"

    def claims(self, model: object) -> bool:
        keras: Any = sys.modules.get("keras")
        return keras is not None and isinstance(model, keras.Model)

    def save(self, model: Any, folder: Path, options: Mapping[str, Any]) -> Saved:
        """Option ``save_model_kwargs``: a dict of keywords for Keras' own ``model.save``."""
        import keras

        read = Options(self.name, options)
        more = read.get("save_model_kwargs", {})
        exported = read.get("save_exported_model", False)
        read.done()
        if exported:
            raise InvalidParameter(
                "save_exported_model writes TensorFlow's SavedModel, which is a program; it is not supported. "
                "Leave it out: the model is saved as a Keras archive."
            )
        (folder / _DATA).mkdir()
        (folder / _DATA / "keras_module.txt").write_text("keras")
        path = folder / _DATA / _FILE
        model.save(path, **more)
        running = _running(path)
        if running:
            _log.warning("Whoever loads the model must allow keras-code: %s.", running)
        return Saved(
            conf={
                "data": _DATA,
                "keras_version": keras.__version__,
                "keras_backend": keras.backend.backend(),
                "save_exported_model": False,
            },
            python_function={},
            loader_module="mlflow.keras",
            requirements=("keras", *_backend_requirement(keras.backend.backend())),
        )

    def formats(self, folder: Path, conf: Mapping[str, Any]) -> frozenset[str]:
        path = _file(folder, conf)
        if is_pickle(path):
            return frozenset({"pickle"})
        return frozenset({"keras-code" if _running(path) else "keras"})

    def load(self, folder: Path, conf: Mapping[str, Any], permit: Permit) -> Any:
        path = _file(folder, conf)
        formats = self.formats(folder, conf)
        require(permit, formats, path)
        if head(path, 8) == HDF5 or is_pickle(path):
            raise InvalidModel(f"'{path.name}' is not an archive of Keras 3.")
        keras = _keras(conf)
        custom = {
            name.rpartition(".")[2]: trusted_class(name, permit)
            for name in _foreign(path)
            if name in permit.trusted
        }
        try:
            with _quiet():
                return keras.saving.load_model(
                    path, custom_objects=custom, safe_mode="keras-code" not in formats
                )
        except Exception as problem:
            raise InvalidModel(f"Keras cannot open '{path.name}': {problem}") from problem

    def predict(self, model: Any, conf: Mapping[str, Any]) -> Predict:
        """An array, a dict or a list of arrays in, an array out; a frame in, a frame out."""
        import numpy

        def predict(data: Any, params: Mapping[str, Any] | None) -> Any:
            if hasattr(data, "columns"):
                import pandas

                return pandas.DataFrame(model.predict(data.to_numpy(), verbose=0), index=data.index)
            if isinstance(data, (list, tuple)) and not all(
                isinstance(each, numpy.ndarray) for each in data
            ):
                data = numpy.asarray(data)
            return model.predict(data, verbose=0)

        return predict


def _file(folder: Path, conf: Mapping[str, Any]) -> Path:
    if conf.get("save_exported_model"):
        raise InvalidModel(
            "The model is TensorFlow's SavedModel, which is not opened: it is a program."
        )
    name = conf.get("data", "model")
    key = "flavors.keras.data"
    if inside(folder, name, key=key, must_exist=False).is_dir():
        return inside(folder, f"{name}/{_FILE}", key=key)
    return inside(folder, f"{name}.keras", key=key)


def _config(path: Path) -> bytes:
    """The configuration in an archive.

    Raises:
        InvalidModel: It is no archive of Keras'.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = archive.getinfo("config.json")
            if found.file_size > MAX_JSON:
                raise InvalidModel(
                    f"config.json in '{path.name}' is too large: {found.file_size} bytes."
                )
            return archive.read(found)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, OSError):
        raise unknown(path, "an archive of Keras 3") from None


def _running(path: Path) -> str | None:
    """What of an archive would be run or imported; None: nothing but Keras' own layers.

    Raises:
        InvalidModel: It is no archive of Keras'.
    """
    if head(path, 8) == HDF5:
        return "it is in the old format, whose layers Keras does not check"
    config = _config(path)
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not _MEMBERS.fullmatch(name):
                return f"it holds '{name}', which is no part of Keras' archives"
    try:
        code, dangerous = keras_config.judge(config)
    except ValueError as problem:
        raise InvalidModel(f"config.json in '{path.name}' cannot be read: {problem}.") from None
    found = dangerous + code
    return f"it {found[0]}" if found else None


def _foreign(path: Path) -> set[str]:
    """Full names of the classes that an archive needs and Keras does not have."""
    return {
        f"{found['module']}.{found['class_name']}"
        for found in json_objects(json.loads(_config(path)))
        if isinstance(found.get("module"), str)
        and isinstance(found.get("class_name"), str)
        and found["module"].split(".")[0] not in ("keras", "builtins")
    }


def _keras(conf: Mapping[str, Any]) -> Any:
    """Keras, on the backend that the model was made with if nobody has chosen one."""
    chosen = conf.get("keras_backend")
    choose = "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ
    if choose and chosen in _BACKENDS:
        os.environ["KERAS_BACKEND"] = str(chosen)
    try:
        import keras
    except ImportError as problem:
        raise InvalidModel(
            f"Keras cannot be imported, {problem}; the model is of the backend {chosen}."
        ) from None
    finally:
        if choose:
            os.environ.pop("KERAS_BACKEND", None)
    return keras


def _backend_requirement(backend: str) -> tuple[str, ...]:
    return (backend,) if backend in _BACKENDS else ()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keras' warnings about optimizers that were never built are not the caller's to mend."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


FLAVOR = Keras()
