"""A run fails, a loss turns NaN, a run falls silent: a chat hears of each, and hears when it is over.

``train`` is an ordinary training script. ``RULES`` says what is worth a message; a webhook in the format of
Slack carries it to a chat, which here is a small server of this file's own.

    python examples/alerts.py

At the end it prints how long each message took from the event that caused it.
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import headrace
from headrace.client import Client

RULES = """
rules:
  - name: failed-run
    when: {event: {types: run.failed}}
    group_by: experiment
    severity: error
    title: "Run {run_name} failed"
    resolve: {until: {types: run.finished}}
    then: [{notify: [chat]}]
  - name: nan-loss
    when: {metric: {key: loss, value: nan}}
    severity: critical
    title: "{metric} of {run_name} is NaN"
    then: [{notify: [chat]}]
  - name: silent-run
    when: {event: {types: run.lost}}
    title: "Run {run_name} gives no sign of life"
    resolve: {until: {types: [run.recovered, run.finished, run.failed, run.killed]}}
    then: [{notify: [chat]}]
"""
#: Which events a rule's messages tell of: what happened, and what ended it.
CAUSES = {
    "failed-run": ("run.failed", "run.finished"),
    "nan-loss": ("metric.nonfinite", "rule.resolved"),
    "silent-run": ("run.lost", "run.recovered"),
}


# The training.


def train(name: str, trouble: str) -> None:
    """Train for a while, and get into trouble on the way."""
    headrace.set_experiment("alerts")
    with headrace.start_run(run_name=name):
        for step in range(40):
            loss = 1 / (step + 1)
            if trouble == "nan" and 10 <= step < 20:
                loss = float("nan")
            if trouble == "fail" and step == 10:
                raise MemoryError("the batch does not fit")
            headrace.log_metric("loss", loss, step=step)
            time.sleep(0.1)


# The chat.


class Chat:
    """What a chat's incoming webhook does: takes messages, and shows them."""

    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()
        chat = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                arrived = time.time()
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()
                chat.messages.put((body["text"], arrived))

            def log_message(self, *_: Any) -> None:
                """Nothing is logged."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def next(self) -> tuple[str, float]:
        """The next message, and when it arrived."""
        text, arrived = self.messages.get(timeout=60)
        print(f"  chat: {text.splitlines()[0]}")
        return text, arrived

    def close(self) -> None:
        """Take no more messages."""
        self._server.shutdown()
        self._server.server_close()


# The rest.


def main() -> None:
    """Start a server with rules and a webhook, and three trainings that get into trouble."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--train", nargs=2, metavar=("NAME", "TROUBLE"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.train:
        train(*given.train)
        return
    chat = Chat()
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "rules.yaml"
        rules.write_text(RULES)
        log = Path(folder) / "server.log"
        command = [sys.executable, "-m", "headrace", "server", "--port", "0", "--rules", str(rules)]
        command += ["--store", f"{folder}/store", "--webhook-allowed-targets", "127.0.0.1"]
        with log.open("wb") as output:
            server = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            url = address(log, server)
            environment = {
                **os.environ,
                "HEADRACE_TRACKING_URI": url,
                "HEADRACE_JOURNAL_DIR": f"{folder}/journal",
                "HEADRACE_HEARTBEAT_SECONDS": "0.5",  # so that silence is noticed within seconds
                "HEADRACE_LOST_AFTER": "2",
            }
            create = [sys.executable, "-m", "headrace", "webhooks", "create", "chat", chat.url]
            subprocess.run([*create, "--format", "slack"], env=environment, check=True)
            show(url, chat, environment)
        finally:
            server.terminate()
            server.wait()
            chat.close()


def show(url: str, chat: Chat, environment: dict[str, str]) -> None:
    """Make trouble, and wait for what the chat hears."""

    def start(name: str, trouble: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, __file__, "--train", name, trouble]
        return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    heard: list[tuple[str, float]] = []
    print("A run fails; the next one finishes.")
    start("too-large", "fail").wait()
    heard.append(chat.next())
    start("smaller", "none").wait()
    heard.append(chat.next())
    print("A loss is NaN for a while.")
    nan = start("unsteady", "nan")
    heard += [chat.next(), chat.next()]
    nan.wait()
    print("A run falls silent, and comes back.")
    silent = start("sleeper", "none")
    try:
        time.sleep(2)
        silent.send_signal(signal.SIGSTOP)
        heard.append(chat.next())
        silent.send_signal(signal.SIGCONT)
        heard.append(chat.next())
        silent.wait()
    finally:
        silent.kill()
        silent.wait()
    tell(url, heard)


def tell(url: str, heard: list[tuple[str, float]]) -> None:
    """Say how long each message took from the event that it tells of."""
    with Client(url) as client:
        events = list(client.events(after="oldest", follow=False))
    slowest = 0.0
    for rule, causes in CAUSES.items():
        for cause, word in zip(causes, ("fired", "resolved"), strict=True):
            (told,) = (e for e in events if e.type == f"rule.{word}" and e.data["rule"] == rule)
            at = max(
                event.time for event in events if event.type == cause and event.seq <= told.seq
            )
            _, arrived = heard.pop(0)
            seconds = arrived - at / 1000
            slowest = max(slowest, seconds)
            print(f"{rule} {word}: in the chat {seconds * 1000:,.0f} ms after {cause}")
    print(f"Six messages, the slowest after {slowest * 1000:,.0f} ms.")


def address(log: Path, server: subprocess.Popen[bytes]) -> str:
    """Where the server is, once it says so."""
    while True:
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        if found:
            return found.group()
        if server.poll() is not None:
            raise SystemExit(log.read_text())
        time.sleep(0.05)


if __name__ == "__main__":
    main()
