"""CloudEvents over HTTP, in both modes.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from headrace.events.formats.message import Content, Message

#: Section 3.1.3.2: all that is printable in ASCII but space, quote and percent.
_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode


def structured(message: Message) -> Content:
    """The event as it is in the log."""
    return Content(type="application/cloudevents+json; charset=UTF-8", body=message.raw)


def binary(message: Message) -> Content:
    """The data as the body, all else in headers."""
    fields = _decode(message.raw)
    data = fields.pop("data", msgspec.Raw(b"{}"))
    type = _text(fields.pop("datacontenttype", msgspec.Raw(b'"application/json"')))
    headers = {f"ce-{name}": quote(_text(value), safe=_SAFE) for name, value in fields.items()}
    return Content(type=type, body=bytes(data), headers=headers)
