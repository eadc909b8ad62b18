"""Reading a rule's document: what is no rule is refused, with the place and the remedy."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Mapping
from typing import Any

import msgspec
import re2

from headrace.errors import InvalidParameter
from headrace.protocol.event_filter import event_filter
from headrace.protocol.limits import MAX_KEY, refuse_nul
from headrace.protocol.rule_spec import (
    PLACE,
    PLACES,
    Action,
    Condition,
    EventMatch,
    MetricCondition,
    RuleSpec,
    SetAlias,
    leaves,
)
from headrace.protocol.rule_text import comparison, fraction, millis, window

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}")
_VERSION = re.compile(r"[0-9]{1,18}")
_CALL = re.compile(r"[A-Za-z_][\w.\-]*(:[A-Za-z_][\w.]*)?")
_BASELINE = re.compile(r"parent|run:(?P<run>\S+)|tag:(?P<key>[^=]+)=(?P<value>.*)")
#: Shorter silences than this would be false alarms: a run's signs of life are written every 15 s.
SHORTEST_SILENCE = 30_000
_MOST_LEAVES = 20
_MOST_ACTIONS = 20
_DEEPEST = 5


def parse_rule(document: Any, place: str = "rule") -> RuleSpec:
    """A rule from what a YAML or JSON document held.

    Args:
        document: As decoded.
        place: How errors name it.

    Raises:
        InvalidParameter: It is none; the message names the field and the remedy.
    """
    if not isinstance(document, Mapping):
        raise InvalidParameter(
            f"{place}: a rule is a map of fields, got {type(document).__name__}."
        )
    try:
        spec = msgspec.convert(document, RuleSpec)
    except msgspec.ValidationError as error:
        raise InvalidParameter(_worded(document, str(error), place)) from None
    refuse_nul(msgspec.to_builtins(spec))
    if not _NAME.fullmatch(spec.name):
        raise InvalidParameter(
            f"{place}.name: '{spec.name[:60]}' is no name of a rule: give letters, digits, _, . and -, at most "
            "100, beginning with a letter or digit."
        )
    _check(spec, place)
    return spec


def parse_rules(document: Any, place: str = "file") -> tuple[RuleSpec, ...]:
    """The rules of a file: ``rules: [...]``, a list, or one rule.

    Raises:
        InvalidParameter: As `parse_rule`; or two of one name.
    """
    if isinstance(document, Mapping) and set(document) == {"rules"}:
        document = document["rules"]
    if document is None:
        return ()
    if isinstance(document, Mapping):
        document = [document]
    if not isinstance(document, list):
        raise InvalidParameter(
            f"{place}: rules are a list under 'rules:', got {type(document).__name__}."
        )
    found = tuple(
        parse_rule(one, f"{place}: {_called(one, number)}")
        for number, one in enumerate(document, 1)
    )
    names: set[str] = set()
    for spec in found:
        if spec.name in names:
            raise InvalidParameter(f"{place}: two rules are called '{spec.name}'; rename one.")
        names.add(spec.name)
    return found


def baseline_parts(text: str, field: str) -> re.Match[str]:
    """A baseline, taken apart.

    Raises:
        InvalidParameter: None of the three forms.
    """
    found = _BASELINE.fullmatch(text)
    if found is None:
        raise InvalidParameter(
            f"{field}: '{text[:60]}' is no baseline: give parent, run:<run id>, or tag:champion=true."
        )
    return found


def compiled_pattern(pattern: str, field: str) -> Any:
    """A pattern, compiled by RE2.

    Raises:
        InvalidParameter: It is none, or RE2 has no such thing (references back, looking around).
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise InvalidParameter(
            f"{field}: '{pattern[:100]}' is no pattern: {reason}. Patterns are in RE2's syntax, which has no "
            "references back and no looking around."
        ) from None


def _called(document: Any, number: int) -> str:
    name = document.get("name") if isinstance(document, Mapping) else None
    return f"rule '{name[:100]}'" if isinstance(name, str) else f"rule {number}"


def _worded(document: Any, error: str, place: str) -> str:
    """msgspec's message with the place, the value, and what would be right."""
    what, _, where = error.partition(" - at `$")
    where = where.rstrip("`")
    at = place + where
    if what.startswith("Object contains unknown field"):
        field = what.split("`")[1]
        known = _fields_at(where)
        near = difflib.get_close_matches(field, known, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        return f"{at}: there is no field '{field}'.{hint} Fields are {', '.join(known)}."
    if what.startswith("Object missing required field"):
        return f"{at}: the field '{what.split('`')[1]}' is missing; give it."
    return f"{at}: {what[:1].lower()}{what[1:]}."


def _fields_at(where: str) -> list[str]:
    """The fields of the struct at a path such as ``.when.metric``."""
    kind: Any = RuleSpec
    for part in re.findall(r"[a-z_]+", where.replace("[...]", "")):
        field = next((f for f in msgspec.structs.fields(kind) if f.encode_name == part), None)
        kind = None if field is None else _struct_in(field.type)
        if kind is None:
            return []
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def _struct_in(kind: Any) -> Any:
    if isinstance(kind, typing.ForwardRef):
        return Condition
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next((found for one in typing.get_args(kind) if (found := _struct_in(one))), None)


def _check(spec: RuleSpec, place: str) -> None:
    _check_condition(spec.when, f"{place}.when", 0)
    if len(list(leaves(spec.when))) > _MOST_LEAVES:
        raise InvalidParameter(
            f"{place}.when: more than {_MOST_LEAVES} conditions; make several rules of it."
        )
    for name, text in (("within", spec.within), ("for", spec.for_), ("cooldown", spec.cooldown)):
        if text is not None:
            millis(text, f"{place}.{name}")
    momentary = any(leaf.event is not None or leaf.log is not None for _, leaf in leaves(spec.when))
    if spec.for_ is not None and momentary and spec.within is None:
        raise InvalidParameter(
            f"{place}.for: events and lines are over in a moment and hold for no time; leave it out, or say by "
            "'within' for how long they count."
        )
    if spec.resolve.until is not None:
        _check_event(spec.resolve.until, f"{place}.resolve.until")
    if spec.resolve.after is not None:
        millis(spec.resolve.after, f"{place}.resolve.after")
    for name, text in (("title", spec.title), ("text", spec.text)):
        _check_places(text, f"{place}.{name}")
    if len(spec.then) > _MOST_ACTIONS:
        raise InvalidParameter(f"{place}.then: at most {_MOST_ACTIONS} actions.")
    for number, action in enumerate(spec.then):
        _check_action(action, f"{place}.then[{number}]")


def _check_condition(condition: Condition, place: str, depth: int) -> None:
    _one_of(condition, place, condition.__struct_fields__)
    if depth > _DEEPEST:
        raise InvalidParameter(f"{place}: conditions are nested more than {_DEEPEST} deep.")
    for name, children in (("all", condition.all_), ("any", condition.any_)):
        if children == ():
            raise InvalidParameter(f"{place}.{name}: the list is empty; give conditions.")
        for number, child in enumerate(children or ()):
            _check_condition(child, f"{place}.{name}[{number}]", depth + 1)
    if condition.not_ is not None:
        _check_condition(condition.not_, f"{place}.not", depth + 1)
    if condition.event is not None:
        _check_event(condition.event, f"{place}.event")
    if condition.metric is not None:
        _check_metric(condition.metric, f"{place}.metric")
    if (
        condition.silent is not None
        and millis(condition.silent, f"{place}.silent") < SHORTEST_SILENCE
    ):
        raise InvalidParameter(
            f"{place}.silent: '{condition.silent}' is too short: a run's signs of life are written every 15 "
            "seconds; give 30s or more, or match the event run.lost."
        )
    if condition.no_event is not None:
        event_filter(types=condition.no_event.globs)
        millis(condition.no_event.for_, f"{place}.no_event.for")
    if condition.log is not None:
        compiled_pattern(condition.log.pattern, f"{place}.log.pattern")


def _check_event(match: EventMatch, place: str) -> None:
    try:
        event_filter(types=match.globs, subjects=match.subjects, actors=match.actors)
    except InvalidParameter as error:
        raise InvalidParameter(f"{place}: {error.message}") from None
    if not match.globs:
        raise InvalidParameter(f"{place}.types: give at least one type, such as run.failed.")


def _check_metric(metric: MetricCondition, place: str) -> None:
    _one_of(metric, place, ("value", "change", "zscore", "plateau", "worse_than"))
    if not 0 < len(metric.key) <= MAX_KEY:
        raise InvalidParameter(f"{place}.key: give a metric's key, of 1 to {MAX_KEY} characters.")
    windowed = metric.change is not None or metric.zscore is not None
    if windowed != (metric.over is not None):
        raise InvalidParameter(
            f"{place}.over: change and zscore need a window, such as '100 steps' or 10m; the others have none."
        )
    if metric.over is not None:
        window(metric.over, f"{place}.over")
    if metric.value is not None and metric.value not in ("nan", "infinite", "nonfinite"):
        try:
            comparison(metric.value, f"{place}.value")
        except InvalidParameter as error:
            raise InvalidParameter(f"{error.message} Or: nan, infinite, nonfinite.") from None
    if metric.change is not None:
        comparison(metric.change, f"{place}.change", per_cent=True)
    if metric.plateau is not None:
        window(metric.plateau.over, f"{place}.plateau.over")
    if metric.worse_than is not None:
        baseline_parts(metric.worse_than.baseline, f"{place}.worse_than.baseline")
        fraction(metric.worse_than.by, f"{place}.worse_than.by")


def _check_action(action: Action, place: str) -> None:
    _one_of(action, place, action.__struct_fields__)
    if action.notify is not None and (not action.webhooks or not all(action.webhooks)):
        raise InvalidParameter(f"{place}.notify: give names of webhooks.")
    if action.set_tag is not None:
        if not action.set_tag.key:
            raise InvalidParameter(f"{place}.set_tag.key: give the tag's key.")
        _check_places(action.set_tag.value, f"{place}.set_tag.value")
    if action.stop_run is not None:
        _check_places(action.stop_run, f"{place}.stop_run")
    if action.call is not None and not _CALL.fullmatch(action.call):
        raise InvalidParameter(
            f"{place}.call: '{action.call[:100]}' is nothing to call: give package.module:function, or the "
            "name of an entry point of group headrace.actions."
        )
    if action.run_project is not None:
        raise InvalidParameter(f"{place}.run_project: rules cannot run projects yet; use call.")
    if action.set_alias is not None:
        _check_set_alias(action.set_alias, f"{place}.set_alias")


def _check_set_alias(action: SetAlias, place: str) -> None:
    if not action.model:
        raise InvalidParameter(f"{place}.model: give a registered model's name.")
    if not action.alias:
        raise InvalidParameter(f"{place}.alias: give an alias, such as challenger.")
    if action.version not in ("", "latest") and not _VERSION.fullmatch(str(action.version)):
        raise InvalidParameter(
            f"{place}.version: '{str(action.version)[:60]}' is no version: give a number or 'latest', or nothing "
            "for the version that the run made."
        )


def _check_places(text: str, place: str) -> None:
    for name in PLACE.findall(text):
        if name not in PLACES:
            near = difflib.get_close_matches(name, PLACES, n=1)
            hint = f" Did you mean {{{near[0]}}}?" if near else ""
            raise InvalidParameter(
                f"{place}: nothing is called {{{name[:60]}}}.{hint} There are {', '.join(PLACES)}."
            )


def _one_of(part: msgspec.Struct, place: str, names: tuple[str, ...]) -> None:
    """Refuse a part that has not exactly one of some fields."""
    given = [name for name in names if getattr(part, name) is not None]
    if len(given) != 1:
        known = ", ".join(name.rstrip("_") for name in names)
        had = " and ".join(name.rstrip("_") for name in given) or "none"
        raise InvalidParameter(f"{place}: give exactly one of {known}; it has {had}.")
