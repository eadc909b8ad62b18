"""Which names a filter may use, and what each may be compared with."""

from __future__ import annotations

from enum import Enum

import msgspec

from headrace.engine.search.tree import Kind, Operator

_EQUALITY = frozenset({Operator.EQ, Operator.NE, Operator.IN, Operator.NOT_IN})
_SIZE = frozenset({Operator.LT, Operator.LE, Operator.GT, Operator.GE})
_PATTERN = frozenset({Operator.LIKE, Operator.NOT_LIKE, Operator.ILIKE, Operator.NOT_ILIKE})
_PRESENCE = frozenset({Operator.IS_NULL, Operator.IS_NOT_NULL})


class Type(Enum):
    """What the values of a field are: the operators it takes, and how a value is written."""

    TEXT = (_EQUALITY | _PATTERN | _PRESENCE, "a quoted string")
    NUMBER = (_EQUALITY | _SIZE | _PRESENCE, "a number")
    #: Text that may look like a number: numbers are compared as numbers.
    PARAM = (_EQUALITY | _SIZE | _PATTERN | _PRESENCE, "a quoted string, or a number")
    #: Milliseconds since the Unix epoch, or ISO 8601.
    TIME = (
        _EQUALITY | _SIZE | _PRESENCE,
        "milliseconds since 1970, or a date like '2026-01-31T12:00Z'",
    )
    #: The same, of experiments, where MLflow takes whole numbers only.
    WHOLE_TIME = (
        _EQUALITY | _SIZE | _PRESENCE,
        "whole milliseconds since 1970, or a date like '2026-01-31T12:00Z'",
    )
    #: Milliseconds, or a duration in words.
    DURATION = (_EQUALITY | _SIZE | _PRESENCE, "milliseconds, or a duration like '1h30m'")
    #: A number that MLflow quotes.
    ID = (_EQUALITY | _PRESENCE, "a quoted number, such as '12'")
    #: A whole number that may be quoted.
    WHOLE = (_EQUALITY | _SIZE | _PRESENCE, "a whole number, such as 12")

    def __init__(self, operators: frozenset[Operator], values: str) -> None:
        self.operators = operators
        self.values = values


class Vocabulary(msgspec.Struct, frozen=True):
    """The names that filters of one noun may use.

    Attributes:
        prefixes: Kind by the word before the dot.
        attributes: Type by name.
        aliases: Other names of attributes.
        datasets: Keys after ``dataset.``.
        orders: What ``order_by`` may name; empty: whatever a filter may.
    """

    noun: str
    prefixes: dict[str, Kind]
    attributes: dict[str, Type]
    aliases: dict[str, str] = {}
    datasets: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()

    def type_of(self, kind: Kind, key: str) -> Type:
        """The type of a field."""
        if kind is Kind.ATTRIBUTE:
            return self.attributes[key]
        if kind is Kind.METRIC:
            return Type.NUMBER
        return Type.PARAM if kind is Kind.PARAM else Type.TEXT


RUNS = Vocabulary(
    noun="run",
    prefixes={
        "metric": Kind.METRIC,
        "metrics": Kind.METRIC,
        "parameter": Kind.PARAM,
        "parameters": Kind.PARAM,
        "param": Kind.PARAM,
        "params": Kind.PARAM,
        "tag": Kind.TAG,
        "tags": Kind.TAG,
        "attribute": Kind.ATTRIBUTE,
        "attributes": Kind.ATTRIBUTE,
        "attr": Kind.ATTRIBUTE,
        "run": Kind.ATTRIBUTE,
        "dataset": Kind.DATASET,
        "datasets": Kind.DATASET,
    },
    attributes={
        "run_id": Type.TEXT,
        "run_name": Type.TEXT,
        "status": Type.TEXT,
        "user_id": Type.TEXT,
        "artifact_uri": Type.TEXT,
        "start_time": Type.TIME,
        "end_time": Type.TIME,
        "duration": Type.DURATION,
    },
    aliases={
        "created": "start_time",
        "Created": "start_time",
        "run name": "run_name",
        "Run name": "run_name",
        "Run Name": "run_name",
    },
    datasets=("name", "digest", "context"),
)

EXPERIMENTS = Vocabulary(
    noun="experiment",
    prefixes={"attribute": Kind.ATTRIBUTE, "tag": Kind.TAG, "tags": Kind.TAG},
    attributes={
        "name": Type.TEXT,
        "experiment_id": Type.ID,
        "creation_time": Type.WHOLE_TIME,
        "last_update_time": Type.WHOLE_TIME,
    },
    orders=("name", "experiment_id", "creation_time", "last_update_time"),
)

_MODEL_TIMES = {
    "creation_timestamp_ms": "creation_time",
    "creation_timestamp": "creation_time",
    "last_updated_timestamp_ms": "last_update_time",
    "last_updated_timestamp": "last_update_time",
}

LOGGED_MODELS = Vocabulary(
    noun="logged model",
    prefixes={
        word: kind
        for word, kind in RUNS.prefixes.items()
        if kind is not Kind.DATASET and word != "run"
    },
    attributes={
        "name": Type.TEXT,
        "model_id": Type.TEXT,
        "model_type": Type.TEXT,
        "status": Type.PARAM,
        "status_message": Type.TEXT,
        "source_run_id": Type.TEXT,
        "artifact_location": Type.TEXT,
        "lifecycle_stage": Type.TEXT,
        "experiment_id": Type.PARAM,
        "creation_time": Type.TIME,
        "last_update_time": Type.TIME,
    },
    aliases=_MODEL_TIMES,
)

_MODEL_PREFIXES = {
    "attribute": Kind.ATTRIBUTE,
    "attributes": Kind.ATTRIBUTE,
    "tag": Kind.TAG,
    "tags": Kind.TAG,
}

REGISTERED_MODELS = Vocabulary(
    noun="registered model",
    prefixes=_MODEL_PREFIXES,
    attributes={
        "name": Type.TEXT,
        "description": Type.TEXT,
        "creation_timestamp": Type.WHOLE_TIME,
        "last_updated_timestamp": Type.WHOLE_TIME,
    },
    aliases={"timestamp": "last_updated_timestamp"},
    orders=("name", "creation_timestamp", "last_updated_timestamp"),
)

MODEL_VERSIONS = Vocabulary(
    noun="model version",
    prefixes=_MODEL_PREFIXES,
    attributes={
        "name": Type.TEXT,
        "version_number": Type.WHOLE,
        "run_id": Type.TEXT,
        "source_path": Type.TEXT,
        "model_id": Type.TEXT,
        "digest": Type.TEXT,
        "current_stage": Type.TEXT,
        "description": Type.TEXT,
        "user_id": Type.TEXT,
        "creation_timestamp": Type.WHOLE_TIME,
        "last_updated_timestamp": Type.WHOLE_TIME,
    },
    aliases={"version": "version_number", "source": "source_path", "stage": "current_stage"},
    orders=("name", "version_number", "creation_timestamp", "last_updated_timestamp"),
)

#: All of them, by noun.
BY_NOUN = {
    names.noun: names
    for names in (RUNS, EXPERIMENTS, LOGGED_MODELS, REGISTERED_MODELS, MODEL_VERSIONS)
}
