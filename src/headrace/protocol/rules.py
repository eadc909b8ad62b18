"""Rules, "when … then …": declarations.

A rule watches the event log, metrics, console output and silence, and *fires* for a group (a run, an
experiment, or all as one) when its condition comes true. A firing is recorded with what came of its
actions, is an event (``rule.fired``), and where that makes sense ends with another (``rule.resolved``).

`headrace.protocol.rule_spec` is the document that a user writes. A rule comes from the API, or from the
file that the server was started with; the API changes only its own.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.protocol.limits import Int64, Millis, Required
from headrace.protocol.operation import (
    NATIVE_PREFIXES,
    Empty,
    Interface,
    Request,
    Response,
    operation,
)

MAX_FIRINGS = 1000


class CreateRule(Request, frozen=True, kw_only=True):
    """A new rule: the document, as `headrace.protocol.rule_check.parse_rule` takes it."""

    spec: dict[str, Any]


class RuleName(Request, frozen=True, kw_only=True):
    """One rule."""

    name: Required


class ListRules(Request, frozen=True, kw_only=True):
    """All rules, in the order of their names."""


class UpdateRule(Request, frozen=True, kw_only=True):
    """Another document for a rule.

    Attributes:
        name: The rule's. The document's may be another, which renames it.
        spec: The whole new document.
        revision: The revision that was read; when the rule was changed since, nothing happens. Not given:
            whatever it is.
    """

    name: Required
    spec: dict[str, Any]
    revision: Int64 | None = None


class Rule(Response, frozen=True, kw_only=True):
    """A rule, and how it stands.

    Attributes:
        name: Its name.
        spec: The document.
        origin: ``api``, or ``file``: of the file that the server was started with.
        enabled: Whether it is looked at.
        revision: Grows with every change.
        created_time: Milliseconds since the Unix epoch.
        updated_time: Milliseconds since the Unix epoch.
        firing: How many groups fire now.
        last_fired: When it fired last; None when it never did.
        muted_until: It fired too often, and is not looked at until then.
        muted_reason: Why.
    """

    name: str
    spec: dict[str, Any]
    origin: str
    enabled: bool
    revision: int
    created_time: int
    updated_time: int
    firing: int
    last_fired: int | None = None
    muted_until: int | None = None
    muted_reason: str = ""


class RuleResponse(Response, frozen=True, kw_only=True):
    """One rule."""

    rule: Rule


class RuleList(Response, frozen=True, kw_only=True):
    """Several rules."""

    rules: tuple[Rule, ...] = ()


class ListFirings(Request, frozen=True, kw_only=True):
    """Firings, the newest first.

    Attributes:
        rule: Only of this rule.
        run_id: Only about this run.
        firing: Only those that are not over.
        before: Only with numbers less than this: where the last page ended.
        limit: At most so many, from 1 to 1000.
    """

    rule: str = ""
    run_id: str = ""
    firing: bool = False
    before: Int64 | None = None
    limit: Int64 = 100


class Firing(Response, frozen=True, kw_only=True):
    """One firing.

    Attributes:
        number: Its number; 0 in a test.
        rule: The rule's name.
        group: What fired: a run's id, an experiment's, or empty.
        run_id: The run that it is about, if it is about one.
        experiment_id: The experiment, likewise.
        severity: As the rule had it.
        title: One line for people.
        text: More for people.
        time: When, milliseconds since the Unix epoch.
        resolved_time: When it was over; None while it is not.
        momentary: It had no duration: an event or a line, without anything that resolves it.
        values: What the condition saw.
        cause: Number of the event that led to it.
        chain: Rules whose firings led to this one, and this one, the first first.
        actions: What it does, as the rule says.
        outcomes: Of each action that was carried out: ``action``, ``done``, ``detail`` or ``error``, ``time``.
    """

    number: int
    rule: str
    group: str
    run_id: str
    experiment_id: str
    severity: str
    title: str
    text: str
    time: int
    resolved_time: int | None = None
    momentary: bool = False
    values: dict[str, Any] = msgspec.field(default_factory=dict)
    cause: int | None = None
    chain: tuple[str, ...] = ()
    actions: tuple[dict[str, Any], ...] = ()
    outcomes: tuple[dict[str, Any], ...] = ()


class Firings(Response, frozen=True, kw_only=True):
    """Firings, and where the next page begins; None when there is none."""

    firings: tuple[Firing, ...] = ()
    next: int | None = None


class TestRule(Request, frozen=True, kw_only=True):
    """What a rule would have done.

    Attributes:
        name: A rule that there is.
        spec: A document instead. It need not be the document of a rule that there is.
        since: Begin of the history to replay, milliseconds since the Unix epoch.
        until: Its end; now when not given.
        limit: Stop after so many firings.
    """

    __test__ = False  # pytest: it is no test

    name: str = ""
    spec: dict[str, Any] | None = None
    since: Millis
    until: Millis | None = None
    limit: Int64 = 1000


class RuleTest(Response, frozen=True, kw_only=True):
    """What a rule would have done, and how much history that was judged by.

    Attributes:
        firings: What would have fired, the first first; nothing of it happened.
        events: Events that were looked at.
        points: Metric points, likewise.
        lines: Console lines, likewise.
        since: Where the history began: later than asked for when the log was trimmed.
        complete: False when the limit ended it early.
    """

    firings: tuple[Firing, ...] = ()
    events: int
    points: int
    lines: int
    since: int
    complete: bool = True


class Rules(Interface):
    """Rules and their firings."""

    @operation("POST", "/rules", permission="rule:edit", prefixes=NATIVE_PREFIXES)
    def create_rule(self, request: CreateRule) -> RuleResponse:
        """Make a rule. It looks at what happens from now on.

        Raises:
            AlreadyExists: There is one of this name.
            InvalidParameter: The document is no rule; the message names the field and the remedy.
        """
        raise NotImplementedError

    @operation("GET", "/rules", permission="rule:read", prefixes=NATIVE_PREFIXES, reads=True)
    def list_rules(self, request: ListRules) -> RuleList:
        """All rules, in the order of their names."""
        raise NotImplementedError

    @operation("GET", "/rules/{name}", permission="rule:read", prefixes=NATIVE_PREFIXES, reads=True)
    def get_rule(self, request: RuleName) -> RuleResponse:
        """One rule.

        Raises:
            NotFound: There is none of this name.
        """
        raise NotImplementedError

    @operation(
        "PATCH",
        "/rules/{name}",
        permission="rule:edit",
        prefixes=NATIVE_PREFIXES,
        statuses=(409,),
    )
    def update_rule(self, request: UpdateRule) -> RuleResponse:
        """Replace a rule's document. What fires now is resolved when its condition changed.

        Raises:
            NotFound: There is none of this name.
            Conflict: It was changed since the revision that is given.
            InvalidState: It is a file's.
            AlreadyExists: The new name is taken.
            InvalidParameter: The document is no rule.
        """
        raise NotImplementedError

    @operation("DELETE", "/rules/{name}", permission="rule:edit", prefixes=NATIVE_PREFIXES)
    def delete_rule(self, request: RuleName) -> Empty:
        """Delete a rule. Its firings are kept; what fires now is resolved.

        Raises:
            NotFound: There is none of this name.
            InvalidState: It is a file's.
        """
        raise NotImplementedError

    @operation("POST", "/rules/{name}/enable", permission="rule:edit", prefixes=NATIVE_PREFIXES)
    def enable_rule(self, request: RuleName) -> RuleResponse:
        """Look at a rule again, also at one that was muted. Nothing happens when it is looked at.

        Raises:
            NotFound: There is none of this name.
            InvalidState: It is a file's.
        """
        raise NotImplementedError

    @operation("POST", "/rules/{name}/disable", permission="rule:edit", prefixes=NATIVE_PREFIXES)
    def disable_rule(self, request: RuleName) -> RuleResponse:
        """Do not look at a rule. What fires now is resolved.

        Raises:
            NotFound: There is none of this name.
            InvalidState: It is a file's.
        """
        raise NotImplementedError

    @operation("GET", "/rule-firings", permission="rule:read", prefixes=NATIVE_PREFIXES, reads=True)
    def list_firings(self, request: ListFirings) -> Firings:
        """Firings, the newest first.

        Raises:
            InvalidParameter: A limit out of range.
        """
        raise NotImplementedError

    @operation("POST", "/rule-tests", permission="rule:read", prefixes=NATIVE_PREFIXES, reads=True)
    def test_rule(self, request: TestRule) -> RuleTest:
        """Replay history through a rule: what would have fired and been resolved. Nothing is done.

        Events, metric points and console lines come at their times; tags and params of runs, and
        baselines, are as they are now.

        Raises:
            NotFound: There is none of this name.
            InvalidParameter: Neither a name nor a document; a time from the future.
        """
        raise NotImplementedError
