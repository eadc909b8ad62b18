"""A store as somebody in particular sees it."""

from __future__ import annotations

from typing import Any

from headrace.client.remote import RemoteStore
from headrace.engine import Engine
from headrace.protocol.operation import Operation
from headrace.protocol.store import Store
from support.api import Api
from support.backend import Backend


class _Somebody(Store):
    """An engine that acts in somebody's name."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name

    def call(self, operation: Operation, request: Any) -> Any:
        return self._engine.perform(operation, request, self._name)


def person(backend: Backend, name: str) -> Api:
    """The store's operations in somebody's name; nobody's when it is empty."""
    store = backend.store
    if isinstance(store, Engine):
        return Api(_Somebody(store, name))
    assert isinstance(store, RemoteStore)
    login = f"{name}:secret@" if name else ""
    return Api(RemoteStore(store.uri.replace("//", f"//{login}", 1)))
