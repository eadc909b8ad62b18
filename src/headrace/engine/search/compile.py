"""Filter trees to SQL conditions.

Every condition is true or false, never NULL, so that NOT is the plain complement. All values are
bound. A comparison of a metric, param or tag is an EXISTS that probes a primary key, (run, key); a
key that has no number was never used, so nothing has it.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.search.tree import (
    And,
    Comparison,
    Field,
    Kind,
    Node,
    Not,
    Operator,
    Stat,
)

Condition = sa.ColumnElement[bool]
Expression = sa.ColumnElement[Any]

#: This tag is also a column of ``run``, with an index.
PARENT_TAG = Field(Kind.TAG, "mlflow.parentRunId")

_run = schema.run
_summary = schema.metric_summary


class Conditions(ABC):
    """Compiles the filters of one noun."""

    def __init__(self, *, postgres: bool) -> None:
        self.postgres = postgres

    @abstractmethod
    def comparison(self, comparison: Comparison) -> Condition:
        """One comparison."""

    def condition(self, node: Node, *, negated: bool = False) -> Condition:
        """A whole tree, or its complement.

        NOT is carried down to the comparisons, because SQLite's parser takes only so much nesting.
        """
        if isinstance(node, Not):
            return self.condition(node.item, negated=not negated)
        if isinstance(node, Comparison):
            found = self.comparison(node)
            return sa.not_(found) if negated else found
        items = [self.condition(item, negated=negated) for item in node.items]
        return sa.and_(*items) if isinstance(node, And) != negated else sa.or_(*items)

    def test(
        self, column: Expression, comparison: Comparison, *, nullable: bool = False
    ) -> Condition:
        """A column against the comparison's value. True only where the column is not NULL."""
        operator, value = comparison.operator, comparison.value
        if operator is Operator.IS_NULL:
            return column.is_(None) if nullable else sa.false()
        if operator is Operator.IS_NOT_NULL:
            return column.is_not(None) if nullable else sa.true()
        tested = self._tested(column, operator, value)
        return sa.and_(column.is_not(None), tested) if nullable else tested

    def _tested(self, column: Expression, operator: Operator, value: Any) -> Condition:
        if operator in (Operator.IN, Operator.NOT_IN):
            values = list(dict.fromkeys(value))
            if any(isinstance(item, float) for item in values):
                column, values = sa.cast(column, sa.Double), [float(item) for item in values]
            return column.in_(values) if operator is Operator.IN else column.not_in(values)
        if isinstance(value, str):
            if self.postgres and operator not in (Operator.EQ, Operator.NE):
                value = value.replace("\\", "\\\\")  # there is no escape character in our patterns
            match operator:
                case Operator.LIKE:
                    return column.like(value)
                case Operator.NOT_LIKE:
                    return column.not_like(value)
                case Operator.ILIKE:
                    return column.ilike(value)
                case Operator.NOT_ILIKE:
                    return column.not_ilike(value)
        bound = sa.literal(value, sa.Double()) if isinstance(value, float) else value
        match operator:
            case Operator.EQ:
                return column == bound
            case Operator.NE:
                return column != bound
            case Operator.LT:
                return column < bound
            case Operator.LE:
                return column <= bound
            case Operator.GT:
                return column > bound
            case _:
                return column >= bound


class RunConditions(Conditions):
    """Filters of runs, over ``schema.run``.

    Args:
        keys: Number by name, for the names that have one.
        resolved: What each loose field means here.
        artifact_root: Where experiments without a location of their own keep artifacts.
    """

    def __init__(
        self,
        *,
        postgres: bool,
        keys: Mapping[str, int],
        resolved: Mapping[Field, Field],
        artifact_root: str,
    ) -> None:
        super().__init__(postgres=postgres)
        self.keys = keys
        self._resolved = resolved
        self._artifact_root = artifact_root
        self._source: Any = _run
        self._run_id: Expression = _run.c.id

    def led_by(self, table: Any) -> RunConditions:
        """The same for a statement that finds ``run`` from a table with a ``run_id``.

        Probes then start from that table, and the rows of ``run`` that fail are never read.
        """
        led = copy.copy(self)
        led._source, led._run_id = table, table.c.run_id
        return led

    def resolve(self, field: Field) -> Field:
        """The field itself, or what it means when it is loose."""
        return self._resolved.get(field, field)

    def comparison(self, comparison: Comparison) -> Condition:
        field = self.resolve(comparison.field)
        if field.kind is Kind.ATTRIBUTE or field == PARENT_TAG:
            column, nullable = self.attribute(field)
            return self.test(column, comparison, nullable=nullable)
        if field.kind is Kind.DATASET:
            return self._dataset(field, comparison)
        number = self.keys.get(field.key)
        absent = comparison.operator is Operator.IS_NULL
        if number is None:
            return sa.true() if absent else sa.false()
        if field.kind is Kind.METRIC:
            table: sa.Table = _summary
            tests = [self.metric(_summary, field, comparison)]
        else:
            table = schema.param if field.kind is Kind.PARAM else schema.tag
            tests = [] if comparison.value is None else [self._pair(table, comparison)]
        found = self._exists(table, table.c.key_id == number, *tests)
        return sa.not_(found) if absent else found

    def attribute(self, field: Field) -> tuple[Expression, bool]:
        """The column of an attribute, and whether it may be NULL."""
        match field.key:
            case "run_id":
                return _run.c.uuid, False
            case "run_name":
                return _run.c.name, False
            case "end_time":
                return _run.c.end_time, True
            case "duration":
                return _run.c.end_time - _run.c.start_time, True
            case "artifact_uri":
                return self._artifact_uri(), False
            case "mlflow.parentRunId":
                return _run.c.parent_uuid, True
        return _run.c[field.key], False

    def metric(self, table: Any, field: Field, comparison: Comparison) -> Condition:
        """A test on a row of ``metric_summary`` (or an alias): has a value, and the value compares.

        A NaN, which is NULL with rank `RANK_NAN`, fails every comparison except those by inequality.
        """
        value = stat_column(table, field.stat)
        if comparison.value is None:
            return sa.true() if field.stat is Stat.LAST else value.is_not(None)
        tested = self._tested(value, comparison.operator, as_float(comparison.value))
        if field.stat is Stat.LAST and comparison.operator in (Operator.NE, Operator.NOT_IN):
            return sa.or_(tested, table.c.last_rank == schema.RANK_NAN)
        return tested

    def _pair(self, table: sa.Table, comparison: Comparison) -> Condition:
        value = comparison.value
        sample = value[0] if isinstance(value, tuple) else value
        if isinstance(sample, str):
            return self._tested(table.c.value, comparison.operator, value)
        return self._tested(table.c.number, comparison.operator, as_float(value))

    def _dataset(self, field: Field, comparison: Comparison) -> Condition:
        link, table = schema.run_dataset, schema.dataset
        column = link.c.context if field.key == "context" else table.c[field.key]
        test = (
            column.is_not(None)
            if comparison.value is None
            else self._tested(column, comparison.operator, comparison.value)
        )
        found = (
            sa.select(sa.literal_column("1"))
            .select_from(link.join(table, table.c.id == link.c.dataset_id))
            .where(link.c.run_id == self._run_id, test)
            .correlate(self._source)
            .exists()
        )
        return sa.not_(found) if comparison.operator is Operator.IS_NULL else found

    def _artifact_uri(self) -> Expression:
        table = schema.experiment
        location = sa.func.coalesce(
            sa.func.nullif(table.c.artifact_location, ""),
            sa.literal(self._artifact_root + "/") + sa.cast(table.c.id, sa.Text),
        )
        owner = (
            sa.select(location)
            .where(table.c.id == _run.c.experiment_id)
            .correlate(_run)
            .scalar_subquery()
        )
        return owner + sa.literal("/") + _run.c.uuid + sa.literal("/artifacts")

    def _exists(self, table: sa.Table, *tests: Condition) -> Condition:
        return (
            sa.select(sa.literal_column("1"))
            .select_from(table)
            .where(table.c.run_id == self._run_id, *tests)
            .correlate(self._source)
            .exists()
        )


class ExperimentConditions(Conditions):
    """Filters of experiments, over ``schema.experiment``."""

    def comparison(self, comparison: Comparison) -> Condition:
        field, table = comparison.field, schema.experiment
        if field.kind is Kind.ATTRIBUTE:
            column = table.c.id if field.key == "experiment_id" else table.c[field.key]
            return self.test(column, comparison)
        tag = schema.experiment_tag
        tests = (
            []
            if comparison.value is None
            else [self._tested(tag.c.value, comparison.operator, comparison.value)]
        )
        found = (
            sa.select(sa.literal_column("1"))
            .select_from(tag)
            .where(tag.c.experiment_id == table.c.id, tag.c.key == field.key, *tests)
            .correlate(table)
            .exists()
        )
        return sa.not_(found) if comparison.operator is Operator.IS_NULL else found


def stat_column(table: Any, stat: Stat) -> Expression:
    """The column of ``metric_summary`` (or an alias) that holds a number of a metric."""
    column: Expression = table.c[f"{stat.value}_value"]
    return column


def as_float(value: Any) -> Any:
    """A number, or numbers, as float64."""
    return tuple(map(float, value)) if isinstance(value, tuple) else float(value)
