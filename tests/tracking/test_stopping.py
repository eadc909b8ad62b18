"""A run that is asked to stop: each script is a process of its own, and somebody else asks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import headrace
from headrace.entities import Run
from headrace.errors import InvalidParameter
from headrace.tracking.stopping import RunStopped, Stopping

BEGIN = """
import asyncio, multiprocessing, os, signal, sys, threading, time
import headrace

DEADLINE = time.monotonic() + 60
def ready(run):
    with open("ready.part", "w") as file:
        file.write(run.info.run_id)
    os.replace("ready.part", "ready")
def train():
    step = 0
    while time.monotonic() < DEADLINE:
        headrace.log_metric("loss", 1.0, step=step)
        step += 1
        time.sleep(0.01)
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, tracking_uri: str) -> Iterator[Start]:
    """Starts a script that logs to the store."""
    running: list[subprocess.Popen[str]] = []

    def begin(script: str, **environment: str) -> subprocess.Popen[str]:
        file = tmp_path / "train.py"
        file.write_text(BEGIN + script)
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(file)],
            cwd=tmp_path,
            env={**os.environ, "HEADRACE_TRACKING_URI": tracking_uri, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def wait_for(file: Path) -> str:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} did not come"
        time.sleep(0.01)
    return file.read_text()


def stopped(
    process: subprocess.Popen[str], client: headrace.Client, folder: Path
) -> tuple[Run, str, str]:
    """Ask its run to stop, and wait until the process has ended: the run, and what was printed."""
    run_id = wait_for(folder / "ready")
    client.stop_run(run_id, "it diverges")
    printed, errors = process.communicate(timeout=100)
    return client.get_run(run_id), printed, errors


@pytest.fixture
def client(tracking_uri: str) -> headrace.Client:
    return headrace.Client(tracking_uri)


@pytest.mark.parametrize("what", ["train()", "time.sleep(600)", "threading.Event().wait(600)"])
def test_a_loop_and_a_wait_are_ended_and_clean_up(
    start: Start, client: headrace.Client, tmp_path: Path, what: str
) -> None:
    script = f"""
try:
    with headrace.start_run() as run:
        ready(run)
        {what}
finally:
    print("cleaned up")
"""
    process = start(script)
    run, printed, errors = stopped(process, client, tmp_path)
    assert (process.returncode, printed) == (1, "cleaned up\n")
    assert f"RunStopped: Run {run.info.run_id} was asked to stop: it diverges" in errors
    assert run.info.status == "KILLED"
    assert run.data.tags["headrace.stop_reason"] == "it diverges"
    assert "RunStopped" in run.data.tags["headrace.traceback"]


def test_a_run_without_a_block_ends_with_its_process(
    start: Start, client: headrace.Client, tmp_path: Path
) -> None:
    process = start("ready(headrace.start_run())\ntrain()")
    run, _, _ = stopped(process, client, tmp_path)
    assert run.info.status == "KILLED"
    assert run.data.tags["headrace.stop_reason"] == "it diverges"


def test_a_run_that_ignores_it_asks_by_itself(
    start: Start, client: headrace.Client, tmp_path: Path
) -> None:
    script = """
with headrace.start_run() as run:
    ready(run)
    while time.monotonic() < DEADLINE and headrace.stop_requested() is None:
        time.sleep(0.01)
    print(headrace.stop_requested(), headrace.stop_requested(run.info.run_id))
"""
    process = start(script, HEADRACE_ON_STOP="ignore")
    run, printed, _ = stopped(process, client, tmp_path)
    assert (process.returncode, printed) == (0, "it diverges it diverges\n")
    assert run.info.status == "FINISHED"
    assert "headrace.stop_reason" not in run.data.tags


def test_a_function_is_called_instead(
    start: Start, client: headrace.Client, tmp_path: Path
) -> None:
    script = """
told = threading.Event()
def on_stop(reason):
    print(reason)
    told.set()
with headrace.start_run(on_stop=on_stop) as run:
    ready(run)
    told.wait(60)
    headrace.end_run("KILLED")
"""
    process = start(script)
    run, printed, _ = stopped(process, client, tmp_path)
    assert (process.returncode, printed) == (0, "it diverges\n")
    assert run.info.status == "KILLED"
    assert run.data.tags["headrace.stop_reason"] == "it diverges"


def test_the_programs_own_way_to_be_interrupted_is_taken(
    start: Start, client: headrace.Client, tmp_path: Path
) -> None:
    script = """
interrupted = []
signal.signal(signal.SIGINT, lambda number, frame: interrupted.append(number))
with headrace.start_run() as run:
    ready(run)
    while time.monotonic() < DEADLINE and not interrupted:
        time.sleep(0.01)
    print(interrupted == [signal.SIGINT])
"""
    process = start(script)
    run, printed, _ = stopped(process, client, tmp_path)
    assert (process.returncode, printed) == (0, "True\n")
    assert run.info.status == "FINISHED"


def test_an_event_loop_cancels_its_main_task(
    start: Start, client: headrace.Client, tmp_path: Path
) -> None:
    script = """
async def main():
    with headrace.start_run() as run:
        ready(run)
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            print("cancelled")
            raise
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    process = start(script)
    run, printed, errors = stopped(process, client, tmp_path)
    assert printed == "cancelled\ninterrupted\n", errors
    assert run.info.status == "KILLED"
    assert run.data.tags["headrace.stop_reason"] == "it diverges"


def test_only_the_thread_that_started_the_run_is_stopped(
    start: Start, client: headrace.Client, tmp_path: Path
) -> None:
    script = """
def work():
    try:
        with headrace.start_run() as run:
            ready(run)
            train()
    except headrace.RunStopped as error:
        print("stopped", error.reason)
thread = threading.Thread(target=work)
thread.start()
thread.join()
print("went on")
"""
    process = start(script)
    run, printed, _ = stopped(process, client, tmp_path)
    assert printed == "stopped it diverges\nwent on\n"
    assert run.info.status == "KILLED"


def test_a_sweep_goes_on_without_a_trial_that_was_stopped(
    start: Start, client: headrace.Client, tmp_path: Path
) -> None:
    script = """
with headrace.start_run() as parent:
    try:
        with headrace.start_run(nested=True) as trial:
            ready(trial)
            train()
    except headrace.RunStopped as error:
        print(error.run_id == trial.info.run_id)
"""
    process = start(script)
    run, printed, errors = stopped(process, client, tmp_path)
    assert (process.returncode, printed) == (0, "True\n"), errors
    assert run.info.status == "KILLED"
    parent = client.get_parent_run(run.info.run_id)
    assert parent is not None
    assert parent.info.status == "FINISHED"
    assert "headrace.stop_reason" not in parent.data.tags


def test_a_parent_that_is_stopped_takes_its_trial_with_it(
    start: Start, client: headrace.Client, tmp_path: Path
) -> None:
    script = """
with headrace.start_run() as parent:
    with headrace.start_run(nested=True) as trial:
        ready(parent)
        train()
"""
    run, _, _ = stopped(start(script), client, tmp_path)
    both = client.search_runs([run.info.experiment_id])
    assert [one.info.status for one in both] == ["KILLED", "KILLED"]
    assert {one.data.tags["headrace.stop_reason"] for one in both} == {"it diverges"}


def test_every_process_that_shares_the_run_hears_of_it(
    start: Start, client: headrace.Client, tmp_path: Path
) -> None:
    script = """
rank = os.environ["RANK"]
with headrace.start_run(run_id="shared-run", shared=True) as run:
    open(f"rank-{rank}", "w").close()
    if rank == "1":
        ready(run)
    train()
"""
    first = start(script, RANK="0")
    wait_for(tmp_path / "rank-0")
    second = start(script, RANK="1")
    run, _, errors = stopped(second, client, tmp_path)
    assert "RunStopped" in errors
    assert "RunStopped" in first.communicate(timeout=100)[1]
    assert client.get_run(run.info.run_id).info.status == "KILLED"


def test_a_forked_child_that_logs_hears_of_it_too(
    start: Start, client: headrace.Client, tmp_path: Path
) -> None:
    script = """
def child():
    try:
        train()
    except headrace.RunStopped:
        print("child", flush=True)
with headrace.start_run(on_stop="raise") as run:
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    ready(run)
    try:
        train()
    except headrace.RunStopped:
        process.join()
        print("parent")
        raise
"""
    run, printed, errors = stopped(start(script), client, tmp_path)
    assert printed == "child\nparent\n", errors
    assert run.info.status == "KILLED"


def test_a_run_that_is_taken_up_again_is_not_stopped_again(
    tracking_uri: str, client: headrace.Client
) -> None:
    headrace.set_tracking_uri(tracking_uri)
    with headrace.start_run(on_stop="ignore") as run:
        client.stop_run(run.info.run_id)
        headrace.log_metric("a", 1)
        headrace.flush()
        assert headrace.stop_requested() == "no reason was given"
    assert headrace.stop_requested() is None
    with headrace.start_run(run_id=run.info.run_id):
        headrace.log_metric("a", 2)
        assert headrace.flush()
        assert headrace.stop_requested() is None


def test_what_to_do_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidParameter, match="on_stop: 'explode'"):
        headrace.start_run(on_stop="explode")
    monkeypatch.setenv("HEADRACE_ON_STOP", "explode")
    with pytest.raises(InvalidParameter, match="HEADRACE_ON_STOP: 'explode'"):
        headrace.start_run()


def test_what_stops_a_run_is_an_interrupt() -> None:
    assert issubclass(RunStopped, KeyboardInterrupt)
    assert not issubclass(RunStopped, Exception)
    assert Stopping().reason("none") is None
