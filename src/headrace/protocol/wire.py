"""Requests and responses as bytes.

Decoding has a fast path, one typed pass over the body, and a lenient one that runs only when the
fast one fails. The lenient path does what MLflow's protobuf-JSON does: lowerCamel field names,
unknown fields ignored, nulls as absent, enum numbers, a JSON document inside a JSON string, bare
``NaN``. What neither understands is an error that names the field; nothing is guessed.

Encoding is JSON as in protobuf's mapping: floats that JSON cannot say travel as the strings
``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. Bytes are base64 in JSON.

Native operations take and give the same structs as MessagePack too.
"""

from __future__ import annotations

import functools
import json
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from headrace.errors import BadRequest, InvalidParameter
from headrace.protocol.operation import Operation, Request, invalid

_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_NUL = "\x00"
_NO_FIELDS = b"\x80"


@functools.cache
def _decoder(request: type[Request]) -> msgspec.json.Decoder[Request]:
    return msgspec.json.Decoder(request, strict=False)


@functools.cache
def response_decoder(response: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    """A decoder for an operation's response, kept for the next call."""
    return msgspec.json.Decoder(response, strict=False)


@functools.cache
def _binary_decoder(request: type[Request]) -> msgspec.msgpack.Decoder[Request]:
    return msgspec.msgpack.Decoder(request, strict=False)


@functools.cache
def binary_response_decoder(response: type[msgspec.Struct]) -> msgspec.msgpack.Decoder[Any]:
    """A decoder for an operation's response in MessagePack, kept for the next call."""
    return msgspec.msgpack.Decoder(response, strict=False)


_encoder = msgspec.json.Encoder()
_binary_encoder = msgspec.msgpack.Encoder()


def decode_body(
    operation: Operation, body: bytes, path: Mapping[str, str] | None = None
) -> Request:
    """The request in a JSON body. An empty body means no fields.

    Args:
        operation: What is asked for.
        body: As it came.
        path: Fields that stand in the path; they have the last word.

    Raises:
        BadRequest: The body is not JSON, not UTF-8, or not an object.
        InvalidParameter: A field is missing, has the wrong type, or breaks its limit.
    """
    if path:
        return _convert(operation, {**_parse(body), **path})
    # A NUL can only come escaped. Most bodies escape nothing, and one byte is found faster than six.
    if b"\\" not in body or b"\\u0000" not in body:
        try:
            return _decoder(operation.request).decode(body or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # the lenient path decides, and words the error
    return _convert(operation, _parse(body))


def decode_binary(
    operation: Operation, body: bytes, path: Mapping[str, str] | None = None
) -> Request:
    """The request in a MessagePack body. An empty body means no fields; `path` as for `decode_body`.

    Text of operations that are declared ``binary`` may hold NUL characters: those operations judge each
    thing by itself, and refuse it there.

    Raises:
        BadRequest: The body is not MessagePack, its text not UTF-8, or it is not a map.
        InvalidParameter: A field is missing, has the wrong type, or breaks its limit.
    """
    if not path and (operation.binary or b"\x00" not in body):
        try:
            return _binary_decoder(operation.request).decode(body or _NO_FIELDS)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # the lenient path decides, and words the error
    try:
        fields = msgspec.msgpack.decode(body or _NO_FIELDS)
    except RecursionError:
        raise BadRequest("The request body is nested too deeply; send a flat map.") from None
    except UnicodeDecodeError as error:
        raise BadRequest(
            f"A text in the request body is not UTF-8 ({error.reason}); send text in UTF-8."
        ) from None
    except (ValueError, TypeError, OverflowError) as error:  # TypeError: a map as the key of a map
        raise BadRequest(
            f"The request body is not MessagePack: {error}. Send a map of the operation's fields."
        ) from None
    if not isinstance(fields, dict) or not all(isinstance(name, str) for name in fields):
        raise BadRequest("The request body is no MessagePack map with text as keys; send one.")
    return _convert(operation, {**fields, **(path or {})})


def decode_query(
    operation: Operation,
    query: Sequence[tuple[str, str]],
    path: Mapping[str, str] | None = None,
) -> Request:
    """The request in a query string, given as decoded (name, value) pairs; `path` as for `decode_body`.

    A repeated name is a repeated field.

    Raises:
        InvalidParameter: As for `decode_body`.
    """
    fields: dict[str, Any] = {}
    for name, value in query:
        fields.setdefault(name, []).append(value)
    repeated = {
        field.encode_name
        for field in msgspec.structs.fields(operation.request)
        if typing.get_origin(field.type) is tuple
    }
    for name, values in fields.items():
        if _snake(name) not in repeated:
            if len(values) > 1:
                raise InvalidParameter(
                    f"Parameter '{name}' of {operation.name} was given {len(values)} times: give it once."
                )
            fields[name] = values[0]
    return _convert(operation, {**fields, **(path or {})})


def encode_query(request: Request) -> list[tuple[str, str]]:
    """A request as query pairs; the inverse of `decode_query`."""
    pairs: list[tuple[str, str]] = []
    for name, value in msgspec.to_builtins(request).items():
        for one in value if isinstance(value, list | tuple) else (value,):
            pairs.append(
                (name, ("true" if one else "false") if isinstance(one, bool) else str(one))
            )
    return pairs


def encode(value: Any) -> bytes:
    """A struct or builtin as JSON, non-finite floats as strings."""
    body = _encoder.encode(value)
    if b"null" in body:  # the only way msgspec says NaN or infinity
        return _encoder.encode(_spell_floats(msgspec.to_builtins(value)))
    return body


def encode_binary(value: Any) -> bytes:
    """A struct or builtin as MessagePack."""
    return _binary_encoder.encode(value)


def _spell_floats(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _spell_floats(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spell_floats(item) for item in value]
    return value


def _parse(body: bytes) -> Any:
    """The JSON of a body as builtins, however it was dressed."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(
            f"The request body is not UTF-8 (byte {error.start}); send JSON in UTF-8."
        ) from None
    try:
        value = json.loads(text or "{}", parse_float=_finite)
        if isinstance(value, str):  # old clients encode twice
            value = json.loads(value, parse_float=_finite)
    except RecursionError:
        raise BadRequest(
            "The request body is nested too deeply; send a flat JSON object."
        ) from None
    except ValueError as error:
        raise BadRequest(f"The request body is not JSON: {error}. Send a JSON object.") from None
    if not isinstance(value, dict):
        raise BadRequest(f"The request body is a JSON {type(value).__name__}; send a JSON object.")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:40]} does not fit a float64")
    return value


def _convert(operation: Operation, fields: Mapping[str, Any]) -> Request:
    try:
        given = _normalise(fields, operation.request)
        return msgspec.convert(given, operation.request, strict=False)
    except RecursionError:
        raise BadRequest(
            "The request body is nested too deeply; send a flat JSON object."
        ) from None
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise invalid(operation, fields, error) from None


def _normalise(value: Any, kind: Any) -> Any:
    """A decoded JSON value with its names, enums and nulls brought to the form that `kind` has."""
    if isinstance(value, str):
        if _NUL in value:
            raise InvalidParameter(
                f"The value {value[:60]!r} holds a NUL character, which no store can keep; remove it."
            )
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InvalidParameter(
                    f"The value {value[:60]!r} holds half of a surrogate pair, which is no character; "
                    "remove it."
                ) from None
        return value
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(value, list):
        if origin is tuple:
            return [_normalise(item, args[0]) for item in value]
        struct = _struct(kind, value)
        if struct is None:
            return value
        kinds = [field.type for field in msgspec.structs.fields(struct)]
        # What goes beyond is unknown fields, and ignored like those.
        return [_normalise(item, one) for item, one in zip(value, kinds, strict=False)]
    struct = _struct(kind, value) if isinstance(value, dict) else None
    if struct is not None:
        known = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
        fields: dict[str, Any] = {}
        tag_field = struct.__struct_config__.tag_field
        if tag_field is not None:
            known[tag_field] = str
        for name, item in value.items():
            snake = _snake(name) if isinstance(name, str) else ""  # MessagePack has other keys too
            if snake not in known or item is None:
                continue
            if snake in fields:
                raise InvalidParameter(
                    f"Field '{snake}' was given twice, also as '{name}': give it once."
                )
            fields[snake] = _normalise(item, known[snake])
        return fields
    for choice in (kind, *args):
        if isinstance(choice, type) and issubclass(choice, StrEnum) and isinstance(value, int):
            members = list(choice)
            if not isinstance(value, bool) and 1 <= value <= len(members):
                return members[value - 1]
    return value


def _struct(kind: Any, value: Any) -> type[msgspec.Struct] | None:
    """The struct that a decoded value is meant to be, where `kind` is one or a choice of them."""
    choices = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for choice in choices:
        if isinstance(choice, type) and issubclass(choice, msgspec.Struct):
            config = choice.__struct_config__
            if isinstance(value, list):
                if config.array_like:
                    return choice
            elif config.tag_field is None or value.get(config.tag_field) == config.tag:
                return choice
    return None


def _snake(name: str) -> str:
    return _CAMEL.sub(lambda match: "_" + match.group(1).lower(), name)
