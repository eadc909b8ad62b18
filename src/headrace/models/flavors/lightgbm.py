"""LightGBM: boosters in LightGBM's own text, the scikit-learn classes by skops.

The section in MLmodel is MLflow's: ``lgb_version``, ``data``, ``model_class``, ``serialization_format``,
``skops_trusted_types``. MLflow's loader opens a scikit-learn class by skops, pickle or cloudpickle only, so
that skops is the safe format which both can open. The list of trusted types in MLmodel is for MLflow's loader;
ours has its own, of LightGBM's few types, and what the loader's policy adds.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.errors import InvalidModel, InvalidParameter, PolicyViolation
from headrace.models.flavor import Permit, Predict, Saved
from headrace.models.inspection.skops_types import LIGHTGBM
from headrace.models.magic import head, is_pickle, unknown, zip_members
from headrace.models.opening import accepted, require
from headrace.models.options import Options
from headrace.models.paths import inside
from headrace.models.pickling import cloudpickled

_BOOSTER = "lightgbm.basic.Booster"
_FORMATS = ("skops", "cloudpickle", "pickle")


class LightGBM:
    """See the module."""

    name = "lightgbm"
    library = "lightgbm"

    def claims(self, model: object) -> bool:
        lightgbm: Any = sys.modules.get("lightgbm")
        return lightgbm is not None and isinstance(model, (lightgbm.Booster, lightgbm.LGBMModel))

    def save(self, model: Any, folder: Path, options: Mapping[str, Any]) -> Saved:
        """Option ``serialization_format``, of scikit-learn classes: ``skops`` (default), ``cloudpickle``, ``pickle``.

        Option ``skops_trusted_types``: types that MLflow's loader shall trust, beside LightGBM's; those of a
        custom objective, say. Ours does not read them.
        """
        import lightgbm

        read = Options(self.name, options)
        form = read.one_of("serialization_format", _FORMATS, default="skops")
        listed = read.get("skops_trusted_types")
        read.done()
        conf: dict[str, Any] = {
            "lgb_version": lightgbm.__version__,
            "model_class": f"{type(model).__module__}.{type(model).__qualname__}",
            "serialization_format": form,
            "code": None,
        }
        requirements = ["lightgbm"]
        if isinstance(model, lightgbm.Booster):
            conf["model_class"] = _BOOSTER
            conf["data"] = "model.lgb"
            model.save_model(folder / "model.lgb")
        elif form == "skops":
            conf["data"] = "model.skops"
            types = LIGHTGBM.union(listed or ())
            conf["skops_trusted_types"] = sorted(types)
            _save_skops(model, folder / "model.skops", types)
            requirements += ["scikit-learn", "skops"]
        else:
            conf["data"] = "model.pkl"
            data = cloudpickled(model) if form == "cloudpickle" else pickle.dumps(model)
            (folder / "model.pkl").write_bytes(data)
            requirements += ["scikit-learn", *(["cloudpickle"] if form == "cloudpickle" else [])]
        return Saved(
            conf=conf,
            python_function={"data": conf["data"]},
            loader_module="mlflow.lightgbm",
            requirements=tuple(requirements),
        )

    def formats(self, folder: Path, conf: Mapping[str, Any]) -> frozenset[str]:
        path = inside(folder, conf.get("data"), key="flavors.lightgbm.data")
        if is_pickle(path):
            return frozenset({"pickle"})
        if head(path).split(b"\n", 1)[0].strip() == b"tree":
            return frozenset({"lightgbm"})
        if "schema.json" in (zip_members(path) or ()):
            return frozenset({"skops"})
        raise unknown(path, "a model of LightGBM's: its text, or a class of it by skops or pickle")

    def load(self, folder: Path, conf: Mapping[str, Any], permit: Permit) -> Any:
        path = inside(folder, conf.get("data"), key="flavors.lightgbm.data")
        formats = self.formats(folder, conf)
        require(permit, formats, path)
        if "skops" in formats:
            return _load_skops(path, permit)
        if "pickle" in formats:
            with path.open("rb") as file:
                return pickle.load(file)
        import lightgbm

        try:
            return lightgbm.Booster(model_file=path)
        except lightgbm.basic.LightGBMError as problem:
            raise InvalidModel(f"LightGBM cannot open '{path.name}': {problem}") from None

    def predict(self, model: Any, conf: Mapping[str, Any]) -> Predict:
        import numpy

        def predict(data: Any, params: Mapping[str, Any] | None) -> Any:
            data = numpy.asarray(data) if isinstance(data, list) else data
            return model.predict(data, **accepted(model.predict, params))

        return predict


def _save_skops(model: Any, path: Path, types: frozenset[str]) -> None:
    import skops.io

    skops.io.dump(model, path)
    untrusted = sorted(set(skops.io.get_untrusted_types(file=path)) - types)
    if untrusted:
        path.unlink()
        raise InvalidParameter(
            f"The model holds a '{untrusted[0]}', which is not LightGBM's. Name it in skops_trusted_types, and in "
            f"the policy of whoever loads it; or save the booster alone, model.booster_."
        )


def _load_skops(path: Path, permit: Permit) -> Any:
    import skops.io

    try:
        needed = skops.io.get_untrusted_types(file=path)
        # Who may unpickle may build whatever a file names.
        trusted = set(needed) if "pickle" in permit.formats else LIGHTGBM | permit.trusted
        untrusted = sorted(set(needed) - trusted)
        if not untrusted:
            return skops.io.load(path, trusted=sorted(trusted))
    except ImportError as problem:
        raise InvalidModel(
            f"'{path.name}' needs a module that is not installed: {problem}."
        ) from None
    except Exception as problem:
        raise InvalidModel(f"'{path.name}' cannot be read by skops: {problem!r}.") from problem
    raise PolicyViolation(
        f"'{path.name}' asks for types that the loader does not trust: {', '.join(untrusted)}. If you know them and "
        f"whoever made the model, load it with Policy(trusted={untrusted!r})."
    )


FLAVOR = LightGBM()
