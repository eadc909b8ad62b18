"""Input examples: kept beside a model as MLflow keeps them, so that both can show and serve them.

``input_example.json`` holds the data, ``serving_input_example.json`` the same as a scoring request. What they were
(a frame, an array, a dictionary of arrays, a sparse matrix, plain JSON) stands in MLmodel under
``saved_input_example_info``. An example with parameters is a pair of data and a dictionary.
"""

from __future__ import annotations

import base64
import datetime as dt
import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headrace.errors import InvalidModel, InvalidParameter
from headrace.models.inference import infer_params
from headrace.models.signature import ColSpec, DataType, ModelSignature, Schema
from headrace.models.tensors import is_sparse
from headrace.models.values import describe, is_null

FILE_NAME = "input_example.json"
SERVING_FILE_NAME = "serving_input_example.json"
#: An example is a few rows; what is larger is no example, or an attack.
MAX_BYTES = 64 << 20


def split_example(example: Any) -> tuple[Any, dict[str, Any] | None]:
    """The data of an example, and its parameters: a pair of data and a dictionary has them."""
    if isinstance(example, tuple) and len(example) == 2 and isinstance(example[1], dict):
        return example[0], example[1]
    return example, None


def save_example(folder: Path | str, example: Any) -> dict[str, Any]:
    """Writes an example into a model's folder.

    Args:
        folder: The model's.
        example: A frame, an array, a dictionary of arrays, a sparse matrix, a list, a dictionary, one value, an
            object of pydantic; or a pair of one of these and a dictionary of parameters.

    Returns:
        What MLmodel has under ``saved_input_example_info``.

    Raises:
        InvalidParameter: It cannot be written as JSON.
    """
    data, params = split_example(example)
    if params is not None:
        infer_params(params)  # says which one has no type
    info, stored, serving = _stored(data)
    info = {"artifact_path": FILE_NAME, **info}
    if params:
        info["params"] = "true"
    if params is not None:
        stored = {"inputs": stored, "params": params}
        chat = info["type"] == "json_object" and "inputs" not in serving
        serving = {**serving, **params} if chat else {**serving, "params": params}
    info["serving_input_path"] = SERVING_FILE_NAME
    folder = Path(folder)
    try:
        text, request = _dump(stored), _dump(serving, indent=2)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidParameter(f"The input example cannot be written as JSON: {error}") from None
    (folder / FILE_NAME).write_text(text, encoding="utf-8")
    (folder / SERVING_FILE_NAME).write_text(request, encoding="utf-8")
    return info


def load_example(
    folder: Path | str, info: Mapping[str, Any] | None, signature: ModelSignature | None = None
) -> Any:
    """The data of a model's example as they were saved, None if there is none.

    Args:
        folder: The model's.
        info: ``saved_input_example_info`` of MLmodel.
        signature: Makes of JSON's text and numbers what they were: dates, bytes, narrower numbers.

    Raises:
        InvalidModel: The file is missing, not JSON, or not what MLmodel says.
    """
    if info is None:
        return None
    stored = _read(folder, info)
    if info.get("params"):
        stored = _part(stored, "inputs", folder)
    kind = info.get("type")
    schema = signature.inputs if signature else None
    try:
        if kind == "json_object":
            return stored
        if kind == "ndarray":
            return _arrays(stored, schema)
        if kind == "dataframe":
            return _frame(stored, schema)
        if kind in ("sparse_matrix_csc", "sparse_matrix_csr"):
            return _sparse(stored, str(kind))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InvalidModel(
            f"{Path(folder) / FILE_NAME} does not hold a {kind} as MLmodel says: {error}"
        ) from None
    raise InvalidModel(
        f"MLmodel: saved_input_example_info.type: {kind!r} is none of dataframe, ndarray, json_object, "
        "sparse_matrix_csc, sparse_matrix_csr"
    )


def load_example_params(
    folder: Path | str, info: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """The parameters of a model's example, None if it has none.

    Raises:
        InvalidModel: As `load_example`.
    """
    if info is None or not info.get("params"):
        return None
    params = _part(_read(folder, info), "params", folder)
    return params if isinstance(params, dict) else None


def load_serving_example(folder: Path | str, info: Mapping[str, Any] | None) -> str | None:
    """The example as the body of a scoring request, None if there is none.

    Raises:
        InvalidModel: The file that MLmodel names is missing or lies outside the folder.
    """
    name = (info or {}).get("serving_input_path")
    return None if name is None else _text(folder, name)


def _stored(data: Any) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """What MLmodel says of the data, the data for JSON, and the scoring request."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        split = _split(data)
        orient = "split" if "columns" in split else "values"
        return {"type": "dataframe", "pandas_orient": orient}, split, {"dataframe_split": split}
    if hasattr(type(data), "model_dump"):
        data = data.model_dump()
    if isinstance(data, np.ndarray):
        return _request("ndarray", _list(data))
    if isinstance(data, dict) and any(isinstance(one, np.ndarray) for one in data.values()):
        mixed = [name for name, one in data.items() if not isinstance(one, np.ndarray)]
        if mixed:
            raise InvalidParameter(
                f"The input example is a dictionary of arrays, but {mixed[0]!r} is {describe(data[mixed[0]])}: make all "
                "of them arrays, or none"
            )
        return _request("ndarray", {name: _list(one) for name, one in data.items()})
    if is_sparse(data):
        kind = {"csc": "sparse_matrix_csc", "csr": "sparse_matrix_csr"}.get(data.format)
        if kind is None:
            raise InvalidParameter(f"A sparse matrix of format {data.format}: use csc or csr")
        parts = {"data": _list(data.data), "indices": data.indices.tolist(), "indptr": data.indptr.tolist(), "shape": list(data.shape)}  # fmt: skip
        return {"type": kind}, parts, {"inputs": data.toarray().tolist()}
    if isinstance(data, dict) and _is_chat(data):
        return {"type": "json_object"}, data, data
    if isinstance(data, (dict, list, dt.datetime)) or np.isscalar(data):
        return _request("json_object", data)
    raise InvalidParameter(
        "An input example is a frame of pandas, an array, a dictionary of arrays, a csc or csr matrix, a list, a "
        f"dictionary or one value; found {type(data).__name__}"
    )


def _request(kind: str, data: Any) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    return {"type": kind}, data, {"inputs": data}


def _is_chat(data: dict[Any, Any]) -> bool:
    # MLflow serves what looks like a request of a language model as it is.
    return bool({"messages", "prompt", "input"} & data.keys())


def _split(frame: Any) -> dict[str, Any]:
    columns = frame.columns.tolist()
    found = {
        "columns": columns,
        "data": [
            [None if is_null(one) else one for one in row]
            for row in zip(*(frame.iloc[:, at].tolist() for at in range(len(columns))), strict=True)
        ],
    }
    if columns == list(range(len(columns))):
        del found["columns"]
    return found


def _list(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype.kind in "fc" and np.isnan(array).any():
        return np.where(np.isnan(array), None, array).tolist()  # type: ignore[call-overload]
    if array.dtype.kind == "M":
        return np.datetime_as_string(array).tolist()
    return array.tolist()


def _dump(data: Any, indent: int | None = None) -> str:
    return json.dumps(data, default=_jsonable, indent=indent)


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _list(value)
    if isinstance(value, np.datetime64):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (bytes, bytearray)):
        return base64.encodebytes(bytes(value)).decode("ascii")
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if is_null(value):
        return None
    raise TypeError(f"there is no JSON for {describe(value)}")


def _text(folder: Path | str, name: object) -> str:
    folder = Path(folder)
    file = folder / str(name)
    if not file.resolve().is_relative_to(folder.resolve()):
        raise InvalidModel(f"MLmodel: the input example {name!r} lies outside the model's folder")
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InvalidModel(
                f"{file} has more than {MAX_BYTES:,} bytes; an example is a few rows"
            )
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidModel(f"{file}, the model's input example, cannot be read: {error}") from None


def _read(folder: Path | str, info: Mapping[str, Any]) -> Any:
    name = info.get("artifact_path", FILE_NAME)
    try:
        return json.loads(_text(folder, name))
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"{Path(folder) / str(name)} is not JSON: {error}") from None


def _part(stored: Any, key: str, folder: Path | str) -> Any:
    if not isinstance(stored, dict) or key not in stored:
        raise InvalidModel(
            f"{Path(folder) / FILE_NAME} has no key {key!r}, though MLmodel says that the example has parameters"
        )
    return stored[key]


def _arrays(stored: Any, schema: Schema | None) -> Any:
    dtypes: dict[str | None, Any] = {}
    if schema is not None and schema.is_tensor_spec():
        dtypes = {one.name: one.type for one in schema}
    if isinstance(stored, dict):
        return {name: np.array(one, dtype=dtypes.get(name)) for name, one in stored.items()}
    return np.array(stored, dtype=dtypes.get(None))


def _sparse(stored: Any, kind: str) -> Any:
    sparse: Any = importlib.import_module("scipy.sparse")
    build = sparse.csc_matrix if kind.endswith("csc") else sparse.csr_matrix
    return build(
        (stored["data"], stored["indices"], stored["indptr"]), shape=tuple(stored["shape"])
    )


def _frame(stored: Any, schema: Schema | None) -> Any:
    import pandas

    if isinstance(stored, list):
        stored = {"data": stored}
    frame = pandas.DataFrame(stored["data"], columns=stored.get("columns"))
    if schema is None or schema.is_tensor_spec():
        return frame
    names = schema.input_names() if schema.has_input_names() else frame.columns.tolist()
    for name, spec in zip(names, schema, strict=False):
        if name in frame.columns and isinstance(spec, ColSpec) and isinstance(spec.type, DataType):
            frame[name] = _typed(frame[name], spec)
    return frame


def _typed(column: Any, spec: ColSpec) -> Any:
    """A column as the signature has it, where JSON has only text and numbers for it."""
    import pandas

    if spec.type is DataType.binary:
        return column.map(lambda one: base64.b64decode(one) if isinstance(one, str) else one)
    if spec.type is DataType.datetime:
        return pandas.to_datetime(column).astype("datetime64[ns]")
    if spec.type is DataType.string or column.isna().any():
        return column
    assert isinstance(spec.type, DataType)
    return column.astype(spec.type.to_pandas())
