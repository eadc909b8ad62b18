"""Conditions on metrics, over a real store."""

from __future__ import annotations

import math

import pytest

from support.api import pairs

from .conftest import Rules

NAN, INF = math.nan, math.inf


def test_a_threshold_fires_and_is_resolved(rules: Rules) -> None:
    rules.rule("high", {"metric": {"key": "loss", "value": "> 10"}}, severity="error")
    run_id = rules.api.new_run(run_name="sunny")
    rules.log(run_id, "loss", [1.0, 2.0])
    rules.look()
    assert rules.firings("high") == []
    rules.log(run_id, "loss", [12.5], begin=2)
    rules.look()
    (firing,) = rules.firings("high")
    assert (firing.run_id, firing.group, firing.severity) == (run_id, run_id, "error")
    assert firing.title == "high: loss is 12.5 (loss > 10), run sunny"
    assert firing.values == {"metric": "loss", "value": 12.5, "step": 2}
    assert firing.resolved_time is None
    assert rules.api.get_rule(name="high").rule.firing == 1
    rules.log(run_id, "loss", [13.0], begin=3)  # still
    rules.look()
    rules.log(run_id, "loss", [9.0], begin=4)
    rules.look()
    assert rules.states("high") == ["resolved"]
    (fired, data), (resolved, over) = rules.events("high")
    assert (fired, resolved) == ("rule.fired", "rule.resolved")
    assert data["firing"] == over["firing"] == firing.number
    assert over["reason"] == "the condition is not true any more"
    assert over["title"] == data["title"]


def test_a_spike_between_two_looks_is_not_missed(rules: Rules) -> None:
    rules.rule("high", {"metric": {"key": "loss", "value": ">= 10"}})
    rules.rule("low", {"metric": {"key": "loss", "value": "< 0"}})
    run_id = rules.api.new_run()
    rules.log(run_id, "loss", [1, 2, 50, -3, 1])
    rules.look()
    assert rules.states("high") == rules.states("low") == ["resolved"]
    assert rules.firings("high")[0].values["value"] == 50
    assert rules.firings("low")[0].values["value"] == -3
    # The second spike is less than the first, so that no extreme tells of it.
    rules.log(run_id, "loss", [1, 20, 1], begin=5)
    rules.look()
    assert rules.states("high") == ["resolved", "resolved"]
    assert rules.firings("high")[1].values["value"] == 20
    rules.log(run_id, "loss", [1, 1], begin=8)
    rules.look()
    assert len(rules.firings("high")) == 2


@pytest.mark.parametrize(
    ("value", "points", "fires"),
    [
        ("nan", [1, NAN, 1], True),
        ("nan", [1, INF, 1], False),
        ("infinite", [1, -INF, 1], True),
        ("infinite", [1, NAN], False),
        ("nonfinite", [NAN], True),
        ("nonfinite", [-INF, 2], True),
        ("> 1e300", [INF], True),
        ("!= 0", [0, 0], False),
        ("!= 0", [0, 1], True),
        ("== 3", [3], True),
        ("<= 3", [NAN], False),
    ],
)
def test_what_is_not_finite_is_a_condition_of_its_own(
    rules: Rules, value: str, points: list[float], fires: bool
) -> None:
    rules.rule("odd", {"metric": {"key": "*loss", "value": value}})
    run_id = rules.api.new_run()
    rules.log(run_id, "val-loss", points)
    rules.look()
    assert bool(rules.firings("odd")) == fires


def test_a_second_nan_fires_again_and_keeps_its_word(rules: Rules) -> None:
    rules.rule("nan", {"metric": {"key": "loss", "value": "nan"}})
    run_id = rules.api.new_run()
    for step in range(0, 6, 2):
        rules.log(run_id, "loss", [NAN, 1.0], begin=step)
        rules.look()
    assert rules.states("nan") == ["resolved"] * 3
    assert rules.firings("nan")[0].values["value"] == "NaN"
    assert "loss is NaN" in rules.firings("nan")[0].title


def test_a_condition_must_hold_for_a_while(rules: Rules) -> None:
    rules.rule("hot", {"metric": {"key": "t", "value": "> 80"}}, **{"for": "1m"})
    run_id = rules.api.new_run()
    rules.log(run_id, "t", [90])
    rules.pass_time(40)
    rules.log(run_id, "t", [70], begin=1)
    rules.look()
    rules.log(run_id, "t", [95], begin=2)
    rules.pass_time(50)
    assert rules.firings("hot") == []
    rules.pass_time(15)
    assert rules.states("hot") == ["firing"]


def test_what_comes_before_a_step_does_not_count(rules: Rules) -> None:
    rules.rule("high", {"metric": {"key": "loss", "value": "> 10", "from_step": 5}})
    run_id = rules.api.new_run()
    rules.log(run_id, "loss", [100, 100, 1, 1, 1, 1])
    rules.look()
    assert rules.firings("high") == []
    rules.log(run_id, "loss", [100, 1], begin=6)
    rules.look()
    assert rules.states("high") == ["resolved"]


def test_a_run_that_ended_is_over(rules: Rules) -> None:
    rules.rule("high", {"metric": {"key": "loss", "value": "> 10"}})
    run_id = rules.api.new_run()
    rules.log(run_id, "loss", [20])
    rules.look()
    assert rules.states("high") == ["firing"]
    rules.api.update_run(run_id=run_id, status="FINISHED", end_time=rules.now)
    rules.look()
    assert rules.states("high") == ["resolved"]


@pytest.mark.parametrize("group", ["run", "none"])
def test_what_fires_is_over_when_the_experiment_is_deleted(rules: Rules, group: str) -> None:
    number = rules.api.create_experiment(name="e").experiment_id
    when = {"metric": {"key": "loss", "value": "> 3"}}
    rules.rule("high", when, group_by=group)
    run_id = rules.api.new_run(experiment_id=number)
    rules.log(run_id, "loss", [5])
    rules.look()
    assert rules.states("high") == ["firing"]
    rules.api.delete_experiment(experiment_id=number)
    rules.look()
    assert rules.states("high") == ["resolved"]
    rules.api.restore_experiment(experiment_id=number)
    rules.look()
    rules.log(run_id, "loss", [6], begin=1)
    rules.look()
    assert rules.states("high") == ["resolved", "firing"]


def test_what_a_run_logs_last_is_seen_before_its_end(rules: Rules) -> None:
    rules.rule("high", {"metric": {"key": "loss", "value": "> 10"}})
    run_id = rules.api.new_run()
    rules.look()
    rules.log(run_id, "loss", [20])
    rules._moved.clear()  # the feed tells of events at once, of metrics a little later
    rules.api.update_run(run_id=run_id, status="FAILED", end_time=rules.now)
    rules.look()
    rules.look()
    assert rules.states("high") == ["resolved"]


def test_change_over_a_window_of_steps(rules: Rules) -> None:
    rules.rule("jump", {"metric": {"key": "loss", "change": "> 50%", "over": "10 steps"}})
    run_id = rules.api.new_run()
    rules.log(run_id, "loss", [1.0 + n / 100 for n in range(40)])  # slow
    rules.look()
    assert rules.firings("jump") == []
    rules.log(run_id, "loss", [2.2], begin=40)
    rules.look()
    (firing,) = rules.firings("jump")
    assert firing.values["change"] > 0.5
    rules.log(run_id, "loss", [2.2] * 12, begin=41)
    rules.pass_time(2)
    assert rules.states("jump") == ["resolved"]


def test_change_over_time_and_absolute(rules: Rules) -> None:
    rules.rule("drop", {"metric": {"key": "acc", "change": "< -0.2", "over": "10s"}})
    run_id = rules.api.new_run()
    rules.log(run_id, "acc", [0.9, 0.85, 0.6, 0.6], every=1000)
    rules.look()
    assert rules.firings("drop")[0].values["from"] == 0.9


def test_z_score_against_what_came_before(rules: Rules) -> None:
    rules.rule("odd", {"metric": {"key": "loss", "zscore": 6, "over": "100 steps"}})
    run_id = rules.api.new_run()
    rules.log(run_id, "loss", [5 + math.sin(n) for n in range(80)])
    rules.look()
    assert rules.firings("odd") == []
    rules.log(run_id, "loss", [50.0], begin=80)
    rules.look()
    (firing,) = rules.firings("odd")
    assert firing.values["zscore"] > 6


def test_a_plateau_of_steps(rules: Rules) -> None:
    plateau = {"goal": "min", "delta": 0.01, "over": "20 steps"}
    rules.rule("flat", {"metric": {"key": "loss", "plateau": plateau}})
    run_id = rules.api.new_run()
    rules.log(run_id, "loss", [1 - n / 50 for n in range(30)])
    rules.look()
    rules.log(run_id, "loss", [0.42] * 15, begin=30)
    rules.pass_time(2)
    assert rules.firings("flat") == []
    rules.log(run_id, "loss", [0.415] * 10, begin=45)
    rules.pass_time(2)
    assert rules.states("flat") == ["firing"]
    rules.log(run_id, "loss", [0.2], begin=55)
    rules.pass_time(2)
    assert rules.states("flat") == ["resolved"]


def test_a_plateau_of_time_needs_no_points(rules: Rules) -> None:
    plateau = {"goal": "max", "over": "30m"}
    rules.rule("stuck", {"metric": {"key": "acc", "plateau": plateau}})
    run_id = rules.api.new_run()
    rules.log(run_id, "acc", [0.5])
    rules.look()
    rules.pass_time(1700, every=8)
    assert rules.firings("stuck") == []
    rules.pass_time(200, every=8)
    assert rules.states("stuck") == ["firing"]
    rules.log(run_id, "acc", [0.6], begin=1)
    rules.look()
    assert rules.states("stuck") == ["resolved"]


def test_worse_than_the_champion_of_the_experiment(rules: Rules) -> None:
    experiment = rules.api.new_experiment()
    champion = rules.api.new_run(experiment, tags=pairs(champion="true"))
    rules.log(champion, "rmse", [2.0, 1.0])
    worse = {"baseline": "tag:champion=true", "goal": "min", "by": "10%"}
    rules.rule(
        "worse",
        {"all": [
            {"event": {"types": "run.finished"}},
            {"metric": {"key": "rmse", "worse_than": worse}},
        ]},
        title="{metric} is {value}, the champion has {baseline}",
    )  # fmt: skip
    for value in (1.05, 1.5):
        run_id = rules.api.new_run(experiment)
        rules.log(run_id, "rmse", [value])
        rules.look()
        assert rules.firings("worse") == []  # it runs
        rules.api.update_run(run_id=run_id, status="FINISHED", end_time=rules.now)
        rules.look()
    (firing,) = rules.firings("worse")
    assert (firing.run_id, firing.momentary) == (run_id, True)
    assert firing.title == "rmse is 1.5, the champion has 1"


@pytest.mark.parametrize(("goal", "value"), [("max", 0.7), ("min", 1.1)])
def test_worse_than_the_parent(rules: Rules, goal: str, value: float) -> None:
    parent = rules.api.new_run()
    rules.log(parent, "m", [0.9])
    child = rules.api.new_run(
        rules.api.run(parent).info.experiment_id,
        tags=[{"key": "mlflow.parentRunId", "value": parent}],
    )
    worse = {"baseline": "parent", "goal": goal, "by": "20%", "compare": "best"}
    rules.rule("worse", {"metric": {"key": "m", "worse_than": worse}})
    rules.log(child, "m", [value])
    rules.look()
    (firing,) = rules.firings("worse")
    assert (firing.run_id, firing.values["baseline"]) == (child, 0.9)


def test_all_any_and_not_combine(rules: Rules) -> None:
    loss = {"metric": {"key": "loss", "value": "> 1"}}
    hot = {"metric": {"key": "t", "value": "> 80"}}
    rules.rule("both", {"all": [loss, hot]})
    rules.rule("either", {"any": [loss, hot]})
    rules.rule("alone", {"all": [loss, {"not": hot}]})
    run_id = rules.api.new_run()
    rules.log(run_id, "loss", [2])
    rules.look()
    assert [rules.states(one) for one in ("both", "either", "alone")] == [
        [],
        ["firing"],
        ["firing"],
    ]
    rules.log(run_id, "t", [90])
    rules.look()
    assert [rules.states(one) for one in ("both", "either", "alone")] == [
        ["firing"], ["firing"], ["resolved"],
    ]  # fmt: skip
    rules.log(run_id, "loss", [0.5], begin=1)
    rules.look()
    assert [rules.states(one) for one in ("both", "either")] == [["resolved"], ["firing"]]


def test_a_restart_neither_repeats_nor_forgets(rules: Rules) -> None:
    rules.rule("high", {"metric": {"key": "loss", "value": "> 10"}})
    rules.rule("jump", {"metric": {"key": "loss", "change": "> 5", "over": "100 steps"}})
    run_id = rules.api.new_run()
    rules.log(run_id, "loss", [1, 20])
    rules.look()
    for killed in (False, True):
        rules.restart(killed=killed)
        rules.log(run_id, "loss", [21 + killed], begin=2 + killed)
        rules.look()
        assert rules.states("high") == rules.states("jump") == ["firing"]
    rules.restart()
    rules.log(run_id, "loss", [1], begin=5)
    rules.pass_time(2)
    assert rules.states("high") == rules.states("jump") == ["resolved"]
    rules.restart()
    rules.log(run_id, "loss", [1.5], begin=6)
    rules.pass_time(2)
    assert len(rules.firings("high")) == len(rules.firings("jump")) == 1


def test_what_happened_while_nobody_looked_is_seen_after(rules: Rules) -> None:
    rules.rule("high", {"metric": {"key": "loss", "value": "> 10"}})
    run_id = rules.api.new_run()
    rules.restart()
    rules.log(run_id, "loss", [1, 20, 1])
    rules._moved.clear()  # told to nobody: the sweep over running runs finds it
    rules.pass_time(6)
    assert rules.states("high") == ["resolved"]


def test_imported_history_alarms_nobody(rules: Rules) -> None:
    rules.rule("high", {"metric": {"key": "loss", "value": "> 10"}})
    experiment = rules.api.new_experiment()
    run = {
        "experiment_id": experiment, "run_name": "old", "end_time": 1000,
        "metrics": [{"key": "loss", "value": 99, "timestamp": 1, "step": 1}],
    }  # fmt: skip
    (run_id,) = rules.api.import_runs(runs=[run]).run_ids
    rules.log(run_id, "loss", [100])
    rules.look()
    assert rules.firings("high") == []
