"""What a model says of itself, without opening it; under MLflow's names where MLflow has them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headrace.errors import InvalidParameter
from headrace.tracking.choice import choice

if TYPE_CHECKING:
    from headrace.models.logging import ModelInfo
    from headrace.models.scan import Report
    from headrace.models.signature import ModelSignature

__all__ = ["get_model_info", "scan_model", "set_signature"]


def get_model_info(model_uri: str | os.PathLike[str]) -> ModelInfo:
    """What is known of a model: its ids, signature, flavors, metadata. Only its MLmodel is read.

    Args:
        model_uri: Any address of a model, as `headrace.models.load_model` takes them.

    Raises:
        NotFound: There is none at that address.
        InvalidModel: It is not a model.
    """
    from headrace.models.facts import facts_of
    from headrace.models.logging import ModelInfo

    uri = os.fspath(model_uri)
    facts = facts_of(choice.client(), uri)
    if facts.model is None:
        from headrace.errors import InvalidModel

        raise InvalidModel(f"{uri} is not a model that can be read: {facts.problem}")
    logged, version = facts.logged, facts.version
    return ModelInfo(
        model_uri=uri,
        model_id=facts.model.model_id if logged is None else logged.model_id,
        name=facts.location.rstrip("/").rpartition("/")[2] if logged is None else logged.name,
        run_id=facts.model.run_id if facts.run is None else facts.run.info.run_id,
        artifact_path=facts.location,
        digest=facts.digest,
        model=facts.model,
        registered_model_version=None if version is None else int(version.version),
    )


def set_signature(model_uri: str | os.PathLike[str], signature: ModelSignature) -> None:
    """Write another signature into the MLmodel of a saved model's folder.

    What was logged does not change, for its digest is what whoever loads it compares: download such a model, set
    the signature of the folder, and log it again.

    Args:
        model_uri: A folder on this machine, or its ``file:`` URI.
        signature: What the model takes and gives.

    Raises:
        InvalidParameter: It is no folder on this machine, or no signature.
        NotFound: There is no such folder.
        InvalidModel: It is not a model.
    """
    from headrace.models.download import fetch_model
    from headrace.models.hashing import folder_digest
    from headrace.models.mlmodel import MLModel
    from headrace.models.produced import is_produced, remember
    from headrace.models.signature import ModelSignature
    from headrace.protocol.model_uris import Kind, parse_model_uri

    if not isinstance(signature, ModelSignature):
        raise InvalidParameter(
            f"The signature must be a headrace.models.ModelSignature, got {type(signature).__name__}: "
            "infer_signature makes one."
        )
    uri = os.fspath(model_uri)
    parsed = parse_model_uri(uri)
    if parsed.kind is not Kind.LOCATION or "://" in uri.removeprefix("file://"):
        raise InvalidParameter(
            f"The signature of '{uri}' cannot be set: what was logged does not change. Download it "
            f"(headrace models download {uri} FOLDER), set the signature of FOLDER, and log that (headrace models log FOLDER)."
        )
    folder = fetch_model(uri, client=choice.client()).folder
    model = MLModel.read(folder)
    own = is_produced(folder_digest(folder).hash)
    model.signature = signature
    model.is_signature_from_type_hint = model.type_hint_from_example = False
    model.write(folder)
    if own:  # it still is what this user has saved here
        remember(folder_digest(folder).hash)


def scan_model(model_uri: str | os.PathLike[str]) -> Report:
    """What opening a model would do, without doing it.

    Args:
        model_uri: A folder, a file, an archive, or any address of a model, which is downloaded and not opened.

    Raises:
        NotFound: There is nothing of that name.
    """
    from headrace.models.scan import scan

    if Path(model_uri).exists():
        return scan(Path(model_uri))
    from headrace.models.download import download_model

    report = scan(download_model(model_uri, client=choice.client()))
    return msgspec.structs.replace(report, path=os.fspath(model_uri))
