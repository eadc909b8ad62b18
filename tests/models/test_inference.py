"""Signatures told from data, against MLflow, and from type hints."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import warnings
from typing import Any, NotRequired, TypedDict

import numpy as np
import pandas as pd
import pydantic
import pytest
import scipy.sparse as sp
from mlflow.models import infer_signature as theirs
from mlflow.types.type_hints import _infer_schema_from_list_type_hint

from headrace.errors import InvalidParameter
from headrace.models.inference import (
    hints_of,
    infer_from_hints,
    infer_schema,
    infer_signature,
    schema_of_hint,
)
from headrace.models.signature import Array, ColSpec, Object, Property, Schema

WHEN = dt.datetime(2020, 1, 2, 3, 4, 5)
SAME = [
    pd.DataFrame(
        {
            "a": [1, 2], "b": ["x", "y"], "c": [1.5, None], "d": [True, False],
            "e": pd.to_datetime(["2020-01-01", "2021-01-01"]),
        }
    ),
    pd.DataFrame({"a": [[1, 2], [3]], "b": [{"x": 1}, {"x": 2, "y": "s"}], "c": [b"x", b"y"]}),
    pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": pd.Categorical(["x", "y"])}),
    pd.DataFrame(np.ones((2, 2))),
    pd.DataFrame({"a": ["x", None]}),
    pd.DataFrame({"a": np.array([1, 2], "u1"), "b": np.array([1, 2], "f4"), "c": np.array([1, 2], "u4")}),
    pd.DataFrame({"a": [None, None]}),
    pd.DataFrame({"a": [dt.date(2020, 1, 1)]}),
    pd.Series([1, 2], name="s"),
    pd.Series([1.0]),
    np.ones((2, 3)), np.array(["a", "bb"]), np.ones(2, dtype="i1"), np.array([WHEN], "M8[ns]"),
    {"a": np.ones((2, 2)), "b": np.array([b"x"])},
    {"a": 1, "b": "x", "c": [1.0, 2.0], "d": {"k": [None]}},
    {"a": None}, {"a": np.int32(1), "b": np.float32(2)},
    [{"a": 1, "b": None}, {"a": 2, "c": "x"}],
    [{"m": [{"role": "u", "content": "x"}]}],
    [{"a": [], "b": {}}],
    [{"a": {"x": 1, "y": None}}, {"a": {"x": 2}}],
    [{"a": [{"x": 1}]}, {"a": [{"x": 1, "z": 2.0}, {}]}],
    [{"a": np.array([1, 2])}],
    ["a", "b"], [1, 2], [1, None], [], [[1, 2], [3]], [[{"a": 1}], [{"a": 2, "b": "x"}]],
    1, "x", 1.5, True, b"x", WHEN,
    sp.csr_matrix(np.eye(3)), sp.csc_matrix(np.eye(2, dtype="f4")),
    (1, 2), {1: 2}, [1, "a"], pd.DataFrame({"a": [1, "x"]}), np.array(5), pd.DataFrame({"a": [1 + 2j]}),
]  # fmt: skip


@pytest.mark.parametrize("data", SAME, ids=lambda data: type(data).__name__)
def test_a_signature_is_what_mlflow_infers(data: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert infer_signature(data, data).to_dict() == theirs(data, data).to_dict()


def test_parameters_are_what_mlflow_infers() -> None:
    params = {
        "a": 1, "b": 1.5, "c": "x", "d": True, "e": [1, 2], "f": ["a"], "g": WHEN, "h": {"k": 1, "l": ["x"]},
        "i": np.float32(2), "j": np.array([1.0, 2.0]), "k": np.int32(3), "l": [WHEN], "m": [1, 2.5],
    }  # fmt: skip
    assert infer_signature(params=params).to_dict() == theirs(params=params).to_dict()


@pytest.mark.parametrize("value", [[[1]], None, b"x", {}, (1,), object()])
def test_a_parameter_without_a_type_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidParameter, match="Parameter 'a'"):
        infer_signature(params={"a": value})


def test_data_without_a_type_may_be_anything_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        infer_signature(pd.DataFrame({"a": [1, "x"]}))
    assert "Column 'a': Values are of several types: long and string" in caplog.text
    with pytest.raises(InvalidParameter, match="Column 'a'"):
        infer_schema(pd.DataFrame({"a": [1, "x"]}))


class Place(pydantic.BaseModel):
    lat: float
    lon: float | None = None
    tags: list[str] = []


class Row(TypedDict):
    name: str
    age: NotRequired[int]


@dataclasses.dataclass
class Point:
    x: float
    names: list[str]
    at: dt.datetime | None = None


@pytest.mark.parametrize(
    "hint",
    [list[str], list[int], list[float], list[bytes], list[dt.datetime], list[dict[str, int]],
     list[list[str]], list[Place], list[list[Place]], list[dict[str, Place]], list[Any], list[int | str]],
)  # fmt: skip
def test_a_hint_gives_what_mlflow_infers(hint: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = _infer_schema_from_list_type_hint(hint).to_json()
    assert schema_of_hint(hint).to_json() == expected


def test_typed_dicts_and_dataclasses_are_hints_too() -> None:
    assert schema_of_hint(list[Row]) == Schema(
        [ColSpec(Object([Property("name", "string"), Property("age", "long", False)]))]
    )
    assert schema_of_hint(list[Point]) == Schema(
        [
            ColSpec(
                Object(
                    [
                        Property("x", "double"),
                        Property("names", Array("string")),
                        Property("at", "datetime", False),
                    ]
                )
            )
        ]
    )


def test_a_dataclass_as_data_is_a_column_per_field_as_in_mlflow() -> None:
    # Made so because MLflow does not look up annotations that are text.
    point = dataclasses.make_dataclass(
        "P", [("x", float), ("n", int | None), ("names", list[str]), ("day", dt.date)]
    )(1.0, None, ["a"], WHEN.date())
    assert infer_signature(point).to_dict() == theirs(point).to_dict()


def test_the_hints_of_predict_make_a_signature() -> None:
    class Model:
        def predict(
            self, context: Any, model_input: list[str], params: dict[str, Any] | None = None
        ) -> list[Place]:
            return []

    signature = infer_from_hints(Model().predict, {"top": 3})
    assert signature is not None
    assert signature.inputs == Schema([ColSpec("string")])
    assert signature.outputs == schema_of_hint(list[Place])
    assert signature.params is not None


def test_hints_that_say_nothing_give_no_signature() -> None:
    def plain(data):  # type: ignore[no-untyped-def]
        return data

    def frame(model_input: pd.DataFrame) -> pd.DataFrame:
        return model_input

    def lost(model_input: NoSuchName) -> None:  # type: ignore[name-defined]  # noqa: F821
        return None

    assert infer_from_hints(plain) is None
    assert infer_from_hints(frame) is None
    assert hints_of(frame).input is pd.DataFrame
    assert infer_from_hints(lost) is None


@pytest.mark.parametrize(
    "hint", [list[set[int]], list[int | None], list[dict[int, str]], list[object]]
)
def test_a_hint_without_a_type_is_refused(hint: Any) -> None:
    with pytest.raises(InvalidParameter, match="hint"):
        schema_of_hint(hint)


def test_an_object_of_pydantic_is_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidParameter, match=r"list\[Place\]"):
        infer_signature(Place(lat=1.0))


def test_a_long_long_is_a_long() -> None:
    """ONNX's maps hold it: a type of its own for numpy, with the width of int64."""
    found = infer_signature([{"label": np.longlong(1)}]).inputs
    assert found is not None
    assert found.to_dict()[0]["type"] == "long"
