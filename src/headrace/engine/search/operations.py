"""Searches, implemented.

A search of runs is carried out experiment by experiment and merged, because within one experiment an
index has the order; see docs/internals/search.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.assemble import experiment_entities, load_runs
from headrace.engine.search import vocabulary
from headrace.engine.search.compile import ExperimentConditions, RunConditions
from headrace.engine.search.ordering import experiment_order, run_order, text_order
from headrace.engine.search.paging import Term, after, digest, keys_of, read_token, write_token
from headrace.engine.search.parse import parse_filter, parse_order
from headrace.engine.search.selection import Group, RunSelection, columns, ordered
from headrace.engine.search.tree import Field, Kind, Stat, fields
from headrace.engine.session import SessionBase
from headrace.entities import ViewType
from headrace.errors import InvalidParameter
from headrace.protocol.experiments import Experiments, ExperimentsPage, SearchExperiments
from headrace.protocol.limits import MAX_SEARCH_RESULTS
from headrace.protocol.runs import Keys as FoundKeys
from headrace.protocol.runs import Runs, RunsPage, SearchKeys, SearchRuns

#: Up to so many experiments are searched one by one, each in the order of its index.
MAX_SEPARATE = 16

_EXPERIMENT_ID = re.compile(r"[+-]?[0-9]{1,30}")
_MAX_ID = 2**63
_KINDS = {"metric": schema.KIND_METRIC, "param": schema.KIND_PARAM, "tag": schema.KIND_TAG}
_CHUNK = 5000

_KEYED = (Kind.METRIC, Kind.PARAM, Kind.TAG)


class SearchOperations(SessionBase, Experiments, Runs):
    """The searches of `Experiments` and `Runs`."""

    def search_experiments(self, request: SearchExperiments) -> ExperimentsPage:
        check_max_results(request.max_results)
        postgres = self._postgres
        node = parse_filter(request.filter, vocabulary.EXPERIMENTS)
        terms = experiment_order(
            parse_order(request.order_by, vocabulary.EXPERIMENTS), postgres=postgres
        )
        search = digest("experiments", request.filter, request.order_by, request.view_type)
        start = read_token(request.page_token, search, terms)
        table = schema.experiment
        statement = sa.select(table, *columns(terms))
        if request.view_type == ViewType.ACTIVE_ONLY:
            statement = statement.where(table.c.deleted_time.is_(None))
        elif request.view_type == ViewType.DELETED_ONLY:
            statement = statement.where(table.c.deleted_time.is_not(None))
        if node is not None:
            statement = statement.where(ExperimentConditions(postgres=postgres).condition(node))
        if start is not None:
            statement = statement.where(after(terms, start))
        limit = request.max_results
        rows = list(self.connection.execute(ordered(statement, terms).limit(limit + 1)))
        return ExperimentsPage(
            experiments=tuple(experiment_entities(self, rows[:limit])),
            next_page_token=next_token(search, rows, limit, terms),
        )

    def search_runs(self, request: SearchRuns) -> RunsPage:
        check_max_results(request.max_results)
        node = parse_filter(request.filter)
        orders = parse_order(request.order_by)
        ids = experiment_ids(request.experiment_ids)
        groups = self._groups(ids, request.run_view_type)
        searched = tuple(number for group in groups for number in group.experiments)
        named = fields(node) | {order.field for order in orders}
        resolved = self._resolve({field for field in named if field.loose}, searched)
        names = {resolved.get(field, field).key for field in named if field.kind in _KEYED}
        conditions = RunConditions(
            postgres=self._postgres,
            keys=self.keys.lookup(names),
            resolved=resolved,
            artifact_root=self.artifact_root,
        )
        order = run_order(orders, conditions)
        search = digest(
            "runs",
            request.filter,
            request.order_by,
            request.run_view_type,
            sorted(set(ids)),
            sorted(field.key for field in resolved.values()),
        )
        start = read_token(request.page_token, search, order.terms)
        first = conditions.resolve(orders[0].field) if orders else None
        limit = request.max_results
        rows = RunSelection(self.connection, conditions, node, order, first).page(
            groups, start, limit + 1
        )
        return RunsPage(
            runs=tuple(load_runs(self, rows[:limit])),
            next_page_token=next_token(search, rows, limit, order.terms),
        )

    def search_keys(self, request: SearchKeys) -> FoundKeys:
        check_max_results(request.max_results)
        kind = _KINDS.get(request.kind)
        if kind is None:
            raise InvalidParameter(
                f"Invalid kind '{request.kind[:100]}': give one of {', '.join(_KINDS)}."
            )
        ids = experiment_ids(request.experiment_ids)
        if "\0" in request.contains:
            return FoundKeys()
        place = sa.func.strpos if self._postgres else sa.func.instr
        link, table = schema.experiment_key, schema.key
        names: set[str] = set()
        for start in range(0, len(ids), _CHUNK):
            used = sa.select(link.c.key_id).where(
                link.c.experiment_id.in_(ids[start : start + _CHUNK]), link.c.kind == kind
            )
            name = text_order(table.c.name, self._postgres)
            statement = sa.select(table.c.name).where(table.c.id.in_(used)).order_by(name)
            if request.contains:
                # Both lowered by the database: SQLite's and Python's lower() differ beyond ASCII.
                part = sa.func.lower(request.contains)
                statement = statement.where(place(sa.func.lower(table.c.name), part) > 0)
            names.update(self.connection.execute(statement.limit(request.max_results)).scalars())
        return FoundKeys(keys=tuple(sorted(names)[: request.max_results]))

    @property
    def _postgres(self) -> bool:
        return self.connection.dialect.name == "postgresql"

    def _groups(self, ids: Sequence[int], view: ViewType) -> list[Group]:
        """The experiments that exist, as they are to be searched for the view."""
        table = schema.experiment
        active: list[int] = []
        deleted: list[int] = []
        for start in range(0, len(ids), _CHUNK):
            for number, trashed in self.connection.execute(
                sa.select(table.c.id, table.c.deleted_time.is_not(None)).where(
                    table.c.id.in_(ids[start : start + _CHUNK])
                )
            ):
                (deleted if trashed else active).append(number)
        groups = []
        if view == ViewType.ALL:
            groups.append(Group((*active, *deleted), None))
        elif view == ViewType.ACTIVE_ONLY:
            groups.append(Group(tuple(active), False))
        else:
            groups += [Group(tuple(active), True), Group(tuple(deleted), None)]
        groups = [group for group in groups if group.experiments]
        few = sum(len(group.experiments) for group in groups) <= MAX_SEPARATE
        size = 1 if few else _CHUNK  # a statement takes only so many values
        return [
            Group(group.experiments[start : start + size], group.trashed)
            for group in groups
            for start in range(0, len(group.experiments), size)
        ]

    def _resolve(self, loose: set[Field], experiments: Sequence[int]) -> dict[Field, Field]:
        """What ``metrics.a.min`` means: the metric of that name where there is one, else a minimum."""
        if not loose:
            return {}
        numbers = self.keys.lookup(field.key for field in loose)
        used: set[int] = set()
        table = schema.experiment_key
        for start in range(0, len(experiments), _CHUNK) if numbers else ():
            used.update(
                self.connection.execute(
                    sa.select(table.c.key_id).where(
                        table.c.experiment_id.in_(experiments[start : start + _CHUNK]),
                        table.c.kind == schema.KIND_METRIC,
                        table.c.key_id.in_(list(numbers.values())),
                    )
                ).scalars()
            )
        resolved = {}
        for field in loose:
            name, _dot, stat = field.key.rpartition(".")
            exact = numbers.get(field.key) in used
            resolved[field] = Field(
                Kind.METRIC, field.key if exact else name, Stat.LAST if exact else Stat(stat)
            )
        return resolved


def next_token(search: str, rows: Sequence[Any], limit: int, terms: Sequence[Term]) -> str:
    """The token of the page after `limit` rows, empty when there is none."""
    if len(rows) <= limit:
        return ""
    return write_token(search, keys_of(rows[limit - 1], len(terms)))


def check_max_results(count: int) -> None:
    if not 1 <= count <= MAX_SEARCH_RESULTS:
        raise InvalidParameter(
            f"Invalid value {count} for parameter 'max_results': "
            f"give a number from 1 to {MAX_SEARCH_RESULTS}."
        )


def experiment_ids(given: Sequence[str]) -> list[int]:
    """Ids as numbers; numbers that no experiment can have are left out."""
    ids: dict[int, None] = {}
    for text in given:
        if not _EXPERIMENT_ID.fullmatch(text):
            raise InvalidParameter(
                f"Invalid experiment id {text[:100]!r}: experiment ids are whole numbers."
            )
        if 0 <= (number := int(text)) < _MAX_ID:
            ids[number] = None
    return list(ids)
