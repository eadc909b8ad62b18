"""What the evaluator writes down, and what it finds again: states, firings, its place in the log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.events.cursors import cursor, move_cursor
from headrace.engine.rules.compiled import CompiledRule
from headrace.engine.rules.evaluator import Key, Muted, Outcome
from headrace.engine.rules.machine import Fired, GroupState
from headrace.engine.rules.rendering import Rendered, rendered
from headrace.engine.session import SessionBase
from headrace.protocol.rule_check import parse_rule
from headrace.protocol.rule_spec import RuleSpec, spec_document

#: The evaluator's name among the readers of the log.
CURSOR = "rules"
#: What of a rule decides when it fires: when one of these changes, what it remembers means nothing.
DECISIVE = ("when", "within", "for", "scope", "group_by", "resolve")
_PART = 500

_rule = schema.rule
_state = schema.rule_state
_firing = schema.rule_firing


class Record(NamedTuple):
    """What came of a while of evaluation.

    Attributes:
        outcomes: In their order.
        states: Groups to be written.
        gone: Groups to be forgotten.
        seq: Number of the last event that was seen; None when none was.
        experiments: Names by number, for titles.
        rules: By name those that were evaluated.
    """

    outcomes: Sequence[Outcome | Muted]
    states: Mapping[Key, GroupState]
    gone: Sequence[Key]
    seq: int | None
    experiments: Mapping[int, str]
    rules: Mapping[str, CompiledRule]


class Pending(NamedTuple):
    """A firing whose actions are to be carried out."""

    number: int
    rule: str
    group: str
    run_id: str
    experiment_id: int | None
    severity: str
    title: str
    text: str
    time: int
    values: dict[str, Any]
    chain: tuple[str, ...]
    actions: list[dict[str, Any]]


class Written(NamedTuple):
    """What a `Record` became.

    Attributes:
        firing: Numbers of the firings that groups are in now.
        pending: Firings whose actions are to be carried out.
    """

    firing: dict[Key, int]
    pending: list[Pending]


class Done(NamedTuple):
    """What came of the actions of a firing."""

    firing: Pending
    outcomes: list[dict[str, Any]]


class Watched(NamedTuple):
    """What an evaluator begins with."""

    rules: list[CompiledRule]
    muted: dict[str, int]
    groups: dict[Key, GroupState]
    experiments: dict[int, str]
    seq: int | None


class RuleRecords(SessionBase):
    """The evaluator's side of the tables ``rule_…``: called by it, and part of no protocol."""

    def watched_rules(self, known: Mapping[str, CompiledRule] | None = None) -> Watched:
        """The rules that are enabled, and all that is remembered of their groups.

        Args:
            known: Rules by name that need not be made anew if they did not change.
        """
        rules, muted, names = [], {}, {}
        for row in self.connection.execute(sa.select(_rule).where(_rule.c.enabled == 1)):
            same = (known or {}).get(row.name)
            if same is None or (same.revision, same.created) != (row.revision, row.updated_time):
                same = compiled(row)
            rules.append(same)
            names[row.id] = row.name
            if row.muted_until is not None and row.muted_until > self.now:
                muted[row.name] = row.muted_until
        groups = {
            (names[row.rule_id], row.group): decode_state(row.state)
            for row in self.connection.execute(sa.select(_state))
            if row.rule_id in names
        }
        experiment = schema.experiment.c
        found = self.connection.execute(sa.select(experiment.id, experiment.name))
        experiments: dict[int, str] = {row.id: row.name for row in found}
        return Watched(rules, muted, groups, experiments, cursor(self.connection, CURSOR))

    def record_rules(self, record: Record) -> Written:
        """Write what came of a while of evaluation.

        Of rules that were deleted meanwhile, or fire at other things by now, nothing is written: what was
        remembered of them was forgotten, and a state means nothing to another condition.
        """
        names = {one.rule.name for one in record.outcomes}
        names |= {name for name, _ in (*record.states, *record.gone)}
        rules = {
            name: row
            for name, row in self._rules(names).items()
            if name in record.rules and _same(row, record.rules[name])
        }
        now: dict[Key, int] = {}
        pending: list[Pending] = []
        for one in record.outcomes:
            row = rules.get(one.rule.name)
            if row is None:
                continue
            self.actor = f"rule:{row.name}"
            if type(one) is Muted:
                self._mute(row.id, one)
            elif type(one) is Outcome and type(one.change) is Fired:
                fired = self._fire(one, record.experiments)
                now[one.rule.name, one.group] = fired.number
                pending.append(fired)
            elif type(one) is Outcome:
                number = one.firing or now.get((one.rule.name, one.group), 0)
                self.resolve_firing(number, one.change.time, one.change.reason)  # type: ignore[union-attr]
        self._keep(record, rules, now)
        if record.seq is not None:
            move_cursor(self.connection, CURSOR, record.seq)
        return Written(now, pending)

    def pending_firings(self, _: object = None) -> list[Pending]:
        """Firings whose actions were not carried out, or not noted: of a process that was killed."""
        rows = self.connection.execute(
            sa.select(_firing).where(_firing.c.outcomes.is_(None)).order_by(_firing.c.number)
        )
        return [
            Pending(
                row.number, row.rule, row.group, row.run_uuid or "", row.experiment_id, row.severity,
                row.title, row.text, row.time, json.loads(row.seen), tuple(json.loads(row.chain)),
                json.loads(row.actions),
            )
            for row in rows
        ]  # fmt: skip

    def record_actions(self, done: Sequence[Done]) -> None:
        """Write what came of actions, and an event for each."""
        for one in done:
            firing = one.firing
            changed = self.connection.execute(
                sa.update(_firing)
                .where(_firing.c.number == firing.number, _firing.c.outcomes.is_(None))
                .values(outcomes=json.dumps(one.outcomes))
            ).rowcount
            if not changed:
                continue  # somebody else did it, too
            self.actor = f"rule:{firing.rule}"
            for outcome in one.outcomes:
                kind = "rule.action.done" if outcome["done"] else "rule.action.failed"
                data: dict[str, Any] = {
                    "rule": firing.rule, "firing": firing.number, "action": outcome["action"],
                    **{name: outcome[name] for name in ("detail", "error") if name in outcome},
                    "chain": firing.chain,
                }  # fmt: skip
                self.emit(kind, f"rule/{firing.rule}", data, firing.experiment_id)

    def resolve_firing(self, number: int, time: int, reason: str) -> None:
        """Note that a firing is over; nothing happens when it was already."""
        row = self.connection.execute(
            sa.update(_firing)
            .where(_firing.c.number == number, _firing.c.resolved_time.is_(None))
            .values(resolved_time=time)
            .returning(*_firing.c)
        ).one_or_none()
        if row is None:
            return
        data = {
            "rule": row.rule, "group": row.group, "severity": row.severity, "title": row.title,
            "text": row.text, "values": json.loads(row.seen), "firing": number,
            "run_id": row.run_uuid, "experiment_id": _text(row.experiment_id),
            "notify": [name for one in json.loads(row.actions) for name in one.get("notify", ())],
            "cause": row.cause, "chain": json.loads(row.chain), "reason": reason,
            "duration": max(time - row.time, 0),
        }  # fmt: skip
        self.emit("rule.resolved", f"rule/{row.rule}", data, row.experiment_id)

    def _rules(self, names: Iterable[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        wanted = sorted(names)
        for start in range(0, len(wanted), _PART):
            part = wanted[start : start + _PART]
            statement = sa.select(_rule).where(_rule.c.name.in_(part))
            if self.connection.dialect.name != "sqlite":
                # Who deletes or changes a rule resolves what it finds firing: it must find this.
                statement = statement.order_by(_rule.c.id).with_for_update(
                    key_share=True, read=True
                )
            found.update((row.name, row) for row in self.connection.execute(statement))
        return found

    def _fire(self, outcome: Outcome, experiments: Mapping[int, str]) -> Pending:
        said: Rendered = rendered(outcome, experiments)
        change, spec = outcome.change, outcome.rule.spec
        assert type(change) is Fired
        row = {
            "rule": spec.name, "group": outcome.group, "run_uuid": said.run_id or None,
            "experiment_id": said.experiment_id, "severity": spec.severity, "title": said.title,
            "text": said.text, "time": change.time, "momentary": int(change.momentary),
            "seen": json.dumps(said.values), "cause": change.hit.cause,
            "chain": json.dumps(outcome.chain), "actions": json.dumps(said.actions),
            "outcomes": None if said.actions else "[]",
        }  # fmt: skip
        number = self.connection.execute(
            _firing.insert().values(row).returning(_firing.c.number)
        ).scalar_one()
        self.emit(
            "rule.fired",
            f"rule/{spec.name}",
            {
                "rule": spec.name, "group": outcome.group, "severity": spec.severity,
                "title": said.title, "text": said.text, "values": said.values, "firing": number,
                "run_id": said.run_id or None, "experiment_id": _text(said.experiment_id),
                "notify": said.notify, "cause": change.hit.cause, "chain": outcome.chain,
                "momentary": change.momentary,
            },
            said.experiment_id,
        )  # fmt: skip
        return Pending(
            number, spec.name, outcome.group, said.run_id, said.experiment_id, spec.severity, said.title,
            said.text, change.time, said.values, outcome.chain, said.actions,
        )  # fmt: skip

    def _mute(self, rule_id: int, muted: Muted) -> None:
        self.connection.execute(
            sa.update(_rule)
            .where(_rule.c.id == rule_id)
            .values(muted_until=muted.until, muted_reason=muted.reason)
        )
        self.emit(
            "rule.muted",
            f"rule/{muted.rule.name}",
            {"rule": muted.rule.name, "reason": muted.reason, "until": muted.until},
        )

    def _keep(self, record: Record, rules: Mapping[str, Any], now: Mapping[Key, int]) -> None:
        rows = []
        for (name, group), state in record.states.items():
            if name in rules:
                if state.phase == "firing" and (name, group) in now:
                    state = msgspec.structs.replace(state, firing=now[name, group])
                rows.append(
                    {
                        "rule_id": rules[name].id, "group": group, "phase": state.phase,
                        "since": state.since, "last_fired": state.last_fired,
                        "state": encode_state(state),
                    }
                )  # fmt: skip
        if rows:
            rows.sort(key=lambda row: (row["rule_id"], row["group"]))
            statement = self.insert(_state)
            fields = ("phase", "since", "last_fired", "state")
            self.connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[_state.c.rule_id, _state.c.group],
                    set_={name: statement.excluded[name] for name in fields},
                ),
                rows,
            )
        for name, group in record.gone:
            if name in rules:
                self.connection.execute(
                    sa.delete(_state).where(
                        _state.c.rule_id == rules[name].id, _state.c.group == group
                    )
                )


def plain(spec: RuleSpec) -> dict[str, Any]:
    """A rule's document as JSON gives it back."""
    found: dict[str, Any] = json.loads(json.dumps(spec_document(spec)))
    return found


def _same(row: Any, rule: CompiledRule) -> bool:
    """Whether the rule of a row still fires at what a rule was evaluated for."""
    if row.revision == rule.revision:
        return True
    before, after = plain(rule.spec), json.loads(row.spec)
    return bool(row.enabled) and all(before.get(one) == after.get(one) for one in DECISIVE)


def compiled(row: Any) -> CompiledRule:
    """The rule of a row of the table ``rule``."""
    spec = parse_rule(json.loads(row.spec), f"rule '{row.name}'")
    return CompiledRule(spec, created=row.updated_time, revision=row.revision)


def encode_state(state: GroupState) -> str:
    """A state as text. (Python's JSON, because states hold NaN and infinities.)"""
    return json.dumps(msgspec.to_builtins(state), separators=(",", ":"))


def decode_state(text: str) -> GroupState:
    """The inverse of `encode_state`."""
    return msgspec.convert(json.loads(text), GroupState)


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
