"""Aliases, their history and their guards, implemented."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.registry.assemble import latest_rows, version_entities
from headrace.engine.registry.guarding import (
    DELETED,
    RESTORED,
    GuardedAliases,
    guard_checks,
    move_entity,
)
from headrace.engine.registry.limits import (
    check_alias,
    check_model_name,
    check_new_alias,
    version_number,
)
from headrace.engine.search.paging import Term, after, digest, keys_of, read_token, write_token
from headrace.errors import GuardRefused, InvalidParameter, InvalidState, NotFound
from headrace.protocol.limits import check_key
from headrace.protocol.model_aliases import (
    CHECK_TAG,
    MAX_APPROVALS,
    MAX_CHECKS,
    MAX_PAGE,
    AliasGuard,
    AliasHistoryPage,
    AliasMove,
    Approval,
    ApproveAlias,
    Approved,
    DeleteGuard,
    GetGuards,
    GuardResponse,
    Guards,
    ListAliasHistory,
    ModelAliases,
    MovedAlias,
    RestoreAlias,
    SetGuard,
)
from headrace.protocol.operation import Empty
from headrace.protocol.registered_models import (
    AliasedVersion,
    ModelAlias,
    RegisteredModels,
    SetRegisteredModelAlias,
)

_move = schema.model_alias_move
_guard = schema.model_guard
_approval = schema.model_approval
_NEWEST = (Term(int, False, _move.c.id),)


class AliasOperations(GuardedAliases, RegisteredModels, ModelAliases):
    """The aliases of `RegisteredModels`, and `ModelAliases`.

    Where a method's answer is a `GuardRefused`, the transaction commits, and the caller gets it raised.
    """

    def set_registered_model_alias(self, request: SetRegisteredModelAlias) -> Empty:
        check_model_name(request.name)
        check_new_alias(request.alias)
        model, version = self._model_version(request.name, request.version, lock=True)
        if self._alias_version(model, request.alias) == version.version:
            return Empty()
        moved = self._move_alias(model, request.alias, version)
        return Empty() if isinstance(moved, AliasMove) else _later(moved)

    def delete_registered_model_alias(self, request: ModelAlias) -> Empty:
        check_model_name(request.name)
        check_alias(request.alias)
        model = self._registered_model(request.name, lock=True)
        number = self._alias_version(model, request.alias)
        if number is not None:
            self._refuse_if_guarded(model, "deleted", [request.alias])
            self._drop_alias(model, request.alias, number, DELETED)
        return Empty()

    def get_model_version_by_alias(self, request: ModelAlias) -> AliasedVersion:
        check_model_name(request.name)
        check_alias(request.alias)
        model = self._registered_model(request.name)
        if request.alias.lower() == "latest":
            rows = latest_rows(self, [model.id])
            if not rows:
                raise NotFound(f"Latest version not found for model {model.name}: it has none.")
            row = max(rows, key=lambda one: one.version)
        else:
            number = self._alias_version(model, request.alias)
            if number is None:
                raise InvalidParameter(
                    f"Registered model alias {request.alias} not found. Set it with "
                    "registered-models/alias."
                )
            row = self._version_of(model, number)
        found = version_entities(self, [row], {model.id: model.name})
        return AliasedVersion(model_version=found[0])

    def list_alias_history(self, request: ListAliasHistory) -> AliasHistoryPage:
        if not 1 <= request.max_results <= MAX_PAGE:
            raise InvalidParameter(
                f"Invalid value {request.max_results} for parameter 'max_results': give a number from 1 to "
                f"{MAX_PAGE}."
            )
        if request.alias:
            check_alias(request.alias)
        model = self._registered_model(request.name)
        search = digest("alias history", model.id, request.alias)
        start = read_token(request.page_token, search, _NEWEST)
        statement = sa.select(
            _move,
            *(column for number, term in enumerate(_NEWEST) for column in term.columns(number)),
        ).where(_move.c.model_id == model.id)
        if request.alias:
            statement = statement.where(_move.c.alias == request.alias)
        if start is not None:
            statement = statement.where(after(_NEWEST, start))
        limit = request.max_results
        rows = self.connection.execute(statement.order_by(_move.c.id.desc()).limit(limit + 1)).all()
        more = len(rows) > limit
        return AliasHistoryPage(
            moves=tuple(move_entity(row) for row in rows[:limit]),
            next_page_token=write_token(search, keys_of(rows[limit - 1], 1)) if more else "",
        )

    def restore_alias(self, request: RestoreAlias) -> MovedAlias:
        check_alias(request.alias)
        model = self._registered_model(request.name, lock=True)
        last = self.connection.execute(
            sa.select(_move)
            .where(_move.c.model_id == model.id, _move.c.alias == request.alias)
            .order_by(_move.c.id.desc())
            .limit(1)
        ).one_or_none()
        if last is None:
            raise NotFound(f"The model '{model.name}' never had an alias '{request.alias}'.")
        if last.before is None:
            raise InvalidState(
                f"The alias '{request.alias}' of the model '{model.name}' pointed to nothing before its last "
                "move; delete it instead."
            )
        version = self._version_of(model, last.before)
        moved = self._move_alias(model, request.alias, version, RESTORED)
        return MovedAlias(move=moved) if isinstance(moved, AliasMove) else _later(moved)

    def set_guard(self, request: SetGuard) -> GuardResponse:
        check_new_alias(request.alias)
        checks = tuple(dict.fromkeys(request.checks))
        _check_guard(checks, request.approvals)
        model = self._registered_model(request.name, lock=True)
        old = self._guard(model, request.alias)
        values = {"checks": json.dumps(checks), "approvals": request.approvals}
        if old is None or (guard_checks(old), old.approvals) != (checks, request.approvals):
            values |= {"actor": self.actor, "time": self.now}
            statement = self.insert(_guard).values(model_id=model.id, alias=request.alias, **values)
            self.connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[_guard.c.model_id, _guard.c.alias], set_=values
                )
            )
            self._void_approvals(model, request.alias)
            self._emit_model(
                "registered_model.guard.set",
                model,
                {
                    "alias": request.alias,
                    "before": None if old is None else _asked(guard_checks(old), old.approvals),
                    "after": _asked(checks, request.approvals),
                },
            )
        (guard,) = self._guards(model, request.alias)
        return GuardResponse(guard=guard)

    def get_guards(self, request: GetGuards) -> Guards:
        model = self._registered_model(request.name)
        return Guards(guards=tuple(self._guards(model, request.alias)))

    def delete_guard(self, request: DeleteGuard) -> Empty:
        check_alias(request.alias)
        model = self._registered_model(request.name, lock=True)
        old = self._guard(model, request.alias)
        if old is None:
            raise NotFound(f"The alias '{request.alias}' of the model '{model.name}' has no guard.")
        self.connection.execute(
            sa.delete(_guard).where(_guard.c.model_id == model.id, _guard.c.alias == request.alias)
        )
        self._void_approvals(model, request.alias)
        self._emit_model(
            "registered_model.guard.deleted",
            model,
            {"alias": request.alias, "before": _asked(guard_checks(old), old.approvals)},
        )
        return Empty()

    def approve_alias(self, request: ApproveAlias) -> Approved:
        check_new_alias(request.alias)
        model = self._registered_model(request.name, lock=True)
        version = self._version_of(model, version_number(request.version, request.name))
        guard = self._guard(model, request.alias)
        if guard is None or not guard.approvals:
            raise InvalidParameter(
                f"The alias '{request.alias}' of the model '{model.name}' has no guard that asks for "
                "agreement: set the alias, or let the guard ask for it (set_guard, approvals=2)."
            )
        if not self._person:
            raise GuardRefused(
                "Nobody in particular asks, and an agreement must be somebody's: give a user name."
            )
        if self._alias_version(model, request.alias) == version.version:
            return Approved(moved=True)
        moved = self._move_alias(model, request.alias, version)
        if isinstance(moved, AliasMove):
            return Approved(moved=True, approved_by=moved.approved_by)
        standing = self._standing(model, request.alias, version, agree=False)
        return Approved(
            approved_by=standing.approved_by,
            needed=standing.needed,
            checks=tuple(standing.checks),
        )

    def _guards(self, model: Any, alias: str = "") -> list[AliasGuard]:
        statement = sa.select(_guard).where(_guard.c.model_id == model.id).order_by(_guard.c.alias)
        given = (
            sa.select(_approval)
            .where(_approval.c.model_id == model.id)
            .order_by(_approval.c.version, _approval.c.time, _approval.c.actor)
        )
        if alias:
            statement = statement.where(_guard.c.alias == alias)
        approvals = self.connection.execute(given).all()
        return [
            AliasGuard(
                name=model.name,
                alias=row.alias,
                checks=guard_checks(row),
                approvals=row.approvals,
                actor=row.actor,
                time=row.time,
                given=tuple(
                    Approval(version=str(one.version), actor=one.actor, time=one.time)
                    for one in approvals
                    if one.alias == row.alias
                ),
            )
            for row in self.connection.execute(statement)
        ]


def _later(error: GuardRefused) -> Any:
    """A refusal in the place of an answer: it is raised when what was written is committed."""
    return error


def _asked(checks: tuple[str, ...], approvals: int) -> dict[str, Any]:
    return {"checks": list(checks), "approvals": approvals}


def _check_guard(checks: tuple[str, ...], approvals: int) -> None:
    if len(checks) > MAX_CHECKS:
        raise InvalidParameter(f"A guard has at most {MAX_CHECKS} checks; got {len(checks)}.")
    for name in checks:
        check_key(name, "check")
        check_key(CHECK_TAG + name, "tag")
    if not 0 <= approvals <= MAX_APPROVALS:
        raise InvalidParameter(
            f"Invalid value {approvals} for parameter 'approvals': give a number from 0 to {MAX_APPROVALS}."
        )
    if not checks and not approvals:
        raise InvalidParameter(
            "A guard asks for something: give names of checks, or approvals, or both. delete_guard takes a "
            "guard away."
        )
