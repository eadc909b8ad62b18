"""One class per meaning. Each carries its wire code and HTTP status.

The wire form is MLflow's: ``{"error_code": "...", "message": "..."}``. A server encodes an error
from the class; a remote client turns the code back into the same class, so that code written
against a local store behaves the same against a server.
"""

from __future__ import annotations

from typing import Any, ClassVar


class HeadraceError(Exception):
    """Base of every error that headrace raises on purpose.

    The message says what was wrong, with which value, and what would be right.
    """

    error_code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500
    #: Tells on the wire, beside the code, which of several classes with that code it is.
    error_class: ClassVar[str] = ""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def get_http_status_code(self) -> int:
        """HTTP status of this error (the name is the one MLflow's exception has)."""
        return self.status

    def wire(self) -> dict[str, Any]:
        """The JSON body of an error response."""
        named = {"error_class": self.error_class} if self.error_class else {}
        return {"error_code": self.error_code, "message": self.message, **named}


class InvalidParameter(HeadraceError):
    """A value in the request is not acceptable."""

    error_code = "INVALID_PARAMETER_VALUE"
    status = 400


class BadRequest(HeadraceError):
    """The request itself cannot be read: not JSON, not UTF-8, unknown content encoding."""

    error_code = "BAD_REQUEST"
    status = 400


class InvalidState(HeadraceError):
    """The thing exists but is in a state that forbids the operation."""

    error_code = "INVALID_STATE"
    status = 400


class AlreadyExists(HeadraceError):
    """A thing of that name exists."""

    error_code = "RESOURCE_ALREADY_EXISTS"
    status = 400


class NotFound(HeadraceError):
    """No thing of that id or name exists."""

    error_code = "RESOURCE_DOES_NOT_EXIST"
    status = 404


class EndpointNotFound(HeadraceError):
    """No operation has that path."""

    error_code = "ENDPOINT_NOT_FOUND"
    status = 404


class MethodNotAllowed(HeadraceError):
    """The path exists, but not for that HTTP method."""

    error_code = "BAD_REQUEST"
    status = 405


class Gone(HeadraceError):
    """What was asked for was there once; the message says what is there now."""

    error_code = "GONE"
    status = 410


class RequestTooLarge(HeadraceError):
    """The request body is over the server's limit."""

    error_code = "INVALID_PARAMETER_VALUE"
    status = 413


class RequestTimeout(HeadraceError):
    """The request did not arrive whole in time; send it again."""

    error_code = "BAD_REQUEST"
    status = 408


class RangeNotSatisfiable(HeadraceError):
    """The byte range asked for lies outside the artifact."""

    error_code = "INVALID_PARAMETER_VALUE"
    status = 416


class Unauthenticated(HeadraceError):
    """The request names nobody, or somebody wrongly."""

    error_code = "UNAUTHENTICATED"
    status = 401


class PermissionDenied(HeadraceError):
    """The caller may not do this: foreign host, cross-origin write, missing permission."""

    error_code = "PERMISSION_DENIED"
    status = 403


class Conflict(HeadraceError):
    """Somebody else changed the same thing first."""

    error_code = "RESOURCE_CONFLICT"
    status = 409


class Unsupported(HeadraceError):
    """This store or server does not offer the operation."""

    error_code = "NOT_IMPLEMENTED"
    status = 501


class Unavailable(HeadraceError):
    """The store cannot answer now (database locked or away, disk full, stopping); try again."""

    error_code = "TEMPORARILY_UNAVAILABLE"
    status = 503


class StoreClosed(Unavailable):
    """The store was closed here; waiting does not help."""


class SchemaMismatch(HeadraceError):
    """The database has another schema than this version of headrace works with."""

    error_code = "INVALID_STATE"
    status = 500


class InvalidModel(InvalidParameter):
    """A model folder, or a file of it, is not what it should be; nothing of it was run."""

    error_class = "INVALID_MODEL"


class PolicyViolation(PermissionDenied):
    """The loader's policy forbids opening this model; nothing of it was opened."""

    error_class = "POLICY_VIOLATION"


class GuardRefused(PermissionDenied):
    """An alias may not move: a check is missing or failed, or nobody has agreed."""

    error_class = "GUARD_REFUSED"


class InternalError(HeadraceError):
    """A defect. Report it."""


_BY_CODE: dict[str, type[HeadraceError]] = {
    error.error_code: error
    for error in (
        InternalError,
        Unavailable,
        Unsupported,
        Conflict,
        PermissionDenied,
        Unauthenticated,
        EndpointNotFound,
        NotFound,
        AlreadyExists,
        InvalidState,
        BadRequest,
        InvalidParameter,
        Gone,
    )
}
_BY_STATUS: dict[int, type[HeadraceError]] = {
    400: InvalidParameter,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    405: MethodNotAllowed,
    408: RequestTimeout,
    409: Conflict,
    410: Gone,
    413: RequestTooLarge,
    416: RangeNotSatisfiable,
    429: Unavailable,
    501: Unsupported,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


_BY_CLASS: dict[str, type[HeadraceError]] = {
    error.error_class: error for error in (InvalidModel, PolicyViolation, GuardRefused)
}


def from_wire(
    error_code: str | None, message: str, status: int, error_class: str | None = None
) -> HeadraceError:
    """The error that a response stands for.

    Args:
        error_code: ``error_code`` of the JSON body, None when the body had none.
        message: ``message`` of the body, or its text.
        status: HTTP status, used when the code is unknown.
        error_class: ``error_class`` of the body, which only some errors have.
    """
    by_class = _BY_CLASS.get(error_class or "")
    if by_class is not None and by_class.error_code == error_code:
        return by_class(message)
    # 405, 408, 413 and 416 share a code with a broader class; there the status is the finer word.
    by_status = _BY_STATUS.get(status)
    if status in (405, 408, 413, 416) and by_status is not None:
        return by_status(message)
    by_code = _BY_CODE.get(error_code or "")
    return (by_code or by_status or InternalError)(message)
