"""The trash: declarations."""

from __future__ import annotations

from headrace.protocol.limits import Int64
from headrace.protocol.operation import NATIVE_PREFIXES, Interface, Request, Response, operation


class PurgeTrash(Request, frozen=True, kw_only=True):
    """What to purge. Without ids: everything that was deleted long enough ago.

    ``older_than_ms`` is the least time in the trash, milliseconds. With ids, only those are purged,
    and it is an error if one is not in the trash. ``limit`` bounds one call, in runs and again in logged
    models; call again until nothing is purged. With ``dry_run`` nothing changes and the answer says what would go.
    """

    older_than_ms: Int64 = 0
    run_ids: tuple[str, ...] = ()
    experiment_ids: tuple[str, ...] = ()
    logged_model_ids: tuple[str, ...] = ()
    limit: Int64 = 1000
    dry_run: bool = False


class PurgedTrash(Response, frozen=True, kw_only=True):
    """What is gone for good, and where its artifacts lie, for the caller to delete.

    ``artifact_uris`` has one for each run, then one for each experiment: empty for an experiment whose
    location somebody chose, which may hold other things. ``logged_model_uris`` has one for each logged model;
    those of a purged experiment lie inside its folder.
    """

    run_ids: tuple[str, ...] = ()
    experiment_ids: tuple[str, ...] = ()
    artifact_uris: tuple[str, ...] = ()
    logged_model_ids: tuple[str, ...] = ()
    logged_model_uris: tuple[str, ...] = ()


class Trash(Interface):
    """Deleted experiments, runs and logged models wait here, restorable, until they are purged.

    What a version of a registered model is made of (the run's files, or the logged model) is kept, and so is its
    experiment, until that version is deleted.

    With an experiment go its runs and logged models. A run's logged models stay when the run goes, without the
    metrics that it logged about them.
    """

    @operation("POST", "/trash/purge", permission="trash:purge", prefixes=NATIVE_PREFIXES)
    def purge_trash(self, request: PurgeTrash) -> PurgedTrash:
        """Remove deleted runs, logged models and experiments for good, every row of them.

        Raises:
            InvalidParameter: One that is named is not in the trash, or a registered version is made of it.
            NotFound: One that is named does not exist.
        """
        raise NotImplementedError
