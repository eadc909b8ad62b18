"""Keras' models, by us and by MLflow; Keras runs on torch."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headrace.errors import InvalidModel, InvalidParameter, PolicyViolation
from headrace.models.find import find_flavor
from headrace.models.flavor import Permit
from headrace.models.flavors.keras import FLAVOR
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

pytest.importorskip("torch")
# Keras' own variables, read by NumPy 2: theirs to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
ROWS = np.arange(12, dtype=np.float32).reshape(3, 4) / 7


@pytest.fixture(scope="module")
def keras() -> Iterator[Any]:
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = "torch"
    yield pytest.importorskip("keras")
    os.environ.pop("KERAS_BACKEND")
    if before is not None:
        os.environ["KERAS_BACKEND"] = before


@pytest.fixture(scope="module")
def model(keras: Any) -> Any:
    """Layers, arithmetic on tensors, and all that compile() takes."""
    keras.utils.set_random_seed(3)
    given = keras.Input((4,))
    hidden = keras.layers.Dense(3, activation="relu")(given) + 1.0
    hidden = keras.layers.BatchNormalization()(hidden)
    out = keras.layers.Dense(2, kernel_initializer=keras.initializers.HeNormal())(hidden)
    model = keras.Model(given, out)
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model.compile(keras.optimizers.Adam(rate), keras.losses.mean_squared_error, metrics=["mae"])
    return model


@pytest.fixture(scope="module")
def ours(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ours") / "m"
    save(FLAVOR, model, folder)
    return folder


def test_mlflow_opens_what_we_save_and_we_open_what_it_saves(
    keras: Any, model: Any, ours: Path, tmp_path: Path
) -> None:
    right = model.predict(ROWS, verbose=0)
    mlflow_save("keras", model, tmp_path / "theirs")
    assert np.array_equal(mlflow_load("keras", ours).predict(ROWS, verbose=0), right)
    assert np.array_equal(mlflow_predict(ours, ROWS), right)
    for folder in (ours, tmp_path / "theirs"):
        assert formats(FLAVOR, folder) == {"keras"}
        audit(folder)
        assert isinstance(load(FLAVOR, folder), keras.Model)
        assert np.array_equal(predict(FLAVOR, folder, ROWS), right)
    assert section(FLAVOR, ours) == {**section(FLAVOR, tmp_path / "theirs"), "code": None}


def test_frames_and_lists_of_rows_are_taken(model: Any, ours: Path) -> None:
    right = model.predict(ROWS, verbose=0)
    frame = pd.DataFrame(ROWS, index=list("xyz"))
    pd.testing.assert_frame_equal(predict(FLAVOR, ours, frame), mlflow_predict(ours, frame))
    assert np.array_equal(predict(FLAVOR, ours, ROWS.tolist()), right)


def test_several_inputs_come_by_name_or_by_place(keras: Any, tmp_path: Path) -> None:
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    save(FLAVOR, keras.Model([a, b], keras.layers.Add()([a, b])), tmp_path / "m")
    left, right = ROWS[:, :2], ROWS[:, 2:]
    assert np.array_equal(predict(FLAVOR, tmp_path / "m", {"a": left, "b": right}), left + right)
    assert np.array_equal(predict(FLAVOR, tmp_path / "m", [left, right]), left + right)


def test_a_lambda_layer_needs_a_word_from_the_loader(
    keras: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1.0)])
    save(FLAVOR, plain, tmp_path / "ours")
    assert "keras-code" in caplog.text
    mlflow_save("keras", plain, tmp_path / "theirs")
    for folder in (tmp_path / "ours", tmp_path / "theirs"):
        assert formats(FLAVOR, folder) == {"keras-code"}
        with pytest.raises(PolicyViolation, match="keras-code"):
            load(FLAVOR, folder)
        assert np.array_equal(predict(FLAVOR, folder, ROWS, allow=["keras-code"]), ROWS + 1)


def test_a_layer_of_ones_own_is_built_for_a_loader_who_trusts_it(
    keras: Any, tmp_path: Path
) -> None:
    own = doubled_layer(keras)
    save(FLAVOR, keras.Sequential([keras.Input((4,)), own()]), tmp_path / "m")
    assert formats(FLAVOR, tmp_path / "m") == {"keras-code"}
    with pytest.raises(PolicyViolation, match="keras-code"):
        load(FLAVOR, tmp_path / "m")
    with pytest.raises(InvalidModel, match="Doubled"):
        load(FLAVOR, tmp_path / "m", allow=["keras-code"])
    word: dict[str, Any] = {"allow": ["keras-code"], "trusted": [f"{__name__}.Doubled"]}
    assert np.array_equal(predict(FLAVOR, tmp_path / "m", ROWS, **word), 2 * ROWS)


def doubled_layer(keras: Any) -> Any:
    """A class of this module's, made when Keras is there."""

    class Doubled(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    Doubled.__qualname__ = "Doubled"
    globals()["Doubled"] = Doubled
    return Doubled


def changed(source: Path, folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A copy of a model whose configuration is another."""
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_bytes((source / "MLmodel").read_bytes())
    archive = zipfile.ZipFile(source / "data" / "model.keras")
    with archive as old, zipfile.ZipFile(folder / "data" / "model.keras", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            new.writestr(name, content)
    return folder


@pytest.mark.parametrize(
    "found",
    [
        {"module": "os", "class_name": "system", "config": "true"},
        {"module": "keras.utils", "class_name": "function", "config": "get_file"},
        {"module": "keras.saving", "class_name": "function", "config": "load_model"},
        {"module": "keras.src.utils.torch_utils", "class_name": "TorchModuleWrapper", "config": {}},
        {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {}},
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/x"}},
        {
            "module": "keras.layers",
            "class_name": "StringLookup",
            "config": {"vocabulary": "/etc/x"},
        },
        {"class_name": "__lambda__", "config": {"code": ""}},
        {"class_name": "Lambda", "config": {}},
        {"module": ["os"], "class_name": "system", "config": {}},
        {"module": "builtins", "class_name": "function", "config": "exec"},
    ],
)
def test_an_archive_that_would_run_something_is_found_out_wherever_it_says_so(
    ours: Path, tmp_path: Path, found: dict[str, Any]
) -> None:
    bad = changed(
        ours, tmp_path / "m", lambda config: config["config"]["layers"][1].update({"x": [found]})
    )
    assert formats(FLAVOR, bad) == {"keras-code"}
    with pytest.raises(PolicyViolation, match="keras-code"):
        load(FLAVOR, bad)


def test_what_is_no_archive_of_keras_is_not_opened(ours: Path, tmp_path: Path) -> None:
    bad = changed(ours, tmp_path / "m", lambda config: None)
    file = bad / "data" / "model.keras"
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("data.pkl", pickle.dumps([1]))
    assert formats(FLAVOR, bad) == {"keras-code"}
    file.write_bytes(pickle.dumps([1]))
    assert formats(FLAVOR, bad) == {"pickle"}
    with pytest.raises(PolicyViolation, match="pickle"):
        load(FLAVOR, bad)
    file.write_bytes(b"\x89HDF\r\n\x1a\n of old")
    assert formats(FLAVOR, bad) == {"keras-code"}
    with pytest.raises(InvalidModel, match="not an archive of Keras 3"):
        load(FLAVOR, bad, allow=["keras-code"])
    for content in (b"", b"something", b"PK\x03\x04"):
        file.write_bytes(content)
        with pytest.raises(InvalidModel, match="not an archive of Keras 3"):
            load(FLAVOR, bad)
    exported = {**section(FLAVOR, bad), "save_exported_model": True}
    with pytest.raises(InvalidModel, match="SavedModel"):
        FLAVOR.load(bad, exported, Permit(formats=SAFE))


def test_models_are_claimed_and_exports_are_not_written(model: Any, tmp_path: Path) -> None:
    assert find_flavor(model).name == "keras"
    with pytest.raises(InvalidParameter, match="SavedModel"):
        save(FLAVOR, model, tmp_path / "m", save_exported_model=True)
