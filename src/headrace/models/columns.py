"""A column of an array or a frame: checked and converted as a whole.

What may be done is told by two types, the column's and the signature's, once (`plan`); then each column that
comes is run through the result. The rule is MLflow's: only conversions that lose nothing. Where MLflow looks
at widths alone, values are looked at here: whole numbers that a double holds exactly are doubles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from headrace.models.types import AnyType, ColumnType, DataType
from headrace.models.values import Refused, converter, describe, is_null

#: Takes a column's values (numpy's or pandas' array), gives the converted ones, or the same if they are right.
Plan = Callable[[Any], Any]

_MANTISSA = {DataType.float: 24, DataType.double: 53}
_NULLABLE = (DataType.float, DataType.double)  # NaN is a value of theirs
_INTEGERS = (DataType.integer, DataType.long)


def plan(expected: ColumnType, required: bool, dtype: Any) -> Plan | None:
    """What to do with a column; None: nothing, it is right whatever it holds.

    Args:
        expected: The signature's type.
        required: Whether cells may not be missing.
        dtype: What the column has, numpy's or pandas'.
    """
    if isinstance(expected, AnyType):
        return None
    if not isinstance(expected, DataType):
        return _each(expected, required)
    if isinstance(dtype, np.dtype):
        return _numpy(expected, required, dtype)
    return _pandas(expected, required, dtype)


def cells(expected: ColumnType, required: bool, values: list[Any]) -> np.ndarray[Any, Any]:
    """An array of Python values.

    Raises:
        Refused: One of them is not of the type; it has the row.
    """
    return to_array(expected, convert_each(cell_converter(expected, required), values))


def cell_converter(expected: ColumnType, required: bool) -> Callable[[Any], Any]:
    """`converter` of one cell; integers may never be missing, because arrays of them have no word for it."""
    return converter(expected, required or expected in _INTEGERS)


def convert_each(convert: Callable[[Any], Any], values: Any) -> list[Any]:
    """Every value converted.

    Raises:
        Refused: It has the row.
    """
    try:
        return [convert(value) for value in values]
    except Refused:
        for row, value in enumerate(values):
            try:
                convert(value)
            except Refused as refused:
                refused.row = row
                raise
        raise  # pragma: no cover


def to_array(expected: ColumnType, values: list[Any]) -> np.ndarray[Any, Any]:
    """A column of converted values; None stands for a missing one."""
    if expected is DataType.boolean and None in values:
        return objects(values)
    if isinstance(expected, DataType) and expected not in (DataType.string, DataType.binary):
        return np.array(values, dtype=expected.to_numpy())
    return objects(values)


def objects(values: Any) -> np.ndarray[Any, Any]:
    """An array of objects; numpy would make an array of equal lists one of two dimensions."""
    array = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        array[index] = value
    return array


def _each(expected: ColumnType, required: bool) -> Plan:
    convert = cell_converter(expected, required)
    return lambda values: to_array(expected, convert_each(convert, values))


def _checked(expected: DataType, required: bool) -> Plan:
    """Objects that stay as they are."""
    convert = cell_converter(expected, required)

    def check(values: Any) -> Any:
        convert_each(convert, values)
        return values

    return check


def _numpy(expected: DataType, required: bool, dtype: np.dtype[Any]) -> Plan | None:
    target, kind = expected.to_numpy(), dtype.kind
    if kind == "O":
        return (_checked if expected in (DataType.string, DataType.binary) else _each)(
            expected, required
        )
    if kind == "U":
        return objects if expected is DataType.string else _refuse(expected, dtype)
    if kind == "S":
        return None if expected is DataType.binary else _refuse(expected, dtype)
    if kind == "M":
        return _datetimes(required, dtype) if expected is DataType.datetime else _refuse(expected, dtype)  # fmt: skip
    if dtype == target:
        return None
    if expected in _MANTISSA and kind in "iu":
        return _whole_to_real(expected, dtype)
    if (kind == target.kind and kind in "if" and dtype.itemsize <= target.itemsize) or (
        kind == "u" and target.kind == "i" and dtype.itemsize < target.itemsize
    ):
        return lambda values: values.astype(target)
    if kind == "f" and expected in _INTEGERS:
        return lambda values: _real_for_whole(expected, values)
    return _refuse(expected, dtype)


def _refuse(expected: DataType, dtype: Any) -> Plan:
    def refuse(values: Any) -> Any:
        raise Refused(expected.name, f"a column of {dtype}")

    return refuse


def _whole_to_real(expected: DataType, dtype: np.dtype[Any]) -> Plan:
    target, bits = expected.to_numpy(), dtype.itemsize * 8
    if bits <= _MANTISSA[expected]:
        return lambda values: values.astype(target)
    exact = 1 << _MANTISSA[expected]

    def convert(values: Any) -> Any:
        low = -exact if dtype.kind == "i" else 0
        if len(values) and (values.max() > exact or values.min() < low):
            row = int(np.flatnonzero((values > exact) | (values < low))[0])
            raise Refused(
                expected.name, f"{describe(values[row])}, which {expected.name} cannot hold exactly", row=row
            )  # fmt: skip
        return values.astype(target)

    return convert


def _real_for_whole(expected: DataType, values: Any) -> Any:
    found = f"a column of {values.dtype}"
    missing = np.flatnonzero(np.isnan(values))
    if len(missing):
        rest = values[~np.isnan(values)]
        if np.array_equal(rest, np.floor(rest)):
            raise Refused(
                expected.name,
                f"a missing value in {found}: integers cannot be missing, declare the column as double",
                row=int(missing[0]),
            )
    raise Refused(expected.name, found)


def _datetimes(required: bool, dtype: np.dtype[Any]) -> Plan | None:
    target = DataType.datetime.to_numpy()

    def convert(values: Any) -> Any:
        values = np.asarray(values)
        missing = np.isnat(values)
        if required and missing.any():
            raise Refused("datetime", "a missing value", row=int(np.flatnonzero(missing)[0]))
        if values.dtype == target:
            return values
        found = values.astype(target)
        wrong = (found.astype(values.dtype) != values) & ~missing
        if wrong.any():
            # A finer unit than nanoseconds loses its end; a coarser one may be out of what they reach.
            row = int(np.flatnonzero(wrong)[0])
            raise Refused("datetime between 1678 and 2261", describe(values[row]), row=row)
        return found

    return convert if required or dtype != target else None


def _pandas(expected: DataType, required: bool, dtype: Any) -> Plan | None:
    """A column of one of pandas' own types."""
    name = type(dtype).__name__
    if name == "CategoricalDtype":
        return _categories(expected, required, dtype)
    if name == "DatetimeTZDtype":
        return _zoned(expected, dtype)
    if dtype.type is str or name == "StringDtype":
        if expected is DataType.string:
            return _no_nulls if required else None
        return _each(expected, required) if expected is DataType.datetime else _refuse(expected, dtype)  # fmt: skip
    numpy = getattr(dtype, "numpy_dtype", None)
    if isinstance(numpy, np.dtype) and numpy.kind in "biuf":
        return _masked(expected, required, numpy)
    if name == "SparseDtype":
        inner = plan(expected, required, dtype.subtype)
        return lambda values: np.asarray(values) if inner is None else inner(np.asarray(values))
    return _each(expected, required) if dtype.type is object else _refuse(expected, dtype)


def _no_nulls(values: Any) -> Any:
    # pandas' own word, where it has one, costs a tenth of isna().
    if getattr(values, "_hasna", True) and values.isna().any():
        row = int(np.flatnonzero(np.asarray(values.isna()))[0])
        raise Refused("string", "a missing value", row=row)
    return values


def _zoned(expected: DataType, dtype: Any) -> Plan:
    if expected is not DataType.datetime:
        return _refuse(expected, dtype)

    def refuse(values: Any) -> Any:
        raise Refused(
            "datetime without a time zone", f"a column of {dtype}; convert it to UTC and drop the zone"
        )  # fmt: skip

    return refuse


def _categories(expected: DataType, required: bool, dtype: Any) -> Plan:
    # MLflow infers a string column from categories of text, then refuses it; here they stay categories.
    inner = _each(expected, required)

    def convert(values: Any) -> Any:
        converted = inner(np.asarray(values, dtype=object))
        return values if expected is DataType.string else converted

    return convert


def _masked(expected: DataType, required: bool, dtype: np.dtype[Any]) -> Plan:
    """A column of pandas' numbers that may be missing."""
    inner = _numpy(expected, required, dtype)

    def convert(values: Any) -> Any:
        missing = np.asarray(values.isna())
        if not missing.any():
            plain = values.to_numpy(dtype=dtype)
            return plain if inner is None else inner(plain)
        if expected not in _NULLABLE:
            row = int(np.flatnonzero(missing)[0])
            hint = ": declare the column as double" if expected in _INTEGERS else ""
            raise Refused(expected.name, f"a missing value{hint}", row=row)
        if dtype.kind == "b":
            raise Refused(expected.name, f"a column of {values.dtype}")
        filled = values.to_numpy(dtype=dtype, na_value=dtype.type(0))
        converted = np.array(filled if inner is None else inner(filled))
        converted[missing] = np.nan
        return converted

    return convert


def missing_row(values: Any) -> int | None:
    """The first row without a value, if there is one."""
    return next((row for row, value in enumerate(values) if is_null(value)), None)
