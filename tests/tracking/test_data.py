"""Descriptions of data sets."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest

import headrace
from headrace.entities import Dataset
from headrace.errors import InvalidParameter

pd = importlib.import_module("pandas")


def test_a_frame_is_described_as_mlflow_describes_it() -> None:
    frame = pd.DataFrame(
        {
            "a": [1, 2, 3],
            "b": [1.5, None, 2.0],
            "c": ["x", "y", "z"],
            "d": [True, False, True],
            "t": pd.to_datetime(["2020-01-01"] * 3),
            "i": np.array([1, 2, 3], dtype="int32"),
            "f": np.array([1, 2, 3], dtype="float32"),
            "o": [None, "x", "y"],
            "u": np.array([1, 2, 3], dtype="uint32"),
            "s8": np.array([1, 2, 3], dtype="int8"),
            "by": [b"a", b"b", b"c"],
        }
    )
    described = headrace.data.from_pandas(frame, source="x.csv", name="n", targets="a").to_dict()
    # What mlflow.data.from_pandas (3.17.2) says of the same frame.
    assert described["digest"] == "d661edcb"
    assert described["source"] == '{"uri": "x.csv"}'
    assert described["source_type"] == "local"
    assert described["profile"] == '{"num_rows": 3, "num_elements": 33}'
    assert described["schema"] == (
        '{"mlflow_colspec": [{"type": "long", "name": "a", "required": true}, '
        '{"type": "double", "name": "b", "required": false}, '
        '{"type": "string", "name": "c", "required": true}, '
        '{"type": "boolean", "name": "d", "required": true}, '
        '{"type": "datetime", "name": "t", "required": true}, '
        '{"type": "integer", "name": "i", "required": true}, '
        '{"type": "float", "name": "f", "required": true}, '
        '{"type": "string", "name": "o", "required": false}, '
        '{"type": "long", "name": "u", "required": true}, '
        '{"type": "integer", "name": "s8", "required": true}, '
        '{"type": "binary", "name": "by", "required": true}]}'
    )


def test_arrays_are_described_as_mlflow_describes_them() -> None:
    features = np.arange(6.0).reshape(2, 3)
    described = headrace.data.from_numpy(features, targets=np.arange(2)).to_dict()
    assert (described["name"], described["digest"]) == ("dataset", "b45bdc02")
    assert described["source_type"] == "code"
    assert json.loads(described["source"] or "")["tags"]["mlflow.source.type"] == "LOCAL"
    assert described["schema"] == (
        '{"mlflow_tensorspec": {"features": "[{\\"type\\": \\"tensor\\", \\"tensor-spec\\": '
        '{\\"dtype\\": \\"float64\\", \\"shape\\": [-1, 3]}}]", "targets": "[{\\"type\\": \\"tensor\\", '
        '\\"tensor-spec\\": {\\"dtype\\": \\"int64\\", \\"shape\\": [-1]}}]"}}'
    )
    assert described["profile"] == (
        '{"features_shape": [2, 3], "features_size": 6, "features_nbytes": 48, '
        '"targets_shape": [2], "targets_size": 2, "targets_nbytes": 16}'
    )
    by_name = headrace.data.from_numpy({"a": features}).to_dict()
    assert by_name["digest"] == "d81bba40"
    assert by_name["profile"] == (
        '{"features_shape": {"a": [2, 3]}, "features_size": {"a": 6}, "features_nbytes": {"a": 48}}'
    )
    text = headrace.data.from_numpy(
        np.array([["a", "b"]], dtype=object), source="https://x.y/z.npy"
    )
    assert text.to_dict()["digest"] == "27a9b79e"
    assert (text.source_type, text.source) == ("http", {"url": "https://x.y/z.npy"})


def test_sources_are_told_apart() -> None:
    frame = pd.DataFrame({"a": [1]})
    assert headrace.data.from_pandas(frame, source="s3://b/x").source_type == "s3"
    assert headrace.data.from_pandas(frame, source="./x/y.csv").source_type == "local"
    with pytest.raises(InvalidParameter, match="source"):
        headrace.data.from_pandas(frame, source=7)
    with pytest.raises(InvalidParameter, match="no column 'b'"):
        headrace.data.from_pandas(frame, targets="b")


def test_a_run_says_what_it_read(tracking_uri: str) -> None:
    headrace.set_tracking_uri(tracking_uri)
    train = headrace.data.from_pandas(pd.DataFrame({"a": [1]}), name="train")
    plain = Dataset(name="plain", digest="1", source_type="local", source="x")
    with headrace.start_run() as run:
        headrace.log_input(train, context="training", tags={"fold": "1"})
        headrace.log_inputs([plain, None], ["evaluation", None], [None, None])
        headrace.log_metric("accuracy", 1, dataset=train)
        with pytest.raises(InvalidParameter, match="Cannot log a DataFrame"):
            headrace.log_input(pd.DataFrame())
        with pytest.raises(InvalidParameter, match="as many"):
            headrace.log_inputs([plain], ["a", "b"])
    inputs = {
        one.dataset.name: (one.dataset, {tag.key: tag.value for tag in one.tags})
        for one in headrace.get_run(run.info.run_id).inputs.dataset_inputs
    }
    assert inputs["train"][1] == {"fold": "1", "mlflow.data.context": "training"}
    assert inputs["train"][0].digest == train.digest
    assert json.loads(inputs["train"][0].profile or "") == {"num_rows": 1, "num_elements": 1}
    assert inputs["plain"] == (plain, {"mlflow.data.context": "evaluation"})
