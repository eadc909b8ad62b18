"""Where a run comes from: the tags that say who ran what, read from this process."""

from __future__ import annotations

import os

import msgspec

from headrace.client.environment import setting
from headrace.errors import InvalidParameter
from headrace.tracking import capture


def default_tags() -> dict[str, str]:
    """``mlflow.user``, ``mlflow.source.name``, ``mlflow.source.type``; inside a git repository
    ``mlflow.source.git.commit``, ``….branch`` and ``….repoURL``; ``headrace.seed`` where one was set; then
    what ``HEADRACE_RUN_CONTEXT`` (a JSON object) adds.

    Raises:
        InvalidParameter: ``HEADRACE_RUN_CONTEXT`` is no JSON object.
    """
    # A path whose bytes are no UTF-8 holds halves of surrogate pairs.
    tags = {
        key: value.encode(errors="backslashreplace").decode()
        for key, value in capture.tags().items()
    }
    context = setting("RUN_CONTEXT")
    if context:
        try:
            extra = msgspec.json.decode(context.encode(), type=dict[str, str], strict=False)
        except msgspec.MsgspecError:
            raise InvalidParameter(
                f"HEADRACE_RUN_CONTEXT (or MLFLOW_RUN_CONTEXT) is {context[:100]!r}: "
                "give a JSON object of tags and their values."
            ) from None
        tags.update(extra)
    return tags


def inherited_run_id() -> str | None:
    """``HEADRACE_RUN_ID`` or ``MLFLOW_RUN_ID``, taken out of the environment: it is for one run."""
    ours = os.environ.pop("HEADRACE_RUN_ID", None)
    theirs = os.environ.pop("MLFLOW_RUN_ID", None)
    return ours or theirs or None
