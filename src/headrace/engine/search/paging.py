"""Keyset paging: an order as columns, "what comes after this row" as a condition, and page tokens.

A token holds the order's values of the last row of a page. The next page is what comes after those
values, so it neither repeats nor skips when rows are added meanwhile. The token also holds a digest of
the search that made it, so that a token of another search is refused. For clients it is opaque.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.engine.search.compile import Condition, Expression
from headrace.errors import InvalidParameter

#: Value of a term that has no rank: always there.
THERE = 0
#: Rank of what has no value; between the two, of metrics, is NaN.
MISSING = 2

_INT64 = range(-(2**63), 2**63)


class Term(msgspec.Struct, frozen=True):
    """One term of an order.

    Rows are ordered by rank, always ascending, then by value.

    Attributes:
        type: ``int``, ``float`` or ``str``: what the values are.
        value: NULL where the rank is not `THERE`.
        rank: None when every row has a value.
        fixed: The rank that all rows of a statement have, when it is known.
    """

    type: type
    ascending: bool
    value: Expression
    rank: Expression | None = None
    fixed: int | None = None

    def ordering(self) -> list[Expression]:
        """For ORDER BY."""
        columns = [] if self.rank is None or self.fixed is not None else [self.rank]
        if not self.fixed:
            columns.append(self.value.asc() if self.ascending else self.value.desc())
        return columns

    def columns(self, number: int) -> list[Expression]:
        """For SELECT: rank and value, as ``rank<number>`` and ``value<number>``."""
        rank = self.rank
        if rank is None or self.fixed is not None:
            rank = sa.literal(self.fixed or THERE)
        value = sa.null() if self.fixed else self.value
        return [rank.label(f"rank{number}"), value.label(f"value{number}")]


#: Rank and value of each term.
Keys = tuple[tuple[int, Any], ...]


def keys_of(row: Any, terms: int) -> Keys:
    """The order's values of a row that was selected with `Term.columns`."""
    row = row._mapping
    return tuple((row[f"rank{number}"], row[f"value{number}"]) for number in range(terms))


def after(terms: Sequence[Term], keys: Keys) -> Condition:
    """True for rows that come after the row with these values. The last term must tell rows apart."""
    # Flat, because SQLite's parser takes only so much nesting.
    beyond: list[Condition] = []
    equal: list[Condition] = []
    for term, (rank, value) in zip(terms, keys, strict=True):
        # A rank that all rows have is that of the keys: the caller saw to it.
        if term.rank is not None and term.fixed is None:
            beyond.append(sa.and_(*equal, term.rank > rank))
            equal.append(term.rank == rank)
        if rank == THERE:
            bound = sa.literal(value, term.value.type)
            further = term.value > bound if term.ascending else term.value < bound
            beyond.append(sa.and_(*equal, further))
            equal.append(term.value == bound)
    condition = sa.or_(*beyond)
    first, (rank, value) = terms[0], keys[0]
    if rank == THERE and (first.rank is None or first.fixed is not None):
        # Said again in the form that an index can begin at.
        bound = sa.literal(value, first.value.type)
        condition = sa.and_(
            first.value >= bound if first.ascending else first.value <= bound, condition
        )
    return condition


def merged(rows: list[Any], terms: Sequence[Term]) -> list[Any]:
    """Rows of several statements in one order."""
    for number in range(len(terms) - 1, -1, -1):
        blank = terms[number].type()
        rows.sort(
            key=lambda row: blank if (value := row._mapping[f"value{number}"]) is None else value,
            reverse=not terms[number].ascending,
        )
        rows.sort(key=lambda row: row._mapping[f"rank{number}"])
    return rows


def digest(*search: Any) -> str:
    """What tells one search from another."""
    return hashlib.blake2b(json.dumps(search).encode(), digest_size=12).hexdigest()


def write_token(search: str, keys: Keys) -> str:
    """The token of the page that follows the row with these values."""
    return base64.urlsafe_b64encode(json.dumps([search, keys]).encode()).decode()


def read_token(token: str, search: str, terms: Sequence[Term]) -> Keys | None:
    """The values in a token; None when there is no token.

    Raises:
        InvalidParameter: It is no token, or one of another search.
    """
    if not token:
        return None
    try:
        made_by, keys = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
        ranked = tuple((rank, value) for rank, value in keys)
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise InvalidParameter(
            f"Invalid page_token '{token[:60]}': it is not one that this store gave; "
            "leave it out to begin with the first page."
        ) from None
    if made_by != search:
        raise InvalidParameter(
            f"Invalid page_token '{token[:60]}': it is from another search; use it with the filter, "
            "order_by, view and experiments that it came from, or leave it out."
        )
    if len(ranked) != len(terms) or not all(
        _fits(term, rank, value) for term, (rank, value) in zip(terms, ranked, strict=True)
    ):
        raise InvalidParameter(
            f"Invalid page_token '{token[:60]}': its values do not fit the search; "
            "leave it out to begin with the first page."
        )
    return ranked


def _fits(term: Term, rank: Any, value: Any) -> bool:
    if type(rank) is not int or not THERE <= rank <= MISSING:
        return False
    if rank != THERE:
        return term.rank is not None and value is None
    if type(value) is not term.type:
        return False
    if isinstance(value, int):
        return value in _INT64
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
    return isinstance(value, float) and not math.isnan(value)
