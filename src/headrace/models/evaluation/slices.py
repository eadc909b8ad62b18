"""Slices: groups of rows, measured each by itself.

A slice is given by

- a column: one slice per value, ``country=DE``; numbers with many values in quarters, ``age=[18, 31)``;
- several columns, as a tuple: one slice per combination, ``country=DE,plan=pro``;
- a name and what belongs to it: ``{"big orders": "amount > 100"}`` (a query as pandas reads it), a function of
  the frame that gives true or false for each row, or such an array. Rows may be in none of them, or in several.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from headrace.errors import InvalidParameter
from headrace.models.evaluation.arrays import Indices, missing, vector
from headrace.models.evaluation.rows import Rows

#: Numbers with more different values than this are cut into quarters.
_DISCRETE = 20
#: Slices of one column; the rest, which has the fewest rows, is one slice.
_MOST = 100


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """A group of rows.

    Attributes:
        name: ``country=DE``.
        by: What made it: ``country``; the name, for a query or function.
        count: Its rows.
        share: Of all rows.
        small: It has too few rows for its metrics to say much.
        metrics: By name. Empty when it has no rows.
    """

    name: str
    by: str
    count: int
    share: float
    small: bool
    metrics: dict[str, float]


def groups(rows: Rows, slices: Sequence[Any]) -> list[tuple[str, str, Indices]]:
    """The rows of each slice: name, what made it, row numbers.

    Raises:
        InvalidParameter: A column that is not there; a query or function that fails, or gives no mask; a name twice.
    """
    found: list[tuple[str, str, Indices]] = []
    for one in [slices] if isinstance(slices, str | Mapping) else slices:
        if isinstance(one, Mapping):
            found += [
                (str(name), str(name), _matching(rows, str(name), rule))
                for name, rule in one.items()
            ]
        else:
            columns = one if isinstance(one, tuple | list) else (one,)
            by = ",".join(map(str, columns))
            found += [(name, by, chosen) for name, chosen in _by_columns(rows, columns)]
    names = [name for name, _, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise InvalidParameter(f"Two slices have the name '{name}'.")
    return found


def _matching(rows: Rows, name: str, rule: Any) -> Indices:
    try:
        if isinstance(rule, str):
            mask = rows.frame.eval(rule)
        else:
            mask = rule(rows.frame) if callable(rule) else rule
    except Exception as error:
        raise InvalidParameter(
            f"Slice '{name}' failed: {type(error).__name__}: {error}. Columns: "
            f"{', '.join(map(str, rows.frame.columns[:20]))}."
        ) from error
    if np.ndim(mask) == 0:
        raise InvalidParameter(
            f"Slice '{name}' gave a single {type(mask).__name__}: true or false for each row is needed."
        )
    array = vector(mask, f"values of slice '{name}'", rows.count)
    if array.dtype.kind != "b":
        raise InvalidParameter(
            f"Slice '{name}' gave values of type {array.dtype}: true or false for each row is needed."
        )
    return np.flatnonzero(array)


def _by_columns(rows: Rows, columns: Sequence[Any]) -> Iterator[tuple[str, Indices]]:
    parts = [_labels(rows, column) for column in columns]
    codes = parts[0][0].astype(np.int64)
    for more, names in parts[1:]:
        codes = codes * len(names) + more
    present, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
    order = np.argsort(places, kind="stable")
    members = np.split(order, np.cumsum(counts)[:-1])
    kept = set(np.argsort(-counts, kind="stable")[:_MOST].tolist())
    rest = []
    for place, (code, chosen) in enumerate(zip(present.tolist(), members, strict=True)):
        if place in kept:
            yield _name(code, columns, parts), chosen
        else:
            rest.append(chosen)
    if rest:
        by = ",".join(map(str, columns))
        yield f"{by}=(the other {len(rest)})", np.sort(np.concatenate(rest))


def _name(code: int, columns: Sequence[Any], parts: Sequence[tuple[Indices, list[str]]]) -> str:
    words: list[str] = []
    for column, (_, names) in zip(reversed(columns), reversed(parts), strict=True):
        code, place = divmod(code, len(names))
        words.insert(0, f"{column}={names[place]}")
    return ",".join(words)


def _labels(rows: Rows, column: Any) -> tuple[Indices, list[str]]:
    """A column as numbers, and what each stands for; a missing value is one too."""
    import pandas as pd

    values, _ = rows.column(column, "slices")
    gone = missing(values)
    if values.dtype.kind in "iuf" and len(np.unique(values[~gone])) > _DISCRETE:
        codes, names = _quarters(values.astype(np.float64), gone)
    else:
        try:
            codes, found = pd.factorize(values, sort=True)  # missing ones are -1
        except TypeError:  # of several types
            codes, found = pd.factorize(values)
        names = [str(one) for one in np.asarray(found).tolist()]
    if gone.any():
        codes = np.where(gone, len(names), codes)
        names = [*names, "(missing)"]
    return np.asarray(codes, dtype=np.intp), names


def _quarters(values: Any, gone: Any) -> tuple[Indices, list[str]]:
    some = values[~gone]
    cuts = np.unique(np.quantile(some, [0.25, 0.5, 0.75]))
    edges = [float(some.min()), *cuts.tolist(), float(some.max())]
    codes = np.searchsorted(cuts, values, side="right")
    names = [
        f"[{low:.6g}, {high:.6g}{']' if place == len(cuts) else ')'}"
        for place, (low, high) in enumerate(itertools.pairwise(edges))
    ]
    return codes, names
