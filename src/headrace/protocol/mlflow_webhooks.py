"""What MLflow's webhooks call the events that both know: entity and action, and the fields of their data.

MLflow's REST API has the words in capitals (``MODEL_VERSION``, ``CREATED``), the bodies that it delivers have
them in small letters. Its fifteenth event, BUDGET_POLICY / EXCEEDED, is of a gateway that headrace does not have.

The data of a delivered body is taken from the data of our event, field by field (`MlflowEvent.fields`), so the
events of the registry and of prompts have, where they apply:

- ``name``: the model's or the prompt's;
- ``version``: number of the version, as text or as a number;
- ``source``, ``run_id``, ``tags`` (an object), ``description``: the version's, or the model's;
- ``template``: the text of a prompt's version;
- ``key``, ``value``: a tag's; where ``value`` is not there, the value is ``after``;
- ``alias``: the alias.

``name`` and ``version`` that are not in the data are taken from the event's subject,
``model_version/<name>/<version>``. Anything else that is not there is null, and tags are empty.
"""

from __future__ import annotations

import msgspec


class MlflowEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that MLflow's webhooks know.

    Attributes:
        type: The type in our catalogue.
        entity: MLflow's word for the thing, as its REST API spells it.
        action: MLflow's word for what happened to it, as its REST API spells it.
        fields: What the data of a delivered body has, in this order.
    """

    type: str
    entity: str
    action: str
    fields: tuple[str, ...]


_TAG = ("key", "value")
_VERSION = ("name", "version")

_ALL = (
    ("registered_model.created", "REGISTERED_MODEL", "CREATED", ("name", "tags", "description")),
    (
        "model_version.created", "MODEL_VERSION", "CREATED",
        (*_VERSION, "source", "run_id", "tags", "description"),
    ),
    ("model_version.tag.set", "MODEL_VERSION_TAG", "SET", (*_VERSION, *_TAG)),
    ("model_version.tag.deleted", "MODEL_VERSION_TAG", "DELETED", (*_VERSION, "key")),
    ("model_version.alias.created", "MODEL_VERSION_ALIAS", "CREATED", ("name", "alias", "version")),
    ("model_version.alias.deleted", "MODEL_VERSION_ALIAS", "DELETED", ("name", "alias")),
    ("prompt.created", "PROMPT", "CREATED", ("name", "tags", "description")),
    (
        "prompt_version.created", "PROMPT_VERSION", "CREATED",
        (*_VERSION, "template", "tags", "description"),
    ),
    ("prompt.tag.set", "PROMPT_TAG", "SET", ("name", *_TAG)),
    ("prompt.tag.deleted", "PROMPT_TAG", "DELETED", ("name", "key")),
    ("prompt_version.tag.set", "PROMPT_VERSION_TAG", "SET", (*_VERSION, *_TAG)),
    ("prompt_version.tag.deleted", "PROMPT_VERSION_TAG", "DELETED", (*_VERSION, "key")),
    ("prompt_version.alias.created", "PROMPT_ALIAS", "CREATED", ("name", "alias", "version")),
    ("prompt_version.alias.deleted", "PROMPT_ALIAS", "DELETED", ("name", "alias")),
)  # fmt: skip

#: By the type in our catalogue.
MLFLOW_EVENTS: dict[str, MlflowEvent] = {
    type: MlflowEvent(type=type, entity=entity, action=action, fields=fields)
    for type, entity, action, fields in _ALL
}

#: By (entity, action) as MLflow's REST API spells them.
BY_ENTITY_ACTION: dict[tuple[str, str], MlflowEvent] = {
    (one.entity, one.action): one for one in MLFLOW_EVENTS.values()
}

#: Words that a field of the REST API may have.
ENTITIES: tuple[str, ...] = tuple(dict.fromkeys(one.entity for one in MLFLOW_EVENTS.values()))
ACTIONS: tuple[str, ...] = tuple(dict.fromkeys(one.action for one in MLFLOW_EVENTS.values()))
