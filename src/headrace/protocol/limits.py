"""Limits and shapes of the protocol's values (MLflow's, unless docs/mlflow-compatibility.md says otherwise)."""

from __future__ import annotations

import functools
import posixpath
import re
from typing import Annotated, Any

import msgspec

from headrace.errors import InvalidParameter

INT64_MAX = 2**63 - 1
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=INT64_MAX)]
#: Milliseconds since the Unix epoch.
Millis = Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)]
#: A required string: MLflow takes an empty one as missing.
Required = Annotated[str, msgspec.Meta(min_length=1)]

MAX_METRICS_PER_BATCH = 1000
MAX_PARAMS_PER_BATCH = 100
MAX_TAGS_PER_BATCH = 100
MAX_ITEMS_PER_BATCH = 1000
MAX_KEY = 250
#: Of a param or tag. MLflow cuts params at 6000 and tags at 8000 characters; here nothing is cut.
MAX_VALUE = 100_000
MAX_EXPERIMENT_NAME = 500
MAX_EXPERIMENT_TAG_VALUE = 20_000
MAX_ARTIFACT_LOCATION = 2048
MAX_SEARCH_RESULTS = 50_000
MAX_DATASET = {
    "name": 500,
    "digest": 36,
    "source": 65_535,
    "schema": 1_048_575,
    "profile": 16_777_215,
}
MAX_INPUT_TAG_KEY = 255
MAX_INPUT_TAG_VALUE = 500
MAX_MODEL_ID = 256
MAX_LOGGED_MODEL_NAME = 500
MAX_LOGGED_MODEL_KEY = 255
MAX_HISTORY_RUNS = 100
MAX_BULK_HISTORY_POINTS = 25_000
MAX_INTERVAL_POINTS = 2500

_KEY = re.compile(r"[\w\-. :/]*", re.UNICODE)
_RUN_ID = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")


@functools.lru_cache(maxsize=16_384)  # the same few names come again and again
def check_key(key: str, noun: str) -> None:
    """Refuse a metric, param or tag key that MLflow would refuse.

    Args:
        key: At most 250 characters of letters (any script), digits, ``_ - . space : /``, and a
            normalised relative path.
        noun: ``metric``, ``param`` or ``tag``, for the message.

    Raises:
        InvalidParameter: The key breaks a rule; the message says which.
    """
    if not key:
        raise InvalidParameter(
            f"Missing value for required parameter 'key': a {noun} needs a name."
        )
    if len(key) > MAX_KEY:
        raise InvalidParameter(
            f"Invalid {noun} name: '{key[:60]}...' has {len(key)} characters; at most {MAX_KEY} are allowed."
        )
    if not _KEY.fullmatch(key):
        raise InvalidParameter(
            f"Invalid {noun} name: '{key}'. Names may only contain letters, digits, underscores (_), "
            "dashes (-), periods (.), spaces ( ), colons (:) and slashes (/)."
        )
    if (
        key.startswith("/")
        or posixpath.normpath(key) != key
        or key == "."
        or ".." in key.split("/")
    ):
        raise InvalidParameter(
            f"Invalid {noun} name: '{key}'. Names are used as paths: no leading, trailing or doubled "
            f"slash, no '.' or '..' part. Try '{posixpath.normpath(key).lstrip('./') or noun}'."
        )


def refuse_nul(value: Any) -> None:
    """Refuse text with a NUL character, which PostgreSQL cannot keep, anywhere in builtins.

    Raises:
        InvalidParameter: There is one.
    """
    if isinstance(value, str):
        if "\x00" in value:
            raise InvalidParameter(
                f"The value {value[:60]!r} holds a NUL character, which no store can keep; remove it."
            )
    elif isinstance(value, dict):
        for item in value.values():
            refuse_nul(item)
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_nul(item)


def check_run_id(run_id: str) -> None:
    """Refuse a run id that cannot be one.

    Raises:
        InvalidParameter: Not alphanumeric first, then letters, digits, ``_`` or ``-``, 256 at most.
    """
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        raise InvalidParameter(
            f"Invalid run ID: '{str(run_id)[:300]}'. It must start with a letter or digit and hold only "
            "letters, digits, '_' and '-', at most 256 characters."
        )


def check_model_id(model_id: str) -> None:
    """Refuse the id of a logged model that cannot be one; PostgreSQL indexes no long text.

    Raises:
        InvalidParameter: Empty, or over 256 characters.
    """
    if not model_id or len(model_id) > MAX_MODEL_ID:
        raise InvalidParameter(
            f"Invalid model id '{model_id[:100]}': it must have 1 to {MAX_MODEL_ID} characters."
        )
