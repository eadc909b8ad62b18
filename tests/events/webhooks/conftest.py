"""A store whose webhooks are delivered in this process, and targets to deliver to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from headrace.engine import Engine
from headrace.events.targets import Targets
from headrace.events.webhooks.hooks import checker
from headrace.events.webhooks.job import WebhookJob
from headrace.events.webhooks.retries import Schedule
from support.api import Api
from support.hook_target import Answer, HookTarget, Received

#: Loopback, where all targets of tests are.
LOOPBACK = Targets(["127.0.0.1"])
#: As the real one, in hundredths of seconds.
QUICK = Schedule(delays=(0.02, 0.02, 0.05), total=3600.0)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_SECRETS_KEY", Fernet.generate_key().decode())


@pytest.fixture
def engine(database_url: str, tmp_path: Path) -> Iterator[Engine]:
    """A store."""
    one = Engine(database_url, artifact_root=(tmp_path / "a").as_uri(), actor="ann")
    one.webhook_guard.check = checker(LOOPBACK)
    yield one
    one.close()


@pytest.fixture
def api(engine: Engine) -> Api:
    """Its operations."""
    return Api(engine)


@pytest.fixture
def target() -> Iterator[Callable[..., HookTarget]]:
    """Starts targets: ``target(answer=None)``."""
    started: list[HookTarget] = []

    def start(answer: Callable[[Received], Answer] | None = None) -> HookTarget:
        started.append(HookTarget(answer))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def deliver(engine: Engine) -> Iterator[Callable[..., WebhookJob]]:
    """Starts to deliver: ``deliver(schedule=QUICK, **options)``; stopped at the end unless the test did."""
    started: list[WebhookJob] = []

    def start(**options: Any) -> WebhookJob:
        options = {"schedule": QUICK, **options}
        started.append(WebhookJob(engine, LOOPBACK, **options))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def emit(engine: Engine) -> Callable[..., None]:
    """Writes events: ``emit(("run.finished", "run/a"), ...)``, in one transaction, with data when there is a third."""

    def write(*events: Any) -> None:
        rows = [(one[0], one[1], one[2] if len(one) > 2 else {}, None) for one in events]
        engine.within(lambda session: session.emit_many(rows), "ann")

    return write
