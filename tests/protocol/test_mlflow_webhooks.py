"""MLflow's words for events, held against the installed MLflow."""

from mlflow.entities.webhook import VALID_ENTITY_ACTIONS, WebhookAction, WebhookEntity
from mlflow.webhooks.types import EVENT_TO_PAYLOAD_CLASS

from headrace.protocol.catalogue import EVENT_TYPES
from headrace.protocol.mlflow_webhooks import BY_ENTITY_ACTION, MLFLOW_EVENTS


def test_every_event_of_mlflow_is_known_but_the_gateways() -> None:
    theirs = {
        (entity.name, action.name)
        for entity, actions in VALID_ENTITY_ACTIONS.items()
        for action in actions
    }
    assert theirs - set(BY_ENTITY_ACTION) == {("BUDGET_POLICY", "EXCEEDED")}
    assert set(BY_ENTITY_ACTION) <= theirs


def test_every_type_is_in_the_catalogue() -> None:
    assert set(MLFLOW_EVENTS) <= set(EVENT_TYPES)


def test_the_data_has_the_fields_that_mlflow_documents() -> None:
    for (entity, action), ours in BY_ENTITY_ACTION.items():
        documented = EVENT_TO_PAYLOAD_CLASS[WebhookEntity[entity], WebhookAction[action]]
        assert list(documented.__annotations__) == list(ours.fields), ours.type
