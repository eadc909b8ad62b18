"""Signatures enforced: what passes, what is converted, and what is refused in which words."""

from __future__ import annotations

import datetime as dt
import decimal
import logging
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from mlflow.models.utils import _enforce_params_schema, _enforce_schema
from mlflow.types import ParamSchema as TheirParams
from mlflow.types import Schema as TheirSchema

from headrace.errors import InvalidParameter
from headrace.models import frames
from headrace.models.enforcement import Enforcer, compile_signature
from headrace.models.signature import (
    AnyType,
    Array,
    ColSpec,
    Map,
    ModelSignature,
    Object,
    ParamSchema,
    ParamSpec,
    Property,
    Schema,
    TensorSpec,
)

FOUR = Schema(
    [ColSpec("double", "a"), ColSpec("long", "b"), ColSpec("string", "c"), ColSpec("boolean", "d")]
)
ROW = {"a": 1.5, "b": 2, "c": "x", "d": True}


def enforcer(*specs: ColSpec | TensorSpec) -> Enforcer:
    return compile_signature(ModelSignature(Schema(list(specs))))


def four() -> Enforcer:
    return compile_signature(ModelSignature(FOUR))


@pytest.fixture(params=["pandas' parts", "public ways"])
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a pandas whose parts are as expected, and with one whose parts are not."""
    if request.param == "public ways":
        monkeypatch.setattr(frames, "_parts", lambda: None)
    else:
        assert frames._parts() is not None


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize(
    "data",
    [
        ROW,
        [ROW],
        pd.DataFrame([ROW]),
        pd.DataFrame([ROW]).astype(object),
        {name: np.array([value]) for name, value in ROW.items()},
        {name: [value] for name, value in ROW.items()},
        {name: pd.Series([value]) for name, value in ROW.items()},
        {"d": True, "c": "x", "b": 2, "a": 1.5},
        pd.DataFrame([ROW])[["d", "b", "a", "c"]],
        pd.DataFrame([ROW | {"e": 1}]),
        ROW | {"e": 1},
    ],
    ids=lambda data: type(data).__name__,
)
def test_a_row_arrives_as_a_frame_with_the_signatures_columns_and_types(data: Any) -> None:
    found = four().inputs(data)
    assert found.to_dict("list") == {name: [value] for name, value in ROW.items()}
    assert list(found.columns) == list(ROW)
    assert found["a"].dtype == np.float64
    assert found["b"].dtype == np.int64
    assert found["d"].dtype == np.bool_
    assert list(found.index) == [0]


@pytest.mark.usefixtures("_both_ways")
def test_several_rows_keep_their_index_and_their_order() -> None:
    frame = pd.DataFrame([ROW, ROW | {"a": 2.5}], index=["u", "v"])
    found = four().inputs(frame.assign(e=1)[["e", "c", "b", "a", "d"]])
    assert list(found.index) == ["u", "v"]
    assert list(found["a"]) == [1.5, 2.5]
    assert four().inputs([ROW, ROW | {"a": 2.5}])["a"].tolist() == [1.5, 2.5]


@pytest.mark.usefixtures("_both_ways")
def test_what_the_model_does_to_its_frame_does_not_reach_the_callers() -> None:
    frame, arrays = pd.DataFrame([ROW]), {name: np.array([one]) for name, one in ROW.items()}
    for given in (frame, arrays, frame.assign(e=1)):
        found = four().inputs(given)
        found["new"] = 1
        found.loc[0, "a"] = -1.0
        found.columns = [*"wxyzv"]
    assert frame.to_dict("list") == {name: [value] for name, value in ROW.items()}
    assert arrays["a"][0] == 1.5
    assert list(four().inputs(ROW).columns) == list(ROW)


FRAMES: list[tuple[str, Any]] = [
    ("double", np.array([1, 2], "i4")),
    ("double", np.array([1, 2], "u2")),
    ("double", np.array([1.5], "f4")),
    ("double", np.array([np.nan, 1.0])),
    ("double", [decimal.Decimal("1.5")]),
    ("float", np.array([1.5], "f4")),
    ("float", np.array([1.5], "f2")),
    ("long", np.array([1], "i4")),
    ("long", np.array([1], "u4")),
    ("integer", np.array([1], "i2")),
    ("integer", np.array([1], "u2")),
    ("boolean", np.array([True])),
    ("string", np.array(["x"], dtype=object)),
    ("string", pd.array(["x"], dtype="string")),
    ("binary", np.array([b"x"], dtype=object)),
    ("datetime", np.array(["2020-01-01"], "M8[s]")),
    ("datetime", np.array(["2020-01-01"], "M8[ns]")),
    ("datetime", np.array([dt.date(2020, 1, 1)], dtype=object)),
    ("long", pd.array([1], dtype="Int64")),
]


@pytest.mark.parametrize(("dtype", "values"), FRAMES, ids=lambda one: str(one)[:30])
def test_columns_are_converted_as_mlflow_converts_them(dtype: str, values: Any) -> None:
    frame = pd.DataFrame({"x": values})
    ours = enforcer(ColSpec(dtype, "x")).inputs(frame)
    theirs = _enforce_schema(frame, TheirSchema.from_json(Schema([ColSpec(dtype, "x")]).to_json()))
    assert ours["x"].dtype == theirs["x"].dtype
    pd.testing.assert_frame_equal(ours, theirs)


REFUSED: list[tuple[str, Any, str]] = [
    ("long", np.array([1.5, 2.0]), "Column 'x': expected long, found a column of float64"),
    (
        "long",
        np.array([1.0, np.nan]),
        "Column 'x', row 1: expected long, found a missing value in a column of float64: integers cannot be missing, "
        "declare the column as double",
    ),
    ("integer", np.array([1 << 40]), "Column 'x': expected integer, found a column of int64"),
    ("long", np.array([1], "u8"), "Column 'x': expected long, found a column of uint64"),
    ("float", np.array([1.5]), "Column 'x': expected float, found a column of float64"),
    ("double", np.array(["1.5"], dtype=object), "Column 'x': expected double, found a column of"),
    ("boolean", np.array([1, 0]), "Column 'x': expected boolean, found a column of int64"),
    ("long", np.array([True]), "Column 'x': expected long, found a column of bool"),
    ("string", np.array([1, 2]), "Column 'x': expected string, found a column of int64"),
    ("double", np.array([1j]), "Column 'x': expected double, found a column of complex128"),
    ("datetime", np.array([1, 2]), "Column 'x': expected datetime, found a column of int64"),
    ("double", pd.to_datetime(["2020-01-01"]), "Column 'x': expected double, found a column of datetime64"),
    ("datetime", pd.to_timedelta([1]), "Column 'x': expected datetime, found a column of timedelta64"),
    (
        "datetime",
        pd.to_datetime(["2020-01-01"]).tz_localize("UTC"),
        "Column 'x': expected datetime without a time zone, found a column of datetime64[",
    ),
]  # fmt: skip


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize(("dtype", "values", "said"), REFUSED, ids=lambda one: str(one)[:30])
def test_columns_that_mlflow_refuses_are_refused_with_name_and_type(
    dtype: str, values: Any, said: str
) -> None:
    frame = pd.DataFrame({"x": values})
    with pytest.raises(InvalidParameter) as refused:
        enforcer(ColSpec(dtype, "x")).inputs(frame)
    assert refused.value.message.startswith(said)
    with pytest.raises(Exception):  # noqa: B017, PT011 - the stock client's own kinds
        _enforce_schema(frame, TheirSchema.from_json(Schema([ColSpec(dtype, "x")]).to_json()))


BETTER: list[tuple[str, Any, str]] = [
    ("string", ["x", None], "Column 'x', row 1: expected string, found "),
    ("string", np.array(["x", 7], dtype=object), "Column 'x', row 1: expected string, found int 7"),
    ("binary", np.array([b"x", "y"], dtype=object), "Column 'x', row 1: expected binary, found str 'y'"),
    ("binary", np.array([None], dtype=object), "Column 'x', row 0: expected binary, found None"),
    ("boolean", np.array([True, None], dtype=object), "Column 'x', row 1: expected boolean, found None"),
    ("datetime", pd.to_datetime(["2020-01-01", None]), "Column 'x', row 1: expected datetime, found a missing value"),
    (
        "datetime",
        np.array([dt.datetime(2020, 1, 1), dt.datetime(1200, 1, 1)], dtype=object),
        "Column 'x', row 1: expected datetime between 1678 and 2261, found datetime",
    ),
    ("double", np.array([1, (1 << 53) + 1]), "Column 'x', row 1: expected double, found int64"),
    ("long", np.array([1, 1 << 70], dtype=object), "Column 'x', row 1: expected long (-9223372036854775808 to"),
    ("long", pd.array([1, None], dtype="Int64"), "Column 'x', row 1: expected long, found a missing value: declare the"),
]  # fmt: skip


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize(("dtype", "values", "said"), BETTER, ids=lambda one: str(one)[:30])
def test_cells_that_do_not_fit_are_refused_with_their_row(
    dtype: str, values: Any, said: str
) -> None:
    with pytest.raises(InvalidParameter) as refused:
        enforcer(ColSpec(dtype, "x")).inputs(pd.DataFrame({"x": values}))
    assert refused.value.message.startswith(said)


@pytest.mark.parametrize(
    ("dtype", "value", "said"),
    [
        ("long", 1.5, "expected long, found float 1.5"),
        ("long", "1", "expected long, found str '1'"),
        ("long", True, "expected long, found bool True"),
        ("long", 1 << 63, "expected long (-9223372036854775808 to 9223372036854775807), found int"),
        ("integer", 1 << 31, "expected integer (-2147483648 to 2147483647), found int 2147483648"),
        ("long", float("nan"), "integers cannot be missing"),
        ("double", (1 << 53) + 1, "which double cannot hold exactly"),
        ("boolean", None, "expected boolean, found None"),
        ("long", None, "expected long, found None"),
        ("double", True, "expected double, found bool True"),
        ("float", 1e39, "expected float (32 bits), found float 1e+39"),
        ("boolean", 1, "expected boolean, found int 1"),
        ("string", 1, "expected string, found int 1"),
        ("string", None, "expected string, found None"),
        ("binary", "x", "expected binary, found str 'x'"),
        ("datetime", "yesterday", "expected datetime (ISO 8601), found str 'yesterday'"),
        ("datetime", dt.datetime(1, 1, 1), "expected datetime between 1678 and 2261"),
        ("datetime", np.datetime64("3000-01-01"), "expected datetime between 1678 and 2261"),
        (
            "datetime",
            dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
            "expected datetime without a time zone",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_a_row_of_values(
    dtype: str, value: Any, said: str
) -> None:
    one = enforcer(ColSpec("long", "n"), ColSpec(dtype, "x"))
    for data in ({"n": 1, "x": value}, [{"n": 1, "x": value}]):
        with pytest.raises(InvalidParameter) as refused:
            one.inputs(data)
        where = "Column 'x': " if isinstance(data, dict) else "Column 'x', row 0: "
        assert refused.value.message.startswith(where)
        assert said in refused.value.message


def test_the_row_among_many_is_named() -> None:
    rows = [ROW, ROW, ROW | {"b": "2"}]
    with pytest.raises(InvalidParameter, match="Column 'b', row 2: expected long, found str '2'"):
        four().inputs(rows)
    with pytest.raises(InvalidParameter, match="Row 1: Column 'c' is missing: the model requires"):
        four().inputs([ROW, {"a": 1.5, "b": 2, "d": True}])
    with pytest.raises(InvalidParameter, match="Row 1: expected a dictionary, found int 7"):
        four().inputs([ROW, 7])


@pytest.mark.parametrize(
    "data",
    [
        {"a": 1.5, "d": True, "z": 1},
        [{"a": 1.5, "d": True, "z": 1}],
        pd.DataFrame([{"a": 1.5, "d": True, "z": 1}]),
        {"a": [1.5], "d": [True], "z": [1]},
    ],
    ids=lambda data: type(data).__name__,
)
def test_missing_columns_are_named_with_their_types_and_the_others_shown(data: Any) -> None:
    with pytest.raises(InvalidParameter) as refused:
        four().inputs(data)
    assert refused.value.message == (
        "Columns 'b', 'c' are missing: the model requires 'b': long (required), 'c': string (required). "
        "There are others that it does not know: 'z'."
    )


def test_optional_columns_may_be_absent_and_their_cells_missing() -> None:
    one = enforcer(ColSpec("double", "a"), ColSpec("string", "s", False), ColSpec("float", "f", False),
                   ColSpec("boolean", "b", False), ColSpec("datetime", "t", False))  # fmt: skip
    assert list(one.inputs({"a": 1.0}).columns) == ["a"]
    assert list(one.inputs(pd.DataFrame({"a": [1.0]})).columns) == ["a"]
    found = one.inputs([{"a": 1.0, "s": None, "f": None, "b": None, "t": None}, {"a": 1, "f": 2.0}])
    assert found["s"].tolist() == [None, None]
    assert found["f"].dtype == np.float32
    assert np.isnan(found["f"][0])
    assert found["b"].tolist() == [None, None]
    assert found["t"].isna().all()
    assert len(one.inputs(pd.DataFrame({"a": [1.0], "s": [None]}))) == 1


@pytest.mark.parametrize("dtype", ["float", "double"])
def test_a_missing_number_is_nan(dtype: str) -> None:
    one = enforcer(ColSpec(dtype, "x"))
    for data in (
        {"x": None}, [{"x": 1.0}, {"x": None}], {"x": [None, float("nan")]}, {"x": [pd.NA]},
        pd.DataFrame({"x": pd.Series([1, None], dtype=object)}),
        pd.DataFrame({"x": pd.array([1, None], dtype="Int8")}),
    ):  # fmt: skip
        found = one.inputs(data)["x"]
        assert str(found.dtype) == {"float": "float32", "double": "float64"}[dtype]
        assert np.isnan(found.to_numpy()[-1])


def test_columns_that_are_not_known_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    one = four()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            one.inputs(ROW | {"z": 1})
            one.inputs(pd.DataFrame([ROW | {"z": 1}]))
    assert caplog.text.count("Columns 'z' are ignored") == 1


def test_columns_of_several_lengths_and_shapes_are_refused() -> None:
    two = enforcer(ColSpec("double", "a"), ColSpec("double", "b"))
    with pytest.raises(
        InvalidParameter, match="Column 'b': expected 2 rows, as many as column 'a' has, found 3"
    ):
        two.inputs({"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]})
    with pytest.raises(
        InvalidParameter,
        match=r"Column 'b': expected an array of one dimension, found one of shape",
    ):
        two.inputs({"a": np.ones(2), "b": np.ones((2, 2))})
    with pytest.raises(
        InvalidParameter, match="Column 'b': expected a list or an array, found float"
    ):
        two.inputs({"a": [1.0], "b": 1.0})
    with pytest.raises(InvalidParameter, match="Column 'a' is there 2 times"):
        two.inputs(pd.DataFrame([[1.0, 1.0, 2.0]], columns=["a", "a", "b"]))


def test_columns_without_names_are_taken_by_position() -> None:
    two = enforcer(ColSpec("double"), ColSpec("long"))
    for data in (
        [[1.5, 2], [2.5, 3]],
        pd.DataFrame({"p": [1.5, 2.5], "q": [2, 3], "r": [0, 0]}),
        {0: [1.5, 2.5], 1: [2, 3]},
    ):
        found = two.inputs(data)
        assert found.iloc[:, 0].tolist() == [1.5, 2.5]
        assert found.iloc[:, 1].tolist() == [2, 3]
        assert found.shape == (2, 2)
    assert enforcer(ColSpec("double"), ColSpec("double")).inputs(np.ones((3, 2))).shape == (3, 2)
    with pytest.raises(InvalidParameter, match="The model takes 2 columns, found an array of 1"):
        two.inputs(np.ones((3, 1)))
    with pytest.raises(InvalidParameter, match="The model takes 2 columns, found a frame of 1"):
        two.inputs(pd.DataFrame({"a": [1.0]}))
    with pytest.raises(InvalidParameter, match="Row 1: expected a list of 2 values"):
        two.inputs([[1.0, 2], [1.0]])


def test_one_column_takes_values_lists_and_series() -> None:
    one = enforcer(ColSpec("string"))
    for data in ("x", ["x"], np.array(["x"]), pd.Series(["x"]), pd.DataFrame({"any": ["x"]})):
        assert one.inputs(data).iloc[:, 0].tolist() == ["x"]
    with pytest.raises(InvalidParameter, match="Column 0, row 1: expected string, found int 7"):
        one.inputs(["x", 7])


@pytest.mark.parametrize(
    "data", [np.ones((2, 4)), [[1.5, 2, "x", True]], [1, 2], 7, None, "x", object(), []]
)
def test_data_without_names_are_refused_where_columns_have_some(data: Any) -> None:
    with pytest.raises(InvalidParameter, match="The model takes columns"):
        four().inputs(data)


NESTED = (
    ColSpec(Array("string"), "tags"),
    ColSpec(Object([Property("lat", "double"), Property("lon", "double", False)]), "place"),
    ColSpec(Map("long"), "counts", required=False),
    ColSpec(AnyType(), "more", required=False),
    ColSpec(Array(Object([Property("n", "long")])), "items", required=False),
)


def test_nested_columns_are_checked_to_the_bottom() -> None:
    one = enforcer(*NESTED)
    row = {
        "tags": ["x"],
        "place": {"lat": 1},
        "counts": {"a": 1},
        "more": [1, "x"],
        "items": [{"n": 1}],
    }
    for data in (row, [row], pd.DataFrame([row])):
        found = one.inputs(data)
        assert found["place"][0] == {"lat": 1.0}
        assert found["items"][0] == [{"n": 1}]
        assert found["more"][0] == [1, "x"]
    assert row["place"] == {"lat": 1}
    assert list(one.inputs({"tags": np.array(["x"]), "place": {"lat": 1.0}})["tags"][0]) == ["x"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tags": ["x", 7]}, "Column 'tags', row 0, at [1]: expected string, found int 7"),
        ({"tags": "x"}, "Column 'tags', row 0: expected Array(string), found str 'x'"),
        ({"place": {}}, "Column 'place', row 0, at lat: expected double, found nothing"),
        ({"place": {"lat": "x"}}, "Column 'place', row 0, at lat: expected double, found str 'x'"),
        ({"place": {"lat": 1, "z": 1}}, "one of the properties lat, lon, found the property 'z'"),
        ({"place": None}, "Column 'place', row 0: expected an object, found None"),
        ({"counts": {"a": 1.5}}, "Column 'counts', row 0, at ['a']: expected long, found float"),
        ({"counts": {1: 1}}, "expected keys that are strings, found int 1"),
        ({"items": [{"n": 1}, {"n": "x"}]}, "Column 'items', row 0, at [1].n: expected long"),
    ],
)
def test_what_is_wrong_in_a_nested_column_is_named_by_its_path(
    change: dict[str, Any], said: str
) -> None:
    row = {"tags": ["x"], "place": {"lat": 1.0}} | change
    for data in ([row], pd.DataFrame([row])):
        with pytest.raises(InvalidParameter) as refused:
            enforcer(*NESTED).inputs(data)
        assert said in refused.value.message


def test_tensors_are_passed_as_they_are() -> None:
    one = enforcer(TensorSpec(np.dtype("f4"), (-1, 2)))
    array = np.ones((3, 2), "f4")
    assert one.inputs(array) is array
    assert one.inputs([[1, 2], [3, 4]]).dtype == np.float32
    assert one.inputs(pd.DataFrame({"a": [1.0], "b": [2.0]}).astype("f4")).shape == (1, 2)
    assert one.inputs(pd.DataFrame({"a": [[1.0, 2.0], [3.0, 4.0]]})).tolist() == [[1, 2], [3, 4]]
    sparse = enforcer(TensorSpec(np.dtype("f8"), (-1, 3)))
    matrix = sp.csr_matrix(np.eye(3))
    assert sparse.inputs(matrix) is matrix
    names = enforcer(
        TensorSpec(np.dtype("f8"), (-1, 2), "a"), TensorSpec(np.dtype("i8"), (-1,), "b")
    )
    found = names.inputs({"a": np.ones((2, 2)), "b": np.ones(2, "i8"), "c": 1})
    assert list(found) == ["a", "b"]
    assert names.inputs(pd.DataFrame({"a": [[1.0, 2.0]], "b": [3]}))["a"].shape == (1, 2)
    assert enforcer(TensorSpec(np.dtype("f8"), (-1,), "a")).inputs(np.ones(2))["a"].shape == (2,)
    text = enforcer(TensorSpec(np.dtype("str"), (-1,)))
    assert text.inputs(np.array(["abc"])).tolist() == ["abc"]


def test_ragged_arrays_pass_where_the_shape_leaves_a_length_open() -> None:
    ragged = np.empty(2, dtype=object)
    ragged[:] = [np.ones((2, 3)), np.ones((5, 3))]
    assert enforcer(TensorSpec(np.dtype("f8"), (-1, -1, 3))).inputs(ragged) is ragged
    assert enforcer(TensorSpec(np.dtype("O"), (-1,))).inputs(ragged) is ragged


def _ragged(*shapes: tuple[int, ...]) -> Any:
    array = np.empty(len(shapes), dtype=object)
    for index, shape in enumerate(shapes):
        array[index] = np.ones(shape)
    return array


@pytest.mark.parametrize(
    ("shape", "data", "said"),
    [
        ((-1, 2), np.ones((3, 3)), "expected a tensor of float64 of shape (-1, 2), found shape (3, 3)"),
        ((-1, 2), np.ones(2), "found shape (2,)"),
        ((-1, 2), np.ones((3, 2), "f4"), "found dtype float32; convert it with .astype('float64')"),
        ((-1, 2), np.ones((3, 2), "i8"), "found dtype int64"),
        ((-1, 2), [[1.0, 2.0], [1.0]], "row 1: expected a tensor"),
        ((-1, 2), [["a", "b"]], "expected double, found str 'a'"),
        ((-1, 2), _ragged((2,), (3,)), "found an array of objects of shapes (2,), (3,)"),
        ((-1, -1, 3), _ragged((2, 3), (2, 4)), "row 1: expected a tensor of float64 of shape (-1, 3), found shape (2, 4)"),
        ((-1, 2), pd.DataFrame({"a": [[1.0, 2.0], [1.0]]}), "row 1: expected 2 values"),
        ((-1, -1), pd.DataFrame({"a": [1.0]}), "found a column of a frame"),
        ((-1, 2), "x", "found str 'x'"),
        ((-1, 2), sp.csr_matrix(np.eye(3)), "found shape (3, 3)"),
    ],
    ids=lambda one: str(one)[:20],
)  # fmt: skip
def test_a_tensor_of_another_kind_is_refused(shape: tuple[int, ...], data: Any, said: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        enforcer(TensorSpec(np.dtype("f8"), shape)).inputs(data)
    assert refused.value.message.startswith("The input")
    assert said in refused.value.message


def test_a_missing_tensor_is_named() -> None:
    names = enforcer(TensorSpec(np.dtype("f8"), (-1,), "a"), TensorSpec(np.dtype("f8"), (-1,), "b"))
    with pytest.raises(InvalidParameter, match="Tensor 'b' is missing"):
        names.inputs({"a": np.ones(2)})
    with pytest.raises(InvalidParameter, match="Tensor 'b': expected a tensor of float64"):
        names.inputs({"a": np.ones(2), "b": np.ones((2, 2))})
    with pytest.raises(InvalidParameter, match="a dictionary of tensors"):
        names.inputs(np.ones(2))


PARAMS = ParamSchema(
    [
        ParamSpec("top", "long", 3),
        ParamSpec("t", "double", 0.5),
        ParamSpec("names", "string", ["a"], (-1,)),
        ParamSpec("when", "datetime", "2020-01-01"),
        ParamSpec("o", Object([Property("k", "string")]), {"k": "x"}),
        ParamSpec("none", "string", None),
    ]
)


@pytest.mark.parametrize(
    "given",
    [None, {}, {"top": 5}, {"t": 1}, {"t": np.float32(2)}, {"names": ["x", "y"]}, {"names": np.array(["x"])},
     {"when": dt.datetime(2021, 1, 1)}, {"when": "2021-01-01T10:00:00"}, {"o": {"k": "y"}}, {"top": None}, {"z": 1}],
)  # fmt: skip
def test_parameters_are_what_mlflow_makes_of_them(given: dict[str, Any] | None) -> None:
    ours = compile_signature(ModelSignature(params=PARAMS)).params(given)
    theirs = _enforce_params_schema(given, TheirParams.from_json(PARAMS.to_json()))
    assert ours == theirs
    assert {name: type(one) for name, one in ours.items()} == {
        name: type(one) for name, one in theirs.items()
    }


@pytest.mark.parametrize(
    "given", [{"top": 1.5}, {"top": "x"}, {"top": True}, {"t": "x"}, {"names": "x"}, {"names": [1]},
              {"when": "never"}, {"when": 7}, {"o": {"k": 1}}, {"o": 1}, [1]]
)  # fmt: skip
def test_parameters_of_another_type_are_refused(given: Any) -> None:
    with pytest.raises(InvalidParameter, match="Parameter"):
        compile_signature(ModelSignature(params=PARAMS)).params(given)


def test_unknown_parameters_are_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert compile_signature(None).params({"z": 1}) == {}
    assert "Parameters z are ignored: the model's signature knows none." in caplog.text


def test_without_a_signature_everything_passes() -> None:
    data = object()
    assert compile_signature(None).inputs(data) is data


def test_rows_become_arrays_without_pandas() -> None:
    code = (
        "import sys, numpy as np\n"
        "from headrace.models.enforcement import compile_signature\n"
        "from headrace.models.signature import *\n"
        "e = compile_signature(ModelSignature(Schema([ColSpec('double', 'a'), ColSpec('string', 'b')])))\n"
        "found = e.columns({'a': 1, 'b': 'x'})\n"
        "assert found['a'].tolist() == [1.0] and found['b'].tolist() == ['x'], found\n"
        "assert e.columns({'a': np.ones(2), 'b': ['x', 'y']})['b'].tolist() == ['x', 'y']\n"
        "assert 'pandas' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_frames_of_one_layout_share_a_plan_and_others_do_not() -> None:
    one = four()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            assert one.inputs(pd.DataFrame([ROW]))["b"].dtype == np.int64
            assert one.inputs(pd.DataFrame([ROW]).astype({"b": "i4"}))["b"].dtype == np.int64
            swapped = pd.DataFrame([ROW])[["b", "a", "c", "d"]]
            assert one.inputs(swapped)["b"].tolist() == [2]
            renamed = pd.DataFrame([[2.5, 1, "x", True]], columns=["a", "b", "c", "d"])
            assert one.inputs(renamed)["a"].tolist() == [2.5]
            with pytest.raises(InvalidParameter, match="'a' is missing"):
                one.inputs(renamed.rename(columns={"a": "A"}))
