"""``headrace rules``: what is to be told, and what was."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import click
import msgspec
import yaml

from headrace.cli.output import duration, json_option, moment, print_fields, print_json, print_table
from headrace.cli.store import ask, opened, store_option
from headrace.errors import AlreadyExists, InvalidParameter
from headrace.events.rules.file import read_rules
from headrace.protocol.rule_spec import RuleSpec, spec_document
from headrace.protocol.rule_text import millis
from headrace.protocol.rules import Firing, Rule, Rules
from headrace.protocol.store import Store


@click.group()
def rules() -> None:
    """List, apply, test, switch and delete rules, and see what fired.

    A rule says when something is to be told, and what is to be done: docs/rules.md. A server evaluates the
    rules of its store.
    """


@rules.command("list")
@json_option
@store_option
def list_rules(as_json: bool, store_uri: str | None) -> None:
    """List the rules, and how they stand."""
    with opened(store_uri) as store:
        found = ask(store, Rules.list_rules).rules
    if as_json:
        print_json([_plain(one) for one in found])
        return
    print_table(
        ("rule", "state", "severity", "from", "last fired", "description"),
        (
            (
                one.name, _state(one), one.spec.get("severity", "warn"), one.origin,
                moment(one.last_fired), one.spec.get("description", ""),
            )
            for one in found
        ),
    )  # fmt: skip


@rules.command()
@click.argument("name")
@json_option
@store_option
def show(name: str, as_json: bool, store_uri: str | None) -> None:
    """Show one rule, as a file would have it."""
    with opened(store_uri) as store:
        found = ask(store, Rules.get_rule, name=name).rule
    if as_json:
        print_json(_plain(found))
        return
    print_fields(
        (
            ("state", _state(found)),
            ("from", found.origin),
            ("revision", found.revision),
            ("created", moment(found.created_time)),
            ("updated", moment(found.updated_time)),
            ("last fired", moment(found.last_fired)),
            *((("muted", found.muted_reason),) if found.muted_until else ()),
        )
    )
    click.echo()
    click.echo(_yaml(found.spec), nl=False)


@rules.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@store_option
def apply(file: Path, store_uri: str | None) -> None:
    """Create the rules of a YAML or JSON file, and change those that there are.

    Rules that the file does not name stay as they are.
    """
    specs = read_rules(file)
    with opened(store_uri, create=True) as store:
        for spec in specs:
            click.echo(f"{spec.name}: {_applied(store, spec)}")


@rules.command()
@click.argument("name")
@store_option
def delete(name: str, store_uri: str | None) -> None:
    """Delete a rule. Its firings are kept."""
    with opened(store_uri) as store:
        ask(store, Rules.delete_rule, name=name)
    click.echo(f"Rule {name} is deleted.")


@rules.command()
@click.argument("name")
@store_option
def enable(name: str, store_uri: str | None) -> None:
    """Look at a rule again, also at one that was muted."""
    with opened(store_uri) as store:
        ask(store, Rules.enable_rule, name=name)
    click.echo(f"Rule {name} is enabled.")


@rules.command()
@click.argument("name")
@store_option
def disable(name: str, store_uri: str | None) -> None:
    """Do not look at a rule; what fires now is resolved."""
    with opened(store_uri) as store:
        ask(store, Rules.disable_rule, name=name)
    click.echo(f"Rule {name} is disabled.")


@rules.command()
@click.option("--rule", default=None, help="Only of this rule.")
@click.option("--run", "run_id", default=None, help="Only about this run: its full id.")
@click.option("--firing", is_flag=True, help="Only what is not over.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many, the newest.")  # fmt: skip
@json_option
@store_option
def firings(
    rule: str | None,
    run_id: str | None,
    firing: bool,
    limit: int,
    as_json: bool,
    store_uri: str | None,
) -> None:
    """Show what fired, the newest first, and what came of the actions."""
    with opened(store_uri) as store:
        found = ask(
            store, Rules.list_firings, rule=rule, run_id=run_id, firing=firing or None, limit=limit
        ).firings
    if as_json:
        print_json([_plain(one) for one in found])
        return
    print_table(
        ("number", "time", "severity", "state", "title", "actions"),
        (
            (one.number, moment(one.time), one.severity, _ended(one), one.title, _outcomes(one))
            for one in found
        ),
    )


@rules.command()
@click.argument("rule")
@click.option("--since", default="7d", show_default=True, help="How far back: 30m, 12h, 7d; or a date, 2026-11-23.")  # fmt: skip
@click.option("--until", default=None, help="Until when, likewise.  [default: now]")
@click.option("--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="Stop after so many firings.")  # fmt: skip
@json_option
@store_option
def test(
    rule: str,
    since: str,
    until: str | None,
    limit: int,
    as_json: bool,
    store_uri: str | None,
) -> None:
    """Replay history through a rule, or the rules of a file: what would have fired, and when.

    RULE is the name of a rule that there is, or a YAML or JSON file. Nothing happens: no message is sent,
    no tag set, no run stopped.
    """
    begin = _time_of(since, "--since")
    end = None if until is None else _time_of(until, "--until")
    given: list[dict[str, Any]] = [{"name": rule}]
    if Path(rule).is_file():
        given = [{"spec": spec_document(spec)} for spec in read_rules(Path(rule))]
    with opened(store_uri) as store:
        answers = [
            ask(store, Rules.test_rule, since=begin, until=end, limit=limit, **one) for one in given
        ]
    if as_json:
        print_json([_plain(one) for one in answers])
        return
    for one, answer in zip(given, answers, strict=True):
        name = one.get("name") or one["spec"]["name"]
        print_table(
            ("fires", "is resolved", "after", "severity", "title", "does"),
            (
                (
                    moment(found.time), _ended(found), duration(found.time, found.resolved_time),
                    found.severity, found.title, ", ".join(map(_action, found.actions)),
                )
                for found in answer.firings
            ),
            title=f"{name}: would have fired {len(answer.firings)} times"
            + ("" if answer.complete else " or more"),
            caption=f"Looked at {answer.events:,} events, {answer.points:,} points and {answer.lines:,} lines "
            f"since {moment(answer.since)}. Nothing was done.",
        )  # fmt: skip


def _applied(store: Store, spec: RuleSpec) -> str:
    document = spec_document(spec)
    try:
        ask(store, Rules.create_rule, spec=document)
    except AlreadyExists:
        before = ask(store, Rules.get_rule, name=spec.name).rule
        after = ask(
            store, Rules.update_rule, name=spec.name, spec=document, revision=before.revision
        ).rule
        return "changed" if after.revision != before.revision else "as it was"
    return "created"


def _time_of(text: str, option: str) -> int:
    """Milliseconds since the Unix epoch, from a length of time before now or a local date and time."""
    if re.match(r"\d{4}-", text):
        for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"):
            try:
                return int(time.mktime(time.strptime(text, form)) * 1000)
            except (ValueError, OverflowError):
                continue
    try:
        return int(time.time() * 1000) - millis(text, option)
    except InvalidParameter as error:
        raise click.UsageError(f"{error.message} A date will do, too: 2026-11-23.") from None


def _state(rule: Rule) -> str:
    if not rule.enabled:
        return "disabled"
    if rule.muted_until:
        return "muted"
    return f"{rule.firing} firing" if rule.firing else "ok"


def _ended(firing: Firing) -> str | None:
    if firing.momentary:
        return "-"
    return "firing" if firing.resolved_time is None else moment(firing.resolved_time)


def _outcomes(firing: Firing) -> str:
    return ", ".join(
        f"{one['action']}: {'done' if one.get('done') else one.get('error', '')}"
        for one in firing.outcomes
    )


def _action(action: dict[str, Any]) -> str:
    ((kind, value),) = action.items()
    if kind == "set_tag":
        value = f"{value['key']}={value['value']}"
    elif isinstance(value, list | tuple):
        value = ", ".join(value)
    return f"{kind} {value}".strip()


def _plain(value: msgspec.Struct) -> Any:
    return msgspec.to_builtins(value)


def _yaml(document: Any) -> str:
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100))
