"""A stock MLflow client's registry against a server: its calls, its errors, its prompts, its webhooks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from support.hook_target import Answer, HookTarget
from support.mlflow_client import ENVIRONMENT
from support.server import Server

_BEGIN = """
import json, sys, warnings
warnings.simplefilter("ignore")
import mlflow
from mlflow.exceptions import MlflowException
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient(sys.argv[1])
said = {}
def fails(call):
    try:
        call()
    except MlflowException as error:
        return [error.error_code, error.get_http_status_code(), error.message]
    return None
def shown(one):
    return [one.name, str(one.version), one.current_stage, one.source, one.run_id, one.description, one.tags,
            sorted(one.aliases), one.status]
"""
_MODELS = """
made = client.create_registered_model("m", tags={"team": "risk", "n": 1}, description="d")
said["made"] = [made.name, made.tags, made.description, made.latest_versions, made.aliases]
said["times"] = made.creation_timestamp == made.last_updated_timestamp > 1_600_000_000_000
client.set_registered_model_tag("m", "team", "fraud")
client.delete_registered_model_tag("m", "n")
client.delete_registered_model_tag("m", "n")
said["described"] = client.update_registered_model("m", "e").description
client.rename_registered_model("m", "n")
said["renamed"] = client.get_registered_model("n").name
client.rename_registered_model("n", "m")
said["tags"] = client.get_registered_model("m").tags
run = client.create_run(client.create_experiment("e"))
run_id, root = run.info.run_id, run.info.artifact_uri
first = client.create_model_version("m", f"runs:/{run_id}/model", run_id=run_id, tags={"a": "b"}, description="v")
said["first"] = shown(first)[:3] + shown(first)[5:]
said["sources"] = [first.source == f"runs:/{run_id}/model", first.run_id == run_id]
second = client.create_model_version("m", f"{root}/model", run_id=run_id, model_id=None)
said["second"] = [str(second.version), client.get_model_version_download_uri("m", "2") == f"{root}/model"]
client.create_model_version("m", "s3://bucket/model")
said["stages"] = [
    client.transition_model_version_stage("m", "1", "Production").current_stage,
    client.transition_model_version_stage("m", "2", "production", archive_existing_versions=True).current_stage,
    sorted((str(one.version), one.current_stage) for one in client.get_latest_versions("m")),
    [str(one.version) for one in client.get_latest_versions("m", ["Production"])],
]
client.set_model_version_tag("m", "1", "a", "c")
client.set_model_version_tag("m", key="s", value="t", stage="Production")
client.delete_model_version_tag("m", "2", "s")
client.set_registered_model_alias("m", "champion", "2")
said["alias"] = shown(client.get_model_version_by_alias("m", "champion"))[1:3]
said["latest"] = str(client.get_model_version_by_alias("m", "latest").version)
said["model"] = [client.get_registered_model("m").aliases, list(client.get_model_version("m", "2").aliases)]
copy = client.copy_model_version("models:/m/1", "target")
said["copy"] = [copy.name, str(copy.version), copy.run_id == run_id, copy.source, copy.tags, copy.description]
client.copy_model_version("models:/m/3", "target")
said["copied"] = client.get_model_version_download_uri("target", "2")
said["versions"] = [
    [(one.name, str(one.version)) for one in client.search_model_versions(text, order_by=order)]
    for text, order in (
        ("name='m'", ["version_number ASC"]), (f"run_id = '{run_id}' and name = 'm'", ["version_number DESC"]),
        ("name = 'm' AND tags.a = 'c'", None), ("version_number > 1 AND source_path LIKE 's3:%'", None),
    )
]
client.update_model_version("m", "3", "third")
said["newest"] = [str(one.version) for one in client.search_model_versions("name='m'", max_results=1)]
for number in range(5):
    client.create_registered_model(f"page-{number}")
page = client.search_registered_models("name LIKE 'page-%'", max_results=3)
rest = client.search_registered_models("name LIKE 'page-%'", max_results=3, page_token=page.token)
said["pages"] = [[one.name for one in page], [one.name for one in rest], rest.token]
said["by time"] = [one.name for one in client.search_registered_models(order_by=["last_updated_timestamp DESC"], max_results=2)]
said["fluent"] = [len(mlflow.search_registered_models()), len(mlflow.search_model_versions(filter_string="name='m'"))]
said["in model"] = [
    [(str(one.version), one.current_stage) for one in model.latest_versions]
    for model in client.search_registered_models("name = 'm'")
]
client.delete_registered_model_alias("m", "champion")
client.delete_registered_model_alias("m", "champion")
client.delete_model_version("m", "3")
said["next"] = str(client.create_model_version("m", "s3://bucket/model").version)
said["errors"] = {
    "again": fails(lambda: client.create_registered_model("m")),
    "rename": fails(lambda: client.rename_registered_model("m", "target")),
    "no model": fails(lambda: client.get_registered_model("none")),
    "no version": fails(lambda: client.get_model_version("m", "3")),
    "no alias": fails(lambda: client.get_model_version_by_alias("m", "none")),
    "bad name": fails(lambda: client.create_registered_model("a/b")),
    "bad version": fails(lambda: client.get_model_version("m", "x")),
    "bad stage": fails(lambda: client.transition_model_version_stage("m", "1", "Nirvana")),
    "archive": fails(lambda: client.transition_model_version_stage("m", "1", "None", True)),
    "reserved": fails(lambda: client.set_registered_model_alias("m", "latest", "1")),
    "reserved number": fails(lambda: client.set_registered_model_alias("m", "v1", "1")),
    "alias": fails(lambda: client.set_registered_model_alias("m", "a b", "1")),
    "filter": fails(lambda: client.search_model_versions("nothing = 'x'")),
    "many": fails(lambda: client.search_registered_models(max_results=1001)),
    "run": fails(lambda: client.create_model_version("m", f"runs:/{run_id}/model", run_id="other")),
    "local": fails(lambda: client.create_model_version("m", "/etc")),
    "up": fails(lambda: client.create_model_version("m", f"{root}/../../x", run_id=run_id)),
    "delete": fails(lambda: client.delete_registered_model("none")),
}
client.delete_registered_model("m")
said["gone"] = [fails(lambda: client.get_registered_model("m"))[0], client.create_registered_model("m").latest_versions]
print(json.dumps(said))
"""
_GUARDS = """
client.create_registered_model("g")
for _ in range(2):
    client.create_model_version("g", "s3://bucket/model")
import requests
def native(path, **fields):
    answer = requests.post(f"{sys.argv[1]}/api/headrace/v1/registered-models/{path}", json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()
native("guards/set", name="g", alias="champion", checks=["eval"])
said["refused"] = fails(lambda: client.set_registered_model_alias("g", "champion", "1"))
client.set_model_version_tag("g", "1", "headrace.check.eval", "passed")
client.set_registered_model_alias("g", "champion", "1")
said["moved"] = client.get_registered_model("g").aliases
said["kept"] = fails(lambda: client.delete_registered_model_alias("g", "champion"))
"""
_PROMPTS = """
client.create_registered_model("plain")
first = client.register_prompt("p", "Hello {{name}}", commit_message="c", tags={"k": "v"})
second = client.register_prompt("p", "Bye {{name}}")
said["versions"] = [first.version, second.version]
client.set_prompt_alias("p", "best", 1)
loaded = client.load_prompt("prompts:/p@best")
said["loaded"] = [loaded.template, loaded.commit_message, loaded.version]
said["prompts"] = [one.name for one in client.search_prompts()]
said["models"] = [one.name for one in client.search_registered_models()]
said["taken"] = fails(lambda: client.register_prompt("plain", "x"))[:2]
"""
_HOOKS = """
url = sys.argv[2]
client.create_webhook(name="all", url=url, events=[
    "registered_model.created", "model_version.created", "model_version_tag.set", "model_version_tag.deleted",
    "model_version_alias.created", "model_version_alias.deleted",
])
client.create_registered_model("m", tags={"a": "b"}, description="d")
client.create_model_version("m", "s3://bucket/model", tags={"c": "d"}, description="e")
client.set_model_version_tag("m", "1", "k", "v")
client.delete_model_version_tag("m", "1", "k")
client.set_registered_model_alias("m", "champion", "1")
client.delete_registered_model_alias("m", "champion")
"""


def _client(script: str, server: Server, folder: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + script, server.url, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, **ENVIRONMENT},
        timeout=300,
    )
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_a_stock_client_has_its_whole_registry(
    server: Callable[..., Server], tmp_path: Path
) -> None:
    said = _client(_MODELS, server(), tmp_path)
    invalid, missing = ["INVALID_PARAMETER_VALUE", 400], ["RESOURCE_DOES_NOT_EXIST", 404]
    exists = ["RESOURCE_ALREADY_EXISTS", 400]
    errors = said.pop("errors")
    assert {key: one and one[:2] for key, one in errors.items()} == {
        "again": exists, "rename": exists, "no model": missing, "no version": missing, "delete": missing,
        **dict.fromkeys(
            ("no alias", "bad name", "bad version", "bad stage", "archive", "reserved", "reserved number",
             "alias", "filter", "many", "run", "local", "up"),
            invalid,
        ),
    }  # fmt: skip
    for key, text in {
        "again": "Registered Model (name=m) already exists",
        "no model": "Registered Model with name=none not found",
        "no version": "Model Version (name=m, version=3) not found",
        "no alias": "Registered model alias none not found.",
        "bad stage": "Invalid Model Version stage: Nirvana. Value must be one of None, Staging, Production, Archived.",
        "bad name": "Invalid model name 'a/b'. Names cannot contain '/' or ':'.",
        "reserved": "'latest' alias name (case insensitive) is reserved",
    }.items():
        assert text in errors[key][2], key
    assert said == {
        "made": ["m", {"team": "risk", "n": "1"}, "d", [], {}],
        "times": True,
        "described": "e",
        "renamed": "n",
        "tags": {"team": "fraud"},
        "first": ["m", "1", "None", "v", {"a": "b"}, [], "READY"],
        "sources": [True, True],
        "second": ["2", True],
        "stages": [
            "Production", "Production", [["1", "Archived"], ["2", "Production"], ["3", "None"]], ["2"],
        ],
        "alias": ["2", "Production"],
        "latest": "3",
        "model": [{"champion": "2"}, ["champion"]],
        "copy": ["target", "1", True, "models:/m/1", {"a": "c"}, "v"],
        "copied": "s3://bucket/model",
        "versions": [
            [["m", "1"], ["m", "2"], ["m", "3"]], [["m", "2"], ["m", "1"]], [["m", "1"]], [["m", "3"]],
        ],
        "newest": ["3"],
        "pages": [["page-0", "page-1", "page-2"], ["page-3", "page-4"], ""],
        "by time": ["page-4", "page-3"],
        "fluent": [7, 3],
        "in model": [[["3", "None"], ["2", "Production"], ["1", "Archived"]]],
        "next": "4",
        "gone": ["RESOURCE_DOES_NOT_EXIST", []],
    }  # fmt: skip


@pytest.fixture
def target() -> Iterator[HookTarget]:
    one = HookTarget(lambda received: Answer(200, "thanks"))
    yield one
    one.close()


def test_guards_prompts_and_webhooks_of_a_stock_client(
    server: Callable[..., Server], target: HookTarget, tmp_path: Path
) -> None:
    running = server(
        environment={
            "HEADRACE_WEBHOOK_ALLOWED_TARGETS": "127.0.0.1",
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        }
    )
    script = _GUARDS + _PROMPTS + _HOOKS + "print(json.dumps(said))"
    said = _client(script, running, tmp_path, target.url)
    code, status, message = said.pop("refused")
    assert (code, status) == ("PERMISSION_DENIED", 403)
    assert "'eval' is not set" in message
    assert said.pop("moved") == {"champion": "1"}
    assert said.pop("kept")[:2] == ["PERMISSION_DENIED", 403]
    assert said == {
        "versions": [1, 2],
        "loaded": ["Hello {{name}}", "c", 1],
        "prompts": ["p"],
        "models": ["g", "plain"],
        "taken": ["INVALID_PARAMETER_VALUE", 400],
    }
    bodies = [one.event for one in target.wait(6)]
    told = {(one["entity"], one["action"]): one["data"] for one in bodies}
    version = {"name": "m", "version": "1"}
    assert told == {
        ("registered_model", "created"): {"name": "m", "tags": {"a": "b"}, "description": "d"},
        ("model_version", "created"): {
            **version, "source": "s3://bucket/model", "run_id": None, "tags": {"c": "d"}, "description": "e",
        },
        ("model_version_tag", "set"): {**version, "key": "k", "value": "v"},
        ("model_version_tag", "deleted"): {**version, "key": "k"},
        ("model_version_alias", "created"): {"name": "m", "alias": "champion", "version": "1"},
        ("model_version_alias", "deleted"): {"name": "m", "alias": "champion"},
    }  # fmt: skip
