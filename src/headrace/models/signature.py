"""Signatures: what a model takes and gives, in MLflow's words and MLflow's JSON.

In ``MLmodel`` a signature is three strings, each JSON (``inputs``, ``outputs``, ``params``). What is written
here, MLflow reads, and the other way round. Signatures of MLflow before 2.10 say ``optional`` where later
ones say ``required``; both are read.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
from msgspec.structs import force_setattr

from headrace.errors import InvalidParameter
from headrace.models.types import (
    AnyType,
    Array,
    ColumnType,
    DataType,
    Map,
    Object,
    Property,
    SparkMLVector,
    column_type,
    type_from_dict,
)
from headrace.models.values import Refused, converter, describe

__all__ = [
    "AnyType",
    "Array",
    "ColSpec",
    "ColumnType",
    "DataType",
    "Map",
    "ModelSignature",
    "Object",
    "ParamSchema",
    "ParamSpec",
    "Property",
    "Schema",
    "SparkMLVector",
    "TensorSpec",
]

if TYPE_CHECKING:
    from headrace.models.inference import infer_signature as infer_signature
else:

    def __getattr__(name: str) -> Any:
        if (
            name == "infer_signature"
        ):  # MLflow's users look for it here; its module imports this one
            from headrace.models.inference import infer_signature

            return infer_signature
        raise AttributeError(f"module 'headrace.models.signature' has no attribute '{name}'")


#: Of parameters: which given types become which declared ones, as in MLflow.
_WIDER: dict[DataType, tuple[type, ...]] = {
    DataType.long: (np.int32,),
    DataType.float: (int, np.int32, np.int64),
    DataType.double: (int, np.int32, np.int64, float, np.float32),
}
_SAME: dict[DataType, tuple[type, ...]] = {
    DataType.boolean: (bool, np.bool_),
    DataType.integer: (int, np.int32),
    DataType.long: (int, np.int64),
    DataType.float: (float, np.float32),
    DataType.double: (float, np.float64),
    DataType.string: (str, np.str_),
}
_PYTHON: dict[DataType, type] = {
    DataType.boolean: bool,
    DataType.integer: int,
    DataType.long: int,
    DataType.float: float,
    DataType.double: float,
    DataType.string: str,
}


class ColSpec(msgspec.Struct, frozen=True):
    """A column.

    Attributes:
        type: What its cells hold; the name of a scalar type will do.
        name: None: columns are told by their position.
        required: False: it may be absent, and its cells may be missing.
    """

    type: ColumnType
    name: str | None = None
    required: bool = True

    def __post_init__(self) -> None:
        force_setattr(self, "type", column_type(self.type))

    def __repr__(self) -> str:
        kind = f"{self.type!r} ({'required' if self.required else 'optional'})"
        return kind if self.name is None else f"{self.name!r}: {kind}"

    def to_dict(self) -> dict[str, Any]:
        """As in MLflow's JSON."""
        named = {} if self.name is None else {"name": self.name}
        return {**self.type.to_dict(), **named, "required": self.required}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> ColSpec:
        """What MLflow's JSON describes.

        Raises:
            InvalidParameter: It is no column.
        """
        required = given.get("required")
        if required is None:
            required = not given.get("optional", False)
        return cls(type_from_dict(given), _name(given), bool(required))


class TensorSpec(msgspec.Struct, frozen=True):
    """An array of any number of dimensions.

    Attributes:
        type: Its dtype, without a size for text and bytes.
        shape: -1 stands for any length.
        name: None where it is the only one.
    """

    type: np.dtype[Any]
    shape: tuple[int, ...]
    name: str | None = None

    def __post_init__(self) -> None:
        dtype = self.type
        if not isinstance(dtype, np.dtype):
            raise InvalidParameter(
                f"A tensor's type must be a numpy.dtype, such as numpy.dtype('float64'), not {dtype!r}"
            )
        if dtype.char in "US" and dtype.itemsize:
            raise InvalidParameter(
                f"A tensor of text or bytes has no size: use numpy.dtype({dtype.type.__name__[:-1]!r}), not {dtype}"
            )
        if not isinstance(self.shape, (tuple, list)) or not all(
            isinstance(one, (int, np.integer)) and one >= -1 for one in self.shape
        ):
            raise InvalidParameter(
                f"A tensor's shape is a tuple of lengths, -1 for any, not {self.shape!r}"
            )
        force_setattr(self, "shape", tuple(int(one) for one in self.shape))

    @property
    def required(self) -> bool:
        """Always: a tensor cannot be left out."""
        return True

    def __repr__(self) -> str:
        tensor = f"Tensor({self.type.name!r}, {self.shape!r})"
        return tensor if self.name is None else f"{self.name!r}: {tensor}"

    def to_dict(self) -> dict[str, Any]:
        """As in MLflow's JSON."""
        spec = {"dtype": self.type.name, "shape": list(self.shape)}
        named = {} if self.name is None else {"name": self.name}
        return {**named, "type": "tensor", "tensor-spec": spec}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> TensorSpec:
        """What MLflow's JSON describes.

        Raises:
            InvalidParameter: It is no tensor.
        """
        spec = given.get("tensor-spec")
        if not isinstance(spec, Mapping) or not {"dtype", "shape"} <= set(spec):
            raise InvalidParameter(
                f"A tensor needs the key 'tensor-spec' with 'dtype' and 'shape', found {describe(spec)}"
            )
        dtype, shape = spec["dtype"], spec["shape"]
        try:
            if not isinstance(dtype, str) or "," in dtype:
                raise TypeError
            parsed = np.dtype(dtype)
        except (TypeError, ValueError, SyntaxError):
            raise InvalidParameter(f"There is no tensor type {describe(dtype)}") from None
        if not isinstance(shape, list):
            raise InvalidParameter(
                f"A tensor's shape is a list of lengths, found {describe(shape)}"
            )
        return cls(parsed, tuple(shape), _name(given))


class Schema(msgspec.Struct, frozen=True):
    """Columns, or tensors: what a model takes, or gives.

    Attributes:
        inputs: All columns or all tensors, all with a name or all without; one tensor at most without.
    """

    inputs: list[ColSpec | TensorSpec]

    def __post_init__(self) -> None:
        inputs = self.inputs
        if not isinstance(inputs, list) or not inputs:
            raise InvalidParameter("A schema needs a list of at least one column or tensor")
        for kind in (ColSpec, TensorSpec):
            if all(isinstance(one, kind) for one in inputs):
                break
        else:
            raise InvalidParameter("A schema is of ColSpec or of TensorSpec, not of both")
        names = [one.name for one in inputs]
        unnamed = names.count(None)
        if unnamed not in (0, len(names)):
            raise InvalidParameter(f"Name all columns of a schema or none; the names are {names}")
        if unnamed > 1 and kind is TensorSpec:
            raise InvalidParameter("Several tensors need names")
        if unnamed and not all(one.required for one in inputs):
            raise InvalidParameter(
                "A column without a name cannot be optional: name all columns, or require all"
            )

    def __len__(self) -> int:
        return len(self.inputs)

    def __iter__(self) -> Iterator[ColSpec | TensorSpec]:
        return iter(self.inputs)

    def __repr__(self) -> str:
        return repr(self.inputs)

    def is_tensor_spec(self) -> bool:
        """Whether it is of tensors."""
        return isinstance(self.inputs[0], TensorSpec)

    def has_input_names(self) -> bool:
        """Whether its columns have names."""
        return self.inputs[0].name is not None

    def input_names(self) -> list[str | int]:
        """Names of columns, or positions where they have none."""
        return [index if one.name is None else one.name for index, one in enumerate(self.inputs)]

    def required_input_names(self) -> list[str | int]:
        """`input_names` of what must be there."""
        return [
            name for name, one in zip(self.input_names(), self.inputs, strict=True) if one.required
        ]

    def input_types(self) -> list[ColumnType | np.dtype[Any]]:
        """The type of each column."""
        return [one.type for one in self.inputs]

    def to_dict(self) -> list[dict[str, Any]]:
        """As in MLflow's JSON."""
        return [one.to_dict() for one in self.inputs]

    def to_json(self) -> str:
        """As in MLflow's JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Schema:
        """What MLflow's JSON describes.

        Raises:
            InvalidParameter: It is not JSON, or no schema.
        """
        return cls([_spec(one) for one in _list(text)])


class ParamSpec(msgspec.Struct, frozen=True):
    """A parameter of a prediction.

    Attributes:
        name: Its key.
        dtype: A scalar type (not binary) or an object; the name of a scalar type will do.
        default: What it is when nobody gives it; may be None.
        shape: None for one value, ``(-1,)`` for a list.
    """

    name: str
    dtype: DataType | Object
    default: Any
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        dtype = column_type(self.dtype)
        if not isinstance(dtype, (DataType, Object)) or dtype is DataType.binary:
            raise InvalidParameter(
                f"Parameter {self.name!r} is of type {dtype!r}; it may be of any scalar type but binary, or an object"
            )
        shape = None if self.shape is None else tuple(self.shape)
        if shape not in (None, (-1,)):
            raise InvalidParameter(
                f"Parameter {self.name!r} has shape {shape}; it may have None, for one value, or (-1,), for a list"
            )
        force_setattr(self, "name", str(self.name))
        force_setattr(self, "dtype", dtype)
        force_setattr(self, "shape", shape)
        force_setattr(self, "default", self.value(self.default))

    def __repr__(self) -> str:
        shape = "" if self.shape is None else f" (shape: {self.shape})"
        return f"{self.name!r}: {self.dtype!r} (default: {self.default}){shape}"

    def value(self, given: Any) -> Any:
        """A value for it as Python has it, converted as MLflow does.

        Raises:
            InvalidParameter: It is not of the parameter's type or shape.
        """
        if self.shape is None:
            return self._one(given)
        if isinstance(given, np.ndarray) and given.ndim == 1:
            given = list(given)
        if not isinstance(given, list) or any(isinstance(one, (list, np.ndarray)) for one in given):
            raise InvalidParameter(
                f"Parameter {self.name!r}: expected a list of {self.dtype!r}, found {describe(given)}"
            )
        return [self._one(one) for one in given]

    def _one(self, given: Any) -> Any:
        if given is None:
            return None
        dtype = self.dtype
        if isinstance(dtype, Object):
            try:
                converter(dtype)(given)
            except Refused as refused:
                raise InvalidParameter(
                    f"Parameter {self.name!r}{refused.path}: {refused}"
                ) from None
            return given  # as it came: models expect what the caller passed
        if dtype is DataType.datetime:
            return self._datetime(given)
        if isinstance(given, _SAME[dtype]) and not (
            isinstance(given, bool) and dtype is not DataType.boolean
        ):
            return _PYTHON[dtype](given)
        if isinstance(given, _WIDER.get(dtype, ())) and not isinstance(given, bool):
            return _PYTHON[dtype](given)
        raise InvalidParameter(
            f"Parameter {self.name!r}: expected {dtype!r}, found {describe(given)}"
        )

    def _datetime(self, given: Any) -> Any:
        try:
            found = np.datetime64(given).item()
        except (ValueError, TypeError):
            found = None
        if not isinstance(found, dt.date):
            raise InvalidParameter(
                f"Parameter {self.name!r}: expected a datetime or its ISO 8601 text, found {describe(given)}"
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """As in MLflow's JSON."""
        default = self.default
        if self.dtype is DataType.datetime and default is not None:
            default = (
                default.isoformat() if self.shape is None else [one.isoformat() for one in default]
            )
        shape = None if self.shape is None else list(self.shape)
        return {"name": self.name, "default": default, "shape": shape, **self.dtype.to_dict()}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> ParamSpec:
        """What MLflow's JSON describes; ``dtype`` will do for ``type``.

        Raises:
            InvalidParameter: It is no parameter.
        """
        if not isinstance(given, Mapping) or not {"name", "default"} <= set(given):
            raise InvalidParameter(
                f"A parameter needs the keys 'name', 'type' and 'default', found {describe(given)}"
            )
        dtype = type_from_dict({**given, "type": given.get("type") or given.get("dtype")})
        shape = given.get("shape")
        if shape is not None and not isinstance(shape, list):
            raise InvalidParameter(f"A parameter's shape is null or [-1], found {describe(shape)}")
        return cls(
            str(given["name"]), cast(DataType, dtype), given["default"], None if shape is None else tuple(shape)
        )  # fmt: skip


class ParamSchema(msgspec.Struct, frozen=True):
    """The parameters of a prediction; no two have one name."""

    params: list[ParamSpec]

    def __post_init__(self) -> None:
        if not isinstance(self.params, list) or not all(
            isinstance(one, ParamSpec) for one in self.params
        ):
            raise InvalidParameter("A schema of parameters is a list of ParamSpec")
        names = [one.name for one in self.params]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidParameter(f"The parameters {twice} are there twice")

    def __len__(self) -> int:
        return len(self.params)

    def __iter__(self) -> Iterator[ParamSpec]:
        return iter(self.params)

    def __repr__(self) -> str:
        return repr(self.params)

    def to_dict(self) -> list[dict[str, Any]]:
        """As in MLflow's JSON."""
        return [one.to_dict() for one in self.params]

    def to_json(self) -> str:
        """As in MLflow's JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> ParamSchema:
        """What MLflow's JSON describes.

        Raises:
            InvalidParameter: It is not JSON, or no schema.
        """
        return cls([ParamSpec.from_dict(one) for one in _list(text)])


class ModelSignature(msgspec.Struct, frozen=True):
    """What a model takes and gives.

    Attributes:
        inputs: What ``predict`` takes.
        outputs: What it gives.
        params: What may be set for a prediction.
    """

    inputs: Schema | None = None
    outputs: Schema | None = None
    params: ParamSchema | None = None

    def __post_init__(self) -> None:
        for name, kind in (("inputs", Schema), ("outputs", Schema), ("params", ParamSchema)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise InvalidParameter(
                    f"A signature's {name} must be a {kind.__name__} or None, not {type(value).__name__}"
                )
        if self.inputs is None and self.outputs is None and self.params is None:
            raise InvalidParameter("A signature needs at least one of inputs, outputs and params")

    def __repr__(self) -> str:
        lines = []
        for title in ("inputs", "outputs", "params"):
            schema = getattr(self, title)
            if schema:
                lines += [f"{title}:", *(f"  {one!r}" for one in schema)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, str | None]:
        """As in an ``MLmodel`` file: a JSON string each."""
        return {
            "inputs": self.inputs.to_json() if self.inputs else None,
            "outputs": self.outputs.to_json() if self.outputs else None,
            "params": self.params.to_json() if self.params else None,
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> ModelSignature:
        """What an ``MLmodel`` file has.

        Raises:
            InvalidParameter: A part of it is not JSON, or no schema; the message begins with the part's name.
        """
        parts: dict[str, Any] = {}
        for name, kind in (("inputs", Schema), ("outputs", Schema), ("params", ParamSchema)):
            text = given.get(name)
            if not text:
                continue
            try:
                parts[name] = kind.from_json(text)
            except InvalidParameter as error:
                raise InvalidParameter(f"{name}: {error.message}") from None
        return cls(**parts)


def _list(text: object) -> list[Any]:
    if not isinstance(text, str):
        raise InvalidParameter(f"Expected JSON in a string, found {describe(text)}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter(f"It is not JSON: {error}") from None
    if not isinstance(found, list):
        raise InvalidParameter(f"Expected a list, found {describe(found)}")
    return found


def _spec(given: Any) -> ColSpec | TensorSpec:
    if isinstance(given, Mapping) and given.get("type") == "tensor":
        return TensorSpec.from_dict(given)
    if not isinstance(given, Mapping):
        raise InvalidParameter(f"Expected a column or a tensor, found {describe(given)}")
    return ColSpec.from_dict(given)


def _name(given: Mapping[str, Any]) -> str | None:
    name = given.get("name")
    if name is not None and not isinstance(name, (str, int)):
        raise InvalidParameter(f"A column's name must be a string, found {describe(name)}")
    return name  # type: ignore[return-value]  # MLflow writes integers too: a frame's own labels
