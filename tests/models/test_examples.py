"""Input examples, kept as MLflow keeps them."""

from __future__ import annotations

import datetime as dt
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from mlflow.models import Model
from mlflow.models.utils import _Example, _read_example, _read_example_params

from headrace.errors import InvalidModel, InvalidParameter
from headrace.models.examples import (
    load_example,
    load_example_params,
    load_serving_example,
    save_example,
)
from headrace.models.inference import infer_signature
from headrace.models.mlmodel import MLModel

PARAMS = {"top": 3, "names": ["a"]}
EXAMPLES: list[Any] = [
    pd.DataFrame({"a": [1.5, None], "b": ["x", "y"]}),
    pd.DataFrame([[1, 2], [3, 4]]),
    pd.DataFrame({"a": [b"\x00\xff"], "t": pd.to_datetime(["2020-01-02T03:04:05"])}),
    pd.DataFrame({"a": np.array([1, 2], "i4"), "b": np.array([1.5, 2.5], "f4")}),
    (pd.DataFrame({"a": [1.5]}), PARAMS),
    np.array([[1.0, 2.0]], "f4"),
    {"a": np.array([1, 2], "i4"), "b": np.array([[1.5]])},
    (np.array([1.0]), PARAMS),
    [{"a": 1, "b": ["x"]}, {"a": 2, "b": []}],
    {"a": 1, "b": {"c": None}},
    {"messages": [{"role": "user", "content": "hi"}]},
    ({"messages": [{"role": "user", "content": "hi"}]}, PARAMS),
    (["x", "y"], PARAMS),
    "text",
    7,
    sp.csr_matrix(np.eye(3)),
    sp.csc_matrix(np.eye(2)),
]


def _json(text: str) -> Any:
    # With pandas 3, MLflow writes a bare NaN for a missing number, which is not JSON.
    return json.loads(text, parse_constant=lambda _: None)


def _same(one: Any, other: Any) -> None:
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, check_dtype=False)
    elif sp.issparse(one):
        assert (one != other).nnz == 0
        assert one.format == other.format
    else:
        np.testing.assert_equal(other, one)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: type(one).__name__)
def test_an_example_is_written_as_mlflow_writes_it_and_read_by_both(
    tmp_path: Path, example: Any
) -> None:
    data = example[0] if isinstance(example, tuple) else example
    info = save_example(tmp_path, example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = _Example(example)
    assert info == theirs.info
    written = json.loads((tmp_path / "input_example.json").read_text())
    assert written == _json(theirs.json_input_example)
    serving = load_serving_example(tmp_path, info)
    assert serving is not None
    assert json.loads(serving) == _json(theirs.json_serving_input)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = infer_signature(data)
    _same(data, load_example(tmp_path, info, signature))
    params = PARAMS if isinstance(example, tuple) else None
    assert load_example_params(tmp_path, info) == params
    MLModel(flavors={}, saved_input_example_info=info, signature=signature).write(tmp_path)
    model = Model.load(str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _same(data, _read_example(model, str(tmp_path)))
    assert _read_example_params(model, str(tmp_path)) == params


def test_a_frame_keeps_its_types_by_the_signature(tmp_path: Path) -> None:
    frame = pd.DataFrame({"i": np.array([1], "i4"), "f": np.array([0.1], "f4"), "b": [b"\xff"],
                          "t": np.array([dt.datetime(2020, 1, 2)], "M8[ns]")})  # fmt: skip
    loaded = load_example(tmp_path, save_example(tmp_path, frame), infer_signature(frame))
    assert [str(one) for one in loaded.dtypes] == ["int32", "float32", "object", "datetime64[ns]"]
    assert loaded["b"][0] == b"\xff"


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ({1, 2}, "found set"),
        ({"a": np.ones(1), "b": 1}, "'b' is int 1: make all of them arrays, or none"),
        ([object()], "cannot be written as JSON"),
        ((["x"], {"p": object()}), "Parameter 'p'"),
        (sp.coo_matrix(np.eye(2)), "use csc or csr"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_is_no_example_is_refused_and_nothing_written(
    tmp_path: Path, example: Any, said: str
) -> None:
    with pytest.raises(InvalidParameter, match=said):
        save_example(tmp_path, example)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("info", "text", "said"),
    [
        ({"type": "dataframe"}, "{", "is not JSON"),
        ({"type": "dataframe"}, "[" * 100_000, "is not JSON"),
        (
            {"type": "dataframe"},
            '{"data": [[1], [1, 2]], "columns": ["a"]}',
            "not hold a dataframe",
        ),
        ({"type": "dataframe"}, "7", "does not hold a dataframe"),
        ({"type": "ndarray"}, "[[1], [1, 2]]", "does not hold a ndarray"),
        ({"type": "sparse_matrix_csr"}, "{}", "does not hold a sparse_matrix_csr"),
        ({"type": "picture"}, "{}", "'picture' is none of"),
        ({"type": "json_object", "params": "true"}, "{}", "no key 'inputs'"),
        ({"type": "json_object", "artifact_path": "gone.json"}, "{}", "cannot be read"),
        ({"type": "json_object", "artifact_path": "../secret.json"}, "{}", "outside the model's"),
        ({"type": "json_object", "artifact_path": "/etc/hostname"}, "{}", "outside the model's"),
    ],
    ids=str,
)
def test_an_example_that_is_not_what_mlmodel_says_is_refused(
    tmp_path: Path, info: dict[str, Any], text: str, said: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.json").write_text("{}")
    (folder / "input_example.json").write_text(text)
    with pytest.raises(InvalidModel, match=said):
        load_example(folder, {"artifact_path": "input_example.json", **info})


def test_no_example_is_none(tmp_path: Path) -> None:
    assert load_example(tmp_path, None) is None
    assert load_example_params(tmp_path, None) is None
    assert load_serving_example(tmp_path, None) is None
