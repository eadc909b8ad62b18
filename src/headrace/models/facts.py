"""What is known of a model: from the registry, the tracking store, and its folder's small files."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from headrace.errors import HeadraceError, NotFound
from headrace.models.download import locate_model, nothing_at
from headrace.models.mlmodel import FILE_NAME, MLModel
from headrace.models.strict_yaml import MAX_BYTES

if TYPE_CHECKING:
    from headrace.client import Client
    from headrace.entities import LoggedModel, ModelVersion, Run

_REQUIREMENTS = "requirements.txt"
_OF_MACHINE = "system/"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model.

    Attributes:
        uri: As it was asked for.
        location: URI of its folder.
        version: The registry's, if it was asked for by name.
        logged: The logged model, where there is one.
        run: The run that made it, where it is there still.
        model: What its ``MLmodel`` says; None when it cannot be read.
        problem: Why it cannot.
        requirements: Lines of its requirements.txt, comments left out.
        digest: SHA-256 of its folder, where it was recorded.
    """

    uri: str
    location: str
    version: ModelVersion | None
    logged: LoggedModel | None
    run: Run | None
    model: MLModel | None
    problem: str
    requirements: tuple[str, ...]
    digest: str | None

    @property
    def params(self) -> Mapping[str, str]:
        """Of the run, and over them those of the logged model."""
        found = dict(self.run.data.params) if self.run is not None else {}
        if self.logged is not None:
            found.update(self.logged.params or {})
        return found

    @property
    def metrics(self) -> Mapping[str, float]:
        """The last value of each metric of the run, and over them those of the logged model.

        What was measured of the machine says nothing of the model.
        """
        measured = self.run.data.metrics if self.run is not None else {}
        found = {key: value for key, value in measured.items() if not key.startswith(_OF_MACHINE)}
        if self.logged is not None:
            latest = sorted(self.logged.metrics or (), key=lambda one: (one.step, one.timestamp))
            found.update((one.key, one.value) for one in latest)
        return found

    @property
    def size(self) -> int | None:
        """Bytes of its folder, as MLmodel says."""
        return self.model.model_size_bytes if self.model is not None else None


def facts_of(client: Client, uri: str) -> Facts:
    """Gather what is known of a model. Nothing of it is opened but its MLmodel and its requirements.

    Args:
        client: Of the store.
        uri: Any address of a model.

    Raises:
        NotFound: There is no such model.
    """
    found = locate_model(uri, client=client)
    logged = run = model = None
    problem = ""
    with contextlib.suppress(NotFound):
        if found.model_id:
            logged = client.get_logged_model(found.model_id)
    with contextlib.suppress(NotFound):
        if found.run_id:
            run = client.get_run(found.run_id)
    try:
        model = MLModel.from_yaml(_read(client, found.location, FILE_NAME), source=found.location)
    except (HeadraceError, OSError) as error:
        if logged is None and run is None and found.version is None and isinstance(error, NotFound):
            raise nothing_at(found) from None  # all that is known is that it is not there
        problem = str(error)
    lines: list[str] = []
    with contextlib.suppress(HeadraceError, OSError):
        text = _read(client, found.location, _REQUIREMENTS).decode(errors="replace")
        lines = [line.strip() for line in text.splitlines()]
    return Facts(
        uri=uri,
        location=found.location,
        version=found.version,
        logged=logged,
        run=run,
        model=model,
        problem=problem,
        requirements=tuple(line for line in lines if line and not line.startswith("#")),
        digest=found.digest,
    )


def _read(client: Client, location: str, name: str) -> bytes:
    with client.artifacts_at(location).read(name, 0, MAX_BYTES + 1) as content:
        return content.read()
