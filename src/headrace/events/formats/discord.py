"""Discord's webhooks: an embed.

https://docs.discord.com/developers/resources/message#embed-object. An embed's parts have 6,000 characters at most, all
together; nobody is mentioned, whatever a text says.
"""

from __future__ import annotations

import re
from typing import Any

from headrace.events.formats.message import Content, Message, fit, json_content
from headrace.events.template_filters import text_of

_MARKUP = re.compile(r"[\\`*_~|>#+\-\[\](){}<@:.!&]")


def escape(text: str) -> str:
    """Text without Markdown, links and mentions."""
    return _MARKUP.sub(r"\\\g<0>", text)


def finalize(value: Any) -> str:
    """A value in a template."""
    return escape(text_of(value))


def compose(message: Message) -> Content:
    """An embed, coloured by severity."""
    notice, event = message.notice, message.event
    embed: dict[str, Any] = {
        "title": fit(notice.title, 256, escape),
        "color": notice.colour,
        "timestamp": event["time"],
        "footer": {"text": event["type"]},
    }
    if message.hook.template:
        embed["description"] = fit(message.render(finalize), 4096)
    else:
        embed["description"] = fit(notice.text, 2400, escape)
        embed["fields"] = [
            {"name": fit(name, 60, escape), "value": fit(value, 240, escape) or "-", "inline": True}
            for name, value in notice.facts
        ]
    if notice.link:
        embed["url"] = notice.link
    return json_content({"embeds": [embed], "allowed_mentions": {"parse": []}})
