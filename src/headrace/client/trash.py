"""The trash."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.client.base import ClientBase
from headrace.client.experiments import listed
from headrace.protocol.trash import PurgedTrash, Trash


class TrashCalls(ClientBase):
    """Deleted experiments, runs and logged models, until they are purged."""

    def purge_trash(
        self,
        older_than_ms: int = 0,
        run_ids: Sequence[str] | None = None,
        experiment_ids: Sequence[str] | None = None,
        limit: int = 1000,
        dry_run: bool = False,
        logged_model_ids: Sequence[str] | None = None,
    ) -> PurgedTrash:
        """Remove deleted runs, logged models and experiments for good. Their artifacts stay; the answer says where.

        Args:
            older_than_ms: Only what has been in the trash for so many milliseconds.
            run_ids: Only these runs.
            experiment_ids: Only these experiments.
            limit: At most so many runs, and so many logged models, in one call; call again until nothing
                is purged.
            dry_run: Change nothing, and say what would go.
            logged_model_ids: Only these logged models.

        Raises:
            InvalidParameter: One that is named is not in the trash.
        """
        purged: PurgedTrash = self._call(
            Trash.purge_trash,
            older_than_ms=older_than_ms,
            run_ids=listed(run_ids),
            experiment_ids=listed(experiment_ids),
            logged_model_ids=listed(logged_model_ids),
            limit=limit,
            dry_run=dry_run,
        )
        return purged
