"""The rows of a page of runs: which statements to run, and where each begins.

What makes a page cheap at a million runs is that its statement begins at an index that either has the
order, so that LIMIT stops it, or holds few rows. There are three beginnings: an experiment's runs in
the order of their start, an experiment's metric in the order of its last value, and the few runs that
pass a metric comparison. Everything else is a probe of a primary key per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.search.compile import PARENT_TAG, Condition, RunConditions
from headrace.engine.search.ordering import RunOrder
from headrace.engine.search.paging import MISSING, Keys, Term, after, merged
from headrace.engine.search.tree import (
    Comparison,
    Field,
    Kind,
    Node,
    Operator,
    Stat,
    conjuncts,
)

#: A metric comparison that at most so many runs of an experiment pass is where a search begins.
FEW = 2000

_run = schema.run
_summary = schema.metric_summary
_RUN_ID = Field(Kind.ATTRIBUTE, "run_id")
_RANGE = frozenset({Operator.EQ, Operator.LT, Operator.LE, Operator.GT, Operator.GE})
_NEEDS_NUMBER = _RANGE | {Operator.IN}
_ONE: sa.ColumnElement[Any] = sa.literal_column("1")


class Group(msgspec.Struct, frozen=True):
    """Experiments that are searched by one statement.

    Attributes:
        trashed: True for runs in the trash by themselves, False for those that are not, None for both.
    """

    experiments: tuple[int, ...]
    trashed: bool | None

    def owned(self) -> Condition:
        """The run belongs to one of the experiments."""
        ids, column = self.experiments, _run.c.experiment_id
        return column == ids[0] if len(ids) == 1 else column.in_(ids)

    def seen(self) -> list[Condition]:
        """The run is in the part of its life that is looked at."""
        if self.trashed is None:
            return []
        deleted = _run.c.deleted_time
        return [deleted.is_not(None) if self.trashed else deleted.is_(None)]


class RunSelection:
    """One search of runs.

    Args:
        node: The filter.
        first: What the order begins with, when it was asked for.
    """

    def __init__(
        self,
        connection: sa.Connection,
        conditions: RunConditions,
        node: Node | None,
        order: RunOrder,
        first: Field | None,
    ) -> None:
        self._connection = connection
        self._conditions = conditions
        self._order = order
        self._first = first
        self._parts = [(part, conditions.condition(part)) for part in conjuncts(node)]

    def page(self, groups: Sequence[Group], start: Keys | None, count: int) -> list[Any]:
        """Up to `count` rows of ``run``, with the order's columns, that come after `start`."""
        if any(isinstance(condition, sa.False_) for _part, condition in self._parts):
            return []
        rows = [row for group in groups for row in self._rows(group, start, count)]
        return merged(rows, self._order.terms)[:count] if len(groups) > 1 else rows

    def _rows(self, group: Group, start: Keys | None, count: int) -> list[Any]:
        few = self._few(group)
        if few is not None or not self._index_has_order(group):
            statement = self._statement(group, few, start)
            return list(self._connection.execute(statement.limit(count)).all())
        rows: list[Any] = []
        for rank in self._ranks(start):
            statement = self._ranked(group, rank, start)
            rows += self._connection.execute(statement.limit(count - len(rows))).all()
            if len(rows) >= count:
                break
        return rows

    def _index_has_order(self, group: Group) -> bool:
        """Whether the index on (experiment, metric, value) is where to begin."""
        first = self._first
        return (
            first is not None
            and first.kind is Kind.METRIC
            and first.stat is Stat.LAST
            and first.key in self._conditions.keys
            and len(group.experiments) == 1
            and not any(
                isinstance(part, Comparison)
                and part.field in (PARENT_TAG, _RUN_ID)
                and part.operator in (Operator.EQ, Operator.IN)
                for part, _condition in self._parts
            )
        )

    def _ranks(self, start: Keys | None) -> list[int]:
        """Numbers, then NaN, then runs without the metric, as far as filter and page allow."""
        ranks = {schema.RANK_NUMBER, schema.RANK_NAN, MISSING}
        for part, _condition in self._parts:
            if isinstance(part, Comparison) and self._conditions.resolve(part.field) == self._first:
                if part.operator is Operator.IS_NULL:
                    ranks &= {MISSING}
                elif part.operator in _NEEDS_NUMBER:
                    ranks &= {schema.RANK_NUMBER}
                else:
                    ranks -= {MISSING}
        return sorted(rank for rank in ranks if start is None or rank >= start[0][0])

    def _few(self, group: Group) -> Field | None:
        """A metric whose comparisons few runs of the experiment pass, if there is one."""
        if len(group.experiments) != 1:
            return None
        metrics = {
            field: None
            for part, _condition in self._parts
            if isinstance(part, Comparison) and part.operator in _RANGE
            for field in [self._conditions.resolve(part.field)]
            if field.kind is Kind.METRIC and field.stat is Stat.LAST
        }
        for field in metrics:
            passing, _rest = self._split(field, _summary)
            some = (
                sa.select(_ONE)
                .select_from(_summary)
                .where(*self._numbers(_summary, group, field, schema.RANK_NUMBER), *passing)
                .limit(FEW + 1)
                .subquery()
            )
            count = self._connection.execute(sa.select(sa.func.count()).select_from(some))
            if count.scalar_one() <= FEW:
                return field
        return None

    def _split(self, field: Field, table: Any) -> tuple[list[Condition], list[Condition]]:
        """The filter, as conditions on a metric's row that has a number, and the rest."""
        passing, rest = [], []
        led = self._conditions.led_by(table)
        for part, _condition in self._parts:
            if (
                isinstance(part, Comparison)
                and part.operator is not Operator.IS_NULL
                and self._conditions.resolve(part.field) == field
            ):
                passing.append(led.metric(table, field, part))
            else:
                rest.append(led.condition(part))
        return passing, rest

    def _numbers(self, table: Any, group: Group, field: Field, rank: int) -> list[Condition]:
        """A stretch of the index on (experiment, metric, rank, value)."""
        return [
            table.c.experiment_id == group.experiments[0],
            table.c.key_id == self._conditions.keys[field.key],
            table.c.last_rank == rank,
        ]

    def _statement(self, group: Group, few: Field | None, start: Keys | None) -> sa.Select[Any]:
        """All rows of a group, beginning at the few that pass a metric comparison, if given."""
        source: Any = _run
        if few is None:
            where = [group.owned(), *(condition for _part, condition in self._parts)]
        else:
            lead = _summary.alias()
            passing, rest = self._split(few, lead)
            where = [*self._numbers(lead, group, few, schema.RANK_NUMBER), *passing, *rest]
            source = self._led(lead)
        return self._select(group, source, where, self._order.terms, self._order.joins, start)

    def _ranked(self, group: Group, rank: int, start: Keys | None) -> sa.Select[Any]:
        """The rows of an experiment with this rank of the metric that the order begins with."""
        assert self._first is not None
        terms, joins = self._order.terms, self._order.joins
        terms = (msgspec.structs.replace(terms[0], fixed=rank), *terms[1:])
        lead = joins[0][0]  # the first join is that of the first term
        if rank == MISSING:
            source: Any = _run
            has = sa.select(_ONE).select_from(_summary).correlate(_run)
            has = has.where(
                _summary.c.run_id == _run.c.id,
                _summary.c.key_id == self._conditions.keys[self._first.key],
            )
            where = [group.owned(), sa.not_(has.exists())]
            where += [condition for _part, condition in self._parts]
        else:
            source = self._led(lead)
            where = self._numbers(lead, group, self._first, rank)
            passing, rest = self._split(self._first, lead)
            where += [*passing, *rest]
        if start is not None and start[0][0] != rank:
            start = None  # this rank comes after
        return self._select(group, source, where, terms, joins[1:], start)

    def _led(self, lead: Any) -> Any:
        """``run`` found from ``metric_summary``."""
        # SQLite, which has no statistics here, might go the other way round; a sum it cannot look up.
        found = lead.c.run_id if self._conditions.postgres else lead.c.run_id + 0
        return lead.join(_run, _run.c.id == found)

    def _select(
        self,
        group: Group,
        source: Any,
        where: Sequence[Condition],
        terms: Sequence[Term],
        joins: Sequence[tuple[Any, Any]],
        start: Keys | None,
    ) -> sa.Select[Any]:
        for table, condition in joins:
            source = source.outerjoin(table, condition)
        statement = (
            sa.select(_run, *columns(terms)).select_from(source).where(*where, *group.seen())
        )
        if start is not None:
            statement = statement.where(after(terms, start))
        return ordered(statement, terms)


def columns(terms: Sequence[Term]) -> list[Any]:
    """The order's columns, for SELECT."""
    return [column for number, term in enumerate(terms) for column in term.columns(number)]


def ordered(statement: sa.Select[Any], terms: Sequence[Term]) -> sa.Select[Any]:
    """The statement in the order of the terms."""
    return statement.order_by(*(column for term in terms for column in term.ordering()))
