"""Models from code: a script that says which object is the model.

The script calls ``headrace.models.set_model(model)`` or ``mlflow.models.set_model(model)``. It is copied into
the folder as it is, and run to get the model: nothing is pickled.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from headrace.errors import InvalidModel, InvalidParameter
from headrace.models.python_model import PythonModel, WrappedModel

# Where MLflow keeps what its set_model was given, and what its ModelConfig gives; both are the process's.
_MLFLOW_MODEL = ("mlflow.models.model", "__mlflow_model__")
_MLFLOW_CONFIG = ("mlflow.models.model_config", "__mlflow_model_config__")

_running = threading.RLock()
_set: list[Any] = []


def set_model(model: Any) -> None:
    """Say which object is the model, in a script that is saved as a model from code.

    Args:
        model: An object with ``predict``, or a function.

    Raises:
        InvalidParameter: It is neither.
    """
    if isinstance(model, str) or not (callable(model) or callable(getattr(model, "predict", None))):
        raise InvalidParameter(
            f"set_model takes an object with predict, or a function, got {type(model).__name__}"
        )
    _set.append(model)
    # MLflow runs the script too, and looks here.
    if _MLFLOW_MODEL[0] in sys.modules:
        wrapped = model if isinstance(model, PythonModel) else WrappedModel(model)
        setattr(sys.modules[_MLFLOW_MODEL[0]], _MLFLOW_MODEL[1], wrapped)


def run_script(file: Path, config: Mapping[str, Any] | None = None) -> Any:
    """Run a script, and return the model that it sets.

    Raises:
        InvalidModel: It fails, or sets none.
    """
    with _running, _mlflow_knows(file, config):
        _set.clear()
        name = f"code_model_{uuid.uuid4().hex}"
        module = _module(name, file)
        sys.modules[name] = module  # pickles and dataclasses of the script look themselves up there
        try:
            assert module.__spec__ is not None
            assert module.__spec__.loader is not None
            module.__spec__.loader.exec_module(module)
            return _what_it_set(file)
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, InvalidModel) or not isinstance(error, Exception):
                raise
            raise InvalidModel(
                f"the script {file.name} failed: {type(error).__name__}: {error}"
            ) from error
        finally:
            _set.clear()


def _module(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None:
        raise InvalidModel(f"{file.name} is not a Python script")
    return importlib.util.module_from_spec(spec)


def _what_it_set(file: Path) -> Any:
    if _set:
        return _set[-1]
    mlflows = sys.modules.get(_MLFLOW_MODEL[0])
    model = getattr(mlflows, _MLFLOW_MODEL[1], None) if mlflows is not None else None
    if model is None:
        raise InvalidModel(
            f"the script {file.name} sets no model: it must call headrace.models.set_model(model)"
        )
    return model


@contextmanager
def _mlflow_knows(file: Path, config: Mapping[str, Any] | None) -> Iterator[None]:
    """MLflow's set_model and ModelConfig work in the script, if it uses them."""
    if b"mlflow" in file.read_bytes() and importlib.util.find_spec("mlflow") is not None:
        importlib.import_module(_MLFLOW_MODEL[0])
    _set_mlflows(dict(config) if config else "")
    try:
        yield
    finally:
        _set_mlflows(None)


def _set_mlflows(config: Any) -> None:
    for (module, attribute), value in ((_MLFLOW_MODEL, None), (_MLFLOW_CONFIG, config)):
        if module in sys.modules:
            setattr(sys.modules[module], attribute, value)
