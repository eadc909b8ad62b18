"""What a rule says: the document that a user writes, in YAML or JSON.

::

    name: nan-loss
    when: {metric: {key: "*loss*", value: nan}}
    severity: error
    then:
      - notify: [chat]
      - stop_run: the loss is NaN

docs/rules.md explains every field. `headrace.protocol.rule_check.parse_rule` is strict: a field that is not known, or not of the form
it must have, is an error that names its place and says what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec

Severity = Literal["info", "warn", "error", "critical"]
Grouping = Literal["run", "experiment", "none"]
Goal = Literal["min", "max"]

#: What stands in braces in titles, texts and values of tags.
PLACES = (
    "rule", "severity", "group", "condition", "run_id", "run_name", "experiment_id", "experiment_name", "metric",
    "value", "step", "baseline", "line", "type", "subject", "actor",
)  # fmt: skip
#: A place in a text.
PLACE = re.compile(r"\{([^{}]*)\}")


class _Part(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Base of the parts of a rule."""


def _listed(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


class Scope(_Part, frozen=True, kw_only=True):
    """What a rule looks at; what is not given does not restrict.

    Attributes:
        experiments: Ids or names; a name may hold ``*`` and ``?``.
        tags: Runs that have all of these tags; values may hold ``*`` and ``?``.
        params: Runs that have all of these params; values may hold ``*`` and ``?``.
    """

    experiments: tuple[str | int, ...] = ()
    tags: dict[str, str] = {}
    params: dict[str, str] = {}


class EventMatch(_Part, frozen=True, kw_only=True):
    """An event happened.

    Attributes:
        types: Types, ``*`` for any text: ``run.failed``, ``run.*``.
        subjects: Exact ones; one that ends with ``*`` is a prefix.
        actors: Who did it.
        data: Fields of its data by path, such as ``after.status``, each with a comparison (``> 3``) or the
            value it must have, in which ``*`` and ``?`` match any text. Of a list one item must match.
    """

    types: str | tuple[str, ...]
    subjects: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    data: dict[str, str | int | float | bool | None] = {}

    @property
    def globs(self) -> tuple[str, ...]:
        """Its types, as several."""
        return _listed(self.types)


class Plateau(_Part, frozen=True, kw_only=True):
    """No improvement.

    Attributes:
        goal: ``min`` when less is better, ``max`` when more is.
        delta: What counts as an improvement must be better by more than this.
        over: For so long: ``500 steps``, or a time, which passes also while no points arrive.
    """

    goal: Goal
    over: str
    delta: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class WorseThan(_Part, frozen=True, kw_only=True):
    """Worse than another run.

    Attributes:
        baseline: ``parent``, ``run:<run id>``, or ``tag:champion=true``: the run of the same experiment
            that has this tag, the one that began last if several have.
        by: How much worse, in per cent of the baseline's value.
        goal: ``min`` when less is better, ``max`` when more is.
        compare: Which value of both runs: their ``last``, or their ``best``.
    """

    baseline: str
    goal: Goal
    by: str = "0%"
    compare: Literal["last", "best"] = "last"


class MetricCondition(_Part, frozen=True, kw_only=True):
    """What a metric does: exactly one of `value`, `change`, `zscore`, `plateau` and `worse_than`.

    Attributes:
        key: The metric's; ``*`` and ``?`` match any text.
        value: ``> 10`` (or >=, <, <=, ==, !=), ``nan``, ``infinite``, or ``nonfinite`` for either.
        change: Of the value against the first one in the window `over`: ``> 0.5``, ``< -20%``.
        zscore: How many standard deviations from the mean of the window `over`, in both directions.
        over: A window: ``100 steps`` or ``10m``.
        plateau: No improvement.
        worse_than: Worse than another run.
        from_step: What came before this step does not count.
    """

    key: str
    value: str | None = None
    change: str | None = None
    zscore: Annotated[float, msgspec.Meta(gt=0)] | None = None
    over: str | None = None
    plateau: Plateau | None = None
    worse_than: WorseThan | None = None
    from_step: int | None = None


class NoEvent(_Part, frozen=True, kw_only=True, rename={"for_": "for"}):
    """No such event happened for so long."""

    types: str | tuple[str, ...]
    for_: str

    @property
    def globs(self) -> tuple[str, ...]:
        """Its types, as several."""
        return _listed(self.types)


class LogLine(_Part, frozen=True, kw_only=True):
    """A line of console output matched.

    Attributes:
        pattern: Regular expression in RE2's syntax, found anywhere in the line. Matching takes time
            linear in the line, whatever the pattern.
        stream: ``stdout`` or ``stderr``; both when not given.
        source: Only lines of this process.
    """

    pattern: str
    stream: Literal["stdout", "stderr"] | None = None
    source: str | None = None


class Condition(
    _Part, frozen=True, kw_only=True, rename={"all_": "all", "any_": "any", "not_": "not"}
):
    """One condition, or a combination: exactly one field.

    Attributes:
        event: An event happened.
        metric: A metric does something.
        silent: A running run gave no sign of life for so long.
        no_event: No such event happened for so long.
        log: A line of console output matched.
        all_: All of these hold.
        any_: One of these holds.
        not_: This does not hold.
    """

    event: EventMatch | None = None
    metric: MetricCondition | None = None
    silent: str | None = None
    no_event: NoEvent | None = None
    log: LogLine | None = None
    all_: tuple[Condition, ...] | None = None
    any_: tuple[Condition, ...] | None = None
    not_: Condition | None = None

    def children(self) -> tuple[Condition, ...]:
        """What a combination combines; empty for a single condition."""
        return self.all_ or self.any_ or ((self.not_,) if self.not_ is not None else ())


class Resolve(_Part, frozen=True, kw_only=True):
    """When a firing is over.

    Attributes:
        until: An event of the same group ends it.
        after: So long after the condition was last true.
    """

    until: EventMatch | None = None
    after: str | None = None


class SetTag(_Part, frozen=True, kw_only=True):
    """Set a tag on the run, or on the experiment, that the firing is about."""

    key: str
    value: str
    on: Literal["run", "experiment"] = "run"


class SetAlias(_Part, frozen=True, kw_only=True):
    """Let an alias of a registered model point to a version.

    Attributes:
        model: The model's name.
        alias: The alias.
        version: A number, or ``latest``. Empty: the newest version that the firing's run made.
    """

    model: str
    alias: str
    version: str | int = ""


class Action(_Part, frozen=True, kw_only=True):
    """What a firing does: exactly one field.

    Attributes:
        notify: Names of webhooks that get the firing, and that it is resolved.
        set_tag: Set a tag.
        stop_run: Ask the run to stop; the text is the reason.
        call: ``package.module:function``, or the name of an entry point of group ``headrace.actions``.
            The server's configuration must allow it. It is called with the firing as a dict.
        run_project: Not there yet.
        set_alias: Move an alias. Where it is guarded, the rule has no more rights than anybody.
    """

    notify: str | tuple[str, ...] | None = None
    set_tag: SetTag | None = None
    stop_run: str | None = None
    call: str | None = None
    run_project: Any = None
    set_alias: SetAlias | None = None

    @property
    def kind(self) -> str:
        """Which it is: the name of its field."""
        return next(name for name in self.__struct_fields__ if getattr(self, name) is not None)

    @property
    def webhooks(self) -> tuple[str, ...]:
        """The names in `notify`, as several."""
        return () if self.notify is None else _listed(self.notify)


class RuleSpec(_Part, frozen=True, kw_only=True, rename={"for_": "for"}):
    """A rule.

    Attributes:
        name: Letters, digits, ``_ . -``; at most 100.
        when: The condition.
        within: Events and lines in a combination count for so long after they came.
        for_: The condition must hold for so long.
        description: For people.
        enabled: Whether it is looked at.
        scope: What it looks at.
        group_by: What is watched, and fires, apart: each ``run``, each ``experiment``, or all as one. By
            itself: ``run`` where all conditions are about runs, else ``experiment`` for events, else ``none``.
        cooldown: After it fired, a group does not fire again for so long.
        severity: ``info``, ``warn``, ``error`` or ``critical``.
        title: One line for people; ``{metric}``, ``{value}`` and other places are filled in.
        text: More for people, with the same places.
        resolve: When a firing is over; by itself: when the condition is not true any more. What happens in
            a moment (an event, a line) is not over by itself, and its firing has no *resolved*.
        then: What a firing does.
    """

    name: str
    when: Condition
    within: str | None = None
    for_: str | None = None
    description: str = ""
    enabled: bool = True
    scope: Scope = Scope()
    group_by: Grouping | None = None
    cooldown: str | None = None
    severity: Severity = "warn"
    title: str = ""
    text: str = ""
    resolve: Resolve = Resolve()
    then: tuple[Action, ...] = ()


def spec_document(spec: RuleSpec) -> dict[str, Any]:
    """A rule as a document; the inverse of `parse_rule`, defaults left out."""
    found: dict[str, Any] = msgspec.to_builtins(spec)
    return found


def leaves(condition: Condition, place: str = "when") -> Iterator[tuple[str, Condition]]:
    """The single conditions in a condition, with their places."""
    if not condition.children():
        yield place, condition
    for name, field in (("all", "all_"), ("any", "any_")):
        for number, child in enumerate(getattr(condition, field) or ()):
            yield from leaves(child, f"{place}.{name}[{number}]")
    if condition.not_ is not None:
        yield from leaves(condition.not_, f"{place}.not")


def filled(text: str, values: Mapping[str, Any]) -> str:
    """A text with its places filled in; what is not known is left empty."""
    return PLACE.sub(lambda found: _shown(values.get(found.group(1))), text)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
