"""Signatures in MLflow's JSON, both ways."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.models import ModelSignature as TheirSignature

from headrace.errors import InvalidParameter
from headrace.models.signature import (
    AnyType,
    Array,
    ColSpec,
    ColumnType,
    DataType,
    Map,
    ModelSignature,
    Object,
    ParamSchema,
    ParamSpec,
    Property,
    Schema,
    SparkMLVector,
    TensorSpec,
)

names = st.text(min_size=1, max_size=6)
scalars = st.sampled_from(list(DataType))


def _objects(inner: st.SearchStrategy[ColumnType]) -> st.SearchStrategy[Object]:
    return st.lists(
        st.builds(Property, names, inner, st.booleans()),
        min_size=1,
        max_size=3,
        unique_by=lambda one: one.name,
    ).map(Object)


types: st.SearchStrategy[ColumnType] = st.recursive(
    scalars | st.just(AnyType()),
    lambda inner: inner.map(Array) | inner.map(Map) | _objects(inner),
    max_leaves=5,
) | st.sampled_from(
    [SparkMLVector(), Array(SparkMLVector())]
)  # deeper, MLflow loses what it lies in
columns = st.lists(st.builds(ColSpec, types, names, st.booleans()), min_size=1, max_size=4).map(
    Schema
) | st.lists(types.map(ColSpec), min_size=1, max_size=3).map(Schema)
tensors = st.lists(
    st.builds(
        TensorSpec,
        st.sampled_from([np.dtype(one) for one in ("f4", "f8", "i8", "u1", "bool", "str", "bytes", "O", "M8[ns]")]),
        st.lists(st.integers(-1, 5), min_size=1, max_size=3).map(tuple),
        names,
    ),
    min_size=1,
    max_size=3,
).map(Schema)  # fmt: skip
VALUES: dict[DataType, st.SearchStrategy[Any]] = {
    DataType.boolean: st.booleans(),
    DataType.integer: st.integers(-100, 100),
    DataType.long: st.integers(-(1 << 60), 1 << 60),
    DataType.float: st.floats(width=32, allow_nan=False),
    DataType.double: st.floats(allow_nan=False),
    DataType.string: st.text(max_size=8),
    DataType.datetime: st.datetimes(dt.datetime(1980, 1, 1), dt.datetime(2100, 1, 1)),
}


@st.composite
def params(draw: st.DrawFn) -> ParamSchema:
    found = []
    for name in draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        dtype = draw(st.sampled_from(list(VALUES)))
        if draw(st.booleans()):
            found.append(ParamSpec(name, dtype, draw(st.none() | VALUES[dtype])))
        else:
            found.append(ParamSpec(name, dtype, draw(st.lists(VALUES[dtype], max_size=3)), (-1,)))
    if draw(st.booleans()):
        found.append(ParamSpec("object", Object([Property("k", "string")]), {"k": draw(st.text())}))
        found = list({one.name: one for one in found}.values())
    return ParamSchema(found)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(columns | tensors, st.none() | columns | tensors, st.none() | params())
def test_signatures_go_to_mlflow_and_come_back_the_same(
    inputs: Schema, outputs: Schema | None, given_params: ParamSchema | None
) -> None:
    ours = ModelSignature(inputs, outputs, given_params)
    if given_params is not None and any(
        one.default is None and one.dtype is DataType.datetime for one in given_params
    ):
        return  # MLflow cannot write such a default at all
    text = ours.to_dict()
    theirs = TheirSignature.from_dict(text)
    assert theirs.to_dict() == text
    back = ModelSignature.from_dict(theirs.to_dict())
    assert back == ours
    assert back.to_dict() == text


def test_signatures_of_older_releases_are_read() -> None:
    read = ModelSignature.from_dict(
        {
            "inputs": '[{"name": "a", "type": "double"}, {"name": "b", "type": "long", "optional": true}]',
            "outputs": '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]',
            "params": '[{"name": "t", "dtype": "double", "default": 0.5, "shape": null}]',
        }
    )
    assert read.inputs == Schema([ColSpec("double", "a"), ColSpec("long", "b", required=False)])
    assert read.outputs == Schema([TensorSpec(np.dtype("int64"), (-1,))])
    assert read.params == ParamSchema([ParamSpec("t", "double", 0.5)])


def test_a_signature_shows_itself_line_by_line() -> None:
    signature = ModelSignature(
        Schema([ColSpec("long", "a"), ColSpec(Array(Object([Property("z", "string", False)])), "b", False)]),
        Schema([TensorSpec(np.dtype("float32"), (-1, 3))]),
        ParamSchema([ParamSpec("top", "long", [1], (-1,))]),
    )  # fmt: skip
    assert repr(signature).splitlines() == [
        "inputs:",
        "  'a': long (required)",
        "  'b': Array({z: string (optional)}) (optional)",
        "outputs:",
        "  Tensor('float32', (-1, 3))",
        "params:",
        "  'top': long (default: [1]) (shape: (-1,))",
    ]


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: ColSpec("int"), "There is no type 'int'"),
        (lambda: ColSpec(int), "Expected a type such as"),
        (lambda: Schema([]), "at least one"),
        (lambda: Schema([ColSpec("long", "a"), ColSpec("long")]), "Name all columns"),
        (
            lambda: Schema([ColSpec("long", "a"), TensorSpec(np.dtype(int), (-1,), "b")]),
            "not of both",
        ),
        (lambda: Schema([ColSpec("long", None, False)]), "cannot be optional"),
        (lambda: Schema([TensorSpec(np.dtype(int), (-1,))] * 2), "Several tensors need names"),
        (lambda: TensorSpec(int, (-1,)), "must be a numpy.dtype"),
        (lambda: TensorSpec(np.dtype("U5"), (-1,)), "has no size"),
        (lambda: TensorSpec(np.dtype(int), (-2,)), "-1 for any"),
        (lambda: Object([]), "at least one property"),
        (lambda: Object([Property("a", "long"), Property("a", "long")]), "'a' twice"),
        (lambda: ParamSpec("p", "binary", b""), "any scalar type but binary"),
        (lambda: ParamSpec("p", "long", "x"), "Parameter 'p': expected long, found str 'x'"),
        (lambda: ParamSpec("p", "long", 1, (2,)), "(-1,), for a list"),
        (lambda: ParamSpec("p", "long", 1, (-1,)), "expected a list of long"),
        (
            lambda: ParamSchema([ParamSpec("p", "long", 1), ParamSpec("p", "long", 2)]),
            "there twice",
        ),
        (lambda: ModelSignature(), "at least one of inputs"),
        (lambda: ModelSignature(inputs=3), "must be a Schema or None, not int"),
    ],
)
def test_a_signature_that_means_nothing_is_refused(build: Any, said: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        build()
    assert said in refused.value.message


@pytest.mark.parametrize(
    "inputs",
    [
        [1],
        ["long"],
        [{"type": 3}],
        [{"name": "a"}],
        [{"type": "array"}],
        [{"type": "object", "properties": []}],
        [{"type": "map", "values": "x"}],
        [{"type": "long", "name": ["a"]}],
        [{"type": "tensor"}],
        [{"type": "tensor", "tensor-spec": {"dtype": "f8,f8", "shape": [-1]}}],
        [{"type": "tensor", "tensor-spec": {"dtype": {"names": []}, "shape": [-1]}}],
        [{"type": "tensor", "tensor-spec": {"dtype": "nope", "shape": [-1]}}],
        [{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": 3}}],
        [{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": ["a"]}}],
        {"type": "long"},
        None,
        7,
    ],
)
def test_json_that_is_no_schema_is_refused(inputs: Any) -> None:
    with pytest.raises(InvalidParameter, match=r"^inputs: "):
        ModelSignature.from_dict({"inputs": json.dumps(inputs)})
