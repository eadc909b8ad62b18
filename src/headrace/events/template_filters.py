"""What templates may do with values: filters and arithmetic that cost little, whatever they are given."""

from __future__ import annotations

import operator as operators
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from jinja2 import pass_context
from jinja2.runtime import Context, Undefined

#: Where a rendering's budget is kept: no name that a template could say.
BUDGET = "$budget"
COUNTED = "$counted"
JOINED = "$joined"
WEIGHED = "$weighed"

_MAX_STEPS = 20_000
_MAX_LOOPS = 5_000
_MAX_TEXT = 64 * 1024
_MAX_NUMBER = 2**63
#: Elements of a list or object that a template makes, those inside it included.
_MAX_ELEMENTS = 4096
#: Seconds. All else bounds what a template does; this is for what nobody thought of.
_MAX_SECONDS = 1.0


class Exhausted(Exception):
    """A template asks for too much, or for what is not there."""


class Json(str):
    """Text that is JSON already."""

    __slots__ = ()


class Budget:
    """What one rendering may still do."""

    def __init__(self) -> None:
        """Begin with all of it."""
        self._steps = _MAX_STEPS
        self._loops = _MAX_LOOPS
        self._deadline = time.monotonic() + _MAX_SECONDS

    def spend(self, *values: object) -> None:
        """Pay for working on values: lists by their length.

        Raises:
            Exhausted: There is nothing left.
        """
        self._steps -= 1 + sum(
            len(one) if isinstance(one, list | dict) else len(one) // 1024
            for one in values
            if isinstance(one, list | dict | str)
        )
        if self._steps < 0:
            raise Exhausted("it does too much")
        self.tick()

    def tick(self) -> None:
        """Look at the clock.

        Raises:
            Exhausted: It is late.
        """
        if time.monotonic() > self._deadline:
            raise Exhausted("it takes too long")

    def loop(self, count: int) -> None:
        """Pay for going over so many elements.

        Raises:
            Exhausted: All loops together go over more than 5,000.
        """
        self._loops -= count
        if self._loops < 0:
            raise Exhausted(f"its loops go over more than {_MAX_LOOPS} elements")


def text_of(value: Any) -> str:
    """A value as text: texts as they are, nothing as nothing, all else as JSON has it.

    Raises:
        UndefinedError: The value is not there.
    """
    if isinstance(value, str):
        return str(value)
    if value is None:
        return ""
    if isinstance(value, Undefined):
        return str(value)
    return str(json_of(value))


def json_of(value: Any) -> Json:
    """A value in JSON.

    Raises:
        Exhausted: That would be too long.
        UndefinedError: The value is not there.
    """
    if isinstance(value, Undefined):
        str(value)
    _weigh(value, _MAX_TEXT)
    return Json(msgspec.json.encode(value, enc_hook=_as_text).decode())


def _as_text(value: Any) -> str:
    if isinstance(value, Json):
        return str(value)
    raise Exhausted(f"a {type(value).__name__} cannot be put out")


def _weigh(value: Any, most: int) -> None:
    """Refuse a value with too many elements and characters, each counted as often as it would be written.

    A list of a list twice of a list twice … takes no room, until somebody writes it out or compares it.
    """
    todo = [value]
    while todo:
        one = todo.pop()
        most -= len(one) if isinstance(one, str) else 1
        if isinstance(one, dict):
            todo += one.keys()
            todo += one.values()
        elif isinstance(one, list | tuple):
            todo += one
        if most < 0 or len(todo) > most + 1:
            raise Exhausted("a value is too large")


def operate(context: Context, operator: str, left: Any, right: Any) -> Any:
    """Arithmetic.

    Raises:
        Exhausted: On other things than numbers, or the result is too large. ``+`` joins texts and lists.
    """
    _budget(context).spend(left, right)
    if operator == "+" and isinstance(left, str) and isinstance(right, str):
        return _bound(left + right)
    if operator == "+" and isinstance(left, list) and isinstance(right, list):
        return _weighed(left + right)
    if not (isinstance(left, int | float) and isinstance(right, int | float)):
        words = f"{type(left).__name__} {operator} {type(right).__name__}"
        raise Exhausted(f"'{words}' is not possible: arithmetic takes numbers")
    result = _OPERATORS[operator](left, right)
    if isinstance(result, int) and abs(result) > _MAX_NUMBER:
        raise Exhausted("a number is too large")
    return result


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operators.add,
    "-": operators.sub,
    "*": operators.mul,
    "/": operators.truediv,
    "//": operators.floordiv,
    "%": operators.mod,
}


def _budget(context: Context) -> Budget:
    budget = context.resolve_or_missing(BUDGET)
    assert isinstance(budget, Budget)
    return budget


def _bound(value: Any) -> Any:
    if isinstance(value, str | list) and len(value) > _MAX_TEXT:
        raise Exhausted(f"a value has more than {_MAX_TEXT} characters")
    return value


def _paid(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that is paid for before, and whose result is bounded."""

    @pass_context
    def filter(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        _budget(context).spend(value, *args, *kwargs.values())
        return _bound(function(value, *args, **kwargs))

    return filter


def _default(value: Any, other: Any = "", boolean: bool = False) -> Any:
    return other if isinstance(value, Undefined) or (boolean and not value) else value


def _list(value: Any) -> list[Any]:
    if isinstance(value, Undefined):
        str(value)  # raises, with what is there
    if isinstance(value, list | tuple | dict):
        return list(value)
    raise Exhausted(f"'{str(value)[:50]}' is no list")


def _items(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Undefined):
        return []
    if not isinstance(value, Mapping):
        raise Exhausted(f"'{str(value)[:50]}' has no items: it is no object")
    return list(value.items())


def _join(value: Any, separator: str = "") -> str:
    texts = [text_of(one) for one in _list(value)]
    size = sum(map(len, texts)) + len(separator) * len(texts)
    if size > _MAX_TEXT:
        raise Exhausted(f"a value has more than {_MAX_TEXT} characters")
    return str(separator).join(texts)


def _replace(value: Any, old: str, new: str) -> str:
    text, old, new = text_of(value), text_of(old), text_of(new)
    if not old:
        raise Exhausted("'replace' wants something to replace")
    if len(text) + text.count(old) * len(new) > 2 * _MAX_TEXT:
        raise Exhausted(f"a value has more than {_MAX_TEXT} characters")
    return text.replace(old, new)


def _truncate(value: Any, length: int = 255, end: str = "…") -> str:
    text = text_of(value)
    return text if len(text) <= length else text[: max(int(length) - len(end), 0)] + end


def _round(value: Any, digits: int = 0) -> float:
    return round(float(value), max(0, min(int(digits), 15)))


def _int(value: Any, default: int = 0) -> int:
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return default


def _float(value: Any, default: float = 0.0) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return default


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else len(_list(value))


def _text(function: Callable[[str], str]) -> Callable[[Any], str]:
    return lambda value: function(text_of(value))


def _first(value: Any) -> Any:
    return next(iter(_list(value)), "")


def _last(value: Any) -> Any:
    return next(iter(_list(value)[::-1]), "")


_FILTERS: dict[str, Callable[..., Any]] = {
    "abs": lambda value: abs(_float(value)),
    "capitalize": _text(str.capitalize),
    "count": _length,
    "d": _default,
    "default": _default,
    "dictsort": lambda value: sorted(_items(value), key=lambda item: item[0]),
    "first": _first,
    "float": _float,
    "int": _int,
    "items": _items,
    "join": _join,
    "last": _last,
    "length": _length,
    "list": _list,
    "lower": _text(str.lower),
    "replace": _replace,
    "round": _round,
    "sort": lambda value: sorted(_list(value)),
    "string": text_of,
    "title": _text(str.title),
    "tojson": json_of,
    "trim": _text(str.strip),
    "truncate": _truncate,
    "upper": _text(str.upper),
    "urlencode": lambda value: quote(text_of(value), safe=""),
}
FILTERS = {name: _paid(function) for name, function in _FILTERS.items()}


def _even(value: Any) -> bool:
    # Jinja's own says value % 2, which formats a text: '%999999999d' is a gigabyte.
    if not isinstance(value, int | float):
        raise Exhausted(f"a {type(value).__name__} is neither odd nor even: only numbers are")
    return value % 2 == 0


#: In the place of Jinja's.
TESTS: dict[str, Callable[[Any], bool]] = {
    "even": _even,
    "odd": lambda value: not _even(value),
}


@pass_context
def _counted(context: Context, value: Any) -> Iterator[Any]:
    values = _list(value)
    budget = _budget(context)
    budget.loop(len(values))
    return _ticking(values, budget)


def _ticking(values: list[Any], budget: Budget) -> Iterator[Any]:
    for value in values:
        budget.tick()
        yield value


def _weighed(value: Any) -> Any:
    _weigh(value, _MAX_ELEMENTS)
    return value


HIDDEN: dict[str, Callable[..., Any]] = {
    COUNTED: _counted,
    JOINED: _paid(_join),
    WEIGHED: _paid(_weighed),
}
