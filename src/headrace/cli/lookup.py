"""Experiments and runs by what people type: an id, a name, or the beginning of a run id."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from headrace.cli.store import ask
from headrace.entities import Experiment, Run, ViewType
from headrace.errors import HeadraceError, InvalidParameter, NotFound
from headrace.protocol.experiments import Experiments
from headrace.protocol.runs import Runs
from headrace.protocol.store import Store

#: Runs or experiments asked for at once.
PAGE = 1000
#: What tables show of a run id; as much is enough to name the run, nearly always.
SHORT_ID = 8
_FULL_ID = 32
_PREFIX = re.compile(r"[0-9a-f]{4,31}")


def find_experiment(store: Store, given: str) -> Experiment:
    """The experiment with that id (all digits) or that name.

    Raises:
        NotFound: None has.
    """
    if given.isdecimal():
        found = ask(store, Experiments.get_experiment, experiment_id=given)
    else:
        found = ask(store, Experiments.get_experiment_by_name, experiment_name=given)
    experiment: Experiment = found.experiment
    return experiment


def all_experiments(
    store: Store,
    view: ViewType = ViewType.ACTIVE_ONLY,
    filter_string: str = "",
    order_by: Sequence[str] = (),
) -> Iterator[Experiment]:
    """Every experiment of a search, page after page."""
    token = ""
    while True:
        page = ask(
            store,
            Experiments.search_experiments,
            max_results=PAGE,
            view_type=view,
            filter=filter_string,
            order_by=tuple(order_by),
            page_token=token,
        )
        yield from page.experiments
        token = page.next_page_token
        if not token:
            return


def find_run(store: Store, given: str) -> Run:
    """The run with that id, or the only one whose id begins so (four characters at least).

    Raises:
        NotFound: None has.
        InvalidParameter: Several ids begin so.
    """
    if _PREFIX.fullmatch(given):
        found = _begins_with(store, given)
        if len(found) > 1:
            ids = ", ".join(run.info.run_id for run in found[:3])
            raise InvalidParameter(
                f"Several run ids begin with '{given}' ({ids}, …): give more of the id."
            )
        if found:
            return found[0]
    run: Run = ask(store, Runs.get_run, run_id=given).run
    return run


def find_run_id(store: Store, given: str) -> str:
    """The full id of a run; a full id is not looked up."""
    return given if len(given) == _FULL_ID else find_run(store, given).info.run_id


def search_runs(
    store: Store,
    experiment_ids: Sequence[str],
    *,
    filter_string: str = "",
    order_by: Sequence[str] = (),
    view: ViewType = ViewType.ACTIVE_ONLY,
    limit: int | None = None,
) -> Iterator[Run]:
    """The runs of a search, page after page, at most ``limit`` of them."""
    token, left = "", limit
    while left is None or left > 0:
        page = ask(
            store,
            Runs.search_runs,
            experiment_ids=tuple(experiment_ids),
            filter=filter_string,
            order_by=tuple(order_by),
            run_view_type=view,
            max_results=PAGE if left is None else min(PAGE, left),
            page_token=token,
        )
        yield from page.runs
        if left is not None:
            left -= len(page.runs)
        token = page.next_page_token
        if not token:
            return


def experiment_ids(store: Store, given: Sequence[str], view: ViewType) -> list[str]:
    """The ids of the experiments that a user named; of all when none was.

    When deleted runs are asked for, deleted experiments count too: their runs went with them.
    """
    if given:
        return [find_experiment(store, one).experiment_id for one in given]
    wanted = ViewType.ACTIVE_ONLY if view is ViewType.ACTIVE_ONLY else ViewType.ALL
    return [one.experiment_id for one in all_experiments(store, wanted)]


def _begins_with(store: Store, prefix: str) -> Sequence[Run]:
    ids = experiment_ids(store, (), ViewType.ALL)
    try:
        runs = list(
            search_runs(
                store,
                ids,
                filter_string=f"attributes.run_id LIKE '{prefix}%'",
                view=ViewType.ALL,
                limit=3,
            )
        )
    except NotFound:
        raise
    except HeadraceError:
        # An MLflow server may not know that filter; then only whole ids name a run.
        return ()
    return runs
