"""The event log in JetStream: all of it, in order, once; whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from nats.js import JetStreamContext

from headrace.client import Client
from headrace.protocol.catalogue import EVENT_TYPES
from support.bridge import BridgeProcess, fill
from support.certificates import Authority
from support.nats import NatsServer, Stored
from support.server import Server

Bridges = Callable[..., BridgeProcess]
MANY = 20_000


def numbers(found: list[Stored]) -> list[int]:
    """The events' numbers, checked: no message id is there twice."""
    assert len({one.headers["Nats-Msg-Id"] for one in found}) == len(found)
    return [one.number for one in found]


def test_all_of_a_long_log_arrives_in_its_order_and_once(
    long_log: Path, broker: NatsServer, bridge: Bridges
) -> None:
    one = bridge(long_log, broker.url, "--once")
    assert one.end() == 0, one.output()
    assert f"Stream HEADRACE has the log up to number {MANY}." in one.output()
    assert numbers(broker.messages()) == list(range(1, MANY + 1))


def test_messages_are_cloudevents_on_a_subject_by_type(
    database_url: str, broker: NatsServer, bridge: Bridges
) -> None:
    with Client(database_url) as client:
        experiment = client.create_experiment("größer, \r\nX-Other: 100 %", tags={"ä": "ö"})
        run = client.create_run(experiment)
        client.set_terminated(run.info.run_id, "FAILED")
        logged = list(client.events(after="oldest", follow=False))
    one = bridge(database_url, broker.url, "--once")
    assert one.end() == 0, one.output()
    found = broker.messages()
    assert [m.number for m in found] == [event.seq for event in logged]
    for message, event in zip(found, logged, strict=True):
        assert message.subject == f"headrace.events.{event.type}"
        assert message.headers["content-type"] == "application/cloudevents+json"
        judged = from_structured_event(HTTPMessage(message.headers, message.data))
        assert judged.get_id() == str(event.seq) == message.headers["ce-id"]
        assert judged.get_source() == event.source == message.headers["ce-source"]
        assert judged.get_type() == event.type == message.headers["ce-type"]
        assert judged.get_subject() == event.subject == message.headers["ce-subject"]
        assert judged.get_data() == event.data
        assert message.headers["Nats-Msg-Id"] == f"{event.source}/{event.seq}"
        assert message.headers["ce-experimentid"] == event.experiment_id
        assert "X-Other" not in message.headers
    assert [m.subject for m in found][-1] == "headrace.events.run.failed"


def test_a_bridge_killed_ten_times_loses_nothing_and_repeats_nothing(
    long_log: Path, broker: NatsServer, bridge: Bridges
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    for upto in sorted(chance.sample(range(1, MANY), 10)):
        one = bridge(long_log, broker.url)
        broker.wait_for(upto)
        one.kill()
    one = bridge(long_log, broker.url, "--once")
    assert one.end() == 0, one.output()
    found = broker.messages()
    assert numbers(found) == list(range(1, MANY + 1))
    # Nothing was removed or overwritten to come to that: JetStream never took one twice.
    assert [message.seq for message in found] == list(range(1, MANY + 1))


def test_it_goes_on_after_the_broker_was_killed(
    long_log: Path, broker: NatsServer, bridge: Bridges
) -> None:
    one = bridge(long_log, broker.url)
    for upto in (1_000, 8_000):
        broker.wait_for(upto)
        broker.kill()
        broker.restart()
    broker.wait_for(MANY)
    assert one.stop() == 0, one.output()
    assert numbers(broker.messages()) == list(range(1, MANY + 1))
    assert "The bridge waits, and tries again" in one.output()
    assert "The bridge works again" in one.output()
    assert "Traceback" not in one.output()


def test_it_waits_for_a_broker_that_is_not_there_yet(
    store: Path, broker: NatsServer, bridge: Bridges
) -> None:
    broker.kill()
    one = bridge(store, broker.url)
    one.wait_for("The bridge waits")
    broker.restart()
    broker.wait_for(300)
    assert one.stop() == 0
    assert one.output().count("The bridge waits") == 1


def test_it_goes_on_after_the_headrace_server_was_killed(
    store: Path, broker: NatsServer, bridge: Bridges, server: Callable[..., Server]
) -> None:
    first = server(store)
    one = bridge(first.url, broker.url)
    broker.wait_for(300)
    first.kill()
    one.wait_for("The bridge waits")
    again = server(store, "--port", first.url.rpartition(":")[2])
    with Client(again.url) as client:
        client.create_experiment("while it was away")
    broker.wait_for(301)
    assert one.stop() == 0, one.output()
    assert numbers(broker.messages()) == list(range(1, 302))
    one.wait_for("The bridge works again")


def test_what_happens_while_it_runs_arrives_and_sigterm_ends_it(
    store: Path, broker: NatsServer, bridge: Bridges
) -> None:
    one = bridge(store, broker.url)
    broker.wait_for(300)
    with Client(store) as client:
        client.create_experiment("now")
    broker.wait_for(301)
    assert one.stop() == 0
    assert "Stream HEADRACE has the log up to number 301." in one.output()
    assert "Traceback" not in one.output()


def test_another_bridge_goes_on_where_the_stream_is(
    database_url: str, broker: NatsServer, bridge: Bridges
) -> None:
    assert fill(database_url, 500) == 500
    first = bridge(database_url, broker.url, "--once")
    assert first.end() == 0, first.output()
    fill(database_url, 100)
    second = bridge(database_url, broker.url, "--once")
    assert second.end() == 0
    found = broker.messages()
    assert numbers(found) == [message.seq for message in found] == list(range(1, 601))


def test_two_bridges_at_once_put_nothing_in_twice_without_a_window_of_duplicates(
    long_log: Path, broker: NatsServer, bridge: Bridges
) -> None:
    # 100 ms is the shortest that JetStream has: the ids are forgotten long before the end.
    options = ("--once", "--after", "10000", "--duplicate-window", "0.1s")
    both = [bridge(long_log, broker.url, *options) for _ in range(2)]
    assert [one.end() for one in both] == [0, 0], [one.output() for one in both]
    assert numbers(broker.messages()) == list(range(10_001, MANY + 1))


def test_after_leaves_out_what_comes_before_and_repeats_nothing(
    store: Path, broker: NatsServer, bridge: Bridges
) -> None:
    assert bridge(store, broker.url, "--once", "--after", "250").end() == 0
    assert bridge(store, broker.url, "--once", "--after", "10").end() == 0
    assert numbers(broker.messages()) == list(range(251, 301))


def test_a_log_that_was_trimmed_too_far_is_an_error_unless_it_is_to_be_skipped(
    store: Path, broker: NatsServer, bridge: Bridges
) -> None:
    assert bridge(store, broker.url, "--once").end() == 0
    fill(store, 50)
    with Client(store) as client:
        client.trim_events(keep_bytes=0)
        client.create_experiment("after it")
    refused = bridge(store, broker.url, "--once")
    assert refused.end() == 1
    assert "50 events, 301 to 350, were removed from the log" in refused.output()
    assert "--skip-trimmed" in refused.output()
    skipped = bridge(store, broker.url, "--once", "--skip-trimmed")
    assert skipped.end() == 0
    assert "50 events, 301 to 350, were removed from the log" in skipped.output()
    assert numbers(broker.messages()) == [*range(1, 301), 351, 352]


def test_a_new_stream_gets_all_that_a_trimmed_log_keeps(
    store: Path, broker: NatsServer, bridge: Bridges
) -> None:
    with Client(store) as client:
        client.trim_events(keep_bytes=0)
        kept = [event.seq for event in client.events(after="oldest", follow=False)]
    assert bridge(store, broker.url, "--once").end() == 0
    assert numbers(broker.messages()) == kept == [301]


def test_another_log_is_not_mixed_into_a_stream(
    store: Path, tmp_path: Path, broker: NatsServer, bridge: Bridges
) -> None:
    assert bridge(store, broker.url, "--once").end() == 0
    fill(tmp_path / "other", 400)
    other = bridge(tmp_path / "other", broker.url, "--once")
    assert other.end() == 1
    assert "holds the events of another log" in other.output()
    assert len(broker.messages()) == 300
    fill(tmp_path / "short", 3)
    short = bridge(tmp_path / "short", broker.url, "--once")
    assert short.end() == 1
    assert "Is this another store" in short.output()


def test_an_event_too_large_for_the_broker_is_named_and_can_be_left_out(
    store: Path, start_nats: Callable[..., NatsServer], bridge: Bridges
) -> None:
    broker = start_nats("max_payload: 4096")
    with Client(store) as client:
        client.create_experiment("large", tags={"text": "x" * 4_500})
        client.create_experiment("small")
    stuck = bridge(store, broker.url, "--once")
    assert stuck.end() == 1
    assert "Event 301, experiment.created of experiment/" in stuck.output()
    assert bridge(store, broker.url, "--once", "--after", "301").end() == 0
    assert numbers(broker.messages()) == [*range(1, 301), 302]


def test_a_stream_that_has_dropped_everything_is_not_filled_again_by_a_bridge_that_runs(
    store: Path, broker: NatsServer, bridge: Bridges
) -> None:
    one = bridge(store, broker.url)
    broker.wait_for(300)
    broker.do(lambda jetstream: jetstream.purge_stream("HEADRACE"))
    broker.kill()
    broker.restart()
    with Client(store) as client:
        client.create_experiment("next")
    broker.wait_for(301)
    assert one.stop() == 0, one.output()
    assert numbers(broker.messages()) == [301]
    broker.do(lambda jetstream: jetstream.purge_stream("HEADRACE"))
    started = bridge(store, broker.url, "--once")
    assert started.end() == 0
    assert "has dropped all that it held" in started.output()
    # The last one was there a moment ago, so JetStream takes it for a duplicate.
    assert numbers(broker.messages()) == list(range(1, 301))


def test_a_stream_that_is_made_has_the_limits_that_were_asked_for(
    store: Path, broker: NatsServer, bridge: Bridges
) -> None:
    limits = ("--max-age", "7d", "--max-mb", "5", "--duplicate-window", "1h")
    names = ("--stream", "ml", "--subject-prefix", "ml.changes")
    one = bridge(store, broker.url, "--once", *limits, *names)
    assert one.end() == 0, one.output()
    config = broker.do(lambda jetstream: jetstream.stream_info("ml")).config
    assert (config.max_age, config.max_bytes, config.duplicate_window) == (604_800, 5_000_000, 3600)
    assert config.subjects == ["ml.changes.>"]
    assert broker.messages("ml")[0].subject == "ml.changes.run.created"
    cluster = bridge(store, broker.url, "--once", "--stream", "x", "--subject-prefix", "x", "--replicas", "3")  # fmt: skip
    assert cluster.end() == 1
    assert "cannot be made" in cluster.output()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"subjects": ["headrace.events.run.*"]}, "takes headrace.events.run.*, and not headrace.events.>"),
        ({"subjects": ["headrace.>"], "retention": "workqueue"}, "forgets messages that were read"),
        ({"subjects": ["headrace.>"], "name": "OTHER"}, "Another stream takes subjects"),
    ],
)  # fmt: skip
def test_a_stream_that_does_not_fit_is_refused(
    config: dict[str, object], said: str, store: Path, broker: NatsServer, bridge: Bridges
) -> None:
    broker.do(lambda jetstream: jetstream.add_stream(**{"name": "HEADRACE", **config}))
    one = bridge(store, broker.url, "--once")
    assert one.end() == 1
    assert said in one.output()


def test_a_stream_that_was_there_and_holds_other_messages_is_used(
    store: Path, broker: NatsServer, bridge: Bridges
) -> None:
    async def prepare(jetstream: JetStreamContext) -> None:
        await jetstream.add_stream(name="HEADRACE", subjects=["headrace.>"])
        await jetstream.publish("headrace.other", b"not an event")

    broker.do(prepare)
    one = bridge(store, broker.url, "--once")
    assert one.end() == 0, one.output()
    found = broker.messages()
    assert [message.subject for message in found].count("headrace.other") == 1
    assert numbers(found[1:]) == list(range(1, 301))


def test_somebody_else_may_publish_to_the_stream_all_the_time(
    store: Path, broker: NatsServer, bridge: Bridges
) -> None:
    fill(store, 2_000)
    broker.do(lambda jetstream: jetstream.add_stream(name="HEADRACE", subjects=["headrace.>"]))
    one = bridge(store, broker.url, "--once")

    async def disturb(jetstream: JetStreamContext) -> None:
        await asyncio.to_thread(broker.wait_for, 1)
        for _ in range(300):  # not for ever: on a busy machine it would win each time
            await jetstream.publish("headrace.other", b"not an event")
            await asyncio.sleep(0.002)

    broker.do(disturb)
    assert one.end() == 0, one.output()
    ours = [message for message in broker.messages() if message.subject != "headrace.other"]
    assert numbers(ours) == list(range(1, 2_301))


def test_a_message_of_somebody_else_on_its_subjects_is_an_error(
    store: Path, broker: NatsServer, bridge: Bridges
) -> None:
    async def prepare(jetstream: JetStreamContext) -> None:
        await jetstream.add_stream(name="HEADRACE", subjects=["headrace.events.>"])
        await jetstream.publish("headrace.events.other", b"not an event")

    broker.do(prepare)
    one = bridge(store, broker.url, "--once")
    assert one.end() == 1
    assert "on headrace.events.other, is no event of headrace" in one.output()


def test_a_wrong_password_ends_it_and_is_not_shown(
    store: Path, start_nats: Callable[..., NatsServer], bridge: Bridges
) -> None:
    broker = start_nats('authorization { user: "bridge", password: "right" }')
    where = broker.url.removeprefix("nats://")
    wrong = bridge(store, f"nats://bridge:secret@{where}", "--once")
    assert wrong.end() == 5
    assert "does not let us in" in wrong.output()
    assert "secret" not in wrong.output()
    right = bridge(store, f"nats://bridge:right@{where}", "--once")
    assert right.end() == 0, right.output()


def test_over_tls_both_sides_show_certificates(
    store: Path, tmp_path: Path, start_nats: Callable[..., NatsServer], bridge: Bridges
) -> None:
    authority = Authority(tmp_path)
    ours, theirs = authority.issue("bridge"), authority.issue("server")
    broker = start_nats(
        f"tls {{ cert_file: '{theirs[0]}', key_file: '{theirs[1]}', ca_file: '{authority.path}', verify: true }}"
    )
    where = broker.url.replace("nats://", "tls://")
    one = bridge(
        store, where, "--once",
        "--tls-ca", str(authority.path), "--tls-cert", str(ours[0]), "--tls-key", str(ours[1]),
    )  # fmt: skip
    assert one.end() == 0, one.output()
    assert "Stream HEADRACE has the log up to number 300." in one.output()
    stranger = bridge(store, where, "--once")
    stranger.wait_for("certificate verify failed")
    assert stranger.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("http://127.0.0.1:4222",), "is no address of a NATS server"),
        (("nats://127.0.0.1:99999",), "is no address of a NATS server"),
        (("nats://127.0.0.1", "--stream", "a.b"), "is no name of a stream"),
        (("nats://127.0.0.1", "--subject-prefix", "a.>"), "is no prefix of subjects"),
        (("nats://127.0.0.1", "--tls-key", __file__), "--tls-key needs --tls-cert"),
        (("nats://127.0.0.1", "--tls-ca", __file__), "cannot be used"),
    ],
)
def test_a_wrong_option_is_told(
    arguments: tuple[str, ...], said: str, tmp_path: Path, bridge: Bridges
) -> None:
    one = bridge(tmp_path, *arguments)
    assert one.end() == 2
    assert said in one.output()


def test_without_nats_py_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['nats'] = None; from headrace.cli import main;"
        "main(['events', 'bridge', 'nats://127.0.0.1', '--store', sys.argv[1]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'headrace[nats]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_type_of_event_is_a_subject_of_its_own() -> None:
    # A word of a subject may not be empty, nor hold what NATS gives a meaning.
    assert not [name for name in EVENT_TYPES if not name or set(name) & set(" *>") or ".." in name]


def test_data_is_the_same_json_as_over_http(
    store: Path, broker: NatsServer, bridge: Bridges, server: Callable[..., Server]
) -> None:
    over_http = server(store)
    assert bridge(over_http.url, broker.url, "--once").end() == 0
    with Client(over_http.url) as client:
        logged = [(event.seq, event.data) for event in client.events(after="oldest", follow=False)]
    found = [(one.number, json.loads(one.data)["data"]) for one in broker.messages()]
    assert found == logged
