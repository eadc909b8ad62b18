"""What a run captured by itself, read back from its artifacts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from headrace.artifacts import ArtifactStore
from headrace.client.artifacts import artifacts_at
from headrace.entities import Run
from headrace.errors import HeadraceError, NotFound, RangeNotSatisfiable
from headrace.protocol.store import Store
from headrace.tracking.capture.changes import patch_sections

#: Bytes of one document that are read.
_LIMIT = 32 << 20
#: Files beside the patch whose content is compared.
_FILES = 500
_HOME = "headrace"
_INDEX = re.compile(rb"^index [0-9a-f]+\.\.[^\n]*\n", re.MULTILINE)
#: Tags that tell of the code where ``code.json`` is not there, as in runs of MLflow's clients.
_CODE_TAGS = {
    "commit": "mlflow.source.git.commit",
    "branch": "mlflow.source.git.branch",
    "remote": "mlflow.source.git.repoURL",
    "dirty": "mlflow.source.git.dirty",
    "command": "headrace.command",
}


class Captured:
    """The captured documents of one run. What is missing or unreadable is a line in `notes`."""

    def __init__(self, tracking: Store, run: Run) -> None:
        """Address them; nothing is read yet.

        Args:
            tracking: The store that the run is from.
            run: As that answered it.
        """
        self.run = run
        self.notes: list[str] = []
        self._artifacts: ArtifactStore | None = None
        try:
            self._artifacts = artifacts_at(run.info.artifact_uri, tracking)
        except HeadraceError as error:
            self._note(f"artifacts cannot be read: {error.message}")

    def code(self) -> dict[str, Any]:
        """``code.json``, else what the tags say."""
        found = self._json("code.json", "code")
        if found is not None:
            return found
        tags = self.run.data.tags
        return {name: tags[tag] for name, tag in _CODE_TAGS.items() if tag in tags}

    def environment(self) -> dict[str, Any] | None:
        """``environment.json``; None where there is none."""
        return self._json("environment.json", "environment")

    def host(self) -> dict[str, Any] | None:
        """``host.json``; None where there is none."""
        return self._json("host.json", "host")

    def seeds(self) -> dict[str, Any] | None:
        """``seeds.json``; None where there is none."""
        return self._json("seeds.json", "seeds")

    def packages(self) -> dict[str, str] | None:
        """What was installed, by name: a version, or where it was from; None where that is not known."""
        lock = self._read("requirements.txt")
        if lock is None:
            return None
        found: dict[str, str] = {}
        for line in lock.decode(errors="replace").splitlines():
            editable = line.startswith("# editable: ")
            line = line.removeprefix("# editable: ")
            if line.startswith("#") or not line.strip():
                continue
            name, equals, version = line.partition("==")
            if equals and "@" not in name:
                found[name] = f"{version} (editable)" if editable else version
            else:
                name, _, url = line.partition(" @ ")
                found[name] = url
        return found

    def changes(self) -> dict[str, bytes]:
        """Code that is in no commit, by path: sections of the patch, files git did not know, and the
        entry file where there was no git."""
        found: dict[str, bytes] = {}
        patch = self._read("diff.patch")
        if patch:
            # Without the hashes of the whole files, which say less than the lines below them.
            found.update(
                (path, _INDEX.sub(b"", one, count=1)) for path, one in patch_sections(patch)
            )
        files = [file for kind in ("untracked", "code") for file in self._listed(f"{_HOME}/{kind}")]
        for path in files[:_FILES]:
            content = self._read(path.removeprefix(f"{_HOME}/"))
            if content is not None:
                found[path.split("/", 2)[2]] = content
        if len(files) > _FILES:
            self._note(f"{len(files) - _FILES} captured files were not compared")
        return found

    def _note(self, text: str) -> None:
        line = f"run {self.run.info.run_id}: {text}"
        if line not in self.notes:
            self.notes.append(line)

    def _json(self, name: str, part: str) -> dict[str, Any] | None:
        content = self._read(name)
        if content is None:
            self._note(f"no {_HOME}/{name}: its {part} was not captured")
            return None
        try:
            found: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
        except msgspec.MsgspecError:
            self._note(f"{_HOME}/{name} is damaged")
            return None
        return found

    def _read(self, name: str) -> bytes | None:
        if self._artifacts is None:
            return None
        try:
            with self._artifacts.read(f"{_HOME}/{name}", 0, _LIMIT) as content:
                if content.stat.size > _LIMIT:
                    self._note(f"{_HOME}/{name} is read in part only: it is very long")
                return content.read()
        except NotFound:
            return None
        except RangeNotSatisfiable:  # an empty file
            return b""
        except HeadraceError as error:
            self._note(f"{_HOME}/{name} cannot be read: {error.message}")
            return None

    def _listed(self, folder: str) -> Iterator[str]:
        if self._artifacts is None:
            return
        try:
            entries = self._artifacts.list(folder)
        except HeadraceError as error:
            self._note(f"{folder} cannot be listed: {error.message}")
            return
        for entry in entries:
            if entry.is_dir:
                yield from self._listed(entry.path)
            else:
                yield entry.path
