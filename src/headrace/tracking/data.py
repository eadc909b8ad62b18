"""Data sets for `log_input`: what a frame or array was, without keeping it.

Names, digests, schemas and profiles are computed as MLflow's ``mlflow.data`` computes them, so that a
data set logged from either is known as the same one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from headrace.entities import Dataset, DatasetInput, KeyValue
from headrace.errors import InvalidParameter
from headrace.tracking.origin import default_tags

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DescribedDataset", "NumpyDataset", "PandasDataset", "from_numpy", "from_pandas"]

CONTEXT_TAG = "mlflow.data.context"

#: The digest looks at so many rows (frames) or elements (arrays); MLflow's number.
_DIGEST_ROWS = 10_000


class DescribedDataset:
    """A data set's description.

    Attributes:
        name: What people call it.
        digest: Short fingerprint of the content.
        source_type: ``local``, ``http``, ``s3``, ``gs``, …, or ``code``.
        source: Where it came from: ``{"uri": …}``, ``{"url": …}``, or the tags of the code.
        schema: Columns and their types; None when they cannot be told.
        profile: Its size.
    """

    def __init__(
        self,
        *,
        source: Any,
        name: str | None,
        digest: str,
        schema: dict[str, Any] | None,
        profile: dict[str, Any],
    ) -> None:
        self.source_type, self.source = _source(source)
        self.name = name or "dataset"
        self.digest = digest
        self.schema = schema
        self.profile = profile

    def to_dict(self) -> dict[str, str | None]:
        """All of it as text, the parts with structure as JSON."""
        return {
            "name": self.name,
            "digest": self.digest,
            "source": json.dumps(self.source),
            "source_type": self.source_type,
            "schema": None if self.schema is None else json.dumps(self.schema),
            "profile": json.dumps(self.profile),
        }


class PandasDataset(DescribedDataset):
    """A pandas frame; ``df``, ``targets`` and ``predictions`` are what `from_pandas` was given."""

    df: pd.DataFrame
    targets: str | None
    predictions: str | None


class NumpyDataset(DescribedDataset):
    """Arrays; ``features`` and ``targets`` are what `from_numpy` was given."""

    features: Any
    targets: Any


def from_pandas(
    df: pd.DataFrame,
    source: Any = None,
    targets: str | None = None,
    name: str | None = None,
    digest: str | None = None,
    predictions: str | None = None,
) -> PandasDataset:
    """Describe a pandas frame.

    Args:
        df: The frame.
        source: Path or URI that it was read from; default: this program.
        targets: Name of the column to predict.
        name: Default ``dataset``.
        digest: Default: 8 hexadecimal digits of an MD5 over the first 10,000 rows, the number of rows
            and the names of columns.
        predictions: Name of the column of predictions.

    Raises:
        InvalidParameter: No such column.
    """
    for role, column in (("targets", targets), ("predictions", predictions)):
        if column is not None and column not in df.columns:
            raise InvalidParameter(
                f"The frame has no column '{column}' for {role}; it has "
                f"{', '.join(map(str, df.columns[:20]))}."
            )
    columns = _column_schema(df)
    dataset = PandasDataset(
        source=source,
        name=name,
        digest=digest or _pandas_digest(df),
        schema=None if columns is None else {"mlflow_colspec": columns},
        profile={"num_rows": len(df), "num_elements": int(df.size)},
    )
    dataset.df, dataset.targets, dataset.predictions = df, targets, predictions
    return dataset


def from_numpy(
    features: Any,
    source: Any = None,
    targets: Any = None,
    name: str | None = None,
    digest: str | None = None,
) -> NumpyDataset:
    """Describe arrays.

    Args:
        features: A numpy array, or a dictionary of them.
        source: Path or URI that they were read from; default: this program.
        targets: A numpy array, or a dictionary of them.
        name: Default ``dataset``.
        digest: Default: 8 hexadecimal digits of an MD5 over the first 10,000 elements and the shape of
            each array (hashed by pandas as MLflow does, without pandas by their bytes).
    """
    profile: dict[str, Any] = {}
    for role, data in (("features", features), ("targets", targets)):
        if data is None:
            continue
        for attribute in ("shape", "size", "nbytes"):
            profile[f"{role}_{attribute}"] = (
                {key: getattr(array, attribute) for key, array in data.items()}
                if isinstance(data, Mapping)
                else getattr(data, attribute)
            )
    dataset = NumpyDataset(
        source=source,
        name=name,
        digest=digest or _numpy_digest(features, targets),
        schema={
            "mlflow_tensorspec": {
                "features": _tensor_schema(features),
                "targets": _tensor_schema(targets),
            }
        },
        profile=profile,
    )
    dataset.features, dataset.targets = features, targets
    return dataset


def dataset_input(
    dataset: Any, context: str | None, tags: Mapping[str, str] | None
) -> DatasetInput:
    """A data set and what it is used for, as an entity.

    Args:
        dataset: A `DescribedDataset`, one of ``mlflow.data``, or a `Dataset` entity.
        context: ``training``, ``evaluation``, …
        tags: More tags.

    Raises:
        InvalidParameter: Something else.
    """
    pairs = [KeyValue(str(key), str(value)) for key, value in (tags or {}).items()]
    if context:
        pairs.append(KeyValue(CONTEXT_TAG, context))
    return DatasetInput(tags=tuple(pairs), dataset=_entity(dataset))


def dataset_name_and_digest(dataset: Any) -> tuple[str | None, str | None]:
    """What a metric says of the data set that it is about."""
    if dataset is None:
        return None, None
    entity = _entity(dataset)
    return entity.name, entity.digest


def _entity(dataset: Any) -> Dataset:
    if isinstance(dataset, Dataset):
        return dataset
    described = getattr(dataset, "to_dict", None)
    fields = described() if callable(described) else None
    if not isinstance(fields, dict) or not {"name", "digest", "source"} <= fields.keys():
        raise InvalidParameter(
            f"Cannot log a {type(dataset).__name__} as an input: describe it first, with "
            "headrace.data.from_pandas or headrace.data.from_numpy."
        )
    return Dataset(
        name=fields["name"],
        digest=fields["digest"],
        source_type=fields["source_type"],
        source=fields["source"],
        schema=fields.get("schema"),
        profile=fields.get("profile"),
    )


_SOURCE_TYPES = {"s3": "s3", "gs": "gs", "az": "az", "abfss": "abfss", "wasbs": "wasbs"}


def _source(source: Any) -> tuple[str, dict[str, Any]]:
    if source is None:
        return "code", {"tags": default_tags()}
    if isinstance(source, PurePath):
        source = str(source)
    if not isinstance(source, str):
        to_dict = getattr(source, "to_dict", None)  # a source of mlflow.data
        kind = getattr(source, "_get_source_type", None)
        if callable(to_dict) and callable(kind):
            return kind(), to_dict()
        raise InvalidParameter(
            f"Cannot take a {type(source).__name__} as source: give a path or URI."
        )
    scheme = urlsplit(source).scheme.lower()
    if scheme in ("http", "https"):
        return "http", {"url": source}
    return _SOURCE_TYPES.get(scheme, "local"), {"uri": source}


def _md5(elements: Iterator[Any]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for element in elements:
        digest.update(element)
    return digest.hexdigest()[:8]


def _pandas_digest(df: pd.DataFrame) -> str:
    """``mlflow.data.digest_utils.compute_pandas_digest``: strings and numbers only."""
    import numpy as np
    import pandas as pd

    def elements() -> Iterator[Any]:
        head = df.head(_DIGEST_ROWS)
        strings = head.columns[[all(type(cell) is str for cell in head[c]) for c in head.columns]]
        numbers = head.select_dtypes(include=[np.number]).columns
        yield pd.util.hash_pandas_object(head[strings.union(numbers)]).to_numpy()
        yield np.int64(len(df))
        yield from (str(column).encode() for column in df.columns)

    return _md5(elements())


def _numpy_digest(features: Any, targets: Any) -> str:
    """``mlflow.data.digest_utils.compute_numpy_digest``."""
    import numpy as np

    try:
        from pandas.util import hash_array
    except ImportError:
        hash_array = np.ascontiguousarray

    def elements() -> Iterator[Any]:
        for data in (features, targets):
            arrays = [data[key] for key in sorted(data)] if isinstance(data, Mapping) else [data]
            for array in arrays:
                if array is None:
                    continue
                head = array.flatten()[:_DIGEST_ROWS]
                try:
                    yield hash_array(head)
                except TypeError:
                    yield np.int64(head.size)
                yield from (np.int64(length) for length in array.shape)

    return _md5(elements())


_COLUMN_TYPES = {
    "bool": "boolean",
    "int8": "integer",
    "int16": "integer",
    "int32": "integer",
    "int64": "long",
    "uint8": "integer",
    "uint16": "integer",
    "uint32": "long",
    "float16": "float",
    "float32": "float",
    "float64": "double",
    "string": "string",
    "str": "string",
    "boolean": "boolean",
    "Int32": "integer",
    "Int64": "long",
}


def _column_schema(df: pd.DataFrame) -> list[dict[str, Any]] | None:
    """MLflow's column specification; None when a column has no type in it."""
    columns = []
    for name in df.columns:
        column = df[name]
        kind = _column_type(column)
        if kind is None or not isinstance(name, str):
            return None
        columns.append({"type": kind, "name": name, "required": not bool(column.isna().any())})
    return columns


def _column_type(column: Any) -> str | None:
    name = str(column.dtype)
    if name.startswith("datetime64"):
        return "datetime"
    if name != "object":
        return _COLUMN_TYPES.get(name)
    kinds = {type(cell) for cell in column.dropna()}
    for kind, word in ((str, "string"), (bytes, "binary"), (bool, "boolean")):
        if kinds == {kind}:
            return word
    return None


def _tensor_schema(data: Any) -> str | None:
    """MLflow's tensor specification as JSON; the first dimension is left open."""
    if data is None:
        return None
    named: list[tuple[str | None, Any]] = (
        list(data.items()) if isinstance(data, Mapping) else [(None, data)]
    )
    return json.dumps(
        [
            {
                **({} if name is None else {"name": name}),
                "type": "tensor",
                "tensor-spec": {"dtype": str(array.dtype), "shape": [-1, *array.shape[1:]]},
            }
            for name, array in named
        ]
    )
