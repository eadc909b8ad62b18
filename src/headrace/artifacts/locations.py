"""From a URI to the store of artifacts that lies there."""

from __future__ import annotations

import os
import re
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.artifacts.local import LocalArtifacts
from headrace.artifacts.store import ArtifactStore
from headrace.errors import InvalidParameter

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, S3Config

_AZURE = ("az", "azure", "adl", "abfs", "abfss", "wasb", "wasbs")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
#: obstore counts the whole transfer; only silence should end it.
_PATIENCE: ClientConfig = {"timeout": "24h", "read_timeout": "120s", "connect_timeout": "10s"}


def local_folder(uri: str) -> Path | None:
    """The folder that a path or ``file:`` URI names; None for any other scheme.

    Raises:
        InvalidParameter: A ``file:`` URI names a host or has a query.
    """
    if uri.startswith("file:"):
        split = urllib.parse.urlsplit(uri)
        if split.netloc not in ("", "localhost") or split.query or split.fragment:
            raise InvalidParameter(
                f"'{uri}' is not a local folder: write file:///path, with '?' and '#' as %3F and %23."
            )
        return Path(urllib.request.url2pathname(split.path))
    # A single letter is a drive, not a scheme.
    if _SCHEME.match(uri):
        return None
    return Path(uri).expanduser()


def lies_within(uri: str, root: str) -> bool:
    """Whether an artifact location is another one, or below it.

    Local ones are compared by the folders that they lead to, links resolved.
    """
    folder, top = local_folder(uri), local_folder(root)
    if folder is not None and top is not None:
        return folder.resolve().is_relative_to(top.resolve())
    return f"{uri}/".startswith(f"{root.rstrip('/')}/")


def open_artifacts(uri: str) -> ArtifactStore:
    """The store at a URI. Nothing is contacted or made.

    Args:
        uri: A path, ``file:///path``, ``s3://bucket/prefix``, ``gs://bucket/prefix``,
            ``az://container/prefix``, or ``abfs[s]://`` and ``wasb[s]://`` with
            ``container@account.host/prefix``. Credentials and endpoints come from the environment,
            as the vendors name it (``AWS_…``, ``GOOGLE_…``, ``AZURE_…``); for S3 the endpoint is
            ``MLFLOW_S3_ENDPOINT_URL``, else ``AWS_ENDPOINT_URL_S3``, else ``AWS_ENDPOINT_URL``.

    Raises:
        InvalidParameter: No store is known for that URI.
    """
    folder = local_folder(uri)
    if folder is not None:
        return LocalArtifacts(folder)
    # obstore takes 20 ms to load, so only those pay who keep artifacts in a bucket.
    from obstore.exceptions import BaseError

    from headrace.artifacts.objects import ObjectArtifacts

    try:
        return ObjectArtifacts(uri.rstrip("/"), _object_store(uri))
    except (BaseError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InvalidParameter(f"Cannot open the artifacts at '{uri}': {reason}") from None


def _object_store(uri: str) -> ObjectStore:
    from obstore.store import AzureStore, GCSStore

    split = urllib.parse.urlsplit(uri)
    scheme = split.scheme.lower()
    if not split.netloc or split.query or split.fragment:
        raise ValueError("write scheme://bucket/prefix")
    if scheme in ("s3", "s3a"):
        return _s3(split.netloc, split.path.strip("/"))
    if scheme == "gs":
        return GCSStore.from_url(f"gs://{split.netloc}{split.path}", client_options=_PATIENCE)
    if scheme in _AZURE:
        container, at, host = split.netloc.rpartition("@")
        place = (
            f"https://{host.replace('.dfs.', '.blob.')}/{container}{split.path}"
            if at
            else f"az://{split.netloc}{split.path}"
        )
        return AzureStore.from_url(place, client_options=_PATIENCE)
    raise ValueError(
        f"no store is known for '{scheme}:'; use a folder, file:, s3:, gs:, az:, abfss: or wasbs:"
    )


def _s3(bucket: str, prefix: str) -> ObjectStore:
    from obstore.store import S3Store

    from headrace.artifacts.s3 import ignore_tls

    endpoint = next(
        filter(
            None,
            map(
                os.environ.get,
                ("MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
            ),
        ),
        None,
    )
    config: S3Config = {}
    if not os.environ.get("AWS_REGION"):
        config["region"] = os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    options = _PATIENCE.copy()
    if endpoint:
        config["aws_endpoint_url_s3"] = endpoint.rstrip("/")
        options["allow_http"] = endpoint.startswith("http://")
    if ignore_tls():
        options["allow_invalid_certificates"] = True
    return S3Store(bucket, prefix=prefix or None, config=config, client_options=options)
