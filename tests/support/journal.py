"""What a journal ships, made by hand."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from headrace.protocol.ingest import AnyStep, Batch, ConsoleLine, Ingested, WriteConsole
from headrace.protocol.store import Store


class Journal:
    """A writer that ships its batches itself, one after the other."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.writer = uuid.uuid4().hex
        self.position = 0

    def ship(self, *steps: AnyStep, **fields: Any) -> Ingested:
        """Ship steps as the next batch."""
        end = self.position + len(steps)
        batch = Batch(writer=self.writer, start=self.position, end=end, operations=steps, **fields)
        answer = self.store.ingest(batch)
        assert answer.position == end
        self.position = end
        return answer

    def say_alive(self, *run_ids: str, silence: int = 90_000) -> None:
        """Ship a sign of life."""
        assert not self.ship(alive=run_ids, silence=silence).rejected

    def print(
        self,
        run_id: str,
        *lines: str,
        stream: str = "stdout",
        source: str = "",
        unfinished: str = "",
        times: Sequence[int] | None = None,
    ) -> None:
        """Ship console output; line ``n`` is written at millisecond ``n`` unless times are given."""
        given = zip(times or range(len(lines)), lines, strict=True)
        step = WriteConsole(
            run_id=run_id,
            stream=stream,
            source=source,
            lines=tuple(ConsoleLine(time, text) for time, text in given),
            unfinished=unfinished,
        )
        assert not self.ship(step).rejected
