"""Addresses of models, taken apart. Nothing is looked up here.

========================================  =====================================================
``models:/name/3``                        a version of a registered model
``models:/name@alias``                    the version that an alias points to
``models:/name/Staging``                  the newest version in a stage
``models:/name/latest``                   the newest version
``models:/m-<id>``                        a logged model
``runs:/<run id>/<path>``                 a run's logged model of that name, else that folder of its artifacts
``mlflow-artifacts:/…``                   behind a server
``s3:``, ``gs:``, ``az:``, ``abfss:``, …  in an object store
``file:///path``, ``path``                on this machine
========================================  =====================================================

Behind what names a registered model a path within its folder may follow: ``models:/name/3/data``. Names stand as they
are, with blanks and percent signs: nothing is decoded here, as in MLflow. Whoever looks a name up that is not
there may try it percent-decoded (`ModelUri.decoded`).
"""

from __future__ import annotations

import os
import re
import urllib.parse
from enum import StrEnum
from typing import NoReturn

import msgspec

from headrace.errors import InvalidParameter

#: Schemes that `headrace.artifacts` has stores for.
STORES = frozenset(
    ("mlflow-artifacts", "file", "s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss", "wasb", "wasbs")
)  # fmt: skip

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):")  # a single letter is a drive
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LATEST = "latest"
_MOST = 4096


class Kind(StrEnum):
    """What an address names."""

    VERSION = "version"
    ALIAS = "alias"
    STAGE = "stage"
    LATEST = "latest"
    LOGGED = "logged model"
    RUN = "run"
    LOCATION = "location"


class ModelUri(msgspec.Struct, frozen=True, kw_only=True):
    """An address of a model; ``str()`` of it is the address.

    Attributes:
        kind: What it names, and so which of the others are not empty.
        name: Of the registered model.
        version: Its number, as text.
        alias: An alias.
        stage: A stage, as it was written.
        model_id: Of the logged model.
        run_id: Of the run.
        path: Within the version's folder, or within the run's artifacts.
        location: URI or path of a folder.
    """

    kind: Kind
    name: str = ""
    version: str = ""
    alias: str = ""
    stage: str = ""
    model_id: str = ""
    run_id: str = ""
    path: str = ""
    location: str = ""

    @property
    def registered(self) -> bool:
        """Whether the registry has to be asked."""
        return self.kind in (Kind.VERSION, Kind.ALIAS, Kind.STAGE, Kind.LATEST)

    @property
    def decoded(self) -> ModelUri | None:
        """The same with its name percent-decoded; None where that changes nothing."""
        name = urllib.parse.unquote(self.name)
        return None if name == self.name else msgspec.structs.replace(self, name=name)

    def __str__(self) -> str:
        within = f"/{self.path}" if self.path else ""
        match self.kind:
            case Kind.ALIAS:
                return f"models:/{self.name}@{self.alias}{within}"
            case Kind.LOGGED:
                return f"models:/{self.model_id}"
            case Kind.RUN:
                return f"runs:/{self.run_id}{within}"
            case Kind.LOCATION:
                return self.location
        return f"models:/{self.name}/{self.version or self.stage or _LATEST}{within}"


def parse_model_uri(uri: str | os.PathLike[str]) -> ModelUri:
    """Take an address apart.

    Raises:
        InvalidParameter: It is none; the message says which forms there are.
    """
    text = os.fspath(uri)
    if not text.strip():
        raise InvalidParameter(
            "The address of a model is empty: give models:/<name>/<version> or the like."
        )
    if len(text) > _MOST or _CONTROL.search(text):
        _refuse(text, f"an address has at most {_MOST} characters, and no control characters")
    found = _SCHEME.match(text)
    scheme = found[1].lower() if found else ""
    rest = text[len(scheme) + 1 :] if scheme else text
    if scheme == "models":
        return _models(text, _parts(text, rest))
    if scheme == "runs":
        run_id, *path = _parts(text, rest)
        if not run_id:
            _refuse(text, "a run's model is runs:/<run id>/<name>")
        return ModelUri(kind=Kind.RUN, run_id=run_id, path="/".join(path))
    if scheme and scheme not in STORES:
        _refuse(
            text,
            f"'{scheme}:' is unknown; there are models:, runs:, {':, '.join(sorted(STORES))}:, and paths",
        )
    return ModelUri(kind=Kind.LOCATION, location=text)


def _parts(uri: str, rest: str) -> list[str]:
    """What stands between the slashes, after the first; a slash at the end does not count."""
    if rest.startswith("///"):
        rest = rest[2:]  # a host that is empty, as MLflow takes it
    if rest.startswith("//"):
        _refuse(
            uri,
            "it names a host, and there is one registry per store: leave the host out, with its slash",
        )
    if not rest.startswith("/"):
        _refuse(uri, "there is a slash after the colon")
    parts = rest[1:].rstrip("/").split("/")
    if any(part in (".", "..") or not part.strip() for part in parts):
        _refuse(uri, "no part of it may be empty, '.' or '..'")
    return parts


def _models(uri: str, parts: list[str]) -> ModelUri:
    first, *rest = parts
    name, at, alias = first.rpartition("@")
    if at and not (len(rest) == 1 and _is_number(rest[0])):
        if not name.strip() or not alias.strip():
            _refuse(uri, "an alias is models:/<name>@<alias>")
        return ModelUri(kind=Kind.ALIAS, name=name, alias=alias, path="/".join(rest))
    if not rest:
        if not first.startswith("m-"):
            _refuse(uri, f"it does not say which version: models:/{first}/latest is the newest")
        return ModelUri(kind=Kind.LOGGED, model_id=first)
    which, path = rest[0], "/".join(rest[1:])
    if _is_number(which):
        return ModelUri(kind=Kind.VERSION, name=first, version=which, path=path)
    if which.lower() == _LATEST:
        return ModelUri(kind=Kind.LATEST, name=first, path=path)
    return ModelUri(kind=Kind.STAGE, name=first, stage=which, path=path)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _refuse(uri: str, why: str) -> NoReturn:
    raise InvalidParameter(
        f"Invalid address of a model: {uri[:300]!r}: {why}. Write models:/<name>/<version>, models:/<name>@<alias>, "
        "models:/<name>/<stage>, models:/<name>/latest, models:/m-<id>, runs:/<run id>/<name>, or a folder's "
        "path or URI."
    )
