"""Tables and plots of an evaluation: made when somebody asks for them."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

#: Columns of equal length by name.
Table = Mapping[str, Any]


class Artifact:
    """A file of an evaluation.

    Attributes:
        name: ``roc_curve``, say.
        file: ``roc_curve.csv``, say.
        table: The columns, for a table; None for a plot.
        uri: Where it was logged to; None if it was not.
    """

    def __init__(self, file: str, make: Callable[[], bytes], table: Table | None = None) -> None:
        self.file = file
        self.name = file.rpartition(".")[0]
        self.table = table
        self.uri: str | None = None
        self._make = make

    @functools.cached_property
    def content(self) -> bytes:
        """The file's bytes. A plot is drawn when this is first asked for."""
        return self._make()

    def __repr__(self) -> str:
        return f"Artifact({self.file!r})"


def table(name: str, columns: Table) -> Artifact:
    """A table as CSV."""
    return Artifact(f"{name}.csv", lambda: _csv(columns), columns)


def plot(name: str, draw: Callable[[], bytes]) -> Artifact:
    """A plot as PNG."""
    return Artifact(f"{name}.png", draw)


def document(name: str, content: Any) -> Artifact:
    """A JSON document; NaN and infinities become null, which JSON has."""
    return Artifact(f"{name}.json", lambda: json.dumps(plain(content), indent=1).encode())


def plain(value: Any) -> Any:
    """A value in what JSON has."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _csv(columns: Table) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(_cells(column) for column in columns.values()), strict=True))
    return out.getvalue().encode()


def _cells(column: Any) -> list[Any]:
    cells: list[Any] = column.tolist() if isinstance(column, np.ndarray) else list(column)
    return cells
