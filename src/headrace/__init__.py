"""headrace: the machine-learning lifecycle.

``import headrace as mlflow`` carries a training script over. Everything here is loaded on first use
(PEP 562): importing headrace itself costs next to nothing. The names are those of `headrace.tracking`,
and the ones in the table below.
"""

from __future__ import annotations

TYPE_CHECKING = (
    False  # type checkers take it as true; importing typing would cost more than all else
)
if TYPE_CHECKING:
    from typing import Any

    from headrace import artifacts as artifacts
    from headrace import client as client
    from headrace import entities as entities
    from headrace import errors as errors
    from headrace import exceptions as exceptions
    from headrace import keras as keras
    from headrace import lightgbm as lightgbm
    from headrace import models as models
    from headrace import onnx as onnx
    from headrace import pyfunc as pyfunc
    from headrace import pytorch as pytorch
    from headrace import sklearn as sklearn
    from headrace import tracking as tracking
    from headrace import transformers as transformers
    from headrace import types as types
    from headrace import xgboost as xgboost
    from headrace.errors import HeadraceError as HeadraceError
    from headrace.models.evaluation import Evaluation as Evaluation
    from headrace.models.evaluation import Threshold as Threshold
    from headrace.models.evaluation import make_metric as make_metric
    from headrace.tracking import *  # noqa: F403
    from headrace.tracking import data as data
    from headrace.tracking.evaluating import evaluate as evaluate
    from headrace.tracking.models import load_model as load_model
    from headrace.tracking.models import log_model as log_model
    from headrace.tracking.models import register_model as register_model

    MlflowException = HeadraceError
    __version__: str

#: What does not come from `headrace.tracking`: its module, and its name there (None: the module).
_ELSEWHERE: dict[str, tuple[str, str | None]] = {
    "Client": ("headrace.client.client", "Client"),
    "MlflowClient": ("headrace.client.client", "Client"),
    "Evaluation": ("headrace.models.evaluation", "Evaluation"),
    "Threshold": ("headrace.models.evaluation", "Threshold"),
    "make_metric": ("headrace.models.evaluation", "make_metric"),
    "HeadraceError": ("headrace.errors", "HeadraceError"),
    "MlflowException": ("headrace.errors", "HeadraceError"),
    "artifacts": ("headrace.artifacts", None),
    "client": ("headrace.client", None),
    "data": ("headrace.tracking.data", None),
    "entities": ("headrace.entities", None),
    "errors": ("headrace.errors", None),
    "evaluate": ("headrace.tracking.evaluating", "evaluate"),
    "exceptions": ("headrace.exceptions", None),
    "keras": ("headrace.keras", None),
    "lightgbm": ("headrace.lightgbm", None),
    "load_model": ("headrace.tracking.models", "load_model"),
    "log_model": ("headrace.tracking.models", "log_model"),
    "models": ("headrace.models", None),
    "onnx": ("headrace.onnx", None),
    "pyfunc": ("headrace.pyfunc", None),
    "pytorch": ("headrace.pytorch", None),
    "register_model": ("headrace.tracking.models", "register_model"),
    "sklearn": ("headrace.sklearn", None),
    "tracking": ("headrace.tracking", None),
    "transformers": ("headrace.transformers", None),
    "types": ("headrace.types", None),
    "xgboost": ("headrace.xgboost", None),
}

if not TYPE_CHECKING:  # so that type checkers see the names above and no others

    def __getattr__(name: str) -> Any:
        import importlib

        value: Any
        if name in _ELSEWHERE:
            module, attribute = _ELSEWHERE[name]
            value = importlib.import_module(module)
            if attribute is not None:
                value = getattr(value, attribute)
        elif name == "__all__":
            value = sorted({*_ELSEWHERE, *importlib.import_module("headrace.tracking").__all__})
        elif name == "__version__":
            from importlib.metadata import version

            value = version("headrace")
        else:
            tracking = (
                None if name.startswith("_") else importlib.import_module("headrace.tracking")
            )
            if name not in getattr(tracking, "__all__", ()):
                raise importlib.import_module("headrace.absent").missing("headrace", name)
            value = getattr(tracking, name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__"), "__version__"})
