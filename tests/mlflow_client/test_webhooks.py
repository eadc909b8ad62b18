"""A stock MLflow client manages webhooks, and what arrives is what MLflow's own documentation says how to verify."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from standardwebhooks import Webhook as Verifier

from headrace.engine import Engine
from support.api import Api
from support.hook_target import Answer, HookTarget
from support.mlflow_client import ENVIRONMENT
from support.server import Server

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_BEGIN = """
import json, sys, warnings
warnings.simplefilter("ignore")
import mlflow
from mlflow.exceptions import MlflowException
client = mlflow.MlflowClient(sys.argv[1])
url, secret = sys.argv[2], sys.argv[3]
said = {}
def fails(call):
    try:
        call()
    except MlflowException as error:
        return [error.error_code, error.get_http_status_code()]
    return None
def shown(one):
    return [one.name, one.url, [str(event) for event in one.events], one.description, str(one.status), one.secret]
"""
_MANAGE = """
made = client.create_webhook(
    name="first", url=url, events=["model_version.created", "prompt_alias.deleted"], description="d", secret=secret
)
said["made"] = shown(made)
said["times"] = made.creation_timestamp == made.last_updated_timestamp > 1_600_000_000_000
said["got"] = shown(client.get_webhook(made.webhook_id))
more = [client.create_webhook(name=f"more{n}", url=url, events=["registered_model.created"]).webhook_id for n in range(3)]
page = client.list_webhooks(max_results=2)
said["page"] = [one.name for one in page]
said["rest"] = [one.name for one in client.list_webhooks(max_results=5, page_token=page.token)]
changed = client.update_webhook(
    made.webhook_id, name="renamed", events=["prompt.created"], status="DISABLED", description=""
)
said["changed"] = shown(changed)
said["same"] = shown(client.update_webhook(made.webhook_id, status="ACTIVE"))
result = client.test_webhook(made.webhook_id)
said["test"] = [result.success, result.response_status, result.response_body, result.error_message]
said["test event"] = client.test_webhook(made.webhook_id, event="model_version_tag.set").success
said["errors"] = {
    "no such": fails(lambda: client.get_webhook("nothing")),
    "name": fails(lambda: client.create_webhook(name="a b", url=url, events=["prompt.created"])),
    "scheme": fails(lambda: client.create_webhook(name="a", url="ftp://example.org", events=["prompt.created"])),
    "http": fails(lambda: client.create_webhook(name="a", url="http://93.184.216.34", events=["prompt.created"])),
    "private": fails(lambda: client.create_webhook(name="a", url="https://10.0.0.1", events=["prompt.created"])),
    "no events": fails(lambda: client.create_webhook(name="a", url=url, events=[])),
    "budget": fails(lambda: client.create_webhook(name="a", url=url, events=["budget_policy.exceeded"])),
    "many": fails(lambda: client.list_webhooks(max_results=1001)),
    "token": fails(lambda: client.list_webhooks(page_token="nonsense")),
}
for one in more:
    client.delete_webhook(one)
said["left"] = [one.name for one in client.list_webhooks()]
said["gone"] = fails(lambda: client.delete_webhook(more[0]))
print(json.dumps(said))
"""


@pytest.fixture
def target() -> Any:
    one = HookTarget(lambda received: Answer(200, "thanks"))
    yield one
    one.close()


@pytest.fixture
def running(server: Callable[..., Server], database_url: str, tmp_path: Path) -> Server:
    return server(
        database_url,
        "--artifacts",
        str(tmp_path / "artifacts"),
        environment={
            "HEADRACE_WEBHOOK_ALLOWED_TARGETS": "127.0.0.1",
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        },
    )


def _client(script: str, server: Server, target: HookTarget, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + script, server.url, target.url, SECRET],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, **ENVIRONMENT},
        timeout=300,
    )
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def _verify(one: Any) -> None:
    """As MLflow's documentation says, and as Standard Webhooks' SDK does."""
    headers = one.headers
    text = f"{headers['x-mlflow-delivery-id']}.{headers['x-mlflow-timestamp']}.{one.body.decode()}"
    digest = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).digest()
    assert headers["x-mlflow-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    Verifier(SECRET).verify(one.body, headers)


def test_a_stock_client_manages_webhooks(
    running: Server, target: HookTarget, tmp_path: Path
) -> None:
    said = _client(_MANAGE, running, target, tmp_path)
    events = ["model_version.created", "prompt_alias.deleted"]
    assert said.pop("made") == ["first", target.url, events, "d", "ACTIVE", None]
    assert said.pop("got") == ["first", target.url, events, "d", "ACTIVE", None]
    changed = ["renamed", target.url, ["prompt.created"], None]
    assert said.pop("changed") == [*changed, "DISABLED", None]
    assert said.pop("same") == [*changed, "ACTIVE", None]
    wrong = ["INVALID_PARAMETER_VALUE", 400]
    assert said.pop("errors") == {
        "no such": ["RESOURCE_DOES_NOT_EXIST", 404],
        **dict.fromkeys(
            ("name", "scheme", "http", "private", "no events", "budget", "many", "token"), wrong
        ),
    }
    assert said == {
        "times": True,
        "page": ["more2", "more1"],
        "rest": ["more0", "first"],
        "test": [True, 200, "thanks", None],
        "test event": True,
        "left": ["renamed"],
        "gone": ["RESOURCE_DOES_NOT_EXIST", 404],
    }
    first, second = target.wait(2)
    _verify(first)
    body = first.event
    assert (body["entity"], body["action"]) == ("prompt", "created")
    assert set(body["data"]) == {"name", "tags", "description"}
    assert second.event["entity"] == "model_version_tag"
    assert set(second.event["data"]) == {"name", "version", "key", "value"}


_CREATE = """
made = client.create_webhook(name="hook", url=url, events=["model_version_alias.created"], secret=secret)
print(json.dumps({"id": made.webhook_id}))
"""


def test_an_event_is_delivered_as_mlflow_delivers_it(
    running: Server, target: HookTarget, database_url: str, tmp_path: Path
) -> None:
    _client(_CREATE, running, target, tmp_path)
    engine = Engine(database_url, artifact_root="file:///nowhere", compact=False)
    api = Api(engine)
    api.create_registered_model(name="fraud")
    for _ in range(3):
        api.create_model_version(name="fraud", source="s3://bucket/model")
    api.set_registered_model_alias(name="fraud", alias="champion", version="3")
    engine.close()
    (one,) = target.wait(1)
    _verify(one)
    assert one.event["entity"] == "model_version_alias"
    assert one.event["action"] == "created"
    assert one.event["data"] == {"name": "fraud", "alias": "champion", "version": "3"}
    assert one.headers["content-type"] == "application/json"
