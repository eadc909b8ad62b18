"""ONNX models, by us and by MLflow."""

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
from headrace.models.flavors.onnx import FLAVOR
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

onnx = pytest.importorskip("onnx")
WEIGHTS = np.arange(900, dtype=np.float32).reshape(3, 300)
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


def graph(inputs: list[Any], outputs: list[Any], nodes: list[Any], weights: list[Any]) -> Any:
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", inputs, outputs, weights),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return model


@pytest.fixture(scope="module")
def product() -> Any:
    """x @ weights, whose weights are large enough to lie in a file of their own."""
    number = onnx.TensorProto.FLOAT
    return graph(
        [onnx.helper.make_tensor_value_info("x", number, [None, 3])],
        [onnx.helper.make_tensor_value_info("y", number, [None, 300])],
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        [onnx.numpy_helper.from_array(WEIGHTS, "w")],
    )


@pytest.fixture(scope="module")
def two() -> Any:
    """a + b and a - b, of two columns."""
    number = onnx.TensorProto.FLOAT
    info = onnx.helper.make_tensor_value_info
    return graph(
        [info("a", number, [None]), info("b", number, [None])],
        [info("sum", number, [None]), info("difference", number, [None])],
        [
            onnx.helper.make_node("Add", ["a", "b"], ["sum"]),
            onnx.helper.make_node("Sub", ["a", "b"], ["difference"]),
        ],
        [],
    )


@pytest.mark.parametrize("external", [True, False])
def test_mlflow_opens_what_we_save_and_we_open_what_it_saves(
    product: Any, tmp_path: Path, external: bool
) -> None:
    save(FLAVOR, product, tmp_path / "ours", save_as_external_data=external)
    copy = onnx.ModelProto.FromString(product.SerializeToString())  # MLflow empties what it saves
    mlflow_save("onnx", copy, tmp_path / "theirs", save_as_external_data=external)
    assert len(list((tmp_path / "ours").glob("model.onnx*"))) == (2 if external else 1)

    right = ROWS @ WEIGHTS
    native = mlflow_load("onnx", tmp_path / "ours")
    assert native.graph.initializer[0].raw_data == product.graph.initializer[0].raw_data
    assert np.array_equal(mlflow_predict(tmp_path / "ours", ROWS)["y"], right)
    for folder in (tmp_path / "ours", tmp_path / "theirs"):
        assert formats(FLAVOR, folder) == {"onnx"}
        audit(folder)
        assert load(FLAVOR, folder).graph.initializer[0].raw_data == WEIGHTS.tobytes()
        assert np.array_equal(predict(FLAVOR, folder, ROWS)["y"], right)
    assert set(section(FLAVOR, tmp_path / "ours")) <= set(section(FLAVOR, tmp_path / "theirs"))


def test_the_model_that_was_saved_stays_whole(product: Any, tmp_path: Path) -> None:
    before = product.SerializeToString()
    save(FLAVOR, product, tmp_path / "m", save_as_external_data=True)
    assert product.SerializeToString() == before


def test_frames_arrays_lists_and_dicts_are_fed_as_mlflow_does(two: Any, tmp_path: Path) -> None:
    save(FLAVOR, two, tmp_path / "m")
    frame = pd.DataFrame({"b": [1.0, 2.0], "a": [5.0, 7.0]})  # float64, in another order
    pd.testing.assert_frame_equal(
        predict(FLAVOR, tmp_path / "m", frame), mlflow_predict(tmp_path / "m", frame)
    )
    feed = {"a": frame["a"].to_numpy(), "b": frame["b"].to_numpy()}
    ours = predict(FLAVOR, tmp_path / "m", feed)
    theirs = mlflow_predict(tmp_path / "m", dict(feed))
    assert {name: value.tolist() for name, value in ours.items()} == {
        name: value.tolist() for name, value in theirs.items()
    }
    assert ours["sum"].tolist() == [6.0, 9.0]
    with pytest.raises(InvalidParameter, match="a, b"):
        predict(FLAVOR, tmp_path / "m", ROWS)
    with pytest.raises(InvalidParameter, match="'b' is no column"):
        predict(FLAVOR, tmp_path / "m", frame[["a"]])


def test_a_lone_input_takes_frames_and_lists(product: Any, tmp_path: Path) -> None:
    save(FLAVOR, product, tmp_path / "m")
    right = ROWS @ WEIGHTS
    assert np.array_equal(predict(FLAVOR, tmp_path / "m", ROWS.tolist())["y"], right)
    assert np.array_equal(
        predict(FLAVOR, tmp_path / "m", pd.DataFrame(ROWS))["y"].to_numpy(), right.reshape(-1)
    )


def test_the_session_is_made_as_the_model_says(two: Any, tmp_path: Path) -> None:
    settings = {
        "inter_op_num_threads": 1,
        "intra_op_num_threads": 1,
        "execution_mode": "sequential",
        "graph_optimization_level": 99,
        "extra_session_config": {"session.intra_op.allow_spinning": "0"},
    }
    providers = [("CUDAExecutionProvider", {"device_id": 0}), "CPUExecutionProvider"]
    options = {"onnx_session_options": settings, "onnx_execution_providers": providers}
    feed = {"a": np.float32([1]), "b": np.float32([2])}
    save(FLAVOR, two, tmp_path / "ours", **options)
    mlflow_save("onnx", two, tmp_path / "theirs", **options)
    for folder in (tmp_path / "ours", tmp_path / "theirs"):
        assert predict(FLAVOR, folder, feed)["sum"].tolist() == [3.0]
    assert mlflow_predict(tmp_path / "ours", feed)["sum"].tolist() == [3.0]
    with pytest.raises(InvalidModel, match="onnx_session_options"):
        FLAVOR.save(two, tmp_path, {"onnx_session_options": {"execution_mode": "backwards"}})


@pytest.mark.parametrize(
    "settings",
    [
        {"providers": [["CPUExecutionProvider", {"trt_extra_plugin_lib_paths": "x.so"}]]},
        {"onnx_session_options": {"register_custom_ops_library": "x.so"}},
        {"onnx_session_options": {"extra_session_config": {"ep.context_file_path": "/x"}}},
    ],
)
def test_a_session_loads_nothing_that_a_model_names(
    two: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    save(FLAVOR, two, tmp_path / "m")
    conf = {**section(FLAVOR, tmp_path / "m"), **settings}
    with pytest.raises(PolicyViolation, match="not taken from a model"):
        FLAVOR.load(tmp_path / "m", conf, Permit(formats=SAFE))


def test_tensors_lie_inside_of_the_folder(product: Any, tmp_path: Path) -> None:
    (tmp_path / "outside.data").write_bytes(WEIGHTS.tobytes())
    for place in ("../outside.data", str(tmp_path / "outside.data"), "link.data"):
        folder = tmp_path / f"m{len(list(tmp_path.iterdir()))}"
        save(FLAVOR, product, folder, save_as_external_data=True)
        model = onnx.load(folder / "model.onnx", load_external_data=False)
        model.graph.initializer[0].external_data[0].value = place
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        (folder / "link.data").symlink_to(tmp_path / "outside.data")
        with pytest.raises(InvalidModel, match="the tensor w"):
            load(FLAVOR, folder)


def test_what_is_no_onnx_model_is_not_opened(product: Any, tmp_path: Path) -> None:
    save(FLAVOR, product, tmp_path / "m")
    file = tmp_path / "m" / "model.onnx"
    file.write_bytes(pickle.dumps([1]))
    assert formats(FLAVOR, tmp_path / "m") == {"pickle"}
    with pytest.raises(PolicyViolation, match="pickle"):
        load(FLAVOR, tmp_path / "m")
    for content in (b"", b"something", b"\x08\x08\xff\xff\xff", b"\x08\x08"):
        file.write_bytes(content)
        with pytest.raises(InvalidModel, match=r"model\.onnx"):
            load(FLAVOR, tmp_path / "m")


def test_onnx_models_are_claimed(two: Any) -> None:
    assert find_flavor(two).name == "onnx"
