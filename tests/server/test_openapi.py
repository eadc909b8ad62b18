"""The OpenAPI document, and a fuzzer let loose on the server with it."""

from __future__ import annotations

from pathlib import Path

from headrace.protocol.artifacts import Artifacts
from headrace.protocol.openapi import document
from headrace.protocol.operation import operations_of
from headrace.protocol.store import Store
from support.front import Front
from support.fuzz import fuzz, requests_by_status

OPERATIONS = [*operations_of(Store).values(), *operations_of(Artifacts).values()]


def test_every_operation_is_in_the_document() -> None:
    paths = document(OPERATIONS, version="1")["paths"]
    for operation in OPERATIONS:
        for method in operation.methods:
            described = paths[operation.prefixes[0] + operation.template][method.lower()]
            assert described["x-permission"] == operation.permission
            assert described["summary"] == operation.summary
            assert "400" in described["responses"]


def test_operation_ids_are_unique() -> None:
    paths = document(OPERATIONS, version="1")["paths"]
    ids = [described["operationId"] for item in paths.values() for described in item.values()]
    assert len(ids) == len(set(ids))


def test_queries_are_parameters_and_bodies_are_schemas() -> None:
    paths = document(OPERATIONS, version="1")["paths"]
    get_run = paths["/api/2.0/mlflow/runs/get"]["get"]
    assert {parameter["name"] for parameter in get_run["parameters"]} == {"run_id", "run_uuid"}
    body = paths["/api/2.0/mlflow/runs/log-metric"]["post"]["requestBody"]
    assert body["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/LogMetric"
    }


def test_the_document_says_how_values_travel() -> None:
    schemas = document(OPERATIONS, version="1")["components"]["schemas"]
    metric = schemas["LogMetric"]
    assert metric["properties"]["value"] == {"$ref": "#/components/schemas/Float64"}
    assert metric["properties"]["timestamp"]["minimum"] == 0
    assert metric["properties"]["step"]["minimum"] == -(2**63)
    assert "additionalProperties" not in metric
    assert "GetRun" not in schemas  # spelled out as parameters


def test_the_artifact_proxy_is_described_where_it_is_served() -> None:
    route = "/api/2.0/mlflow-artifacts/artifacts/{path}"
    assert set(document(OPERATIONS, version="1")["paths"][route]) == {"get", "put", "delete"}
    assert route not in document(OPERATIONS, version="1", artifact_proxy=False)["paths"]


def test_a_fuzzer_gets_no_500_and_only_documented_answers(front: Front, tmp_path: Path) -> None:
    done = fuzz(front.server.url, tmp_path, examples=5)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    counts = requests_by_status(front.http.get("/metrics").text)
    assert sum(counts.values()) > 300
    assert 500 not in counts
