"""Mail, in plain text.

The URL says all that there is to know: ``smtps://user:password@mail.example.org?to=a@example.org,b@example.org``, and
``&from=headrace@example.org`` when the user is no address.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from urllib.parse import unquote, urlsplit

from headrace.errors import InvalidParameter
from headrace.events.formats.message import Content, Message
from headrace.events.outgoing import Hook
from headrace.events.template_filters import text_of

_MAX_RECIPIENTS = 50
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")


def check(hook: Hook) -> None:
    """Refuse addresses that are none, and headers.

    Raises:
        InvalidParameter: See above.
    """
    _addresses(hook.url)
    if hook.headers:
        raise InvalidParameter("A 'mail' webhook cannot have headers.")


def compose(message: Message) -> Content:
    """A message of RFC 5322."""
    sender, recipients = _addresses(message.hook.url)
    notice, event = message.notice, message.event
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = recipients
    mail["Subject"] = notice.title
    mail["Date"] = format_datetime(datetime.fromtimestamp(int(message.sent), UTC))
    mail["Message-ID"] = f"<{_word(message.delivery_id)}@{sender.domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Headrace-Event-Type"] = _word(event["type"])
    mail["X-Headrace-Event-Id"] = _word(event["id"])
    if message.hook.template:
        text = message.render(text_of)
    else:
        about = f"{event['type']}, number {event['id']}, {event['time']}"
        text = "\n\n".join(part for part in (notice.body, notice.link, f"-- \n{about}") if part)
    mail.set_content(text + "\n")
    return Content(type="message/rfc822", body=mail.as_bytes())


def _addresses(url: str) -> tuple[Address, tuple[Address, ...]]:
    parts = urlsplit(url)
    query = dict(pair.partition("=")[::2] for pair in parts.query.split("&") if pair)
    unknown = set(query) - {"to", "from"}
    if unknown:
        raise InvalidParameter(
            f"The mail URL has '{min(unknown)[:50]}' in its query: 'to' and 'from' are what it may have."
        )
    to = [_address(one) for one in unquote(query.get("to", "")).split(",") if one.strip()]
    if not 1 <= len(to) <= _MAX_RECIPIENTS:
        raise InvalidParameter(
            f"A mail URL names 1 to {_MAX_RECIPIENTS} recipients: smtps://mail.example.org?to=a@example.org"
        )
    sender = unquote(query.get("from", "") or parts.username or "")
    if "@" not in sender:
        raise InvalidParameter(
            "The mail URL does not say from whom: add &from=headrace@example.org."
        )
    return _address(sender), tuple(to)


def _address(text: str) -> Address:
    text = text.strip()
    try:
        if _ADDRESS.fullmatch(text):
            return Address(addr_spec=text)
    except (MessageError, ValueError, IndexError):
        pass
    raise InvalidParameter(f"'{text[:100]}' is no mail address.")


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:200]
