"""What cannot be delivered is tried again, then parked; deliveries are repeated when somebody asks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from headrace.engine import Engine, schema
from headrace.events.webhooks.retries import DELAYS, TOTAL, Schedule
from support.api import Api
from support.hook_target import Answer, HookTarget
from support.logged import until

Start = Callable[..., Any]
#: Gives up after an attempt or two.
SHORT = Schedule(delays=(0.02, 0.02), total=0.05)


def _hook(api: Api, target: HookTarget, **fields: Any) -> str:
    fields = {"name": "hook", "url": target.url, "types": ["run.*"], **fields}
    return str(api.create_webhook(**fields).webhook.webhook_id)


def _deliveries(api: Api, webhook_id: str, *states: str) -> list[Any]:
    found = api.list_deliveries(webhook_id=webhook_id, state=list(states), max_results=1000)
    return list(reversed(found.deliveries))


def _wait(api: Api, webhook_id: str, state: str, count: int) -> list[Any]:
    until(lambda: len(_deliveries(api, webhook_id, state)) == count)
    return _deliveries(api, webhook_id, state)


def _parked_events(api: Api) -> list[Any]:
    return list(api.list_events(type=["webhook.delivery.parked"]).events)


def test_what_fails_for_too_long_is_parked_and_the_log_says_so(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    there = target(lambda received: Answer(500, "no"))
    webhook_id = _hook(api, there)
    deliver(schedule=SHORT)
    emit(("run.created", "run/a"), ("run.failed", "run/a"))
    first, second = _wait(api, webhook_id, "parked", 2)
    assert min(first.attempts, second.attempts) >= 1
    assert (first.status, first.done_time is None) == (500, False)
    told = _parked_events(api)
    assert [one.subject for one in told] == [f"webhook/{webhook_id}"] * 2
    assert told[0].data == {
        "name": "hook",
        "delivery_id": first.delivery_id,
        "event": first.event,
        "attempts": first.attempts,
        "error": first.error,
    }


def test_webhooks_that_fail_do_not_tell_each_other_for_ever(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    there = target(lambda received: Answer(500))
    ids = [_hook(api, there, name=f"hook{n}", types=["*"]) for n in range(3)]
    deliver(schedule=SHORT)
    emit(("run.created", "run/a"))
    for number, webhook_id in enumerate(ids):
        until(
            lambda webhook_id=webhook_id, number=number: (
                len(_deliveries(api, webhook_id, "parked")) == len(_expected(api, ids, number))
            )
        )
        parked = _deliveries(api, webhook_id, "parked")
        assert f"webhook/{webhook_id}" not in {one.subject for one in parked}
    assert not any(_deliveries(api, webhook_id, "pending") for webhook_id in ids)
    # Each tells of the run and of the webhooks that were made after it, and of nothing that tells of those.
    told = [one.data["event"] for one in _parked_events(api)]
    types = {int(one.id): one.type for one in api.list_events(limit=1000).events}
    assert "webhook.delivery.parked" not in {types[number] for number in told}


def _expected(api: Api, ids: list[str], number: int) -> list[Any]:
    """Events that a webhook of all types gets: those after its own beginning that are not about it."""
    own = f"webhook/{ids[number]}"
    events = api.list_events(limit=1000).events
    begin = next(n for n, one in enumerate(events) if one.subject == own)
    return [one for one in events[begin:] if one.subject != own]


def test_what_can_never_be_sent_is_parked_at_once(
    api: Api, engine: Engine, target: Start, deliver: Start, emit: Start
) -> None:
    there = target()
    webhook_id = _hook(api, there, format="json", template='{"a": {{ event.data.number }} }')
    engine.within(
        lambda session: session.connection.execute(
            sa.update(schema.webhook).values(url="http://10.0.0.1/")
        )
    )
    deliver()
    emit(("run.created", "run/a"))
    (parked,) = _wait(api, webhook_id, "parked", 1)
    assert parked.attempts == 1
    assert parked.error
    assert there.received == []


def test_one_delivery_can_be_repeated(api: Api, target: Start, deliver: Start, emit: Start) -> None:
    there = target()
    webhook_id = _hook(api, there)
    deliver()
    emit(("run.created", "run/a"))
    (done,) = _wait(api, webhook_id, "delivered", 1)
    assert api.redeliver(delivery_id=done.delivery_id, dry_run=True).count == 1
    assert len(there.received) == 1
    assert api.redeliver(delivery_id=done.delivery_id).count == 1
    there.wait(2)
    until(lambda: len(api.get_delivery(delivery_id=done.delivery_id).attempts) == 2)
    assert {one.id for one in there.received} == {done.delivery_id}
    (again,) = _wait(api, webhook_id, "delivered", 1)
    assert again.queued_time > done.queued_time


def test_what_is_repeated_while_it_is_sent_does_not_wait_for_the_old_schedule(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    answered = threading.Event()
    there = target(lambda received: Answer(500, hold=answered))
    webhook_id = _hook(api, there)
    deliver(schedule=Schedule(delays=(3600.0,)))
    emit(("run.created", "run/a"))
    (sent,) = there.wait(1)
    api.redeliver(delivery_id=sent.id)
    there.answer = lambda received: Answer()
    answered.set()
    (done,) = _wait(api, webhook_id, "delivered", 1)
    assert done.attempts == 1


def test_a_range_a_span_and_what_was_parked_can_be_repeated(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    there = target(lambda received: Answer(500))
    webhook_id = _hook(api, there)
    deliver(schedule=SHORT)
    emit(*[("run.created", f"run/{n}") for n in range(5)])
    parked = _wait(api, webhook_id, "parked", 5)
    there.answer = lambda received: Answer()
    numbers = [one.event for one in parked]
    chosen = {"webhook_id": webhook_id, "first": numbers[1], "last": numbers[2]}
    assert api.redeliver(**chosen, dry_run=True).count == 2
    assert api.redeliver(**chosen).count == 2
    _wait(api, webhook_id, "delivered", 2)
    assert api.redeliver(webhook_id=webhook_id, since=1, state=["parked"]).count == 3
    done = _wait(api, webhook_id, "delivered", 5)
    assert {one.delivery_id for one in done} == {one.delivery_id for one in parked}
    assert api.redeliver(webhook_id=webhook_id, first=1, state=["parked"]).count == 0


def test_events_from_before_a_webhook_can_be_delivered_to_it(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    there = target()
    emit(*[("run.created", f"run/{n}") for n in range(5)])
    webhook_id = _hook(api, there)
    deliver()
    assert api.redeliver(webhook_id=webhook_id, first=1).count == 5
    _wait(api, webhook_id, "delivered", 5)
    assert len(there.received) == 5


def test_delivered_ones_are_forgotten_in_time_and_parked_ones_are_not(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    there = target(lambda received: Answer(200 if received.event["subject"] == "run/a" else 500))
    webhook_id = _hook(api, there)
    job = deliver(schedule=SHORT)
    emit(("run.created", "run/a"), ("run.created", "run/b"))
    _wait(api, webhook_id, "parked", 1)
    _wait(api, webhook_id, "delivered", 1)
    job.stop()
    deliver(keep_days=0)
    _wait(api, webhook_id, "delivered", 0)
    assert len(_deliveries(api, webhook_id, "parked")) == 1
    api.delete_webhook(webhook_id=webhook_id)


def test_a_target_that_only_fails_is_left_alone_more_and_more(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    there, other = target(lambda received: Answer(500)), target()
    webhook_id = _hook(api, there)
    other_id = _hook(api, other, types=["run.finished"])
    deliver()
    emit(*[("run.created", f"run/{n}") for n in range(2000)])
    there.wait(64)
    for n in range(5):
        emit(("run.finished", f"run/{n}"))
    _wait(api, other_id, "delivered", 5)
    assert len(there.received) < 1000, "two thousand failures would be no help to anybody"
    assert len(_deliveries(api, webhook_id, "pending")) == 1000


def test_the_schedule_ends_within_a_day() -> None:
    schedule = Schedule()
    now, tries, times = 0, 0, []
    while (then := schedule.next_time(tries + 1, 0, now, None)) is not None:
        tries, now = tries + 1, then
        times.append(then / 1000)
    assert len(times) in range(14, 21)
    assert times[0] == pytest.approx(DELAYS[0], rel=0.11)
    assert TOTAL - 2.3 * 3600 < times[-1] <= TOTAL


@pytest.mark.parametrize(("asked", "delay"), [(0, 5), (20, 20), (86_400, 7200)])
def test_a_target_may_say_when_within_bounds(asked: float, delay: float) -> None:
    then = Schedule().next_time(1, 0, 0, asked)
    assert then == delay * 1000
    assert Schedule().next_time(9, 0, 0, 0) == DELAYS[2] * 1000
