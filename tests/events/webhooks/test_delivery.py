"""Events reach the targets that ask for them: each of them, in order, signed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from headrace.engine import Engine
from support.api import Api
from support.hook_target import Answer, HookTarget, Received
from support.logged import until

Start = Callable[..., Any]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def _hook(api: Api, target: HookTarget, **fields: Any) -> str:
    fields = {"name": "hook", "url": target.url, "types": ["run.*"], **fields}
    return str(api.create_webhook(**fields).webhook.webhook_id)


def _states(api: Api, webhook_id: str) -> list[str]:
    found = api.list_deliveries(webhook_id=webhook_id, max_results=1000)
    return [str(one.state) for one in reversed(found.deliveries)]


def _done(api: Api, webhook_id: str, count: int) -> None:
    """Wait until so many deliveries are noted as delivered."""
    until(lambda: _states(api, webhook_id).count("delivered") == count)


def test_every_event_arrives_once_signed_and_in_order_of_its_subject(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    there = target()
    webhook_id = _hook(api, there, secret=SECRET, headers={"X-Team": "vision"})
    deliver()
    for step in range(30):
        emit(*[("run.renamed", f"run/{n}", {"after": str(step)}) for n in range(20)])
    there.wait(600)
    _done(api, webhook_id, 600)
    received = there.received
    assert len(received) == len({one.id for one in received}) == 600
    for n in range(20):
        steps = [
            one.event["data"]["after"] for one in received if one.event["subject"] == f"run/{n}"
        ]
        assert steps == [str(step) for step in range(30)]
    for one in received[:20]:
        assert Verifier(SECRET).verify(one.body, one.headers)["id"] == one.event["id"]
        assert one.headers["x-team"] == "vision"
        assert one.event["source"] == api.list_events(limit=1).events[0].source
    assert there.most <= 64


def test_a_delivery_keeps_each_attempt_and_its_event(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    answers = iter([Answer(500, "broken\x00"), Answer(429, "later"), Answer(204, "")])
    there = target(lambda received: next(answers))
    webhook_id = _hook(api, there)
    deliver()
    emit(("run.failed", "run/a", {"after": {"status": "FAILED"}}))
    received = there.wait(3)
    _done(api, webhook_id, 1)
    assert len({one.id for one in received}) == 1, "the id stays the same"
    found = api.get_delivery(delivery_id=received[0].id)
    assert [(one.number, one.status) for one in found.attempts] == [(1, 500), (2, 429), (3, 204)]
    assert "500" in found.attempts[0].error
    assert found.attempts[0].body.startswith("broken")
    assert (found.attempts[2].error, found.delivery.error) == ("", "")
    assert found.delivery.attempts == 3
    assert found.event["data"] == {"after": {"status": "FAILED"}}
    assert all(one.latency_ms > 0 for one in found.attempts)


def test_what_comes_later_of_a_subject_waits_and_other_subjects_do_not(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    well = threading.Event()

    def answer(received: Received) -> Answer:
        broken = received.event["subject"] == "run/a" and not well.is_set()
        return Answer(503 if broken else 200)

    there = target(answer)
    webhook_id = _hook(api, there)
    deliver()
    emit(("run.created", "run/a"), ("run.failed", "run/a"))
    there.wait(2)
    emit(*[("run.created", f"run/{n}") for n in range(50)])
    there.until(lambda received: len({one.event["subject"] for one in received}) == 51)
    assert {one.event["type"] for one in there.received if one.event["subject"] == "run/a"} == {
        "run.created"
    }
    well.set()
    _done(api, webhook_id, 52)
    types = [one.event["type"] for one in there.received if one.event["subject"] == "run/a"]
    assert types == [*["run.created"] * (len(types) - 1), "run.failed"]


def test_a_target_that_hangs_delays_no_other(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    free = threading.Event()
    slow, quick = target(lambda received: Answer(hold=free)), target()
    slow_id = _hook(api, slow)
    quick_id = _hook(api, quick)
    deliver()
    emit(*[("run.created", f"run/{n}") for n in range(300)])
    _done(api, quick_id, 300)
    assert slow.most <= 64
    assert _states(api, slow_id).count("delivered") == 0
    free.set()
    _done(api, slow_id, 300)


def test_a_target_that_does_not_answer_in_time_is_asked_again(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    never = threading.Event()
    answers = iter([Answer(hold=never), Answer()])
    there = target(lambda received: next(answers))
    webhook_id = _hook(api, there)
    deliver(timeout=0.2)
    emit(("run.created", "run/a"))
    received = there.wait(2)
    _done(api, webhook_id, 1)
    first = api.get_delivery(delivery_id=received[0].id).attempts[0]
    assert first.status is None
    assert first.error
    never.set()


def test_a_target_that_is_not_there_is_tried_again(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    gone, there = target(), target()
    gone.close()
    webhook_id = _hook(api, gone)
    deliver()
    emit(("run.created", "run/a"))
    until(lambda: api.list_deliveries(webhook_id=webhook_id).deliveries[:1] and api.list_deliveries(webhook_id=webhook_id).deliveries[0].attempts > 1)  # fmt: skip
    api.update_webhook(webhook_id=webhook_id, url=there.url)
    there.wait(1)
    _done(api, webhook_id, 1)


def test_a_webhook_gets_what_it_asks_for_and_nothing_older(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    there = target()
    emit(("run.failed", "run/early"))
    webhook_id = _hook(api, there, types=["run.failed", "rule.*"], subjects=["run/a*"])
    emit(("run.failed", "run/a1"), ("run.finished", "run/a2"), ("run.failed", "run/b"))
    deliver()
    emit(("run.failed", "run/a3"), ("rule.created", "rule/a"))
    _done(api, webhook_id, 2)
    assert [one.event["subject"] for one in there.received] == ["run/a1", "run/a3"]


def test_an_experiment_and_an_actor_restrict(api: Api, target: Start, deliver: Start) -> None:
    there = target()
    one, other = api.new_experiment(), api.new_experiment()
    _hook(api, there, experiment_ids=[one], actors=["bob"], name="never")
    webhook_id = _hook(api, there, experiment_ids=[one], actors=["ann"])
    deliver()
    api.new_run(other)
    run_id = api.new_run(one)
    _done(api, webhook_id, 1)
    assert [one.event["subject"] for one in there.received] == [f"run/{run_id}"]


def test_rules_reach_webhooks_by_name_whatever_those_ask_for(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    there, other = target(), target()
    first = _hook(api, there, name="pager", types=[])
    second = _hook(api, there, name="pager", types=["run.created"], subjects=["run/x"])
    third = _hook(api, other, name="other", types=["rule.resolved"])
    deliver()
    emit(("rule.fired", "rule/nan", {"notify": ["pager", "nobody", 5]}))
    emit(("rule.resolved", "rule/nan", {"notify": ["pager"]}), ("rule.fired", "rule/b", {}))
    for webhook_id, count in ((first, 2), (second, 2), (third, 1)):
        _done(api, webhook_id, count)
    assert [one.event["type"] for one in other.received] == ["rule.resolved"]


def test_a_disabled_webhook_gets_nothing_and_what_waits_waits_on(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    there = target(lambda received: Answer(500))
    webhook_id = _hook(api, there)
    deliver()
    emit(("run.created", "run/a"))
    there.wait(1)
    api.update_webhook(webhook_id=webhook_id, status="DISABLED")
    emit(("run.created", "run/meanwhile"))
    witness = target()
    witness_id = _hook(api, witness, name="witness")
    emit(("run.created", "run/b"))
    _done(api, witness_id, 1)
    there.answer = lambda received: Answer()
    assert _states(api, webhook_id) == ["pending"]
    api.update_webhook(webhook_id=webhook_id, status="ACTIVE")
    _done(api, webhook_id, 1)
    assert {one.event["subject"] for one in there.received} == {"run/a"}


def test_a_webhook_that_is_switched_while_it_sends_keeps_the_order(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    answered = threading.Event()
    there = target(lambda received: Answer(hold=answered))
    webhook_id = _hook(api, there)
    deliver()
    emit(("run.created", "run/a"), ("run.finished", "run/a"))
    there.wait(1)
    witness_id = _hook(api, target(), name="witness")
    for count, status in enumerate(("DISABLED", "ACTIVE"), 1):
        api.update_webhook(webhook_id=webhook_id, status=status)
        emit(("run.created", f"run/{status}"))
        _done(api, witness_id, count)  # so the change was seen
    until(lambda: "run/ACTIVE" in [one.event["subject"] for one in there.received])
    answered.set()
    _done(api, webhook_id, 3)
    sent = [one.event["type"] for one in there.received if one.event["subject"] == "run/a"]
    assert sent == ["run.created", "run.finished"]


def test_what_waits_for_a_deleted_webhook_is_cancelled(
    api: Api, engine: Engine, target: Start, deliver: Start, emit: Start
) -> None:
    there = target(lambda received: Answer(500))
    webhook_id = _hook(api, there)
    deliver()
    emit(*[("run.created", f"run/{n}") for n in range(3)])
    there.wait(3)
    api.delete_webhook(webhook_id=webhook_id)
    until(lambda: {one.state for one in api.list_deliveries(type=["run.created"]).deliveries} == {"cancelled"})  # fmt: skip


def test_what_happens_while_nobody_delivers_is_delivered_later(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    there = target()
    webhook_id = _hook(api, there)
    emit(("run.created", "run/before"))
    job = deliver()
    _done(api, webhook_id, 1)
    job.stop()
    emit(*[("run.created", f"run/{n}") for n in range(20)])
    deliver()
    _done(api, webhook_id, 21)
    assert len(there.received) == 21


def test_thousands_that_wait_are_delivered_a_part_at_a_time(
    api: Api, target: Start, deliver: Start, emit: Start
) -> None:
    there = target()
    webhook_id = _hook(api, there)
    for part in range(3):
        emit(*[("run.created", f"run/{part}/{n}") for n in range(700)])
        emit(*[("run.renamed", "run/one", {"n": part * 300 + n}) for n in range(300)])
    deliver()
    there.wait(3000)
    until(lambda: not api.list_deliveries(webhook_id=webhook_id, state=["pending"]).deliveries)
    assert len({one.id for one in there.received}) == 3000
    ordered = [
        one.event["data"]["n"] for one in there.received if one.event["subject"] == "run/one"
    ]
    assert ordered == list(range(900))


@pytest.mark.parametrize("first", ["delivering", "written"])
def test_a_webhook_that_is_made_while_events_come_gets_those_after_it(
    api: Api, target: Start, deliver: Start, emit: Start, first: str
) -> None:
    there = target()
    if first == "delivering":
        deliver()
    emit(("run.created", "run/before"))
    webhook_id = _hook(api, there)
    emit(("run.created", "run/after"))
    if first == "written":
        deliver()
    _done(api, webhook_id, 1)
    assert [one.event["subject"] for one in there.received] == ["run/after"]
