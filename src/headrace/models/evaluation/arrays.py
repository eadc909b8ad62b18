"""Columns of numbers and labels from whatever holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import InvalidParameter

Array = NDArray[Any]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

#: How many offending rows a message names.
_NAMED = 3


def as_array(values: Any, noun: str) -> Array:
    """A numpy array of a list, array, Series, frame, polars column, tensor.

    Categories become their values, and numbers in columns that may have missing ones become floats where
    one is missing.

    Args:
        values: What holds them.
        noun: What they are, for the message.

    Raises:
        InvalidParameter: Rows of different lengths, or no array at all.
    """
    detach = getattr(values, "detach", None)
    if callable(detach):  # a tensor, perhaps with gradients, perhaps on a GPU
        values = detach().cpu()
    if _is_extension(values):
        values = _plain(values)
    to_numpy = getattr(values, "to_numpy", None)
    try:
        array = np.asarray(to_numpy() if callable(to_numpy) else values)
    except ValueError as error:  # ragged
        raise InvalidParameter(
            f"The {noun} are no array: {error}. Give one value, or one row of equal length, for each row."
        ) from error
    if array.dtype.kind in "US" and not hasattr(values, "dtype"):
        whole = np.asarray(
            values, dtype=object
        )  # numpy writes what is among text as text: 1, and NaN
        if not all(isinstance(one, str | bytes) for one in whole.ravel().tolist()):
            array = whole
    if array.ndim == 0:
        raise InvalidParameter(f"The {noun} are a single {type(values).__name__}, not an array.")
    return array


def _is_extension(values: Any) -> bool:
    """Whether it is a pandas column of a type that numpy does not have."""
    dtype = getattr(values, "dtype", None)
    return (
        dtype is not None and hasattr(dtype, "na_value") and hasattr(dtype, "construct_from_string")
    )


def _plain(values: Any) -> Any:
    import pandas as pd

    column = pd.Series(values)
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(column.dtype) and not column.hasnans:
        return column.to_numpy(dtype=bool)
    if pd.api.types.is_numeric_dtype(column.dtype):
        if not column.hasnans and pd.api.types.is_integer_dtype(column.dtype):
            return column.to_numpy(dtype=np.int64)
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return column.to_numpy()
    return column.to_numpy(dtype=object)


def vector(values: Any, noun: str, rows: int | None = None) -> Array:
    """A column: one value for each row. A table of one column is one.

    Raises:
        InvalidParameter: Another shape, or another length than ``rows``.
    """
    array = as_array(values, noun)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InvalidParameter(
            f"The {noun} have shape {array.shape}: one value for each row is needed."
        )
    if rows is not None and len(array) != rows:
        raise InvalidParameter(f"There are {len(array)} {noun} for {rows} rows.")
    return array


def missing(array: Array) -> NDArray[np.bool_]:
    """Where values are None, NaN or NaT."""
    if array.dtype.kind == "f":
        return np.isnan(array)
    if array.dtype.kind in "mM":
        return np.isnat(array)
    if array.dtype.kind == "O":
        import pandas as pd

        found: NDArray[np.bool_] = np.asarray(pd.isna(array))
        return found
    return np.zeros(len(array), dtype=bool)


def complete(array: Array, noun: str) -> Array:
    """The same array.

    Raises:
        InvalidParameter: A value is missing; it names the first rows.
    """
    gaps = np.flatnonzero(missing(array))
    if len(gaps):
        raise InvalidParameter(
            f"{len(gaps)} of {len(array)} {noun} are missing (NaN or None): {_rows(gaps)}. "
            "Leave such rows out, or fill them."
        )
    return array


def numbers(array: Array, noun: str) -> Floats:
    """The column as floats, all finite.

    Raises:
        InvalidParameter: A value is missing, infinite or no number; it names the first rows.
    """
    if array.dtype.kind == "O":
        array = complete(array, noun)
        odd = [row for row, value in enumerate(array) if not _is_number(value)]
        if odd:
            shown = ", ".join(f"row {row} has {array[row]!r}" for row in odd[:_NAMED])
            raise InvalidParameter(
                f"{len(odd)} of {len(array)} {noun} are no numbers: {shown}. Convert them first."
            )
    elif array.dtype.kind not in "biuf":
        raise InvalidParameter(
            f"The {noun} are no numbers but of type {array.dtype} (row 0 has {array[0]!r})."
        )
    floats = complete(array.astype(np.float64), noun)
    endless = np.flatnonzero(~np.isfinite(floats))
    if len(endless):
        raise InvalidParameter(
            f"{len(endless)} of {len(floats)} {noun} are infinite: {_rows(endless)}."
        )
    return floats


def _is_number(value: Any) -> bool:
    from numbers import Number

    return isinstance(value, Number) and not isinstance(value, complex)


def weights(array: Array) -> Floats:
    """Weights of rows.

    Raises:
        InvalidParameter: One is no number or negative, or all are zero.
    """
    floats = numbers(array, "sample weights")
    negative = np.flatnonzero(floats < 0)
    if len(negative):
        raise InvalidParameter(
            f"Sample weights are negative: {_rows(negative)}; row {negative[0]} has {floats[negative[0]]}."
        )
    if not floats.any():
        raise InvalidParameter("All sample weights are zero.")
    return floats


def _rows(indices: Indices) -> str:
    more = ", …" if len(indices) > _NAMED else ""
    word = "row" if len(indices) == 1 else "rows"
    return f"{word} {', '.join(map(str, indices[:_NAMED]))}{more}"


def evenly(count: int, most: int) -> Indices:
    """At most so many indices, spread over so many; the first and last among them."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.intp))


def weighted_mean(values: Floats, weight: Floats | None) -> float:
    """The mean; NaN where there is nothing to take it of."""
    if not len(values) or (weight is not None and not weight.sum() > 0):
        return float("nan")
    return float(np.average(values, weights=weight))
