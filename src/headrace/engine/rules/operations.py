"""The operations on rules, implemented."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.rules.records import DECISIVE, RuleRecords, plain
from headrace.errors import AlreadyExists, Conflict, InvalidParameter, InvalidState, NotFound
from headrace.protocol.operation import Empty
from headrace.protocol.rule_check import parse_rule
from headrace.protocol.rule_spec import RuleSpec
from headrace.protocol.rules import (
    MAX_FIRINGS,
    CreateRule,
    Firing,
    Firings,
    ListFirings,
    ListRules,
    Rule,
    RuleList,
    RuleName,
    RuleResponse,
    Rules,
    UpdateRule,
)

_rule = schema.rule
_state = schema.rule_state
_firing = schema.rule_firing


class RuleOperations(RuleRecords, Rules):
    """`Rules` over tables ``rule``, ``rule_state`` and ``rule_firing``."""

    def create_rule(self, request: CreateRule) -> RuleResponse:
        spec = parse_rule(request.spec, "spec")
        return RuleResponse(rule=self._create_rule(spec, "api"))

    def list_rules(self, request: ListRules) -> RuleList:
        rows = self.connection.execute(sa.select(_rule).order_by(_rule.c.name)).all()
        return RuleList(rules=tuple(self._entities(rows)))

    def get_rule(self, request: RuleName) -> RuleResponse:
        return RuleResponse(rule=self._entities([self._row(request.name)])[0])

    def update_rule(self, request: UpdateRule) -> RuleResponse:
        row = self._changeable(request.name)
        if request.revision is not None and request.revision != row.revision:
            raise Conflict(
                f"Rule '{row.name}' has revision {row.revision} by now, not {request.revision}: read it again, "
                "and change that."
            )
        spec = parse_rule(request.spec, "spec")
        self._replace(row, spec)
        return RuleResponse(rule=self._entities([self._row(spec.name)])[0])

    def delete_rule(self, request: RuleName) -> Empty:
        self._delete(self._changeable(request.name))
        return Empty()

    def enable_rule(self, request: RuleName) -> RuleResponse:
        return self._switch(request.name, True)

    def disable_rule(self, request: RuleName) -> RuleResponse:
        return self._switch(request.name, False)

    def list_firings(self, request: ListFirings) -> Firings:
        if not 1 <= request.limit <= MAX_FIRINGS:
            raise InvalidParameter(f"limit must be from 1 to {MAX_FIRINGS}, got {request.limit}.")
        statement = sa.select(_firing).order_by(_firing.c.number.desc()).limit(request.limit + 1)
        if request.rule:
            statement = statement.where(_firing.c.rule == request.rule)
        if request.run_id:
            statement = statement.where(_firing.c.run_uuid == request.run_id)
        if request.firing:
            statement = statement.where(_firing.c.resolved_time.is_(None), _firing.c.momentary == 0)
        if request.before is not None:
            statement = statement.where(_firing.c.number < request.before)
        rows = self.connection.execute(statement).all()
        shown = rows[: request.limit]
        return Firings(
            firings=tuple(map(_firing_of, shown)),
            next=shown[-1].number if len(rows) > len(shown) else None,
        )

    def sync_file_rules(self, specs: Sequence[RuleSpec]) -> int:
        """Make the rules of a file those of the store that are a file's; how many changed.

        Raises:
            AlreadyExists: A rule of the same name was made through the API. Nothing is changed.
        """
        rows = {row.name: row for row in self.connection.execute(self._locked(sa.select(_rule)))}
        for spec in specs:
            if spec.name in rows and rows[spec.name].origin != "file":
                raise AlreadyExists(
                    f"A rule '{spec.name}' was made through the API already: rename one of them, or delete that "
                    f"one (headrace rules delete {spec.name})."
                )
        changes = 0
        for name, row in rows.items():
            if row.origin == "file" and name not in {spec.name for spec in specs}:
                self._delete(row)
                changes += 1
        for spec in specs:
            if spec.name not in rows:
                self._create_rule(spec, "file")
                changes += 1
            elif json.loads(rows[spec.name].spec) != plain(spec):
                self._replace(rows[spec.name], spec)
                changes += 1
        return changes

    def _create_rule(self, spec: RuleSpec, origin: str) -> Rule:
        document = plain(spec)
        try:
            with self.connection.begin_nested():
                self.connection.execute(
                    _rule.insert().values(
                        name=spec.name, spec=json.dumps(document), origin=origin,
                        enabled=int(spec.enabled), revision=1, created_time=self.now,
                        updated_time=self.now,
                    )
                )  # fmt: skip
        except sa.exc.IntegrityError:
            raise AlreadyExists(
                f"There is a rule '{spec.name}' already; change that one, or take another name."
            ) from None
        self.emit("rule.created", f"rule/{spec.name}", {"after": document})
        return self._entities([self._row(spec.name)])[0]

    def _replace(self, row: Any, spec: RuleSpec) -> None:
        before, after = json.loads(row.spec), plain(spec)
        if before == after:
            return
        try:
            with self.connection.begin_nested():
                self.connection.execute(
                    sa.update(_rule)
                    .where(_rule.c.id == row.id)
                    .values(
                        name=spec.name, spec=json.dumps(after), enabled=int(spec.enabled),
                        revision=row.revision + 1, updated_time=self.now, muted_until=None,
                        muted_reason=None,
                    )
                )  # fmt: skip
        except sa.exc.IntegrityError:
            raise AlreadyExists(f"There is a rule '{spec.name}' already.") from None
        decisive = any(before.get(one) != after.get(one) for one in DECISIVE)
        if decisive or not spec.enabled or spec.name != row.name:
            self._forget(row, "the rule was changed" if spec.enabled else "the rule was disabled")
        self.emit("rule.updated", f"rule/{spec.name}", {"before": before, "after": after})

    def _delete(self, row: Any) -> None:
        self._forget(row, "the rule was deleted")
        self.connection.execute(sa.delete(_rule).where(_rule.c.id == row.id))
        self.emit("rule.deleted", f"rule/{row.name}", {"before": json.loads(row.spec)})

    def _switch(self, name: str, enabled: bool) -> RuleResponse:
        row = self._changeable(name)
        if bool(row.enabled) != enabled or (enabled and row.muted_until is not None):
            spec = msgspec.structs.replace(parse_rule(json.loads(row.spec)), enabled=enabled)
            if bool(row.enabled) == enabled:
                self.connection.execute(
                    sa.update(_rule)
                    .where(_rule.c.id == row.id)
                    .values(muted_until=None, muted_reason=None, revision=row.revision + 1)
                )
                document = plain(spec)
                self.emit("rule.updated", f"rule/{name}", {"before": document, "after": document})
            else:
                self._replace(row, spec)
        return RuleResponse(rule=self._entities([self._row(name)])[0])

    def _forget(self, row: Any, reason: str) -> None:
        """Resolve what fires, and forget what is remembered of a rule's groups."""
        firing = self.connection.execute(
            sa.select(_firing.c.number).where(
                _firing.c.rule == row.name,
                _firing.c.resolved_time.is_(None),
                _firing.c.momentary == 0,
            )
        )
        for number in firing.scalars().all():
            self.resolve_firing(number, self.now, reason)
        self.connection.execute(sa.delete(_state).where(_state.c.rule_id == row.id))

    def _changeable(self, name: str) -> Any:
        row = self._row(name, lock=True)
        if row.origin == "file":
            raise InvalidState(
                f"Rule '{name}' comes from the file that the server was started with (--rules): change it there; "
                "the server reads it again by itself."
            )
        return row

    def _row(self, name: str, *, lock: bool = False) -> Any:
        statement = sa.select(_rule).where(_rule.c.name == name)
        row = self.connection.execute(self._locked(statement) if lock else statement).one_or_none()
        if row is None:
            raise NotFound(
                f"No rule '{name[:100]}'; headrace rules list shows those that there are."
            )
        return row

    def _locked(self, statement: Any) -> Any:
        if self.connection.dialect.name == "sqlite":
            return statement
        return statement.order_by(_rule.c.id).with_for_update()

    def _entities(self, rows: Sequence[Any]) -> list[Rule]:
        names = [row.name for row in rows]
        told: Mapping[str, Any] = {
            row.rule: row
            for row in self.connection.execute(
                sa.select(
                    _firing.c.rule,
                    sa.func.max(_firing.c.time).label("last"),
                    sa.func.sum(
                        sa.case(
                            (_firing.c.resolved_time.is_(None) & (_firing.c.momentary == 0), 1),
                            else_=0,
                        )
                    ).label("firing"),
                )
                .where(_firing.c.rule.in_(names))
                .group_by(_firing.c.rule)
            )
        }
        return [
            Rule(
                name=row.name,
                spec=json.loads(row.spec),
                origin=row.origin,
                enabled=bool(row.enabled),
                revision=row.revision,
                created_time=row.created_time,
                updated_time=row.updated_time,
                firing=int(told[row.name].firing) if row.name in told else 0,
                last_fired=told[row.name].last if row.name in told else None,
                muted_until=row.muted_until
                if row.muted_until is not None and row.muted_until > self.now
                else None,
                muted_reason=(row.muted_reason or "")
                if row.muted_until is not None and row.muted_until > self.now
                else "",
            )
            for row in rows
        ]


def _firing_of(row: Any) -> Firing:
    return Firing(
        number=row.number,
        rule=row.rule,
        group=row.group,
        run_id=row.run_uuid or "",
        experiment_id="" if row.experiment_id is None else str(row.experiment_id),
        severity=row.severity,
        title=row.title,
        text=row.text,
        time=row.time,
        resolved_time=row.resolved_time,
        momentary=bool(row.momentary),
        values=json.loads(row.seen),
        cause=row.cause,
        chain=tuple(json.loads(row.chain)),
        actions=tuple(json.loads(row.actions)),
        outcomes=tuple(json.loads(row.outcomes or "[]")),
    )
