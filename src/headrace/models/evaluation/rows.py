"""The data of an evaluation, whatever they come in: what the model is given, and columns by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import InvalidParameter, NotFound
from headrace.models.evaluation.arrays import Array, as_array, complete, vector

if TYPE_CHECKING:
    import pandas as pd

_READERS = {
    ".csv": "read_csv",
    ".csv.gz": "read_csv",
    ".parquet": "read_parquet",
    ".pq": "read_parquet",
}


class Rows:
    """Rows of data.

    Attributes:
        count: How many.
        frame: The columns, as a pandas frame; without columns if the data have no one-dimensional ones.
        data: As they were given, for the model; None when it is ``frame`` that the model is to be given.
        targets: What a data set says are its targets: a column's name, or an array; else None.
        predictions: What a data set says is its column of predictions.
        source: The path that they were read from.
        dataset: The data set that they were given as.
    """

    def __init__(self, data: Any, count: int | None = None) -> None:
        """Take in data.

        Args:
            data: A pandas or polars frame, an array, columns by name, a list of rows, the path of a CSV or
                Parquet file, a data set of `headrace.data` or ``mlflow.data``; or None.
            count: How many rows there are, when there are no data.

        Raises:
            InvalidParameter: None of these, no rows, or columns of the same name.
            NotFound: No file has that path.
        """
        self.targets: Any = None
        self.predictions: Any = None
        self.source: str | None = None
        self.dataset: Any = None
        self.data: Any = None
        if hasattr(data, "to_dict") and hasattr(data, "digest") and hasattr(data, "source"):
            data = self._of_dataset(data)
        if isinstance(data, str | Path):
            data = self._read(data)
        self.frame = self._frame(data, count)
        self.count = len(self.frame)
        if not self.count:
            raise InvalidParameter("The data have no rows: there is nothing to evaluate.")
        names = self.frame.columns
        if not names.is_unique:
            double = names[names.duplicated()][0]
            raise InvalidParameter(
                f"The data have {list(names).count(double)} columns named '{double}': rename them."
            )

    def _of_dataset(self, dataset: Any) -> Any:
        self.dataset = dataset
        self.targets = getattr(dataset, "targets", None)
        self.predictions = getattr(dataset, "predictions", None)
        data = getattr(dataset, "df", None)
        data = getattr(dataset, "features", None) if data is None else data
        if data is None:
            raise InvalidParameter(
                f"The data set '{getattr(dataset, 'name', '')}' ({type(dataset).__name__}) is described "
                "but not here: give one of headrace.data.from_pandas or from_numpy, or the data."
            )
        return data

    def _read(self, path: str | Path) -> Any:
        import pandas as pd

        name = str(path).lower()
        reader = next((read for ending, read in _READERS.items() if name.endswith(ending)), None)
        if reader is None:
            raise InvalidParameter(
                f"Cannot read data from '{path}': give a path ending in {', '.join(_READERS)}, or the data."
            )
        self.source = str(path)
        try:
            return getattr(pd, reader)(path)
        except FileNotFoundError:
            raise NotFound(f"There is no file '{path}' to read data from.") from None
        except (ValueError, OSError, ImportError) as error:
            raise InvalidParameter(f"Cannot read data from '{path}': {error}") from error

    def _frame(self, data: Any, count: int | None) -> pd.DataFrame:
        import pandas as pd

        if data is None:
            if count is None:
                raise InvalidParameter("There are no data: give data, or predictions and targets.")
            return pd.DataFrame(index=range(count))
        if isinstance(data, pd.DataFrame):
            return data
        if isinstance(data, pd.Series):
            return data.to_frame()
        if isinstance(data, list) and data and all(isinstance(row, Mapping) for row in data):
            return pd.DataFrame(data)
        if isinstance(data, Mapping):
            return self._of_columns(data)
        if hasattr(data, "columns") and hasattr(data, "__getitem__"):  # polars, pyarrow
            names = getattr(data, "column_names", None) or data.columns
            double = next((name for name in names if list(names).count(name) > 1), None)
            if double is None:
                return pd.DataFrame({name: data[name].to_numpy() for name in names})
            raise InvalidParameter(f"The data have several columns named '{double}': rename them.")
        return self._of_array(as_array(data, "data"))

    def _of_columns(self, data: Mapping[Any, Any]) -> pd.DataFrame:
        import pandas as pd

        arrays = {name: as_array(column, f"data of '{name}'") for name, column in data.items()}
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise InvalidParameter(f"The columns of the data have different lengths: {lengths}.")
        if any(array.ndim > 1 for array in arrays.values()):
            self.data = arrays
        flat = {name: array for name, array in arrays.items() if array.ndim == 1}
        return pd.DataFrame(flat, index=range(next(iter(lengths.values()), 0)))

    def _of_array(self, array: Array) -> pd.DataFrame:
        import pandas as pd

        self.data = array
        if array.ndim <= 2:
            return pd.DataFrame(array)
        return pd.DataFrame(index=range(len(array)))

    def column(self, given: Any, noun: str) -> tuple[Array, Any]:
        """A column, by its name or as an array.

        Args:
            given: A name of a column, or one value for each row.
            noun: What it is, for the message.

        Returns:
            Its values, and its name (None for an array).

        Raises:
            InvalidParameter: No such column, or another number of values than of rows.
        """
        if isinstance(given, str | int | np.integer) or (
            isinstance(given, tuple) and given in self.frame.columns
        ):
            return vector(self.frame[self.named(given, noun)], noun, self.count), given
        return vector(given, noun, self.count), None

    def named(self, name: Any, noun: str) -> Any:
        """The name of a column.

        Raises:
            InvalidParameter: There is none of that name.
        """
        if name not in self.frame.columns:
            some = ", ".join(map(str, self.frame.columns[:20])) or "none"
            raise InvalidParameter(
                f"The data have no column '{name}' for the {noun}; columns: {some}."
            )
        return name

    def codes(self, given: Any, noun: str) -> tuple[Array, Array]:
        """A column as whole numbers from 0, and the value that each stands for, sorted where they can be.

        Raises:
            InvalidParameter: As `column`; or a value is missing.
        """
        import pandas as pd

        values, _ = self.column(given, noun)
        complete(values, noun)
        try:
            found, codes = np.unique(values, return_inverse=True)
        except TypeError:
            codes, found = pd.factorize(values)
        return np.asarray(codes), np.asarray(found)

    def features(self, wanted: Any, taken: set[Any]) -> Any:
        """What the model is given.

        Args:
            wanted: Names of columns, in order; None: all that are not taken.
            taken: Columns that are something else: targets, weights, say.

        Raises:
            InvalidParameter: No such column.
        """
        if wanted is not None:
            return self.frame[[self.named(name, "features") for name in wanted]]
        if self.data is not None and not taken:
            return self.data
        if isinstance(self.data, Mapping):
            return {name: array for name, array in self.data.items() if name not in taken}
        kept = [name for name in self.frame.columns if name not in taken]
        chosen = self.frame[kept]
        return chosen if self.data is None else chosen.to_numpy()
