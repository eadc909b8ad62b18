"""Which events somebody wants: the same choice in SQL, in a stream, for a webhook and for a rule."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.errors import InvalidParameter
from headrace.protocol.catalogue import EVENT_TYPES, matching_types
from headrace.protocol.cloudevents import Row

#: Values of one field at most.
_MOST = 1000


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """A choice of events; None and empty do not restrict.

    Attributes:
        types: Exact names.
        subjects: Exact subjects.
        prefixes: Beginnings of subjects; with `subjects`, one of either will do.
        experiments: Numbers of experiments.
        actors: Who made the changes.
        since: Milliseconds since the Unix epoch, inclusive.
        until: Milliseconds since the Unix epoch, exclusive.
    """

    types: frozenset[str] | None = None
    subjects: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    experiments: frozenset[int] = frozenset()
    actors: frozenset[str] = frozenset()
    since: int | None = None
    until: int | None = None

    def matches(self, row: Row) -> bool:
        """Whether an event is chosen."""
        if self.types is not None and row.type not in self.types:
            return False
        if (self.subjects or self.prefixes) and not (
            row.subject in self.subjects or row.subject.startswith(self.prefixes)
        ):
            return False
        if self.experiments and row.experiment_id not in self.experiments:
            return False
        if self.actors and row.actor not in self.actors:
            return False
        if self.since is not None and row.time < self.since:
            return False
        return self.until is None or row.time < self.until

    @property
    def everything(self) -> bool:
        """Whether it chooses every event."""
        return self == _EVERYTHING


_EVERYTHING = EventFilter()


def event_filter(
    *,
    types: Sequence[str] = (),
    subjects: Sequence[str] = (),
    experiment_ids: Sequence[str] = (),
    actors: Sequence[str] = (),
    since: int | None = None,
    until: int | None = None,
) -> EventFilter:
    """A filter from what a user gives.

    Args:
        types: Globs, see `headrace.protocol.catalogue.matching_types`.
        subjects: Exact ones; one that ends with ``*`` is a prefix.
        experiment_ids: Ids of experiments.
        actors: User names.
        since: Milliseconds since the Unix epoch, inclusive.
        until: Milliseconds since the Unix epoch, exclusive.

    Raises:
        InvalidParameter: A type that there is not, an id that is none, or a star in the midst of a subject.
    """
    for field, values in (
        ("type", types), ("subject", subjects), ("experiment_id", experiment_ids), ("actor", actors)
    ):  # fmt: skip
        if len(values) > _MOST:
            raise InvalidParameter(
                f"'{field}' has {len(values)} values; at most {_MOST} are allowed."
            )
    chosen: frozenset[str] | None = None
    if types:
        chosen = frozenset().union(*(matching_types(glob) for glob in types))
        if len(chosen) == len(EVENT_TYPES):
            chosen = None
    for subject in subjects:
        if not subject or "*" in subject[:-1]:
            raise InvalidParameter(
                f"'{subject[:100]}' is no subject: give one such as run/<run_id>, or its beginning and a star."
            )
    for one in experiment_ids:
        if not (one.isascii() and one.isdigit() and len(one) <= 18):
            raise InvalidParameter(f"'{one[:100]}' is no experiment id: give digits.")
    everything = "*" in subjects
    return EventFilter(
        types=chosen,
        subjects=frozenset() if everything else frozenset(s for s in subjects if s[-1] != "*"),
        prefixes=() if everything else tuple(s[:-1] for s in subjects if s[-1] == "*"),
        experiments=frozenset(map(int, experiment_ids)),
        actors=frozenset(actors),
        since=since,
        until=until,
    )
