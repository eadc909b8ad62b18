"""Tensors: arrays checked against a dtype and a shape in which -1 is any length."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from headrace.models.columns import cells
from headrace.models.signature import DataType, TensorSpec
from headrace.models.values import Refused, describe

_COLUMN_TYPES = {one.to_numpy(): one for one in DataType}


def is_sparse(data: object) -> bool:
    """Whether it is a matrix of scipy.sparse."""
    return "scipy.sparse" in sys.modules and type(data).__module__.startswith("scipy.sparse")


def check_tensor(data: Any, spec: TensorSpec) -> Any:
    """A tensor as the signature has it: an array as it is, lists as an array.

    Arrays keep their dtype, so another one is refused, as in MLflow. Lists have none: their items are converted
    if they fit. An array of objects stands for arrays of several lengths, where the shape leaves a length open.

    Raises:
        Refused: Another dtype, another shape, or rows of several lengths.
    """
    if isinstance(data, (list, tuple)):
        return _shaped(_from_lists(list(data), spec), spec)
    if is_sparse(data):
        _dtype(data.dtype, spec)
        return _shaped(data, spec)
    if not isinstance(data, np.ndarray):
        raise Refused(_expected(spec), describe(data))
    if data.dtype.kind == "O" and spec.type.kind != "O":
        return _ragged(data, spec)
    if data.dtype == object and spec.shape == (-1,):
        return data  # whatever is in it
    _shaped(data, spec)
    _dtype(data.dtype, spec)
    return data


def column_to_tensor(values: Any, spec: TensorSpec) -> np.ndarray[Any, Any]:
    """A column of a frame as a tensor: numbers, or in each cell the values of a row, flat or not.

    Raises:
        Refused: The shape leaves more than the first length open, or a row has another number of values.
    """
    if not spec.shape or spec.shape[0] != -1 or -1 in spec.shape[1:]:
        raise Refused(f"{_expected(spec)} as an array", "a column of a frame")
    array = np.asarray(values)
    if array.dtype != object:
        if spec.shape not in ((-1,), (-1, 1)):
            raise Refused(_expected(spec), "a column of single values")
        return _cast(array, spec).reshape((len(array), *spec.shape[1:]))
    size = int(np.prod(spec.shape[1:], dtype=np.int64))
    rows = []
    for row, cell in enumerate(array):
        found = np.asarray(_nested(cell, spec, row))
        if found.size != size:
            raise Refused(f"{size} values of {_expected(spec)}", f"{found.size}", row=row)
        if isinstance(cell, np.ndarray):
            _dtype(found.dtype, spec)
        rows.append(found.reshape(spec.shape[1:]))
    stacked = np.stack(rows) if rows else np.empty((0, *spec.shape[1:]))
    return _cast(stacked, spec)


def _nested(cell: Any, spec: TensorSpec, row: int) -> Any:
    if isinstance(cell, np.ndarray):
        return cell
    try:
        return _from_lists(list(cell) if isinstance(cell, (list, tuple)) else [cell], spec)
    except Refused as refused:
        refused.row = row
        raise


def _from_lists(data: list[Any], spec: TensorSpec) -> np.ndarray[Any, Any]:
    try:
        array = np.array(data)
    except (ValueError, OverflowError):
        raise Refused(_expected(spec), *_uneven(data)) from None
    return _cast(array, spec)


def _uneven(data: list[Any]) -> tuple[str, str, int | None]:
    """Which row differs from the first."""
    lengths = [_shape(one) for one in data]
    for row, shape in enumerate(lengths):
        if shape != lengths[0]:
            return f"rows of shapes {lengths[0]} and {shape}", "", row
    return "rows of several lengths", "", None


def _shape(data: Any) -> Any:
    try:
        return np.shape(data)
    except ValueError:
        return "several"


def _cast(array: np.ndarray[Any, Any], spec: TensorSpec) -> np.ndarray[Any, Any]:
    """Values without a width of their own, as the signature's dtype, if they fit."""
    target = spec.type
    if array.dtype == target or (array.dtype.kind == target.kind and target.kind in "US"):
        return array
    column = _COLUMN_TYPES.get(target)
    if column is not None and array.dtype.kind in "biufUO":
        flat = cells(column, True, array.reshape(-1).tolist())
        return flat.reshape(array.shape)
    if array.dtype.kind in "iu" and target.kind in "iu":
        info = np.iinfo(target)
        if array.size and (array.max() > info.max or array.min() < info.min):
            raise Refused(_expected(spec), f"values up to {array.max()}")
        return array.astype(target)
    if np.can_cast(array.dtype, target, "same_kind") or target.kind == "O":
        return array.astype(target)
    raise Refused(_expected(spec), f"values of {array.dtype}")


def _ragged(data: np.ndarray[Any, Any], spec: TensorSpec) -> Any:
    if data.ndim != 1 or len(spec.shape) < 2 or -1 not in spec.shape[1:]:
        lengths = sorted({_shape(one) for one in data.reshape(-1)}, key=repr)[:5]
        raise Refused(
            _expected(spec), f"an array of objects of shapes {', '.join(map(str, lengths))}"
        )
    inner = TensorSpec(spec.type, spec.shape[1:])
    for row, one in enumerate(data):
        try:
            check_tensor(one, inner)
        except Refused as refused:
            refused.row = row
            raise
    return data


def _dtype(dtype: np.dtype[Any], spec: TensorSpec) -> None:
    if dtype.kind in "US" and dtype.kind == spec.type.kind:
        return
    if dtype != spec.type:
        raise Refused(
            _expected(spec), f"dtype {dtype}; convert it with .astype({spec.type.name!r})"
        )


def _shaped(data: Any, spec: TensorSpec) -> Any:
    shape = data.shape
    if len(shape) != len(spec.shape) or any(
        want not in (-1, have) for want, have in zip(spec.shape, shape, strict=True)
    ):
        raise Refused(_expected(spec), f"shape {tuple(shape)}")
    return data


def _expected(spec: TensorSpec) -> str:
    return f"a tensor of {spec.type.name} of shape {spec.shape}"
