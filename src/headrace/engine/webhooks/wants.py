"""Which events a webhook asks for, as it is kept: JSON in ``webhook.wants``."""

from __future__ import annotations

import msgspec

from headrace.errors import InvalidParameter
from headrace.protocol.catalogue import matching_types
from headrace.protocol.event_filter import EventFilter, event_filter
from headrace.protocol.mlflow_webhooks import BY_ENTITY_ACTION


class Wants(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Attributes as in `headrace.protocol.webhooks.Webhook`."""

    types: tuple[str, ...] = ()
    mlflow_events: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    experiment_ids: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()

    def all_types(self) -> tuple[str, ...]:
        """Types and MLflow's events together, as globs of our types.

        Raises:
            InvalidParameter: An event that MLflow does not have, or whose source headrace does not have.
        """
        return (*self.types, *(_type(event) for event in self.mlflow_events))

    def choice(self) -> EventFilter | None:
        """The filter; None when no event is asked for.

        Raises:
            InvalidParameter: See `event_filter`.
        """
        types = self.all_types()
        chosen = event_filter(
            types=types,
            subjects=self.subjects,
            experiment_ids=self.experiment_ids,
            actors=self.actors,
        )
        return chosen if types else None

    def first_type(self) -> str:
        """A type that it asks for; ``rule.fired`` when it asks for none."""
        types = self.all_types()
        if not types:
            return "rule.fired"
        return types[0] if "*" not in types[0] else min(matching_types(types[0]))


def _type(event: str) -> str:
    entity, _, action = event.partition(".")
    found = BY_ENTITY_ACTION.get((entity, action))
    if found is None:
        if event == "BUDGET_POLICY.EXCEEDED":
            raise InvalidParameter(
                "BUDGET_POLICY.EXCEEDED is an event of MLflow's AI gateway, which headrace does not have: "
                "leave it out."
            )
        known = sorted(verb for noun, verb in BY_ENTITY_ACTION if noun == entity)
        raise InvalidParameter(
            f"Invalid action '{action}' for entity '{entity}'. Valid actions are: {', '.join(known)}."
        )
    return found.type


decode_wants = msgspec.json.Decoder(Wants).decode
