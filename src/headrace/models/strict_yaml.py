"""YAML from strangers: the plain part of it, read in bounded time and memory.

Read: mappings, sequences, text, numbers, booleans, null, dates, bytes, sets. Refused: every other tag (what
``!!python/object/apply`` names is never looked up), keys that are there twice, merge keys, and aliases that
unfold to more than a file may hold. It works on the parser's events, without recursion, so that depth is
counted before it hurts.
"""

from __future__ import annotations

from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

MAX_BYTES = 4 << 20
MAX_DEPTH = 100
MAX_NODES = 500_000

_PREFIX = "tag:yaml.org,2002:"
_MAPPING, _SEQUENCE = f"{_PREFIX}map", f"{_PREFIX}seq"
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Unreadable(ValueError):
    """It is not YAML, or not of the plain kind. The message says where and why."""


def load(data: bytes) -> Any:
    """The one document in some bytes.

    Raises:
        Unreadable: See above.
    """
    if len(data) > MAX_BYTES:
        raise Unreadable(f"it has {len(data):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"byte {error.start} is not UTF-8") from None
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_Parser):
            builder.take(event)
    except yaml.YAMLError as error:
        raise Unreadable(_syntax(error)) from None
    return builder.result


class _Open:
    """A mapping or a sequence whose end has not come yet."""

    __slots__ = ("anchor", "key", "line", "nodes", "value")

    def __init__(self, value: Any, anchor: str | None, line: int, nodes: int) -> None:
        self.value = value
        self.anchor = anchor
        self.line = line
        self.nodes = nodes  # seen before it
        self.key: Any = _NO_KEY


_NO_KEY = object()


class _Builder:
    def __init__(self) -> None:
        self.result: Any = None
        self._documents = 0
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0
        self._resolve: Any = Resolver().resolve
        self._constructor = SafeConstructor()

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "ScalarEvent":
            self._count(1, event)
            self._put(self._scalar(event), event.anchor, event, 1)
        elif kind == "MappingStartEvent":
            self._begin({}, (None, "!", _MAPPING, f"{_PREFIX}set"), event)
        elif kind == "SequenceStartEvent":
            self._begin([], (None, "!", _SEQUENCE), event)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            ended = self._open.pop()
            self._put(ended.value, ended.anchor, event, self._nodes - ended.nodes)
        elif kind == "AliasEvent":
            self._alias(event)
        elif kind == "DocumentStartEvent":
            self._documents += 1
            if self._documents > 1:
                raise Unreadable(f"line {_line(event)}: a second document begins")

    def _begin(self, value: Any, tags: tuple[str | None, ...], event: Any) -> None:
        if event.tag not in tags:
            raise Unreadable(_tag(event))
        self._count(1, event)
        if len(self._open) >= MAX_DEPTH:
            raise Unreadable(f"line {_line(event)}: it is nested deeper than {MAX_DEPTH}")
        self._open.append(_Open(value, event.anchor, _line(event), self._nodes - 1))

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise Unreadable(
                f"line {_line(event)}: the alias *{event.anchor} stands for nothing, or for what it is in"
            )
        value, nodes = self._anchors[event.anchor]
        self._count(nodes, event)
        self._put(value, None, event, nodes)

    def _count(self, nodes: int, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise Unreadable(f"line {_line(event)}: it unfolds to more than {MAX_NODES:,} values")

    def _put(self, value: Any, anchor: str | None, event: Any, nodes: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, nodes)
        if not self._open:
            self.result = value
            return
        into = self._open[-1]
        if isinstance(into.value, list):
            into.value.append(value)
        elif into.key is _NO_KEY:
            if isinstance(value, (dict, list)):
                raise Unreadable(f"line {_line(event)}: a key is a {type(value).__name__}")
            if value in into.value:
                raise Unreadable(f"line {_line(event)}: the key {value!r} is there twice")
            into.key = value
        else:
            into.value[into.key] = value
            into.key = _NO_KEY

    def _scalar(self, event: Any) -> Any:
        tag = event.tag
        if tag is None or tag == "!":
            implicit = event.implicit if tag is None else (False, True)
            tag = self._resolve(ScalarNode, event.value, implicit)
        build = _SCALARS.get(tag)
        if build is None:
            if tag == f"{_PREFIX}merge":
                raise Unreadable(
                    f"line {_line(event)}: merge keys (<<) are not read; write them out"
                )
            raise Unreadable(_tag(event))
        try:
            if tag in _NUMBERS and len(event.value) > _MOST_DIGITS:
                raise ValueError
            return build(self._constructor, ScalarNode(tag, event.value))
        except (ValueError, KeyError, AttributeError, OverflowError, yaml.YAMLError):
            shown = event.value if len(event.value) <= 40 else f"{event.value[:37]}..."
            raise Unreadable(
                f"line {_line(event)}: {shown!r} is no {tag.removeprefix(_PREFIX)}"
            ) from None


_SCALARS: dict[str, Any] = {
    f"{_PREFIX}str": SafeConstructor.construct_yaml_str,
    f"{_PREFIX}null": SafeConstructor.construct_yaml_null,
    f"{_PREFIX}bool": SafeConstructor.construct_yaml_bool,
    f"{_PREFIX}int": SafeConstructor.construct_yaml_int,
    f"{_PREFIX}float": SafeConstructor.construct_yaml_float,
    f"{_PREFIX}timestamp": SafeConstructor.construct_yaml_timestamp,
    f"{_PREFIX}binary": SafeConstructor.construct_yaml_binary,
}
#: Reading a long number takes the square of its length, in base 60 (``1:59:59``) at least.
_NUMBERS = (f"{_PREFIX}int", f"{_PREFIX}float")
_MOST_DIGITS = 1000


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _tag(event: Any) -> str:
    tag = str(event.tag)
    shown = f"!!{tag.removeprefix(_PREFIX)}" if tag.startswith(_PREFIX) else tag
    return f"line {_line(event)}: the tag {shown[:200]} is refused; only plain YAML is read, and nothing was run"


def _syntax(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return f"line {mark.line + 1}: {problem}" if mark is not None else str(problem)
