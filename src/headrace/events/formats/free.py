"""JSON of the webhook's own making.

A template says the JSON, and values of the event stand in it. They cannot change its structure: each is put in as
a mark, the JSON is read, and then the marks are replaced.
"""

from __future__ import annotations

import base64
import re
from typing import Any

import msgspec

from headrace.errors import InvalidParameter
from headrace.events.formats.message import Content, Message, json_content
from headrace.events.template_filters import Json, json_of, text_of

# Characters of the private use area; templates may not have them.
_BEGIN, _END = "\ue000", "\ue001"
_MARK = re.compile(f"{_BEGIN}([A-Za-z0-9_=-]*){_END}")
_VALUE = re.compile(f"{_BEGIN}j([A-Za-z0-9_=-]*){_END}")


def finalize(value: Any) -> str:
    """A value in a template: as a string's part, or with ``tojson``, and if it is no text, as a whole value."""
    if isinstance(value, str) and not isinstance(value, Json):
        return _mark(value)
    if isinstance(value, Json | dict | list | tuple):
        text = str(value) if isinstance(value, Json) else str(json_of(value))
        return f'"{_BEGIN}j{_coded(text)}{_END}"'
    return "null" if value is None else text_of(value)


def check(template: str) -> None:
    """Refuse a template that could be mistaken for its own result.

    Raises:
        InvalidParameter: It has characters that mark values.
    """
    if _BEGIN in template or _END in template:
        raise InvalidParameter("The template has U+E000 or U+E001 in it, which it may not have.")


def rendered(message: Message) -> Any:
    """What the webhook's template makes of the event.

    Raises:
        InvalidParameter: It fails, or what it makes is no JSON.
    """
    text = message.render(finalize)
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        shown = _MARK.sub("…", text)[:200]
        raise InvalidParameter(
            f"The template does not make JSON: {error}. Texts stand in quotes as they are, or without quotes with "
            f"'| tojson'. It made: {shown}"
        ) from None
    return _filled(value)


def compose(message: Message) -> Content:
    """What the template says."""
    return json_content(rendered(message))


def _filled(value: Any) -> Any:
    if isinstance(value, str):
        whole = _VALUE.fullmatch(value)
        if whole:
            return msgspec.json.decode(_decoded(whole[1]))
        return _MARK.sub(_plain, value)
    if isinstance(value, list):
        return [_filled(one) for one in value]
    if isinstance(value, dict):
        return {_MARK.sub(_plain, key): _filled(one) for key, one in value.items()}
    return value


def _plain(found: re.Match[str]) -> str:
    coded = found[1]
    return _decoded(coded[1:])


def _mark(text: str) -> str:
    return f"{_BEGIN}t{_coded(text)}{_END}"


def _coded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def _decoded(text: str) -> str:
    return base64.urlsafe_b64decode(text).decode()
