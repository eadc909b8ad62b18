"""Text of filters and orders to trees.

Every error is `InvalidParameter` and shows the text with a caret under the character at fault.
"""

from __future__ import annotations

import datetime
import functools
import re
from importlib import resources
from typing import Any, NoReturn

import lark

from headrace.engine.search import vocabulary
from headrace.engine.search.tree import (
    And,
    Comparison,
    Field,
    Kind,
    Node,
    Not,
    Operator,
    Or,
    Order,
    Scalar,
    Stat,
)
from headrace.engine.search.vocabulary import Type, Vocabulary
from headrace.errors import InvalidParameter

#: Characters in a filter.
MAX_LENGTH = 500_000
#: Words, signs and values in a filter; a list of 10,000 values fits.
MAX_TOKENS = 25_000
MAX_COMPARISONS = 500
#: NOT, and AND and OR inside one another; SQLite's own parser gives up at about 25.
MAX_DEPTH = 20
#: Characters in the pattern of a LIKE.
MAX_PATTERN = 10_000
#: Terms in an order.
MAX_ORDER = 30

_INT64 = range(-(2**63), 2**63)
_PART = re.compile(r"`([^`]*)`|\"([^\"]*)\"|(\w+)")
_WHOLE = re.compile(r"-?\d{1,19}")
_EXPERIMENT_ID = re.compile(r"-?[0-9]{1,30}")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_MILLIS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_WINDOW = 60  # characters shown on each side of an error
_CACHED_LENGTH = 2000

#: What the grammar expects, in words, in the order of telling.
_EXPECTED = (
    ({"FIELD"}, "a field such as metrics.accuracy or params.`learning rate`"),
    (
        {"COMPARATOR"},
        "an operator: =, !=, <, <=, >, >=, LIKE, ILIKE, IN, NOT IN, IS NULL or IS NOT NULL",
    ),
    ({"TEXT", "NUMBER"}, "a value: a number, or a string in quotes"),
    ({"TEXT"}, "a string in quotes"),
    ({"_AND", "RPAR"}, "AND, OR or a closing parenthesis"),
    ({"_AND"}, "AND, OR or the end"),
    ({"NULL"}, "NULL or NOT NULL"),
    ({"IN", "LIKE"}, "IN, LIKE or ILIKE"),
    ({"IN"}, "IN"),
    ({"DIRECTION"}, "ASC, DESC or the end"),
    ({"COMMA"}, "a comma or a closing parenthesis"),
    ({"RPAR"}, "a closing parenthesis"),
    ({"$END"}, "nothing more"),
    ({"LPAR"}, "a list in parentheses, such as ('a', 'b')"),
)


class _Problem(Exception):
    """Something is wrong at a character."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position
        self.message = message


def parse_filter(text: str, names: Vocabulary = vocabulary.RUNS) -> Node | None:
    """The tree of a filter; None when it is empty and matches everything.

    Raises:
        InvalidParameter: It does not parse, names what does not exist, compares what cannot be
            compared, or is over a limit.
    """
    return (_parse_filter_cached if len(text) <= _CACHED_LENGTH else _parse_filter)(
        text, names.noun
    )


def parse_order(terms: tuple[str, ...], names: Vocabulary = vocabulary.RUNS) -> tuple[Order, ...]:
    """The terms of ``order_by``, each ``field [ASC | DESC]``; a later duplicate is left out.

    Raises:
        InvalidParameter: A term does not parse or names what cannot be ordered by.
    """
    if len(terms) > MAX_ORDER:
        raise InvalidParameter(
            f"order_by has {len(terms)} terms; at most {MAX_ORDER} are allowed: leave the last ones out."
        )
    orders: dict[Field, Order] = {}
    for term in terms:
        order = (_parse_order_cached if len(term) <= _CACHED_LENGTH else _parse_order)(
            term, names.noun
        )
        orders.setdefault(order.field, order)
    return tuple(orders.values())


def _parse_filter(text: str, noun: str) -> Node | None:
    _check_text(text, "filter")
    if not text.strip():
        return None
    try:
        node: Node = _run(noun, "filter", text)
    except _Problem as problem:
        raise _invalid("filter", text, problem) from None
    return node


_parse_filter_cached = functools.lru_cache(maxsize=512)(_parse_filter)


def _parse_order(text: str, noun: str) -> Order:
    _check_text(text, "order_by")
    try:
        order: Order = _run(noun, "order", text)
        if order.field.kind is Kind.DATASET:
            raise _Problem(
                0,
                "runs cannot be ordered by a data set; order by an attribute, metric, param or tag",
            )
        orders = vocabulary.BY_NOUN[noun].orders
        field = order.field
        if orders and (field.kind is not Kind.ATTRIBUTE or field.key not in orders):
            known = f"{', '.join(orders[:-1])} or {orders[-1]}"
            raise _Problem(0, f"{noun}s are ordered by {known}")
    except _Problem as problem:
        raise _invalid("order_by", text, problem) from None
    return order


_parse_order_cached = functools.lru_cache(maxsize=512)(_parse_order)


def _check_text(text: str, what: str) -> None:
    if len(text) > MAX_LENGTH:
        raise InvalidParameter(
            f"The {what} has {len(text)} characters; at most {MAX_LENGTH} are allowed. Search in parts."
        )
    for position, character in enumerate(text) if not text.isascii() or "\0" in text else ():
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise _invalid(
                what,
                text,
                _Problem(position, f"{character!r} cannot be part of any name or value; remove it"),
            )


def _invalid(what: str, text: str, problem: _Problem) -> InvalidParameter:
    """The error, with a caret under the character at fault."""
    position = min(problem.position, len(text))
    start, end = max(0, position - _WINDOW), position + _WINDOW
    before, after = ("…" if start else ""), ("…" if end < len(text) else "")
    shown = "".join(character if character.isprintable() else " " for character in text[start:end])
    return InvalidParameter(
        f"Invalid {what} at character {position + 1}: {problem.message}.\n"
        f"  {before}{shown}{after}\n"
        f"  {' ' * (position - start + len(before))}^"
    )


@functools.cache
def _parser(noun: str) -> lark.Lark:
    names = vocabulary.BY_NOUN[noun]
    grammar = resources.files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")
    return lark.Lark(
        grammar,
        parser="lalr",
        lexer="contextual",
        start=["filter", "order"],
        maybe_placeholders=True,
        transformer=_Builder(names),
    )


def _run(noun: str, start: str, text: str) -> Any:
    """Parse token by token, so that a long text is refused before it costs much."""
    parsing = _parser(noun).parse_interactive(text, start=start)
    try:
        last: lark.Token | None = None
        for count, token in enumerate(parsing.iter_parse()):
            if count >= MAX_TOKENS:
                raise _Problem(
                    token.start_pos or 0,
                    f"the {start} has more than {MAX_TOKENS} words, signs and values; search in parts",
                )
            last = token
        return parsing.feed_eof(last)  # type: ignore[no-untyped-call]
    except lark.UnexpectedInput as error:
        expected = parsing.accepts()  # type: ignore[no-untyped-call]
        raise _unexpected(text, error, expected) from None


def _unexpected(text: str, error: lark.UnexpectedInput, expected: set[str]) -> _Problem:
    """What the parser met instead of what it could have read."""
    position = error.pos_in_stream or 0
    if isinstance(error, lark.UnexpectedToken) and error.token.type == "$END":
        position = len(text.rstrip())
    wanted = next((words for need, words in _EXPECTED if need <= expected), "something else")
    rest = text[position:]
    if not rest.strip():
        return _Problem(position, f"it ends too early; expected {wanted}")
    message = f"expected {wanted}"
    if text[max(0, position - 1) : position + 1] in ("==", "<>"):
        message += "; equal is written =, not equal !="
    elif rest[0] in "'\"" and not any(rest[1:].count(quote) for quote in rest[0]):
        message += "; this quote is never closed"
    elif "COMPARATOR" in expected and rest[0] in "-/: .":
        message += "; a key with characters other than letters, digits, _ and . goes in backticks: tags.`a-b`"
    elif rest[0] == ";":
        message += "; leave the semicolon out"
    elif rest[0] == ")" and expected == {"$END"}:
        message += "; this parenthesis was never opened"
    elif "TEXT" in expected and (word := re.match(r"[\w.\-]+", rest)):
        message += f"; if {word[0][:40]} is the value, write '{word[0][:40]}'"
    elif rest[0] == "," and ("DIRECTION" in expected or expected == {"$END"}):
        message += "; give each term as an item of its own"
    return _Problem(position, message)


class _Built:
    """A node with its depth and its number of comparisons."""

    __slots__ = ("comparisons", "depth", "node")

    def __init__(self, node: Node, depth: int = 0, comparisons: int = 1) -> None:
        self.node = node
        self.depth = depth
        self.comparisons = comparisons


class _Builder(lark.Transformer[Any, Any]):
    """Builds the tree while lark parses; the methods are named after the rules of the grammar."""

    def __init__(self, names: Vocabulary) -> None:
        super().__init__()
        self._names = names

    def filter(self, children: list[_Built]) -> Node:
        return children[0].node

    def order(self, children: list[Any]) -> Order:
        direction = children[1]
        return Order(self._field(children[0]), direction is None or direction.upper() == "ASC")

    def either(self, children: list[_Built]) -> _Built:
        return _nest(Or(tuple(child.node for child in children)), children)

    def both(self, children: list[_Built]) -> _Built:
        return _nest(And(tuple(child.node for child in children)), children)

    def negation(self, children: list[Any]) -> _Built:
        return _nest(Not(children[1].node), children[1:])

    def comparison(self, children: list[lark.Token]) -> _Built:
        name, operator, value = children
        return self._compare(name, Operator(operator.value), operator, value)

    def pattern(self, children: list[Any]) -> _Built:
        name, negated, operator, value = children
        word = ("NOT " if negated else "") + operator.upper()
        if len(value) > MAX_PATTERN + 2:
            raise _Problem(
                value.start_pos,
                f"the pattern has more than {MAX_PATTERN} characters; use a shorter one",
            )
        return self._compare(name, Operator(word), operator, value)

    def membership(self, children: list[Any]) -> _Built:
        name, negated, operator, values = children
        return self._compare(name, Operator.NOT_IN if negated else Operator.IN, operator, values)

    def presence(self, children: list[Any]) -> _Built:
        name, _is, negated, operator = children
        return self._compare(
            name, Operator.IS_NOT_NULL if negated else Operator.IS_NULL, operator, None
        )

    def list(self, children: list[Any]) -> tuple[lark.Token, ...]:
        return tuple(child for child in children if child is not None)

    def _compare(
        self,
        name: lark.Token,
        operator: Operator,
        sign: lark.Token,
        value: lark.Token | tuple[lark.Token, ...] | None,
    ) -> _Built:
        field = self._field(name)
        type_ = self._names.type_of(field.kind, field.key)
        if operator not in type_.operators:
            allowed = ", ".join(item for item in Operator if item in type_.operators)
            raise _Problem(
                sign.start_pos or 0,
                f"{name.value[:80]} cannot be compared by {operator}; it takes {allowed}",
            )
        if value is None:
            return _Built(Comparison(field, operator))
        if isinstance(value, tuple):
            items = tuple(_value(item, field, type_, operator) for item in value)
            if len({isinstance(item, str) for item in items}) > 1:
                raise _Problem(
                    value[0].start_pos or 0, "the list mixes strings and numbers; use one of them"
                )
            return _Built(Comparison(field, operator, items))
        return _Built(Comparison(field, operator, _value(value, field, type_, operator)))

    def _field(self, token: lark.Token) -> Field:
        names, position = self._names, token.start_pos or 0
        parts = [
            (m[0], m[1] or m[2] or m[3] or "", m[3] is None) for m in _PART.finditer(token.value)
        ]
        if len(parts) == 1:
            return self._attribute(parts[0][1], position)
        raw, prefix, _quoted = parts[0]
        kind = names.prefixes.get(prefix)
        if kind is None or raw.startswith('"'):
            known = ", ".join(names.prefixes)
            raise _Problem(
                position, f"there is no {raw[:80]} of {names.noun}s; a field begins with {known}"
            )
        rest = parts[1:]
        position += len(raw) + 1
        if not any(quoted for _raw, _text, quoted in rest):
            key = ".".join(text for _raw, text, _quoted in rest)
            if kind is Kind.METRIC and len(rest) > 1 and rest[-1][1] in (Stat.MIN, Stat.MAX):
                return Field(kind, key, loose=True)
        elif len(rest) == 1:
            key = rest[0][1]
        elif (
            kind is Kind.METRIC
            and len(rest) == 2
            and rest[0][2]
            and rest[1][0] in (Stat.MIN, Stat.MAX)
        ):
            return Field(kind, rest[0][1], Stat(rest[1][0]))
        else:
            raise _Problem(position, "quote the whole key: metrics.`val.loss/mean`")
        if kind is Kind.ATTRIBUTE:
            return self._attribute(key, position)
        if kind is Kind.DATASET and key not in names.datasets:
            raise _Problem(
                position, f"data sets have no {key[:80]}; they have {', '.join(names.datasets)}"
            )
        return Field(kind, key)

    def _attribute(self, key: str, position: int) -> Field:
        names = self._names
        key = names.aliases.get(key, key)
        if key not in names.attributes:
            known = ", ".join(names.attributes)
            hint = "; params, metrics and tags need their prefix" if names.noun == "run" else ""
            raise _Problem(
                position, f"{names.noun}s have no attribute {key[:80]}; they have {known}{hint}"
            )
        return Field(Kind.ATTRIBUTE, key)


def _nest(node: Node, children: list[_Built]) -> _Built:
    depth = 1 + max(child.depth for child in children)
    comparisons = sum(child.comparisons for child in children)
    if depth > MAX_DEPTH:
        raise _Problem(0, f"it is nested more than {MAX_DEPTH} deep; write it flatter")
    if comparisons > MAX_COMPARISONS:
        raise _Problem(
            0, f"it has more than {MAX_COMPARISONS} comparisons; use IN, or search in parts"
        )
    return _Built(node, depth, comparisons)


def _value(token: lark.Token, field: Field, type_: Type, operator: Operator) -> Scalar:
    """The value of a token, as the field's type wants it."""
    position = token.start_pos or 0

    def refuse(why: str = "") -> NoReturn:
        shown = token.value if len(token.value) <= 60 else token.value[:60] + "…"
        raise _Problem(
            position, f"{shown} is not right for {field.key[:80]}{why}; give it {type_.values}"
        )

    if token.type == "TEXT":
        text: str = token.value[1:-1]
        if type_ is Type.TEXT:
            return text
        if type_ is Type.PARAM:
            if operator in (Operator.LT, Operator.LE, Operator.GT, Operator.GE):
                raise _Problem(
                    position,
                    f"a string cannot be compared by {operator}; without the quotes it is compared as a number",
                )
            return text
        if type_ is Type.ID and _EXPERIMENT_ID.fullmatch(text):
            return _number(text)
        if type_ is Type.WHOLE and _WHOLE.fullmatch(text):
            return _number(text)
        if type_ in (Type.TIME, Type.WHOLE_TIME):
            try:
                return _millis(text)
            except ValueError:
                refuse()
        if type_ is Type.DURATION and _DURATION.fullmatch(text):
            return sum(
                float(amount) * _MILLIS[unit] for amount, unit in _DURATION_PART.findall(text)
            )
        refuse()
    if type_ in (Type.TEXT, Type.ID):
        raise _Problem(
            position, f"{token.value[:60]} is a number; give {type_.values}: '{token.value[:60]}'"
        )
    number = _number(token.value)
    if type_ in (Type.WHOLE_TIME, Type.WHOLE) and not isinstance(number, int):
        refuse()
    return number


def _number(text: str) -> int | float:
    if _WHOLE.fullmatch(text) and (whole := int(text)) in _INT64:
        return whole
    return float(text)


def _millis(text: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 time; without an offset it is UTC."""
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return round(
        (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC))
        / datetime.timedelta(milliseconds=1)
    )
