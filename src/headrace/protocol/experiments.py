"""Experiments: declarations."""

from __future__ import annotations

import msgspec

from headrace.entities import Experiment, KeyValue, ViewType
from headrace.protocol.limits import Int64, Required
from headrace.protocol.operation import Empty, Interface, Request, Response, operation


class CreateExperiment(Request, frozen=True, kw_only=True):
    name: Required
    artifact_location: str | None = None
    tags: tuple[KeyValue, ...] = ()


class CreatedExperiment(Response, frozen=True, kw_only=True):
    experiment_id: str


class GetExperiment(Request, frozen=True, kw_only=True):
    experiment_id: Required


class GetExperimentByName(Request, frozen=True, kw_only=True):
    experiment_name: Required


class ExperimentResponse(Response, frozen=True, kw_only=True):
    experiment: Experiment


class SearchExperiments(Request, frozen=True, kw_only=True):
    """``max_results`` is required by the protocol, from 1 to 50,000."""

    max_results: Int64 = 0
    filter: str = ""
    order_by: tuple[str, ...] = ()
    view_type: ViewType = ViewType.ACTIVE_ONLY
    page_token: str = ""


class ExperimentsPage(Response, frozen=True, kw_only=True):
    experiments: tuple[Experiment, ...] = ()
    next_page_token: str = ""


class UpdateExperiment(Request, frozen=True, kw_only=True):
    experiment_id: Required
    new_name: Required


class ExperimentId(Request, frozen=True, kw_only=True):
    experiment_id: Required


class SetExperimentTag(Request, frozen=True, kw_only=True):
    experiment_id: Required
    key: Required
    value: str = ""


class DeleteExperimentTag(Request, frozen=True, kw_only=True):
    experiment_id: Required
    key: Required


class SearchDatasets(Request, frozen=True, kw_only=True):
    experiment_ids: tuple[str, ...] = ()


class DatasetSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A data set that runs of an experiment used; ``context`` is absent when none was given."""

    experiment_id: str
    name: str
    digest: str
    context: str | None = None


class DatasetSummaries(Response, frozen=True, kw_only=True):
    dataset_summaries: tuple[DatasetSummary, ...] = ()


class Experiments(Interface):
    """Named sets of runs.

    Names are unique among active experiments; a deleted one frees its name at once. Every method
    raises `NotFound` for an experiment id that does not exist and `InvalidParameter` for one that
    is not a number.
    """

    @operation("POST", "/mlflow/experiments/create", permission="experiment:create")
    def create_experiment(self, request: CreateExperiment) -> CreatedExperiment:
        """Create an experiment.

        Raises:
            AlreadyExists: An active experiment has that name.
            InvalidParameter: Name over 500 characters, location over 2048, or with ``..``, query or fragment.
        """
        raise NotImplementedError

    @operation("GET", "/mlflow/experiments/get", permission="experiment:read", reads=True)
    def get_experiment(self, request: GetExperiment) -> ExperimentResponse:
        """Get an experiment by id, deleted ones too."""
        raise NotImplementedError

    @operation("GET", "/mlflow/experiments/get-by-name", permission="experiment:read", reads=True)
    def get_experiment_by_name(self, request: GetExperimentByName) -> ExperimentResponse:
        """Get an experiment by name: the active one, else the one deleted last.

        Raises:
            NotFound: No experiment has or had that name.
        """
        raise NotImplementedError

    @operation(
        ("POST", "GET"), "/mlflow/experiments/search", permission="experiment:read", reads=True
    )
    def search_experiments(self, request: SearchExperiments) -> ExperimentsPage:
        """Search experiments; newest first unless ``order_by`` says otherwise."""
        raise NotImplementedError

    @operation("POST", "/mlflow/experiments/update", permission="experiment:edit")
    def update_experiment(self, request: UpdateExperiment) -> Empty:
        """Rename an experiment.

        Raises:
            AlreadyExists: Another active experiment has the new name.
            InvalidState: The experiment is deleted.
        """
        raise NotImplementedError

    @operation("POST", "/mlflow/experiments/delete", permission="experiment:delete")
    def delete_experiment(self, request: ExperimentId) -> Empty:
        """Put an experiment, and with it its runs, into the trash.

        Raises:
            NotFound: It does not exist or is deleted already.
        """
        raise NotImplementedError

    @operation("POST", "/mlflow/experiments/restore", permission="experiment:delete")
    def restore_experiment(self, request: ExperimentId) -> Empty:
        """Take an experiment out of the trash. Runs that were deleted on their own stay deleted.

        Raises:
            NotFound: It does not exist or is not deleted.
            AlreadyExists: Its name was taken meanwhile.
        """
        raise NotImplementedError

    @operation("POST", "/mlflow/experiments/set-experiment-tag", permission="experiment:edit")
    def set_experiment_tag(self, request: SetExperimentTag) -> Empty:
        """Set a tag of an active experiment: key at most 250 characters, value at most 20,000."""
        raise NotImplementedError

    @operation("POST", "/mlflow/experiments/delete-experiment-tag", permission="experiment:edit")
    def delete_experiment_tag(self, request: DeleteExperimentTag) -> Empty:
        """Delete a tag of an active experiment.

        Raises:
            NotFound: It has no such tag.
        """
        raise NotImplementedError

    @operation(
        "POST", "/mlflow/experiments/search-datasets", permission="experiment:read", reads=True
    )
    def search_datasets(self, request: SearchDatasets) -> DatasetSummaries:
        """Data sets used in up to 20 experiments, at most 1000 rows."""
        raise NotImplementedError
