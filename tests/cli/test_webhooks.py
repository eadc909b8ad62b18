"""``headrace webhooks``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.hook_target import Answer, HookTarget
from support.logged import until
from support.server import Server

from .conftest import Headrace

URL = "https://hooks.example.org/in"


@pytest.fixture
def target() -> Iterator[HookTarget]:
    one = HookTarget()
    yield one
    one.close()


@pytest.fixture
def served(server: Callable[..., Server]) -> Headrace:
    """The command line over a server that may send to loopback."""
    return Headrace(server(None, "--webhook-allowed-targets", "127.0.0.1").url)


def test_a_webhook_is_created_shown_changed_and_deleted(headrace: Headrace, tmp_path: Path) -> None:
    template = tmp_path / "t.json"
    template.write_text('{"text": {{ event.type | tojson }} }')
    made = headrace(
        "webhooks", "create", "team", URL, "-t", "run.failed", "-t", "metric.*", "-x", "0", "--format", "json",
        "--template", str(template), "--secret", "hush", "--header", "X-Team: vision",
    ).stdout.strip()  # fmt: skip
    shown = headrace.json("webhooks", "show", "team")
    assert shown == headrace.json("webhooks", "show", made)
    assert shown["types"] == ["run.failed", "metric.*"]
    assert (shown["has_secret"], shown["header_names"]) == (True, ["X-Team"])
    assert shown["template"] == template.read_text()
    for text in ("team", "run.failed, metric.*", "ACTIVE"):
        assert text in headrace("webhooks", "list").stdout
        assert text in headrace("webhooks", "show", "team").stdout
    headrace(
        "webhooks", "update", "team", "--disable", "--name", "crew", "--no-secret", "-t", "run.*"
    )
    changed = headrace.json("webhooks", "show", "crew")
    assert (changed["status"], changed["types"]) == ("DISABLED", ["run.*"])
    assert changed["header_names"] == ["X-Team"], "what is not given stays"
    assert "has_secret" not in changed
    headrace("webhooks", "update", "crew", "--enable")
    assert "is deleted" in headrace("webhooks", "delete", "crew").stdout
    assert headrace.json("webhooks", "list") == []
    assert "No webhooks" in headrace("webhooks", "list").stderr


def test_mistakes_end_with_the_right_code(headrace: Headrace) -> None:
    headrace("webhooks", "create", "a b", URL, code=2)
    headrace("webhooks", "create", "a", URL, "-t", "run.nothing", code=2)
    headrace("webhooks", "create", "a", URL, "--header", "nothing", code=2)
    headrace("webhooks", "show", "nobody", code=3)
    for _ in range(2):
        headrace("webhooks", "create", "twin", URL)
    assert "2 webhooks are called" in headrace("webhooks", "show", "twin", code=2).stderr
    first = headrace.json("webhooks", "list")[0]["webhook_id"]
    assert "headrace server" in headrace("webhooks", "test", first, code=1).stderr


def test_a_webhook_is_tried_and_its_deliveries_are_listed_and_repeated(
    served: Headrace, target: HookTarget
) -> None:
    served("webhooks", "create", "team", target.url, "-t", "experiment.*")
    assert "delivered" in served("webhooks", "test", "team").stdout
    (example,) = target.wait(1)
    assert example.event["type"] == "experiment.created"
    assert example.event["data"]["test"] is True
    served("experiments", "create", "wine")
    target.wait(2)
    until(lambda: len(served.json("webhooks", "deliveries", "team", "-s", "delivered")) == 2)
    latest, tried = served.json("webhooks", "deliveries", "team")
    assert (latest["type"], latest["attempts"]) == ("experiment.created", 1)
    assert "event" not in tried
    assert "experiment.created" in served("webhooks", "deliveries", "--since", "1h").stdout
    one = served.json("webhooks", "deliveries", "--delivery", latest["delivery_id"])
    assert one["event"]["data"]["name"] == "wine"
    assert "200" in served("webhooks", "deliveries", "--delivery", latest["delivery_id"]).stdout
    counted = served("webhooks", "redeliver", "team", "--since", "1h", "--dry-run").stdout
    assert counted == "1 delivery would be delivered again.\n"
    served("webhooks", "redeliver", "--delivery", latest["delivery_id"])
    assert target.wait(3)[2].id == latest["delivery_id"]
    target.answer = lambda received: Answer(500, "broken")
    failed = served("webhooks", "test", "team", code=1).stdout
    assert "broken" in failed
    assert "parked" in failed
    served("webhooks", "redeliver", "team", code=2)
