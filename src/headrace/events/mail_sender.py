"""Mail, over SMTP."""

from __future__ import annotations

import asyncio
import socket
import ssl
from email import message_from_bytes, policy
from email.utils import getaddresses

import aiosmtplib

from headrace.events.dialing import Dialer, NotAllowed, Target
from headrace.events.outgoing import ANSWER_BYTES, Outcome, Outgoing


class MailSender:
    """Hands messages to mail servers, one connection each."""

    def __init__(self, dialer: Dialer, tls: ssl.SSLContext) -> None:
        """Connect to nobody yet."""
        self._dialer = dialer
        self._tls = tls

    async def send(self, target: Target, outgoing: Outgoing) -> Outcome:
        """Hand a message over.

        It is encrypted where the server offers it (STARTTLS). A server that does not is good enough only if it
        is in the allow-list.

        Raises:
            NotAllowed: The target may not be sent to.
            OSError, aiosmtplib.SMTPException: It cannot be reached, or does not speak SMTP.
        """
        message = message_from_bytes(outgoing.body, policy=policy.SMTP)
        recipients = [address for _, address in getaddresses(message.get_all("To", []))]
        _, sender = getaddresses(message.get_all("From", []))[0]
        sock, listed = await self._dialer.dial(target)
        client = aiosmtplib.SMTP(
            hostname=target.host,
            sock=sock,
            timeout=None,  # the whole exchange has one
            use_tls=target.encrypted,
            start_tls=False,
            tls_context=self._tls,
            local_hostname="headrace",
        )
        try:
            await client.connect()
            await self._encrypt(client, target, listed)
            if target.user:
                await client.login(target.user, target.password)
            refused, answer = await client.sendmail(sender, recipients, outgoing.body)
            if isinstance(client.transport, asyncio.WriteTransport):
                client.transport.write(
                    b"QUIT\r\n"
                )  # nobody waits for the answer: the message is theirs
        except aiosmtplib.SMTPResponseException as error:
            return _refusal(error.code, str(error.message))
        except aiosmtplib.SMTPRecipientsRefused as error:
            first = error.recipients[0]
            return _refusal(first.code, f"{first.recipient}: {first.message}")
        finally:
            _drop(client, sock)
        # Those who took it would get it again if the others made this a failure.
        notes = [f"{who} was refused: {code} {why}" for who, (code, why) in refused.items()]
        return Outcome(status=250, body="\n".join([answer, *notes])[:ANSWER_BYTES])

    async def _encrypt(self, client: aiosmtplib.SMTP, target: Target, listed: bool) -> None:
        if target.encrypted:
            return
        await client.ehlo()
        if client.supports_extension("starttls"):
            await client.starttls(server_hostname=target.host, tls_context=self._tls)
        elif not listed:
            raise NotAllowed(
                f"The mail server '{target.host}' does not offer encryption (STARTTLS). Use one that does, or put "
                "it into the server's list of allowed targets."
            )


def _drop(client: aiosmtplib.SMTP, sock: socket.socket) -> None:
    """End the connection at once: a server that is slow to say goodbye is not waited for."""
    if isinstance(client.transport, asyncio.WriteTransport):
        client.transport.abort()
    else:
        sock.close()
    client.close()


def _refusal(code: int, message: str) -> Outcome:
    """An answer that is not yes. 5xx means never (RFC 5321, 4.2.1)."""
    text = message[:ANSWER_BYTES]
    return Outcome(
        status=code,
        body=text,
        error=f"The mail server answered {code}: {text[:500]}",
        final=code >= 500,
    )
