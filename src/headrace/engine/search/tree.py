"""The parsed form of a filter: a small tree of frozen structs, compared by value."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What a field belongs to."""

    ATTRIBUTE = "attribute"
    METRIC = "metric"
    PARAM = "param"
    TAG = "tag"
    DATASET = "dataset"


class Stat(StrEnum):
    """Which number of a metric."""

    LAST = "last"
    MIN = "min"
    MAX = "max"


class Operator(StrEnum):
    """How a field is compared."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    LIKE = "LIKE"
    NOT_LIKE = "NOT LIKE"
    ILIKE = "ILIKE"
    NOT_ILIKE = "NOT ILIKE"
    IN = "IN"
    NOT_IN = "NOT IN"
    IS_NULL = "IS NULL"
    IS_NOT_NULL = "IS NOT NULL"


class Field(msgspec.Struct, frozen=True):
    """What is compared or ordered by.

    Attributes:
        key: For attributes the canonical name (``created`` is ``start_time``).
        stat: For metrics.
        loose: An unquoted metric that ends in ``.min`` or ``.max``: the metric of exactly that name
            where the searched experiments have one, else that number of the metric before the dot.
    """

    kind: Kind
    key: str
    stat: Stat = Stat.LAST
    loose: bool = False


Scalar = str | int | float


class Comparison(msgspec.Struct, frozen=True):
    """``field operator value``; the value is a tuple for (NOT) IN, None for IS (NOT) NULL."""

    field: Field
    operator: Operator
    value: Scalar | tuple[Scalar, ...] | None = None


class And(msgspec.Struct, frozen=True):
    """All of the items, of which there are at least two."""

    items: tuple[Node, ...]


class Or(msgspec.Struct, frozen=True):
    """Any of the items, of which there are at least two."""

    items: tuple[Node, ...]


class Not(msgspec.Struct, frozen=True):
    """Exactly what the item does not match, things without the key included."""

    item: Node


Node = Comparison | And | Or | Not


class Order(msgspec.Struct, frozen=True):
    """One term of ``order_by``."""

    field: Field
    ascending: bool = True


def conjuncts(node: Node | None) -> tuple[Node, ...]:
    """The conditions of which each must hold."""
    if node is None:
        return ()
    if isinstance(node, And):
        return tuple(part for item in node.items for part in conjuncts(item))
    return (node,)


def fields(node: Node | None) -> set[Field]:
    """Every field that a filter names."""
    found: set[Field] = set()
    waiting = [node] if node is not None else []
    while waiting:
        item = waiting.pop()
        if isinstance(item, Comparison):
            found.add(item.field)
        elif isinstance(item, Not):
            waiting.append(item.item)
        else:
            waiting.extend(item.items)
    return found
