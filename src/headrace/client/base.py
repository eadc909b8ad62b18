"""What the parts of `headrace.client.client.Client` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.protocol.operation import operation_of
from headrace.protocol.store import Store


class ClientBase:
    """A store, and the way to ask it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def _call(self, method: Callable[..., Any], **fields: Any) -> Any:
        """Carry out the operation that an interface method declares, e.g. ``Runs.create_run``.

        Fields that are None are not sent.

        Raises:
            InvalidParameter: A field has the wrong type or breaks its limit.
        """
        operation = operation_of(method)
        return self._store.call(operation, operation.build(**fields))


class RunOperations:
    """The future of logging that was not waited for, under MLflow's name."""

    def __init__(self, flush: Callable[[float | None], bool] | None = None) -> None:
        """Make one.

        Args:
            flush: Waits for what was logged; None when it is done already.
        """
        self._flush = flush

    def wait(self) -> None:
        """Return when what was logged is durable in the store, or waits in the journal because the
        store is away."""
        if self._flush is not None:
            self._flush(None)


def finished(synchronous: bool | None) -> RunOperations | None:
    """What a call that waited returns: a `RunOperations` when it was asked not to wait."""
    return RunOperations() if synchronous is False else None
