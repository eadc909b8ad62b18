"""One value of a type: checked, converted where nothing is lost, or refused with a path to what is wrong.

A value from JSON or from Python has no width: ``3`` is an integer, a long or a double, whichever the type
asks for, as long as it fits. What would lose something is refused: a fraction for an integer, an integer of
60 bits for a double, text for a number.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from headrace.models.types import AnyType, Array, ColumnType, DataType, Map, Object

Convert = Callable[[Any], Any]

_INTEGERS = {DataType.integer: 31, DataType.long: 63}
_FLOATS = {DataType.float: 24, DataType.double: 53}
_SPAN = "datetime between 1678 and 2261"
_MAX_FLOAT = float(np.finfo(np.float32).max)


class Refused(ValueError):
    """A value is not of the type.

    Attributes:
        path: Where in the value, such as ``.items[3].name``; empty for the value itself.
        expected: The type that was expected there.
        found: What was found instead.
        row: Where in its column, from 0; None when it is the column as a whole.
    """

    def __init__(self, expected: str, found: str, path: str = "", row: int | None = None) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.path = path
        self.expected = expected
        self.found = found
        self.row = row

    def under(self, step: str) -> Refused:
        """The same, seen from one level up."""
        return Refused(self.expected, self.found, step + self.path)


def is_null(value: object) -> bool:
    """Whether a value is missing: None, NaN, pandas' NA and NaT."""
    if value is None:
        return True
    if isinstance(value, float):
        return value != value
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    return type(value).__name__ in ("NAType", "NaTType")


def converter(dtype: ColumnType, required: bool = True) -> Convert:
    """A function that checks and converts one value; it raises `Refused`.

    Args:
        dtype: What the value has to be.
        required: False lets a missing value through, as None.
    """
    convert = _converter(dtype)
    if required or isinstance(dtype, AnyType):
        return convert
    return lambda value: None if is_null(value) else convert(value)


def _converter(dtype: ColumnType) -> Convert:
    if isinstance(dtype, DataType):
        return _SCALARS[dtype]
    if isinstance(dtype, Array):
        return _array(dtype)
    if isinstance(dtype, Object):
        return _object(dtype)
    if isinstance(dtype, Map):
        return _map(dtype)
    return lambda value: value


def describe(value: object) -> str:
    """A value for an error message: its type, and itself if it is short."""
    if value is None:
        return "None"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _boolean(value: Any) -> bool:
    if type(value) is bool:
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    raise Refused("boolean", describe(value))


def _whole(dtype: DataType) -> Convert:
    bits = _INTEGERS[dtype]
    low, high = -(1 << bits), (1 << bits) - 1

    def convert(value: Any) -> int:
        if type(value) is not int:
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
                raise Refused(dtype.name, _not_whole(value))
            value = int(value)
        if low <= value <= high:
            return int(value)
        raise Refused(f"{dtype.name} ({low} to {high})", describe(value))

    return convert


def _not_whole(value: object) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "a missing value: integers cannot be missing, declare the column as double"
    return describe(value)


def _real(dtype: DataType) -> Convert:
    exact = 1 << _FLOATS[dtype]
    narrow = dtype is DataType.float

    def convert(value: Any) -> float:
        if type(value) is not float:
            if isinstance(value, (bool, np.bool_)):
                raise Refused(dtype.name, describe(value))
            if isinstance(value, (int, np.integer)):
                if not -exact <= value <= exact:
                    raise Refused(
                        dtype.name, f"{describe(value)}, which {dtype.name} cannot hold exactly"
                    )
            elif not isinstance(value, (float, np.floating)):
                value = _decimal(value, dtype)
            value = float(value)
        if narrow and _MAX_FLOAT < abs(value) < math.inf:
            raise Refused("float (32 bits)", describe(value))
        return float(value)

    return convert


def _decimal(value: Any, dtype: DataType) -> float:
    # Spark's decimals arrive so; MLflow takes them for doubles too.
    if type(value).__name__ == "Decimal" and dtype is DataType.double:
        return float(value)
    raise Refused(dtype.name, describe(value))


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise Refused("string", describe(value))


def _binary(value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    raise Refused("binary", describe(value))


def _datetime(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            raise Refused("datetime (ISO 8601)", describe(value)) from None
    if isinstance(value, dt.datetime):
        if is_null(value):
            raise Refused("datetime", "a missing value")
        if value.tzinfo is not None:
            raise Refused(
                "datetime without a time zone", f"{describe(value)}; convert it to UTC and drop the zone"
            )  # fmt: skip
        return _in_span(value)
    if isinstance(value, dt.date):
        return _in_span(dt.datetime(value.year, value.month, value.day))
    if isinstance(value, np.datetime64) and not np.isnat(value):
        return _in_nanoseconds(value)
    raise Refused("datetime", describe(value))


def _in_span(value: dt.datetime) -> dt.datetime:
    if not 1678 <= value.year <= 2261:
        raise Refused(_SPAN, describe(value))
    return value


def _in_nanoseconds(value: np.datetime64) -> np.datetime64:
    # numpy wraps silently what 64 bits of nanoseconds cannot say.
    if value.astype("datetime64[s]") != value.astype("datetime64[ns]").astype("datetime64[s]"):
        raise Refused(_SPAN, describe(value))
    return value


def _array(dtype: Array) -> Convert:
    # As in MLflow, items may be missing where they may be anything.
    convert = _converter(dtype.dtype)
    loose = isinstance(dtype.dtype, AnyType)

    def items(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            value = value.tolist()
        elif value is None and loose:
            return None
        elif not isinstance(value, (list, tuple)):
            raise Refused(repr(dtype), describe(value))
        found = []
        for index, item in enumerate(value):
            try:
                found.append(convert(item))
            except Refused as refused:
                raise refused.under(f"[{index}]") from None
        return found

    return items


def _object(dtype: Object) -> Convert:
    known = {one.name: converter(one.dtype, one.required) for one in dtype.properties}
    required = [one.name for one in dtype.properties if one.required]
    types = {one.name: one.dtype for one in dtype.properties}

    def properties(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Refused("an object", describe(value))
        for name in required:
            if name not in value:
                raise Refused(repr(types[name]), "nothing: the property is missing", f".{name}")
        found = {}
        for name, item in value.items():
            convert = known.get(name)
            if convert is None:
                raise Refused(f"one of the properties {', '.join(known)}", f"the property {name!r}")
            try:
                found[name] = convert(item)
            except Refused as refused:
                raise refused.under(f".{name}") from None
        return found

    return properties


def _map(dtype: Map) -> Convert:
    convert = _converter(dtype.value_type)
    loose = isinstance(dtype.value_type, AnyType)

    def values(value: Any) -> Any:
        if value is None and loose:
            return None
        if not isinstance(value, Mapping):
            raise Refused(repr(dtype), describe(value))
        found = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise Refused("keys that are strings", describe(key))
            try:
                found[key] = convert(item)
            except Refused as refused:
                raise refused.under(f"[{key!r}]") from None
        return found

    return values


_SCALARS: dict[DataType, Convert] = {
    DataType.boolean: _boolean,
    DataType.integer: _whole(DataType.integer),
    DataType.long: _whole(DataType.long),
    DataType.float: _real(DataType.float),
    DataType.double: _real(DataType.double),
    DataType.string: _string,
    DataType.binary: _binary,
    DataType.datetime: _datetime,
}
