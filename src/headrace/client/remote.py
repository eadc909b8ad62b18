"""The store behind a server."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import typing
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from headrace.client.transport import base_url, open_http
from headrace.errors import (
    HeadraceError,
    InternalError,
    StoreClosed,
    Unavailable,
    Unsupported,
    from_wire,
)
from headrace.protocol.artifacts import Artifacts
from headrace.protocol.operation import NATIVE_PREFIXES, Operation
from headrace.protocol.store import Store
from headrace.protocol.wire import (
    binary_response_decoder,
    encode,
    encode_binary,
    encode_query,
    response_decoder,
)

_MSGPACK = "application/msgpack"
#: Repeating one of these after it was carried out would do it twice, or report a failure that is none.
_ONCE = frozenset(
    (
        "create_experiment",
        "create_run",
        "create_logged_model",
        "delete_logged_model_tag",
        "log_model",
        "raise_alert",
        "log_artifacts",
        "delete_experiment",
        "restore_experiment",
        "delete_tag",
        "delete_experiment_tag",
        "purge_trash",
        "create_webhook",
        "create_mlflow_webhook",
        "delete_webhook",
        "delete_mlflow_webhook",
        "test_webhook",
        "test_mlflow_webhook",
        "create_rule",
        "update_rule",
        "delete_rule",
        "create_registered_model",
        "rename_registered_model",
        "delete_registered_model",
        "create_model_version",
        "delete_model_version",
        "restore_alias",
        "delete_guard",
    )
)


class RemoteStore(Store, Artifacts):
    """A tracking store over HTTP: a headrace server, or for MLflow's operations an MLflow server.

    Thread-safe, and usable after a fork. Calls raise what a local store raises, and `Unavailable` when
    the server cannot be reached after several tries. Writes that are safe to repeat are repeated;
    creating an experiment or a run is not once the request may have arrived.
    """

    def __init__(self, uri: str, retries: int | None = None) -> None:
        """Address a server; nothing is sent yet.

        Args:
            uri: ``http(s)://[user:password@]host[:port][/prefix]``.
            retries: How often a request is repeated at most; default ``HEADRACE_HTTP_REQUEST_MAX_RETRIES``.

        Raises:
            InvalidParameter: No such address.
        """
        self.uri = str(base_url(uri)).rstrip("/")
        self._uri = uri
        self._retries = retries
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None
        self._pid = 0
        self._inherited: list[httpx.Client | None] = []

    @property
    def http(self) -> httpx.Client:
        """The connection pool of this process: base URL, credentials and retries set."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    # The parent's sockets: kept untouched, since closing them could end its streams.
                    self._inherited.append(self._http)
                    self._http = open_http(self._uri, self._retries)
                    self._pid = os.getpid()
        if self._http is None:
            raise StoreClosed(f"The store at {self.uri} is closed; open it again.")
        return self._http

    def call(self, operation: Operation, request: Any) -> Any:
        """Send one operation and decode its answer."""
        repeatable = operation.name not in _ONCE and (
            operation.name != "import_runs" or all(run.run_id for run in request.runs)
        )
        method, path, content = self.message(operation, request)
        try:
            response = self.http.request(
                method, path, extensions={"headrace_repeatable": repeatable}, **content
            )
        except httpx.TimeoutException as error:
            raise Unavailable(
                f"{self.uri} did not answer {operation.name} in time ({type(error).__name__}). Try again; "
                "HEADRACE_HTTP_REQUEST_TIMEOUT sets the limit in seconds."
            ) from error
        except httpx.TransportError as error:
            raise Unavailable(
                f"{self.uri} cannot be reached for {operation.name}: {error}. "
                "Check that the server runs and that the tracking URI is right."
            ) from error
        return self.answer(operation, response)

    @property
    def uri_with_credentials(self) -> str:
        """The address as it was given."""
        return self._uri

    def message(self, operation: Operation, request: Any) -> tuple[str, str, dict[str, Any]]:
        """An operation as an HTTP request: method, path below the base URL, and arguments for httpx."""
        method = operation.methods[0]
        path = operation.prefixes[0] + operation.path
        in_path = operation.path_fields
        if in_path:
            values = {name: _quoted(getattr(request, name)) for name in in_path}
            path = operation.prefixes[0] + operation.template.format(**values)
        content: dict[str, Any]
        if method == "GET":
            query = encode_query(request)
            content = {"params": [pair for pair in query if pair[0] not in in_path]}
        elif operation.binary:
            content = {
                "content": encode_binary(request),
                "headers": {"Content-Type": _MSGPACK, "Accept": _MSGPACK},
            }
        else:
            content = {"content": encode(request), "headers": {"Content-Type": "application/json"}}
        return method, path.lstrip("/"), content

    def answer(self, operation: Operation, response: httpx.Response) -> Any:
        """What an HTTP response says.

        Raises:
            HeadraceError: That it failed; as a local store would raise it.
        """
        if response.status_code == 200:
            return self._decode(operation, response)
        raise self._error(operation, response)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._http is not None and self._pid == os.getpid():
                self._http.close()
            self._http = None
            self._pid = os.getpid()

    def __del__(self) -> None:
        # A client that was dropped without being closed: nobody else can be using its connections.
        with contextlib.suppress(Exception):  # also half made, or in an interpreter half gone
            self.close()

    def _decode(self, operation: Operation, response: httpx.Response) -> Any:
        try:
            return _read(operation.response, response)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            problem = error
        raise InternalError(
            f"{self.uri} answered {operation.name} with something else than expected ({problem}): "
            f"{response.text[:200]!r}. Is that the address of a tracking server?"
        )

    def _error(self, operation: Operation, response: httpx.Response) -> HeadraceError:
        try:
            body = msgspec.json.decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            body = None
        status = response.status_code
        if isinstance(body, dict) and isinstance(body.get("error_code"), str):
            return from_wire(
                body["error_code"],
                str(body.get("message", "")),
                status,
                str(body.get("error_class", "")),
            )
        if status == 404:  # the path is unknown, not the thing asked for: that answer has a code
            need = "a headrace" if operation.prefixes == NATIVE_PREFIXES else "a tracking"
            return Unsupported(
                f"{self.uri} does not offer {operation.name}: it needs {need} server. "
                "Check the tracking URI."
            )
        if 300 <= status < 400:
            return Unavailable(
                f"{self.uri} redirects to {response.headers.get('location', 'nowhere')}; "
                "use that address as the tracking URI."
            )
        text = response.text.strip()[:500] or response.reason_phrase
        if status in (408, 429):
            return Unavailable(f"{self.uri} is too busy for {operation.name} ({status}): {text}")
        return from_wire(
            None, f"{self.uri} answered {operation.name} with {status}: {text}", status
        )


def _quoted(value: str) -> str:
    """A value as one part of a path. Dots alone would go up: the address of something else."""
    return value.replace(".", "%2E") if value in (".", "..") else quote(value, safe="")


def _read(kind: type[msgspec.Struct], response: httpx.Response) -> Any:
    if response.headers.get("content-type") == _MSGPACK:
        return binary_response_decoder(kind).decode(response.content)
    try:
        return response_decoder(kind).decode(response.content)
    except msgspec.ValidationError:
        # An MLflow server leaves out what is empty, also where our structs always have it.
        given = _filled(json.loads(response.content), kind)
        return msgspec.convert(given, kind, strict=False)


def _filled(value: Any, kind: Any) -> Any:
    """A decoded answer with the required strings, numbers and structs that it lacks, empty."""
    if typing.get_origin(kind) is tuple and isinstance(value, list):
        return [_filled(item, typing.get_args(kind)[0]) for item in value]
    if not (
        isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict)
    ):
        return value
    filled = dict(value)
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        if name in filled:
            filled[name] = _filled(filled[name], field.type)
        elif field.required and isinstance(field.type, type):
            if issubclass(field.type, msgspec.Struct):
                filled[name] = _filled({}, field.type)
            elif field.type in (str, int):
                filled[name] = field.type()
    return filled
