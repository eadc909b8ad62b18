"""scikit-learn: estimators, in skops' format by default.

A skops file names the types it needs. Which of them are built is the loader's word: skops' own list of safe
types and what the permit trusts. MLflow writes the list into MLmodel and believes it there; we write it too,
for MLflow, and never read it.
"""

from __future__ import annotations

import pickle
import sys
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
_WAY_OUT = (
    "skops saves classes and functions by their names: put them at the top of a module. Or say"
    " serialization_format='cloudpickle'; then a loader must allow pickle"
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
            raise InvalidModel(
                f"MLmodel: 'predict_fn' is {name!r}; it may be one of {_PREDICT_FUNCTIONS}"
            )
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
    _need_skops()
    data, needed = dumped(model, _skops_of, form="saved in skops' format", way_out=_WAY_OUT)
    file.write_bytes(data)
    return sorted({*needed, *(listed or ())}) or None


def _skops_of(value: Any) -> tuple[bytes, list[str]]:
    """A value in skops' format, and the types that it needs; raises if it would not come back."""
    import skops.io

    data = skops.io.dumps(value)
    needed = skops.io.get_untrusted_types(data=data)
    nameless = [name for name in needed if not _is_found(name)]
    if nameless:
        raise TypeError(f"no module has {', '.join(nameless)} under that name")
    # scikit-learn's own types come back, and trying takes longer than saving.
    if not all(name.startswith("sklearn.") for name in needed):
        skops.io.loads(data, trusted=needed)
    return data, needed


def _is_found(name: str) -> bool:
    """Whether a type or function of a live model is found again by its full name."""
    module, _, attribute = name.rpartition(".")
    while module and module not in sys.modules:
        module, _, outer = module.rpartition(".")
        attribute = f"{outer}.{attribute}"
    found: Any = sys.modules.get(module)
    for part in attribute.split("."):
        found = getattr(found, part, None)
    return found is not None


def _need_skops() -> None:
    try:
        import skops.io  # noqa: F401
    except ImportError as error:
        raise InvalidParameter(
            f"skops' format, the default of scikit-learn's models, needs the package skops ({error}): "
            "pip install 'headrace[sklearn]'"
        ) from None


def _load_skops(file: Path, conf: Mapping[str, Any], permit: Permit) -> Any:
    _need_skops()
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    trusted = sorted(permit.trusted)
    try:
        return skops.io.load(file, trusted=trusted)
    except UntrustedTypesFoundException:
        untrusted = set(skops.io.get_untrusted_types(file=file)).difference(trusted)
        raise _not_trusted(file, sorted(untrusted), conf) from None
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
