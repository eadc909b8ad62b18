"""XGBoost: boosters and the scikit-learn classes, in XGBoost's own JSON or UBJSON.

The section in MLmodel is MLflow's: ``xgb_version``, ``data``, ``model_class``, ``model_format``. We add
``missing`` where a scikit-learn model takes another value than NaN for a missing one: XGBoost does not store it,
so that MLflow's loader forgets it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.errors import InvalidModel, InvalidParameter, PolicyViolation
from headrace.models.flavor import Permit, Predict, Saved
from headrace.models.magic import head, is_pickle, unknown
from headrace.models.opening import accepted, require, trusted_class
from headrace.models.options import Options
from headrace.models.paths import inside

_BOOSTER = "xgboost.core.Booster"
_FORMATS = ("ubj", "json")

#: XGBoost's classes by the names that MLflow writes.
_CLASSES = {_BOOSTER: "Booster"} | {
    f"xgboost.sklearn.{name}": name
    for name in (
        "XGBModel",
        "XGBClassifier",
        "XGBRegressor",
        "XGBRanker",
        "XGBRFClassifier",
        "XGBRFRegressor",
    )
}


class XGBoost:
    """See the module."""

    name = "xgboost"
    library = "xgboost"

    def claims(self, model: object) -> bool:
        xgboost: Any = sys.modules.get("xgboost")
        return xgboost is not None and isinstance(model, (xgboost.Booster, xgboost.XGBModel))

    def save(self, model: Any, folder: Path, options: Mapping[str, Any]) -> Saved:
        """Option ``model_format``: ``ubj`` (default) or ``json``."""
        import xgboost

        read = Options(self.name, options)
        form = read.one_of("model_format", _FORMATS, default="ubj")
        read.done()
        full_name = f"{type(model).__module__}.{type(model).__qualname__}"
        if full_name not in _CLASSES:
            raise InvalidParameter(
                f"'{full_name}' is not a class of XGBoost's; save its booster, model.get_booster()."
            )
        data = f"model.{form}"
        model.save_model(folder / data)
        conf = {
            "xgb_version": xgboost.__version__,
            "data": data,
            "model_class": full_name,
            "model_format": form,
            "code": None,
        }
        missing = getattr(model, "missing", math.nan)
        if missing is not None and not math.isnan(missing):
            conf["missing"] = float(missing)
        return Saved(
            conf=conf,
            python_function={"data": data},
            loader_module="mlflow.xgboost",
            requirements=("xgboost", *(() if full_name == _BOOSTER else ("scikit-learn",))),
        )

    def formats(self, folder: Path, conf: Mapping[str, Any]) -> frozenset[str]:
        path = inside(folder, conf.get("data"), key="flavors.xgboost.data")
        if is_pickle(path):
            return frozenset({"pickle"})
        _encoding(path)
        return frozenset({"xgboost"})

    def load(self, folder: Path, conf: Mapping[str, Any], permit: Permit) -> Any:
        import xgboost

        path = inside(folder, conf.get("data"), key="flavors.xgboost.data")
        require(permit, self.formats(folder, conf), path)
        if is_pickle(path):
            raise PolicyViolation(f"'{path.name}' is a pickle; XGBoost's models are not opened so.")
        full_name = str(conf.get("model_class") or _BOOSTER)
        known = _CLASSES.get(full_name)
        model = (getattr(xgboost, known) if known else trusted_class(full_name, permit))()
        # By its name if that tells the truth: XGBoost believes endings.
        by_name = path.suffix == f".{_encoding(path)}"
        try:
            model.load_model(path if by_name else bytearray(path.read_bytes()))
        except (xgboost.core.XGBoostError, ValueError) as problem:
            raise InvalidModel(f"XGBoost cannot open '{path.name}': {problem}") from None
        if "missing" in conf and not isinstance(model, xgboost.Booster):
            model.set_params(missing=float(conf["missing"]))
        return model

    def predict(self, model: Any, conf: Mapping[str, Any]) -> Predict:
        import numpy
        import xgboost

        def of_booster(data: Any, params: Mapping[str, Any] | None) -> Any:
            if not isinstance(data, xgboost.DMatrix):
                data = xgboost.DMatrix(
                    numpy.asarray(data) if isinstance(data, list) else data,
                    enable_categorical=True,
                )
            return model.predict(data, **accepted(model.predict, params))

        def of_estimator(data: Any, params: Mapping[str, Any] | None) -> Any:
            data = numpy.asarray(data) if isinstance(data, list) else data
            return model.predict(data, **accepted(model.predict, params))

        return of_booster if isinstance(model, xgboost.Booster) else of_estimator


def _encoding(path: Path) -> str:
    """``json`` or ``ubj``, by the first bytes: an object whose first key is text, or has a length.

    Raises:
        InvalidModel: Neither. XGBoost's binary format of before 1.0 is among these: no XGBoost since 3.1
            opens it.
    """
    first = head(path)
    if first[:1] == b"{":
        rest = first[1:].lstrip()
        if rest[:1] == b'"':
            return "json"
        if rest[:1] in (b"i", b"U", b"I", b"l", b"L"):
            return "ubj"
    raise unknown(path, "a model of XGBoost's, in JSON or UBJSON")


FLAVOR = XGBoost()
