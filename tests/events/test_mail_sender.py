"""Mail, handed to a real SMTP server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult

from headrace.events.formats import build, check
from headrace.events.outgoing import Hook, Outcome
from headrace.events.targets import Sender, Targets
from headrace.protocol.cloudevents import Row, encode_event
from support.targets import Authority

RAW = encode_event(
    Row(7, 1_790_000_000_123, "run.failed", "run/ab12", "ann", 3, "{}"), "urn:headrace:1"
)


class Inbox:
    """Takes mail for all but one."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.encrypted: list[bool] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address.startswith("nobody"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.mails.append(envelope)
        self.encrypted.append(session.ssl is not None)
        return "250 taken"


def sent(
    inbox: Inbox,
    query: str,
    *,
    allowed: Sequence[str] = ("127.0.0.0/8",),
    tls: ssl.SSLContext | None = None,
    trust: ssl.SSLContext | None = None,
    implicit: bool = False,
    user: str = "",
) -> Outcome:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    def login(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        good = (data.login, data.password) == (b"ann", b"pa ss")
        return AuthResult(success=good, handled=False)

    async def go() -> Outcome:
        loop = asyncio.get_running_loop()
        servers: list[SMTP] = []

        def make() -> SMTP:
            one = SMTP(
                inbox,
                tls_context=None if implicit else tls,
                authenticator=login,
                auth_require_tls=not implicit,
                loop=loop,
            )
            servers.append(one)
            return one

        server = await loop.create_server(make, "127.0.0.1", 0, ssl=tls if implicit else None)
        port = server.sockets[0].getsockname()[1]
        scheme = "smtps" if implicit else "smtp"
        hook = Hook(
            name="h",
            webhook_id="w",
            url=f"{scheme}://{user}m.example:{port}?{query}",
            format="mail",
        )
        check(hook)
        sender = Sender(Targets(allowed, resolve=resolve), tls=trust)
        try:
            return await sender.send(build(hook, RAW, "d-1", 1_790_000_000))
        finally:
            await sender.close()
            server.close()
            for one in servers:
                if one.transport is not None:
                    one.transport.close()
                if one._handler_coroutine is not None:
                    one._handler_coroutine.cancel()
                    with suppress(asyncio.CancelledError):
                        await one._handler_coroutine

    return asyncio.run(go())


TO = "to=a@x.example,b@y.example&from=h@z.example"


def test_a_mail_arrives() -> None:
    inbox = Inbox()
    outcome = sent(inbox, TO)
    assert outcome.delivered, outcome
    assert outcome.status == 250
    (mail,) = inbox.mails
    assert mail.mail_from == "h@z.example"
    assert mail.rcpt_tos == ["a@x.example", "b@y.example"]
    assert b"Message-ID: <d-1@z.example>" in mail.content


def test_encryption_is_used_when_it_is_offered(tmp_path: Path) -> None:
    inbox, authority = Inbox(), Authority(tmp_path)
    outcome = sent(
        inbox,
        TO,
        tls=authority.server("m.example"),
        trust=authority.client(),
        user="ann:pa%20ss@",
    )
    assert outcome.delivered, outcome
    assert inbox.encrypted == [True]


def test_a_connection_that_is_encrypted_from_the_start_works(tmp_path: Path) -> None:
    inbox, authority = Inbox(), Authority(tmp_path)
    outcome = sent(
        inbox, TO, tls=authority.server("m.example"), trust=authority.client(), implicit=True
    )
    assert outcome.delivered, outcome


@pytest.mark.parametrize("implicit", [True, False])
def test_a_bad_certificate_is_refused(tmp_path: Path, implicit: bool) -> None:
    inbox, authority = Inbox(), Authority(tmp_path)
    outcome = sent(
        inbox,
        TO,
        tls=authority.server("other.example"),
        trust=authority.client(),
        implicit=implicit,
    )
    assert "certificate" in outcome.error
    assert not inbox.mails


def test_a_wrong_password_is_told_without_showing_it(tmp_path: Path) -> None:
    inbox, authority = Inbox(), Authority(tmp_path)
    outcome = sent(
        inbox, TO, tls=authority.server("m.example"), trust=authority.client(), user="ann:wr0ng@"
    )
    assert outcome.status == 535
    assert "wr0ng" not in outcome.error
    assert not outcome.delivered


def test_a_recipient_that_is_not_there_is_a_failure_unless_others_took_it() -> None:
    inbox = Inbox()
    alone = sent(inbox, "to=nobody@x.example&from=h@z.example")
    assert (alone.status, alone.delivered) == (550, False)
    both = sent(inbox, "to=nobody@x.example,a@x.example&from=h@z.example")
    assert both.delivered
    assert "nobody@x.example was refused" in both.body
    assert len(inbox.mails) == 1


def test_a_mail_server_that_is_not_allowed_is_not_connected_to() -> None:
    inbox = Inbox()
    outcome = sent(inbox, TO, allowed=())
    assert outcome.final
    assert "loopback" in outcome.error
    assert not inbox.mails
