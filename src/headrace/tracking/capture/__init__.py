"""What a run captures by itself: code, changes, environment, host and seeds.

Each part can be switched off (`switches`), none can fail a run: what goes wrong is a note in
``headrace/capture.json``. Importing this loads nothing of the parts.
"""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.tracking.capture.document import Document, Moment, json_document
from headrace.tracking.capture.entry import entry, source_folder, user
from headrace.tracking.capture.switches import (
    PARTS,
    capture_limit,
    enabled,
    enabled_parts,
)

if TYPE_CHECKING:
    from headrace.tracking.capture.code import Code

__all__ = ["PARTS", "Document", "Settings", "documents", "enabled", "tags"]

#: Of the documents; see docs/capture.md.
VERSION = 1

_logger = logging.getLogger("headrace")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What to capture.

    Attributes:
        parts: Of `PARTS`.
        limit: Bytes of the patch and the untracked files together.
    """

    parts: frozenset[str]
    limit: int

    @classmethod
    def of_environment(cls) -> Settings:
        """As ``HEADRACE_CAPTURE`` and ``HEADRACE_CAPTURE_LIMIT`` say; never raises."""
        return cls(parts=enabled_parts(), limit=capture_limit())


def tags() -> dict[str, str]:
    """The tags that are known at once, read without starting git: who, what, and, with the part
    ``code``, which commit, branch and remote; with ``seeds``, which seed."""
    started = entry()
    seeds = sys.modules.get("headrace.tracking.capture.seeds")  # loaded with the first seed
    found = {
        **(seeds.tags() if seeds is not None and enabled("seeds") else {}),
        "mlflow.user": user(),
        "mlflow.source.name": started.name,
        "mlflow.source.type": "NOTEBOOK" if started.kind == "notebook" else "LOCAL",
    }
    if not enabled("code"):
        return found
    from headrace.tracking.capture.repository import Repository

    repository = Repository.find(source_folder(started))
    head = repository.head() if repository is not None else None
    if repository is not None and head is not None and head.commit is not None:
        found["mlflow.source.git.commit"] = head.commit
        if head.branch is not None:
            found["mlflow.source.git.branch"] = head.branch
        remote = repository.remote(head.branch)
        if remote is not None:
            found["mlflow.source.git.repoURL"] = remote
    return found


def documents(settings: Settings | None = None) -> Iterator[Document]:
    """The files to keep with a run, ``headrace/capture.json`` last; none when all is switched off.

    What may change next (arguments, folder, environment variables) is read by the call, the rest as the
    iterator goes on, which may be in another thread. It never raises.

    Args:
        settings: Default: `Settings.of_environment`.
    """
    settings = settings or Settings.of_environment()
    if not settings.parts.intersection(("code", "diff", "environment", "host", "seeds")):
        return iter(())
    try:
        moment = Moment.now()
    except Exception as error:  # noqa: BLE001  a folder that is gone, say: a run goes on without this
        _logger.warning("What the run was started with could not be captured: %s", error)
        return iter(())
    return _captured(settings, moment)


def _captured(settings: Settings, moment: Moment) -> Iterator[Document]:
    notes: dict[str, Any] = {}
    for part, capture in _Parts(settings, moment).all():
        if part not in settings.parts:
            notes[part] = {"captured": False, "why": "switched off (HEADRACE_CAPTURE)"}
            continue
        note = notes[part] = {"captured": True, "files": 0, "milliseconds": 0.0}
        steps = _steps(capture, note)
        while (document := next(steps, None)) is not None:
            note["files"] += 1
            yield document
    yield json_document("capture.json", {"version": VERSION, "parts": notes})


def _steps(capture: Callable[[], Iterator[Document]], note: dict[str, Any]) -> Iterator[Document]:
    """The documents of a part, with the time that they took, without that of who takes them."""
    start = time.perf_counter()
    try:
        for document in capture():
            note["milliseconds"] += _since(start)
            yield document
            start = time.perf_counter()
    except Exception as error:  # noqa: BLE001  no part may fail a run, whatever happens in it
        note["captured"] = False
        note["why"] = f"{type(error).__name__}: {error}"[:1000]
    note["milliseconds"] = round(note["milliseconds"] + _since(start), 1)


def _since(start: float) -> float:
    return (time.perf_counter() - start) * 1000


class _Parts:
    """Each part and what makes its documents. The modules of a part are loaded when its turn comes: that
    is off the start of a program, and a failure is that part's alone."""

    def __init__(self, settings: Settings, moment: Moment) -> None:
        self._settings = settings
        self._moment = moment

    def all(self) -> tuple[tuple[str, Callable[[], Iterator[Document]]], ...]:
        """In the order in which what they capture may change under way: edited files first."""
        return (
            ("diff", self._diff),
            ("code", self._described),
            ("seeds", self._seeds),
            ("environment", self._environment),
            ("host", self._host),
        )

    @functools.cached_property
    def _code(self) -> Code:
        from headrace.tracking.capture.code import Code

        return Code(self._moment, self._settings.limit)

    def _diff(self) -> Iterator[Document]:
        return self._code.diff()

    def _described(self) -> Iterator[Document]:
        return self._code.code(with_diff="diff" in self._settings.parts)

    def _seeds(self) -> Iterator[Document]:
        from headrace.tracking.capture import seeds

        return seeds.documents()

    def _environment(self) -> Iterator[Document]:
        from headrace.tracking.capture.environment import environment

        return environment(self._moment)

    def _host(self) -> Iterator[Document]:
        from headrace.tracking.capture.host import host

        return host(self._moment)
