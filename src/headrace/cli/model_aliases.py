"""``headrace models alias | approve | guard | history``."""

from __future__ import annotations

import click

from headrace.cli.model_store import client_option, opened_client
from headrace.cli.output import json_option, moment, print_json, print_table
from headrace.errors import InvalidParameter, NotFound


@click.command()
@click.argument("name")
@click.argument("alias", metavar="ALIAS")
@click.argument("version", required=False)
@click.option("--back", is_flag=True, help="Let it point to where it did before its last move.")
@click.option("--delete", is_flag=True, help="Remove it.")
@json_option
@client_option
def alias(
    name: str,
    alias: str,
    version: str | None,
    back: bool,
    delete: bool,
    as_json: bool,
    store_uri: str | None,
) -> None:
    """Let ALIAS of the registered model NAME point to VERSION; without one, print where it points."""
    if sum((version is not None, back, delete)) > 1:
        raise InvalidParameter("Give a version, or --back, or --delete.")
    with opened_client(store_uri) as client:
        if back:
            move = client.restore_alias(name, alias)
            if as_json:
                print_json(move)
                return
            click.echo(f"{name}@{alias}: {move.before or 'nothing'} -> {move.after or 'nothing'}")
        elif delete:
            client.delete_registered_model_alias(name, alias)
        elif version is not None:
            client.set_registered_model_alias(name, alias, version)
        else:
            found = client.get_registered_model(name).aliases
            if alias not in found:
                others = f"; it has {', '.join(sorted(found))}" if found else ""
                raise NotFound(f"The model '{name}' has no alias '{alias}'{others}.")
            if as_json:
                print_json(client.get_model_version(name, found[alias]))
                return
            click.echo(found[alias])


@click.command()
@click.argument("name")
@click.argument("alias", metavar="ALIAS")
@click.argument("version")
@json_option
@client_option
def approve(name: str, alias: str, version: str, as_json: bool, store_uri: str | None) -> None:
    """Agree that a guarded ALIAS moves to VERSION; it moves when enough people agree and the checks are passed."""
    with opened_client(store_uri) as client:
        answer = client.approve_alias(name, alias, version)
    if as_json:
        print_json(
            {
                "moved": answer.moved,
                "approved_by": answer.approved_by,
                "needed": answer.needed,
                "checks": answer.checks,
            }
        )
        return
    if answer.moved:
        click.echo(f"{name}@{alias} points to {version} now.")
        return
    waits = [f"{answer.needed} more to agree"] if answer.needed else []
    waits += [f"the check {check}" for check in answer.checks]
    click.echo(f"Noted. {name}@{alias} waits for {' and '.join(waits)}.")


@click.command()
@click.argument("name")
@click.argument("alias", metavar="[ALIAS]", required=False)
@click.option(
    "-c",
    "--check",
    "checks",
    multiple=True,
    metavar="NAME",
    help="The version must have passed it; may be repeated.",
)
@click.option(
    "-a",
    "--approvals",
    type=click.IntRange(0),
    default=0,
    help="So many different people must agree.",
)
@click.option("--delete", is_flag=True, help="Guard it no more.")
@json_option
@client_option
def guard(
    name: str,
    alias: str | None,
    checks: tuple[str, ...],
    approvals: int,
    delete: bool,
    as_json: bool,
    store_uri: str | None,
) -> None:
    """Guard ALIAS of the registered model NAME: it moves only to versions that have what is asked for here.

    It replaces the guard that was there, so say all that is asked for. Without --check, --approvals and --delete, print
    the guards. A check is set by headrace models evaluate, or by
    hand as the version's tag headrace.check.NAME with the value passed.
    """
    with opened_client(store_uri) as client:
        if delete or checks or approvals:
            if alias is None:
                raise InvalidParameter("Name the alias.")
            if delete:
                client.delete_guard(name, alias)
            else:
                client.set_guard(name, alias, checks=checks, approvals=approvals)
                asked = [f"the check {check} is passed" for check in checks]
                if approvals:
                    asked.append(
                        "one person agrees" if approvals == 1 else f"{approvals} people agree"
                    )
                click.echo(f"{name}@{alias} moves to a version when {' and '.join(asked)}.")
            return
        found = client.get_guards(name, alias or "")
    if as_json:
        print_json(found)
        return
    print_table(
        ("alias", "checks", "approvals", "given", "by", "since"),
        [
            (
                one.alias,
                ", ".join(one.checks),
                one.approvals or None,
                ", ".join(f"{given.actor} for {given.version}" for given in one.given),
                one.actor,
                moment(one.time),
            )
            for one in found
        ],
    )


@click.command()
@click.argument("name")
@click.argument("alias", metavar="[ALIAS]", required=False)
@click.option(
    "-n",
    "--max",
    "limit",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="At most so many moves.",
)
@json_option
@client_option
def history(name: str, alias: str | None, limit: int, as_json: bool, store_uri: str | None) -> None:
    """Show who moved an alias from where to where, and when; newest first."""
    with opened_client(store_uri) as client:
        moves = client.alias_history(name, alias or "", max_results=limit)
    if as_json:
        print_json(moves)
        return
    print_table(
        ("time", "alias", "from", "to", "by", "how", "agreed"),
        [
            (
                moment(one.time),
                one.alias,
                one.before or "-",
                one.after or "-",
                one.actor,
                one.action,
                ", ".join(one.approved_by),
            )
            for one in moves
        ],
    )
