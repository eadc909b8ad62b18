"""Rules at work in a real server: actions, its file, and what a SIGKILL leaves behind."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.client.remote import RemoteStore
from headrace.errors import InvalidState
from headrace.protocol.rules import Firing
from support.api import Api, pairs, point
from support.server import Server

StartServer = Callable[..., Server]
_PATIENCE_S = 30.0


class Front:
    """A server, asked over HTTP."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.store = RemoteStore(server.url)
        self.api = Api(self.store)

    def until(self, type: str, rule: str, count: int = 1) -> list[dict[str, Any]]:
        """Data of the events of a type about a rule, once there are so many."""
        deadline = time.monotonic() + _PATIENCE_S
        after: int | None = None
        found: list[dict[str, Any]] = []
        while time.monotonic() < deadline:
            page = self.api.list_events(
                after=after, type=(type,), subject=(f"rule/{rule}",), wait=0.0 if found else 1.0
            )
            found += [one.data for one in page.events]
            after = page.next
            if len(found) >= count:
                return found
        raise AssertionError(f"{len(found)} of {count} {type}:\n{self.server.output()}")

    def firings(self, rule: str) -> list[Firing]:
        """Of a rule, the first first."""
        return list(reversed(self.api.list_firings(rule=rule).firings))


def rule(name: str, when: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A rule's document."""
    return {"name": name, "when": when, **fields}


FAILED = {"event": {"types": "run.failed"}}


def test_a_failed_run_a_nan_and_their_ends_are_told(server: StartServer) -> None:
    front = Front(server())
    front.api.create_rule(spec=rule("nan", {"metric": {"key": "loss", "value": "nan"}}))
    front.api.create_rule(
        spec=rule(
            "failed", FAILED, group_by="experiment", resolve={"until": {"types": "run.finished"}},
            then=[{"notify": ["chat", "mail"]}],
        )
    )  # fmt: skip
    experiment = front.api.new_experiment()
    run_id = front.api.new_run(experiment)
    front.api.log_batch(run_id=run_id, metrics=[point("loss", float("nan"), 1, 1)])
    (nan,) = front.until("rule.fired", "nan")
    assert (nan["run_id"], nan["values"]["value"]) == (run_id, "NaN")
    front.api.update_run(run_id=run_id, status="FAILED")
    (fired,) = front.until("rule.fired", "failed")
    assert fired["notify"] == ["chat", "mail"]
    front.until("rule.resolved", "nan")
    front.api.update_run(run_id=front.api.new_run(experiment), status="FINISHED")
    (resolved,) = front.until("rule.resolved", "failed")
    assert resolved["notify"] == ["chat", "mail"]
    assert resolved["firing"] == fired["firing"]


_CALLED = """
import json, os, time
def note(firing):
    with open(os.environ["NOTES"], "a") as file:
        file.write(json.dumps(firing) + "\\n")
    return "noted"
def fail(firing):
    raise ValueError("no")
def leave(firing):
    raise SystemExit(3)
"""


def test_actions_are_carried_out_and_what_came_of_them_is_kept(
    server: StartServer, tmp_path: Path
) -> None:
    (tmp_path / "called.py").write_text(_CALLED)
    notes = tmp_path / "notes"
    environment = {
        "NOTES": str(notes),
        "PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}",
        "HEADRACE_RULE_CALLS": "called:*, nothing",
    }
    front = Front(server(None, environment=environment))
    then = [
        {"notify": "chat"},
        {"set_tag": {"key": "alarm", "value": "{type} of {run_name}"}},
        {"set_tag": {"key": "failed", "value": "{run_id}", "on": "experiment"}},
        {"call": "called:note"},
        {"call": "called:fail"},
        {"call": "os:abort"},
        {"call": "nothing"},
        {"call": "called:json.dumps"},
        {"call": "called:leave"},
        {"stop_run": "it failed"},
    ]
    front.api.create_rule(spec=rule("failed", FAILED, then=then))
    run_id = front.api.new_run(run_name="sad")
    front.api.update_run(run_id=run_id, status="FAILED")
    front.until("rule.action.done", "failed", 4)
    front.until("rule.action.failed", "failed", 5)
    (firing,) = front.firings("failed")
    done = [one["done"] for one in firing.outcomes]
    assert done[:9] == [True, True, True, True, False, False, False, False, False]
    errors = [one.get("error", "") for one in firing.outcomes]
    assert "ValueError: no" in errors[4]
    assert "--rule-calls os:abort" in errors[5]
    assert "headrace.actions" in errors[6]
    assert "in another module, json" in errors[7]
    assert "SystemExit(3)" in errors[8]
    run = front.api.run(run_id)
    assert run.data.tags["alarm"] == "run.failed of sad"
    (noted,) = map(json.loads, notes.read_text().splitlines())
    assert (noted["firing"], noted["run_id"]) == (firing.number, run_id)
    (event,) = front.api.list_events(type=("run.tags.set",), subject=(f"run/{run_id}",)).events
    assert event.actor == "rule:failed"


def test_a_call_that_hangs_delays_neither_others_nor_the_stop_of_the_server(
    server: StartServer, tmp_path: Path
) -> None:
    called = "import time, pathlib\ndef hang(firing):\n    pathlib.Path('begun').touch()\n    time.sleep(600)\n"
    (tmp_path / "called.py").write_text(called)
    path = f"{tmp_path}:{':'.join(sys.path)}"
    one = server(None, "--rule-calls", "called:hang", environment={"PYTHONPATH": path})
    front = Front(one)
    front.api.create_rule(spec=rule("failed", FAILED, then=[{"call": "called:hang"}]))
    front.api.update_run(run_id=front.api.new_run(), status="FAILED")
    deadline = time.monotonic() + _PATIENCE_S
    while not (one.log.parent / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    tag = [{"set_tag": {"key": "a", "value": "b"}}]
    front.api.create_rule(spec=rule("killed", {"event": {"types": "run.killed"}}, then=tag))
    front.api.update_run(run_id=front.api.new_run(), status="KILLED")
    front.until("rule.action.done", "killed")
    one.stop()


def test_a_firing_survives_a_kill_between_commit_and_action(
    server: StartServer, tmp_path: Path
) -> None:
    """The action kills its server, at first: so the firing is there and its outcome is not."""
    called = (
        "import os, pathlib, signal\n"
        "def die(firing):\n"
        "    once = pathlib.Path(os.environ['ONCE'])\n"
        "    if not once.exists():\n"
        "        once.touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return 'alive'\n"
    )
    (tmp_path / "called.py").write_text(called)
    environment = {"PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}", "ONCE": str(tmp_path / "once")}
    arguments = ("--rule-calls", "called:die")
    store = tmp_path / "store"
    first = server(store, *arguments, environment=environment)
    front = Front(first)
    then = [{"set_tag": {"key": "alarm", "value": "yes"}}, {"call": "called:die"}]
    front.api.create_rule(spec=rule("failed", FAILED, then=then))
    run_id = front.api.new_run()
    front.api.update_run(run_id=run_id, status="FAILED")
    first.process.wait(_PATIENCE_S)
    front.store.close()
    front = Front(server(store, *arguments, environment=environment))
    front.until("rule.action.done", "failed", 2)
    (firing,) = front.firings("failed")  # it fired once
    assert [one["detail"] for one in firing.outcomes][1] == "returned 'alive'"
    assert front.api.run(run_id).data.tags["alarm"] == "yes"
    first.process.returncode = 0  # it was meant to die: the fixture need not stop it


def test_a_rule_moves_an_alias_to_what_the_run_made_unless_a_guard_says_no(
    server: StartServer,
) -> None:
    front = Front(server())
    api = front.api
    then = [
        {"set_alias": {"model": "fraud", "alias": "challenger"}},
        {"set_alias": {"model": "fraud", "alias": "newest", "version": "latest"}},
        {"set_alias": {"model": "fraud", "alias": "first", "version": 1}},
        {"set_alias": {"model": "fraud", "alias": "champion"}},
        {"set_alias": {"model": "other", "alias": "challenger"}},
    ]
    api.create_rule(spec=rule("made", {"event": {"types": "run.finished"}}, then=then))
    run_id = api.new_run()
    for name in ("fraud", "other"):
        api.create_registered_model(name=name)
    for source, made_by in (("s3://b/m", None), (f"runs:/{run_id}/m", run_id), ("s3://b/m", None)):
        api.create_model_version(name="fraud", source=source, run_id=made_by)
    api.set_guard(name="fraud", alias="champion", approvals=1)
    api.update_run(run_id=run_id, status="FINISHED")
    front.until("rule.action.done", "made", 3)
    front.until("rule.action.failed", "made", 2)
    (firing,) = front.firings("made")
    failed = [one["error"] for one in firing.outcomes if not one["done"]]
    assert "is guarded" in failed[0]
    assert "so far agree: nobody" in failed[0]
    assert failed[1] == f"Run {run_id} made no version of the model 'other'."
    assert api.get_registered_model(name="fraud").registered_model.aliases == {
        "challenger": "2", "newest": "3", "first": "1",
    }  # fmt: skip
    moves = api.list_alias_history(name="fraud").moves
    assert {one.actor for one in moves} == {"rule:made"}


def test_a_file_of_rules_is_followed(server: StartServer, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(
        """
rules:
  - name: nan
    when: {metric: {key: loss, value: nan}}
  - name: failed
    when: {event: {types: run.failed}}
    then:
      - set_tag: {on: run, key: alarm, value: "on"}
"""
    )
    one = server(None, "--rules", str(file))
    front = Front(one)
    front.until("rule.created", "failed")
    assert {each.name: each.origin for each in front.api.list_rules().rules} == {
        "nan": "file", "failed": "file",
    }  # fmt: skip
    for change in (
        lambda: front.api.delete_rule(name="nan"),
        lambda: front.api.disable_rule(name="nan"),
        lambda: front.api.update_rule(name="nan", spec=rule("nan", FAILED)),
    ):
        with pytest.raises(InvalidState, match="--rules"):
            change()
    front.api.create_rule(spec=rule("mine", FAILED))
    file.write_text("rules: [{name: nan, when: {metric: {key: loss, valu: nan}}}]")
    _until(lambda: "Did you mean 'value'?" in one.output(), one)
    file.write_text("rules: [{name: mine, when: {silent: 1h}}]")
    _until(lambda: "made through the API already" in one.output(), one)
    assert len(front.api.list_rules().rules) == 3  # the last good ones are kept
    file.write_text("rules:\n  - {name: nan, when: {metric: {key: loss, value: nonfinite}}}\n")
    front.until("rule.deleted", "failed")
    (updated,) = front.until("rule.updated", "nan")
    assert updated["after"]["when"]["metric"]["value"] == "nonfinite"
    assert {each.name for each in front.api.list_rules().rules} == {"nan", "mine"}
    file.write_text("rules: [{name: mine, when: {silent: 1h}}]")
    _until(lambda: one.output().count("made through the API already") == 2, one)
    front.api.delete_rule(name="mine")  # as that message says
    front.until("rule.created", "mine", 2)


def _until(true: Callable[[], bool], server: Server) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, server.output()
        time.sleep(0.05)


def test_a_server_without_its_file_says_so_and_serves(server: StartServer, tmp_path: Path) -> None:
    one = server(None, "--rules", str(tmp_path / "nothing.yaml"))
    _until(lambda: "nothing.yaml cannot be read" in one.output(), one)
    Front(one).api.new_run(tags=pairs(a="b"))


def test_metrics_of_another_process_on_the_same_file_are_seen(
    server: StartServer, tmp_path: Path
) -> None:
    from headrace.engine import Engine

    store = tmp_path / "store"
    front = Front(server(store))
    front.api.create_rule(spec=rule("high", {"metric": {"key": "loss", "value": "> 10"}}))
    front.until("rule.created", "high")
    engine = Engine(f"sqlite:///{store / 'headrace.db'}", artifact_root="mlflow-artifacts:")
    local = Api(engine)
    run_id = local.new_run()
    local.log_batch(run_id=run_id, metrics=[point("loss", 99.0, 1, 1)])
    try:
        (fired,) = front.until("rule.fired", "high")
        assert fired["run_id"] == run_id
    finally:
        engine.close()
