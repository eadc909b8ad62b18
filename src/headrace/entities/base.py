"""What all entities share."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Entity(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of the nouns: immutable, compared by value, defaults left out on the wire."""


class KeyValue(Entity, frozen=True, gc=False, omit_defaults=False):
    """A param, a tag, or an input tag. An absent value means the empty string."""

    key: str
    value: str = ""


def as_dict(pairs: Iterable[KeyValue]) -> dict[str, str]:
    """Pairs as a dictionary; of equal keys the last wins."""
    return {pair.key: pair.value for pair in pairs}
