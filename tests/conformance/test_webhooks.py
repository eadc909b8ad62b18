"""Webhooks, on every store. What is sent is tests/events/webhooks."""

from __future__ import annotations

import json
import uuid

import pytest
import sqlalchemy as sa

from headrace.engine import schema
from headrace.errors import HeadraceError, InvalidParameter, InvalidState, NotFound
from support.api import Api, unique
from support.backend import Backend

URL = "https://hooks.example.org/in"
#: In events, which more may read than webhooks: the path of a chat's webhook is its password.
SHOWN_URL = "https://hooks.example.org"
PROMPT = {"entity": "PROMPT", "action": "CREATED"}
VERSION = {"entity": "MODEL_VERSION", "action": "CREATED"}


def _new(api: Api, **fields: object) -> str:
    fields = {"name": unique("hook"), "url": URL, "types": ["run.*"], **fields}
    return str(api.create_webhook(**fields).webhook.webhook_id)


def _keeps_secrets(backend: Backend) -> bool:
    """PostgreSQL has no file beside it for a key, and these tests set none."""
    return backend.url.startswith("sqlite")


def test_a_created_webhook_can_be_read(api: Api) -> None:
    name = unique("hook")
    made = api.create_webhook(
        name=name,
        url=URL,
        types=["run.failed", "run.*"],
        subjects=["run/a", "experiment/*"],
        experiment_ids=["0"],
        actors=["ann"],
        description="for the team",
        format="slack",
    ).webhook
    assert api.get_webhook(webhook_id=made.webhook_id).webhook == made
    assert str(uuid.UUID(made.webhook_id)) == made.webhook_id
    assert (made.name, made.url, made.status, made.format) == (name, URL, "ACTIVE", "slack")
    assert (made.types, made.subjects) == (("run.failed", "run.*"), ("run/a", "experiment/*"))
    assert (made.experiment_ids, made.actors) == (("0",), ("ann",))
    assert (made.has_secret, made.header_names) == (False, ())
    assert made.creation_time == made.last_update_time > 1_600_000_000_000


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "-a"},
        {"name": "a" * 64},
        {"name": "with space"},
        {"url": ""},
        {"url": "nonsense"},
        {"url": "https://"},
        {"url": "ftp://example.org"},
        {"url": "https://example.org:99999/"},
        {"url": "https://example.org/with space"},
        {"url": "https://example.org/" + "x" * 2048},
        {"types": ["nonsense"]},
        {"types": ["run.nothing"]},
        {"subjects": ["a*b"]},
        {"experiment_ids": ["x"]},
        {"format": "carrier-pigeon"},
        {"status": "ASLEEP"},
        {"description": "x" * 5001},
        {"template": "x" * 65_537},
        {"name": 5},
        {"types": "run.failed"},
        {"headers": {"": "x"}},
        {"headers": {"a": "nul\x00"}},
        {"actors": ["nul\x00"]},
    ],
)
def test_what_cannot_be_a_webhook_is_refused(api: Api, fields: dict[str, object]) -> None:
    with pytest.raises(InvalidParameter):
        _new(api, **fields)


def test_names_need_not_be_unique_and_lists_are_newest_first(api: Api) -> None:
    name = unique("hook")
    ids = [_new(api, name=name) for _ in range(5)]
    found = api.list_webhooks(name=name)
    assert [one.webhook_id for one in found.webhooks] == ids[::-1]
    assert found.next_page_token == ""


def test_pages_follow_each_other(api: Api) -> None:
    name = unique("hook")
    ids = [_new(api, name=name) for _ in range(5)]
    seen: list[str] = []
    token = ""
    while True:
        page = api.list_webhooks(name=name, max_results=2, page_token=token)
        assert len(page.webhooks) <= 2
        seen += [one.webhook_id for one in page.webhooks]
        token = page.next_page_token
        if not token:
            break
    assert seen == ids[::-1]
    assert len(api.list_webhooks(name=name, max_results=5).webhooks) == 5


@pytest.mark.parametrize(
    "fields",
    [{"max_results": 0}, {"max_results": 1001}, {"page_token": "x"}, {"page_token": "YQ=="}],
)
def test_pages_that_cannot_be_are_refused(api: Api, fields: dict[str, object]) -> None:
    for call in (api.list_webhooks, api.list_deliveries):
        with pytest.raises(InvalidParameter):
            call(**fields)


def test_an_update_changes_what_it_names(api: Api, backend: Backend) -> None:
    made = api.create_webhook(name=unique("hook"), url=URL, types=["run.*"]).webhook
    changed = api.update_webhook(
        webhook_id=made.webhook_id,
        name="other",
        types=["run.failed"],
        status="DISABLED",
        url="https://other.example.org/?token=hidden",
    ).webhook
    assert (changed.name, changed.types, changed.status) == ("other", ("run.failed",), "DISABLED")
    assert (changed.format, changed.creation_time) == (made.format, made.creation_time)
    assert api.get_webhook(webhook_id=made.webhook_id).webhook == changed
    assert backend.events(f"webhook/{made.webhook_id}") == [
        ("webhook.created", {"name": made.name, "url": SHOWN_URL, "types": ["run.*"]}),
        (
            "webhook.updated",
            {
                "name": made.name,
                "before": {
                    "name": made.name,
                    "status": "ACTIVE",
                    "url": SHOWN_URL,
                    "types": ["run.*"],
                },
                "after": {
                    "name": "other",
                    "status": "DISABLED",
                    "url": "https://other.example.org",
                    "types": ["run.failed"],
                },
            },
        ),
    ]
    api.update_webhook(webhook_id=made.webhook_id, name="other")
    assert len(backend.events(f"webhook/{made.webhook_id}")) == 2, "nothing changed"


@pytest.mark.parametrize(
    "fields", [{"name": "a b"}, {"url": "ftp://a"}, {"types": ["x"]}, {"format": "x"}]
)
def test_an_update_to_what_cannot_be_changes_nothing(api: Api, fields: dict[str, object]) -> None:
    webhook_id = _new(api)
    before = api.get_webhook(webhook_id=webhook_id)
    with pytest.raises(InvalidParameter):
        api.update_webhook(webhook_id=webhook_id, **fields)
    assert api.get_webhook(webhook_id=webhook_id) == before


def test_a_deleted_webhook_is_gone(api: Api, backend: Backend) -> None:
    name = unique("hook")
    webhook_id = _new(api, name=name)
    api.delete_webhook(webhook_id=webhook_id)
    for call in (api.get_webhook, api.delete_webhook, api.update_webhook, api.get_mlflow_webhook):
        with pytest.raises(NotFound):
            call(webhook_id=webhook_id)
    with pytest.raises(NotFound):
        api.redeliver(webhook_id=webhook_id, first=1)
    assert api.list_webhooks(name=name).webhooks == ()
    assert backend.events(f"webhook/{webhook_id}")[-1] == ("webhook.deleted", {"name": name})


@pytest.mark.parametrize("webhook_id", ["x", "2e8b512b-9abb-4fc2-ae85-77ef9eb2a366", "ü"])
def test_a_webhook_that_never_was_is_not_found(api: Api, webhook_id: str) -> None:
    for call in (api.get_webhook, api.delete_webhook, api.get_mlflow_webhook):
        with pytest.raises(NotFound):
            call(webhook_id=webhook_id)
    with pytest.raises(NotFound):
        api.get_delivery(delivery_id=webhook_id)


def test_secrets_are_kept_encrypted_and_never_shown(api: Api, backend: Backend) -> None:
    fields = {"secret": "very-secret", "headers": {"Authorization": "Bearer top-secret"}}
    if not _keeps_secrets(backend):
        with pytest.raises(InvalidState, match="HEADRACE_SECRETS_KEY"):
            _new(api, **fields)
        return
    webhook_id = _new(api, **fields)
    shown = api.get_webhook(webhook_id=webhook_id).webhook
    assert shown.has_secret
    assert shown.header_names == ("Authorization",)
    api.update_webhook(webhook_id=webhook_id, secret="newer-secret", headers={"X": "other-secret"})
    assert backend.events(f"webhook/{webhook_id}")[-1][1]["secrets"] == ["secret", "headers"]
    rest = "mail.example.org?to=a@example.org&from=b@example.org"
    mail_id = _new(api, url=f"smtps://user:pass-secret@{rest}", format="mail")
    assert api.get_webhook(webhook_id=mail_id).webhook.url == f"smtps://{rest}"
    rows = backend.rows(
        sa.select(schema.webhook).where(schema.webhook.c.uuid.in_([webhook_id, mail_id]))
    )
    events = backend.events(f"webhook/{webhook_id}") + backend.events(f"webhook/{mail_id}")
    kept = repr(rows) + json.dumps(events) + repr(shown)
    assert "-secret" not in kept
    assert "Bearer" not in kept
    plain = api.update_webhook(webhook_id=webhook_id, secret="", headers={}).webhook
    assert (plain.has_secret, plain.header_names) == (False, ())


def test_mlflows_operations_make_webhooks_of_mlflows_events(api: Api) -> None:
    name = unique("hook")
    made = api.create_mlflow_webhook(name=name, url=URL, events=[VERSION, PROMPT, VERSION]).webhook
    assert api.get_mlflow_webhook(webhook_id=made.webhook_id).webhook == made
    assert [(one.entity, one.action) for one in made.events] == [
        ("MODEL_VERSION", "CREATED"),
        ("PROMPT", "CREATED"),
    ]
    assert made.status == "ACTIVE"
    assert made.creation_timestamp == made.last_updated_timestamp
    native = api.get_webhook(webhook_id=made.webhook_id).webhook
    assert native.format == "mlflow"
    assert native.types == ()
    assert native.mlflow_events == ("MODEL_VERSION.CREATED", "PROMPT.CREATED")
    assert made in api.list_mlflow_webhooks(max_results=1000).webhooks


def test_mlflows_operations_do_not_see_webhooks_without_mlflows_events(api: Api) -> None:
    webhook_id = _new(api)
    for call in (api.get_mlflow_webhook, api.delete_mlflow_webhook, api.update_mlflow_webhook):
        with pytest.raises(NotFound):
            call(webhook_id=webhook_id)
    listed = api.list_mlflow_webhooks(max_results=1000).webhooks
    assert webhook_id not in [one.webhook_id for one in listed]


def test_mlflows_update_leaves_what_is_empty(api: Api) -> None:
    made = api.create_mlflow_webhook(
        name=unique("hook"), url=URL, events=[VERSION], description="text"
    ).webhook
    same = api.update_mlflow_webhook(webhook_id=made.webhook_id, name="", url="", events=[]).webhook
    assert (same.name, same.url, same.events) == (made.name, made.url, made.events)
    other = api.update_mlflow_webhook(
        webhook_id=made.webhook_id, description="", events=[PROMPT], status="DISABLED"
    ).webhook
    assert (other.description, other.status) == ("", "DISABLED")
    assert [one.entity for one in other.events] == ["PROMPT"]
    api.delete_mlflow_webhook(webhook_id=made.webhook_id)
    with pytest.raises(NotFound):
        api.get_mlflow_webhook(webhook_id=made.webhook_id)


def test_mlflows_pages(api: Api) -> None:
    for _ in range(3):
        api.create_mlflow_webhook(name=unique("hook"), url=URL, events=[VERSION])
    page = api.list_mlflow_webhooks(max_results=2)
    assert len(page.webhooks) == 2
    more = api.list_mlflow_webhooks(max_results=2, page_token=page.next_page_token)
    ids = [one.webhook_id for one in (*page.webhooks, *more.webhooks)]
    assert len(set(ids)) == len(ids) > 2
    assert len(api.list_mlflow_webhooks(max_results=0).webhooks) >= 3, "0 means the default"
    for wrong in ({"max_results": -1}, {"max_results": 1001}, {"page_token": "%"}):
        with pytest.raises(InvalidParameter):
            api.list_mlflow_webhooks(**wrong)


@pytest.mark.parametrize(
    "events",
    [
        [],
        [{"entity": "MODEL_VERSION", "action": "DELETED"}],
        [{"entity": "NONE", "action": "CREATED"}],
        [{"entity": "MODEL_VERSION"}],
        [{"entity": "BUDGET_POLICY", "action": "EXCEEDED"}],
        ["MODEL_VERSION"],
    ],
)
def test_events_that_mlflow_does_not_have_are_refused(api: Api, events: list[object]) -> None:
    with pytest.raises(InvalidParameter):
        api.create_mlflow_webhook(name=unique("hook"), url=URL, events=events)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"webhook_id": "x"},
        {"delivery_id": "x", "webhook_id": "x", "first": 1},
        {"first": 1},
        {"webhook_id": "x", "first": 1, "state": ["lost"]},
    ],
)
def test_redelivery_needs_to_know_of_what(api: Api, fields: dict[str, object]) -> None:
    with pytest.raises(InvalidParameter):
        api.redeliver(**fields)


def test_redelivery_counts_events_from_before_the_webhook(api: Api) -> None:
    experiment = api.new_experiment()
    runs = [api.new_run(experiment) for _ in range(3)]
    webhook_id = _new(api, experiment_ids=[experiment])
    fields = {"webhook_id": webhook_id, "first": 1}
    assert api.redeliver(**fields, dry_run=True).count == 3
    assert api.list_deliveries(webhook_id=webhook_id, state=["pending"]).deliveries == ()
    assert api.redeliver(**fields, state=["parked"], dry_run=True).count == 0
    assert api.redeliver(webhook_id=webhook_id, since=1, until=2, dry_run=True).count == 0
    api.update_webhook(webhook_id=webhook_id, status="DISABLED")  # they wait, wherever this runs
    assert api.redeliver(**fields).count == 3
    assert api.redeliver(**fields).count == 3, "each once"
    found = api.list_deliveries(webhook_id=webhook_id)
    assert sorted(one.subject for one in found.deliveries) == sorted(f"run/{one}" for one in runs)
    assert {(one.state, one.type) for one in found.deliveries} == {("pending", "run.created")}
    one = api.get_delivery(delivery_id=found.deliveries[0].delivery_id)
    assert one.event["type"] == "run.created"
    assert one.event["id"] == str(found.deliveries[0].event)
    assert one.attempts == ()
    assert api.redeliver(delivery_id=found.deliveries[0].delivery_id).count == 1
    for chosen, count in (
        ({"type": ["run.*"]}, 3),
        ({"type": ["run.failed"]}, 0),
        ({"subject": [f"run/{runs[0]}"]}, 1),
        ({"state": ["delivered", "parked", "cancelled"]}, 0),
        ({"since": 1}, 3),
        ({"until": 1}, 0),
    ):
        found = api.list_deliveries(webhook_id=webhook_id, **chosen)
        assert len(found.deliveries) == count, chosen
    page = api.list_deliveries(webhook_id=webhook_id, max_results=2)
    rest = api.list_deliveries(webhook_id=webhook_id, page_token=page.next_page_token)
    assert (len(page.deliveries), len(rest.deliveries)) == (2, 1)


def test_trying_a_webhook_that_is_not_there(api: Api) -> None:
    with pytest.raises(HeadraceError):
        api.test_webhook(webhook_id="x")
