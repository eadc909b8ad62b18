"""Python functions: a class with ``predict``, a function, a script, or a module that loads data.

On disk they are what MLflow's flavor ``python_function`` is. Classes and functions are pickled with
cloudpickle, scripts are copied; to open either is to run code, so a loader must allow ``pickle`` or
``python``. The pickle holds what MLflow's loader needs, and opens where headrace is not installed.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from headrace.errors import InvalidModel, InvalidParameter, PolicyViolation
from headrace.models.code_model import run_script
from headrace.models.flavor import Permit, Predict, Saved
from headrace.models.options import Options
from headrace.models.paths import inside
from headrace.models.pickling import cloudpickled
from headrace.models.python_model import (
    PythonModel,
    WrappedModel,
    call_predict,
    conform,
    input_hints,
    is_checked,
)

_PICKLED = "mlflow.pyfunc.model"
_FROM_CODE = "mlflow.pyfunc.loaders.code_model"
_OPENERS = {"lzma": "lzma", "bzip2": "bz2", "gzip": "gzip"}


class PythonModelContext:
    """What ``load_context`` and ``predict`` are given.

    Attributes:
        artifacts: Paths of the model's artifacts by name.
        model_config: Its configuration; what the loader gave goes over what it was saved with.
    """

    def __init__(self, artifacts: dict[str, str], model_config: dict[str, Any] | None) -> None:
        self.artifacts = artifacts
        self.model_config = model_config


class PythonFunction:
    """A loaded model of this flavor.

    Attributes:
        python_model: What was saved: the object, or the function.
        context: What its ``predict`` is given.
    """

    def __init__(self, opened: Any, context: PythonModelContext) -> None:
        self._opened = opened
        # Of a class that came with the pickle, so it cannot be asked by isinstance.
        wrapped = type(opened).__name__ == WrappedModel.__name__ and hasattr(opened, "wrapped")
        self.python_model = opened.wrapped if wrapped else opened
        self.context = context
        self._call = getattr(opened, "predict", opened)
        hint = _hints(self.python_model).input
        self._hint = hint if is_checked(hint) else None

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        return call_predict(self._call, self.context, self._listed(model_input), params)

    def predict_stream(
        self, model_input: Any, params: Mapping[str, Any] | None = None
    ) -> Iterator[Any]:
        stream = getattr(self.python_model, "predict_stream", None)
        if stream is None:
            raise InvalidParameter(f"{type(self.python_model).__name__} has no predict_stream")
        answer: Iterator[Any] = call_predict(
            stream, self.context, self._listed(model_input), params
        )
        return answer

    def _listed(self, model_input: Any) -> Any:
        """A frame as the list that ``predict`` is annotated with."""
        if self._hint is not None and hasattr(model_input, "columns"):
            return conform(model_input, self._hint, "model_input")
        return model_input


class PyfuncFlavor:
    """Models written in Python."""

    name = "python_function"
    library = "cloudpickle"

    def claims(self, model: object) -> bool:
        if isinstance(model, (str, Path)):
            return str(model).endswith(".py")
        if isinstance(model, (PythonModel, functools.partial)) or inspect.isroutine(model):
            return True
        if isinstance(model, type):
            return False
        predict = getattr(model, "predict", None)
        if not callable(predict):
            return False
        # Not any object with predict: those of libraries have other conventions than a python function.
        return (
            hasattr(model, "load_context") or "model_input" in inspect.signature(predict).parameters
        )

    def save(self, model: Any, folder: Path, options: Mapping[str, Any]) -> Saved:
        read = Options("pyfunc", options)
        loader_module, data_path = read.get("loader_module"), read.get("data_path")
        artifacts, config = read.get("artifacts"), read.get("model_config")
        streamable = read.get("streamable")
        read.done()
        section: dict[str, Any] = {"config": _configuration(config)} if config else {}
        if loader_module is not None:
            if model is not None or artifacts:
                raise InvalidParameter(
                    "loader_module loads data_path: give it, or a model and artifacts, not both"
                )
            if data_path is not None:
                section["data"] = _copied(data_path, folder, PurePosixPath("data"))
            section["streamable"] = bool(streamable)
            return Saved(conf={}, python_function=section, loader_module=loader_module)
        if artifacts:
            section["artifacts"] = _save_artifacts(artifacts, folder)
        if isinstance(model, (str, Path)):
            return self._save_script(Path(model), folder, section, streamable)
        return self._save_object(model, folder, section, streamable)

    def _save_script(
        self, script: Path, folder: Path, section: dict[str, Any], streamable: Any
    ) -> Saved:
        if not script.is_file():
            raise InvalidParameter(
                f"a model from code is a Python script; there is none at {script}"
            )
        section["model_code_path"] = _copied(script, folder, PurePosixPath())
        model = run_script(folder / script.name, section.get("config"))
        section["streamable"] = _streams(model) if streamable is None else bool(streamable)
        return Saved(
            conf={}, python_function=section, loader_module=_FROM_CODE, typed=_function(model)
        )

    def _save_object(
        self, model: Any, folder: Path, section: dict[str, Any], streamable: Any
    ) -> Saved:
        import cloudpickle

        if isinstance(model, type):
            raise InvalidParameter(
                f"a model is an instance: give {model.__name__}(), not the class {model.__name__}"
            )
        if not callable(_function(model)):
            raise InvalidParameter(
                f"a python function is a function or has predict; {type(model).__name__} has not"
            )
        as_it_is = isinstance(model, PythonModel) or _is_mlflows(model)
        (folder / "python_model.pkl").write_bytes(
            cloudpickled(model if as_it_is else WrappedModel(model))
        )
        section["python_model"] = "python_model.pkl"
        section["cloudpickle_version"] = cloudpickle.__version__
        section["streamable"] = _streams(model) if streamable is None else bool(streamable)
        return Saved(
            conf={},
            python_function=section,
            loader_module=_PICKLED,
            requirements=("cloudpickle",),
            typed=_function(model),
        )

    def formats(self, folder: Path, conf: Mapping[str, Any]) -> frozenset[str]:
        found = set()
        if conf.get("python_model") is not None and conf.get("model_code_path") is None:
            found.add("pickle")
        if conf.get("model_code_path") is not None or conf.get("loader_module") != _PICKLED:
            found.add("python")
        return frozenset(found)

    def load(self, folder: Path, conf: Mapping[str, Any], permit: Permit) -> Any:
        missing = self.formats(folder, conf) - permit.formats
        if missing:
            raise PolicyViolation(
                f"this model is opened by running {' and '.join(sorted(missing))}, which the policy does not allow"
            )
        if conf.get("model_code_path") is not None:
            return self._opened(_run(folder, conf), folder, conf)
        if conf.get("loader_module") == _PICKLED:
            return self._opened(_unpickle(folder, conf), folder, conf)
        return _load_by_module(folder, conf)

    def predict(self, model: Any, conf: Mapping[str, Any]) -> Predict:
        if isinstance(model, PythonFunction):
            return model.predict
        function = getattr(model, conf.get("predict_fn") or "predict", None)
        if not callable(function):
            raise InvalidModel(f"{conf.get('loader_module')} gave an object that has no predict")
        return _with_params(function)

    def _opened(self, opened: Any, folder: Path, conf: Mapping[str, Any]) -> PythonFunction:
        context = PythonModelContext(_artifact_paths(folder, conf), conf.get("config"))
        function = PythonFunction(opened, context)
        load_context = getattr(opened, "load_context", None)
        if load_context is not None:
            load_context(context)
        return function


def _function(model: Any) -> Any:
    return getattr(model, "predict", model)


def _hints(model: Any) -> Any:
    hints = getattr(model, "predict_type_hints", None)
    return hints if hints is not None else input_hints(_function(model))


def _is_mlflows(model: object) -> bool:
    return any(
        base.__module__ == _PICKLED and base.__name__ == "PythonModel"
        for base in type(model).__mro__
    )


def _streams(model: object) -> bool:
    stream = getattr(type(model), "predict_stream", None)
    # MLflow's base class has one that only raises.
    return stream is not None and getattr(stream, "__module__", "") != _PICKLED


def _with_params(function: Callable[..., Any]) -> Predict:
    try:
        takes = "params" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        takes = False
    if takes:
        return lambda data, params: function(data, params=params)
    return lambda data, params: function(data)


def _configuration(config: Any) -> dict[str, Any]:
    """A model's configuration: a mapping, or a YAML file with one."""
    import yaml

    if isinstance(config, (str, Path)):
        try:
            config = yaml.safe_load(Path(config).read_bytes())
        except OSError as error:
            raise InvalidParameter(
                f"model_config: cannot read {config}: {error.strerror}"
            ) from error
        except yaml.YAMLError as error:
            raise InvalidParameter(f"model_config: not YAML: {error}") from error
    if not isinstance(config, Mapping) or not all(isinstance(key, str) for key in config):
        raise InvalidParameter("model_config must be a mapping with names, or a YAML file with one")
    return dict(config)


def _copied(source: Any, folder: Path, into: PurePosixPath) -> str:
    """Copy a file or a folder; the copy's path in the model."""
    from headrace.models.copying import copy_tree

    path = Path(source)
    if not path.exists():
        raise InvalidParameter(f"there is no file or folder {path}")
    relative = into / (path.name or path.resolve().name)
    copy_tree(path, folder / relative)
    return str(relative)


def _save_artifacts(artifacts: Any, folder: Path) -> dict[str, dict[str, str]]:
    from headrace.models.copying import fetch

    if not isinstance(artifacts, Mapping):
        raise InvalidParameter("artifacts must be a mapping of names to paths or URIs")
    saved, taken = {}, set()
    for index, (name, uri) in enumerate(artifacts.items()):
        last = PurePosixPath(str(uri).rstrip("/")).name or "artifact"
        # Two artifacts may be files of one name.
        relative = PurePosixPath("artifacts", last)
        if last in taken:
            relative = PurePosixPath("artifacts", str(index), last)
        taken.add(last)
        fetch(str(uri), folder / relative)
        saved[str(name)] = {"path": relative.as_posix(), "uri": str(uri)}
    return saved


def _artifact_paths(folder: Path, conf: Mapping[str, Any]) -> dict[str, str]:
    section = conf.get("artifacts") or {}
    if not isinstance(section, Mapping):
        raise InvalidModel("MLmodel: 'flavors.python_function.artifacts' must be a mapping")
    paths = {}
    for name, entry in section.items():
        path = entry.get("path") if isinstance(entry, Mapping) else None
        key = f"flavors.python_function.artifacts.{name}.path"
        paths[name] = str(inside(folder, path, key=key))
    return paths


def _run(folder: Path, conf: Mapping[str, Any]) -> Any:
    # MLflow writes the path that the script had where it was saved; its name is what counts.
    written = conf["model_code_path"]
    name = PurePosixPath(str(written).replace("\\", "/")).name
    file = inside(folder, name, key="flavors.python_function.model_code_path")
    return run_script(file, conf.get("config"))


def _unpickle(folder: Path, conf: Mapping[str, Any]) -> Any:
    file = inside(folder, conf.get("python_model"), key="flavors.python_function.python_model")
    compression = conf.get("python_model_compression")
    opener: Any = Path.open
    if compression in _OPENERS:
        opener = importlib.import_module(_OPENERS[compression]).open
    try:
        with opener(file, "rb") as stream:
            return pickle.load(stream)
    except ImportError as error:
        raise InvalidModel(
            f"{file.name} needs a module that is not installed: {error}. requirements.txt beside it lists"
            " what the model was saved with"
        ) from error
    except Exception as error:
        raise InvalidModel(
            f"{file.name} cannot be unpickled: {type(error).__name__}: {error}"
        ) from error


def _load_by_module(folder: Path, conf: Mapping[str, Any]) -> Any:
    name, data = conf.get("loader_module"), conf.get("data")
    key = "flavors.python_function"
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        raise InvalidModel(f"MLmodel: '{key}.loader_module' must be a module's name, got {name!r}")
    path = folder if data is None else inside(folder, data, key=f"{key}.data")
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise InvalidModel(f"the model's loader_module cannot be imported: {error}") from error
    load = getattr(module, "_load_pyfunc", None)
    if load is None:
        raise InvalidModel(f"the model's loader_module {name} has no function _load_pyfunc")
    config = conf.get("config")
    return load(str(path), config) if config else load(str(path))


FLAVOR = PyfuncFlavor()
