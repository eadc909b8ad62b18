"""What a benchmark must know of a tool to log with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Where points go: into files or a database on this machine, to a server on this machine, or
#: into the client's own files until somebody ships them.
LOCAL, SERVER, OFFLINE = "local store", "server", "offline"


@dataclass(frozen=True)
class Tool:
    """A tool in one of its settings, as lines of Python that run in its own environment.

    The lines are compiled into the loops that time them, so a call costs what it costs the user.
    They see ``value`` (a number), ``ten`` (a dictionary of ten) and ``step``.

    Attributes:
        name: As the table calls it.
        place: `LOCAL`, `SERVER` or `OFFLINE`.
        packages: What to install from the package registry.
        start: Imports it and starts a run, with every default as it is.
        scalar: Logs ``value``.
        ten: Logs ``ten``.
        finish: Returns when everything logged is where it goes, and ends the run.
        count: Run afterwards in a process of its own; prints how many points there are. Empty:
            unknown.
        lags: Whether it takes many times longer to store points than to accept them. It is then given
            up when its calls are timed, and logs for a tenth of the time where all has to arrive.
        environment: Variables; ``{folder}`` stands for the working folder, ``{uri}`` for the
            tracking URI of the store or server.
    """

    name: str
    place: str
    packages: tuple[str, ...]
    start: str
    scalar: str
    ten: str
    finish: str
    count: str = ""
    lags: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def variables(self, folder: str, uri: str) -> dict[str, str]:
        """The environment variables of a process that logs with it."""
        return {
            name: text.format(folder=folder, uri=uri) for name, text in self.environment.items()
        }
