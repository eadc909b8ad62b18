"""Experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.client.base import ClientBase
from headrace.client.paging import PagedList
from headrace.client.values import pairs
from headrace.entities import Experiment, ViewType
from headrace.errors import NotFound
from headrace.protocol.experiments import DatasetSummary, Experiments


class ExperimentCalls(ClientBase):
    """Named sets of runs. Ids may be given as int or str."""

    def create_experiment(
        self,
        name: str,
        artifact_location: str | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> str:
        """Create an experiment; its id.

        Args:
            name: Unique among active experiments, at most 500 characters.
            artifact_location: URI of the folder for its runs' artifacts; default: the store's own.
            tags: Values are taken as text.

        Raises:
            AlreadyExists: An active experiment has that name.
        """
        created = self._call(
            Experiments.create_experiment,
            name=name,
            artifact_location=None if artifact_location is None else str(artifact_location),
            tags=pairs(tags),
        )
        return str(created.experiment_id)

    def get_experiment(self, experiment_id: str) -> Experiment:
        """The experiment of that id, deleted ones too.

        Raises:
            NotFound: There is none.
        """
        found: Experiment = self._call(
            Experiments.get_experiment, experiment_id=str(experiment_id)
        ).experiment
        return found

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        """The active experiment of that name, else the one deleted last, else None."""
        try:
            found: Experiment = self._call(
                Experiments.get_experiment_by_name, experiment_name=name
            ).experiment
        except NotFound:
            return None
        return found

    def search_experiments(
        self,
        view_type: ViewType | str | int = ViewType.ACTIVE_ONLY,
        max_results: int | None = 1000,
        filter_string: str | None = None,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[Experiment]:
        """One page of experiments, newest first unless ordered.

        Args:
            view_type: Active ones, deleted ones, or all.
            max_results: Size of the page, 1 to 50,000.
            filter_string: ``name LIKE 'iris%' AND tags.team = 'vision'``; see docs/search.md.
            order_by: ``["name ASC", "creation_time DESC"]``.
            page_token: ``token`` of the page before.
        """
        page = self._call(
            Experiments.search_experiments,
            view_type=view(view_type),
            max_results=1000 if max_results is None else max_results,
            filter=filter_string,
            order_by=listed(order_by),
            page_token=page_token,
        )
        return PagedList(page.experiments, page.next_page_token)

    def rename_experiment(self, experiment_id: str, new_name: str) -> None:
        """Give an active experiment another name.

        Raises:
            AlreadyExists: Another active experiment has it.
        """
        self._call(
            Experiments.update_experiment, experiment_id=str(experiment_id), new_name=new_name
        )

    def delete_experiment(self, experiment_id: str) -> None:
        """Put an experiment and its runs into the trash; its name is free at once."""
        self._call(Experiments.delete_experiment, experiment_id=str(experiment_id))

    def restore_experiment(self, experiment_id: str) -> None:
        """Take an experiment, and the runs deleted with it, out of the trash."""
        self._call(Experiments.restore_experiment, experiment_id=str(experiment_id))

    def set_experiment_tag(self, experiment_id: str, key: str, value: Any) -> None:
        """Set a tag; the value is taken as text, at most 20,000 characters."""
        self._call(
            Experiments.set_experiment_tag,
            experiment_id=str(experiment_id),
            key=key,
            value=str(value),
        )

    def set_experiment_tags(self, experiment_id: str, tags: Mapping[str, Any]) -> None:
        """Set several tags, one after the other."""
        for key, value in tags.items():
            self.set_experiment_tag(experiment_id, key, value)

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        """Delete a tag.

        Raises:
            NotFound: The experiment has no such tag.
        """
        self._call(Experiments.delete_experiment_tag, experiment_id=str(experiment_id), key=key)

    def search_run_datasets(self, experiment_ids: Sequence[str]) -> list[DatasetSummary]:
        """The data sets that runs of up to 20 experiments used, at most 1000."""
        found = self._call(Experiments.search_datasets, experiment_ids=listed(experiment_ids))
        return list(found.dataset_summaries)


def view(view_type: ViewType | str | int) -> ViewType | str:
    """A view type, also by MLflow's number (1 active, 2 deleted, 3 all)."""
    members = list(ViewType)
    if isinstance(view_type, int) and 1 <= view_type <= len(members):
        return members[view_type - 1]
    return str(view_type)


def listed(values: Sequence[Any] | str | int | None) -> list[str] | None:
    """One value or several as a list of text."""
    if values is None:
        return None
    return [str(values)] if isinstance(values, str | int) else [str(value) for value in values]
