"""Slack's incoming webhooks.

https://docs.slack.dev/messaging/formatting-message-text, …/reference/block-kit/blocks. What comes from an event is
plain text; only a template's own words are mrkdwn.
"""

from __future__ import annotations

import re
from typing import Any

from headrace.events.formats.message import Content, Message, fit, json_content
from headrace.events.template_filters import text_of

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
#: Marks that format when they stand at the edge of a word; a hidden space beside them keeps them from it.
_MARKS = re.compile(r"(?<![^\W_])[*_~]+|[*_~]+(?![^\W_])|`+")
_PARTIAL = re.compile(r"&[a-z]{0,3}…\Z")


def escape(text: str) -> str:
    """Text without links and mentions."""
    return text.translate(_ESCAPES)


def finalize(value: Any) -> str:
    """A value in a template: without links, mentions and formatting."""
    return escape(_MARKS.sub(lambda found: "\u200b".join(["", *found[0], ""]), text_of(value)))


def compose(message: Message) -> Content:
    """Blocks, and a text for notifications."""
    notice = message.notice
    if message.hook.template:
        text = _PARTIAL.sub("…", fit(message.render(finalize), 3000))
        blocks: list[Any] = [
            {"type": "section", "text": {"type": "mrkdwn", "text": text or " ", "verbatim": True}}
        ]
    else:
        blocks = [{"type": "header", "text": _plain(notice.title, 150)}]
        if notice.text:
            blocks.append({"type": "section", "text": _plain(notice.text, 3000)})
        if notice.facts:
            fields = [_plain(f"{name}\n{value}", 2000) for name, value in notice.facts]
            blocks.append({"type": "section", "fields": fields})
        if notice.link:
            button = {"type": "button", "text": _plain("Open", 75), "url": notice.link}
            blocks.append({"type": "actions", "elements": [button]})
    return json_content(
        {
            "text": fit(notice.title, 3000, escape),
            "mrkdwn": False,
            "parse": "none",
            "link_names": False,
            "unfurl_links": False,
            "unfurl_media": False,
            "attachments": [{"color": f"#{notice.colour:06x}", "blocks": blocks}],
        }
    )


def _plain(text: str, most: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": fit(text, most, escape) or " ", "emoji": False}
