"""How a process ends is told: each script is a process of its own, and really ends that way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.tracking.ending import MAX_TEXT, text_of, trimmed

# How runs learn of the end: watch at each start of a run, whoever is the first to be told is the only one.
BEGIN = """
import json, os, signal, sys, threading, time
from headrace.tracking import ending

def tell(path="told"):
    def on_end(status, text):
        with open(f"{path}.part", "w") as file:
            json.dump([str(status), text], file)
        os.replace(f"{path}.part", f"{path}.json")
    return on_end
def ready():
    open("ready", "w").close()
def wait():
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.01)
ending.watch(tell())
"""


def start(script: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    file = folder / "train.py"
    file.write_text(BEGIN + script)
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(file)],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code, and what it said to stderr."""
    try:
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, error


def told(folder: Path, name: str = "told") -> Any:
    file = folder / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} did not come"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("script", "code", "status", "text"),
    [
        ("pass", 0, "FINISHED", None),
        ("ending.watch(print)", 0, "FINISHED", None),  # only the first is told
        ("def f(): raise ValueError('bad')\nf()", 1, "FAILED", "ValueError: bad"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KILLED", "KeyboardInterrupt"),
        ("sys.excepthook = lambda *_: None\n1 / 0", 1, "FAILED", "ZeroDivisionError"),
        ("def f(): sys.exit(3)\nf()", 3, "FAILED", "in f\n"),
        ("sys.exit('out of data')", 1, "FAILED", "out of data"),
        ("exit(4)", 4, "FAILED", "SystemExit: 4"),
        ("sys.exit()", 0, "FINISHED", None),
        ("sys.exit(0)", 0, "FINISHED", None),
        ("sys.exit(143)", 143, "KILLED", "SystemExit: 143"),
        ("try: sys.exit(3)\nexcept SystemExit: pass", 0, "FINISHED", None),
        ("try: sys.exit(3)\nexcept SystemExit: pass\nsys.exit(0)", 0, "FINISHED", None),
        ("try: 1 / 0\nexcept ZeroDivisionError: pass", 0, "FINISHED", None),
        ("raise SystemExit(0)", 0, "FINISHED", None),
    ],
)
def test_every_end_has_its_status(
    script: str, code: int, status: str, text: str | None, tmp_path: Path
) -> None:
    process = start(script, tmp_path)
    got, error = end(process)
    assert got == code, error
    found = told(tmp_path)
    assert found[0] == status
    assert (found[1] is None) if text is None else text in found[1]


def test_a_thread_that_died_is_told_of(tmp_path: Path) -> None:
    script = """
def load(): raise OSError("disk is gone")
thread = threading.Thread(target=load, name="loader")
thread.start(); thread.join()
"""
    code, error = end(start(script, tmp_path))
    status, text = told(tmp_path)
    assert (code, status) == (0, "FINISHED")
    assert "Exception in thread loader" in text
    assert "OSError: disk is gone" in text
    assert "OSError: disk is gone" in error, "it is printed as ever"


def test_sigterm_ends_runs_and_kills_the_process_as_ever(tmp_path: Path) -> None:
    script = """
def train():
    ready()
    wait()
train()
"""
    process = start(script, tmp_path)
    wait_for(tmp_path / "ready")
    process.terminate()
    code, _ = end(process)
    assert code == -signal.SIGTERM
    status, text = told(tmp_path)
    assert status == "KILLED"
    assert "in train" in text
    assert "in wait" in text
    assert "ending.py" not in text


def test_sigterm_waits_for_no_lock_of_the_interrupted_code(tmp_path: Path) -> None:
    script = """
lock = threading.Lock()
def on_end(status, text):
    with lock:  # which the interrupted code holds, and gives back
        tell("locked")(status, text)
ending._ending._on_end = on_end
ready()
while True:
    with lock:
        time.sleep(0.02)
    time.sleep(0.001)
"""
    process = start(script, tmp_path)
    wait_for(tmp_path / "ready")
    process.terminate()
    assert end(process)[0] == -signal.SIGTERM
    assert told(tmp_path, "locked")[0] == "KILLED"


def test_telling_is_bounded_and_a_second_sigterm_is_obeyed_at_once(tmp_path: Path) -> None:
    script = """
def on_end(status, text):
    ready()
    wait()
ending._ending._on_end = on_end
os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGTERM)  # the group's and the launcher's: the same
wait()
"""
    code, _ = end(start(script, tmp_path, HEADRACE_FLUSH_TIMEOUT="0.5"))
    assert code == -signal.SIGTERM
    assert (tmp_path / "ready").exists()
    (tmp_path / "ready").unlink()
    process = start(script, tmp_path, HEADRACE_FLUSH_TIMEOUT="1000")
    wait_for(tmp_path / "ready")
    while process.poll() is None:  # until one comes later than a second after the first
        process.terminate()
        time.sleep(0.05)
    assert end(process)[0] == -signal.SIGTERM


def test_sigterm_is_obeyed_while_the_main_thread_is_stuck_in_c(tmp_path: Path) -> None:
    script = """
import ctypes
def fit():
    libc = ctypes.CDLL(None)
    ready()
    while True:
        libc.usleep(0)  # loaded
        libc.pause.restype = ctypes.c_int
        deadline = time.monotonic()
        libc.nanosleep  # a call that begins again after signals, as compute loops do
        libc.poll(None, 0, 0)
        sem = ctypes.create_string_buffer(64)
        libc.sem_init(sem, 0, 0)
        fd = os.open("fifo", os.O_RDWR)
        lock = ctypes.create_string_buffer(64)
        libc.pthread_mutex_init(lock, None)
        libc.pthread_mutex_lock(lock)
        libc.pthread_mutex_lock(lock)  # waits for ever, whatever signals come
os.mkfifo("fifo")
fit()
"""
    process = start(script, tmp_path)
    wait_for(tmp_path / "ready")
    process.terminate()
    assert end(process)[0] == -signal.SIGTERM
    status, text = told(tmp_path)
    assert status == "KILLED"
    assert "in fit" in text


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_handler_of_somebody_else_wins(when: str, tmp_path: Path) -> None:
    install = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
    script = "ready()\nwait()\n"
    file = tmp_path / "train.py"
    watch = "ending.watch(tell())\n"
    begin = BEGIN.replace(watch, install + watch if when == "before" else watch + install)
    file.write_text(begin + script)
    process = subprocess.Popen(
        [sys.executable, str(file)], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    wait_for(tmp_path / "ready")
    process.terminate()
    assert end(process)[0] == 143
    status, text = told(tmp_path)
    assert status == "KILLED"
    assert "in wait" in text


def test_an_ignored_sigterm_stays_ignored(tmp_path: Path) -> None:
    begin = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + BEGIN
    (tmp_path / "train.py").write_text(begin + "os.kill(os.getpid(), signal.SIGTERM)\n")
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 0
    assert told(tmp_path)[0] == "FINISHED"


def test_forked_children_end_for_themselves(tmp_path: Path) -> None:
    script = """
def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return pid
def told_child():
    ending.watch(tell("child"))
    ready()
    wait()
silent = child(wait)
os.kill(silent, signal.SIGTERM)  # perhaps before it is itself
assert os.waitstatus_to_exitcode(os.waitpid(silent, 0)[1]) == -signal.SIGTERM
leaving = child(lambda: sys.exit(5))
assert os.waitstatus_to_exitcode(os.waitpid(leaving, 0)[1]) == 5
assert not os.path.exists("told.json"), "the parent's runs are the parent's"
watching = child(told_child)
while not os.path.exists("ready"): time.sleep(0.01)
os.kill(watching, signal.SIGTERM)
assert os.waitstatus_to_exitcode(os.waitpid(watching, 0)[1]) == -signal.SIGTERM
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
"""
    code, error = end(start(script, tmp_path))
    assert code == 0, error
    assert told(tmp_path)[0] == "FINISHED"
    assert told(tmp_path, "child")[0] == "KILLED"


def test_children_that_are_killed_while_they_are_born_die_and_the_parent_lives(
    tmp_path: Path,
) -> None:
    script = """
for _ in range(100):
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
time.sleep(1.5)  # what would reach the parent has reached it
"""
    code, error = end(start(script, tmp_path))
    assert code == 0, error
    assert told(tmp_path) == ["FINISHED", None]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_multiprocessing_tell_how_they_end(method: str, tmp_path: Path) -> None:
    script = f"""
import multiprocessing
def good(): ending.watch(tell("good"))
def bad():
    ending.watch(tell("bad"))
    raise ValueError("of the child")
def leaves():
    ending.watch(tell("leaves"))
    sys.exit(7)
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    children = [context.Process(target=target) for target in (good, bad, leaves)]
    for child in children: child.start()
    for child in children: child.join()
    assert [child.exitcode for child in children] == [0, 1, 7]
"""
    guarded = BEGIN.replace(
        "ending.watch(tell())\n", "if __name__ == '__main__':\n    ending.watch(tell())\n"
    )
    (tmp_path / "train.py").write_text(guarded + script)
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert told(tmp_path) == ["FINISHED", None]
    assert told(tmp_path, "good") == ["FINISHED", None]
    assert told(tmp_path, "bad")[0] == "FAILED"
    assert "ValueError: of the child" in told(tmp_path, "bad")[1]
    assert told(tmp_path, "leaves")[0] == "FAILED"


def test_a_first_run_in_another_thread_is_watched_as_far_as_can_be(tmp_path: Path) -> None:
    begin = BEGIN.replace(
        "ending.watch(tell())\n",
        "thread = threading.Thread(target=ending.watch, args=(tell(),))\nthread.start()\nthread.join()\n",
    )
    (tmp_path / "train.py").write_text(begin + "1 / 0\n")
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert told(tmp_path)[0] == "FAILED"


def test_who_is_told_cannot_change_how_the_process_ends(tmp_path: Path) -> None:
    script = """
def on_end(status, text): raise RuntimeError("the store is away")
ending._ending._on_end = on_end
"""
    code, error = end(start(script, tmp_path))
    assert code == 0
    assert "the store is away" in error


def test_an_exception_whose_text_fails_is_still_told() -> None:
    class Strange(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert "Strange" in text_of(Strange())


@given(st.text(min_size=0, max_size=50), st.integers(0, 10_000))
def test_any_text_is_cut_to_what_is_kept(piece: str, count: int) -> None:
    text = trimmed(piece * count)
    assert len(text.encode()) <= MAX_TEXT
    assert "\x00" not in text
    assert text.endswith(trimmed(piece)[-1:] if count else "")
