"""Every format over every type of event, and what `check` refuses."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature
from standardwebhooks import Webhook

from headrace.errors import InvalidParameter
from headrace.events.formats import FORMATS, build, check
from headrace.events.outgoing import Hook, Outgoing
from headrace.protocol.catalogue import EVENT_TYPES
from headrace.protocol.cloudevents import Row, encode_event

SENT = 1_790_000_000.5
URLS = {
    "mail": "smtps://u%40x.example:p@mail.example?to=a@x.example,b@y.example",
    "github": "https://api.github.com/repos/o/r/dispatches",
    "gitlab": "https://gitlab.example/api/v4/projects/7/trigger/pipeline?ref=main",
}


def hook(format: str, **more: Any) -> Hook:
    fields: dict[str, Any] = {
        "name": "hook",
        "webhook_id": "w1",
        "url": URLS.get(format, "https://target.example/in"),
        "format": format,
    }
    if format == "json":
        fields["template"] = '{"text": "{{ title }}", "event": {{ event | tojson }}}'
    if format in ("github", "gitlab"):
        fields["secret"] = "token-1"
    return Hook(**{**fields, **more})


def event(type: str = "run.failed", data: Any = None, subject: str = "run/ab12") -> bytes:
    text = json.dumps(data or {"before": {"status": "RUNNING"}, "after": {"status": "FAILED"}})
    return encode_event(Row(7, 1_790_000_000_123, type, subject, "ann", 3, text), "urn:headrace:0f")


def built(format: str, raw: bytes | None = None, **more: Any) -> Outgoing:
    one = hook(format, **more)
    check(one)
    return build(one, raw or event(), "d-1", SENT)


@pytest.mark.parametrize("format", FORMATS)
def test_every_type_has_a_message_in_every_format(format: str) -> None:
    for type, known in EVENT_TYPES.items():
        outgoing = built(format, event(type, dict.fromkeys(known.data, "x"), known.subject))
        assert outgoing.body, type
        if format not in ("mail", "gitlab"):
            json.loads(outgoing.body)


@pytest.mark.parametrize("format", [one for one in FORMATS if one != "mail"])
def test_every_message_says_its_delivery_and_time(format: str) -> None:
    headers = built(format).headers
    assert headers["webhook-id"] == "d-1"
    assert headers["webhook-timestamp"] == "1790000000"
    assert "webhook-signature" not in headers


@pytest.mark.parametrize("key", [b"any text", bytes(range(32))], ids=["text", "whsec"])
def test_the_official_library_accepts_a_signature(key: bytes) -> None:
    coded = base64.b64encode(key).decode()
    secret = "any text" if key == b"any text" else f"whsec_{coded}"
    one = hook("cloudevents", secret=secret)
    check(one)

    outgoing = build(one, event(), "d-1", time.time())
    Webhook(coded).verify(outgoing.body, outgoing.headers)


def test_mlflows_own_signature_is_the_same() -> None:
    outgoing = built("mlflow", secret="s3cret")
    headers = outgoing.headers
    assert headers["X-MLflow-Signature"] == _generate_hmac_signature(
        "s3cret",
        headers["X-MLflow-Delivery-Id"],
        headers["X-MLflow-Timestamp"],
        outgoing.body.decode(),
    )


def test_a_token_signs_nothing_and_goes_where_it_belongs() -> None:
    github = built("github")
    assert github.headers["Authorization"] == "Bearer token-1"
    assert "webhook-signature" not in github.headers
    assert b"token=token-1" in built("gitlab").body


def test_headers_of_the_webhook_are_sent() -> None:
    outgoing = built("slack", headers={"Authorization": "Bearer x", "User-Agent": "mine"})
    assert outgoing.headers["Authorization"] == "Bearer x"
    assert [v for k, v in outgoing.headers.items() if k.lower() == "user-agent"] == ["mine"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "carrier-pigeon"}, "There is no format"),
        ({"format": "mail"}, "needs a URL with smtps"),
        ({"url": "smtp://mail.example?to=a@x.example"}, "needs a URL with https"),
        ({"url": "https://target.example/a b"}, "percent-encode"),
        ({"url": "https://u:p@target.example/"}, "Authorization"),
        ({"headers": {"Host": "x"}}, "set by headrace"),
        ({"headers": {"Webhook-Id": "x"}}, "set by headrace"),
        ({"headers": {"X-MLflow-Signature": "x"}}, "set by headrace"),
        ({"headers": {"ce-id": "x"}}, "set by headrace"),
        ({"headers": {"A": "x\r\nHost: y"}}, "printable ASCII"),
        ({"headers": {"A:": "x"}}, "no name of a header"),
        ({"headers": {"A": "x" * 9000}}, "at most"),
        ({"secret": "whsec_???"}, "base64"),
        ({"secret": "whsec_"}, "base64"),
        ({"format": "cloudevents", "template": "x"}, "has no template"),
        ({"format": "json", "template": ""}, "needs a template"),
        ({"format": "json", "template": '"\ue000"'}, "U+E000"),
        ({"template": "{{ nothing }}"}, "there is no 'nothing'"),
        ({"format": "github"}, "/dispatches"),
        ({"format": "github", "url": URLS["github"]}, "token"),
        ({"format": "github", "url": URLS["github"], "secret": "a\nb"}, "no token"),
        ({"format": "gitlab"}, "/trigger/pipeline"),
        ({"format": "gitlab", "url": URLS["gitlab"]}, "token"),
        ({"format": "mail", "url": "smtp://mail.example?to=a@x.example"}, "from whom"),
        ({"format": "mail", "url": "smtp://mail.example?from=a@x.example"}, "recipients"),
        ({"format": "mail", "url": "smtp://m.example?from=a@x.example&to=b"}, "no mail address"),
        (
            {"format": "mail", "url": "smtp://m.example?from=a@x.example&to=b@y.example%0aBcc:c"},
            "no mail address",
        ),
        ({"format": "mail", "url": URLS["mail"] + "&cc=x"}, "query"),
        ({"format": "mail", "url": URLS["mail"], "headers": {"Bcc": "x"}}, "headers"),
    ],
)
def test_a_webhook_that_does_not_fit_is_refused(change: dict[str, Any], says: str) -> None:
    fields: dict[str, Any] = {"format": "slack", "url": "https://target.example/"}
    with pytest.raises(InvalidParameter) as caught:
        check(Hook(name="h", webhook_id="w", **{**fields, **change}))
    assert says in caught.value.message
