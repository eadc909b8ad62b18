"""``headrace webhooks``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from headrace.cli.outcome import FAILED, printable
from headrace.cli.output import json_option, moment, print_fields, print_json, print_table
from headrace.cli.store import ask, opened, store_option
from headrace.cli.webhook_deliveries import deliveries, redeliver
from headrace.cli.webhook_lookup import all_webhooks, find_webhook
from headrace.protocol.webhooks import FORMATS, Webhook, Webhooks

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def webhooks() -> None:
    """List, create, change and try webhooks, and see what became of their deliveries.

    WEBHOOK is an id, or a name that only one webhook has.
    """


def _parse_headers(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> dict[str, str] | None:
    headers = {}
    for one in given:
        name, colon, value = one.partition(":")
        if not colon or not name.strip():
            raise click.BadParameter("a header is written as 'Name: value'.", ctx, param)
        headers[name.strip()] = value.strip()
    return headers or None


def wishes(command: F) -> F:
    """What a webhook asks for and how it is told, for `create` and `update`."""
    for option in reversed(
        (
            click.option("-t", "--type", "types", multiple=True, metavar="TYPE", help="Events that it gets: run.failed, 'run.*'; may be repeated. [default: only what rules send to it by name]"),
            click.option("--subject", "subjects", multiple=True, metavar="SUBJECT", help="Only events of this: run/ID, or a beginning and a star; may be repeated."),
            click.option("-x", "--experiment-id", "experiment_ids", multiple=True, metavar="ID", help="Only events of this experiment; may be repeated."),
            click.option("--actor", "actors", multiple=True, metavar="USER", help="Only what this user did; may be repeated."),
            click.option("-f", "--format", "format", type=click.Choice(FORMATS), help="What messages look like. [default: cloudevents]"),
            click.option("--template", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="File with a Jinja template."),
            click.option("--secret", envvar="HEADRACE_WEBHOOK_SECRET", help="Messages are signed with it. Better given as HEADRACE_WEBHOOK_SECRET: others may see command lines."),
            click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", callback=_parse_headers, help="A further header; may be repeated."),
            click.option("--description", help="For people."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


@webhooks.command("list")
@click.option("-n", "--name", default="", help="Only those of this name.")
@json_option
@store_option
def list_webhooks(name: str, as_json: bool, store_uri: str | None) -> None:
    """List webhooks, newest first."""
    with opened(store_uri) as store:
        found = list(all_webhooks(store, name))
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("No webhooks.", err=True)
        return
    print_table(
        ("id", "name", "status", "format", "url", "events"),
        [
            (one.webhook_id, one.name, one.status, one.format, one.url, _events(one))
            for one in found
        ],
    )


@webhooks.command()
@click.argument("webhook")
@json_option
@store_option
def show(webhook: str, as_json: bool, store_uri: str | None) -> None:
    """Show one webhook."""
    with opened(store_uri) as store:
        found = find_webhook(store, webhook)
    if as_json:
        print_json(found)
        return
    print_fields(
        (
            ("id", found.webhook_id),
            ("name", found.name),
            ("description", found.description or None),
            ("status", found.status),
            ("url", found.url),
            ("format", found.format),
            ("events", _events(found)),
            ("subjects", ", ".join(found.subjects) or None),
            ("experiments", ", ".join(found.experiment_ids) or None),
            ("actors", ", ".join(found.actors) or None),
            ("signed", "yes" if found.has_secret else "no"),
            ("headers", ", ".join(found.header_names) or None),
            ("created", moment(found.creation_time)),
            ("last update", moment(found.last_update_time)),
            ("template", found.template or None),
        )
    )


@webhooks.command()
@click.argument("name")
@click.argument("url")
@wishes
@json_option
@store_option
def create(
    name: str,
    url: str,
    template: Path | None,
    as_json: bool,
    store_uri: str | None,
    **wished: Any,
) -> None:
    """Create a webhook and print its id. It gets events that are younger than it."""
    with opened(store_uri, create=True) as store:
        made = ask(
            store,
            Webhooks.create_webhook,
            name=name,
            url=url,
            template=None if template is None else template.read_text(),
            **{field: value or None for field, value in wished.items()},
        ).webhook
    if as_json:
        print_json(made)
    else:
        click.echo(made.webhook_id)


@webhooks.command()
@click.argument("webhook")
@click.option("--name", help="Another name.")
@click.option("--url", help="Another target.")
@click.option("--enable/--disable", "active", default=None, help="Whether it gets events.")
@click.option("--no-secret", is_flag=True, help="Do not sign any more.")
@wishes
@store_option
def update(
    webhook: str,
    active: bool | None,
    no_secret: bool,
    template: Path | None,
    store_uri: str | None,
    **wished: Any,
) -> None:
    """Change a webhook: what is given replaces what it had."""
    status = None if active is None else "ACTIVE" if active else "DISABLED"
    fields = {field: value for field, value in wished.items() if value not in (None, ())}
    if no_secret:
        fields["secret"] = ""
    with opened(store_uri) as store:
        found = find_webhook(store, webhook)
        ask(
            store,
            Webhooks.update_webhook,
            webhook_id=found.webhook_id,
            status=status,
            template=None if template is None else template.read_text(),
            **fields,
        )
    click.echo(f"Webhook {found.webhook_id} is changed.")


@webhooks.command()
@click.argument("webhook")
@store_option
def delete(webhook: str, store_uri: str | None) -> None:
    """Delete a webhook; what waits to be delivered is cancelled."""
    with opened(store_uri) as store:
        found = find_webhook(store, webhook)
        ask(store, Webhooks.delete_webhook, webhook_id=found.webhook_id)
    click.echo(f"Webhook {found.webhook_id} ({printable(found.name)}) is deleted.")


@webhooks.command()
@click.argument("webhook")
@click.option("-t", "--type", "type", default="", help="Type of the event that is sent. [default: the first that the webhook asks for]")  # fmt: skip
@json_option
@store_option
@click.pass_context
def test(ctx: click.Context, webhook: str, type: str, as_json: bool, store_uri: str | None) -> None:
    """Send an example now, and say how it went; exit code 1 when it was not delivered. Needs a server."""
    with opened(store_uri) as store:
        found = find_webhook(store, webhook)
        result = ask(store, Webhooks.test_webhook, webhook_id=found.webhook_id, type=type)
    attempt = result.attempt
    if as_json:
        print_json(result)
    else:
        print_fields(
            (
                ("delivery", result.delivery.delivery_id),
                ("event", result.delivery.type),
                ("state", result.delivery.state),
                ("status", attempt.status),
                ("took", f"{attempt.latency_ms:.0f} ms"),
                ("answer", attempt.body or None),
                ("error", attempt.error or None),
            )
        )
    if attempt.error:
        ctx.exit(FAILED)


webhooks.add_command(deliveries)
webhooks.add_command(redeliver)


def _events(webhook: Webhook) -> str:
    return ", ".join((*webhook.types, *webhook.mlflow_events)) or "rules' alone"
