"""Moves of aliases: the one place where an alias comes to point elsewhere, and where guards are asked.

`headrace.protocol.model_aliases` says what a guard is.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.registry.base import RegistryBase
from headrace.engine.registry.limits import MAX_ACTOR
from headrace.errors import GuardRefused
from headrace.protocol.model_aliases import CHECK_TAG, PASSED, AliasMove

_alias = schema.model_alias
_move = schema.model_alias_move
_guard = schema.model_guard
_approval = schema.model_approval
_names = msgspec.json.Decoder(tuple[str, ...])

#: What the actor begins with when a rule acts; no user name has a colon.
_RULE = "rule:"

#: Values of `AliasMove.action`.
SET, RESTORED, DELETED, VERSION_DELETED = "set", "restored", "deleted", "version deleted"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a guard has to say to the move of its alias to a version.

    Attributes:
        checks: The checks that are not passed, each with the value that its tag has, if it is there.
        approved_by: Who agrees.
        asked: How many must agree.
    """

    checks: dict[str, str | None] = {}
    approved_by: tuple[str, ...] = ()
    asked: int = 0

    @property
    def needed(self) -> int:
        """How many more people must agree."""
        return max(0, self.asked - len(self.approved_by))

    @property
    def passes(self) -> bool:
        """Whether the alias may move."""
        return not self.checks and not self.needed


class GuardedAliases(RegistryBase):
    """Aliases, guards, and the history. The callers hold the model's row."""

    @property
    def _person(self) -> str:
        """Who asks; empty when nobody has said who he is, and for rules, which are nobody."""
        name = self.actor.strip()
        return "" if name.startswith(_RULE) else name

    def _alias_version(self, model: Any, alias: str) -> int | None:
        """Number of the version that an alias points to."""
        return self.connection.execute(
            sa.select(_alias.c.version).where(
                _alias.c.model_id == model.id, _alias.c.alias == alias
            )
        ).scalar()

    def _move_alias(
        self, model: Any, alias: str, version: Any, action: str = SET
    ) -> AliasMove | GuardRefused:
        """Let an alias point to a version, or say why it may not.

        A refusal is returned and not raised: the caller's agreement, which is written, has to stay.
        """
        standing = self._standing(model, alias, version, agree=True)
        if not standing.passes:
            return refusal(model.name, alias, version.version, standing, self._person)
        before = self._alias_version(model, alias)
        statement = self.insert(_alias).values(
            model_id=model.id, alias=alias, version=version.version
        )
        self.connection.execute(
            statement.on_conflict_do_update(
                index_elements=[_alias.c.model_id, _alias.c.alias],
                set_={"version": statement.excluded.version},
            )
        )
        approved_by = standing.approved_by if standing.asked else ()
        move = self._note_move(model, alias, before, version.version, action, approved_by)
        self._emit_version(
            "model_version.alias.created",
            model,
            version.version,
            {
                "alias": alias,
                "before": move.before,
                "after": move.after,
                "action": action,
                "approved_by": list(approved_by),
            },
        )
        return move

    def _drop_alias(self, model: Any, alias: str, number: int, action: str) -> None:
        """Take an alias away from the version that it points to."""
        self.connection.execute(
            sa.delete(_alias).where(_alias.c.model_id == model.id, _alias.c.alias == alias)
        )
        self._note_move(model, alias, number, None, action)
        self._emit_version(
            "model_version.alias.deleted", model, number, {"alias": alias, "action": action}
        )

    def _note_move(
        self,
        model: Any,
        alias: str,
        before: int | None,
        after: int | None,
        action: str,
        approved_by: Sequence[str] = (),
    ) -> AliasMove:
        """Write a move into the history. What was agreed to was agreed to before it, and is void."""
        self._void_approvals(model, alias)
        row = self.connection.execute(
            _move.insert().returning(*_move.c),
            {
                "model_id": model.id,
                "alias": alias,
                "time": self.now,
                "actor": self.actor,
                "action": action,
                "before": before,
                "after": after,
                "approved_by": json.dumps(list(approved_by)),
            },
        ).one()
        return move_entity(row)

    def _void_approvals(self, model: Any, alias: str) -> None:
        self.connection.execute(
            sa.delete(_approval).where(_approval.c.model_id == model.id, _approval.c.alias == alias)
        )

    def _guard(self, model: Any, alias: str) -> Any:
        """The row of an alias's guard, None when it has none."""
        return self.connection.execute(
            sa.select(_guard).where(_guard.c.model_id == model.id, _guard.c.alias == alias)
        ).one_or_none()

    def _standing(self, model: Any, alias: str, version: Any, *, agree: bool) -> Standing:
        """What the guard of an alias says to its move to a version.

        Args:
            agree: Write down, first, that the caller agrees, where that is asked for.
        """
        guard = self._guard(model, alias)
        if guard is None:
            return Standing()
        checks = _names.decode(guard.checks)
        failing = self._failing(version, checks) if checks else {}
        if not guard.approvals:
            return Standing(checks=failing)
        if agree and self._person:
            self._agree(model, alias, version)
        agreed = self._agreed(model, alias, version)
        return Standing(checks=failing, approved_by=agreed, asked=guard.approvals)

    def _failing(self, version: Any, checks: Sequence[str]) -> dict[str, str | None]:
        table = schema.model_version_tag
        found = self.connection.execute(
            sa.select(table.c.key, table.c.value).where(
                table.c.version_id == version.id,
                table.c.key.in_([CHECK_TAG + name for name in checks]),
            )
        )
        values: dict[str, str] = {key: value for key, value in found}  # noqa: C416 - rows are no pairs
        return {
            name: values.get(CHECK_TAG + name)
            for name in checks
            if values.get(CHECK_TAG + name) != PASSED
        }

    def _agree(self, model: Any, alias: str, version: Any) -> None:
        person = self._person
        if len(person) > MAX_ACTOR:
            raise GuardRefused(f"A name of over {MAX_ACTOR} characters cannot agree to anything.")
        if _same(person) in map(_same, self._agreed(model, alias, version)):
            return
        self.connection.execute(
            _approval.insert(),
            {
                "model_id": model.id,
                "alias": alias,
                "version": version.version,
                "actor": person,
                "time": self.now,
            },
        )
        self._emit_version("model_version.alias.approved", model, version.version, {"alias": alias})

    def _agreed(self, model: Any, alias: str, version: Any) -> tuple[str, ...]:
        """Who agrees that an alias moves to a version."""
        statement = (
            sa.select(_approval.c.actor)
            .where(
                _approval.c.model_id == model.id,
                _approval.c.alias == alias,
                _approval.c.version == version.version,
            )
            .order_by(_approval.c.time, _approval.c.actor)
        )
        return tuple(self.connection.execute(statement).scalars())

    def _refuse_if_guarded(self, model: Any, what: str, aliases: Sequence[str] = ()) -> None:
        """Refuse what would undo a guard of a model.

        Args:
            what: What would be done to it.
            aliases: Only guards of these count; empty: all of the model.
        """
        statement = sa.select(_guard.c.alias).where(_guard.c.model_id == model.id)
        if aliases:
            statement = statement.where(_guard.c.alias.in_(aliases))
        guarded = list(self.connection.execute(statement.order_by(_guard.c.alias)).scalars())
        if guarded:
            names = ", ".join(f"'{one}'" for one in guarded[:10])
            raise GuardRefused(
                f"It cannot be {what}: the alias {names} of the model '{model.name}' is guarded. Whoever "
                "may do so deletes the guard first (delete_guard)."
            )


def _same(name: str) -> str:
    """What two spellings of one person's name have in common."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def move_entity(row: Any) -> AliasMove:
    """A row of ``model_alias_move`` as an entity."""
    return AliasMove(
        alias=row.alias,
        time=row.time,
        actor=row.actor,
        action=row.action,
        before=None if row.before is None else str(row.before),
        after=None if row.after is None else str(row.after),
        approved_by=_names.decode(row.approved_by),
    )


def guard_checks(row: Any) -> tuple[str, ...]:
    """The names of checks of a row of ``model_guard``."""
    return _names.decode(row.checks)


def refusal(name: str, alias: str, number: int, standing: Standing, person: str) -> GuardRefused:
    """The error of a move that a guard does not allow; it says what is missing and how to give it."""
    parts = []
    if standing.checks:
        told = ", ".join(
            f"'{check}' " + ("is not set" if value is None else f"is '{value[:60]}'")
            for check, value in standing.checks.items()
        )
        first = next(iter(standing.checks))
        parts.append(
            f"of its checks, {told}. A check is passed when the version's tag has that value: "
            f"set_model_version_tag('{name}', '{number}', '{CHECK_TAG}{first}', '{PASSED}')"
        )
    if standing.needed:
        agreed = ", ".join(standing.approved_by) or "nobody"
        nobody = "" if person else " You have no name here, so you cannot be counted: log in."
        parts.append(
            f"{standing.needed} more must agree, different people, each by setting the alias or by "
            f"approve_alias('{name}', '{alias}', '{number}'); so far agree: {agreed}.{nobody}".rstrip(
                "."
            )
        )
    return GuardRefused(
        f"The alias '{alias}' of the model '{name}' is guarded and does not move to version {number}: "
        + "; and ".join(parts)
        + "."
    )
