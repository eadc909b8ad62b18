"""What names, versions, aliases and tags of the registry may be: MLflow's rules."""

from __future__ import annotations

import re
from collections.abc import Iterable

from headrace.entities import KeyValue
from headrace.errors import InvalidParameter, NotFound
from headrace.protocol.limits import check_key
from headrace.protocol.model_versions import STAGES

MAX_NAME = 256
MAX_ALIAS = 255
MAX_TAG_VALUE = 100_000
MAX_DESCRIPTION = 100_000
MAX_SOURCE = 2048
MAX_ACTOR = 256

_ALIAS = re.compile(r"[\w\-]+")
_NUMBER_ALIAS = re.compile(r"[vV]\d+")
_VERSION = re.compile(r"\s*\+?(\d+)\s*")
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_STAGES = {stage.lower(): number for number, stage in enumerate(STAGES)}
_MAX_DIGITS = 18


def check_model_name(name: str, field: str = "name") -> None:
    """Refuse what cannot be the name of a registered model.

    Raises:
        InvalidParameter: Blank, over 256 characters, with ``/`` or ``:``, or ``.`` or ``..``.
    """
    if not name.strip():
        raise InvalidParameter(
            f"Missing value for required parameter '{field}': give a registered model's name."
        )
    if "/" in name or ":" in name:
        raise InvalidParameter(
            f"Invalid model name '{name[:300]}'. Names cannot contain '/' or ':'."
        )
    if name in (".", ".."):
        raise InvalidParameter(f"Invalid model name '{name}': it would be a path. Choose another.")
    if len(name) > MAX_NAME:
        raise InvalidParameter(
            f"Invalid model name '{name[:60]}...': it has {len(name)} characters; "
            f"at most {MAX_NAME} are allowed."
        )


def version_number(version: str, name: str) -> int:
    """The number of a version.

    Raises:
        InvalidParameter: It is no whole number.
        NotFound: No version can have that number.
    """
    found = _VERSION.fullmatch(version)
    if found is None:
        raise InvalidParameter(
            f"Invalid value '{version[:100]}' for parameter 'version': give a whole number, such as '3'."
        )
    if len(found[1]) > _MAX_DIGITS:
        raise NotFound(f"Model Version (name={name}, version={version[:40]}) not found")
    return int(found[1])


def check_alias(alias: str) -> None:
    """Refuse what no alias is called.

    Raises:
        InvalidParameter: Empty, over 255 characters, or with others than letters, digits, ``_`` and ``-``.
    """
    if not alias:
        raise InvalidParameter("Registered model alias name cannot be empty.")
    if not _ALIAS.fullmatch(alias):
        raise InvalidParameter(
            f"Invalid alias name: '{alias[:300]}'. Names may only contain letters, digits, underscores (_) "
            "and dashes (-)."
        )
    if len(alias) > MAX_ALIAS:
        raise InvalidParameter(
            f"Registered model alias name '{alias[:60]}...' has {len(alias)} characters; at most "
            f"{MAX_ALIAS} are allowed."
        )


def check_new_alias(alias: str) -> None:
    """Refuse what an alias cannot be set as: also ``latest``, and ``v`` with a number.

    Raises:
        InvalidParameter: See `check_alias`.
    """
    check_alias(alias)
    if alias.lower() == "latest":
        raise InvalidParameter(
            "'latest' alias name (case insensitive) is reserved: it is the newest version by itself."
        )
    if _NUMBER_ALIAS.fullmatch(alias):
        raise InvalidParameter(
            f"Version alias name '{alias}' is reserved: it would be taken for a version's number."
        )


def check_tag(key: str, value: str) -> None:
    """Refuse a tag that is no tag of models and versions.

    Raises:
        InvalidParameter: A key that cannot be one, or a value over 100,000 characters.
    """
    check_key(key, "tag")
    if len(value) > MAX_TAG_VALUE:
        raise InvalidParameter(
            f"The value of tag '{key}' has {len(value)} characters; at most {MAX_TAG_VALUE} are allowed."
        )


def checked_tags(tags: Iterable[KeyValue]) -> dict[str, str]:
    """Tags by key; of equal keys the last wins."""
    found = {}
    for tag in tags:
        check_tag(tag.key, tag.value)
        found[tag.key] = tag.value
    return found


def check_text(text: str | None, field: str, most: int = MAX_DESCRIPTION) -> None:
    """Refuse a text that is too long.

    Raises:
        InvalidParameter: It is.
    """
    if text is not None and len(text) > most:
        raise InvalidParameter(
            f"The {field} has {len(text)} characters; at most {most} are allowed."
        )


def stage_number(stage: str) -> int:
    """The number of a stage, which may be spelled in any case.

    Raises:
        InvalidParameter: There is no such stage.
    """
    number = _STAGES.get(stage.lower())
    if number is None:
        raise InvalidParameter(
            f"Invalid Model Version stage: {stage[:100]}. Value must be one of {', '.join(STAGES)}."
        )
    return number


def check_digest(digest: str) -> None:
    """Refuse what is no SHA-256.

    Raises:
        InvalidParameter: Not 64 small hexadecimal digits, which ``sha256:`` may stand before.
    """
    if not _DIGEST.fullmatch(digest):
        raise InvalidParameter(
            f"Invalid digest '{digest[:100]}': give the folder's SHA-256 as 64 hexadecimal digits."
        )
