"""An event in words for people: one rendering, which chat, mail and dispatches lay out each in their way.

All text here is plain text, and much of it comes from whoever named a run or wrote an alert: a format escapes it
for its target.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from headrace.protocol.catalogue import EVENT_TYPES

_MAX_TITLE = 200
_MAX_TEXT = 2000
_MAX_VALUE = 200
_MAX_FACTS = 10
#: Of a list, or of tags, so many are shown.
_SHOWN = 5

_SEVERITIES = {
    "run.failed": "error",
    "run.lost": "error",
    "run.killed": "warn",
    "run.stop.requested": "warn",
    "run.logging.rejected": "warn",
    "metric.nonfinite": "warn",
    "webhook.delivery.parked": "warn",
    "rule.action.failed": "error",
    "run.finished": "good",
    "run.recovered": "good",
    "rule.resolved": "good",
}
_SAID = frozenset({"info", "warn", "error", "critical"})

#: By severity, for formats that have colours (RGB).
COLOURS = {
    "info": 0x3B82F6,
    "good": 0x22A06B,
    "warn": 0xE2B203,
    "error": 0xD92D20,
    "critical": 0x8B0000,
}


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What an event says.

    Attributes:
        title: One line.
        text: More lines; may be empty.
        severity: ``info``, ``good``, ``warn``, ``error`` or ``critical``.
        facts: Names and values, at most 10, each of one line.
        link: A page about it; empty when ``HEADRACE_PUBLIC_URL`` is not set.
    """

    title: str
    text: str
    severity: str
    facts: tuple[tuple[str, str], ...]
    link: str

    @property
    def colour(self) -> int:
        """The severity's, RGB."""
        return COLOURS[self.severity]

    @property
    def body(self) -> str:
        """Text and facts, as lines."""
        facts = "\n".join(f"{name}: {value}" for name, value in self.facts)
        return "\n\n".join(part for part in (self.text, facts) if part)


def notice_of(event: Mapping[str, Any]) -> Notice:
    """An event in words.

    Args:
        event: A CloudEvent; whatever its data holds, this does not fail.
    """
    type = str(event.get("type", ""))
    data = event.get("data")
    if not isinstance(data, dict):
        data = {}
    title, text, severity = _special(type, event, data)
    facts = [*_about(event, data), *_facts(type, data)][:_MAX_FACTS]
    return Notice(
        title=line(title, _MAX_TITLE),
        text=block(text, _MAX_TEXT),
        severity=severity,
        facts=tuple(
            (line(name, 60) or "-", line(value, _MAX_VALUE) or "-") for name, value in facts
        ),
        link=link_of(event),
    )


def _special(type: str, event: Mapping[str, Any], data: Mapping[str, Any]) -> tuple[str, str, str]:
    """Title, text and severity."""
    severity = _SEVERITIES.get(type, "info")
    name = _name(event, data)
    said = str(data.get("severity", ""))
    told, text = _text(data.get("title", "")), _text(data.get("text", ""))
    if type == "rule.fired":
        return told or f"{name} fired", text, said if said in _SAID else "warn"
    if type == "rule.resolved":
        return f"Resolved: {told or name}", text, severity
    if type == "run.alert.raised":
        return told or f"Alert of {name}", text, said if said in _SAID else severity
    if type == "metric.nonfinite":
        return _nonfinite(name, data), "", severity
    if type == "run.lost":
        return f"{name} gives no sign of life{_for(data.get('silence'))}", "", severity
    if type == "webhook.delivery.parked":
        return f"{name} could not be delivered to", _text(data.get("error", "")), severity
    known = EVENT_TYPES.get(type)
    text = "" if known is None or type.startswith("run.") else known.meaning
    noun, _, happened = type.partition(".")
    return f"{name} {happened.replace('.', ' ')}".strip() or noun, text, severity


def _nonfinite(name: str, data: Mapping[str, Any]) -> str:
    parts = []
    for field, word in (("nan", "NaN"), ("infinite", "Infinity")):
        keys = data.get(field)
        if isinstance(keys, list) and keys:
            parts.append(f"{word} in {_listed(keys)}")
    return f"{' and '.join(parts) or 'NaN or infinity'} of {name[:1].lower()}{name[1:]}"


def _for(silence: object) -> str:
    if not isinstance(silence, int | float) or isinstance(silence, bool):
        return ""
    seconds = silence / 1000
    return f" for {seconds:.0f} s" if seconds < 120 else f" for {seconds / 60:.0f} min"


def _name(event: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """``Run brave-mill-7``, ``Experiment 12``, ``Model version fraud/3``."""
    noun, _, rest = str(event.get("subject", "")).partition("/")
    own = data.get("run_name") or data.get("name")
    named = own if isinstance(own, str) and own else rest
    return line(f"{noun.replace('_', ' ').capitalize()} {named}".strip(), 120)


def _about(event: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    noun, _, rest = str(event.get("subject", "")).partition("/")
    if noun == "run":
        yield "Run", rest
    elif noun == "rule":
        group = data.get("group")
        yield "Rule", rest
        if isinstance(group, str) and group:
            yield "Of", group
    if event.get("experimentid"):
        yield "Experiment", str(event["experimentid"])
    if event.get("actor"):
        yield "By", str(event["actor"])


#: Said already: in the title, the text or by `_about`.
_TOLD = frozenset(
    {"title", "text", "severity", "rule", "group", "firing", "cause", "name", "run_name", "experiment_id",
     "silence", "nan", "infinite", "after", "before"}
)  # fmt: skip


def _facts(type: str, data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _changes(data)
    for key, value in data.items():
        if key in _TOLD or value in (None, "", [], {}):
            continue
        if key == "error" and type == "webhook.delivery.parked":
            continue
        if isinstance(value, dict):
            for name, one in list(value.items())[:_SHOWN]:
                yield f"{key}.{name}", _text(one)
        elif key == "seen_time" and isinstance(value, int):
            yield key, f"{value} ms since 1970"
        else:
            yield key, _text(value)


def _changes(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """``before`` and ``after``, field by field or as they are."""
    if "before" not in data and "after" not in data:
        return
    before, after = data.get("before"), data.get("after")
    if isinstance(before, dict) or isinstance(after, dict):
        old = before if isinstance(before, dict) else {}
        new = after if isinstance(after, dict) else {}
        for key in list(dict.fromkeys([*new, *old]))[:_SHOWN]:
            yield key, _change(old.get(key), new.get(key))
    else:
        yield "change", _change(before, after)


def _change(before: object, after: object) -> str:
    if before in (None, ""):
        return _text(after)
    if after is None:
        return f"was {line(_text(before), 90)}"
    return f"{line(_text(before), 90)} → {line(_text(after), 90)}"


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "none"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return _listed(value)
    return msgspec.json.encode(value).decode()


def _listed(values: list[Any]) -> str:
    shown = ", ".join(line(str(one), 60) for one in values[:_SHOWN])
    return shown if len(values) <= _SHOWN else f"{shown} and {len(values) - _SHOWN} more"


def line(text: str, most: int) -> str:
    """Text in one line: runs of white space and control characters become a space; the end of a long one goes."""
    return shorten(" ".join(_printable(text[: most * 4]).split()), most)


def block(text: str, most: int) -> str:
    """Text in lines, control characters left out; the end of a long one goes."""
    lines = (_printable(one).rstrip() for one in text[: most * 4].splitlines())
    return shorten("\n".join(lines).strip(), most)


def shorten(text: str, most: int) -> str:
    """Text of at most so many characters; one that was longer ends in ``…``."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _printable(text: str) -> str:
    """Without control characters, and without those that turn the direction of writing or are not to be seen."""
    return "".join(char if char.isprintable() else " " for char in text)


def link_of(event: Mapping[str, Any]) -> str:
    """The page about an event's subject below ``HEADRACE_PUBLIC_URL``; empty when that is not set."""
    base = os.environ.get("HEADRACE_PUBLIC_URL", "").strip().rstrip("/")
    try:
        parts = urlsplit(base)
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return ""
    noun, _, rest = str(event.get("subject", "")).partition("/")
    experiment = quote(str(event.get("experimentid") or ""), safe="")
    if noun == "run" and experiment:
        return f"{base}/#/experiments/{experiment}/runs/{quote(rest, safe='')}"
    if noun == "experiment" or experiment:
        return f"{base}/#/experiments/{experiment or quote(rest, safe='')}"
    return f"{base}/"
