"""Models as Python functions, under MLflow's names: thin over `headrace.models`."""

from typing import TYPE_CHECKING, Any

from headrace.models.flavors.pyfunc import PythonModelContext
from headrace.models.loading import PyFuncModel
from headrace.models.logging import ModelInfo
from headrace.models.mlmodel import MLModel
from headrace.models.python_model import PythonModel
from headrace.tracking.models import Face

__all__ = [
    "PyFuncModel",
    "PythonModel",
    "PythonModelContext",
    "load_model",
    "log_model",
    "save_model",
]

_FACE = Face("python_function", "python_model", pyfunc=True)
load_model = _FACE.load_model
if not TYPE_CHECKING:
    __getattr__ = _FACE.absent


def save_model(path: str, python_model: Any = None, **saving: Any) -> MLModel:
    """Save a class, a function, a Python file or a loader module as a model; see `headrace.models.save_model`."""
    return _FACE.save_model(python_model, path, **saving)


def log_model(
    artifact_path: str | None = None, python_model: Any = None, **logging: Any
) -> ModelInfo:
    """Save a class, a function, a Python file or a loader module, and upload it; see `headrace.log_model`."""
    return _FACE.log_model(python_model, artifact_path, **logging)
