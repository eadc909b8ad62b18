"""Console output is caught beside the screen: each script runs in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.tracking import console
from headrace.tracking.terminal import MAX_LINE, Terminal

# How a run listens: attach at its start, collect now and then, detach at its end.
BEGIN = """
import io, json, logging, os, signal, sys, threading, time
from headrace.tracking import console

told = []
def sink(stream, lines, unfinished):
    told.append((stream, [line.text for line in lines], unfinished))
def lines(stream="stdout"):
    return [text for name, texts, _ in told if name == stream for text in texts]
def show(thing):
    with open("told.json", "w") as file:
        json.dump(thing, file)
"""


def run(
    script: str, folder: Path, **environment: str
) -> tuple[subprocess.CompletedProcess[str], object]:
    """A script's end and output, and what it showed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BEGIN + script],
        cwd=folder,
        env={**os.environ, "PYTHONUTF8": "1", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    file = folder / "told.json"
    return done, json.loads(file.read_text()) if file.exists() else None


def test_a_run_hears_what_is_printed_while_it_listens(tmp_path: Path) -> None:
    script = """
print("before")
handle = console.attach(sink)
print("one", 2, sep=", ")
print("\\x1b[31mred\\x1b[0m", file=sys.stderr)
sys.stdout.write("no end yet"); sys.stdout.flush()
console.collect()
time.sleep(0.25)
console.collect()
print(" ... done\\nlast", end="")
handle.detach()
handle.detach()
print("after")
show([told, list(vars(sys.stdout)), list(vars(sys.stdout.buffer))])
"""
    done, (told, *left) = run(script, tmp_path)  # type: ignore[misc]
    assert done.stdout == "before\none, 2\nno end yet ... done\nlastafter\n"
    assert done.stderr == "\x1b[31mred\x1b[0m\n"
    assert told[:2] == [["stdout", ["one, 2"], "no end yet"], ["stderr", ["red"], ""]]
    assert told[2:] == [["stdout", ["no end yet ... done", "last"], ""]]
    assert left == [["mode"], ["name"]], "the streams are as they were"


def test_streams_are_the_same_objects_and_earlier_holders_are_heard(tmp_path: Path) -> None:
    script = """
logging.basicConfig(format="%(message)s")
out, err = sys.stdout, sys.stderr

handle = console.attach(sink)
assert sys.stdout is out and sys.stderr is err
logging.warning("a handler of before")
sys.stdout.buffer.write("bytes, é\\n".encode())
sys.stdout.writelines(["a\\n", "b\\n"])

print("facts", sys.stdout.isatty(), sys.stdout.fileno(), sys.stdout.encoding)
sys.stdout.reconfigure(line_buffering=True)
handle.detach()
show(told)
"""
    done, told = run(script, tmp_path)
    facts = "facts False 1 utf-8"
    assert told == [
        ["stdout", ["bytes, é", "a", "b", facts], ""],
        ["stderr", ["a handler of before"], ""],
    ]
    assert sorted(done.stdout.split("\n")) == sorted(["", "bytes, é", "a", "b", facts])


def test_nested_runs_take_turns(tmp_path: Path) -> None:
    script = """
heard = {"outer": [], "inner": []}
def hear(name):
    return lambda stream, lines, unfinished: heard[name].extend(line.text for line in lines)
outer = console.attach(hear("outer"))
print("1")
inner = console.attach(hear("inner"))
print("2")
inner.detach()
print("3")
inner = console.attach(hear("inner"))
outer.detach()  # the outer one goes first
print("4")
inner.detach()
print("5")
show(heard)
"""
    assert run(script, tmp_path)[1] == {"outer": ["1", "3"], "inner": ["2", "4"]}


def test_somebody_elses_streams_are_respected(tmp_path: Path) -> None:
    script = """
import contextlib
real = sys.stdout
handle = console.attach(sink)
with contextlib.redirect_stdout(io.StringIO()) as redirected:
    print("redirected")
assert redirected.getvalue() == "redirected\\n"
print("a")
ours = sys.stdout.write
caught = []
def theirs(text):  # another tool, which puts its own over ours
    caught.append(text)
    return ours(text)
sys.stdout.write = theirs
print("b")
handle.detach()
assert sys.stdout.write is theirs
print("c")
again = console.attach(sink)
print("d")
again.detach()
assert sys.stdout.write is theirs
sys.stdout = io.StringIO()  # a program's own, with slots for nothing of ours to stay in
class Slots:
    __slots__ = ()
    def write(self, text): return real.write(text)
    def flush(self): pass
sys.stdout = Slots()
third = console.attach(sink)
print("e")
third.detach()
show([lines(), caught])
"""
    done, told = run(script, tmp_path)
    assert told == [["a", "b", "d"], ["b", "\n", "c", "\n", "d", "\n", "e", "\n"]]
    assert done.stdout == "a\nb\nc\nd\ne\n"


def test_errors_of_the_stream_are_the_programs_and_ours_are_not(tmp_path: Path) -> None:
    script = """
class Broken(io.StringIO):
    def write(self, text): raise BrokenPipeError("gone")
screen, sys.stdout = sys.stdout, Broken()
def failing(stream, lines, unfinished):
    print("printed while collecting")  # heard next time; nothing goes round in circles
    raise RuntimeError("the journal is away")
handle = console.attach(failing)
try:
    print("x")
except BrokenPipeError as error:
    found = str(error)
sys.stdout = screen
other = console.attach(failing)
print("y")
console.collect()
other.detach()
handle.detach()
show(found)
"""
    done, told = run(script, tmp_path)
    assert told == "gone"
    assert (
        done.stderr.count("Console output was not recorded: RuntimeError: the journal is away") == 1
    )


def test_lines_of_threads_and_signal_handlers_are_whole(tmp_path: Path) -> None:
    script = """
sys.setswitchinterval(1e-5)
handle = console.attach(sink)
signal.signal(signal.SIGALRM, lambda *_: print("signal"))
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
def work(number):
    for n in range(500):
        try:
            print("thread", number, "line", n)
        except RuntimeError:  # a signal inside of a write, as without us
            pass
threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads: thread.start()
while any(thread.is_alive() for thread in threads):
    console.collect()
signal.setitimer(signal.ITIMER_REAL, 0)
for thread in threads: thread.join()
handle.detach()
show(lines())
"""
    _, told = run(script, tmp_path)
    assert isinstance(told, list)
    # A handler that interrupts itself tears its own lines, as without us.
    mine = [line for line in told if line.startswith("thread")]
    assert sorted(mine) == sorted(f"thread {t} line {n}" for t in range(4) for n in range(500))
    assert any("signal" in line for line in told)


def test_a_progress_bar_leaves_one_line(tmp_path: Path) -> None:
    script = """
from rich.console import Console
from rich.progress import track
print("epoch 1")
handle = console.attach(sink)
for n in range(50):
    sys.stderr.write(f"\\rtrain: {n * 2}%|{'#' * (n // 5):10}|")
    if n == 25: console.collect()
sys.stderr.write("\\rtrain: 100%|##########|\\n")
for _ in track(range(3), "rich", console=Console(force_terminal=True, width=60)):
    console.collect()
print("end")
handle.detach()
show([lines("stderr"), lines(), [text for name, _, text in told if name == "stderr"]])
"""
    _, told = run(script, tmp_path)
    assert isinstance(told, list)
    bars, rich, unfinished = told
    assert bars == ["train: 100%|##########|"]
    assert unfinished == ["train: 50%|#####     |", ""]
    assert len(rich) == 2
    assert rich[0].startswith("rich")
    assert "100%" in rich[0]


def test_what_is_printed_faster_than_it_is_collected_is_counted(tmp_path: Path) -> None:
    script = """
console.MAX_WAITING = 1000
sys.stdout = open(os.devnull, "w")
handle = console.attach(sink)
for n in range(100): print("x" * 99)
console.collect()
print("again")
handle.detach()
sys.stdout.close()
show(lines())
"""
    _, told = run(script, tmp_path)
    assert isinstance(told, list)
    assert told[:-2] == ["x" * 99] * 10
    assert told[-2:] == [
        "[headrace: 90 lines (9000 characters) were printed too fast, and left out]",
        "again",
    ]


def test_a_forked_child_prints_to_the_screen_alone_unless_it_listens(tmp_path: Path) -> None:
    script = """
handle = console.attach(sink)
print("parent 1", flush=True)
child = os.fork()
if child == 0:
    print("child 1")
    mine = console.attach(sink)
    told.clear()
    print("child 2", flush=True)
    mine.detach()
    os._exit(0 if lines() == ["child 2"] else 1)
_, status = os.waitpid(child, 0)
assert status == 0
print("parent 2")
handle.detach()
show(lines())
"""
    done, told = run(script, tmp_path)
    assert told == ["parent 1", "parent 2"]
    assert done.stdout == "parent 1\nchild 1\nchild 2\nparent 2\n"


def test_printing_works_until_the_very_end(tmp_path: Path) -> None:
    script = """
class Late:
    def __del__(self): print("late")
late = Late()

handle = console.attach(sink)
print("never detached")
"""
    done, _ = run(script, tmp_path)
    assert done.stdout == "never detached\nlate\n"
    assert done.stderr == ""


def test_descriptors_are_caught_when_asked(tmp_path: Path) -> None:
    script = """
import subprocess
os.write(1, b"before\\n")
handle = console.attach(sink)
print("python")
sys.stdout.flush()
os.write(1, b"descriptor \\xc3"); os.write(1, b"\\xa9\\n")
subprocess.run(["sh", "-c", "echo child; echo error >&2"], check=True)
handle.detach()
os.write(1, b"after\\n")
show([lines(), lines("stderr")])
"""
    done, told = run(script, tmp_path, HEADRACE_CONSOLE="fd")
    assert told == [["python", "descriptor é", "child"], ["error"]]
    assert done.stdout == "before\npython\ndescriptor é\nchild\nafter\n"
    assert done.stderr == "error\n"


def test_a_crash_with_descriptors_caught_still_reaches_the_screen(tmp_path: Path) -> None:
    script = """
import faulthandler
faulthandler.enable()
handle = console.attach(sink)
os.write(1, b"last words\\n")
os.kill(os.getpid(), signal.SIGSEGV)
"""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script],
        cwd=tmp_path,
        env={**os.environ, "HEADRACE_CONSOLE": "fd"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode < 0
    assert done.stdout == "last words\n"
    assert "Segmentation fault" in done.stderr


def test_the_streams_of_a_test_runner_are_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[str] = []
    handle = console.attach(lambda stream, lines, unfinished: heard.extend(x.text for x in lines))
    print("in a test")
    handle.detach()
    print("after")
    assert heard == ["in a test"]
    assert capsys.readouterr().out == "in a test\nafter\n"


# The screen.


def played(*texts: str) -> list[str]:
    terminal = Terminal()
    for text in texts:
        terminal.write(1_000, text)
    return [line.text for line in terminal.take(1_000) + terminal.finish()]


@pytest.mark.parametrize(
    ("texts", "lines"),
    [
        (["plain\n", "\n", "two\nthree"], ["plain", "", "two", "three"]),
        (["windows\r\n"], ["windows"]),
        (["10%\r", "20%\r", "100%\n"], ["100%"]),
        (["abc\rX\n"], ["Xbc"]),
        (["abc\b\bX\n"], ["aXc"]),
        (["a  \n", "long bar\rbar     \n"], ["a  ", "bar"]),
        (["gone\r    \r", "kept\n"], ["kept"]),
        (["gone\r\x1b[2K", "kept\n"], ["kept"]),
        (["\x1b[1;31mred\x1b[0m\x1b]0;title\x07 \x1b(Bplain\n"], ["red plain"]),
        (["half \x1b[3", "1mred\n"], ["half red"]),
        (["bell\x07 nul\x00 tab\t.\n"], ["bell nul tab\t."]),
        (["\udcff surrogate\n"], ["? surrogate"]),
        (["outer 0\n\rinner 0\x1b[A", "\n\rinner 9\x1b[A\router 9\n\n"], ["outer 9", "inner 9"]),
        (["x" * (MAX_LINE + 5) + "\n"], ["x" * MAX_LINE, "xxxxx"]),
    ],
)
def test_a_screen_is_read_as_people_see_it(texts: list[str], lines: list[str]) -> None:
    assert played(*texts) == lines


def test_rows_that_a_cursor_returns_to_are_waited_for_but_not_for_long() -> None:
    terminal = Terminal()
    terminal.write(1_000, "outer 0\n\rinner 0\x1b[A")
    assert terminal.take(1_000) == []
    assert terminal.unfinished == "outer 0"
    terminal.write(2_000, "\router 1\n\rinner 1\nplain\n")
    assert [line.text for line in terminal.take(2_000)] == ["outer 1", "inner 1"]
    assert [(line.time, line.text) for line in terminal.take(9_000)] == [(2_000, "plain")]
    terminal.write(9_000, "a\nb\n")
    assert [line.text for line in terminal.take(9_000)] == ["a", "b"], "it is plain text again"


@given(st.lists(st.text(alphabet="ab \n\r\b\x1b[2KAJGHm;\x07é\udc80", max_size=20), max_size=10))
def test_any_text_can_be_played_in_any_pieces(texts: list[str]) -> None:
    terminal = Terminal()
    lines = []
    for time, text in enumerate(texts):
        terminal.write(time, text)
        lines += terminal.take(time)
        assert "\n" not in terminal.unfinished
    lines += terminal.finish()
    for line in lines:
        line.text.encode()
        assert not set(line.text) & set("\n\r\b\x1b\x07")


@given(st.text(alphabet=st.characters(exclude_categories=("Cc", "Cs"), include_characters="\n\t")))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert played(text) == text.removesuffix("\n").split("\n") if text else played(text) == []
