"""Where a version of a model comes from, and what was made of it: declarations."""

from __future__ import annotations

from headrace.entities import Dataset, Entity, ModelVersion
from headrace.protocol.limits import Int64, Required
from headrace.protocol.operation import NATIVE_PREFIXES, Interface, Request, Response, operation

#: Things of one kind at most, and unless the request says otherwise.
MAX_ITEMS, ITEMS = 1000, 100


class LineageRun(Entity, frozen=True, kw_only=True):
    """A run in a lineage.

    Attributes:
        gone: It was purged, or never was in this store: nothing but its id is known.
        status: Its status.
        commit: Of the code, from its tag ``mlflow.source.git.commit``.
        source: What was run, from its tag ``mlflow.source.name``.
        datasets: What it read.
        model_inputs: Ids of the logged models that it read.
        via: Why it is here: ``input`` for a run that read the version.
    """

    run_id: str
    run_name: str | None = None
    experiment_id: str | None = None
    status: str | None = None
    deleted: bool = False
    gone: bool = False
    commit: str | None = None
    source: str | None = None
    datasets: tuple[Dataset, ...] = ()
    model_inputs: tuple[str, ...] = ()
    via: str | None = None


class LineageVersion(Entity, frozen=True, kw_only=True):
    """A version in a lineage, under the name that its model has now. ``gone``: it was deleted."""

    name: str
    version: str
    model_id: str | None = None
    run_id: str | None = None
    gone: bool = False


class Lineage(Entity, frozen=True, kw_only=True):
    """Upward and downward of one version.

    Attributes:
        version: It.
        run: The run that made it, with code and data sets.
        parents: What it is a copy of, and what that is a copy of, and so on.
        ancestors: Versions of registered models that the run read: what it was trained from.
        copies: Versions that are copies of it, directly, newest first.
        runs: Runs that read it, newest first: evaluations, batches, further training.
        descendants: Versions of registered models that such runs made.
        truncated: There is more of something than was asked for.
    """

    version: ModelVersion
    run: LineageRun | None = None
    parents: tuple[LineageVersion, ...] = ()
    ancestors: tuple[LineageVersion, ...] = ()
    copies: tuple[LineageVersion, ...] = ()
    runs: tuple[LineageRun, ...] = ()
    descendants: tuple[LineageVersion, ...] = ()
    truncated: bool = False


class GetLineage(Request, frozen=True, kw_only=True):
    """``max_results`` of each kind, from 1 to 1000."""

    name: Required
    version: Required
    max_results: Int64 = ITEMS


class LineageResponse(Response, frozen=True, kw_only=True):
    lineage: Lineage


class Lineages(Interface):
    """Lineage of model versions."""

    @operation(
        "GET",
        "/model-versions/lineage",
        permission="registered_model:read",
        prefixes=NATIVE_PREFIXES,
        reads=True,
    )
    def get_lineage(self, request: GetLineage) -> LineageResponse:
        """Where a version comes from, and what was made of it.

        Raises:
            NotFound: No such version.
        """
        raise NotImplementedError
