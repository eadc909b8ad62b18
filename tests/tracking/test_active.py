"""The active run."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import headrace
from headrace.entities import RunStatus
from headrace.errors import InvalidParameter, InvalidState, NotFound


def status(run: headrace.ActiveRun) -> str:
    return str(headrace.get_run(run.info.run_id).info.status)


def test_a_block_ends_its_run_as_finished(tracking_uri: str) -> None:
    headrace.set_tracking_uri(tracking_uri)
    with headrace.start_run(run_name="tidy", tags={"a": 1}, description="words") as run:
        assert headrace.active_run() is run
        assert status(run) == RunStatus.RUNNING
    assert headrace.active_run() is None
    ended = headrace.get_run(run.info.run_id)
    assert ended.info.status == RunStatus.FINISHED
    assert ended.info.end_time is not None
    assert ended.info.end_time >= ended.info.start_time
    assert ended.info.run_name == ended.data.tags["mlflow.runName"] == "tidy"
    assert ended.data.tags["a"] == "1"
    assert ended.data.tags["mlflow.note.content"] == "words"
    assert ended.data.tags["mlflow.source.type"] == "LOCAL"
    assert ended.info.user_id == ended.data.tags["mlflow.user"]
    assert headrace.last_active_run() == ended


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("bad"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (asyncio.CancelledError(), "KILLED"),
        (SystemExit(1), "FAILED"),
        (SystemExit(0), "FINISHED"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
def test_an_exception_that_leaves_the_block_decides_the_status(
    error: BaseException, expected: str
) -> None:
    with pytest.raises(type(error)), headrace.start_run() as run:
        raise error
    assert status(run) == expected


def test_end_run_takes_a_status_and_a_block_does_not_overwrite_it() -> None:
    with headrace.start_run() as run:
        headrace.end_run("KILLED")
        assert headrace.active_run() is None
    assert status(run) == "KILLED"


def test_end_run_without_a_run_does_nothing() -> None:
    headrace.end_run()


def test_a_second_run_needs_to_be_nested() -> None:
    with headrace.start_run() as run:
        with pytest.raises(InvalidState, match=r"already active.*nested=True"):
            headrace.start_run()
        assert headrace.active_run() is run


def test_nested_runs_know_their_parent_and_share_its_experiment() -> None:
    experiment_id = headrace.create_experiment("somewhere")
    with headrace.start_run(experiment_id=experiment_id) as parent:
        with headrace.start_run(nested=True) as child:
            with headrace.start_run(nested=True) as grandchild:
                assert headrace.active_run() is grandchild
            assert headrace.active_run() is child
        assert headrace.active_run() is parent
    assert child.info.experiment_id == grandchild.info.experiment_id == experiment_id
    found = headrace.get_parent_run(grandchild.info.run_id)
    assert found is not None
    assert found.info.run_id == child.info.run_id
    assert headrace.get_parent_run(parent.info.run_id) is None


def test_leaving_a_block_ends_runs_that_were_left_open_inside() -> None:
    with headrace.start_run() as outer:
        inner = headrace.start_run(nested=True)
    assert headrace.active_run() is None
    assert (status(inner), status(outer)) == ("FINISHED", "FINISHED")


def test_a_parent_may_be_given_by_its_id() -> None:
    with headrace.start_run() as parent:
        pass
    child = headrace.start_run(parent_run_id=parent.info.run_id)
    with pytest.raises(InvalidState, match="does not match"):
        headrace.start_run(parent_run_id=parent.info.run_id, nested=True)
    headrace.end_run()
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    headrace.delete_run(parent.info.run_id)
    with pytest.raises(InvalidState, match="deleted"):
        headrace.start_run(parent_run_id=parent.info.run_id)
    with pytest.raises(NotFound):
        headrace.start_run(parent_run_id="0" * 32)


def test_a_run_can_be_gone_on_with(tracking_uri: str) -> None:
    headrace.set_tracking_uri(tracking_uri)
    with headrace.start_run(run_name="first") as run:
        headrace.log_param("lr", 0.1)
    with headrace.start_run(run_id=run.info.run_id, tags={"again": "yes"}) as again:
        assert status(run) == "RUNNING"
        assert again.data.params == {"lr": "0.1"}
        assert again.data.tags["again"] == "yes"
        assert again.info.run_name == "first"
    assert status(run) == "FINISHED"


def test_a_deleted_or_foreign_run_cannot_be_gone_on_with() -> None:
    with headrace.start_run() as run:
        pass
    headrace.set_experiment("another")
    with pytest.raises(InvalidState, match="belongs to experiment"):
        headrace.start_run(run_id=run.info.run_id)
    headrace.set_experiment("Default")
    headrace.delete_run(run.info.run_id)
    with pytest.raises(InvalidState, match="deleted"):
        headrace.start_run(run_id=run.info.run_id)
    assert headrace.active_run() is None


@pytest.mark.parametrize("name", ["HEADRACE_RUN_ID", "MLFLOW_RUN_ID"])
def test_the_environment_names_the_first_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with headrace.start_run() as run:
        pass
    monkeypatch.setenv(name, run.info.run_id)
    with headrace.start_run() as first:
        pass
    with headrace.start_run() as second:
        pass
    assert first.info.run_id == run.info.run_id != second.info.run_id


def test_the_environment_names_the_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "from-mlflow")
    with headrace.start_run() as run:
        pass
    assert headrace.get_experiment(run.info.experiment_id).name == "from-mlflow"
    monkeypatch.setenv("HEADRACE_EXPERIMENT_NAME", "ours-first")
    with headrace.start_run() as run:
        pass
    assert headrace.get_experiment(run.info.experiment_id).name == "ours-first"
    monkeypatch.setenv("HEADRACE_EXPERIMENT_ID", "77")
    with pytest.raises(InvalidParameter, match="'77'"):
        headrace.start_run()
    monkeypatch.delenv("HEADRACE_EXPERIMENT_NAME")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    with pytest.raises(InvalidParameter, match="does not exist"):
        headrace.start_run()


def test_logging_without_a_run_starts_one() -> None:
    headrace.log_metric("loss", 1)
    run = headrace.active_run()
    assert run is not None
    headrace.end_run()
    assert headrace.get_run(run.info.run_id).data.metrics == {"loss": 1.0}


def test_each_thread_has_its_own_active_run() -> None:
    seen: list[object] = []
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        seen.append(headrace.active_run())
        with headrace.start_run(run_name=f"thread {number}") as run:
            barrier.wait(30)
            headrace.log_param("number", number)
            barrier.wait(30)
        seen.append((number, headrace.get_run(run.info.run_id).data.params["number"]))

    with headrace.start_run() as mine:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert headrace.active_run() is mine
    assert seen[:4] == [None] * 4
    assert sorted(seen[4:]) == [(number, str(number)) for number in range(4)]  # type: ignore[type-var]
    assert headrace.get_run(mine.info.run_id).data.params == {}


def test_asyncio_tasks_inherit_the_run_and_keep_their_own() -> None:
    async def train(number: int) -> tuple[str | None, str]:
        inherited = headrace.active_run()
        with headrace.start_run(nested=True) as run:
            await asyncio.sleep(0.01)
            headrace.log_param("number", number)
            await asyncio.sleep(0.01)
            assert headrace.active_run() is run
        return inherited and inherited.info.run_id, run.info.run_id

    async def main() -> list[tuple[str | None, str]]:
        return await asyncio.gather(*(train(number) for number in range(5)))

    with headrace.start_run() as parent:
        results = asyncio.run(main())
        assert headrace.active_run() is parent
    assert {inherited for inherited, _ in results} == {parent.info.run_id}
    numbers = [headrace.get_run(run_id).data.params["number"] for _, run_id in results]
    assert numbers == ["0", "1", "2", "3", "4"]


def test_a_run_entered_in_another_context_still_ends() -> None:
    run = headrace.start_run()
    thread = threading.Thread(target=run.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    assert status(run) == "FINISHED"
    headrace.end_run()


def script(text: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("", "FINISHED"),
        ("raise ValueError", "FAILED"),
        ("raise KeyboardInterrupt", "KILLED"),
        ("import sys; sys.exit(0)", "FINISHED"),
    ],
)
def test_a_run_left_open_ends_with_the_process(
    ending: str, expected: str, tracking_uri: str, tmp_path: Path
) -> None:
    result = script(
        f"import headrace\nrun = headrace.start_run()\nprint(run.info.run_id)\n"
        f"headrace.log_metric('a', 1)\n{ending}",
        tmp_path,
        HEADRACE_TRACKING_URI=tracking_uri,
    )
    headrace.set_tracking_uri(tracking_uri)
    run = headrace.get_run(result.stdout.strip())
    assert run.info.status == expected, result.stderr
    assert run.data.metrics == {"a": 1.0}


def test_a_forked_child_logs_to_the_run_and_does_not_end_it(
    tracking_uri: str, tmp_path: Path
) -> None:
    result = script(
        """if True:
        import os, sys, warnings
        warnings.simplefilter("ignore")  # forking with threads is what is tried here
        import headrace
        run = headrace.start_run()
        headrace.log_metric("before", 1)
        child = os.fork()
        if child == 0:
            headrace.log_metric("child", 1)
            sys.exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        headrace.log_metric("parent", 1)
        print(run.info.run_id, headrace.get_run(run.info.run_id).info.status)
        """,
        tmp_path,
        HEADRACE_TRACKING_URI=tracking_uri,
    )
    assert result.returncode == 0, result.stderr
    run_id, then = result.stdout.split()
    assert then == "RUNNING"
    headrace.set_tracking_uri(tracking_uri)
    run = headrace.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"before": 1.0, "child": 1.0, "parent": 1.0}
