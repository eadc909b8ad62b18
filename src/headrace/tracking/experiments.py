"""Experiments, in the store that `set_tracking_uri` chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.entities import Experiment, ViewType
from headrace.tracking.choice import choice
from headrace.tracking.choice import experiment_id as chosen_experiment


def get_experiment(experiment_id: str) -> Experiment:
    """The experiment of that id, deleted ones too.

    Raises:
        NotFound: There is none.
    """
    return choice.client().get_experiment(experiment_id)


def get_experiment_by_name(name: str) -> Experiment | None:
    """The active experiment of that name, else the one deleted last, else None."""
    return choice.client().get_experiment_by_name(name)


def search_experiments(
    view_type: ViewType | str | int = ViewType.ACTIVE_ONLY,
    max_results: int | None = None,
    filter_string: str | None = None,
    order_by: Sequence[str] | None = None,
) -> list[Experiment]:
    """All experiments that match, newest first unless ordered; at most ``max_results``."""
    found: list[Experiment] = []
    token: str | None = None
    while max_results is None or len(found) < max_results:
        size = 1000 if max_results is None else min(1000, max_results - len(found))
        page = choice.client().search_experiments(view_type, size, filter_string, order_by, token)
        found.extend(page)
        token = page.token
        if token is None:
            break
    return found


def create_experiment(
    name: str, artifact_location: str | None = None, tags: Mapping[str, Any] | None = None
) -> str:
    """Create an experiment; its id. It does not become the active one, see `set_experiment`.

    Raises:
        AlreadyExists: An active experiment has that name.
    """
    return choice.client().create_experiment(name, artifact_location, tags)


def delete_experiment(experiment_id: str) -> None:
    """Put an experiment and its runs into the trash."""
    choice.client().delete_experiment(experiment_id)


def restore_experiment(experiment_id: str) -> None:
    """Take an experiment, and the runs deleted with it, out of the trash."""
    choice.client().restore_experiment(experiment_id)


def set_experiment_tag(key: str, value: Any) -> None:
    """Set a tag of the active experiment."""
    choice.client().set_experiment_tag(chosen_experiment(), key, value)


def set_experiment_tags(tags: Mapping[str, Any]) -> None:
    """Set several tags of the active experiment."""
    choice.client().set_experiment_tags(chosen_experiment(), tags)


def delete_experiment_tag(key: str) -> None:
    """Delete a tag of the active experiment."""
    choice.client().delete_experiment_tag(chosen_experiment(), key)
