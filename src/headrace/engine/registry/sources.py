"""Where a version's files come from, and whether whoever registers it may say so.

The rules are those of MLflow's server: what lies in this store must belong to the run, or to the logged
model, that is named with it, since whoever reads the version reads those files. Nothing here touches a
file or a network.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec
import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.assemble import run_infos
from headrace.engine.registry.assemble import latest_rows
from headrace.engine.registry.guarding import GuardedAliases
from headrace.engine.registry.limits import MAX_SOURCE, check_text, stage_number
from headrace.engine.registry.logged_model_links import LoggedModelLinks
from headrace.errors import InvalidParameter, NotFound
from headrace.protocol.limits import check_model_id, check_run_id
from headrace.protocol.model_uris import Kind, ModelUri, parse_model_uri
from headrace.protocol.model_versions import CreateModelVersion
from headrace.protocol.registered_models import PROMPT_SOURCES

_PROXY = "api/2.0/mlflow-artifacts/artifacts/"  # also behind ajax-
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):")


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What a version was registered from, the columns of ``model_version`` that say it."""

    source: str
    location: str | None = None
    run_uuid: str | None = None
    logged_model_id: str | None = None
    parent_id: int | None = None
    digest: str | None = None


class SourceOperations(LoggedModelLinks, GuardedAliases):
    """Looking at the sources of versions."""

    def _origin(self, request: CreateModelVersion, *, prompt: bool) -> Origin:
        """What a version is registered from.

        Raises:
            InvalidParameter: The source may not be registered so.
            NotFound: It names a version, or a logged model, that is not there.
        """
        source = request.source
        check_text(source, "source", MAX_SOURCE)
        if request.run_id:
            check_run_id(request.run_id)
        if request.model_id:
            check_model_id(request.model_id)
        if prompt:
            if source not in PROMPT_SOURCES:
                raise InvalidParameter(
                    f"Invalid prompt source: '{source}'. A prompt has no files; give 'dummy-source'."
                )
            return Origin(source=source, run_uuid=request.run_id or None)
        if _scheme(source) == "models":
            uri = parse_model_uri(source)
            if uri.registered:
                return self._copied(request, uri)
            if uri.model_id != request.model_id:
                raise _misplaced(source, "model_id")
        elif request.model_id:
            self._check_model_source(source, request.model_id)
        else:
            self._check_run_source(source, request.run_id or "")
        return self._made(request)

    def _made(self, request: CreateModelVersion) -> Origin:
        """The origin of a version of a run or a logged model."""
        run_id = request.run_id or None
        location = None
        if request.model_id:
            place = self._logged_model_place(request.model_id)
            run_id = run_id or place.run_id
            if _scheme(request.source) == "models":
                location = place.location
        return Origin(
            source=request.source,
            location=location,
            run_uuid=run_id,
            logged_model_id=request.model_id or None,
        )

    def _copied(self, request: CreateModelVersion, uri: ModelUri) -> Origin:
        """The origin of a copy of another version: its run, its model, its files."""
        if uri.path:
            raise InvalidParameter(
                f"Invalid model version source: '{request.source}'. A copy is of the whole version: leave out "
                f"'/{uri.path}'."
            )
        model = self._registered_model(uri.name)
        if self._is_prompt(model):
            raise InvalidParameter(
                f"Invalid model version source: '{request.source}'. A prompt is no source of a model."
            )
        parent = self._named_version(model, uri)
        for given, own, field in (
            (request.run_id, parent.run_uuid, "run_id"),
            (request.model_id, parent.logged_model_id, "model_id"),
        ):
            if given is not None and given != (own or ""):
                raise InvalidParameter(
                    f"Invalid model version source: '{request.source}'. {field} is '{given[:100]}', but that "
                    f"version has '{own or ''}': give the same, or leave it out."
                )
        if request.digest and parent.digest and request.digest != parent.digest:
            raise InvalidParameter(
                f"The digest '{request.digest}' is not that of '{request.source}', which has "
                f"'{parent.digest}': a copy has the same files."
            )
        return Origin(
            source=f"models:/{model.name}/{parent.version}",
            location=parent.location or parent.source,
            run_uuid=parent.run_uuid,
            logged_model_id=parent.logged_model_id,
            parent_id=parent.id,
            digest=parent.digest,
        )

    def _named_version(self, model: Any, uri: ModelUri) -> Any:
        """The row of the version that a URI names."""
        if uri.kind is Kind.VERSION:
            return self._model_version(model.name, uri.version)[1]
        if uri.kind is Kind.ALIAS:
            number = self._alias_version(model, uri.alias)
            if number is None:
                raise InvalidParameter(f"Registered model alias {uri.alias} not found.")
            return self._version_of(model, number)
        rows = latest_rows(self, [model.id])
        if uri.kind is Kind.STAGE:
            stage = stage_number(uri.stage)
            rows = [row for row in rows if row.stage == stage]
        if not rows:
            raise NotFound(
                f"No version of the model '{model.name}' is in stage {uri.stage or 'any'}."
            )
        return max(rows, key=lambda row: int(row.version))

    def _check_run_source(self, source: str, run_id: str) -> None:
        if is_local(source):
            if self.served and not (run_id and _within(source, self._run_root(run_id, source))):
                raise InvalidParameter(
                    f"Invalid model version source: '{source}'. To use a local path as a model version source, "
                    "the run_id request parameter has to be specified and the local path has to be contained "
                    "within the artifact directory of the run specified by the run_id."
                )
            return
        _check_path(source)
        if _scheme(source) == "runs":
            if _run_of(source) != run_id or not run_id:
                raise _misplaced(source, "run_id")
        elif _is_proxied(source) and not (
            run_id and _within(source, self._run_root(run_id, source))
        ):
            raise _misplaced(source, "run_id")

    def _check_model_source(self, source: str, model_id: str) -> None:
        if is_local(source):
            if self.served and not _within(source, self._model_root(model_id, source)):
                raise InvalidParameter(
                    f"Invalid model version source: '{source}'. To use a local path as a model version source, "
                    "the model_id request parameter has to be specified and the local path has to be contained "
                    "within the artifact directory of the logged model specified by it."
                )
            return
        _check_path(source)
        if _scheme(source) == "runs":
            raise _misplaced(source, "model_id")
        if _is_proxied(source) and not _within(source, self._model_root(model_id, source)):
            raise _misplaced(source, "model_id")

    def _model_root(self, model_id: str, source: str) -> str:
        """Where a logged model's files are."""
        try:
            return self._logged_model_place(model_id).location
        except NotFound:
            raise _misplaced(source, "model_id") from None

    def _run_root(self, run_id: str, source: str) -> str:
        """Where a run's artifacts are."""
        run = schema.run
        row = self.connection.execute(sa.select(run).where(run.c.uuid == run_id)).one_or_none()
        if row is None:
            raise _misplaced(source, "run_id")
        return run_infos(self, [row])[0].artifact_uri


def _misplaced(source: str, field: str) -> InvalidParameter:
    return InvalidParameter(
        f"Invalid model version source: '{source}'. The {field} request parameter must identify the resource "
        "that contains the source."
    )


def _scheme(source: str) -> str:
    found = _SCHEME.match(source)
    return found[1].lower() if found else ""


def is_local(source: str) -> bool:
    """Whether a source is a path, or a URI of one."""
    return _scheme(source) in ("", "file")


def _is_proxied(source: str) -> bool:
    scheme = _scheme(source)
    if scheme == "mlflow-artifacts":
        return True
    return scheme in ("http", "https") and _PROXY in f"{_plain(_split(source).path)}/"


def _run_of(source: str) -> str:
    """The run of a ``runs:/`` URI, empty when it is none."""
    parts = _split(source)
    run_id, _, path = parts.path.lstrip("/").partition("/")
    return run_id if path and not parts.netloc else ""


def _split(uri: str) -> SplitResult:
    """A URI's parts.

    Raises:
        InvalidParameter: Its host can be none.
    """
    try:
        return urlsplit(uri)
    except ValueError as error:
        raise InvalidParameter(
            f"Invalid model version source: {uri[:300]!r} is no URI: {error}. Give the URI of a folder."
        ) from None


def _plain(text: str) -> str:
    """Text with all percent signs decoded, as often as somebody coded them."""
    while (plain := unquote(text)) != text:
        text = plain
    return text


def _check_path(source: str) -> None:
    """Refuse a URI whose path goes up, or hides what it is."""
    plain = _plain(source)
    if ".." in re.split(r"[/\\]", plain) or _CONTROL.search(plain):
        raise InvalidParameter(
            f"Invalid model version source: {source[:300]!r}. Give an absolute URI without '..' and control "
            "characters."
        )


def _within(source: str, root: str | None) -> bool:
    """Whether a place is another one or below it, by what they are called; a path that goes up is nowhere."""
    if not root or ".." in re.split(r"[/\\]", _plain(source)) or _CONTROL.search(_plain(source)):
        return False
    (scheme, host, path), (own_scheme, own_host, own_path) = _place(source), _place(root)
    return (
        (scheme, host) == (own_scheme, own_host)
        and bool(own_path.strip("/"))
        and f"{path}/".startswith(f"{own_path}/")
    )


def _place(uri: str) -> tuple[str, str, str]:
    """Scheme, host and normal path; of a local path the scheme is ``file``."""
    if not _scheme(uri):
        return "file", "", posixpath.normpath(uri)
    parts = _split(uri)
    return (
        parts.scheme.lower(),
        parts.netloc.lower(),
        posixpath.normpath("/" + _plain(parts.path).lstrip("/")),
    )
