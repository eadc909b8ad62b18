"""Where our answers differ from MLflow's on purpose: name in docs/mlflow-compatibility.md, and our answer."""

from __future__ import annotations

from typing import Any, NamedTuple


class Deviation(NamedTuple):
    """One step that differs.

    Attributes:
        name: Row of docs/mlflow-compatibility.md.
        ours: Our outcome of the step, as the recorder writes it.
    """

    name: str
    ours: Any


DEVIATIONS: dict[tuple[str, str], Deviation] = {
    ("experiments", "create with .."): Deviation(
        "location-checked",
        {"raised": "RestException", "error_code": "INVALID_PARAMETER_VALUE", "status": 400},
    ),
    ("experiments", "create with a query"): Deviation(
        "location-checked",
        {"raised": "RestException", "error_code": "INVALID_PARAMETER_VALUE", "status": 400},
    ),
    ("experiments", "rename to a taken name"): Deviation(
        "rename-taken",
        {"raised": "RestException", "error_code": "RESOURCE_ALREADY_EXISTS", "status": 400},
    ),
    ("deletion", "rename deleted"): Deviation(
        "rename-deleted", {"raised": "RestException", "error_code": "INVALID_STATE", "status": 500}
    ),
    ("deletion", "restore run of deleted"): Deviation(
        "restore-keeps-deleted",
        {"raised": "RestException", "error_code": "INVALID_PARAMETER_VALUE", "status": 400},
    ),
    ("deletion", "stages after restore"): Deviation("restore-keeps-deleted", ["active", "deleted"]),
    ("deletion", "name of deleted"): Deviation("names-free", "made"),
    ("deletion", "restore with taken name"): Deviation(
        "names-free",
        {"raised": "RestException", "error_code": "RESOURCE_ALREADY_EXISTS", "status": 400},
    ),
    ("runs", "in no experiment"): Deviation(
        "no-experiment",
        {"raised": "RestException", "error_code": "INVALID_PARAMETER_VALUE", "status": 400},
    ),
    ("wire", "no experiment"): Deviation(
        "no-experiment", {"status": 400, "error_code": "INVALID_PARAMETER_VALUE"}
    ),
    ("runs", "with bad tag"): Deviation(
        "tag-keys-checked",
        {"raised": "RestException", "error_code": "INVALID_PARAMETER_VALUE", "status": 400},
    ),
    ("params_and_tags", "long value is kept"): Deviation("values-whole", 6001),
    ("params_and_tags", "very long value"): Deviation(
        "values-whole",
        {"raised": "MlflowException", "error_code": "INVALID_PARAMETER_VALUE", "status": 400},
    ),
    ("params_and_tags", "long tag is kept"): Deviation("values-whole", 8001),
    ("params_and_tags", "params"): Deviation(
        "values-whole",
        {
            "dict": "{'a': 1}",
            "empty": "",
            "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk": "v",
            "long": "xxxxxxxxxxxxxxxxxxxx",
            "lr": "0.1",
            "none": "None",
            "quotes": "';\"--\n\t\\",
            "ключ/实验": "🚀",
        },
    ),
    ("metrics", "history of inf"): Deviation(
        "infinity", [{"key": "inf", "step": 0, "timestamp": 1, "value": "inf"}]
    ),
    ("metrics", "history of -inf"): Deviation(
        "infinity", [{"key": "ninf", "step": 0, "timestamp": 1, "value": "-inf"}]
    ),
    ("metrics", "all"): Deviation(
        "infinity",
        {
            "bool": 1.0,
            "inf": "inf",
            "m": 1.5,
            "nan": "nan",
            "ninf": "-inf",
            "numpy": 0.5,
            "text": 0.25,
        },
    ),
    ("wire", "Infinity stored"): Deviation(
        "infinity",
        {
            "status": 200,
            "body": {"metrics": [{"key": "inf", "step": 0, "timestamp": 1, "value": "-Infinity"}]},
        },
    ),
    ("batches", "unknown model"): Deviation("unknown-model", None),
    ("search", "filter params.lr = 0.1"): Deviation("filter-grammar", ["a"]),
    ("search", "filter metrics.loss < 0.3 OR metrics.acc < 0"): Deviation(
        "filter-grammar", ["a", "d"]
    ),
    ("search", "filter NOT tags.team = 'red'"): Deviation("filter-grammar", ["d", "c", "b"]),
    ("search", "filter (metrics.loss < 0.3)"): Deviation("filter-grammar", ["a"]),
    ("search", "filter params.lr > 5"): Deviation("filter-grammar", ["c", "b"]),
    ("search", "filter tags.team IN ('red')"): Deviation("filter-grammar", ["a"]),
    ("search", "filter params.opt IN ('adam')"): Deviation("filter-grammar", ["a"]),
    ("search", "filter metrics.acc IS NULL"): Deviation("filter-grammar", ["c"]),
    ("search", "filter run_name IN ('a', 'b')"): Deviation("filter-grammar", ["a", "b"]),
    ("search", "filter metrics.loss.min < 0.3"): Deviation("filter-grammar", ["a"]),
    ("search_experiments", "filter name = 'find-a' OR name = 'find-B'"): Deviation(
        "filter-grammar", ["find-B", "find-a"]
    ),
    ("search_experiments", "filter tags.team IN ('a')"): Deviation("filter-grammar", ["find-a"]),
    ("search", "filter metrics.a > 1 AND"): Deviation(
        "filter-unfinished",
        {"raised": "RestException", "error_code": "INVALID_PARAMETER_VALUE", "status": 400},
    ),
    ("search", "order by ('start_time', 'start_time')"): Deviation(
        "order-twice", ["b", "c", "d", "a"]
    ),
    ("artifacts", "list None"): Deviation(
        "empty-file",
        [
            {"file_size": 1, "is_dir": False, "path": "a.txt"},
            {"file_size": 32, "is_dir": False, "path": "dict.json"},
            {"file_size": 7, "is_dir": False, "path": "dict.yml"},
            {"file_size": 0, "is_dir": False, "path": "empty.txt"},
            {"file_size": None, "is_dir": True, "path": "notes"},
            {"file_size": 38, "is_dir": False, "path": "table.json"},
            {"file_size": None, "is_dir": True, "path": "tree"},
            {"file_size": None, "is_dir": True, "path": "x"},
            {"file_size": 69, "is_dir": False, "path": "zero.png"},
        ],
    ),
    ("artifacts", "list after delete"): Deviation(
        "empty-file",
        [
            {"file_size": 1, "is_dir": False, "path": "a.txt"},
            {"file_size": 32, "is_dir": False, "path": "dict.json"},
            {"file_size": 7, "is_dir": False, "path": "dict.yml"},
            {"file_size": 0, "is_dir": False, "path": "empty.txt"},
            {"file_size": None, "is_dir": True, "path": "notes"},
            {"file_size": 38, "is_dir": False, "path": "table.json"},
            {"file_size": None, "is_dir": True, "path": "x"},
            {"file_size": 69, "is_dir": False, "path": "zero.png"},
        ],
    ),
    ("wire", "bare NaN stored"): Deviation(
        "bare-nan",
        {
            "status": 200,
            "body": {"metrics": [{"key": "bare", "step": 0, "timestamp": 1, "value": "NaN"}]},
        },
    ),
    ("wire", "true as value"): Deviation(
        "bool-value", {"status": 400, "error_code": "INVALID_PARAMETER_VALUE"}
    ),
    ("wire", "float step"): Deviation(
        "whole-numbers", {"status": 400, "error_code": "INVALID_PARAMETER_VALUE"}
    ),
    ("wire", "huge step"): Deviation(
        "whole-numbers", {"status": 400, "error_code": "INVALID_PARAMETER_VALUE"}
    ),
    ("wire", "no JSON"): Deviation("unreadable-body", {"status": 400, "error_code": "BAD_REQUEST"}),
    ("wire", "no UTF-8"): Deviation(
        "unreadable-body", {"status": 400, "error_code": "BAD_REQUEST"}
    ),
    ("wire", "a list"): Deviation("unreadable-body", {"status": 400, "error_code": "BAD_REQUEST"}),
    ("wire", "camel case"): Deviation("camel-case", {"status": 200, "body": {}}),
    ("wire", "lone surrogate"): Deviation(
        "odd-characters", {"status": 400, "error_code": "INVALID_PARAMETER_VALUE"}
    ),
    ("wire", "NUL"): Deviation(
        "odd-characters", {"status": 400, "error_code": "INVALID_PARAMETER_VALUE"}
    ),
    ("wire", "delete by run_uuid"): Deviation(
        "missing-id", {"status": 400, "error_code": "INVALID_PARAMETER_VALUE"}
    ),
    ("wire", "unknown status"): Deviation(
        "unknown-enum", {"status": 400, "error_code": "INVALID_PARAMETER_VALUE"}
    ),
    ("wire", "unknown view"): Deviation(
        "unknown-enum", {"status": 400, "error_code": "INVALID_PARAMETER_VALUE"}
    ),
    ("wire", "search by GET"): Deviation(
        "json-errors", {"status": 405, "error_code": "BAD_REQUEST"}
    ),
    ("wire", "unknown route"): Deviation(
        "json-errors", {"status": 404, "error_code": "ENDPOINT_NOT_FOUND"}
    ),
    ("wire", "bulk history"): Deviation(
        "nan-in-bulk",
        {
            "status": 200,
            "body": {
                "metrics": [
                    {"key": "text", "run_id": "<id>", "step": 0, "timestamp": 1, "value": "NaN"}
                ]
            },
        },
    ),
}
