"""scikit-learn: estimators, in skops' format by default.

A skops file names the types it needs. Which of them are built is the loader's word: skops' own list of safe
types and what the permit trusts. MLflow writes the list into MLmodel and believes it there; we write it too,
for MLflow, and never read it.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.errors import InvalidModel, InvalidParameter, PolicyViolation
from headrace.models.flavor import Permit, Predict, Saved
from headrace.models.options import Options
from headrace.models.paths import inside
from headrace.models.pickling import cloudpickled, dumped

_SKOPS, _PICKLE, _CLOUDPICKLE = "skops", "pickle", "cloudpickle"
_FORMATS = (_SKOPS, _PICKLE, _CLOUDPICKLE)
_PREDICT_FUNCTIONS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "predict_joint_log_proba",
    "score",
)


class SklearnFlavor:
    """Estimators of scikit-learn and of what is built on it."""

    name = "sklearn"
    library = "sklearn"

    def claims(self, model: object) -> bool:
        return any(base.__module__.partition(".")[0] == "sklearn" for base in type(model).__mro__)

    def save(self, model: Any, folder: Path, options: Mapping[str, Any]) -> Saved:
        import sklearn

        read = Options("sklearn", options)
        form = read.one_of("serialization_format", _FORMATS, default=_SKOPS)
        predict_fn = read.one_of("pyfunc_predict_fn", _PREDICT_FUNCTIONS, default="predict")
        listed = read.get("skops_trusted_types")
        read.done()
        if form == _SKOPS:
            file = folder / "model.skops"
            trusted = _save_skops(model, file, listed)
        else:
            file, trusted = folder / "model.pkl", listed
            file.write_bytes(cloudpickled(model) if form == _CLOUDPICKLE else _pickled(model))
        conf = {
            "pickled_model": file.name,
            "sklearn_version": sklearn.__version__,
            "serialization_format": form,
            "code": None,
            "skops_trusted_types": trusted,
        }
        predicts = {"model_path": file.name, "predict_fn": predict_fn}
        packages = {_SKOPS: ("skops",), _CLOUDPICKLE: ("cloudpickle",)}.get(form, ())
        return Saved(
            conf=conf,
            python_function=predicts if hasattr(model, predict_fn) else None,
            loader_module="mlflow.sklearn",
            requirements=("scikit-learn", *packages),
        )

    def formats(self, folder: Path, conf: Mapping[str, Any]) -> frozenset[str]:
        return frozenset({"skops" if _is_skops(_file(folder, conf)) else "pickle"})

    def load(self, folder: Path, conf: Mapping[str, Any], permit: Permit) -> Any:
        file = _file(folder, conf)
        if _is_skops(file):
            return _load_skops(file, conf, permit)
        if "pickle" not in permit.formats:
            raise PolicyViolation(f"{file.name} is a pickle, which the policy does not allow")
        try:
            with file.open("rb") as stream:
                return pickle.load(stream)  # what cloudpickle writes, pickle reads
        except ImportError as error:
            raise InvalidModel(
                f"{file.name} needs a module that is not installed: {error}"
            ) from error
        except Exception as error:
            raise InvalidModel(
                f"{file.name} cannot be unpickled: {type(error).__name__}: {error}"
            ) from error

    def predict(self, model: Any, conf: Mapping[str, Any]) -> Predict:
        name = conf.get("predict_fn") or "predict"
        if name not in _PREDICT_FUNCTIONS:
            raise InvalidModel(f"MLmodel: 'predict_fn' is {name!r}; it may be one of {_PREDICT_FUNCTIONS}")
        function = getattr(model, name, None)
        if function is None:
            raise InvalidModel(f"the model {type(model).__name__} has no function {name}")
        return lambda data, params: function(data)


def _file(folder: Path, conf: Mapping[str, Any]) -> Path:
    # MLflow before 1.0 had no section of its own for the file's name: the python function's is the same.
    key = "pickled_model" if conf.get("pickled_model") is not None else "model_path"
    return inside(folder, conf.get(key), key=f"flavors.sklearn.{key}")


def _is_skops(file: Path) -> bool:
    """By what the file is: only a ZIP archive is given to skops, only something else to pickle."""
    return zipfile.is_zipfile(file)


def _pickled(model: object) -> bytes:
    written: bytes = dumped(model, lambda value: pickle.dumps(value, pickle.DEFAULT_PROTOCOL))
    return written


def _save_skops(model: Any, file: Path, listed: Any) -> list[str] | None:
    """Write a model, and say which types a loader has to trust beyond skops' own list."""
    import skops.io

    data: bytes = dumped(model, skops.io.dumps, form="saved in skops' format")
    needed = skops.io.get_untrusted_types(data=data)
    try:
        skops.io.loads(data, trusted=needed)
    except Exception as error:
        raise InvalidParameter(
            f"the model {type(model).__name__} is saved in skops' format, but does not come back from it:"
            f" {type(error).__name__}: {error}. skops takes classes and functions that a module has under their"
            " names; serialization_format='cloudpickle' takes others, and then a loader must allow pickle"
        ) from error
    file.write_bytes(data)
    return sorted({*needed, *(listed or ())}) or None


def _load_skops(file: Path, conf: Mapping[str, Any], permit: Permit) -> Any:
    import skops.io

    data = file.read_bytes()
    try:
        needed = skops.io.get_untrusted_types(data=data)
        # Who may unpickle may build whatever a file names; anybody else, what the loader listed.
        trusted = needed if "pickle" in permit.formats else sorted(permit.trusted)
        untrusted = sorted(set(needed).difference(trusted))
        if untrusted:
            raise _not_trusted(file, untrusted, conf)
        return skops.io.loads(data, trusted=trusted)
    except PolicyViolation:
        raise
    except ImportError as error:
        raise InvalidModel(f"{file.name} needs a module that is not installed: {error}") from error
    except Exception as error:
        raise InvalidModel(
            f"{file.name} cannot be read by skops: {type(error).__name__}: {error}"
        ) from error


def _not_trusted(file: Path, untrusted: list[str], conf: Mapping[str, Any]) -> PolicyViolation:
    message = (
        f"{file.name} asks for types that the loader does not trust: {', '.join(untrusted)}. If you know them"
        f" and whoever made the model, load it with Policy(trusted={untrusted!r})"
    )
    listed = conf.get("skops_trusted_types")
    hidden = sorted(set(untrusted).difference(listed)) if isinstance(listed, list) else []
    if hidden:
        message += f". MLmodel does not mention {', '.join(hidden)}"
    return PolicyViolation(message)


FLAVOR = SklearnFlavor()
