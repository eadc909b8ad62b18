"""How an operation is declared, and what is derived from the declaration.

::

    class Runs(Interface):
        @operation("POST", "/mlflow/runs/create", permission="run:create")
        def create_run(self, request: CreateRun) -> RunResponse:
            '''Start a run. ...'''
            raise NotImplementedError

A class that implements the interface either overrides the methods (the engine's session) or
overrides only `Interface.call`, to which every method that is not overridden falls through (the
remote store sends it over HTTP; the engine opens a transaction around it).
"""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import msgspec

from headrace.errors import InvalidParameter
from headrace.protocol.limits import refuse_nul

F = TypeVar("F", bound=Callable[..., Any])

_encoder = msgspec.json.Encoder()
_FIELD = re.compile(r"\{([a-z_]+)(?::path)?\}")

#: Where MLflow's operations are served: for clients, for browsers, and the alias old clients use.
MLFLOW_PREFIXES = ("/api/2.0", "/ajax-api/2.0", "/api/2.0/preview", "/ajax-api/2.0/preview")
MLFLOW_3_PREFIXES = ("/api/3.0", "/ajax-api/3.0")
NATIVE_PREFIXES = ("/api/headrace/v1",)


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of request structs.

    Unknown fields are forbidden here so that the fast decoder notices them;
    `headrace.protocol.wire` then takes the slow, lenient path that MLflow's protocol asks for.
    """


class Response(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of response structs. Unknown fields are ignored, so that an old client reads a new server."""


class Empty(Response, frozen=True, kw_only=True):
    """The response of operations that have nothing to say: ``{}``."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of the protocol.

    Attributes:
        name: Name of the method, unique over the whole protocol.
        methods: HTTP methods it answers to; the first is the one our client uses.
        path: Path below each prefix; ``{name}`` in it is the request's field of that name, and ``{name:path}`` at its end
            one that may hold slashes.
        prefixes: Where the path is served; the first is the one our client uses.
        request: Struct that the body (or, for GET, the query) decodes to.
        response: Struct of the answer.
        permission: ``noun:verb`` that the caller needs.
        reads: True when it changes nothing: no write transaction, safe to repeat.
        binary: True when our client sends it as MessagePack. Its text may hold NUL characters then:
            the operation refuses them itself, each where it stands.
        statuses: With which it may fail beside those that every operation may.
        summary: First line of the method's docstring.
    """

    name: str
    methods: tuple[str, ...]
    path: str
    prefixes: tuple[str, ...]
    request: type[Request]
    response: type[Response]
    permission: str
    reads: bool
    summary: str
    binary: bool = False
    statuses: tuple[int, ...] = ()

    @property
    def path_fields(self) -> tuple[str, ...]:
        """Fields of the request that stand in the path."""
        return tuple(_FIELD.findall(self.path))

    @property
    def template(self) -> str:
        """The path with nothing but names in its places, as OpenAPI has it."""
        return _FIELD.sub(r"{\1}", self.path)

    def routes(self) -> Iterator[tuple[str, str]]:
        """Every (HTTP method, full path) that reaches this operation."""
        for method in self.methods:
            for prefix in self.prefixes:
                yield method, prefix + self.path

    def build(self, **fields: Any) -> Request:
        """A checked request from keyword arguments; None means *not given*.

        Raises:
            InvalidParameter: A field has the wrong type or breaks its limit.
        """
        given = {key: value for key, value in fields.items() if value is not None}
        try:
            request = msgspec.convert(given, self.request, strict=False)
            text = _encoder.encode(request)  # fails for text that is not Unicode
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            raise invalid(self, given, error) from None
        if b"\\u0000" in text:
            refuse_nul(msgspec.to_builtins(request))
        return request


def invalid(operation: Operation, given: Any, error: Exception) -> InvalidParameter:
    """The error for a request that does not fit its struct, naming field and value."""
    text = str(error)
    if text.startswith("Object missing required field") or "length >= 1" in text:
        field = text.split("`")[1] if "missing" in text else text.rpartition("$.")[2].rstrip("`")
        return InvalidParameter(
            f"Missing value for required parameter '{field}' of {operation.name}: "
            "give it a value that is not empty."
        )
    what, _, where = text.partition(" - at `$.")
    value = _at(given, where.rstrip("`"))
    shown = f", got {str(value)[:100]!r}" if value is not None else ""
    place = f" for parameter '{where.rstrip('`')}'" if where else ""
    return InvalidParameter(f"Invalid value{place} of {operation.name}: {what}{shown}.")


def _at(given: Any, where: str) -> Any:
    """The value at a msgspec path such as ``metrics[...].key``; None when it is not one value."""
    for part in where.split("."):
        if not isinstance(given, dict) or part not in given:
            return None
        given = given[part]
    return given


class Interface:
    """Base of the protocol's interface classes."""

    def call(self, operation: Operation, request: Any) -> Any:
        """Carry out one operation. Every operation that is not overridden comes here."""
        raise NotImplementedError(f"{type(self).__name__} does not implement {operation.name}")


def operation(
    method: str | tuple[str, ...],
    path: str,
    *,
    permission: str,
    prefixes: tuple[str, ...] = MLFLOW_PREFIXES,
    reads: bool = False,
    binary: bool = False,
    statuses: tuple[int, ...] = (),
) -> Callable[[F], F]:
    """Declare a method of an `Interface` as an operation.

    Args:
        method: HTTP method, or several; the first is canonical.
        path: Path below the prefixes, starting with a slash. A part of it may be ``{field}``: a required
            text field of the request, percent-encoded.
        permission: ``noun:verb`` that the caller needs.
        prefixes: Where it is served.
        reads: True when the operation changes nothing.
        binary: True when our client sends the request as MessagePack, which every native operation of
            a server accepts, and the operation itself refuses text that cannot be kept.
        statuses: HTTP statuses with which it may fail beside those that every operation may.
    """

    def declare(function: F) -> F:
        @functools.cache
        def declared() -> Operation:
            # Resolved on first use, not at import: get_type_hints is slow.
            hints = typing.get_type_hints(function)
            return Operation(
                name=function.__name__,
                methods=(method,) if isinstance(method, str) else method,
                path=path,
                prefixes=prefixes,
                request=hints["request"],
                response=hints["return"],
                permission=permission,
                reads=reads,
                binary=binary,
                statuses=statuses,
                summary=(function.__doc__ or "").strip().partition("\n")[0],
            )

        @functools.wraps(function)
        def method_(self: Interface, request: Any) -> Any:
            return self.call(declared(), request)

        method_.__operation__ = declared  # type: ignore[attr-defined]
        return cast(F, method_)

    return declare


def operation_of(method: Callable[..., Any]) -> Operation:
    """The operation that an interface's method declares, e.g. ``operation_of(Runs.create_run)``."""
    return cast(Operation, method.__operation__())  # type: ignore[attr-defined]


def operations_of(interface: type[Interface]) -> dict[str, Operation]:
    """All operations that an interface class declares or inherits, by name."""
    found = {}
    for cls in reversed(interface.__mro__):
        for name, member in vars(cls).items():
            if hasattr(member, "__operation__"):
                found[name] = operation_of(member)
    return found
