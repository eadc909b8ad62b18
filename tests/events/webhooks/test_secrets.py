"""Secrets at rest: encrypted, with a key that can be changed, and nothing else breaks without it."""

from __future__ import annotations

import base64
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from headrace.engine import Engine
from headrace.engine.database import Database
from headrace.engine.webhooks.secrets import Secrets
from headrace.errors import InvalidParameter, InvalidState
from headrace.events.webhooks.job import WebhookJob
from support.api import Api
from support.hook_target import Answer, HookTarget
from support.logged import until

from .conftest import LOOPBACK, QUICK

#: The same in every process of a parallel run.
OLD, NEW = (base64.urlsafe_b64encode(one * 32).decode() for one in (b"o", b"n"))
Start = Callable[..., Any]


def _secrets(folder: Path) -> Secrets:
    return Secrets(Database(f"sqlite:///{folder / 'h.db'}"))


def test_a_key_is_changed_by_putting_the_new_one_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_SECRETS_KEY", OLD)
    token = _secrets(tmp_path).seal("text")
    assert "text" not in token
    monkeypatch.setenv("HEADRACE_SECRETS_KEY", f"{NEW}, {OLD}")
    assert _secrets(tmp_path).open(token) == "text"
    newer = _secrets(tmp_path).seal("more")
    monkeypatch.setenv("HEADRACE_SECRETS_KEY", NEW)
    assert _secrets(tmp_path).open(newer) == "more"
    with pytest.raises(InvalidState, match="old key"):
        _secrets(tmp_path).open(token)


def test_mlflows_variable_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_SECRETS_KEY")
    monkeypatch.setenv("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", OLD)
    assert Fernet(OLD).decrypt(_secrets(tmp_path).seal("text")) == b"text"


@pytest.mark.parametrize("key", ["nonsense", "x" * 44, f"{OLD},nonsense"])
def test_what_is_no_key_is_refused_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("HEADRACE_SECRETS_KEY", key)
    with pytest.raises(InvalidState, match="HEADRACE_SECRETS_KEY") as caught:
        _secrets(tmp_path).seal("text")
    assert "nonsense" not in caught.value.message


def test_a_sqlite_store_makes_its_key_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_SECRETS_KEY")
    code = (
        "import sys; from headrace.engine.database import Database;"
        "from headrace.engine.webhooks.secrets import Secrets;"
        "print(Secrets(Database(sys.argv[1])).seal('text'))"
    )
    url = f"sqlite:///{tmp_path / 'h.db'}"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    tokens = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [_secrets(tmp_path).open(token) for token in tokens] == ["text"] * 4
    file = tmp_path / "h.db-secrets.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.glob("*secrets*")] == [file.name], "no drafts are left"
    monkeypatch.setenv("HEADRACE_SECRETS_KEY", NEW)
    assert _secrets(tmp_path).open(tokens[0]) == "text", "the file is still good"


def _hook(api: Api, target: HookTarget, **fields: Any) -> str:
    fields = {"name": "hook", "url": target.url, "types": ["run.*"], **fields}
    return str(api.create_webhook(**fields).webhook.webhook_id)


def test_a_wrong_key_stops_the_deliveries_of_that_webhook_only(
    database_url: str, tmp_path: Path, target: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_SECRETS_KEY", OLD)
    there = target()
    root = (tmp_path / "a").as_uri()
    engine = Engine(database_url, artifact_root=root)
    signed = _hook(Api(engine), there, secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headed = _hook(Api(engine), there, headers={"X-Key": "k"})
    plain = _hook(Api(engine), there, name="plain")
    engine.close()

    monkeypatch.setenv("HEADRACE_SECRETS_KEY", NEW)
    engine = Engine(database_url, artifact_root=root)
    api = Api(engine)
    assert len(api.list_webhooks().webhooks) == 3
    assert api.get_webhook(webhook_id=signed).webhook.has_secret
    assert api.get_webhook(webhook_id=headed).webhook.header_names == ("unreadable",)
    job = WebhookJob(engine, LOOPBACK, schedule=QUICK)
    job.start()
    api.new_run()
    there.wait(1)
    for webhook_id in (signed, headed):
        until(lambda webhook_id=webhook_id: "another key" in api.list_deliveries(webhook_id=webhook_id).deliveries[0].error)  # fmt: skip
    assert [one.headers.get("x-key") for one in there.received] == [None]
    until(lambda: api.list_deliveries(webhook_id=plain, state=["delivered"]).deliveries)
    api.update_webhook(webhook_id=signed, secret="", name="renamed")
    api.update_webhook(webhook_id=headed, headers={"X-Key": "new"})
    there.wait(3)
    job.stop()
    engine.close()


def test_a_secret_is_in_no_answer_event_or_attempt(
    api: Api, engine: Engine, target: Start, deliver: Start, emit: Start, caplog: Any
) -> None:
    there = target(lambda received: Answer(500))
    webhook_id = _hook(api, there, secret="hush-hush-hush", headers={"Authorization": "hush-token"})
    deliver()
    emit(("run.created", "run/a"))
    there.wait(2)
    api.update_webhook(webhook_id=webhook_id, secret="hush-again")
    shown = [api.get_webhook(webhook_id=webhook_id), api.list_events(), api.list_webhooks()]
    for one in api.list_deliveries(webhook_id=webhook_id).deliveries:
        shown.append(api.get_delivery(delivery_id=one.delivery_id))
    assert "hush" not in repr(shown) + caplog.text


def test_a_change_does_not_ask_for_the_token_again(api: Api) -> None:
    url = "https://api.github.com/repos/a/b/dispatches"
    made = api.create_webhook(name="gh", url=url, types=["run.*"], format="github", secret="token")
    webhook_id = made.webhook.webhook_id
    assert api.update_webhook(webhook_id=webhook_id, name="other").webhook.has_secret
    with pytest.raises(InvalidParameter):
        api.update_webhook(webhook_id=webhook_id, secret="")
