"""Where the registry meets logged models."""

from __future__ import annotations

import msgspec

from headrace.engine.session import SessionBase


class LoggedModelPlace(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry needs to know of a logged model.

    Attributes:
        location: URI of its files; None when unknown, so that ``models:/m-<id>`` stands for it.
        run_id: The run that made it.
    """

    location: str | None = None
    run_id: str | None = None


class LoggedModelLinks(SessionBase):
    """The two things that a registration asks of logged models."""

    def _logged_model_place(self, model_id: str) -> LoggedModelPlace:
        """Where a logged model's files are, and which run made it.

        Raises:
            NotFound: There is no such logged model.
        """
        return LoggedModelPlace()

    def _note_registration(self, model_id: str, name: str, number: int) -> None:
        """Add a version to the tag ``mlflow.modelVersions`` of the logged model that it was made of."""
