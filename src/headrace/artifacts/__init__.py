"""The bytes of runs: one small interface over local folders and object stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.artifacts.locations import open_artifacts
from headrace.artifacts.paths import artifact_path
from headrace.artifacts.store import (
    ArtifactContent,
    ArtifactStat,
    ArtifactStore,
    Chunk,
    Part,
    PartTarget,
)

if TYPE_CHECKING:
    from headrace.tracking.artifacts import download_artifacts as download_artifacts
    from headrace.tracking.artifacts import list_artifacts as list_artifacts
    from headrace.tracking.artifacts import load_dict as load_dict
    from headrace.tracking.artifacts import load_image as load_image
    from headrace.tracking.artifacts import load_text as load_text

__all__ = [
    "ArtifactContent",
    "ArtifactStat",
    "ArtifactStore",
    "Chunk",
    "Part",
    "PartTarget",
    "artifact_path",
    "open_artifacts",
]

#: What ``mlflow.artifacts`` has, for people; it needs a tracking store to look runs up in.
_FOR_PEOPLE = ("download_artifacts", "list_artifacts", "load_dict", "load_image", "load_text")

if not TYPE_CHECKING:  # so that type checkers see the names above and no others

    def __getattr__(name: str) -> Any:
        if name in _FOR_PEOPLE:
            # The one arrow that points upward, marked in pyproject.toml: MLflow's users look here for them.
            from headrace.tracking import artifacts

            return getattr(artifacts, name)
        raise AttributeError(f"module 'headrace.artifacts' has no attribute '{name}'")
