"""Where the registry meets logged models."""

from __future__ import annotations

import json

import msgspec

from headrace.engine import schema
from headrace.engine.logged_models import LoggedModelOperations, model_locations
from headrace.entities import KeyValue
from headrace.protocol.limits import MAX_VALUE
from headrace.protocol.logged_models import SetLoggedModelTags

#: Of a logged model: the versions that were made of it, as MLflow notes them.
VERSIONS_TAG = "mlflow.modelVersions"


class LoggedModelPlace(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry needs to know of a logged model.

    Attributes:
        location: URI of its files.
        run_id: The run that made it.
    """

    location: str
    run_id: str | None = None


class LoggedModelLinks(LoggedModelOperations):
    """The two things that a registration asks of logged models."""

    def _logged_model_place(self, model_id: str) -> LoggedModelPlace:
        """Where a logged model's files are, and which run made it.

        Raises:
            NotFound: There is no such logged model.
        """
        row = self._logged_model(model_id)
        (location,) = model_locations(self, [row])
        return LoggedModelPlace(location=location, run_id=row.source_run_id)

    def _note_registration(self, model_id: str, name: str, number: int) -> None:
        """Add a version to the tag ``mlflow.modelVersions`` of the logged model that it was made of."""
        row = self._logged_model(model_id, change=True)
        held = self._pairs_of_model(schema.logged_model_tag, row.id, [VERSIONS_TAG])
        try:
            versions = json.loads(held.get(VERSIONS_TAG, "[]"))
        except ValueError:
            versions = None
        if not isinstance(versions, list):
            versions = []  # somebody else wrote something else there
        versions.append({"name": name, "version": number})
        while len(text := json.dumps(versions)) > MAX_VALUE:
            del versions[
                : len(versions) // 10 + 1
            ]  # the oldest; the registry itself knows them all
        tag = KeyValue(VERSIONS_TAG, text)
        self.set_logged_model_tags(SetLoggedModelTags(model_id=model_id, tags=(tag,)))
