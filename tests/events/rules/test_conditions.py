"""Events, silence, absence and lines as conditions; grouping, cooldown, resolution; over a real store."""

from __future__ import annotations

import pytest

from headrace.engine.rules.evaluator import MOST_FIRINGS
from headrace.protocol.ingest import Batch
from support.api import pairs, unique
from support.batches import new_writer

from .conftest import Rules


def fail(rules: Rules, run_id: str) -> None:
    """A run fails, and the evaluator looks."""
    rules.api.update_run(run_id=run_id, status="FAILED", end_time=rules.now)
    rules.look()


def test_an_event_fires_for_its_run(rules: Rules) -> None:
    rules.rule("failed", {"event": {"types": "run.failed"}}, severity="critical")
    run_id = rules.api.new_run(run_name="sad")
    fail(rules, run_id)
    (firing,) = rules.firings("failed")
    assert (firing.group, firing.run_id, firing.momentary) == (run_id, run_id, True)
    assert firing.title == "failed: run.failed, run sad"
    (event,) = rules.api.list_events(subject=(f"run/{run_id}",), type=("run.failed",)).events
    assert firing.cause == int(event.id)
    ((kind, data),) = rules.events("failed")
    assert (kind, data["momentary"], data["cause"]) == ("rule.fired", True, firing.cause)


def test_an_event_is_chosen_by_its_data_subject_and_actor(rules: Rules) -> None:
    experiment = rules.api.new_experiment()
    tag = {"types": ["run.tags.set"], "data": {"after.stage": "prod*"}}
    rules.rule("tagged", {"event": tag})
    number = {"types": "run.params.logged", "data": {"params.lr": ">= 0.5"}}
    rules.rule("fast", {"event": number})
    rules.rule("other", {"event": {"types": "run.*", "actors": ["nobody"]}})
    rules.rule(
        "mine", {"event": {"types": "experiment.tag.set", "subjects": [f"experiment/{experiment}"]}}
    )
    run_id = rules.api.new_run(experiment)
    for value in ("staging", "production"):
        rules.api.set_tag(run_id=run_id, key="stage", value=value)
    for key, value in (("lr", "0.7"), ("warmup", "9")):
        rules.api.log_param(run_id=run_id, key=key, value=value)
    rules.api.set_experiment_tag(experiment_id=experiment, key="a", value="b")
    rules.api.set_experiment_tag(experiment_id=rules.api.new_experiment(), key="a", value="b")
    rules.look()
    assert [len(rules.firings(one)) for one in ("tagged", "fast", "other", "mine")] == [1, 1, 0, 1]
    assert rules.firings("mine")[0].group == experiment


def test_an_opposite_event_resolves(rules: Rules) -> None:
    rules.rule(
        "failing",
        {"event": {"types": "run.failed"}},
        group_by="experiment",
        resolve={"until": {"types": "run.finished"}},
    )
    experiment = rules.api.new_experiment()
    for _ in range(2):
        fail(rules, rules.api.new_run(experiment))
    assert rules.states("failing") == ["firing"]  # one message for both
    rules.api.update_run(run_id=rules.api.new_run(), status="FINISHED")
    rules.look()
    assert rules.states("failing") == ["firing"]  # another experiment's
    rules.api.update_run(run_id=rules.api.new_run(experiment), status="FINISHED")
    rules.look()
    assert rules.states("failing") == ["resolved"]
    fail(rules, rules.api.new_run(experiment))
    assert rules.states("failing") == ["resolved", "firing"]


def test_an_event_is_over_after_a_while(rules: Rules) -> None:
    rules.rule("failed", {"event": {"types": "run.failed"}}, resolve={"after": "10m"})
    fail(rules, rules.api.new_run())
    rules.pass_time(500)
    assert rules.states("failed") == ["firing"]
    rules.restart()
    rules.pass_time(120)
    assert rules.states("failed") == ["resolved"]


def test_events_count_for_a_while_in_combinations(rules: Rules) -> None:
    rules.rule(
        "both",
        {"all": [{"event": {"types": "run.failed"}}, {"event": {"types": "run.created"}}]},
        within="10m",
        group_by="experiment",
    )
    experiment = rules.api.new_experiment()
    run_id = rules.api.new_run(experiment)
    rules.pass_time(700)
    fail(rules, run_id)
    assert rules.firings("both") == []  # too long ago
    rules.later = 0.0
    rules.restart()  # events have the clock of the store
    fail(rules, rules.api.new_run(experiment))
    rules.look()
    assert rules.states("both") == ["firing"]
    rules.pass_time(700)
    assert rules.states("both") == ["resolved"]


def test_a_group_that_fired_rests(rules: Rules) -> None:
    rules.rule("failed", {"event": {"types": "run.failed"}}, group_by="none", cooldown="10m")
    for _ in range(3):
        fail(rules, rules.api.new_run())
        rules.restart()
    assert len(rules.firings("failed")) == 1


def test_a_condition_that_outlasts_the_rest_fires_after_it(rules: Rules) -> None:
    rules.rule("high", {"metric": {"key": "loss", "value": "> 1"}}, cooldown="10m")
    run_id = rules.api.new_run()
    rules.log(run_id, "loss", [2, 0])
    rules.look()
    rules.log(run_id, "loss", [2], begin=2)
    rules.look()
    assert rules.states("high") == ["resolved"]
    rules.pass_time(610)
    assert rules.states("high") == ["resolved", "firing"]


def test_grouping_by_run_experiment_and_none(rules: Rules) -> None:
    high = {"metric": {"key": "loss", "value": "> 1"}}
    for group_by in ("run", "experiment", "none"):
        rules.rule(group_by, high, group_by=group_by)
    experiments = [rules.api.new_experiment() for _ in range(2)]
    runs = [rules.api.new_run(one) for one in experiments for _ in range(2)]
    for run_id in runs:
        rules.log(run_id, "loss", [2])
    rules.look()
    assert sorted(one.group for one in rules.firings("run")) == sorted(runs)
    assert sorted(one.group for one in rules.firings("experiment")) == sorted(experiments)
    assert [one.group for one in rules.firings("none")] == [""]
    for run_id in runs[1:]:
        rules.log(run_id, "loss", [0], begin=1)
    rules.look()
    assert sorted(rules.states("run")) == ["firing", "resolved", "resolved", "resolved"]
    assert sorted(rules.states("experiment")) == ["firing", "resolved"]
    assert rules.states("none") == ["firing"]


def test_a_silent_run_is_told_and_its_first_word_ends_it(rules: Rules) -> None:
    rules.rule("silent", {"silent": "10m"})
    run_id, ended = rules.api.new_run(), rules.api.new_run()
    rules.log(run_id, "loss", [1])
    rules.api.update_run(run_id=ended, status="FINISHED")
    rules.look()
    rules.pass_time(590)
    assert rules.firings("silent") == []
    rules.pass_time(15)
    (firing,) = rules.firings("silent")
    assert firing.run_id == run_id
    rules.log(run_id, "loss", [1], begin=1)
    rules.look()
    assert rules.states("silent") == ["resolved"]


def test_a_silent_run_is_told_though_its_metrics_are_looked_at(rules: Rules) -> None:
    rules.rule("above", {"metric": {"key": "loss", "value": "> 3"}})
    rules.rule("line", {"log": {"pattern": "error"}})
    rules.rule("silent", {"silent": "10m"})
    run_id = rules.api.new_run()
    rules.log(run_id, "loss", [1])
    rules.look()
    rules.pass_time(620)
    assert rules.states("silent") == ["firing"]


def test_a_sign_of_life_is_enough(rules: Rules) -> None:
    rules.rule("silent", {"silent": "30s"})
    run_id = rules.api.new_run()
    for _ in range(5):
        rules.pass_time(20)
        # The sign has the clock of the store; the evaluator's is set to it.
        rules.later = 0.0
        batch = Batch(writer=new_writer(), start=0, end=0, alive=(run_id,), silence=1000)
        rules.engine._signs.forget([rules.engine.ask("run_facts", _facts(run_id))[run_id].number])
        rules.engine.ingest(batch)
        rules.look()
    assert rules.firings("silent") == []


def _facts(run_id: str):  # type: ignore[no-untyped-def]
    from headrace.engine.rules.reading import WantedFacts

    return WantedFacts([run_id])


def test_silence_counts_from_when_it_could_be_heard(rules: Rules) -> None:
    rules.rule("silent", {"silent": "10m"})
    run_id = rules.api.new_run()
    rules.look()
    rules.pass_time(500)
    rules.later += 3600  # the machine slept
    rules.look()
    assert rules.firings("silent") == []
    rules.restart(killed=True)  # the server was away, too
    rules.look()
    rules.pass_time(590)
    assert rules.firings("silent") == []
    rules.pass_time(20)
    assert [one.run_id for one in rules.firings("silent")] == [run_id]


def test_no_event_for_a_while(rules: Rules) -> None:
    name = unique("nightly")
    experiment = rules.api.new_experiment(name=name)
    rules.rule(
        "missing",
        {"no_event": {"types": "run.created", "for": "1h"}},
        scope={"experiments": [name]},
    )
    rules.pass_time(3500, every=8)
    assert rules.firings("missing") == []
    rules.restart()  # what it knows of the hour is kept
    rules.pass_time(420, every=8)
    (firing,) = rules.firings("missing")
    assert (firing.group, firing.run_id) == ("", "")
    rules.api.new_run()  # elsewhere
    rules.look()
    assert rules.states("missing") == ["firing"]
    rules.later = 0.0
    rules.restart()
    rules.api.new_run(experiment)
    rules.look()
    assert rules.states("missing") == ["resolved"]


def test_no_event_of_a_running_run(rules: Rules) -> None:
    rules.rule("untagged", {"no_event": {"types": "run.tags.set", "for": "10m"}})
    run_id = rules.api.new_run()
    rules.look()
    rules.pass_time(610)
    (firing,) = rules.firings("untagged")
    assert firing.run_id == run_id
    rules.api.update_run(run_id=run_id, status="FINISHED")


def test_a_line_of_output_fires(rules: Rules) -> None:
    rules.rule(
        "oom",
        {"log": {"pattern": r"CUDA (out of|error)", "stream": "stderr"}},
        title="{line}",
        resolve={"after": "1h"},
    )
    run_id = rules.api.new_run()
    rules.print(run_id, "CUDA out of luck")  # stdout
    rules.look()
    assert rules.firings("oom") == []
    rules.print(run_id, "epoch 1", "RuntimeError: CUDA out of memory.", "bye", stream="stderr")
    rules.look()
    (firing,) = rules.firings("oom")
    assert firing.title == "RuntimeError: CUDA out of memory."
    assert firing.values["number"] == 3
    for killed in (False, True):
        rules.restart(killed=killed)
        rules.print(run_id, "fine")
        rules.look()
        assert rules.states("oom") == ["firing"]


def test_no_pattern_hangs_the_evaluator(rules: Rules) -> None:
    rules.rule("bad", {"log": {"pattern": r"(x+x+)+y"}})
    run_id = rules.api.new_run()
    rules.print(
        run_id, *(["x" * 16_000] * 50)
    )  # Python's own engine takes longer than the universe
    rules.look()
    assert rules.firings("bad") == []


def test_a_rule_does_not_fire_itself(rules: Rules) -> None:
    """Every tag sets off a rule that sets a tag, and its firings set it off as well."""
    then = [{"set_tag": {"key": "seen", "value": "{subject}"}}]
    rules.rule("loop", {"event": {"types": ["run.tags.set", "rule.*"]}}, then=then, group_by="none")
    run_id = rules.api.new_run()
    rules.look()
    before = len(rules.firings("loop"))
    rules.api.set_tag(run_id=run_id, key="a", value="1")
    rules.look()
    # As the action does it, in the rule's name.
    from headrace.protocol.operation import operations_of
    from headrace.protocol.store import Store

    operation = operations_of(Store)["set_tag"]
    request = operation.build(run_id=run_id, key="seen", value="x")
    rules.engine.perform(operation, request, "rule:loop")
    for _ in range(5):
        rules.look()
    assert len(rules.firings("loop")) == before + 1


def test_a_chain_of_rules_ends(rules: Rules) -> None:
    for number in range(5):
        before = f"r{number - 1}" if number else None
        when = {"event": {"types": "rule.fired", "subjects": [f"rule/{before}"]}}
        rules.rule(
            f"r{number}", when if before else {"event": {"types": "run.failed"}}, group_by="none"
        )
    fail(rules, rules.api.new_run())
    for _ in range(6):
        rules.look()
    assert [len(rules.firings(f"r{number}")) for number in range(5)] == [1, 1, 1, 0, 0]
    assert rules.firings("r2")[0].chain == ("r0", "r1", "r2")


def test_a_rule_that_fires_too_often_is_muted_and_says_why(rules: Rules) -> None:
    rules.rule("noisy", {"event": {"types": "run.created"}})
    experiment = rules.api.new_experiment()
    for _ in range(MOST_FIRINGS + 20):
        rules.api.new_run(experiment)
    rules.look()
    assert len(rules.firings("noisy")) == MOST_FIRINGS + 1
    muted = [data for kind, data in rules.events("noisy") if kind == "rule.muted"]
    assert len(muted) == 1
    assert "cooldown" in muted[0]["reason"]
    found = rules.api.get_rule(name="noisy").rule
    assert found.muted_until == muted[0]["until"]
    rules.restart()
    rules.api.new_run(experiment)
    rules.look()
    assert len(rules.firings("noisy")) == MOST_FIRINGS + 1
    rules.api.enable_rule(name="noisy")
    rules.look()
    rules.api.new_run(experiment)
    rules.look()
    assert len(rules.firings("noisy")) == MOST_FIRINGS + 2


def test_a_rule_that_is_changed_or_deleted_resolves_what_fires(rules: Rules) -> None:
    high = {"metric": {"key": "loss", "value": "> 1"}}
    run_id = rules.api.new_run()
    for name in ("changed", "deleted", "disabled", "described"):
        rules.rule(name, high)
    rules.log(run_id, "loss", [2])
    rules.look()
    higher = {"name": "changed", "when": {"metric": {"key": "loss", "value": "> 10"}}}
    rules.api.update_rule(name="changed", spec=higher)
    rules.api.update_rule(
        name="described", spec={"name": "described", "when": high, "description": "x"}
    )
    rules.api.delete_rule(name="deleted")
    rules.api.disable_rule(name="disabled")
    rules.look()
    rules.log(run_id, "loss", [3], begin=1)
    rules.look()
    for name in ("changed", "deleted", "disabled"):
        assert rules.states(name) == ["resolved"], name
    assert rules.states("described") == ["firing"]
    rules.log(run_id, "loss", [30], begin=2)
    rules.look()
    assert rules.states("changed") == ["resolved", "firing"]


def test_what_was_remembered_for_another_condition_is_not_kept(rules: Rules) -> None:
    rules.rule("one", {"silent": "1h"})
    run_id = rules.api.new_run()
    rules.look()
    rules.log(run_id, "x", [1])
    above = {"metric": {"key": "loss", "value": "> 3"}}
    rules.api.update_rule(name="one", spec={"name": "one", "when": above})
    rules.look()  # at the sign of life first, and then at the change
    for killed in (False, True):
        rules.restart(killed=killed)
        rules.log(run_id, "loss", [5])
        rules.look()
        assert rules.states("one") == ["firing"]


def test_what_happens_while_a_rule_is_described_is_told(rules: Rules) -> None:
    failed = {"event": {"types": "run.failed"}}
    rules.rule("one", failed)
    run_id = rules.api.new_run()
    fail(rules, run_id)
    rules.api.update_rule(
        name="one", spec={"name": "one", "when": failed, "description": "A failed run."}
    )
    rules.look()
    assert [one.run_id for one in rules.firings("one")] == [run_id]


def test_scope_follows_tags_as_they_change(rules: Rules) -> None:
    rules.rule("prod", {"event": {"types": "run.failed"}}, scope={"tags": {"env": "prod"}})
    one, two = rules.api.new_run(tags=pairs(env="dev")), rules.api.new_run()
    rules.look()
    rules.api.set_tag(run_id=one, key="env", value="prod")
    rules.look()
    for run_id in (one, two):
        fail(rules, run_id)
    assert [firing.run_id for firing in rules.firings("prod")] == [one]


def test_an_experiment_that_is_made_later_is_in_scope_by_its_name(rules: Rules) -> None:
    name = unique("late")
    rules.rule("failed", {"event": {"types": "run.failed"}}, scope={"experiments": [name]})
    run_id = rules.api.new_run(rules.api.new_experiment(name=name))
    fail(rules, run_id)
    assert len(rules.firings("failed")) == 1


@pytest.mark.parametrize("killed", [False, True])
def test_no_event_is_lost_or_judged_twice_by_a_restart(rules: Rules, killed: bool) -> None:
    rules.rule("failed", {"event": {"types": "run.failed"}})
    for _ in range(3):
        fail(rules, rules.api.new_run())
        rules.api.update_run(run_id=rules.api.new_run(), status="FAILED")  # nobody looks
        rules.restart(killed=killed)
        rules.look()
    assert len(rules.firings("failed")) == 6


def test_what_follows_a_new_rule_at_once_is_judged_by_it(rules: Rules) -> None:
    fail(rules, rules.api.new_run())  # before there is a rule, and an evaluator that waits for one
    for name in ("first", "second"):
        rules.api.create_rule(spec={"name": name, "when": {"event": {"types": "run.failed"}}})
        rules.api.update_run(run_id=rules.api.new_run(), status="FAILED")
    rules.look()
    assert [len(rules.firings(one)) for one in ("first", "second")] == [2, 1]
