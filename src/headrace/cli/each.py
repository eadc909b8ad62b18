"""Doing one thing to several runs that a command line names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from headrace.cli import lookup
from headrace.cli.outcome import complain, exit_code
from headrace.cli.store import ask, opened
from headrace.errors import HeadraceError


def each(
    given: tuple[str, ...],
    method: Callable[..., Any],
    said: str,
    store_uri: str | None,
    **fields: Any,
) -> None:
    """Do one thing to several runs; what fails does not keep the others from being done."""
    if not given:
        raise click.UsageError("Give at least one run.")
    code = 0
    with opened(store_uri) as store:
        for one in dict.fromkeys(given):
            try:
                run_id = lookup.find_run_id(store, one)
                ask(store, method, run_id=run_id, **fields)
                click.echo(f"Run {run_id} {said}.")
            except HeadraceError as error:
                complain(error.message)
                code = max(code, exit_code(error))
    if code:
        click.get_current_context().exit(code)
