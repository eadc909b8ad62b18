"""XGBoost's models, by us and by MLflow."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headrace.errors import InvalidModel, InvalidParameter, PolicyViolation
from headrace.models.find import find_flavor
from headrace.models.flavor import Permit
from headrace.models.flavors.xgboost import FLAVOR
from headrace.models.policy import SAFE
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

xgboost = pytest.importorskip("xgboost")
FRAME = pd.DataFrame({"a": np.arange(60) % 7.0, "b": np.arange(60) % 5.0})
LABELS = np.arange(60) % 3


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    frame = FRAME.copy()
    frame.loc[::9, "a"] = np.nan
    arguments: dict[str, Any] = {"n_estimators": 3, "max_depth": 2, "n_jobs": 1}
    booster = xgboost.train(
        {"objective": "multi:softprob", "num_class": 3, "nthread": 1},
        xgboost.DMatrix(frame, LABELS),
        num_boost_round=2,
    )
    return {
        "Booster": booster,
        "XGBClassifier": xgboost.XGBClassifier(**arguments).fit(frame, LABELS),
        "XGBRegressor": xgboost.XGBRegressor(**arguments).fit(frame, LABELS),
        "XGBRanker": xgboost.XGBRanker(**arguments).fit(frame, LABELS, group=[20, 40]),
        "XGBRFClassifier": xgboost.XGBRFClassifier(**arguments).fit(frame, LABELS),
    }


def expected(model: Any, frame: pd.DataFrame) -> Any:
    if isinstance(model, xgboost.Booster):
        return model.predict(xgboost.DMatrix(frame))
    return model.predict(frame)


@pytest.mark.parametrize(
    "name", ["Booster", "XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier"]
)
@pytest.mark.parametrize("form", ["ubj", "json"])
def test_mlflow_opens_what_we_save_and_we_open_what_it_saves(
    models: dict[str, Any], tmp_path: Path, name: str, form: str
) -> None:
    model = models[name]
    asked = FRAME.head(9)
    right = expected(model, asked)
    save(FLAVOR, model, tmp_path / "ours", model_format=form)
    mlflow_save("xgboost", model, tmp_path / "theirs", model_format=form)

    native = mlflow_load("xgboost", tmp_path / "ours")
    assert type(native) is type(model)
    assert np.array_equal(expected(native, asked), right)
    assert np.array_equal(mlflow_predict(tmp_path / "ours", asked), right)
    for folder in (tmp_path / "ours", tmp_path / "theirs"):
        assert formats(FLAVOR, folder) == {"xgboost"}
        audit(folder)
        assert type(load(FLAVOR, folder)) is type(model)
        assert np.array_equal(predict(FLAVOR, folder, asked), right)
    ours, theirs = section(FLAVOR, tmp_path / "ours"), section(FLAVOR, tmp_path / "theirs")
    assert set(ours) <= set(theirs)


def test_mlflows_old_ending_says_nothing_of_what_the_file_is(
    models: dict[str, Any], tmp_path: Path
) -> None:
    model = models["XGBClassifier"]
    mlflow_save("xgboost", model, tmp_path / "m", model_format="xgb")
    assert np.array_equal(predict(FLAVOR, tmp_path / "m", FRAME), model.predict(FRAME))


def test_a_class_and_a_booster_take_arrays_lists_and_params(
    models: dict[str, Any], tmp_path: Path
) -> None:
    save(FLAVOR, models["XGBRegressor"], tmp_path / "m")
    rows = FRAME.to_numpy()
    right = models["XGBRegressor"].predict(FRAME)
    assert np.array_equal(predict(FLAVOR, tmp_path / "m", rows), right)
    assert np.array_equal(predict(FLAVOR, tmp_path / "m", rows.tolist()), right)
    margin = models["XGBRegressor"].predict(FRAME, output_margin=True)
    asked = {"output_margin": True, "no_such": 1}
    assert np.array_equal(predict(FLAVOR, tmp_path / "m", FRAME, asked), margin)


def test_the_value_that_stands_for_a_missing_one_comes_back(tmp_path: Path) -> None:
    frame = FRAME.copy()
    frame.loc[::4, "a"] = -999.0
    model = xgboost.XGBRegressor(n_estimators=3, n_jobs=1, missing=-999.0).fit(frame, LABELS)
    save(FLAVOR, model, tmp_path / "m")
    assert load(FLAVOR, tmp_path / "m").missing == -999.0
    assert np.array_equal(predict(FLAVOR, tmp_path / "m", frame), model.predict(frame))


def test_categories_of_a_frame_are_understood(tmp_path: Path) -> None:
    frame = FRAME.assign(c=pd.Categorical(["x", "y", "z"] * 20))
    data = xgboost.DMatrix(frame, LABELS, enable_categorical=True)
    booster = xgboost.train({"nthread": 1}, data, num_boost_round=2)
    save(FLAVOR, booster, tmp_path / "m")
    assert np.array_equal(predict(FLAVOR, tmp_path / "m", frame), booster.predict(data))


def test_a_pickle_by_another_name_is_found_out(models: dict[str, Any], tmp_path: Path) -> None:
    conf = save(FLAVOR, models["Booster"], tmp_path / "m")
    file = tmp_path / "m" / str(conf["data"])
    for content in (pickle.dumps([1]), pickle.dumps([1], protocol=0)):
        file.write_bytes(content)
        assert formats(FLAVOR, tmp_path / "m") == {"pickle"}
        with pytest.raises(PolicyViolation, match="pickle"):
            load(FLAVOR, tmp_path / "m")
        with pytest.raises(PolicyViolation, match="not opened so"):
            load(FLAVOR, tmp_path / "m", allow=["pickle"])
    file.write_bytes(b"binf something old")
    with pytest.raises(InvalidModel, match="not a model of XGBoost's"):
        load(FLAVOR, tmp_path / "m")
    file.write_bytes(b'{"learner": 3}')
    with pytest.raises(InvalidModel, match="cannot open"):
        load(FLAVOR, tmp_path / "m")


def test_a_class_that_is_not_xgboosts_is_not_imported(
    models: dict[str, Any], tmp_path: Path
) -> None:
    save(FLAVOR, models["Booster"], tmp_path / "m")
    conf = {**section(FLAVOR, tmp_path / "m"), "model_class": "no_such_package.Model"}
    with pytest.raises(PolicyViolation, match=r"no_such_package\.Model"):
        FLAVOR.load(tmp_path / "m", conf, Permit(formats=SAFE))
    with pytest.raises(InvalidModel, match="no_such_package"):
        FLAVOR.load(
            tmp_path / "m", conf, Permit(formats=SAFE, trusted=frozenset({"no_such_package.Model"}))
        )
    for data in ("../m/model.ubj", str(tmp_path / "m/model.ubj"), None, "no_such"):
        with pytest.raises(InvalidModel, match="data"):
            FLAVOR.load(tmp_path / "m", {**conf, "data": data}, Permit(formats=SAFE))


def test_what_is_allowed_is_asked_again(models: dict[str, Any], tmp_path: Path) -> None:
    save(FLAVOR, models["Booster"], tmp_path / "m")
    with pytest.raises(PolicyViolation, match="xgboost"):
        FLAVOR.load(
            tmp_path / "m", section(FLAVOR, tmp_path / "m"), Permit(formats=frozenset({"skops"}))
        )


def test_xgboosts_models_are_claimed_and_others_are_not(models: dict[str, Any]) -> None:
    assert all(find_flavor(model).name == "xgboost" for model in models.values())
    assert not FLAVOR.claims(object())


def test_options_and_classes_that_cannot_be_saved_are_refused(
    models: dict[str, Any], tmp_path: Path
) -> None:
    class Mine(xgboost.XGBRegressor):
        pass

    with pytest.raises(InvalidParameter, match="model_format"):
        FLAVOR.save(models["Booster"], tmp_path, {"model_format": "pkl"})
    with pytest.raises(InvalidParameter, match="model_fromat"):
        FLAVOR.save(models["Booster"], tmp_path, {"model_fromat": "ubj"})
    with pytest.raises(InvalidParameter, match="get_booster"):
        FLAVOR.save(Mine(), tmp_path, {})
