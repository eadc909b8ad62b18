"""Webhooks by what people type: an id, or a name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from headrace.cli.store import ask
from headrace.errors import InvalidParameter, NotFound
from headrace.protocol.store import Store
from headrace.protocol.webhooks import MAX_PAGE, Webhook, Webhooks

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def find_webhook(store: Store, given: str) -> Webhook:
    """The webhook with that id, or the only one of that name.

    Raises:
        NotFound: There is none.
        InvalidParameter: Several have the name.
    """
    if _ID.fullmatch(given):
        found: Webhook = ask(store, Webhooks.get_webhook, webhook_id=given).webhook
        return found
    named = list(all_webhooks(store, given))
    if not named:
        raise NotFound(f"No webhook is called '{given}': headrace webhooks list shows all.")
    if len(named) > 1:
        ids = ", ".join(one.webhook_id for one in named[:3])
        raise InvalidParameter(
            f"{len(named)} webhooks are called '{given}' ({ids}, …): give an id."
        )
    return named[0]


def all_webhooks(store: Store, name: str = "") -> Iterator[Webhook]:
    """Every webhook, or every one of a name, newest first."""
    token = ""
    while True:
        page = ask(store, Webhooks.list_webhooks, name=name, max_results=MAX_PAGE, page_token=token)
        yield from page.webhooks
        token = page.next_page_token
        if not token:
            return
