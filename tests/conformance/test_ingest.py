"""Batches of journals, on every store: applied once, and what is wrong left out."""

from __future__ import annotations

import math
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from headrace.client.remote import RemoteStore
from headrace.engine import Engine, schema
from headrace.entities import (
    Dataset,
    DatasetInput,
    KeyValue,
    LoggedModelInput,
    LoggedModelOutput,
    RunStatus,
)
from headrace.errors import InvalidParameter, NotFound
from headrace.protocol.ingest import (
    Batch,
    ConsoleLine,
    LogInputs,
    LogOutputs,
    LogParams,
    LogPoints,
    Series,
    SetTags,
    StartRun,
    UpdateRun,
    WriteConsole,
)
from headrace.protocol.runs import MetricPoint
from support.api import Api, pairs, unique
from support.backend import Backend
from support.batches import Journal, interleaved, line, new_writer


def recorded(backend: Backend, run_id: str) -> dict[str, int]:
    """How many points of each metric were recorded: the history shows equal ones once, this does not."""
    summary, key, run = schema.metric_summary.c, schema.key.c, schema.run.c
    rows = backend.rows(
        sa.select(key.name, summary.count)
        .join(schema.key, key.id == summary.key_id)
        .join(schema.run, run.id == summary.run_id)
        .where(run.uuid == run_id)
    )
    return {row[0]: row[1] for row in rows}


def position(backend: Backend, writer: str) -> int | None:
    """Where the store is with a writer."""
    rows = backend.rows(sa.select(schema.writer.c.position).where(schema.writer.c.id == writer))
    return rows[0][0] if rows else None


def test_points_and_steps_arrive(api: Api, backend: Backend) -> None:
    run_id = unique("r")
    journal = Journal()
    batch = journal.batch(
        interleaved(line(run_id, "a", range(300)), line(run_id, "b", range(5))),
        [
            LogParams(run_id=run_id, params=(KeyValue("p", "1"), KeyValue("q", ""))),
            SetTags(run_id=run_id, tags=(KeyValue("t", "1"), KeyValue("t", "2"))),
            StartRun(run_id=run_id, run_name="mine", user_id="me", start_time=5),
            UpdateRun(run_id=run_id, status=RunStatus.FINISHED, end_time=9),
        ],
    )
    answer = backend.store.ingest(batch)
    assert (answer.position, answer.rejected) == (journal.position, ())
    run = api.run(run_id)
    assert (run.info.run_name, run.info.user_id, run.info.start_time) == ("mine", "me", 5)
    assert (run.info.status, run.info.end_time) == (RunStatus.FINISHED, 9)
    assert run.info.experiment_id == "0"
    assert run.data.params == {"p": "1", "q": ""}
    assert run.data.tags == {"t": "2", "mlflow.runName": "mine"}
    assert run.data.metrics == {"a": 299.0, "b": 4.0}
    assert api.history(run_id, "a") == [(1000 + i, i, float(i)) for i in range(300)]
    kinds = [kind for kind, _ in backend.events(f"run/{run_id}")]
    assert kinds == [
        "run.created",
        "metric.created",
        "run.params.logged",
        "run.tags.set",
        "run.tags.set",
        "metric.last",
        "run.finished",
    ]


def test_data_sets_models_and_their_points_arrive(api: Api, backend: Backend) -> None:
    run_id = api.new_run()
    dataset = Dataset(name="d", digest="1", source_type="local", source="s")
    answer = backend.store.ingest(
        Journal().batch(
            steps=[
                LogInputs(
                    run_id=run_id,
                    datasets=(DatasetInput(dataset=dataset),),
                    models=(LoggedModelInput(model_id="m-1"),),
                ),
                LogOutputs(run_id=run_id, models=(LoggedModelOutput(model_id="m-2", step=3),)),
                LogPoints(
                    run_id=run_id,
                    metrics=(
                        MetricPoint(key="acc", value=0.5, timestamp=1, model_id="m-2"),
                        MetricPoint(key="../bad", value=0.5, timestamp=1),
                    ),
                ),
                WriteConsole(run_id=run_id, stream="stdout", lines=(ConsoleLine(1, "a"),)),
                WriteConsole(run_id=run_id, stream="stdout", lines=(ConsoleLine(2, "b"),)),
                WriteConsole(run_id=run_id, stream="stderr", lines=(ConsoleLine(2, "c"),)),
                WriteConsole(run_id=run_id, stream="nowhere", lines=(ConsoleLine(3, "c"),)),
            ]
        )
    )
    assert [one.what for one in answer.rejected] == ["metric ../bad", "write_console"]
    run = api.run(run_id)
    assert run.data.metrics == {"acc": 0.5}
    assert [one.dataset for one in run.inputs.dataset_inputs] == [dataset]
    assert [one.model_id for one in run.inputs.model_inputs] == ["m-1"]
    assert [(one.model_id, one.step) for one in run.outputs.model_outputs] == [("m-2", 3)]
    chunk = schema.console_chunk.c
    assert backend.rows(
        sa.select(chunk.lines).join(schema.run, schema.run.c.id == chunk.run_id)
        .where(schema.run.c.uuid == run_id)
    ) == [(3,)]  # fmt: skip


def test_a_batch_may_hold_many_runs(api: Api, backend: Backend) -> None:
    experiment = api.new_experiment()
    runs = [unique("r") for _ in range(40)]
    batch = Journal().batch(
        interleaved(*(line(run, key, range(5)) for run in runs for key in ("a", "b"))),
        [StartRun(run_id=run, experiment_id=experiment) for run in runs],
    )
    assert backend.store.ingest(batch).rejected == ()
    found = api.search_runs(experiment_ids=[experiment]).runs
    assert {run.info.run_id for run in found} == set(runs)
    for run in found:
        assert run.data.metrics == {"a": 4.0, "b": 4.0}
        assert api.history(run.info.run_id, "b") == [(1000 + i, i, float(i)) for i in range(5)]
        created = [
            data
            for kind, data in backend.events(f"run/{run.info.run_id}")
            if kind == "metric.created"
        ]
        assert created == [{"keys": created[0]["keys"]}]
        assert sorted(created[0]["keys"]) == ["a", "b"]
    assert api.search_keys(experiment_ids=[experiment], kind="metric").keys == ("a", "b")


def test_the_same_batch_counts_once(api: Api, backend: Backend) -> None:
    run_id = api.new_run()
    journal = Journal()
    batch = journal.batch(
        line(run_id, "m", range(10)), [LogParams(run_id=run_id, params=(KeyValue("p", "1"),))]
    )
    for _ in range(3):
        assert backend.store.ingest(batch).position == batch.end
    later = journal.batch(line(run_id, "m", range(10, 20)))
    assert backend.store.ingest(later).position == later.end
    assert (
        backend.store.ingest(batch).position == batch.end
    )  # as it was applied, whatever came since
    assert recorded(backend, run_id) == {"m": 20}
    assert position(backend, journal.writer) == later.end


def test_of_two_batches_that_overlap_one_is_applied(api: Api, backend: Backend) -> None:
    run_id = api.new_run()
    journal = Journal()
    backend.store.ingest(journal.batch(line(run_id, "m", range(10))))

    def cut(start: int, end: int) -> Batch:
        whole = journal.batch(line(run_id, "m", range(10, 13)))
        return msgspec.structs.replace(whole, start=start, end=end)

    assert backend.store.ingest(cut(50, 150)).position == 100
    assert backend.store.ingest(cut(0, 101)).position == 100
    assert recorded(backend, run_id) == {"m": 10}
    assert backend.store.ingest(cut(100, 150)).position == 150
    assert recorded(backend, run_id) == {"m": 13}


def test_what_comes_after_a_gap_is_applied(api: Api, backend: Backend) -> None:
    run_id = api.new_run()
    batch = msgspec.structs.replace(
        Journal().batch(line(run_id, "m", range(3))), start=7 << 32, end=8 << 32
    )
    assert backend.store.ingest(batch).position == 8 << 32
    assert backend.store.ingest(batch).position == 8 << 32
    before = msgspec.structs.replace(batch, start=0, end=100)
    assert backend.store.ingest(before).position == 100
    assert recorded(backend, run_id) == {"m": 3}


def test_a_replay_to_the_store_opened_anew_changes_nothing(api: Api, backend: Backend) -> None:
    run_id = api.new_run()
    journal = Journal()
    batches = [journal.batch(line(run_id, "m", range(i, i + 5))) for i in range(0, 25, 5)]
    for batch in batches[:3]:
        backend.store.ingest(batch)
    again = Engine(backend.url, artifact_root="file:///nowhere", actor=backend.actor, compact=False)
    try:
        for batch in batches:
            assert again.ingest(batch).position == batch.end
    finally:
        again.close()
    for batch in batches:
        backend.store.ingest(batch)
    assert recorded(backend, run_id) == {"m": 25}


def test_two_drains_of_one_journal_apply_each_batch_once(api: Api, backend: Backend) -> None:
    run_id = api.new_run()
    journal = Journal()
    batches = [
        journal.batch(
            line(run_id, "m", range(i, i + 7)),
            [LogParams(run_id=run_id, params=(KeyValue(f"p{i}", "v"),))],
        )
        for i in range(0, 210, 7)
    ]

    # As another process has it open.
    other = Engine(backend.url, artifact_root="file:///nowhere", actor=backend.actor, compact=False)

    def drain(seed: int) -> None:
        chance = random.Random(seed)
        store = (backend.store, other)[seed % 2]
        place = 0
        while place < len(batches):
            answer = store.ingest(batches[place])
            assert answer.position == batches[place].end
            assert answer.rejected == ()
            # Sometimes the answer gets lost, and some are sent again.
            place = max(0, place - chance.randrange(3)) if chance.random() < 0.3 else place + 1

    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(drain, range(4)))
    finally:
        other.close()
    assert recorded(backend, run_id) == {"m": 210}
    assert api.history(run_id, "m") == [(1000 + i, i, float(i)) for i in range(210)]
    logged = [data for kind, data in backend.events(f"run/{run_id}") if kind == "run.params.logged"]
    assert len(logged) == len(batches)


def test_five_hundred_writers_on_one_run_lose_nothing(api: Api, backend: Backend) -> None:
    run_id = unique("r")
    batches = [
        Journal().batch(
            interleaved(
                line(run_id, "shared", [number]), line(run_id, f"own{number % 7}", [number])
            ),
            [
                StartRun(run_id=run_id, run_name="one"),
                SetTags(run_id=run_id, tags=(KeyValue(f"t{number}"),)),
            ],
            alive=(run_id,),
        )
        for number in range(500)
    ]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(backend.store.ingest, batches))
    assert {answer.rejected for answer in answers} == {()}
    counts = recorded(backend, run_id)
    assert counts.pop("shared") == 500
    assert sum(counts.values()) == 500
    assert len(api.run(run_id).data.tags) == 501
    kinds = [kind for kind, _ in backend.events(f"run/{run_id}")]
    assert kinds.count("run.created") == 1
    assert kinds.count("run.tags.set") == 500


def test_what_cannot_be_applied_is_left_out_told_and_kept(api: Api, backend: Backend) -> None:
    run_id, deleted, unknown = api.new_run(), api.new_run(), unique("unknown")
    api.delete_run(run_id=deleted)
    api.log_param(run_id=run_id, key="there", value="1")
    journal = Journal()
    long = "x" * 100_001
    batch = journal.batch(
        [
            *line(run_id, "good", range(3)),
            *line(run_id, "../bad", range(3)),
            *line(deleted, "m", range(3)),
            *line(unknown, "m", range(3)),
            *line("no run id!", "m", range(3)),
            (run_id, "early", 1, -1, 1.0),
            (run_id, "early", 2, 5, 2.0),
        ],
        [
            LogParams(
                run_id=run_id,
                params=(KeyValue("there", "2"), KeyValue("new", "1"), KeyValue("new", "2")),
            ),
            LogParams(
                run_id=run_id,
                params=(KeyValue("a\x00b", "1"), KeyValue("nul", "\x00"), KeyValue("long", long)),
            ),
            SetTags(
                run_id=run_id,
                tags=(KeyValue("good", "1"), KeyValue("/bad", "1"), KeyValue("nul", "\x00")),
            ),
            UpdateRun(run_id=run_id, run_name=long),
            LogInputs(run_id=run_id, models=(LoggedModelInput(model_id=long),)),
            LogOutputs(run_id=run_id),
            SetTags(run_id=deleted, tags=(KeyValue("t", "1"),)),
            LogParams(run_id=unknown, params=(KeyValue("p", "1"),)),
            SetTags(run_id=run_id, tags=(KeyValue("last", "1"),)),
        ],
    )
    answer = backend.store.ingest(batch)
    assert answer.position == batch.end
    assert sorted((one.run_id, one.what) for one in answer.rejected) == sorted(
        [
            *((run_id, what) for what in (
                "metric ../bad", "metric early", "param there", "param new", "param a\\x00b", "param nul",
                "param long", "tag /bad", "tag nul", "update_run", "log_inputs", "log_outputs",
            )),
            (deleted, "metrics"), (deleted, "tags"),
            (unknown, "metrics"), (unknown, "params"),
            ("no run id!", "metrics"),
        ]
    )  # fmt: skip
    data = api.run(run_id).data
    assert data.metrics == {"good": 2.0, "early": 2.0}
    assert data.params == {"there": "1", "new": "1"}
    assert {key: data.tags.get(key) for key in ("good", "last")} == {"good": "1", "last": "1"}
    assert recorded(backend, deleted) == {}
    assert all(one.message for one in answer.rejected)
    for subject in (run_id, deleted, unknown, "no run id!"):
        kept = [
            data
            for kind, data in backend.events(f"run/{subject}")
            if kind == "run.logging.rejected"
        ]
        told = [
            {"what": one.what, "message": one.message}
            for one in answer.rejected
            if one.run_id == subject
        ]
        assert kept == [{"rejected": told}]
    # What is rejected stays rejected: the batch is applied.
    assert backend.store.ingest(batch).position == batch.end
    assert recorded(backend, run_id) == {"good": 3, "early": 1}


def test_a_run_is_started_in_the_experiment_it_names(api: Api, backend: Backend) -> None:
    name = unique("by name")
    deleted = api.new_experiment()
    api.delete_experiment(experiment_id=deleted)
    old = unique("deleted")
    api.delete_experiment(experiment_id=api.new_experiment(name=old))
    runs = [unique("r") for _ in range(8)]
    steps = [
        StartRun(run_id=runs[0], experiment_name=name),
        StartRun(run_id=runs[1], experiment_name=name),
        StartRun(run_id=runs[2], experiment_name=old),
        StartRun(run_id=runs[3], experiment_id=deleted),
        StartRun(run_id=runs[4], experiment_id="999999999"),
        StartRun(run_id=runs[5], experiment_id="none"),
        StartRun(run_id=runs[6], experiment_name="x" * 501),
        StartRun(
            run_id=runs[7], run_name="n\x00", tags=(KeyValue("t", "1"), KeyValue("/bad", "1"))
        ),
    ]
    answer = backend.store.ingest(
        Journal().batch([p for run in runs for p in line(run, "m", [1])], steps)
    )
    assert [(one.run_id, one.what) for one in answer.rejected] == [
        *((run, "start_run") for run in runs[3:7]),
        (runs[7], "tag /bad"),
        (runs[7], "run_name"),
        *((run, "metrics") for run in runs[3:7]),
    ]
    first, second, third = (api.run(run).info.experiment_id for run in runs[:3])
    assert (
        first == second == api.get_experiment_by_name(experiment_name=name).experiment.experiment_id
    )
    assert api.get_experiment(experiment_id=third).experiment.lifecycle_stage == "active"
    assert api.run(runs[7]).data.tags["t"] == "1"
    assert api.run(runs[7]).info.run_name
    for run in runs[3:7]:
        with pytest.raises(NotFound):
            api.get_run(run_id=run)


def test_a_run_that_is_there_is_not_started_again(api: Api, backend: Backend) -> None:
    run_id = api.new_run(run_name="first", tags=pairs(t="1"))
    step = StartRun(
        run_id=run_id, run_name="second", tags=(KeyValue("t", "2"),), experiment_name=unique("e")
    )
    before = api.run(run_id)
    assert backend.store.ingest(Journal().batch(steps=[step, step])).rejected == ()
    assert api.run(run_id) == before
    with pytest.raises(NotFound):
        api.get_experiment_by_name(experiment_name=step.experiment_name)


def test_a_run_is_started_once_whoever_says_so(api: Api, backend: Backend) -> None:
    run_id, name = unique("r"), unique("e")

    def start(number: int) -> Any:
        step = StartRun(run_id=run_id, experiment_name=name, run_name=f"n{number}")
        if number % 2:
            return backend.store.start_run(step).run.info.run_name
        assert (
            backend.store.ingest(Journal().batch(line(run_id, "m", [number]), [step])).rejected
            == ()
        )
        return None

    with ThreadPoolExecutor(16) as pool:
        names = set(pool.map(start, range(16))) - {None}
    assert names == {api.run(run_id).info.run_name}
    assert recorded(backend, run_id) == {"m": 8}
    assert [kind for kind, _ in backend.events(f"run/{run_id}")].count("run.created") == 1


def test_a_batch_of_nothing_says_who_is_alive_and_moves_nothing(api: Api, backend: Backend) -> None:
    run_id, ended = api.new_run(), api.new_run()
    api.update_run(run_id=ended, status="FINISHED", end_time=1)
    journal = Journal()
    beat = Batch(
        writer=journal.writer,
        start=500,
        end=500,
        alive=(run_id, ended, unique("unknown"), "\x00"),
        silence=60_000,
    )
    for _ in range(2):
        answer = backend.store.ingest(beat)
        assert (answer.position, answer.rejected) == (0, ())
    assert position(backend, journal.writer) is None
    beats = backend.rows(
        sa.select(schema.run.c.uuid, schema.heartbeat.c.silence)
        .join(schema.run, schema.run.c.id == schema.heartbeat.c.run_id)
        .where(schema.run.c.uuid.in_([run_id, ended]))
    )
    assert beats == [(run_id, 60_000)]
    first = journal.batch(line(run_id, "m", range(2)))
    assert backend.store.ingest(first).position == first.end
    assert backend.store.ingest(beat).position == first.end
    assert position(backend, journal.writer) == first.end


GOOD = Batch(writer="0" * 31 + "a", start=0, end=1)
POINT = {
    "series": (Series("r", "m"),),
    "numbers": bytes(4),
    "steps": bytes(8),
    "timestamps": bytes(8),
    "values": bytes(8),
}
BAD: dict[str, dict[str, Any]] = {
    "a writer that is no id": {"writer": "0" * 31},
    "a writer in capitals": {"writer": "A" * 32},
    "a writer with a line end": {"writer": "0" * 32 + "\n"},
    "a start below 0": {"start": -1},
    "an end before the start": {"start": 2},
    "a silence of 0": {"silence": 0},
    "half a number": {**POINT, "numbers": bytes(5)},
    "too few numbers": {**POINT, "numbers": b""},
    "too few steps": {**POINT, "steps": bytes(7)},
    "too many timestamps": {**POINT, "timestamps": bytes(16)},
    "no values": {**POINT, "values": b""},
    "a number beyond the series": {**POINT, "numbers": b"\x01\0\0\0"},
    "a huge number": {**POINT, "numbers": b"\xff\xff\xff\xff"},
    "numbers without series": {**POINT, "series": ()},
    "points at no position": {**POINT, "end": 0},
    "steps at no position": {"end": 0, "operations": (StartRun(run_id="nowhere"),)},
}  # fmt: skip


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
def test_a_batch_that_makes_no_sense_is_refused_whole(
    api: Api, backend: Backend, fields: dict[str, Any]
) -> None:
    writer = new_writer()
    run_id = unique("r")
    base = msgspec.structs.replace(GOOD, writer=writer, operations=(StartRun(run_id=run_id),))
    with pytest.raises(InvalidParameter):
        backend.store.ingest(msgspec.structs.replace(base, **fields))
    assert position(backend, writer) is None
    with pytest.raises(NotFound):
        api.get_run(run_id=run_id)


def test_floats_of_every_kind_arrive(api: Api, backend: Backend) -> None:
    run_id = api.new_run()
    values = [0.0, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan]
    points = [(run_id, "m", step, step, value) for step, value in enumerate(values)]
    backend.store.ingest(Journal().batch(points))
    assert [value for _, _, value in api.history(run_id, "m")] == [*values[:-1], "NaN"]
    assert math.isnan(api.run(run_id).data.metrics["m"])
    kinds = [kind for kind, _ in backend.events(f"run/{run_id}")]
    assert kinds == ["run.created", "metric.created", "metric.nonfinite"]


def test_our_client_sends_a_batch_as_messagepack(backend: Backend) -> None:
    if not isinstance(backend.store, RemoteStore):
        return
    sent = []
    backend.store.http.event_hooks["request"] = [sent.append]
    backend.store.ingest(Journal().batch())
    backend.store.http.event_hooks["request"] = []
    assert sent[0].headers["content-type"] == sent[0].headers["accept"] == "application/msgpack"
    assert sent[0].extensions["headrace_repeatable"] is True
