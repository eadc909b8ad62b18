"""Microsoft Teams, by the webhook of a workflow: an Adaptive Card.

https://adaptivecards.io/explorer. Texts of an event stand in RichTextBlocks, which know no Markdown; only a
template's own words are Markdown.
"""

from __future__ import annotations

import re
from typing import Any

from headrace.events.formats.message import Content, Message, fit, json_content
from headrace.events.template_filters import text_of

_STYLES = {
    "info": "accent",
    "good": "good",
    "warn": "warning",
    "error": "attention",
    "critical": "attention",
}
_MARKUP = re.compile(r"[\\`*_{}\[\]()#+\-.!|<>~&:@]")
#: A message may have 28 KB.
_MAX_TEMPLATE = 5000


def finalize(value: Any) -> str:
    """A value in a template: without Markdown."""
    return _MARKUP.sub(r"\\\g<0>", text_of(value))


def compose(message: Message) -> Content:
    """A card."""
    notice = message.notice
    if message.hook.template:
        text = fit(message.render(finalize), _MAX_TEMPLATE).replace("\n", "\n\n")
        body: list[Any] = [{"type": "TextBlock", "text": text or " ", "wrap": True}]
    else:
        body = [
            {
                "type": "Container",
                "style": _STYLES[notice.severity],
                "bleed": True,
                "items": [_rich(_run(notice.title, weight="Bolder", size="Medium"))],
            }
        ]
        body += [_rich(_run(one)) for one in notice.text.split("\n") if one]
        body += [
            {**_rich(_run(f"{name}: ", weight="Bolder"), _run(value)), "spacing": "Small"}
            for name, value in notice.facts
        ]
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": _inert(notice.title),
        "msteams": {"width": "Full"},
        "body": body,
    }
    if notice.link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open", "url": notice.link}]
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return json_content({"type": "message", "attachments": [attachment]})


def _rich(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs)}


def _run(text: str, **more: str) -> dict[str, Any]:
    return {"type": "TextRun", "text": _inert(text) or " ", **more}


def _inert(text: str) -> str:
    """Without what cards replace in any text: ``{{DATE(…)}}``, ``${…}``."""
    return text.replace("{", "{\u200b") if "{{" in text or "${" in text else text
