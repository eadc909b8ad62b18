"""Signatures told from data, and from type hints.

The result is what ``mlflow.models.infer_signature`` gives for the same data, with these deviations:

- An object of some class of one's own has no type. MLflow takes it for a string.
- Frames of polars are taken; MLflow does not know them.
- TypedDict and dataclasses are taken as type hints too.
- No warning about integers that cannot be missing: enforcement says so where it happens.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import inspect
import logging
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

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
from headrace.models.tensors import is_sparse
from headrace.models.values import describe, is_null

_log = logging.getLogger(__name__)

_SCALARS: dict[type, DataType] = {
    bool: DataType.boolean,
    np.bool_: DataType.boolean,
    int: DataType.long,
    np.int64: DataType.long,
    np.longlong: DataType.long,  # another type of the same width; ONNX's maps hold it
    np.int32: DataType.integer,
    float: DataType.double,
    np.float64: DataType.double,
    np.float32: DataType.float,
    str: DataType.string,
    np.str_: DataType.string,
    bytes: DataType.binary,
    np.bytes_: DataType.binary,
    bytearray: DataType.binary,
}
_HINTS: dict[Any, DataType] = {
    int: DataType.long,
    str: DataType.string,
    bool: DataType.boolean,
    float: DataType.double,
    bytes: DataType.binary,
    dt.datetime: DataType.datetime,
}
#: Dataclasses are older in MLflow than other hints, and say float for float.
_FIELDS: dict[Any, DataType] = {**_HINTS, float: DataType.float, dt.date: DataType.datetime}


def infer_signature(
    model_input: Any = None, model_output: Any = None, params: Mapping[str, Any] | None = None
) -> ModelSignature:
    """The signature of a model that takes and gives such data.

    Data without a type, such as a tuple, may be anything: a signature that checks nothing. The log says why.
    `infer_schema` raises instead.

    Args:
        model_input: A frame or a series of pandas, a frame of polars, an array, a dictionary of arrays, a sparse
            matrix, a list of dictionaries, a dictionary, a list of values, one value, a dataclass.
        model_output: What the model gives for them, of the same kinds.
        params: Parameters of a prediction with their defaults.

    Raises:
        InvalidParameter: A parameter has no type, or the data are an object of pydantic.
    """
    return ModelSignature(
        inputs=None if model_input is None else _or_anything(model_input, "inputs"),
        outputs=None if model_output is None else _or_anything(model_output, "outputs"),
        params=infer_params(params) if params else None,
    )


def _or_anything(data: Any, part: str) -> Schema:
    if hasattr(type(data), "model_fields"):
        return infer_schema(data)
    try:
        return infer_schema(data)
    except InvalidParameter as error:
        _log.warning(
            "The signature's %s may be anything, nothing is checked: %s", part, error.message
        )
        return Schema([ColSpec(AnyType())])


def infer_schema(data: Any) -> Schema:
    """The schema of some data; see `infer_signature`.

    Raises:
        InvalidParameter: Something in them has no type.
    """
    if dataclasses.is_dataclass(data):
        return schema_of_dataclass(data if isinstance(data, type) else type(data))
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, pandas.Series):
        return Schema([_pandas_column(data.name, data)])
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return Schema([_pandas_column(name, data.iloc[:, at]) for at, name in enumerate(data.columns)])  # fmt: skip
    if "polars" in sys.modules and type(data).__module__.startswith("polars"):
        return infer_schema(data.to_pandas())
    if isinstance(data, np.ndarray):
        return Schema([_tensor(data.dtype, data.shape)])
    if is_sparse(data):
        return Schema([_tensor(data.data.dtype, data.shape)])
    if isinstance(data, dict):
        return _of_dict(data)
    if isinstance(data, list):
        return _of_list(data)
    if hasattr(type(data), "model_fields"):
        raise InvalidParameter(
            f"No signature is told from an object of pydantic ({type(data).__name__}): write the type hint "
            f"`list[{type(data).__name__}]` at predict, and it is told from there"
        )
    return Schema([ColSpec(infer_type(data))])


def infer_params(params: Mapping[str, Any]) -> ParamSchema:
    """The schema of parameters with such values, which become the defaults.

    Raises:
        InvalidParameter: A value is neither a scalar, a list of scalars of one type, nor a dictionary.
    """
    if not isinstance(params, Mapping):
        raise InvalidParameter(f"Parameters must be a dictionary, found {describe(params)}")
    return ParamSchema([_param(str(name), value) for name, value in params.items()])


def infer_type(value: Any) -> ColumnType:
    """The type of one value. None and what is empty may be anything.

    Raises:
        InvalidParameter: It has no type.
    """
    if is_null(value) or (isinstance(value, (list, dict)) and not value):
        return AnyType()
    if isinstance(value, dict):
        properties = []
        for name, one in value.items():
            dtype = infer_type(one)
            properties.append(Property(name, dtype, not isinstance(dtype, AnyType)))
        return Object(properties)
    if isinstance(value, (list, np.ndarray)):
        found = _of_items(value)
        if found is None:
            raise InvalidParameter("An empty array has no type; leave it out, or use a list")
        return found
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return scalar
    if isinstance(value, (dt.date, np.datetime64)):
        return DataType.datetime
    raise InvalidParameter(
        f"There is no type for {describe(value)}; there are booleans, numbers, text, bytes, dates, lists, dictionaries"
    )


def merge(one: ColumnType, other: ColumnType) -> ColumnType:
    """The type of values of which some are of one type and some of another.

    Raises:
        InvalidParameter: There is none.
    """
    if isinstance(one, AnyType):
        return _loosened(other)
    if isinstance(other, AnyType):
        return _loosened(one)
    if one == other:
        return one
    if isinstance(one, Array) and isinstance(other, Array):
        if not isinstance(one, SparkMLVector) and not isinstance(other, SparkMLVector):
            return Array(merge(one.dtype, other.dtype))
    elif isinstance(one, Map) and isinstance(other, Map):
        return Map(merge(one.value_type, other.value_type))
    elif isinstance(one, Object) and isinstance(other, Object):
        return _merged_objects(one, other)
    raise InvalidParameter(
        f"Values are of several types: {one!r} and {other!r}. Make them one, or write the signature by hand with "
        "Array(AnyType())"
    )


def _loosened(dtype: ColumnType) -> ColumnType:
    # As in MLflow: beside something unknown, no property of an object is certain.
    if isinstance(dtype, Object):
        return Object([Property(one.name, one.dtype, False) for one in dtype.properties])
    return dtype


def _merged_objects(one: Object, other: Object) -> Object:
    first = {prop.name: prop for prop in one.properties}
    second = {prop.name: prop for prop in other.properties}
    found = [
        Property(name, prop.dtype, False)
        for name, prop in (first | second).items()
        if name not in first or name not in second
    ]
    for name in first.keys() & second.keys():
        dtype = merge(first[name].dtype, second[name].dtype)
        found.append(Property(name, dtype, first[name].required and second[name].required))
    return Object(found)


def _of_items(values: Any) -> Array | None:
    """The type of a list; None if it tells nothing."""
    dtype: ColumnType | None = None
    for value in values:
        if isinstance(value, np.ndarray) and not value.size:
            continue
        found = infer_type(value)
        dtype = found if dtype is None else _joined(dtype, found)
    return None if dtype is None else Array(dtype)


def _joined(dtype: ColumnType, found: ColumnType) -> ColumnType:
    if isinstance(dtype, DataType) and isinstance(found, AnyType):
        return dtype
    return merge(dtype, found)


def _of_dict(data: dict[Any, Any]) -> Schema:
    if data and all(isinstance(one, np.ndarray) for one in data.values()):
        return Schema([_tensor(one.dtype, one.shape, name) for name, one in data.items()])
    for name in data:
        if not isinstance(name, str):
            raise InvalidParameter(f"Column {name!r}: a name must be a string")
    return Schema([_named(name, infer_type, one, _complete(one)) for name, one in data.items()])


def _of_list(data: list[Any]) -> Schema:
    if not data:
        return Schema([ColSpec(DataType.string)])  # as MLflow before 2.9, and since
    if not all(isinstance(one, dict) for one in data):
        found = _of_items(data)
        if found is None:
            raise InvalidParameter("A list of empty arrays has no type")
        return Schema([ColSpec(found.dtype)])
    columns: dict[Any, list[Any]] = {}
    for row in data:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return Schema(
        [
            _named(name, _of_column, values, all(row.get(name) is not None for row in data))
            for name, values in columns.items()
        ]
    )


def _of_column(values: Any) -> ColumnType:
    found = _of_items(values)
    if found is None:
        raise InvalidParameter("it holds only empty arrays, which have no type")
    return found.dtype


def _named(name: Any, infer: Callable[[Any], ColumnType], values: Any, required: bool) -> ColSpec:
    try:
        return ColSpec(infer(values), name, required)
    except InvalidParameter as error:
        raise InvalidParameter(f"Column {name!r}: {error.message}") from None


def _complete(value: Any) -> bool:
    """Whether nothing is missing in a column."""
    if isinstance(value, list):
        return not any(is_null(one) for one in value)
    return not is_null(value)


def _tensor(dtype: np.dtype[Any], shape: tuple[int, ...], name: str | None = None) -> TensorSpec:
    if not shape:
        raise InvalidParameter(
            "An array of no dimension is no batch of inputs; give it a first one"
        )
    if dtype.char in "US":
        dtype = np.dtype(dtype.type)
    return TensorSpec(dtype, (-1, *shape[1:]), name)


def _pandas_column(name: Any, column: Any) -> ColSpec:
    required = not bool(column.isna().any())
    return _named(name, _pandas_type, column, required)


def _pandas_type(column: Any) -> ColumnType:
    if column.dtype.kind == "O":
        column = column.infer_objects()
    if column.dtype.kind != "O":
        return _numpy_type(column.dtype)
    try:
        found = _of_items(column.to_list())
    except InvalidParameter:
        if column.dtype != object and column.dtype.type is str:
            return DataType.string
        raise
    if found is None:
        raise InvalidParameter("it is empty, so its type is not known; give rows, or another dtype than object")  # fmt: skip
    return found.dtype


def _numpy_type(dtype: Any) -> DataType:
    kind, size = dtype.kind, dtype.itemsize
    if kind == "b":
        return DataType.boolean
    if kind in "iu":
        if size < 4 or (kind == "i" and size == 4):
            return DataType.integer
        if size < 8 or (kind == "i" and size == 8):
            return DataType.long
    if kind == "f" and size <= 8:
        return DataType.float if size <= 4 else DataType.double
    if kind in "USM":
        return {"U": DataType.string, "S": DataType.binary, "M": DataType.datetime}[kind]
    raise InvalidParameter(f"There is no type for values of {dtype}; convert them first")


def _param(name: str, value: Any) -> ParamSpec:
    try:
        dtype, shape = _param_type(value)
        return ParamSpec(name, dtype, value, shape)
    except InvalidParameter as error:
        prefix = "" if repr(name) in error.message else f"Parameter {name!r}: "
        raise InvalidParameter(f"{prefix}{error.message}") from None


def _param_type(value: Any) -> tuple[DataType | Object, tuple[int, ...] | None]:
    if isinstance(value, (list, np.ndarray)):
        if any(isinstance(one, (list, np.ndarray)) for one in value) or np.ndim(value) != 1:
            raise InvalidParameter(f"expected one value or a list of values, found {describe(value)}")  # fmt: skip
        if all(isinstance(one, (dt.date, np.datetime64)) for one in value):
            return DataType.datetime, (-1,)
        return _numpy_type(np.array(value).dtype), (-1,)
    if isinstance(value, (dt.date, np.datetime64)):
        return DataType.datetime, None
    if isinstance(value, dict):
        dtype = infer_type(value)
        if not isinstance(dtype, Object):
            raise InvalidParameter("an empty dictionary has no type")
        return dtype, None
    if np.isscalar(value):
        return _numpy_type(np.array(value).dtype), None
    raise InvalidParameter(f"expected one value or a list of values, found {describe(value)}")


# Type hints.


class Hints(typing.NamedTuple):
    """The type hints of a function.

    Attributes:
        input: Of the argument that takes the data; None without one.
        output: Of what it returns; None without one.
    """

    input: Any = None
    output: Any = None


def hints_of(predict: Callable[..., Any]) -> Hints:
    """The type hints of ``predict(self, context, model_input, params)``, a shorter form of it, or a function."""
    function = predict if hasattr(predict, "__annotations__") else type(predict).__call__
    parameters = [
        name for name in inspect.signature(function).parameters if name not in ("self", "params")
    ]
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError):
        return Hints()  # a hint that cannot be looked up tells nothing
    if not parameters:
        return Hints(None, hints.get("return"))
    at = 1 if "context" in parameters[:1] or len(parameters) == 2 else 0
    return Hints(hints.get(parameters[min(at, len(parameters) - 1)]), hints.get("return"))


def infer_from_hints(
    predict: Callable[..., Any], params: Mapping[str, Any] | None = None
) -> ModelSignature | None:
    """The signature that the type hints of a function give; None if they give none.

    As in MLflow, a hint is ``list[...]`` of what one row is, and frames, series and arrays give none.

    Args:
        predict: See `hints_of`.
        params: Parameters with their defaults, for their part of the signature.

    Raises:
        InvalidParameter: The input's hint is a list of something that has no type.
    """
    hints = hints_of(predict)
    if hints.input is None or typing.get_origin(hints.input) is not list:
        return None
    output = Schema([ColSpec(AnyType())])
    if hints.output is not None:
        with contextlib.suppress(InvalidParameter):  # as in MLflow: then it may give anything
            output = schema_of_hint(hints.output)
    return ModelSignature(
        schema_of_hint(hints.input), output, infer_params(params) if params else None
    )


def schema_of_hint(hint: Any) -> Schema:
    """One column without a name, of what one row is: ``list[str]`` is a column of text.

    Raises:
        InvalidParameter: The hint has no type, or is optional.
    """
    if typing.get_origin(hint) is list:
        (hint,) = typing.get_args(hint)
    dtype, required = type_of_hint(hint)
    if not required:
        raise InvalidParameter(
            f"The hint {_shown(hint)} is optional: rows cannot be missing; use a model with optional fields"
        )
    return Schema([ColSpec(dtype)])


def type_of_hint(hint: Any) -> tuple[ColumnType, bool]:
    """The type of a value with this hint, and whether it is required.

    Raises:
        InvalidParameter: The hint has no type.
    """
    if hint is Any:
        return AnyType(), True
    if hint in _HINTS:
        return _HINTS[hint], True
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return Array(type_of_hint(args[0])[0]), True
    if origin is dict:
        if args[0] is not str:
            raise InvalidParameter(f"The hint {_shown(hint)}: keys must be str")
        return Map(type_of_hint(args[1])[0]), True
    if origin in (typing.Union, types.UnionType):
        rest = [one for one in args if one is not type(None)]
        if len(rest) == 1:
            return type_of_hint(rest[0])[0], False
        return AnyType(), len(rest) == len(args)
    if isinstance(hint, type):
        found = _class_hint(hint)
        if found is not None:
            return found, True
    raise InvalidParameter(
        f"There is no type for the hint {_shown(hint)}. Use list[...] of int, str, bool, float, bytes, datetime, Any, "
        "lists and dictionaries of them, pydantic models, dataclasses or TypedDicts"
    )


def _class_hint(hint: type) -> Object | None:
    """The type of objects of pydantic, of a dataclass, of a TypedDict."""
    fields = getattr(hint, "model_fields", None)
    if isinstance(fields, dict):
        return Object([_pydantic_field(hint, name, one) for name, one in fields.items()])
    if typing.is_typeddict(hint):
        hints = typing.get_type_hints(hint, include_extras=True)
        total = bool(getattr(hint, "__total__", True))
        return Object([_key(name, one, total) for name, one in hints.items()])
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return Object([_field(one.name, hints[one.name], True) for one in dataclasses.fields(hint)])
    return None


def _key(name: str, hint: Any, required: bool) -> Property:
    """A key of a TypedDict. (Its ``__required_keys__`` do not know of annotations that are text.)"""
    origin = typing.get_origin(hint)
    if origin in (typing.Required, typing.NotRequired):
        required, (hint,) = origin is typing.Required, typing.get_args(hint)
    return _field(name, hint, required)


def _field(name: str, hint: Any, required: bool) -> Property:
    dtype, certain = type_of_hint(hint)
    return Property(name, dtype, required and certain)


def _pydantic_field(model: type, name: str, field: Any) -> Property:
    dtype, required = type_of_hint(field.annotation)
    if not required and field.is_required():
        raise InvalidParameter(
            f"The optional field {name!r} of {model.__name__} has no default; give it None"
        )
    return Property(name, dtype, required)


def schema_of_dataclass(dataclass: type) -> Schema:
    """A column for each field, as MLflow has it: a ``float`` is a float here, of 32 bits.

    Raises:
        InvalidParameter: A field has another type than a scalar, a dataclass, or an optional or a list of these.
    """
    hints = typing.get_type_hints(dataclass)
    specs: list[ColSpec | TensorSpec] = []
    for field in dataclasses.fields(cast(Any, dataclass)):
        dtype, required = _field_type(field.name, hints[field.name])
        specs.append(ColSpec(dtype, field.name, required))
    return Schema(specs)


def _field_type(name: str, hint: Any) -> tuple[ColumnType, bool]:
    required = True
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [one for one in typing.get_args(hint) if one is not type(None)]
        if len(rest) != 1 or len(rest) == len(typing.get_args(hint)):
            raise InvalidParameter(f"The field {name!r} is a union; only Optional[...] is one type")
        hint, required = rest[0], False
    if typing.get_origin(hint) is list:
        return Array(_field_type(name, typing.get_args(hint)[0])[0]), required
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        nested = typing.get_type_hints(hint)
        return Object([Property(one.name, *_field_type(one.name, nested[one.name])) for one in dataclasses.fields(hint)]), required  # fmt: skip
    if hint not in _FIELDS:
        raise InvalidParameter(f"There is no type for the field {name!r} of type {_shown(hint)}")
    return _FIELDS[hint], required


def _shown(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
