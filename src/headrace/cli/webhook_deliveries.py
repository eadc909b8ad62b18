"""``headrace webhooks deliveries`` and ``redeliver``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from headrace.cli.choices import SPAN
from headrace.cli.output import json_option, moment, print_fields, print_json, print_table
from headrace.cli.store import ask, opened, store_option
from headrace.cli.webhook_lookup import find_webhook
from headrace.protocol.store import Store
from headrace.protocol.webhooks import MAX_PAGE, Delivery, DeliveryState, Webhooks

_STATE = click.Choice([one.value for one in DeliveryState])


@click.command()
@click.argument("webhook", required=False)
@click.option("-s", "--state", "states", type=_STATE, multiple=True, help="Only these; may be repeated.")  # fmt: skip
@click.option("-t", "--type", "types", multiple=True, help="Only events of this type; may be repeated.")  # fmt: skip
@click.option("--subject", "subjects", multiple=True, help="Only of this subject; may be repeated.")
@click.option("--since", type=SPAN, help="Only events of the last 12h, 7d, …")
@click.option("-l", "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")  # fmt: skip
@click.option("--delivery", "delivery_id", help="Show this one, with its attempts.")
@json_option
@store_option
def deliveries(
    webhook: str | None,
    states: tuple[str, ...],
    types: tuple[str, ...],
    subjects: tuple[str, ...],
    since: int | None,
    limit: int,
    delivery_id: str | None,
    as_json: bool,
    store_uri: str | None,
) -> None:
    """List deliveries, of WEBHOOK or of all, the latest first; or show one."""
    with opened(store_uri) as store:
        if delivery_id is not None:
            _show(ask(store, Webhooks.get_delivery, delivery_id=delivery_id), as_json)
            return
        chosen = {
            "webhook_id": _webhook_id(store, webhook),
            "state": states or None,
            "type": types or None,
            "subject": subjects or None,
            "since": _ago(since),
        }
        found = list(_deliveries(store, chosen, limit))
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("No deliveries.", err=True)
        return
    print_table(
        ("id", "event", "type", "subject", "state", "attempts", "status", "next", "error"),
        [
            (
                one.delivery_id,
                one.event or "test",
                one.type,
                one.subject,
                one.state,
                one.attempts,
                one.status,
                moment(one.next_time),
                one.error or None,
            )
            for one in found
        ],
    )


@click.command()
@click.argument("webhook", required=False)
@click.option("--delivery", "delivery_id", help="This one.")
@click.option("--first", type=int, help="Events with at least this number.")
@click.option("--last", type=int, help="Events with at most this number.")
@click.option("--since", type=SPAN, help="Events of the last 12h, 7d, …")
@click.option("--until", type=SPAN, help="Events older than 1h, …")
@click.option("-s", "--state", "states", type=_STATE, multiple=True, help="Only deliveries in this state, such as parked; without it also events that WEBHOOK never got.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only count.")
@store_option
def redeliver(
    webhook: str | None,
    delivery_id: str | None,
    first: int | None,
    last: int | None,
    since: int | None,
    until: int | None,
    states: tuple[str, ...],
    dry_run: bool,
    store_uri: str | None,
) -> None:
    """Deliver again: one delivery, or those of WEBHOOK within bounds."""
    with opened(store_uri) as store:
        count = ask(
            store,
            Webhooks.redeliver,
            webhook_id=_webhook_id(store, webhook),
            delivery_id=delivery_id,
            first=first,
            last=last,
            since=_ago(since),
            until=_ago(until),
            state=states or None,
            dry_run=dry_run,
        ).count
    what = "would be delivered again" if dry_run else "will be delivered again"
    click.echo(f"{count} {'delivery' if count == 1 else 'deliveries'} {what}.")


def _webhook_id(store: Store, given: str | None) -> str | None:
    return None if given is None else find_webhook(store, given).webhook_id


def _deliveries(store: Store, chosen: dict[str, Any], limit: int) -> Iterator[Delivery]:
    token, left = "", limit
    while left > 0:
        page = ask(
            store,
            Webhooks.list_deliveries,
            **chosen,
            max_results=min(left, MAX_PAGE),
            page_token=token,
        )
        yield from page.deliveries
        left -= len(page.deliveries)
        token = page.next_page_token
        if not token:
            return


def _show(found: Any, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    one = found.delivery
    print_fields(
        (
            ("id", one.delivery_id),
            ("webhook", one.webhook_id),
            ("event", one.event or "test"),
            ("type", one.type),
            ("subject", one.subject),
            ("time", moment(one.time)),
            ("state", one.state),
            ("queued", moment(one.queued_time)),
            ("next attempt", moment(one.next_time)),
            ("done", moment(one.done_time)),
        )
    )
    print_table(
        ("attempt", "time", "status", "ms", "error", "answer"),
        [
            (try_.number, moment(try_.time), try_.status, try_.latency_ms, try_.error, try_.body)
            for try_ in found.attempts
        ],
        title="Attempts",
    )


def _ago(span: int | None) -> int | None:
    return None if span is None else max(0, time.time_ns() // 1_000_000 - span)
