"""An event's CloudEvents attributes as text, for the headers of a message."""

from __future__ import annotations

import re
from urllib.parse import quote

from headrace.protocol.events import CloudEvent

_PLAIN = re.compile(r"[!#$&-~]*")
_KEPT = "!#$&'()*+,/:;<=>?@[\\]^`{|}"


def header_attributes(event: CloudEvent, prefix: str = "ce-") -> dict[str, str]:
    """Everything that an event says about itself but its data, by header.

    Values are percent-encoded as CloudEvents' HTTP binding has it (section 3.1.3.2): what is not printable
    ASCII, spaces, quotes and percent signs. A line break in a name cannot make another header.

    Args:
        event: Any.
        prefix: Of the headers' names: ``ce-`` for NATS and HTTP, ``ce_`` for Kafka.
    """
    given = (
        ("specversion", event.specversion),
        ("id", event.id),
        ("source", event.source),
        ("type", event.type),
        ("subject", event.subject),
        ("time", event.time),
        ("datacontenttype", event.datacontenttype),
        ("actor", event.actor),
        ("workspace", event.workspace),
        ("experimentid", event.experimentid),
    )
    return {prefix + name: _encoded(value) for name, value in given if value}


def _encoded(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else quote(value, safe=_KEPT)
