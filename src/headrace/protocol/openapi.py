"""The OpenAPI 3.1 document, made from the operations.

One path per operation and method, its canonical one; the aliases stand under ``x-aliases``. What the
document says of requests is the strict form: a server also takes lowerCamel names, numbers as
strings and the other liberties of protobuf's JSON, see `headrace.protocol.wire`. What native
operations take and give as MessagePack has the same schema, with bytes in the place of base64.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from headrace.protocol.operation import NATIVE_PREFIXES, Operation

_REF = "#/components/schemas/{name}"
_JSON = "application/json"
_MSGPACK = "application/msgpack"
_PROXY = "/api/2.0/mlflow-artifacts"
_INT64 = (-(2**63), 2**63 - 1)

Schema = dict[str, Any]


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What every failed request is answered with."""

    error_code: str
    message: str


def document(
    operations: Iterable[Operation],
    *,
    version: str,
    static_prefix: str = "",
    artifact_proxy: bool = True,
) -> Schema:
    """The document as builtins.

    Args:
        operations: What the server offers.
        version: Of the server.
        static_prefix: Path before every path.
        artifact_proxy: Whether the ``mlflow-artifacts`` routes are served.
    """
    operations = sorted(operations, key=lambda operation: operation.path)
    types = dict.fromkeys(
        kind for operation in operations for kind in (operation.request, operation.response)
    )
    _, schemas = msgspec.json.schema_components((*types, ErrorBody), ref_template=_REF)
    names = _short_names(schemas, types)
    components = {
        names[name]: _renamed(_as_on_the_wire(schema), names) for name, schema in schemas.items()
    }
    components["Float64"] = {
        "description": "A float64; what JSON has no number for travels as a string.",
        "anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}],
    }
    paths: dict[str, Schema] = {}
    for operation in operations:
        for method in operation.methods:
            item = paths.setdefault(operation.prefixes[0] + operation.template, {})
            item[method.lower()] = _operation(operation, method, components)
    paths.update(_pages())
    if artifact_proxy:
        paths.update(_artifact_paths())
    # A query's struct is spelled out as parameters, so nothing may point at it any more.
    used = _references(paths)
    while (more := used | _references([components[name] for name in used])) != used:
        used = more
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "headrace",
            "version": version,
            "description": "Tracking of machine-learning runs, compatible with MLflow's REST protocol.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": static_prefix.rstrip("/") or "/"}],
        "paths": paths,
        "components": {"schemas": {name: components[name] for name in sorted(used)}},
    }


def _operation(operation: Operation, method: str, components: dict[str, Schema]) -> Schema:
    canonical = operation.prefixes[0] + operation.template
    first = method == operation.methods[0]
    kinds = [_JSON, _MSGPACK] if operation.prefixes == NATIVE_PREFIXES else [_JSON]
    described: Schema = {
        "operationId": operation.name if first else f"{operation.name}_{method.lower()}",
        "summary": operation.summary,
        "tags": [operation.permission.partition(":")[0]],
        "x-permission": operation.permission,
        "x-aliases": [
            prefix + operation.template
            for prefix in operation.prefixes
            if prefix + operation.template != canonical
        ],
        "responses": {
            "200": {
                "description": "The operation was carried out.",
                "content": {kind: {"schema": _ref(operation.response.__name__)} for kind in kinds},
            },
            **_errors(
                "400",
                "403",
                "404",
                "408",
                "413",
                "500",
                "501",
                "503",
                *map(str, operation.statuses),
            ),
        },
    }
    request = components[operation.request.__name__]
    required = request.get("required", ())
    in_path = operation.path_fields
    parameters = [
        {
            "name": name,
            "in": "path" if name in in_path else "query",
            "required": name in required,
            "schema": schema,
        }
        for name, schema in request.get("properties", {}).items()
        if method == "GET" or name in in_path
    ]
    if parameters:
        described["parameters"] = parameters
    if method != "GET":
        described["requestBody"] = {
            "required": True,
            "content": {kind: {"schema": _ref(operation.request.__name__)} for kind in kinds},
        }
    return described


def _short_names(schemas: Iterable[str], types: Iterable[type]) -> dict[str, str]:
    """Names of components by msgspec's: of structs that share a name it gives the modules too.

    The one that is a request or response keeps its name; another gets its module's before it.
    """
    own = {f"{kind.__module__}.{kind.__name__}" for kind in types}
    names = {}
    for name in schemas:
        path, _, last = name.rpartition(".")
        module = path.rpartition(".")[2]
        names[name] = last if not path or name in own else f"{module.capitalize()}{last}"
    return names


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """A schema with its references renamed."""
    if isinstance(value, dict):
        return {key: _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(item, names) for item in value]
    if isinstance(value, str) and value.startswith(_REF.format(name="")):
        name = value.rpartition("/")[2]
        return _REF.format(name=names.get(name, name))
    return value


def _as_on_the_wire(schema: Any) -> Any:
    """A struct's schema as the protocol has it: spelled floats, bounded ints, unknown fields allowed."""
    if isinstance(schema, list):
        return [_as_on_the_wire(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "number":
        return _ref("Float64")
    named = {
        name: {key: _as_on_the_wire(item) for key, item in part.items()}
        for name, part in schema.items()
        if name == "properties"
    }
    rest = {
        name: _as_on_the_wire(part)
        for name, part in schema.items()
        if name != "properties" and (name, part) != ("additionalProperties", False)
    }
    if schema.get("type") == "integer":
        rest.setdefault("minimum", _INT64[0])
        rest.setdefault("maximum", _INT64[1])
        rest["format"] = "int64"
    return {**rest, **named}


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["$ref"].rpartition("/")[2]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*map(_references, value.values()))
    if isinstance(value, list):
        return set().union(*map(_references, value))
    return set()


def _ref(name: str) -> Schema:
    return {"$ref": _REF.format(name=name)}


def _response(description: str, schema: Schema, content_type: str = _JSON) -> Schema:
    return {"description": description, "content": {content_type: {"schema": schema}}}


_MEANINGS = {
    "400": "A value is not acceptable, or the request cannot be read.",
    "403": "A foreign Host header, a cross-origin write, or no permission.",
    "404": "The thing does not exist.",
    "408": "The body did not arrive in time.",
    "409": "Somebody else changed it meanwhile; read it again.",
    "410": "It was there once; the message says what is there now.",
    "413": "The body is over the server's limit.",
    "416": "The byte range lies outside the artifact.",
    "500": "A defect of the server.",
    "501": "This store does not offer the operation.",
    "503": "The store cannot answer now; try again.",
}


def _errors(*statuses: str) -> Schema:
    return {status: _response(_MEANINGS[status], _ref("ErrorBody")) for status in statuses}


def _page(name: str, summary: str, content_type: str, schema: Schema) -> Schema:
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "tags": ["server"],
            "responses": {"200": _response(summary, schema, content_type), **_errors("403")},
        }
    }


def _pages() -> dict[str, Schema]:
    text, anything = {"type": "string"}, {"type": "object"}
    return {
        "/health": _page("health", "OK while the server answers.", "text/plain", text),
        "/version": _page("version", "The server's version.", "text/plain", text),
        "/metrics": _page("metrics", "Prometheus metrics.", "text/plain", text),
        "/openapi.json": _page("openapi", "This document.", _JSON, anything),
        "/api/3.0/mlflow/server-info": _page(
            "server_info", "What an MLflow client asks a server about itself.", _JSON, anything
        ),
    }


def _artifact_paths() -> dict[str, Schema]:
    """The artifact proxy, whose paths have parameters and whose bodies are bytes.

    ``{path}`` may hold slashes, which OpenAPI cannot say.
    """
    path = {
        "name": "path",
        "in": "path",
        "required": True,
        "description": "Path of the artifact below the root of the proxy; may hold slashes.",
        "schema": {"type": "string", "minLength": 1},
    }
    octets = "application/octet-stream"
    anything = {"type": "object"}
    errors = _errors("400", "403", "404", "408", "413", "500", "501", "503")

    def described(name: str, summary: str, answer: Schema, permission: str, **more: Any) -> Schema:
        return {
            "operationId": name,
            "summary": summary,
            "tags": ["artifact"],
            "x-permission": permission,
            "responses": {"200": answer, **errors},
            **more,
        }

    done = _response("Done.", anything)
    stored = {"description": "Stored."}
    body = {"required": True, "content": {_JSON: {"schema": anything}}}
    in_path: Schema = {"parameters": [path]}
    proxy: dict[str, Schema] = {
        f"{_PROXY}/artifacts": {
            "get": described(
                "list_proxied_artifacts",
                "List a folder.",
                done,
                "artifact:read",
                parameters=[{"name": "path", "in": "query", "schema": {"type": "string"}}],
            )
        },
        f"{_PROXY}/artifacts/{{path}}": {
            "get": described(
                "download_artifact",
                "Download an artifact, whole or the range that a Range header asks for.",
                _response("The bytes, with the content type of the file's name.", {}, "*/*"),
                "artifact:read",
                **in_path,
            ),
            "put": described(
                "upload_artifact",
                "Upload an artifact, replacing what was there.",
                stored,
                "artifact:edit",
                **in_path,
                requestBody={"required": True, "content": {octets: {"schema": {}}}},
            ),
            "delete": described(
                "delete_artifact",
                "Delete an artifact or a folder.",
                done,
                "artifact:edit",
                **in_path,
            ),
        },
        f"{_PROXY}/presigned/{{path}}": {
            "get": described(
                "presign_proxied_artifact",
                "A URL to get an artifact from.",
                done,
                "artifact:read",
                **in_path,
            )
        },
    }
    for step, summary in (
        ("create", "Begin a multipart upload."),
        ("complete", "Put the parts together."),
        ("abort", "Forget a multipart upload."),
    ):
        proxy[f"{_PROXY}/mpu/{step}/{{path}}"] = {
            "post": described(
                f"{step}_multipart_upload",
                summary,
                done,
                "artifact:edit",
                **in_path,
                requestBody=body,
            )
        }
    proxy[f"{_PROXY}/artifacts/{{path}}"]["get"]["responses"].update(
        {"206": _response("The bytes of the range.", {}, "*/*"), **_errors("416")}
    )
    return proxy
