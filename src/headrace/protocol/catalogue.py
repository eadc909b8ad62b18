"""Every type of event that there is: what it says, about what, with which data.

An event whose type is not here cannot be emitted. docs/events.md is made from this table
(``python -m headrace.protocol.catalogue``).
"""

from __future__ import annotations

import difflib
import functools
import re

import msgspec

from headrace.errors import InvalidParameter


class EventType(msgspec.Struct, frozen=True):
    """One type of event.

    Attributes:
        name: Dotted word, noun first.
        subject: The form of its subject.
        meaning: When it is written.
        data: Its fields, each with what it holds.
        planned: Nothing writes it yet; the name is taken so that webhooks can ask for it.
    """

    name: str
    subject: str
    meaning: str
    data: dict[str, str] = {}
    planned: bool = False


_EXPERIMENT = "experiment/<experiment_id>"
_RUN = "run/<run_id>"
_WEBHOOK = "webhook/<webhook_id>"
_RULE = "rule/<name>"
_MODEL = "registered_model/<name>"
_VERSION = "model_version/<name>/<version>"
_LOGGED = "logged_model/<model_id>"
_PROMPT = "prompt/<name>"
_PROMPT_VERSION = "prompt_version/<name>/<version>"

_STATUS = {
    "before": "`status`, and `end_time` if it changed",
    "after": "the same fields as they are now",
}
_TAG = {"key": "the tag's", "before": "its value, null when it is new", "after": "its value now"}
_TAG_GONE = {"key": "the tag's", "before": "the value it had"}
_CUT = "how many there are, if those are over 1000 and so only the first 1000"
_NAMED = {"name": "the experiment's"}
_FIRED = {
    "rule": "its name",
    "group": "what the rule watches apart: a run's id, an experiment's, or empty",
    "severity": "`info`, `warn`, `error` or `critical`",
    "title": "one line for people",
    "text": "more for people",
    "values": "what the condition saw",
    "firing": "number of the firing; its *resolved* event has the same",
    "run_id": "the run that it is about, if it is about one",
    "experiment_id": "the experiment that it is about, likewise",
    "notify": "names of the webhooks that the rule wants told, whatever types they ask for",
    "cause": "number of the event that led to it, if one did",
    "chain": "rules whose firings led to this one, and this one, the first first",
}
_OVER = {
    "reason": "why it is over",
    "duration": "for how long it fired, milliseconds",
}

_DESCRIPTION = {"before": "`description`", "after": "`description`"}
_ASKED = "`checks` (names) and `approvals` (how many people)"


def _model_events(noun: str, subject: str, what: str) -> tuple[EventType, ...]:
    """Events of registered models, or of prompts."""
    return (
        EventType(
            f"{noun}.created", subject, f"{what} was made.",
            {"name": "its name", "tags": "its tags, values cut after 10,000 characters",
             "description": "null when it has none"},
        ),
        EventType(f"{noun}.updated", subject, "Its description was changed.", _DESCRIPTION),
        EventType(
            f"{noun}.renamed", subject, "It has another name; the subject is the old one.",
            {"before": "`name`", "after": "`name`"},
        ),
        EventType(
            f"{noun}.deleted", subject, "It was deleted for good, its versions and aliases with it.",
            {"name": "its name", "versions": "how many it had", "aliases": "number of the version by alias"},
        ),
        EventType(f"{noun}.tag.set", subject, "A tag was set to another value.", _TAG),
        EventType(f"{noun}.tag.deleted", subject, "A tag was deleted.", _TAG_GONE),
        EventType(
            f"{noun}.guard.set", subject, "An alias is guarded, or otherwise than before.",
            {"alias": "which", "before": f"{_ASKED}, null when it was not guarded", "after": _ASKED},
        ),
        EventType(
            f"{noun}.guard.deleted", subject, "An alias is guarded no more.",
            {"alias": "which", "before": _ASKED},
        ),
    )  # fmt: skip


def _version_events(noun: str, subject: str) -> tuple[EventType, ...]:
    """Events of versions, of models or of prompts. All have the model's `name` and the `version`."""
    named = {"name": "the model's", "version": "its number"}
    return (
        EventType(
            f"{noun}.created", subject, "A version was registered.",
            {**named, "source": "where from", "run_id": "the run that made it, or null",
             "tags": "its tags, values cut after 10,000 characters", "description": "null when it has none",
             "model_id": "the logged model that it is, or null", "digest": "of its files, or null",
             "template": "a prompt's text, if it is one"},
        ),
        EventType(f"{noun}.updated", subject, "Its description was changed.", {**named, **_DESCRIPTION}),
        EventType(
            f"{noun}.deleted", subject, "It was deleted, and the aliases that pointed to it.",
            {**named, "source": "where it was from", "run_id": "the run that made it, or null",
             "aliases": "those aliases"},
        ),
        EventType(
            f"{noun}.stage.changed", subject, "It moved to another stage.",
            {**named, "before": "`None`, `Staging`, `Production` or `Archived`", "after": "likewise"},
        ),
        EventType(f"{noun}.tag.set", subject, "A tag was set to another value.", {**named, **_TAG}),
        EventType(f"{noun}.tag.deleted", subject, "A tag was deleted.", {**named, **_TAG_GONE}),
        EventType(
            f"{noun}.alias.created", subject, "An alias points to it now.",
            {**named, "alias": "which", "before": "number of the version that it pointed to, or null",
             "after": "the same as `version`", "action": "`set` or `restored`",
             "approved_by": "who had agreed, where a guard asked for it"},
        ),
        EventType(
            f"{noun}.alias.deleted", subject, "An alias was taken from it, and points to nothing.",
            {**named, "alias": "which", "action": "`deleted` or `version deleted`"},
        ),
        EventType(
            f"{noun}.alias.approved", subject, "Somebody, the actor, agrees that an alias moves to it.",
            {**named, "alias": "which"},
        ),
    )  # fmt: skip


_ALL = (
    EventType(
        "experiment.created", _EXPERIMENT, "An experiment was made.",
        {"name": "its name", "artifact_location": "null: below the store's own root", "tags": "its tags"},
    ),
    EventType(
        "experiment.renamed", _EXPERIMENT, "It has another name.",
        {"before": "`name`", "after": "`name`"},
    ),
    EventType("experiment.deleted", _EXPERIMENT, "It is in the trash, its runs with it.", _NAMED),
    EventType("experiment.restored", _EXPERIMENT, "It came back from the trash.", _NAMED),
    EventType("experiment.purged", _EXPERIMENT, "It is gone for good.", _NAMED),
    EventType("experiment.tag.set", _EXPERIMENT, "A tag was set to another value.", _TAG),
    EventType("experiment.tag.deleted", _EXPERIMENT, "A tag was deleted.", _TAG_GONE),
    EventType(
        "run.created", _RUN, "A run began, or was imported.",
        {
            "experiment_id": "its experiment's", "run_name": "its name", "tags": "its tags",
            "status": "imported runs: their status", "params": "imported runs: their params",
            "imported": "true for imported runs",
        },
    ),
    EventType("run.started", _RUN, "A scheduled run began.", _STATUS),
    EventType("run.scheduled", _RUN, "It waits to be run.", _STATUS),
    EventType("run.resumed", _RUN, "It had ended, and runs again.", _STATUS),
    EventType("run.finished", _RUN, "It ended well.", _STATUS),
    EventType("run.failed", _RUN, "It ended with an error.", _STATUS),
    EventType("run.killed", _RUN, "It was ended from outside.", _STATUS),
    EventType(
        "run.lost", _RUN, "It gave no sign of life for too long.",
        {
            "before": "`status`", "after": "`status`",
            "seen_time": "its last sign of life, milliseconds since the Unix epoch",
            "silence": "how long it may be silent, milliseconds",
        },
    ),
    EventType(
        "run.recovered", _RUN, "A lost run spoke, or was taken up.",
        {"before": "`status`", "after": "`status`"},
    ),
    EventType(
        "run.updated", _RUN, "Its end time was changed, and nothing else.",
        {"before": "`end_time`", "after": "`end_time`"},
    ),
    EventType(
        "run.renamed", _RUN, "It has another name.",
        {"before": "the name, null when it had none", "after": "the name"},
    ),
    EventType("run.deleted", _RUN, "It is in the trash."),
    EventType("run.restored", _RUN, "It came back from the trash."),
    EventType("run.purged", _RUN, "It is gone for good.", {"experiment_id": "its experiment's"}),
    EventType(
        "run.stop.requested", _RUN, "Somebody, or a rule, wants it to stop.",
        {"reason": "why, for people", "rule": "the rule that wants it, if one does"},
    ),
    EventType(
        "run.params.logged", _RUN, "Params were logged.",
        {"params": "the new ones, values cut after 10,000 characters", "count": _CUT},
    ),
    EventType(
        "run.tags.set", _RUN, "Tags were set to other values.",
        {"before": "values of those that were there, cut after 10,000 characters",
         "after": "all that changed, cut like those"},
    ),
    EventType("run.tag.deleted", _RUN, "A tag was deleted.", _TAG_GONE),
    EventType(
        "run.datasets.logged", _RUN, "Data sets that it read were logged.",
        {"datasets": "`name`, `digest` and `tags` of each new one"},
    ),
    EventType(
        "run.model_inputs.logged", _RUN, "Models that it read were logged.",
        {"models": "step by model id"},
    ),
    EventType(
        "run.model_outputs.logged", _RUN, "Models that it made were logged.",
        {"models": "step by model id"},
    ),
    EventType(
        "run.artifacts.logged", _RUN, "Files were stored, or replaced.",
        {"artifacts": "`path`, and `size` in bytes where it is known, of each; at most 100",
         "count": "how many files"},
    ),
    EventType(
        "run.artifacts.deleted", _RUN, "Files, or folders, were deleted.",
        {"artifacts": "`path` of each; at most 100", "count": "how many"},
    ),
    EventType(
        "run.alert.raised", _RUN, "The run's own code raised an alert.",
        {"title": "one line for people", "text": "more for people",
         "severity": "`info`, `warn`, `error` or `critical`",
         "raised_time": "when, milliseconds since the Unix epoch"},
    ),
    EventType(
        "run.logging.rejected", _RUN,
        "A journal held what cannot be applied. The run may be one that never was.",
        {"rejected": "`what` and `message` of each thing", "count": _CUT},
    ),
    EventType(
        "metric.created", _RUN, "Metrics got their first point in this run.",
        {"keys": "their keys", "count": _CUT},
    ),
    EventType(
        "metric.nonfinite", _RUN, "Metrics got their first NaN or infinity in this run.",
        {"keys": "their keys", "nan": "those that were NaN", "infinite": "those that were infinite",
         "count": _CUT},
    ),
    EventType(
        "metric.last", _RUN, "The run ended; these are the metrics that it ended with.",
        {"metrics": "by key: `value` (NaN and infinities as text), `step`, `min`, `max` (null when all "
                    "values are NaN), `count` (of points); at most 1000",
         "count": _CUT},
    ),
    EventType(
        "webhook.created", _WEBHOOK, "A webhook was made.",
        {"name": "its name", "url": "its target's scheme and host", "types": "what it asks for"},
    ),
    EventType(
        "webhook.updated", _WEBHOOK, "A webhook was changed.",
        {"name": "its name", "before": "fields that changed, secrets left out", "after": "the same fields",
         "secrets": "which of `secret`, `headers` and `credentials` were replaced"},
    ),
    EventType("webhook.deleted", _WEBHOOK, "A webhook was deleted.", {"name": "its name"}),
    EventType(
        "webhook.delivery.parked", _WEBHOOK, "An event could not be delivered, and is tried no more.",
        {"name": "the webhook's", "delivery_id": "the delivery's", "event": "number of the event",
         "attempts": "how often it was tried", "error": "what happened last"},
    ),
    EventType("rule.created", _RULE, "A rule was made.", {"after": "the rule"}),
    EventType("rule.updated", _RULE, "A rule was changed.", {"before": "the rule", "after": "the rule"}),
    EventType("rule.deleted", _RULE, "A rule was deleted.", {"before": "the rule"}),
    EventType("rule.fired", _RULE, "A rule's condition came true.",
              {**_FIRED, "momentary": "true when it is over at once, and never *resolved*"}),
    EventType("rule.resolved", _RULE, "What made it fire is over.", {**_FIRED, **_OVER}),
    EventType("rule.muted", _RULE, "It fired too often, and is not looked at for a while.",
              {"rule": "its name", "reason": "why, and what to do",
               "until": "when it is looked at again, milliseconds since the Unix epoch"}),
    EventType(
        "rule.action.done", _RULE, "An action of a firing was carried out.",
        {"rule": "its name", "firing": "number of the firing", "action": "which", "detail": "what came of it",
         "chain": "as of the firing"},
    ),
    EventType(
        "rule.action.failed", _RULE, "An action of a firing failed.",
        {"rule": "its name", "firing": "number of the firing", "action": "which", "error": "why",
         "chain": "as of the firing"},
    ),
    EventType(
        "events.trimmed", "event_log", "Old events were removed from the log.",
        {"before": "the least number that there was", "after": "the least number that there is"},
    ),
    *_model_events("registered_model", _MODEL, "A registered model"),
    *_version_events("model_version", _VERSION),
    EventType(
        "logged_model.created", _LOGGED, "A model was made; its files come next.",
        {
            "experiment_id": "its experiment's", "name": "its name", "model_type": "what its maker calls it, or null",
            "source_run_id": "the run that made it, or null", "params": "its params, cut after 10,000 characters",
            "count": "how many params there are, if over 1000 and so only the first 1000",
            "tags": "its tags, cut like those",
        },
    ),
    EventType(
        "logged_model.updated", _LOGGED, "Its status, digest, tags or params changed.",
        {
            "name": "its name",
            "before": "of what changed: `status` (`PENDING`, `READY` or `FAILED`), `digest`, `tags`, `params`",
            "after": "the same; a tag that was deleted is null; `params` are the new ones, with `count` if over 1000",
        },
    ),
    EventType("logged_model.deleted", _LOGGED, "It is in the trash.", {"name": "its name"}),
    EventType("logged_model.restored", _LOGGED, "It came back from the trash.", {"name": "its name"}),
    EventType("logged_model.purged", _LOGGED, "It is gone for good.", {"name": "its name"}),
    *_model_events("prompt", _PROMPT, "A prompt, which is a registered model with the tag `mlflow.prompt.is_prompt`,"),
    *_version_events("prompt_version", _PROMPT_VERSION),
)  # fmt: skip

#: Every type, by name.
EVENT_TYPES: dict[str, EventType] = {one.name: one for one in _ALL}

_GLOB = re.compile(r"[a-z_.*]{1,100}")


@functools.lru_cache(maxsize=1024)
def matching_types(glob: str) -> frozenset[str]:
    """The types that a glob stands for: ``run.failed``, ``run.*``, ``*.deleted``, ``*``.

    ``*`` matches any text, dots included.

    Raises:
        InvalidParameter: No glob, or one that no type matches.
    """
    if not _GLOB.fullmatch(glob):
        raise InvalidParameter(
            f"'{glob[:100]}' is no event type: give one such as run.failed, with * for any text. "
            "docs/events.md lists them."
        )
    pattern = re.compile(".*".join(map(re.escape, re.split(r"\*+", glob))))
    found = frozenset(name for name in EVENT_TYPES if pattern.fullmatch(name))
    if not found:
        near = difflib.get_close_matches(glob, EVENT_TYPES, n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise InvalidParameter(f"No event type matches '{glob}'.{hint} docs/events.md lists them.")
    return found


def document() -> str:
    """docs/events.md's table of types, as Markdown."""
    lines = []
    for noun in dict.fromkeys(name.partition(".")[0] for name in EVENT_TYPES):
        lines += [f"### `{noun}`", "", "| type | subject | when | data |", "|---|---|---|---|"]
        for one in EVENT_TYPES.values():
            if one.name.partition(".")[0] == noun:
                data = "<br>".join(f"`{key}`: {text}" for key, text in one.data.items())
                meaning = one.meaning + (" *Nothing writes it yet.*" if one.planned else "")
                lines.append(f"| `{one.name}` | `{one.subject}` | {meaning} | {data} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(document(), end="")
