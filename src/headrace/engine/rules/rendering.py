"""A firing in words: its title, its text, and its actions with their places filled in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from headrace.engine.rules.evaluator import Outcome
from headrace.engine.rules.machine import Fired
from headrace.protocol.rule_spec import PLACES, filled, spec_document

_LONGEST_TITLE = 300
_LONGEST_TEXT = 10_000


class Rendered(NamedTuple):
    """What a firing says and does.

    Attributes:
        title: One line.
        text: More.
        values: What the condition saw; NaN and infinities as text.
        actions: As the rule has them, places filled in.
        notify: Webhooks that the rule wants told.
        run_id: The run that it is about; empty when about none.
        experiment_id: The experiment, likewise.
    """

    title: str
    text: str
    values: dict[str, Any]
    actions: list[dict[str, Any]]
    notify: list[str]
    run_id: str
    experiment_id: int | None


def rendered(outcome: Outcome, experiments: Mapping[int, str]) -> Rendered:
    """The words of a firing.

    Args:
        outcome: Of a `Fired`.
        experiments: Names by number.
    """
    rule, change = outcome.rule, outcome.change
    assert type(change) is Fired
    spec, hit = rule.spec, change.hit
    run_id = outcome.run.run_id if outcome.run is not None else outcome.state.run_id
    experiment = outcome.state.experiment_id
    if outcome.run is not None:
        experiment = outcome.run.experiment_id
    values: dict[str, Any] = {
        **{name: spelled(hit.values[name]) for name in PLACES if name in hit.values},
        "rule": rule.name,
        "severity": spec.severity,
        "group": outcome.group,
        "condition": rule.words,
        "run_id": run_id,
        "run_name": outcome.run.name if outcome.run is not None else run_id,
        "experiment_id": experiment,
        "experiment_name": experiments.get(experiment or 0, ""),
    }
    title = filled(spec.title, values) if spec.title else _title(values, hit.values)
    actions = []
    for action in spec_document(spec).get("then", ()):
        if "set_tag" in action:
            tag = action["set_tag"]
            action = {"set_tag": {**tag, "value": filled(tag["value"], values)}}
        elif "stop_run" in action:
            action = {"stop_run": filled(action["stop_run"], values)}
        elif "notify" in action:
            action = {"notify": [action["notify"]] if isinstance(action["notify"], str) else list(action["notify"])}  # fmt: skip
        actions.append(action)
    return Rendered(
        title=" ".join(title.split())[:_LONGEST_TITLE],
        text=(filled(spec.text, values) if spec.text else spec.description)[:_LONGEST_TEXT],
        values={name: spelled(value) for name, value in hit.values.items()},
        actions=actions,
        notify=list(dict.fromkeys(name for one in spec.then for name in one.webhooks)),
        run_id=run_id,
        experiment_id=experiment,
    )


def spelled(value: Any) -> Any:
    """A value that JSON can say."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: spelled(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [spelled(one) for one in value]
    return value


def _title(places: Mapping[str, Any], seen: Mapping[str, Any]) -> str:
    what = places["condition"]
    if "metric" in seen and "value" in seen:
        what = (
            f"{seen['metric']} is {filled('{value}', {'value': spelled(seen['value'])})} ({what})"
        )
    elif "type" in seen:
        what = seen["type"]
    elif "line" in seen:
        what = f"a line: {seen['line']}"
    where = ""
    if places["run_id"]:
        where = f", run {places['run_name'] or places['run_id']}"
    elif places["experiment_name"]:
        where = f", experiment {places['experiment_name']}"
    return f"{places['rule']}: {what}{where}"
