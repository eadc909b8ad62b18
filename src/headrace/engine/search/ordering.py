"""``order_by`` to terms of SQL.

Missing values come last in both directions; NaN comes after the numbers and before the missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.search.compile import (
    PARENT_TAG,
    Expression,
    RunConditions,
    stat_column,
)
from headrace.engine.search.paging import MISSING, THERE, Term
from headrace.engine.search.tree import Field, Kind, Order

_run = schema.run
_START = Field(Kind.ATTRIBUTE, "start_time")


class RunOrder(msgspec.Struct, frozen=True):
    """Terms of an order of runs, and the tables they read.

    Attributes:
        joins: Outer joins, as (table, condition).
    """

    terms: tuple[Term, ...]
    joins: tuple[tuple[Any, Any], ...]


def run_order(orders: Sequence[Order], conditions: RunConditions) -> RunOrder:
    """The order of runs: as asked, then the newest first, then by run id."""
    terms: list[Term] = []
    joins: list[tuple[Any, Any]] = []
    for order in orders:
        field = conditions.resolve(order.field)
        if field.kind is Kind.ATTRIBUTE or field == PARENT_TAG:
            column, nullable = conditions.attribute(field)
            type_: type = str if isinstance(column.type, sa.String) else int
            value = text_order(column, conditions.postgres) if type_ is str else column
            rank = sa.case((column.is_(None), MISSING), else_=THERE) if nullable else None
            terms.append(Term(type_, order.ascending, value, rank))
            continue
        number = conditions.keys.get(field.key)
        if number is None:  # no run has it: all are equal
            type_ = float if field.kind is Kind.METRIC else str
            terms.append(Term(type_, True, sa.null(), sa.literal(MISSING), fixed=MISSING))
            continue
        table, term = _joined(field, order.ascending, conditions)
        joins.append((table, sa.and_(table.c.run_id == _run.c.id, table.c.key_id == number)))
        terms.append(term)
    if not any(order.field == _START for order in orders):
        terms.append(Term(int, False, _run.c.start_time))
    terms.append(Term(str, True, _run.c.uuid))
    return RunOrder(tuple(terms), tuple(joins))


def _joined(field: Field, ascending: bool, conditions: RunConditions) -> tuple[Any, Term]:
    if field.kind is Kind.METRIC:
        table = schema.metric_summary.alias()
        column = stat_column(table, field.stat)
        rank = sa.case(
            (table.c.run_id.is_(None), MISSING),
            (column.is_(None), schema.RANK_NAN),
            else_=schema.RANK_NUMBER,
        )
        return table, Term(float, ascending, column, rank)
    pairs = (schema.param if field.kind is Kind.PARAM else schema.tag).alias()
    rank = sa.case((pairs.c.value.is_(None), MISSING), else_=THERE)
    return pairs, Term(str, ascending, text_order(pairs.c.value, conditions.postgres), rank)


def experiment_order(orders: Sequence[Order], *, postgres: bool) -> tuple[Term, ...]:
    """The order of experiments: the newest first unless asked otherwise, ties by id."""
    table = schema.experiment
    if not orders:
        return Term(int, False, table.c.creation_time), Term(int, True, table.c.id)
    terms = []
    for order in orders:
        key = order.field.key
        if key == "name":
            terms.append(Term(str, order.ascending, text_order(table.c.name, postgres)))
        else:
            column = table.c.id if key == "experiment_id" else table.c[key]
            terms.append(Term(int, order.ascending, column))
    if not any(order.field.key == "experiment_id" for order in orders):
        terms.append(Term(int, False, table.c.id))
    return tuple(terms)


def text_order(column: Expression, postgres: bool) -> Expression:
    """Text ordered by code point on every database."""
    return sa.collate(column, "C") if postgres else column
