"""The payloads of a journal's own records; the others are `headrace.protocol.ingest`'s steps."""

from __future__ import annotations

import msgspec


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where the records of a journal come from, and where they go.

    Attributes:
        uri: The destination: a tracking URI without credentials.
        writer: The journal's id.
        user, host, pid: The process that wrote it.
        made: Milliseconds since the Unix epoch.
        inode: Of the journal's file ``lock``: a copy of the journal has another one. 0 if it has no file.
    """

    uri: str
    writer: str
    user: str = ""
    host: str = ""
    pid: int = 0
    made: int = 0
    inode: int = 0


class StagedArtifact(msgspec.Struct, frozen=True, kw_only=True):
    """A file that waits in the journal's folder to be uploaded.

    Attributes:
        run_id: The run.
        path: Where it goes, below the run's artifact root.
        file: Its name in the folder ``staged`` of the journal.
    """

    run_id: str
    path: str
    file: str
