"""What a batch holds that cannot be applied: found, and told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from headrace.engine.runs import checked_pairs
from headrace.entities import KeyValue
from headrace.errors import AlreadyExists, HeadraceError, InvalidParameter, InvalidState, NotFound
from headrace.protocol.ingest import Rejection
from headrace.protocol.limits import refuse_nul

#: What makes one item of a batch unacceptable. Everything else, a database that fails above all, undoes
#: the whole batch, so that it comes again.
REFUSALS = (InvalidParameter, NotFound, InvalidState, AlreadyExists)

_json = msgspec.json.Encoder()


class Rejected:
    """The rejections of one batch; the same thing is rejected once."""

    def __init__(self, known: Iterable[Rejection]) -> None:
        self.all: list[Rejection] = list(known)
        self._seen = {(one.run_id, one.what) for one in self.all}

    def add(self, run_id: str, what: str, error: HeadraceError) -> None:
        """Note that something was not applied."""
        one = rejection(run_id, what, error.message)
        if (one.run_id, one.what) not in self._seen:
            self._seen.add((one.run_id, one.what))
            self.all.append(one)

    def by_run(self) -> dict[str, list[dict[str, str]]]:
        """What the events say, by run id."""
        found: dict[str, list[dict[str, str]]] = {}
        for one in self.all:
            found.setdefault(one.run_id, []).append({"what": one.what, "message": one.message})
        return found


def rejection(run_id: str, what: str, message: str) -> Rejection:
    """A rejection in text that every store and wire can hold, whatever was rejected."""
    return Rejection(
        run_id=_plain(run_id)[:256], what=_plain(what)[:300], message=_plain(message)[:2000]
    )


def _plain(text: str) -> str:
    return text.encode(errors="backslashreplace").decode().replace("\x00", "\\x00")


def check_text(value: Any) -> None:
    """Refuse text that no store can keep, anywhere in a value.

    Raises:
        InvalidParameter: A NUL character, or half of a surrogate pair.
    """
    try:
        text = _json.encode(value)
    except UnicodeEncodeError:
        raise InvalidParameter(
            "A text holds half of a surrogate pair, which is no character; remove it."
        ) from None
    if b"\\u0000" in text:
        refuse_nul(msgspec.to_builtins(value))


def accepted(
    run_id: str, pairs: Iterable[KeyValue], noun: str, rejected: Rejected
) -> dict[str, str]:
    """The params or tags that may be recorded."""
    found: dict[str, str] = {}
    for pair in pairs:
        try:
            check_text(pair)
            found |= checked_pairs((pair,), noun)
        except InvalidParameter as error:
            rejected.add(run_id, f"{noun} {pair.key}", error)
    return found
