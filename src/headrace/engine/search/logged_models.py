"""Filters and orders of logged models to SQL.

Models are few beside runs, so one statement does a search: it begins at the index of their experiments, and
probes params, tags and metrics per model. A metric's comparison holds when any point of it does; an order goes by the
latest point, by time and then by step. Both are MLflow's rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.search.compile import Condition, Conditions, Expression, as_float
from headrace.engine.search.ordering import text_order
from headrace.engine.search.paging import MISSING, THERE, Term
from headrace.engine.search.tree import Comparison, Field, Kind, Node, Operator, Stat, fields
from headrace.engine.search.vocabulary import LOGGED_MODELS
from headrace.errors import InvalidParameter
from headrace.protocol.logged_models import DatasetChoice, LoggedModelOrder

_model = schema.logged_model
_metric = schema.logged_model_metric
_ONE: Expression = sa.literal_column("1")
_METRICS = "metrics."

#: What a filter may call a status: MLflow's numbers, its words, and the wire's.
_STATUSES = {
    "PENDING": schema.MODEL_PENDING,
    "READY": schema.MODEL_READY,
    "FAILED": schema.MODEL_FAILED,
    "LOGGED_MODEL_PENDING": schema.MODEL_PENDING,
    "LOGGED_MODEL_READY": schema.MODEL_READY,
    "LOGGED_MODEL_UPLOAD_FAILED": schema.MODEL_FAILED,
}
_COLUMNS = {"model_id": _model.c.uuid}
_NULLABLE = frozenset(("model_type", "source_run_id", "status_message"))


class LoggedModelConditions(Conditions):
    """Filters of logged models, over ``schema.logged_model``.

    Args:
        keys: Numbers of metrics by name, for the names that have one.
        datasets: On which metrics count; none: on any, and on none.
        artifact_root: Where experiments without a location of their own keep artifacts.
    """

    def __init__(
        self,
        *,
        postgres: bool,
        keys: Mapping[str, int],
        datasets: Sequence[DatasetChoice],
        artifact_root: str,
    ) -> None:
        super().__init__(postgres=postgres)
        self.keys = keys
        self._datasets = [on_dataset(one.dataset_name, one.dataset_digest) for one in datasets]
        self._artifact_root = artifact_root

    def whole(self, node: Node | None) -> list[Condition]:
        """The filter and the data sets, as conditions of which each must hold."""
        found = [] if node is None else [self.condition(node)]
        if self._datasets and not any(field.kind is Kind.METRIC for field in fields(node)):
            found.append(self._points())
        return found

    def comparison(self, comparison: Comparison) -> Condition:
        field = comparison.field
        if field.kind is Kind.ATTRIBUTE:
            if field.key in ("status", "experiment_id"):
                return self.test(_model.c[field.key], _numbered(comparison))
            return self.test(self.attribute(field.key), comparison, nullable=field.key in _NULLABLE)
        if field.kind is Kind.METRIC:
            return self._metric(field, comparison)
        table = schema.logged_model_param if field.kind is Kind.PARAM else schema.logged_model_tag
        tests = [] if comparison.value is None else [self._pair(table, comparison)]
        found = (
            sa.select(_ONE)
            .select_from(table)
            .where(table.c.logged_model_id == _model.c.id, table.c.key == field.key, *tests)
            .correlate(_model)
            .exists()
        )
        return sa.not_(found) if comparison.operator is Operator.IS_NULL else found

    def attribute(self, key: str) -> Expression:
        """The column of an attribute."""
        if key == "artifact_location":
            return self._location()
        if key == "lifecycle_stage":
            return sa.literal("active")  # no others are found
        return _COLUMNS[key] if key in _COLUMNS else _model.c[key]

    def _metric(self, field: Field, comparison: Comparison) -> Condition:
        if field.stat is not Stat.LAST:
            raise InvalidParameter(
                f"Invalid filter: metrics of logged models have no .{field.stat} ('{field.key[:100]}'); "
                "a comparison holds when any of their points does."
            )
        absent = comparison.operator is Operator.IS_NULL
        number = self.keys.get(field.key)
        if number is None:
            return sa.true() if absent else sa.false()
        tests = [_metric.c.key_id == number]
        if comparison.value is not None:
            value = as_float(comparison.value)
            tests += [
                _metric.c.value.is_not(None),
                self._tested(_metric.c.value, comparison.operator, value),
            ]
        found = self._points(*tests)
        return sa.not_(found) if absent else found

    def _points(self, *tests: Condition) -> Condition:
        """That a model has a point that passes, on one of the data sets."""
        on = [sa.or_(*self._datasets)] if self._datasets else []
        return (
            sa.select(_ONE)
            .select_from(_metric)
            .where(_metric.c.model_id == _model.c.uuid, *tests, *on)
            .correlate(_model)
            .exists()
        )

    def _pair(self, table: sa.Table, comparison: Comparison) -> Condition:
        value = comparison.value
        sample = value[0] if isinstance(value, tuple) else value
        if isinstance(sample, str):
            return self._tested(table.c.value, comparison.operator, value)
        return self._tested(table.c.number, comparison.operator, as_float(value))

    def _location(self) -> Expression:
        table = schema.experiment
        own = sa.func.nullif(table.c.artifact_location, "")
        below = sa.literal(self._artifact_root + "/") + sa.cast(table.c.id, sa.Text)
        owner = (
            sa.select(sa.func.coalesce(own, below))
            .where(table.c.id == _model.c.experiment_id)
            .correlate(_model)
            .scalar_subquery()
        )
        return owner + sa.literal("/models/") + _model.c.uuid + sa.literal("/artifacts")


def on_dataset(name: str, digest: str) -> Condition:
    """That a point was taken on a data set of that name, and digest if given."""
    tests = [_metric.c.dataset_name == name]
    if digest:
        tests.append(_metric.c.dataset_digest == digest)
    return sa.and_(*tests)


def metric_names(orders: Sequence[LoggedModelOrder]) -> set[str]:
    """The metrics that an order names."""
    return {
        one.field_name.removeprefix(_METRICS)
        for one in orders
        if one.field_name.startswith(_METRICS)
    }


def logged_model_order(
    orders: Sequence[LoggedModelOrder], conditions: LoggedModelConditions
) -> tuple[Term, ...]:
    """The order of models: as asked, then the newest first, then by id.

    Raises:
        InvalidParameter: A field that is none, or that models cannot be ordered by.
    """
    terms: list[Term] = []
    attributes: set[str] = set()
    for order in orders:
        entity, dot, rest = order.field_name.partition(".")
        if dot and entity == "metrics":
            terms.append(_latest(rest, order, conditions))
            continue
        if dot and entity != "attributes":
            raise InvalidParameter(
                f"Invalid order by field name: {order.field_name[:100]}. Only metrics are supported, "
                "and attributes: models cannot be ordered by params or tags."
            )
        key = LOGGED_MODELS.aliases.get(rest or entity, rest or entity)
        if key not in LOGGED_MODELS.attributes:
            raise InvalidParameter(
                f"Invalid order by field name: {order.field_name[:100]}. Order by metrics.<key>, or one "
                f"of {', '.join(LOGGED_MODELS.attributes)}."
            )
        attributes.add(key)
        terms.append(_attribute(key, order.ascending, conditions))
    if "creation_time" not in attributes:
        terms.append(Term(int, False, _model.c.creation_time))
    if "model_id" not in attributes:
        terms.append(Term(str, True, _model.c.uuid))
    return tuple(terms)


def _attribute(key: str, ascending: bool, conditions: LoggedModelConditions) -> Term:
    column = conditions.attribute(key)
    if not isinstance(column.type, sa.String):
        return Term(int, ascending, column)
    rank = sa.case((column.is_(None), MISSING), else_=THERE) if key in _NULLABLE else None
    return Term(str, ascending, text_order(column, conditions.postgres), rank)


def _latest(key: str, order: LoggedModelOrder, conditions: LoggedModelConditions) -> Term:
    number = conditions.keys.get(key)
    if number is None:  # no model has it: all are equal
        return Term(float, True, sa.null(), sa.literal(MISSING), fixed=MISSING)
    # A digest without a name is MLflow's: any data set of that digest.
    tests: list[Condition] = []
    if order.dataset_name:
        tests.append(_metric.c.dataset_name == order.dataset_name)
    if order.dataset_digest:
        tests.append(_metric.c.dataset_digest == order.dataset_digest)
    value = (
        sa.select(_metric.c.value)
        .where(_metric.c.model_id == _model.c.uuid, _metric.c.key_id == number, *tests)
        .order_by(_metric.c.time.desc(), _metric.c.step.desc(), _metric.c.id.desc())
        .limit(1)
        .correlate(_model)
        .scalar_subquery()
    )
    return Term(float, order.ascending, value, sa.case((value.is_(None), MISSING), else_=THERE))


def _numbered(comparison: Comparison) -> Comparison:
    """A comparison of a status or experiment id with the numbers that the column holds."""
    given = comparison.value
    if given is None:
        return comparison
    values = given if isinstance(given, tuple) else (given,)
    words = _STATUSES if comparison.field.key == "status" else {}
    numbers = []
    for value in values:
        text = str(value)
        if text.upper() in words:
            numbers.append(words[text.upper()])
        elif isinstance(value, int) or (text.isascii() and text.isdecimal() and len(text) < 19):
            numbers.append(int(value))
        else:
            known = "READY, PENDING, FAILED, or their numbers" if words else "whole numbers"
            raise InvalidParameter(
                f"Invalid filter: {comparison.field.key} is compared with {known}, not with '{text[:100]}'."
            )
    if comparison.operator not in _EXACT:
        raise InvalidParameter(
            f"Invalid filter: {comparison.field.key} cannot be compared by {comparison.operator}; it takes "
            f"{', '.join(_EXACT)}."
        )
    numbered = tuple(numbers) if isinstance(given, tuple) else numbers[0]
    return Comparison(comparison.field, comparison.operator, numbered)


_EXACT = (
    Operator.EQ,
    Operator.NE,
    Operator.IN,
    Operator.NOT_IN,
)
