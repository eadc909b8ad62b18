"""The types of columns: MLflow's, with MLflow's JSON.

A column holds one of eight scalar types, or something nested: an array, an object with named properties,
a map from strings, or anything at all. In JSON a type is an object with the key ``type``:
``{"type": "array", "items": {"type": "string"}}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeAlias

import msgspec
import numpy as np
from msgspec.structs import force_setattr

from headrace.errors import InvalidParameter

#: How deep types may nest: more is no data of anybody's, but an attack on whoever reads it.
MAX_DEPTH = 50


class DataType(Enum):
    """The scalar types. Numbers and names are MLflow's."""

    boolean = 1
    integer = 2
    """32 bits, signed."""
    long = 3
    """64 bits, signed."""
    float = 4
    """32 bits."""
    double = 5
    """64 bits."""
    string = 6
    binary = 7
    datetime = 8
    """To the nanosecond, without a time zone."""

    def __repr__(self) -> str:
        return self.name

    def to_numpy(self) -> np.dtype[Any]:
        """The dtype of an array of it."""
        return _NUMPY[self]

    def to_pandas(self) -> np.dtype[Any]:
        """The dtype of a pandas column of it: objects for text and bytes."""
        return np.dtype(object) if self in (DataType.string, DataType.binary) else _NUMPY[self]

    def to_dict(self) -> dict[str, Any]:
        """As in MLflow's JSON."""
        return {"type": self.name}


_NUMPY: dict[DataType, np.dtype[Any]] = {
    DataType.boolean: np.dtype("bool"),
    DataType.integer: np.dtype("int32"),
    DataType.long: np.dtype("int64"),
    DataType.float: np.dtype("float32"),
    DataType.double: np.dtype("float64"),
    DataType.string: np.dtype("str"),
    DataType.binary: np.dtype("bytes"),
    DataType.datetime: np.dtype("datetime64[ns]"),
}


class Property(msgspec.Struct, frozen=True):
    """A property of an object.

    Attributes:
        name: Its key.
        dtype: Its type; the name of a scalar type will do.
        required: Whether it has to be there.
    """

    name: str
    dtype: ColumnType
    required: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InvalidParameter(
                f"A property's name must be a string, not {type(self.name).__name__}"
            )
        force_setattr(self, "dtype", column_type(self.dtype))

    def __repr__(self) -> str:
        return f"{self.name}: {self.dtype!r} ({'required' if self.required else 'optional'})"


class Object(msgspec.Struct, frozen=True):
    """A dictionary with known keys.

    Attributes:
        properties: Sorted by name, as MLflow does.
    """

    properties: list[Property]

    def __post_init__(self) -> None:
        if not isinstance(self.properties, list) or not self.properties:
            raise InvalidParameter("An object type needs a list of at least one property")
        names = set()
        for one in self.properties:
            if not isinstance(one, Property):
                raise InvalidParameter(
                    f"An object's properties must be Property, not {type(one).__name__}"
                )
            if one.name in names:
                raise InvalidParameter(f"An object type has the property {one.name!r} twice")
            names.add(one.name)
        force_setattr(self, "properties", sorted(self.properties, key=lambda one: one.name))

    def __repr__(self) -> str:
        return "{" + ", ".join(map(repr, self.properties)) + "}"

    def to_dict(self) -> dict[str, Any]:
        """As in MLflow's JSON."""
        return {
            "type": "object",
            "properties": {
                one.name: {**one.dtype.to_dict(), "required": one.required}
                for one in self.properties
            },
        }


class Array(msgspec.Struct, frozen=True):
    """A list whose items are of one type.

    Attributes:
        dtype: The items' type; the name of a scalar type will do.
    """

    dtype: ColumnType

    def __post_init__(self) -> None:
        force_setattr(self, "dtype", column_type(self.dtype))

    def __repr__(self) -> str:
        return f"Array({self.dtype!r})"

    def to_dict(self) -> dict[str, Any]:
        """As in MLflow's JSON."""
        return {"type": "array", "items": self.dtype.to_dict()}


class SparkMLVector(Array, frozen=True):
    """A vector of Spark ML: doubles."""

    dtype: ColumnType = DataType.double

    def __repr__(self) -> str:
        return "SparkML vector"

    def to_dict(self) -> dict[str, Any]:
        """As in MLflow's JSON."""
        return {"type": "sparkml_vector"}


class Map(msgspec.Struct, frozen=True):
    """A dictionary from any strings to values of one type.

    Attributes:
        value_type: The values' type; the name of a scalar type will do.
    """

    value_type: ColumnType

    def __post_init__(self) -> None:
        force_setattr(self, "value_type", column_type(self.value_type))

    def __repr__(self) -> str:
        return f"Map(str -> {self.value_type!r})"

    def to_dict(self) -> dict[str, Any]:
        """As in MLflow's JSON."""
        return {"type": "map", "values": self.value_type.to_dict()}


class AnyType(msgspec.Struct, frozen=True):
    """Anything that JSON can say, None included; nothing is checked."""

    def __repr__(self) -> str:
        return "Any"

    def to_dict(self) -> dict[str, Any]:
        """As in MLflow's JSON."""
        return {"type": "any"}


ColumnType: TypeAlias = DataType | Array | Object | Map | AnyType


def column_type(given: object) -> ColumnType:
    """A type given as itself, or a scalar one by its name.

    Raises:
        InvalidParameter: It is neither.
    """
    if isinstance(given, str):
        try:
            return DataType[given]
        except KeyError:
            raise InvalidParameter(f"There is no type {given!r}; there are {_names()}") from None
    if isinstance(given, (DataType, Array, Object, Map, AnyType)):
        return given
    raise InvalidParameter(f"Expected a type such as DataType.long or 'long', found {given!r}")


def type_from_dict(given: object, depth: int = 0) -> ColumnType:
    """The type that MLflow's JSON describes.

    Args:
        given: The decoded JSON; keys that a type does not have are ignored.
        depth: How deep it is nested.

    Raises:
        InvalidParameter: It is no type, or nested deeper than 50.
    """
    if depth > MAX_DEPTH:
        raise InvalidParameter(f"The type is nested deeper than {MAX_DEPTH}")
    if not isinstance(given, Mapping) or not isinstance(given.get("type"), str):
        raise InvalidParameter(
            f"Expected an object with the key 'type', such as {{'type': 'long'}}, found {_shown(given)}"
        )
    name = given["type"]
    if name == "array":
        return Array(type_from_dict(_part(given, "items"), depth + 1))
    if name == "map":
        return Map(type_from_dict(_part(given, "values"), depth + 1))
    if name == "object":
        properties = _part(given, "properties")
        return Object([_property(key, one, depth + 1) for key, one in properties.items()])
    if name == "any":
        return AnyType()
    if name == "sparkml_vector":
        return SparkMLVector()
    if name in DataType.__members__:
        return DataType[name]
    raise InvalidParameter(
        f"There is no type {name!r}; there are {_names()}, array, object, map, any"
    )


def _property(name: str, given: object, depth: int) -> Property:
    dtype = type_from_dict(given, depth)
    assert isinstance(given, Mapping)
    return Property(name, dtype, bool(given.get("required", True)))


def _part(given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = given.get(key)
    if not isinstance(part, Mapping):
        raise InvalidParameter(
            f"The type {given['type']!r} needs the key {key!r} with an object, found {_shown(part)}"
        )
    return part


def _names() -> str:
    return ", ".join(DataType.__members__)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
