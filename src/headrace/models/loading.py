"""Loading a model's folder: parse, audit, build.

First the folder is read as data: MLmodel, and the names and kinds of its files. Then
`headrace.models.audit` holds it against the loader's policy. Only then is anything of it imported, unpickled
or given to a library.

What was audited is what is opened: the whole runs on a folder that nobody but this user (and root) can change,
and that is the folder itself where its permissions say so, and else a copy; see `headrace.models.private`.
A copy is kept until the model is gone, because libraries read some files late.
"""

from __future__ import annotations

import logging
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from headrace.errors import InvalidModel, InvalidParameter, NotFound
from headrace.models.audit import audit
from headrace.models.enforcement import Enforcer, compile_signature
from headrace.models.examples import load_example
from headrace.models.find import PYTHON_FUNCTION, flavor_named, flavor_names, section_of
from headrace.models.flavor import Flavor, Predict
from headrace.models.flavors.pyfunc import PythonFunction
from headrace.models.mlmodel import MLModel
from headrace.models.opening import require
from headrace.models.paths import inside
from headrace.models.policy import Policy, resolve
from headrace.models.private import private
from headrace.models.signature import ParamSchema, Schema

_log = logging.getLogger(__name__)


class PyFuncModel:
    """A loaded model as a function that checks its input against the signature.

    Attributes:
        metadata: What MLmodel says.
    """

    def __init__(self, metadata: MLModel, raw: Any, predict: Predict, folder: Path) -> None:
        self.metadata = metadata
        self._raw = raw
        self._predict = predict
        self._folder = folder
        self._enforcer: Enforcer | None = None

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Predictions for some data.

        Args:
            data: What the signature says; without one, what the model takes.
            params: Parameters of the signature; those left out have its defaults.

        Raises:
            InvalidParameter: They are not what the signature says. The message names the column, the row and
                the expected type.
        """
        data, params = self._checked(data, params)
        return self._predict(data, params)

    def predict_stream(self, data: Any, params: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """The parts of one prediction as they come, of a model that has ``predict_stream``."""
        if not isinstance(self._raw, PythonFunction):
            raise InvalidParameter("this model does not stream predictions")
        data, params = self._checked(data, params)
        return self._raw.predict_stream(data, params)

    def _checked(self, data: Any, params: Mapping[str, Any] | None) -> tuple[Any, Any]:
        if self._enforcer is None:
            self._enforcer = compile_signature(self.metadata.signature)
        params = self._enforcer.params(params)
        # With a signature from annotations, the model's predict checks and converts by itself.
        if not self.metadata.is_signature_from_type_hint:
            data = self._enforcer.inputs(data)
        return data, params

    def unwrap_python_model(self) -> Any:
        """The object that was saved as a python function.

        Raises:
            InvalidParameter: The model is not of that flavor.
        """
        if isinstance(self._raw, PythonFunction):
            return self._raw.python_model
        raise InvalidParameter(
            "this model is not a python model; get_raw_model gives its library's object"
        )

    def get_raw_model(self) -> Any:
        """The model as its library has it."""
        return _native(self._raw)

    @property
    def model_id(self) -> str | None:
        """Its id as a logged model."""
        return self.metadata.model_id

    @property
    def input_example(self) -> Any:
        """The input example that it was saved with, None if there is none."""
        about = self.metadata
        return load_example(self._folder, about.saved_input_example_info, about.signature)

    @property
    def input_schema(self) -> Schema | None:
        """What it takes."""
        signature = self.metadata.signature
        return None if signature is None else signature.inputs

    @property
    def output_schema(self) -> Schema | None:
        """What it gives."""
        signature = self.metadata.signature
        return None if signature is None else signature.outputs

    @property
    def params_schema(self) -> ParamSchema | None:
        """The parameters that it takes."""
        signature = self.metadata.signature
        return None if signature is None else signature.params

    @property
    def model_config(self) -> dict[str, Any]:
        """The configuration that it was saved with."""
        config = self.metadata.flavors[PYTHON_FUNCTION].get("config")
        return dict(config) if config else {}

    @property
    def loader_module(self) -> str | None:
        """MLflow's module that opens it."""
        module = self.metadata.flavors[PYTHON_FUNCTION].get("loader_module")
        return None if module is None else str(module)

    def __repr__(self) -> str:
        return f"<PyFuncModel of {self.loader_module}, {type(self.get_raw_model()).__name__}>"


def load_folder(
    folder: str | Path,
    *,
    as_: Literal["pyfunc", "native"] = "pyfunc",
    flavor: str | None = None,
    policy: Policy | None = None,
    allow: Iterable[str] = (),
    digest: str | None = None,
    model_config: Mapping[str, Any] | None = None,
) -> Any:
    """Load a model.

    Args:
        folder: Its folder. Trusted in nothing.
        as_: ``pyfunc``: a `PyFuncModel`. ``native``: the model as its library has it.
        flavor: Which of its flavors opens it. Default: the one that python_function names, else the first that is
            known here.
        policy: What may be opened; `headrace.models.policy` says what holds if none is given.
        allow: Formats that may be opened beside what holds anyhow, such as ``pickle``.
        digest: The folder's digest as recorded at registration.
        model_config: Overrides values of the configuration that a python function was saved with.

    Raises:
        NotFound: There is no such folder.
        InvalidModel: It is no model, or none that can be opened here; the message says what would open it.
        PolicyViolation: The policy forbids it; nothing was opened.
    """
    if as_ not in ("pyfunc", "native"):
        raise InvalidParameter(f"as_ must be 'pyfunc' or 'native', got {as_!r}")
    rules = resolve(policy, allow)
    if not Path(folder).is_dir():
        raise NotFound(f"there is no model folder {folder}")
    with ExitStack() as stack:
        place = stack.enter_context(private(Path(folder)))
        mlmodel = MLModel.read(place)
        opener = _flavor_of(mlmodel, as_, flavor)
        conf = _configured(_section(mlmodel, opener.name), model_config)
        code = _code_of(place, conf)
        permit = audit(place, rules, digest=digest)
        # What the audit has seen in the files, and what the flavor is going to open: both have to be allowed.
        require(permit, opener.formats(place, conf), place)
        if code is not None:
            require(permit, {"python"}, code)
            _import_from(code)
        raw = opener.load(place, conf, permit)
        if place != Path(folder).resolve():
            _keep(raw, stack.pop_all().close)
    if as_ == "native":
        return _native(raw)
    return PyFuncModel(mlmodel, raw, opener.predict(raw, conf), place)


def _flavor_of(mlmodel: MLModel, as_: str, wanted: str | None) -> Flavor:
    if wanted is not None and wanted not in mlmodel.flavors:
        raise InvalidModel(
            f"the model is not of the flavor '{wanted}': its flavors are {', '.join(mlmodel.flavors) or 'none'}"
        )
    own = [name for name in mlmodel.flavors if name != PYTHON_FUNCTION]
    function = mlmodel.flavors.get(PYTHON_FUNCTION)
    if as_ == "pyfunc" and function is None:
        raise InvalidModel(
            f"the model has no section python_function in MLmodel, so it does not predict as one:"
            f" load it as_='native'. Its flavors are: {', '.join(own) or 'none'}"
        )
    if wanted is not None:
        return flavor_named(wanted)
    if not own and function is not None:
        return flavor_named(PYTHON_FUNCTION)
    known = [name for name in own if name in flavor_names()]
    if not known:
        raise _unknown(own, function)
    opener = str((function or {}).get("loader_module")).rpartition(".")[2]
    return flavor_named(opener if opener in known else known[0])


def _unknown(own: list[str], function: Mapping[str, Any] | None) -> InvalidModel:
    if not own:
        return InvalidModel("MLmodel lists no flavors: nothing says how to open the model")
    module = (function or {}).get("loader_module", f"mlflow.{own[0]}")
    return InvalidModel(
        f"the model is of the flavor {' and '.join(own)}, which is not one of those here"
        f" ({', '.join(flavor_names())}). MLflow opens it where {module} can be imported"
        f" (pip install mlflow, and the model's requirements.txt), as would a distribution with an entry point"
        f" '{own[0]}' of the group headrace.flavors"
    )


def _section(mlmodel: MLModel, name: str) -> dict[str, Any]:
    conf = section_of(mlmodel, name)
    config = conf.get("config")
    if config is not None and not isinstance(config, dict):
        raise InvalidModel(
            f"MLmodel: 'flavors.{PYTHON_FUNCTION}.config' must be a mapping, got {type(config).__name__}"
        )
    return conf


def _configured(conf: dict[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The flavor's section, its ``config`` overridden; only what was saved can be, as in MLflow."""
    if not given:
        return conf
    saved = conf.get("config") or {}
    ignored = sorted(set(given).difference(saved))
    if ignored:
        _log.warning(
            "model_config: the model was saved without %s; ignored", ", ".join(map(str, ignored))
        )
    merged = {key: given.get(key, value) for key, value in saved.items()}
    return {**conf, "config": merged or None}


def _code_of(folder: Path, conf: Mapping[str, Any]) -> Path | None:
    if not conf.get("code"):
        return None
    return inside(folder, conf["code"], key="code", must_exist=False)


def _import_from(code: Path) -> None:
    """Put a model's code on the import path, first, as MLflow does; it stays there, for late imports."""
    if str(code) not in sys.path:
        sys.path.insert(0, str(code))


def _native(raw: Any) -> Any:
    return raw.python_model if isinstance(raw, PythonFunction) else raw


def _keep(raw: Any, remove: Callable[[], None]) -> None:
    """Keep a copy of the folder until the model is gone, or else the process."""
    owner = os.getpid()

    def gone() -> None:
        if os.getpid() == owner:  # not in a forked child
            remove()

    native = _native(raw)
    try:
        weakref.finalize(native, gone)
    except TypeError:  # no weak references to it: until the process ends
        weakref.finalize(_keep, gone)
