"""Names of metrics, params and tags as numbers.

A name, once numbered, keeps its number for ever, so every process may remember what it has seen. A
number is remembered only after the transaction that made it has committed.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.database import insert

#: Entries that the cache holds before it begins anew: some 60 MB of names.
_MOST = 200_000


class KeyCache:
    """Numbers known to be committed; shared by all sessions of an engine. Thread-safe.

    ``discovered`` holds (experiment id, kind, key id) known to be in ``experiment_key``.
    """

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self.discovered: set[tuple[int, int, int]] = set()
        self.epoch = 0

    def make_room(self) -> None:
        """Begin anew when there is too much; what is asked for again is looked up again."""
        if max(len(self.ids), len(self.names)) > _MOST:
            self.ids, self.names = {}, {}
        if len(self.discovered) > _MOST:
            self.forget()

    def forget(self) -> None:
        """Forget what is discovered, because a purge may have removed it."""
        self.discovered = set()
        self.epoch += 1


class SessionKeys:
    """A session's view of the cache: what it adds is published by `publish`, after the commit."""

    def __init__(self, connection: sa.Connection, cache: KeyCache) -> None:
        self._connection = connection
        self._cache = cache
        self._epoch = cache.epoch
        self._new: dict[str, int] = {}
        self._seen: dict[int, str] = {}
        self._discovered: set[tuple[int, int, int]] = set()
        self._purged = False

    def lookup(self, names: Iterable[str]) -> dict[str, int]:
        """Numbers of those names that have one."""
        found: dict[str, int] = {}
        missing = []
        for name in dict.fromkeys(names):
            number = self._cache.ids.get(name) or self._new.get(name)
            if number is None:
                missing.append(name)
            else:
                found[name] = number
        for start in range(0, len(missing), 500):
            part = missing[start : start + 500]
            rows = self._connection.execute(
                sa.select(schema.key.c.name, schema.key.c.id).where(schema.key.c.name.in_(part))
            )
            for name, number in rows:
                found[name] = self._new[name] = number
        return found

    def number(self, names: Iterable[str]) -> dict[str, int]:
        """Numbers of the names, new ones where needed. Only in a write transaction."""
        wanted = list(dict.fromkeys(names))
        found = self.lookup(wanted)
        missing = [name for name in wanted if name not in found]
        if missing:
            # Sorted, so that two transactions that add the same names cannot deadlock.
            self._connection.execute(
                insert(self._connection, schema.key).on_conflict_do_nothing(),
                [{"name": name} for name in sorted(missing)],
            )
            found |= self.lookup(missing)
        return found

    def known(self, name: str) -> bool:
        """True when the name has a committed number, and so was found valid before."""
        return name in self._cache.ids

    def names(self, numbers: Iterable[int]) -> dict[int, str]:
        """Names of the numbers."""
        cached = self._cache.names
        wanted = set(numbers)
        found = {number: cached[number] for number in wanted if number in cached}
        missing = sorted(wanted - found.keys())
        for start in range(0, len(missing), 500):
            part = missing[start : start + 500]
            rows = self._connection.execute(
                sa.select(schema.key.c.id, schema.key.c.name).where(schema.key.c.id.in_(part))
            )
            for number, name in rows:
                found[number] = self._seen[number] = name
        return found

    def discover(self, experiment_id: int, kind: int, numbers: Iterable[int]) -> None:
        """Note that runs of an experiment have these keys, for `search_keys`."""
        new = [
            (experiment_id, kind, number)
            for number in sorted(set(numbers))
            if (experiment_id, kind, number) not in self._cache.discovered
            and (experiment_id, kind, number) not in self._discovered
        ]
        if new:
            self._connection.execute(
                insert(self._connection, schema.experiment_key).on_conflict_do_nothing(),
                [{"experiment_id": e, "kind": k, "key_id": n} for e, k, n in new],
            )
            self._discovered.update(new)

    def purged(self) -> None:
        """Note that rows of ``experiment_key`` were removed in this transaction."""
        self._purged = True

    def publish(self) -> None:
        """Share what this session learned; call after its transaction has committed."""
        cache = self._cache
        if self._purged:
            cache.forget()
        cache.make_room()
        for name, number in self._new.items():
            cache.ids[name] = number
            cache.names[number] = name
        cache.names.update(self._seen)
        if self._epoch == cache.epoch:
            cache.discovered.update(self._discovered)
