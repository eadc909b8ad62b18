"""A process that makes changes in a database until it is killed: each batch of them one transaction.

``python -m support.changes URL NUMBER FILE BATCHES``: writer NUMBER goes on after as many batches as FILE has
bytes, and appends a byte for each that was acknowledged.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from headrace.engine import Engine
from headrace.errors import InvalidParameter
from headrace.protocol.ingest import StartRun
from support.api import Api, pairs
from support.batches import Journal

#: Runs of a writer; each batch changes all of them.
RUNS = 50
#: So often a transaction is taken back after it has written events.
_UNDONE = 7


def runs_of(writer: int) -> list[str]:
    """Ids of a writer's runs."""
    return [f"{writer:02d}x{number:030d}" for number in range(RUNS)]


def main(url: str, writer: int, file: Path, batches: int) -> None:
    """Make what is left to be made."""
    engine = Engine(url, artifact_root="file:///nowhere", compact=False)
    api = Api(engine)
    runs = runs_of(writer)
    with file.open("ab") as done:
        journal = Journal()
        engine.ingest(journal.batch(steps=[StartRun(run_id=run) for run in runs]))
        with contextlib.suppress(InvalidParameter):  # set before it was killed
            api.log_param(run_id=runs[0], key="fixed", value="1")
        for batch in range(file.stat().st_size, batches):
            if batch % _UNDONE == 0:
                with contextlib.suppress(InvalidParameter):
                    # The new param is recorded and its event written, before the other is refused.
                    api.log_batch(run_id=runs[0], params=pairs(undone=str(batch), fixed="2"))
            engine.ingest(journal.batch([(run, f"k{batch}", 0, 1, 1.0) for run in runs]))
            os.write(done.fileno(), b".")
    engine.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
