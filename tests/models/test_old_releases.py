"""Models that MLflow 1.30, 2.22 and 3.17 wrote; see data/README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headrace.models.enforcement import compile_signature
from headrace.models.environment import read_environment
from headrace.models.examples import load_example, load_example_params, load_serving_example
from headrace.models.hashing import folder_digest
from headrace.models.mlmodel import MLModel
from headrace.models.signature import Array, ColSpec, Object, Property, Schema, TensorSpec

DATA = Path(__file__).parent / "data"
RELEASES = {"mlflow-1.30.1": "3.9.18", "mlflow-2.22.2": "3.10.13", "mlflow-3.17.2": "3.11.7"}
COLUMNS = Schema([ColSpec("double", "length"), ColSpec("long", "count"), ColSpec("boolean", "ok")])
NESTED = Schema(
    [
        ColSpec("string", "name"),
        ColSpec(Array("string"), "tags"),
        ColSpec(Object([Property("lat", "double"), Property("lon", "double", False)]), "place"),
    ]
)


def _example(folder: Path, model: MLModel) -> Any:
    return load_example(folder, model.saved_input_example_info, model.signature)


@pytest.mark.parametrize("release", RELEASES)
def test_a_model_with_columns_is_read(release: str) -> None:
    folder = DATA / release / "columns"
    model = MLModel.read(folder)
    assert model.mlflow_version == release.removeprefix("mlflow-")
    assert model.flavors["sklearn"]["serialization_format"] == "cloudpickle"
    assert model.flavors["python_function"]["loader_module"] == "mlflow.sklearn"
    assert model.signature is not None
    assert model.signature.inputs == COLUMNS
    assert model.signature.outputs == Schema([TensorSpec(np.dtype("int64"), (-1,))])
    example = _example(folder, model)
    expected = pd.DataFrame({"length": [1.0, 2.0], "count": [1, 2], "ok": [True, False]})
    pd.testing.assert_frame_equal(example, expected)
    assert compile_signature(model.signature).inputs(example).equals(expected)
    if release > "mlflow-2":
        assert model.metadata == {"team": "fraud", "tags": ["a", "b"]}
        assert load_serving_example(folder, model.saved_input_example_info)


@pytest.mark.parametrize("release", RELEASES)
def test_a_model_with_a_tensor_is_read(release: str) -> None:
    folder = DATA / release / "tensor"
    model = MLModel.read(folder)
    assert model.signature is not None
    assert model.signature.inputs == Schema([TensorSpec(np.dtype("float64"), (-1, 2))])
    example = _example(folder, model)
    assert example.tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert compile_signature(model.signature).inputs(example) is example


@pytest.mark.parametrize("release", [one for one in RELEASES if one > "mlflow-2"])
def test_a_model_with_nested_columns_and_parameters_is_read(release: str) -> None:
    folder = DATA / release / "nested"
    model = MLModel.read(folder)
    assert model.signature is not None
    assert model.signature.inputs == NESTED
    rows = _example(folder, model)
    assert rows[1] == {"name": "b", "tags": ["z"], "place": {"lat": 1.0}}
    enforcer = compile_signature(model.signature)
    assert enforcer.inputs(rows)["place"].tolist()[1] == {"lat": 1.0}
    params = load_example_params(folder, model.saved_input_example_info)
    assert enforcer.params(params) == {"top": 3, "names": ["u", "v"], "strict": True}


@pytest.mark.parametrize("release", RELEASES)
def test_its_environment_is_read(release: str) -> None:
    environment = read_environment(DATA / release / "columns")
    assert environment.python == RELEASES[release]
    assert any(line.startswith("scikit-learn==") for line in environment.requirements)
    assert environment.lock == ()


@pytest.mark.parametrize(
    "file", sorted(DATA.glob("*/*/MLmodel")), ids=lambda one: str(one.parent)[-22:]
)
def test_what_was_read_is_written_with_every_key_and_every_value(
    file: Path, tmp_path: Path
) -> None:
    model = MLModel.read(file)
    model.write(tmp_path)
    assert MLModel.read(tmp_path) == model
    assert model.extra == {}
    assert folder_digest(file.parent).size > 500
