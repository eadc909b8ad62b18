"""Many threads at once: nothing is lost, and of two that cannot both be, one is. On every store."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from headrace.errors import AlreadyExists, HeadraceError, InvalidParameter, NotFound
from support.api import Api, pairs, point, unique
from support.backend import Backend

THREADS = 32


def together(work: Callable[[int], Any]) -> list[Any]:
    """What each of 32 threads got, results and refusals alike; they begin at the same moment."""
    barrier = threading.Barrier(THREADS)

    def begin(number: int) -> Any:
        barrier.wait()
        try:
            return work(number)
        except HeadraceError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


def test_all_points_of_all_threads_are_there(api: Api) -> None:
    run_id = api.new_run()

    def work(number: int) -> None:
        for i in range(5):
            step = number * 5 + i
            api.log_batch(
                run_id=run_id,
                metrics=[point("shared", step, step, step), point(f"own{number}", i, i, i)],
                params=pairs(**{f"p{step}": str(step)}),
                tags=pairs(**{f"t{number}": str(i)}),
            )

    assert together(work) == [None] * THREADS
    n = THREADS * 5
    assert api.history(run_id, "shared") == [(i, i, float(i)) for i in range(n)]
    data = api.run(run_id).data
    assert data.params == {f"p{i}": str(i) for i in range(n)}
    assert data.metrics == {"shared": n - 1.0} | {f"own{i}": 4.0 for i in range(THREADS)}
    assert {key: data.tags[f"t{key}"] for key in range(THREADS)} == dict.fromkeys(
        range(THREADS), "4"
    )


def test_one_experiment_of_a_name_is_made(api: Api) -> None:
    name = unique("race")
    results = together(lambda _: api.create_experiment(name=name))
    refused = [one for one in results if isinstance(one, Exception)]
    assert len(refused) == THREADS - 1
    assert {type(one) for one in refused} == {AlreadyExists}


def test_one_value_of_a_param_wins(api: Api, backend: Backend) -> None:
    run_id = api.new_run()
    results = together(
        lambda number: api.log_batch(
            run_id=run_id,
            params=pairs(p=str(number)),
            metrics=[point("m", number, number)],
            tags=pairs(**{f"t{number}": ""}),
        )
    )
    refused = [one for one in results if isinstance(one, Exception)]
    assert len(refused) == THREADS - 1
    assert {type(one) for one in refused} == {InvalidParameter}
    winner = api.run(run_id).data.params["p"]
    assert [value for _, _, value in api.history(run_id, "m")] == [float(winner)]
    assert {key for key in api.run(run_id).data.tags if key.startswith("t")} == {f"t{winner}"}
    logged = [data for type, data in backend.events(f"run/{run_id}") if type == "run.params.logged"]
    assert logged == [{"params": {"p": winner}}]


def test_the_same_param_from_all_is_one_param(api: Api) -> None:
    run_id = api.new_run()
    results = together(lambda _: api.log_param(run_id=run_id, key="p", value="1"))
    assert not [one for one in results if isinstance(one, Exception)]
    assert api.run(run_id).data.params == {"p": "1"}


def test_new_keys_in_opposite_orders_do_not_lock_each_other_out(api: Api) -> None:
    experiment = api.new_experiment()
    runs = [api.new_run(experiment) for _ in range(THREADS)]
    keys = [unique("key") for _ in range(20)]

    def work(number: int) -> None:
        mine = keys if number % 2 else keys[::-1]
        api.log_batch(
            run_id=runs[number],
            metrics=[point(key, 1) for key in mine],
            params=pairs(**dict.fromkeys(mine, "v")),
            tags=pairs(**dict.fromkeys(mine, "v")),
        )

    assert together(work) == [None] * THREADS
    for run_id in runs:
        data = api.run(run_id).data
        assert set(data.metrics) == set(data.params) == set(keys)
    assert api.search_keys(experiment_ids=[experiment], kind="param").keys == tuple(sorted(keys))


def test_one_tag_for_all_in_one_run(api: Api) -> None:
    run_id = api.new_run()
    results = together(
        lambda number: api.log_batch(run_id=run_id, tags=pairs(a=str(number), b=str(number)))
    )
    assert results != []
    assert not [one for one in results if isinstance(one, Exception)]
    tags = api.run(run_id).data.tags
    assert tags["a"] == tags["b"]  # one batch's, whole


def test_an_experiment_is_deleted_once_and_takes_no_run_afterwards(api: Api) -> None:
    experiment = api.new_experiment()

    def work(number: int) -> Any:
        if number % 2:
            return api.delete_experiment(experiment_id=experiment)
        return api.create_run(experiment_id=experiment)

    results = together(work)
    assert len([one for one in results[1::2] if isinstance(one, NotFound)]) == THREADS // 2 - 1
    made = [one for one in results[::2] if not isinstance(one, Exception)]
    assert {type(one) for one in results[::2] if isinstance(one, Exception)} <= {InvalidParameter}
    found = api.search_runs(experiment_ids=[experiment], run_view_type="ALL").runs
    assert len(found) == len(made)


def test_the_same_runs_imported_by_all_are_made_once(api: Api) -> None:
    experiment = api.new_experiment()
    runs = [
        {"experiment_id": experiment, "run_id": f"{experiment}i{i}", "metrics": [point("m", i)]}
        for i in range(10)
    ]
    results = together(lambda _: api.import_runs(runs=runs))
    assert not [one for one in results if isinstance(one, Exception)], results
    assert sum(one.created for one in results) == 10
    assert len(api.search_runs(experiment_ids=[experiment]).runs) == 10


def test_a_run_is_purged_or_written_never_half(api: Api) -> None:
    for _ in range(3):
        run_id = api.new_run()
        api.delete_run(run_id=run_id)

        def work(number: int, run_id: str = run_id) -> Any:
            if number == 0:
                return api.purge_trash(run_ids=[run_id])
            if number % 2:
                return api.restore_run(run_id=run_id)
            return api.log_batch(run_id=run_id, metrics=[point("m", 1)], params=pairs(p="1"))

        results = together(work)
        errors = {type(one) for one in results if isinstance(one, Exception)}
        assert errors <= {InvalidParameter, NotFound}, results
        try:
            api.get_run(run_id=run_id)
        except NotFound:
            assert api.history(run_id, "m") == []


def test_models_logged_at_once_are_all_in_the_history(api: Api) -> None:
    run_id = api.new_run()

    def work(number: int) -> Any:
        model = {"artifact_path": str(number), "flavors": {}, "utc_time_created": "", "run_id": ""}
        return api.log_model(run_id=run_id, model_json=json.dumps(model))

    assert not [one for one in together(work) if isinstance(one, Exception)]
    history = json.loads(api.run(run_id).data.tags["mlflow.log-model.history"])
    assert {one["artifact_path"] for one in history} == {str(i) for i in range(THREADS)}


def test_events_tell_what_was_there_before_whoever_else_is_writing(
    api: Api, backend: Backend
) -> None:
    experiment = api.new_experiment()
    run_id = api.new_run(experiment, run_name="first", tags=pairs(t="first"))
    api.update_run(run_id=run_id, end_time=0)
    api.set_experiment_tag(experiment_id=experiment, key="t", value="first")

    def work(number: int) -> None:
        api.set_tag(run_id=run_id, key="t", value=str(number))
        api.log_batch(run_id=run_id, tags=pairs(t=f"b{number}"), metrics=[point("m", number)])
        api.update_run(run_id=run_id, end_time=number + 1)
        api.update_run(run_id=run_id, run_name=f"n{number}")
        api.set_experiment_tag(experiment_id=experiment, key="t", value=str(number))

    assert together(work) == [None] * THREADS
    events = backend.events(f"run/{run_id}")[2:]
    tags = [
        (data["before"]["t"], data["after"]["t"])
        for type, data in events
        if type == "run.tags.set" and "t" in data["after"]
    ]
    ends = [
        (data["before"]["end_time"], data["after"]["end_time"])
        for type, data in events
        if type == "run.updated"
    ]
    names = [(data["before"], data["after"]) for type, data in events if type == "run.renamed"]
    shared = [
        (data["before"], data["after"])
        for type, data in backend.events(f"experiment/{experiment}")[2:]
    ]
    for first, chain in (("first", tags), (0, ends), ("first", names), ("first", shared)):
        assert chain
        assert [before for before, _ in chain] == [first, *(after for _, after in chain[:-1])]
