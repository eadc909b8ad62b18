"""Frames of pandas, taken apart and put together in microseconds.

For one row pandas' own ways cost more than a small model: `DataFrame.dtypes` of four columns 23 µs, a frame of
mixed columns 340 µs. A frame is a few arrays (blocks), each of one type, and where in them each column is. Those
parts are used directly if this version of pandas has them as expected, which is tried once with a small frame;
if it has not, the public ways do the same, slower.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from headrace.models.columns import objects


class Layout:
    """How frames are laid out: their columns, and the type of each."""

    __slots__ = ("columns", "dtypes", "key")

    def __init__(self, columns: Any, dtypes: list[Any], key: tuple[Any, ...]) -> None:
        self.columns = columns
        self.dtypes = dtypes
        self.key = key


def layout_key(frame: Any) -> tuple[Any, ...]:
    """What two frames share if their columns, told by position, are of the same types."""
    if _parts() is None:
        return tuple(frame.dtypes)
    manager = frame._mgr
    return (manager.blknos.tobytes(), *[block.dtype for block in manager.blocks])


def dtypes(frame: Any) -> list[Any]:
    """The type of each column."""
    return list(frame.dtypes)


def values(frame: Any, position: int) -> Any:
    """The values of a column: an array of numpy or of pandas."""
    if _parts() is None:
        found = frame.iloc[:, position].array
        return found.to_numpy() if type(found).__name__ in ("NumpyExtensionArray", "PandasArray") else found  # fmt: skip
    return frame._mgr.iget_values(position)


def build(arrays: Sequence[Any], columns: Any, index: Any = None) -> Any:
    """A frame of columns.

    Args:
        arrays: One of one dimension per column: numpy's, or pandas'.
        columns: Their names, an ``Index``.
        index: Of the rows; default 0, 1, 2, …
    """
    groups: dict[Any, tuple[int, ...]] = {}
    for position, array in enumerate(arrays):
        if not isinstance(array, np.ndarray):
            return _public(arrays, columns, index)
        groups[array.dtype] = (*groups.get(array.dtype, ()), position)
    blocks = [
        (positions, np.array([arrays[one] for one in positions], dtype=dtype))
        if dtype.kind != "O"
        else (positions, _stacked([arrays[one] for one in positions]))
        for dtype, positions in groups.items()
    ]
    return build_blocks(blocks, columns, index)


def build_blocks(
    blocks: Sequence[tuple[tuple[int, ...], np.ndarray[Any, Any]]], columns: Any, index: Any = None
) -> Any:
    """A frame of arrays with a row per column.

    Args:
        blocks: Positions of columns, and their values, of shape (columns, rows).
        columns: As in `build`.
        index: As in `build`.
    """
    parts = _parts()
    if index is None:
        index = _rows(blocks[0][1].shape[1] if blocks else 0)
    if parts is not None and blocks:
        return parts.build(blocks, columns, index)
    arrays: list[Any] = [None] * len(columns)
    for positions, block in blocks:
        for row, position in enumerate(positions):
            arrays[position] = block[row]
    return _public(arrays, columns, index)


def shallow(frame: Any) -> Any:
    """A frame of the same values that can be changed without changing this one (as far as pandas promises)."""
    parts = _parts()
    return frame.copy(deep=False) if parts is None else parts.shallow(frame)


@functools.lru_cache(maxsize=8)
def _one_index(length: int) -> Any:
    import pandas

    return pandas.RangeIndex(length)


def _rows(length: int) -> Any:
    # A view: whoever names the rows of one frame does not name those of the next.
    return _one_index(length).view()


def _stacked(arrays: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    found = np.empty((len(arrays), len(arrays[0])), dtype=object)
    for row, array in enumerate(arrays):
        found[row] = array
    return found


def _public(arrays: Sequence[Any], columns: Any, index: Any) -> Any:
    import pandas

    frame = pandas.DataFrame(dict(enumerate(arrays)), index=index)
    frame.columns = columns
    return frame


class _Parts(NamedTuple):
    """What is built of pandas' parts."""

    build: Callable[..., Any]
    shallow: Callable[[Any], Any]


@functools.cache
def _parts() -> _Parts | None:
    """What pandas' parts can do, if they are as expected."""
    try:
        parts = _assembled()
        _try(parts)
    except (ImportError, AttributeError, TypeError, ValueError, AssertionError):
        return None
    return parts


def _assembled() -> _Parts:
    import pandas
    from pandas._libs.internals import BlockPlacement
    from pandas.core.construction import ensure_wrapped_if_datetimelike
    from pandas.core.internals.blocks import get_block_type
    from pandas.core.internals.managers import BlockManager

    from_manager: Any = pandas.DataFrame._from_mgr

    block_type = functools.lru_cache(maxsize=64)(get_block_type)
    placement = functools.lru_cache(maxsize=1024)(BlockPlacement)

    def build_frame(blocks: Any, columns: Any, index: Any) -> Any:
        made = [
            block_type(block.dtype)(
                ensure_wrapped_if_datetimelike(block) if block.dtype.kind == "M" else block,
                ndim=2,
                placement=placement(positions),
            )
            for positions, block in blocks
        ]
        manager = BlockManager(made, [columns.view(), index], verify_integrity=False)
        return from_manager(manager, manager.axes)

    def shallow_copy(frame: Any) -> Any:
        old = frame._mgr
        manager = BlockManager(
            [block.copy(deep=False) for block in old.blocks],
            [axis.view() for axis in old.axes],
            verify_integrity=False,
        )
        return from_manager(manager, manager.axes)

    return _Parts(build_frame, shallow_copy)


def _try(parts: _Parts) -> None:
    import pandas

    arrays = {
        "a": np.array([1.5, 2.0]),
        "b": np.array([1, 2]),
        "c": np.array([3.5, 4.0]),
        "d": objects(["x", "y"]),
        "e": np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[ns]"),
    }
    columns, index = pandas.Index(list(arrays)), pandas.RangeIndex(2)
    blocks = [
        ((0, 2), np.array([arrays["a"], arrays["c"]])),
        ((1,), arrays["b"][None]),
        ((3,), arrays["d"][None]),
        ((4,), arrays["e"][None]),
    ]
    fast = parts.build(blocks, columns, index)
    usual = pandas.DataFrame(arrays)
    assert fast.to_dict() == usual.to_dict()
    assert list(fast.dtypes) == [array.dtype for array in arrays.values()]
    copied = parts.shallow(usual)
    copied.loc[0, "a"] = 7.0
    assert usual.loc[0, "a"] == 1.5
    assert copied["b"].tolist() == [1, 2]
    manager = usual._mgr
    assert [manager.blocks[one].dtype for one in manager.blknos] == list(usual.dtypes)
    assert manager.iget_values(2).tolist() == arrays["c"].tolist()
