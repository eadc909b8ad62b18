"""scikit-learn's models, by us and by MLflow."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headrace.errors import InvalidModel, InvalidParameter, PolicyViolation
from headrace.models import load_folder, save_model
from headrace.models.mlmodel import MLModel
from headrace.models.policy import Policy
from support.flavors import mlflow_load, mlflow_predict, mlflow_save

linear_model = pytest.importorskip("sklearn.linear_model")
tree = pytest.importorskip("sklearn.tree")
pipeline = pytest.importorskip("sklearn.pipeline")
preprocessing = pytest.importorskip("sklearn.preprocessing")

FRAME = pd.DataFrame({"a": np.arange(40) % 7.0, "b": np.arange(40) % 5.0})
LABELS = np.arange(40) % 2
FORMS = ["skops", "cloudpickle", "pickle"]
TREE = Policy(trusted=frozenset({"sklearn.tree._tree.Tree"}))


@pytest.fixture(scope="module")
def model() -> Any:
    return pipeline.make_pipeline(
        preprocessing.StandardScaler(), linear_model.LogisticRegression()
    ).fit(FRAME, LABELS)


@pytest.fixture(scope="module")
def forest() -> Any:
    return tree.DecisionTreeClassifier(max_depth=2).fit(FRAME, LABELS)


@pytest.mark.parametrize("form", FORMS)
def test_mlflow_opens_what_we_save_and_we_open_what_it_saves(
    model: Any, tmp_path: Path, form: str
) -> None:
    save_model(model, tmp_path / "ours", serialization_format=form, pip_requirements=["skops"])
    mlflow_save("sklearn", model, tmp_path / "theirs", serialization_format=form)
    right = model.predict(FRAME)

    assert np.array_equal(mlflow_load("sklearn", tmp_path / "ours").predict(FRAME), right)
    assert np.array_equal(mlflow_predict(tmp_path / "ours", FRAME), right)
    allow = [] if form == "skops" else ["pickle"]
    native = load_folder(tmp_path / "theirs", as_="native", allow=allow)
    assert type(native) is type(model)
    assert np.array_equal(native.predict(FRAME), right)
    assert np.array_equal(load_folder(tmp_path / "theirs", allow=allow).predict(FRAME), right)

    ours, theirs = (MLModel.read(tmp_path / who).flavors for who in ("ours", "theirs"))
    assert set(ours["sklearn"]) == set(theirs["sklearn"])
    assert set(theirs["python_function"]) <= set(ours["python_function"])
    assert ours["python_function"]["env"] == theirs["python_function"]["env"]


def test_the_default_is_skops_which_anybody_may_open(
    model: Any, tmp_path: Path, elsewhere: Callable[[], None]
) -> None:
    save_model(model, tmp_path / "m", pip_requirements=[])
    elsewhere()
    assert (tmp_path / "m" / "model.skops").exists()
    assert np.array_equal(load_folder(tmp_path / "m").predict(FRAME), model.predict(FRAME))


@pytest.mark.parametrize("form", ["cloudpickle", "pickle"])
def test_a_strangers_pickle_needs_a_word_and_ones_own_does_not(
    model: Any, tmp_path: Path, elsewhere: Callable[[], None], form: str
) -> None:
    save_model(model, tmp_path / "m", serialization_format=form, pip_requirements=[])
    assert load_folder(tmp_path / "m", as_="native").predict(FRAME).shape == (40,)
    elsewhere()
    with pytest.raises(PolicyViolation, match=r"model\.pkl.*allow=\['pickle'\]"):
        load_folder(tmp_path / "m")
    assert load_folder(tmp_path / "m", allow=["pickle"]).predict(FRAME).shape == (40,)


def test_types_are_trusted_by_the_loader_and_never_by_the_model(
    forest: Any, tmp_path: Path, elsewhere: Callable[[], None]
) -> None:
    save_model(forest, tmp_path / "m", pip_requirements=[])
    conf = MLModel.read(tmp_path / "m").flavors["sklearn"]
    assert conf["skops_trusted_types"] == ["sklearn.tree._tree.Tree"]
    assert np.array_equal(
        mlflow_load("sklearn", tmp_path / "m").predict(FRAME), forest.predict(FRAME)
    )
    assert np.array_equal(load_folder(tmp_path / "m").predict(FRAME), forest.predict(FRAME))
    elsewhere()
    with pytest.raises(PolicyViolation, match=r"sklearn\.tree\._tree\.Tree"):
        load_folder(tmp_path / "m")
    loaded = load_folder(tmp_path / "m", policy=TREE)
    assert np.array_equal(loaded.predict(FRAME), forest.predict(FRAME))


def test_what_the_file_is_counts_and_not_what_mlmodel_says(
    model: Any, tmp_path: Path, elsewhere: Callable[[], None]
) -> None:
    save_model(model, tmp_path / "m", pip_requirements=[])
    (tmp_path / "m" / "model.skops").write_bytes(pickle.dumps(model))
    with pytest.raises(PolicyViolation, match="pickle"):
        load_folder(tmp_path / "m")
    assert load_folder(tmp_path / "m", allow=["pickle"]).predict(FRAME).shape == (40,)


@pytest.mark.parametrize("function", ["predict_proba", "predict_log_proba"])
def test_another_function_may_predict(model: Any, tmp_path: Path, function: str) -> None:
    save_model(model, tmp_path / "ours", pyfunc_predict_fn=function, pip_requirements=[])
    mlflow_save("sklearn", model, tmp_path / "theirs", pyfunc_predict_fn=function)
    right = getattr(model, function)(FRAME)
    assert np.array_equal(load_folder(tmp_path / "ours").predict(FRAME), right)
    assert np.array_equal(load_folder(tmp_path / "theirs").predict(FRAME), right)
    assert np.array_equal(mlflow_predict(tmp_path / "ours", FRAME), right)


def test_a_transformer_has_no_python_function(tmp_path: Path) -> None:
    scaler = preprocessing.StandardScaler().fit(FRAME)
    save_model(scaler, tmp_path / "m", pip_requirements=[])
    native = load_folder(tmp_path / "m", as_="native")
    assert np.array_equal(native.transform(FRAME), scaler.transform(FRAME))
    with pytest.raises(InvalidModel, match="as_='native'"):
        load_folder(tmp_path / "m")


@pytest.mark.parametrize("form", FORMS)
def test_what_cannot_be_saved_is_named_and_leaves_nothing(tmp_path: Path, form: str) -> None:
    scaler = preprocessing.StandardScaler().fit(FRAME)
    scaler.lock = threading.Lock()
    broken = pipeline.make_pipeline(scaler, linear_model.LogisticRegression())
    with pytest.raises(InvalidParameter, match=r"model\.steps\[0\]\[1\]\.lock is a _thread\.lock"):
        save_model(broken, tmp_path / "a" / "m", serialization_format=form)
    assert list(tmp_path.iterdir()) == []


def test_a_function_without_a_name_goes_into_a_pickle_only(tmp_path: Path) -> None:
    model = pipeline.make_pipeline(preprocessing.FunctionTransformer(lambda x: x * 2))
    with pytest.raises(InvalidParameter, match=r"\.func .*serialization_format='cloudpickle'"):
        save_model(model, tmp_path / "m")
    save_model(model, tmp_path / "m", serialization_format="cloudpickle", pip_requirements=[])
    assert load_folder(tmp_path / "m", as_="native").transform(np.array([[3]])) == [[6]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"serialization_format": "joblib"}, "serialization_format must be one of skops"),
        ({"pyfunc_predict_fn": "fit"}, "pyfunc_predict_fn must be one of predict"),
        ({"compress": 3}, "no option compress; it has pyfunc_predict_fn"),
    ],
)
def test_options_are_checked(
    model: Any, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidParameter, match=message):
        save_model(model, tmp_path / "m", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pickled_model", "../model.skops"),
        ("pickled_model", "/etc/passwd"),
        ("pickled_model", "C:\\model.skops"),
        ("pickled_model", ["model.skops"]),
        ("pickled_model", "nothing.skops"),
        ("predict_fn", "fit"),
        ("predict_fn", "__class__"),
    ],
)
def test_a_hostile_mlmodel_is_refused(model: Any, tmp_path: Path, key: str, value: Any) -> None:
    save_model(model, tmp_path / "m", pip_requirements=[])
    (tmp_path / "model.skops").write_bytes((tmp_path / "m" / "model.skops").read_bytes())
    mlmodel = MLModel.read(tmp_path / "m")
    mlmodel.flavors["sklearn"][key] = value
    mlmodel.write(tmp_path / "m")
    with pytest.raises((InvalidModel, PolicyViolation), match=key):
        load_folder(tmp_path / "m")


def test_a_damaged_file_is_said_to_be(model: Any, tmp_path: Path) -> None:
    save_model(model, tmp_path / "m", pip_requirements=[])
    file = tmp_path / "m" / "model.skops"
    file.write_bytes(file.read_bytes().replace(b'"protocol": 2', b'"protocol": 9'))
    with pytest.raises((InvalidModel, PolicyViolation), match=r"model\.skops"):
        load_folder(tmp_path / "m")
