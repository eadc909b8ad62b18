"""What MLflow has no words for about aliases: their history, the way back, and guards; declarations.

A guard is on an alias of a model. While it is there the alias moves only to versions that have what the
guard asks for:

- **checks**: each is the version's tag ``headrace.check.<name>``, which must be ``passed``. It is a tag so
  that every client of MLflow sees and sets it. Tags of that form that are given when a version is
  created, by copying too, are left out: a check is set on the version itself, and the event log says by
  whom;
- **approvals**: so many different people who agree. Who moves the alias agrees by that. Somebody without a
  name counts as nobody. An agreement is for the next move only: when the alias moves, or the guard is
  changed, those that were given are void.

It holds for every move, going back included, and for every client. A guarded alias cannot be deleted,
nor its version, and its model can neither be deleted nor renamed, because then another model of the same
name could have the alias without its guard. Who wants that deletes the guard first, which is an event and needs
a permission of its own. What a guard does not do: it does not see what a check did, so it protects from
haste and not from somebody who sets tags to what is not true.
"""

from __future__ import annotations

import msgspec

from headrace.entities import Entity
from headrace.protocol.limits import Int64, Required
from headrace.protocol.operation import (
    NATIVE_PREFIXES,
    Empty,
    Interface,
    Request,
    Response,
    operation,
)

#: A check is the version's tag of this and the check's name; it is passed when the value is `PASSED`.
CHECK_TAG = "headrace.check."
PASSED = "passed"
MAX_CHECKS = 100
MAX_APPROVALS = 100
#: Moves of one page at most, and unless the request says otherwise.
MAX_PAGE, PAGE = 1000, 100

_READ, _GUARD = "registered_model:read", "model_guard:edit"


class AliasMove(Entity, frozen=True, kw_only=True):
    """One move of an alias.

    Attributes:
        time: Milliseconds since the Unix epoch.
        actor: Who moved it, empty when unknown.
        action: ``set``, ``restored``, ``deleted``, or ``version deleted``.
        before: Number of the version that it pointed to, absent when to none.
        after: Number of the version that it points to since, absent when to none.
        approved_by: Who had agreed, where the guard asked for it.
    """

    alias: str
    time: int
    actor: str = ""
    action: str
    before: str | None = None
    after: str | None = None
    approved_by: tuple[str, ...] = ()


class ListAliasHistory(Request, frozen=True, kw_only=True):
    """Attributes:
    alias: Only this alias's; default those of all.
    max_results: From 1 to 1000.
    """

    name: Required
    alias: str = ""
    max_results: Int64 = PAGE
    page_token: str = ""


class AliasHistoryPage(Response, frozen=True, kw_only=True):
    """Newest first."""

    moves: tuple[AliasMove, ...] = ()
    next_page_token: str = ""


class RestoreAlias(Request, frozen=True, kw_only=True):
    name: Required
    alias: Required


class MovedAlias(Response, frozen=True, kw_only=True):
    move: AliasMove


class Approval(Entity, frozen=True, kw_only=True):
    """That somebody agrees that an alias moves to a version."""

    version: str
    actor: str
    time: int


class AliasGuard(Entity, frozen=True, kw_only=True):
    """What a version must have before an alias may point to it.

    Attributes:
        checks: Names of checks that must be passed.
        approvals: How many different people must agree.
        actor: Who set the guard, empty when unknown.
        time: When, milliseconds since the Unix epoch.
        given: Who agrees to which version so far.
    """

    name: str
    alias: str
    checks: tuple[str, ...] = ()
    approvals: int = 0
    actor: str = ""
    time: int
    given: tuple[Approval, ...] = ()


class SetGuard(Request, frozen=True, kw_only=True):
    """Attributes:
    alias: It need not exist yet.
    checks: At most 100, each named as a tag is.
    approvals: From 0 to 100. A guard asks for at least one thing.
    """

    name: Required
    alias: Required
    checks: tuple[str, ...] = ()
    approvals: Int64 = 0


class GuardResponse(Response, frozen=True, kw_only=True):
    guard: AliasGuard


class GetGuards(Request, frozen=True, kw_only=True):
    name: Required
    alias: str = ""


class Guards(Response, frozen=True, kw_only=True):
    guards: tuple[AliasGuard, ...] = ()


class DeleteGuard(Request, frozen=True, kw_only=True):
    name: Required
    alias: Required


class ApproveAlias(Request, frozen=True, kw_only=True):
    name: Required
    alias: Required
    version: Required


class Approved(Response, frozen=True, kw_only=True):
    """What came of an agreement.

    Attributes:
        moved: Whether the alias points to the version now.
        approved_by: Who agrees.
        needed: How many more people must agree.
        checks: Names of checks that are missing or failed.
    """

    moved: bool = False
    approved_by: tuple[str, ...] = ()
    needed: int = 0
    checks: tuple[str, ...] = msgspec.field(default=())


class ModelAliases(Interface):
    """History and guards of aliases. Every method raises `NotFound` for a model that does not exist."""

    @operation(
        "GET",
        "/registered-models/alias-history",
        permission=_READ,
        prefixes=NATIVE_PREFIXES,
        reads=True,
    )
    def list_alias_history(self, request: ListAliasHistory) -> AliasHistoryPage:
        """Who moved an alias from where to where, and when."""
        raise NotImplementedError

    @operation(
        "POST",
        "/registered-models/alias/restore",
        permission="model_alias:edit",
        prefixes=NATIVE_PREFIXES,
    )
    def restore_alias(self, request: RestoreAlias) -> MovedAlias:
        """Let an alias point to where it did before its last move; a deleted one too. Twice is undone.

        Raises:
            NotFound: It never was, or that version is deleted.
            InvalidState: It pointed to nothing before.
            GuardRefused: It is guarded, and the version lacks checks or agreement.
        """
        raise NotImplementedError

    @operation("POST", "/registered-models/guards/set", permission=_GUARD, prefixes=NATIVE_PREFIXES)
    def set_guard(self, request: SetGuard) -> GuardResponse:
        """Guard an alias, or change its guard. Where it points now stays."""
        raise NotImplementedError

    @operation(
        "GET", "/registered-models/guards", permission=_READ, prefixes=NATIVE_PREFIXES, reads=True
    )
    def get_guards(self, request: GetGuards) -> Guards:
        """The guards of a model's aliases, by alias."""
        raise NotImplementedError

    @operation(
        "POST", "/registered-models/guards/delete", permission=_GUARD, prefixes=NATIVE_PREFIXES
    )
    def delete_guard(self, request: DeleteGuard) -> Empty:
        """Guard an alias no more.

        Raises:
            NotFound: It is not guarded.
        """
        raise NotImplementedError

    @operation(
        "POST",
        "/registered-models/alias/approve",
        permission="model_alias:edit",
        prefixes=NATIVE_PREFIXES,
    )
    def approve_alias(self, request: ApproveAlias) -> Approved:
        """Agree that an alias moves to a version; when enough agree and the checks are passed, it moves.

        Raises:
            InvalidParameter: Nobody's agreement is asked for there.
            GuardRefused: Nobody asks: the caller has no name.
        """
        raise NotImplementedError
