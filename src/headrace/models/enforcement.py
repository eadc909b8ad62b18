"""Enforcement of a signature: data are what the model was made for, or the caller is told what is wrong, where.

A signature is compiled once. What comes then is looked at by its own shape: rows (a dictionary of values, a
list of dictionaries) are converted value by value; columns (frames, dictionaries of arrays) by plans that are
made once for each combination of types and kept. The rules are MLflow's, in both directions a bit better:

- What MLflow refuses and is accepted here: values from Python and JSON, which have no width, wherever they fit
  (a Python integer for an ``integer`` column); whole numbers for a ``double`` that holds them exactly; lists for
  tensors; categories of text for a ``string`` column.
- What MLflow lets through and is refused here: missing values in required columns of text, bytes, booleans and
  datetimes; objects in a ``string`` column that are not text; ragged arrays whose rows do not fit the shape;
  dates beyond what 64 bits of nanoseconds reach, which MLflow wraps around.

NaN is a value of floats and doubles, required or not, as in MLflow.
"""

from __future__ import annotations

import logging
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from headrace.errors import InvalidParameter
from headrace.models import columns, frames
from headrace.models.columns import Plan
from headrace.models.signature import (
    AnyType,
    ColSpec,
    DataType,
    ModelSignature,
    ParamSchema,
    Schema,
    TensorSpec,
)
from headrace.models.tensors import check_tensor, column_to_tensor, is_sparse
from headrace.models.values import Refused, describe

_log = logging.getLogger(__name__)
_MAX_PLANS = 64
_TOLD = 5
_SINGLE = {str, bytes, bool, int, float, type(None)}

Blocks = list[tuple[tuple[int, ...], np.ndarray[Any, Any]]]


def compile_signature(signature: ModelSignature | None) -> Enforcer:
    """What enforces a signature. Without one, inputs pass as they are and parameters are ignored."""
    return Enforcer(signature)


class Enforcer:
    """A compiled signature. It can be used from several threads.

    Attributes:
        signature: What it was compiled from.
    """

    def __init__(self, signature: ModelSignature | None) -> None:
        self.signature = signature
        schema = signature.inputs if signature else None
        self._inputs: _Columns | _Tensors | None = None
        if schema is not None:
            self._inputs = _Tensors(schema) if schema.is_tensor_spec() else _Columns(schema)
        self._params = signature.params if signature else None

    def inputs(self, data: Any) -> Any:
        """Data as the model takes them: a frame for columns; an array, or a dictionary of arrays, for tensors.

        Args:
            data: A frame or a series of pandas, a dictionary of values (one row) or of lists and arrays (columns),
                a list of dictionaries (rows), a list of values or of lists, an array, a sparse matrix, one value.

        Raises:
            InvalidParameter: They are something else than the signature says. The message names column, row,
                expected type and what was found.
        """
        return data if self._inputs is None else self._inputs.enforce(data)

    def columns(self, data: Any) -> dict[str | int, np.ndarray[Any, Any]]:
        """The same as a dictionary of arrays, for rows and columns that come without pandas: it is not imported.

        Raises:
            InvalidParameter: As `inputs`, or the signature has no columns.
        """
        if not isinstance(self._inputs, _Columns):
            raise InvalidParameter("The model's signature has no columns")
        return self._inputs.arrays(data)

    def params(self, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """Parameters as the model takes them: converted, what is not given filled with its default.

        Those that the signature does not know are ignored, with a warning in the log, as MLflow does.

        Raises:
            InvalidParameter: One is of another type.
        """
        return _params(given, self._params)


def _params(given: Mapping[str, Any] | None, schema: ParamSchema | None) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise InvalidParameter(f"Parameters must be a dictionary, found {describe(given)}")
    known = {} if schema is None else {one.name: one for one in schema}
    found = {name: one.default for name, one in known.items()}
    unknown = []
    for key, value in (given or {}).items():
        spec = known.get(str(key))
        if spec is None:
            unknown.append(str(key))
        else:
            found[spec.name] = spec.value(value)
    if unknown:
        _log.warning(
            "Parameters %s are ignored: the model's signature knows %s.",
            ", ".join(unknown[:_TOLD]),
            ", ".join(known) or "none",
        )
    return found


class _Columns:
    """Inputs of columns."""

    def __init__(self, schema: Schema) -> None:
        self._specs = cast("list[ColSpec]", schema.inputs)
        self._named = schema.has_input_names()
        self._names = schema.input_names()
        self._required = set(schema.required_input_names())
        self._position = {name: index for index, name in enumerate(self._names)}
        # As in MLflow: a dictionary is one row wherever a column may hold a list.
        self._nested = any(not isinstance(one.type, (DataType, AnyType)) for one in self._specs)
        self._rows = _Rows(self._specs, self._names)
        self._plans: dict[Any, list[_FramePlan]] = {}
        self._column_plans: dict[Any, Plan | None] = {}
        self._index: Any = None
        self._told: set[str] = set()

    def enforce(self, data: Any) -> Any:
        kind = type(data)
        if kind is dict:
            return self._frame(*self._from_dict(data))
        if kind is list:
            return self._frame(*self._from_list(data))
        pandas = sys.modules.get("pandas")
        if pandas is not None:
            if isinstance(data, pandas.DataFrame):
                return self._from_frame(data)
            if isinstance(data, pandas.Series):
                return self._from_frame(pandas.DataFrame(data))
        return self._frame(*self._from_other(data))

    def arrays(self, data: Any) -> dict[str | int, np.ndarray[Any, Any]]:
        kind = type(data)
        if kind is dict:
            present, blocks = self._from_dict(data)
        elif kind is list:
            present, blocks = self._from_list(data)
        elif "pandas" in sys.modules and hasattr(data, "iloc"):
            frame = self.enforce(data)
            return {name: frames.values(frame, index) for index, name in enumerate(frame.columns)}
        else:
            present, blocks = self._from_other(data)
        names = self._names if present is None else [self._names[one] for one in present]
        found = {names[one]: block[row] for positions, block in blocks for row, one in enumerate(positions)}  # fmt: skip
        return {name: found[name] for name in names}

    def _frame(self, present: list[int] | None, blocks: Blocks) -> Any:
        index = self._index
        if index is None:
            import pandas

            index = self._index = pandas.Index(self._names)
        return frames.build_blocks(
            blocks, index if present is None or len(present) == len(index) else index[present]
        )

    # Each of these gives the positions of the columns that are there (None: all), and their blocks.

    def _from_dict(self, data: dict[Any, Any]) -> tuple[list[int] | None, Blocks]:
        if self._nested or _SINGLE.issuperset(map(type, data.values())):
            return self._from_rows([data])
        if any(
            isinstance(one, (list, tuple, np.ndarray)) or hasattr(one, "iloc")
            for one in data.values()
        ):
            return self._from_columns(data)
        return self._from_rows([data])

    def _from_list(self, data: list[Any]) -> tuple[list[int] | None, Blocks]:
        if data and isinstance(data[0], dict) and (self._named or not self._nested):
            return self._from_rows(data)
        if self._named and not (
            len(self._names) == 1 and not any(isinstance(one, (list, dict)) for one in data)
        ):
            raise InvalidParameter(
                f"The model takes columns with names ({self._shown()}): give a frame, a dictionary of columns or a list "
                f"of dictionaries. Found a list{' of ' + describe(data[0]) if data else ' without rows'}."
            )
        if self._named or self._nested or not (data and isinstance(data[0], (list, tuple))):
            return None, self._only(data)
        width = len(self._names)
        for row, one in enumerate(data):
            if not isinstance(one, (list, tuple)) or len(one) < width:
                raise InvalidParameter(
                    f"Row {row}: expected a list of {width} values, found {describe(one)}"
                )
        return self._from_columns(dict(enumerate(map(list, zip(*data, strict=False)))))

    def _only(self, data: list[Any]) -> Blocks:
        """A list of values for the one column that there is."""
        if len(self._names) > 1:
            raise InvalidParameter(
                f"The model takes {len(self._names)} columns, found a list of single values"
            )
        spec = self._specs[0]
        try:
            array = columns.cells(spec.type, spec.required, data)
        except Refused as refused:
            raise self._wrong(0, refused) from None
        return [((0,), array[None])]

    def _from_other(self, data: Any) -> tuple[list[int] | None, Blocks]:
        if isinstance(data, np.ndarray):
            return self._from_array(data)
        if isinstance(data, Mapping):
            return self._from_dict(dict(data))
        if isinstance(data, (str, bytes, bool, int, float, np.generic)) or data is None:
            return self._from_list([data])
        if isinstance(data, Sequence):
            return self._from_list(list(data))
        if hasattr(data, "to_dict") and hasattr(data, "columns"):  # polars
            return self._from_columns(data.to_dict(as_series=False))
        if hasattr(data, "isoformat"):
            return self._from_list([data])
        raise InvalidParameter(
            f"The model takes columns ({self._shown()}), found {type(data).__name__}: give a frame, a dictionary or a "
            "list of dictionaries"
        )

    def _from_array(self, data: np.ndarray[Any, Any]) -> tuple[list[int] | None, Blocks]:
        if data.ndim == 0:
            return self._from_list([data.item()])
        if data.ndim > 2:
            raise InvalidParameter(
                f"The model takes {len(self._names)} columns, found an array of shape {data.shape}"
            )
        if data.ndim == 1:
            data = data[:, None]
        if self._named and not (len(self._names) == 1 and data.shape[1] == 1):
            raise InvalidParameter(
                f"The model takes columns with names ({self._shown()}), found an array of shape {data.shape}: an array "
                "has no names; give a frame or a dictionary of columns"
            )
        if data.shape[1] < len(self._names):
            raise InvalidParameter(
                f"The model takes {len(self._names)} columns, found an array of {data.shape[1]}"
            )
        names = self._names if self._named else range(data.shape[1])
        return self._from_columns({name: data[:, index] for index, name in enumerate(names)})

    def _from_rows(self, rows: list[dict[Any, Any]]) -> tuple[list[int] | None, Blocks]:
        try:
            found = self._rows.convert(rows)
        except Refused as refused:
            raise self._wrong(*self._find(rows), refused=refused) from None
        if found is None:  # somewhere a key is missing, or there are more
            return self._from_uneven(rows)
        return None, found

    def _find(self, rows: list[dict[Any, Any]]) -> tuple[int]:
        """The column that a row was refused for."""
        for position, spec in enumerate(self._specs):
            convert = columns.cell_converter(spec.type, spec.required)
            for row in rows:
                try:
                    convert(row[self._names[position]])
                except Refused:
                    return (position,)
        raise AssertionError("no value was refused")  # pragma: no cover

    def _from_uneven(self, rows: list[dict[Any, Any]]) -> tuple[list[int] | None, Blocks]:
        for number, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise InvalidParameter(
                    f"Row {number}: expected a dictionary, found {describe(row)}"
                )
            if not self._required <= set(row):
                self._missing(row, number if len(rows) > 1 else None)
            self._extra(row)
        given = {name for row in rows for name in row}
        present = [index for index, name in enumerate(self._names) if name in given]
        blocks: Blocks = []
        for place, position in enumerate(present):
            spec, name = self._specs[position], self._names[position]
            try:
                array = columns.cells(spec.type, spec.required, [row.get(name) for row in rows])
            except Refused as refused:
                raise self._wrong(position, refused) from None
            blocks.append(((place,), array[None]))
        return present, blocks

    def _from_columns(self, data: Mapping[Any, Any]) -> tuple[list[int] | None, Blocks]:
        if not self._required <= set(data):
            self._missing(data)
        self._extra(data)
        present = [index for index, name in enumerate(self._names) if name in data]
        blocks: Blocks = []
        for place, position in enumerate(present):
            array = self._column(position, data[self._names[position]])
            if blocks and array.shape[0] != blocks[0][1].shape[1]:
                first = self._names[present[0]]
                raise InvalidParameter(
                    f"Column {self._names[position]!r}: expected {blocks[0][1].shape[1]} rows, as many as column "
                    f"{first!r} has, found {array.shape[0]}"
                )
            blocks.append(((place,), array[None]))
        return present, blocks

    def _column(self, position: int, values: Any) -> np.ndarray[Any, Any]:
        spec = self._specs[position]
        try:
            if isinstance(values, (list, tuple)):
                return columns.cells(spec.type, spec.required, list(values))
            if hasattr(values, "iloc"):
                values = values.array
                values = values.to_numpy() if isinstance(values.dtype, np.dtype) else values
            if not hasattr(values, "dtype"):
                raise Refused("a list or an array", describe(values))
            if values.ndim != 1:
                raise Refused("an array of one dimension", f"one of shape {values.shape}")
            plan = self._plan_for(position, values.dtype)
            converted = values if plan is None else plan(values)
        except Refused as refused:
            raise self._wrong(position, refused) from None
        if isinstance(converted, np.ndarray):
            return converted
        return columns.objects(converted.to_numpy(dtype=object, na_value=None))

    def _plan_for(self, position: int, dtype: Any) -> Plan | None:
        key = (position, dtype)
        try:
            return self._column_plans[key]
        except KeyError:
            spec = self._specs[position]
            plan = columns.plan(spec.type, spec.required, dtype)
            if len(self._column_plans) >= _MAX_PLANS * len(self._specs):
                self._column_plans.clear()
            self._column_plans[key] = plan
            return plan

    def _from_frame(self, frame: Any) -> Any:
        key = frames.layout_key(frame)
        found = frame.columns
        for plan in self._plans.get(key, ()):
            if plan.columns is found or plan.columns.equals(found):
                break
        else:
            plan = self._plan(frame, key)
        return plan.run(frame, self._wrong)

    def _plan(self, frame: Any, key: Any) -> _FramePlan:
        names = frame.columns.tolist()
        if self._named:
            if not self._required <= set(names):
                self._missing(names)
            self._extra(names)
            twice = [name for name in self._names if names.count(name) > 1]
            if twice:
                raise InvalidParameter(
                    f"Column {twice[0]!r} is there {names.count(twice[0])} times"
                )
            wanted = [(index, names.index(name)) for index, name in enumerate(self._names) if name in names]  # fmt: skip
        else:
            if len(names) < len(self._names):
                raise InvalidParameter(
                    f"The model takes {len(self._names)} columns, found a frame of {len(names)}"
                )
            wanted = [(index, index) for index in range(len(self._names))]
        plan = _FramePlan(frame, self._specs, wanted)
        if len(self._plans) >= _MAX_PLANS:
            self._plans.clear()
        self._plans.setdefault(key, []).append(plan)
        del self._plans[key][:-_TOLD]
        return plan

    def _missing(self, given: Any, row: int | None = None) -> None:
        missing = [
            repr(name) for name in self._names if name in self._required and name not in given
        ]
        extra = [repr(name) for name in given if name not in self._position]
        where = "" if row is None else f"Row {row}: "
        also = f" There are others that it does not know: {_few(extra)}." if extra else ""
        kinds = ", ".join(repr(self._specs[self._position[name]]) for name in self._names if repr(name) in missing[:_TOLD])  # fmt: skip
        raise InvalidParameter(
            f"{where}Column {_few(missing)} is missing: the model requires {kinds}.{also}"
            if len(missing) == 1
            else f"{where}Columns {_few(missing)} are missing: the model requires {kinds}.{also}"
        )

    def _extra(self, given: Any) -> None:
        extra = [name for name in given if name not in self._position]
        if extra and not self._told.issuperset(map(str, extra)):
            if len(self._told) < 1000:
                self._told.update(map(str, extra))
            _log.warning(
                "Columns %s are ignored: the model's signature does not know them.",
                _few([repr(one) for one in extra]),
            )

    def _wrong(self, position: int, refused: Refused) -> InvalidParameter:
        name = self._names[position]
        row = "" if refused.row is None else f", row {refused.row}"
        path = f", at {refused.path.lstrip('.')}" if refused.path else ""
        return InvalidParameter(f"Column {name!r}{row}{path}: {refused}")

    def _shown(self) -> str:
        return _few([repr(one) for one in self._names])


class _Rows:
    """Rows of values, converted value by value into blocks: an array for each type, with a row per column."""

    def __init__(self, specs: list[ColSpec], names: list[str | int]) -> None:
        self._width = len(specs)
        self._types = [one.type for one in specs]
        self._convert = [columns.cell_converter(one.type, one.required) for one in specs]
        self._get: Callable[[Any], tuple[Any, ...]] = (
            operator.itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
        )
        bulk: dict[DataType, tuple[int, ...]] = {}
        self._single: list[int] = []
        for position, one in enumerate(specs):
            if isinstance(one.type, DataType) and (
                one.type is not DataType.boolean or one.required
            ):
                bulk[one.type] = (*bulk.get(one.type, ()), position)
            else:
                self._single.append(position)
        self._bulk = [(one.to_pandas(), positions) for one, positions in bulk.items()]

    def convert(self, rows: list[dict[Any, Any]]) -> Blocks | None:
        """The rows' blocks; None if a row's keys are not exactly the names.

        Raises:
            Refused: A value is not of its column's type.
        """
        width, get = self._width, self._get
        try:
            for row in rows:
                if len(row) != width:
                    return None
            if len(rows) == 1:
                cells = [[convert(one)] for convert, one in zip(self._convert, get(rows[0]), strict=True)]  # fmt: skip
            else:
                cells = [
                    columns.convert_each(convert, column)
                    for convert, column in zip(
                        self._convert, zip(*map(get, rows), strict=True), strict=True
                    )
                ]
        except (KeyError, TypeError):
            return None
        blocks: Blocks = [
            (positions, np.array([cells[one] for one in positions], dtype=dtype))
            for dtype, positions in self._bulk
        ]
        for one in self._single:
            blocks.append(((one,), columns.to_array(self._types[one], cells[one])[None]))
        return blocks


class _FramePlan:
    """What to do with frames of one layout."""

    __slots__ = ("_result", "_same", "_steps", "_wanted", "columns")

    def __init__(self, frame: Any, specs: list[ColSpec], wanted: list[tuple[int, int]]) -> None:
        self.columns = frame.columns
        kinds = frames.dtypes(frame)
        self._wanted = [at for _, at in wanted]
        self._same = self._wanted == list(range(len(kinds)))
        self._result = frame.columns[self._wanted]
        self._steps: list[tuple[int, int, int, Plan]] = []
        for place, (position, at) in enumerate(wanted):
            spec = specs[position]
            plan = columns.plan(spec.type, spec.required, kinds[at])
            if plan is not None:
                self._steps.append((place, position, at, plan))

    def run(self, frame: Any, wrong: Callable[[int, Refused], InvalidParameter]) -> Any:
        """The frame as the model takes it: never the caller's own, so that a model may change it."""
        converted = {}
        for place, position, at, plan in self._steps:
            values = frames.values(frame, at)
            try:
                found = plan(values)
            except Refused as refused:
                raise wrong(position, refused) from None
            if found is not values:
                converted[place] = found
        if self._same and not converted:
            return frames.shallow(frame)
        arrays = [
            converted[place] if place in converted else frames.values(frame, at)
            for place, at in enumerate(self._wanted)
        ]
        return frames.build(arrays, self._result, frame.index)


class _Tensors:
    """Inputs of tensors."""

    def __init__(self, schema: Schema) -> None:
        self._specs = cast("list[TensorSpec]", schema.inputs)
        self._named = schema.has_input_names()

    def enforce(self, data: Any) -> Any:
        frame = "pandas" in sys.modules and hasattr(data, "iloc")
        if frame and not hasattr(data, "columns"):
            data = data.to_frame()
        if self._named:
            return self._by_name(data, frame)
        spec = self._specs[0]
        if not frame:
            return self._checked(None, check_tensor, data, spec)
        if len(data.columns) == 1:
            return self._checked(None, column_to_tensor, frames.values(data, 0), spec)
        return self._checked(None, check_tensor, data.to_numpy(), spec)

    def _by_name(self, data: Any, frame: bool) -> dict[str, Any]:
        if len(self._specs) == 1 and (isinstance(data, np.ndarray) or is_sparse(data)):
            data = {self._specs[0].name: data}
        if not frame and not isinstance(data, Mapping):
            raise InvalidParameter(
                f"The model takes a dictionary of tensors ({self._shown()}), found {type(data).__name__}"
            )
        missing = [one for one in self._specs if one.name not in data]
        if missing:
            raise InvalidParameter(
                f"Tensor {missing[0].name!r} is missing: the model takes {self._shown()}"
            )
        check = column_to_tensor if frame else check_tensor
        return {
            str(one.name): self._checked(one.name, check, data[one.name], one)
            for one in self._specs
        }

    def _checked(self, name: str | None, check: Any, data: Any, spec: TensorSpec) -> Any:
        try:
            return check(data, spec)
        except Refused as refused:
            row = "" if refused.row is None else f", row {refused.row}"
            where = "The input" if name is None else f"Tensor {name!r}"
            raise InvalidParameter(f"{where}{row}: {refused}") from None

    def _shown(self) -> str:
        return _few([repr(one) for one in self._specs])


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(names[:_TOLD]) + more
