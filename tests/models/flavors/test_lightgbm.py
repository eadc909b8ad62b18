"""LightGBM's models, by us and by MLflow."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headrace.errors import InvalidModel, InvalidParameter, PolicyViolation
from headrace.models.find import find_flavor
from headrace.models.flavors.lightgbm import FLAVOR
from support.flavors import (
    audit,
    formats,
    load,
    mlflow_load,
    mlflow_predict,
    mlflow_save,
    predict,
    save,
    section,
)

lightgbm = pytest.importorskip("lightgbm")
FRAME = pd.DataFrame({"a": np.arange(60) % 7.0, "b": np.arange(60) % 5.0})
FRAME.loc[::9, "a"] = np.nan
LABELS = np.arange(60) % 3
CLASSES = ["Booster", "LGBMClassifier", "LGBMRegressor", "LGBMRanker"]


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    arguments = {"n_estimators": 3, "min_child_samples": 2, "verbose": -1, "n_jobs": 1}
    classifier = lightgbm.LGBMClassifier(**arguments).fit(FRAME, np.array(["x", "y", "z"])[LABELS])
    return {
        "Booster": lightgbm.train(
            {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1},
            lightgbm.Dataset(FRAME, LABELS),
            num_boost_round=2,
        ),
        "LGBMClassifier": classifier,
        "LGBMRegressor": lightgbm.LGBMRegressor(**arguments).fit(FRAME, LABELS),
        "LGBMRanker": lightgbm.LGBMRanker(**arguments).fit(FRAME, LABELS, group=[20, 40]),
    }


@pytest.mark.parametrize("name", CLASSES)
def test_mlflow_opens_what_we_save_and_we_open_what_it_saves(
    models: dict[str, Any], tmp_path: Path, name: str
) -> None:
    model = models[name]
    right = model.predict(FRAME)
    save(FLAVOR, model, tmp_path / "ours")
    more = {"skops_trusted_types": ["lightgbm.sklearn.LGBMRanker"]} if name == "LGBMRanker" else {}
    mlflow_save("lightgbm", model, tmp_path / "theirs", **more)

    native = mlflow_load("lightgbm", tmp_path / "ours")
    assert type(native) is type(model)
    assert np.array_equal(native.predict(FRAME), right)
    assert np.array_equal(mlflow_predict(tmp_path / "ours", FRAME), right)
    for folder in (tmp_path / "ours", tmp_path / "theirs"):
        assert formats(FLAVOR, folder) == {"lightgbm" if name == "Booster" else "skops"}
        audit(folder)
        assert type(load(FLAVOR, folder)) is type(model)
        assert np.array_equal(predict(FLAVOR, folder, FRAME), right)
    assert set(section(FLAVOR, tmp_path / "ours")) <= set(section(FLAVOR, tmp_path / "theirs"))


@pytest.mark.parametrize("form", ["cloudpickle", "pickle"])
def test_pickles_need_a_word_from_the_loader(
    models: dict[str, Any], tmp_path: Path, form: str
) -> None:
    model = models["LGBMClassifier"]
    right = model.predict(FRAME)
    save(FLAVOR, model, tmp_path / "ours", serialization_format=form)
    mlflow_save("lightgbm", model, tmp_path / "theirs", serialization_format=form)
    assert np.array_equal(mlflow_predict(tmp_path / "ours", FRAME), right)
    for folder in (tmp_path / "ours", tmp_path / "theirs"):
        assert formats(FLAVOR, folder) == {"pickle"}
        with pytest.raises(PolicyViolation, match="pickle"):
            load(FLAVOR, folder)
        assert np.array_equal(predict(FLAVOR, folder, FRAME, allow=["pickle"]), right)


def test_params_reach_lightgbm(models: dict[str, Any], tmp_path: Path) -> None:
    save(FLAVOR, models["Booster"], tmp_path / "m")
    rows = FRAME.to_numpy().tolist()
    right = models["Booster"].predict(FRAME, raw_score=True)
    assert np.array_equal(predict(FLAVOR, tmp_path / "m", rows, {"raw_score": True}), right)


def test_what_the_file_is_counts_not_what_it_is_called(
    models: dict[str, Any], tmp_path: Path
) -> None:
    conf = save(FLAVOR, models["Booster"], tmp_path / "m")
    file = tmp_path / "m" / str(conf["data"])
    file.write_bytes(pickle.dumps([1]))
    assert formats(FLAVOR, tmp_path / "m") == {"pickle"}
    with pytest.raises(PolicyViolation, match="pickle"):
        load(FLAVOR, tmp_path / "m")
    file.write_bytes(b"tree\nversion=v4\n")
    with pytest.raises(InvalidModel, match="LightGBM cannot open"):
        load(FLAVOR, tmp_path / "m")
    file.write_bytes(b"PK something")
    with pytest.raises(InvalidModel, match="not a model of LightGBM's"):
        load(FLAVOR, tmp_path / "m")


def test_a_type_that_is_not_lightgbms_is_built_for_a_loader_who_trusts_it(tmp_path: Path) -> None:
    model = lightgbm.LGBMRegressor(
        n_estimators=2, verbose=-1, n_jobs=1, objective=squared_error
    ).fit(FRAME, LABELS)
    with pytest.raises(InvalidParameter, match="skops_trusted_types"):
        save(FLAVOR, model, tmp_path / "refused")
    name = f"{squared_error.__module__}.squared_error"
    save(FLAVOR, model, tmp_path / "m", skops_trusted_types=[name])
    with pytest.raises(PolicyViolation, match="squared_error"):
        load(FLAVOR, tmp_path / "m")
    assert np.array_equal(
        predict(FLAVOR, tmp_path / "m", FRAME, trusted=[name]), model.predict(FRAME)
    )


def squared_error(labels: Any, predictions: Any) -> tuple[Any, Any]:
    """An objective of one's own: gradient and Hessian."""
    return predictions - labels, np.ones_like(labels)


def test_lightgbms_models_are_claimed(models: dict[str, Any]) -> None:
    assert all(find_flavor(model).name == "lightgbm" for model in models.values())
    with pytest.raises(InvalidParameter, match="serialization_format"):
        FLAVOR.save(models["Booster"], Path(), {"serialization_format": "joblib"})
