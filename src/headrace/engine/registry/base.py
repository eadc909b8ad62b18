"""What the operations of the registry share: finding models and versions, and naming their events."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.registry.limits import check_model_name, version_number
from headrace.engine.session import SessionBase
from headrace.errors import NotFound
from headrace.protocol.registered_models import PROMPT_TAG

_model = schema.registered_model
_version = schema.model_version

#: The text of a prompt's version, which MLflow keeps as a tag, and the prompt's kind.
PROMPT_TEXT, _PROMPT_KIND = "mlflow.prompt.text", "_mlflow_prompt_type"

#: What an event of a model is called when the model is a prompt.
_OF_PROMPTS = {
    "registered_model.created": "prompt.created",
    "registered_model.updated": "prompt.updated",
    "registered_model.renamed": "prompt.renamed",
    "registered_model.deleted": "prompt.deleted",
    "registered_model.tag.set": "prompt.tag.set",
    "registered_model.tag.deleted": "prompt.tag.deleted",
    "registered_model.guard.set": "prompt.guard.set",
    "registered_model.guard.deleted": "prompt.guard.deleted",
    "model_version.created": "prompt_version.created",
    "model_version.updated": "prompt_version.updated",
    "model_version.deleted": "prompt_version.deleted",
    "model_version.stage.changed": "prompt_version.stage.changed",
    "model_version.tag.set": "prompt_version.tag.set",
    "model_version.tag.deleted": "prompt_version.tag.deleted",
    "model_version.alias.created": "prompt_version.alias.created",
    "model_version.alias.deleted": "prompt_version.alias.deleted",
    "model_version.alias.approved": "prompt_version.alias.approved",
}


class RegistryBase(SessionBase):
    """Who changes something of a model holds the model's row until the transaction ends.

    So on PostgreSQL, too, all that happens to one model happens one after the other: numbers of versions
    are given once, moves of an alias follow each other, and a name that was looked up does not change.
    """

    def _registered_model(self, name: str, *, lock: bool = False) -> Any:
        """The row of a registered model.

        Args:
            name: What it is called.
            lock: Nobody else may change it, or anything of it, until the transaction ends.

        Raises:
            NotFound: There is none of that name.
        """
        check_model_name(name)
        statement = sa.select(_model).where(_model.c.workspace == "default", _model.c.name == name)
        if lock:
            statement = statement.with_for_update()
        row = self.connection.execute(statement).one_or_none()
        if row is None:
            raise NotFound(
                f"Registered Model with name={name} not found. Create it with registered-models/create."
            )
        return row

    def _model_version(self, name: str, version: str, *, lock: bool = False) -> tuple[Any, Any]:
        """The rows of a model and of one of its versions.

        Raises:
            NotFound: No such model or version.
            InvalidParameter: The version is no number.
        """
        check_model_name(name)
        number = version_number(version, name)
        model = self._registered_model(name, lock=lock)
        return model, self._version_of(model, number)

    def _version_of(self, model: Any, number: int) -> Any:
        row = self.connection.execute(
            sa.select(_version).where(_version.c.model_id == model.id, _version.c.version == number)
        ).one_or_none()
        if row is None:
            given = "was deleted" if 0 < number <= model.last_version else "was never registered"
            raise NotFound(
                f"Model Version (name={model.name}, version={number}) not found: it {given}."
            )
        return row

    def _is_prompt(self, model: Any) -> bool:
        table = schema.registered_model_tag
        value = self.connection.execute(
            sa.select(table.c.value).where(table.c.model_id == model.id, table.c.key == PROMPT_TAG)
        ).scalar()
        return is_prompt({PROMPT_TAG: value or ""})

    def _update_model(self, model: Any, **values: Any) -> None:
        """Change columns of a model, and note when."""
        self.connection.execute(
            sa.update(_model)
            .where(_model.c.id == model.id)
            .values(last_update_time=self.now, **values)
        )

    def _emit_model(self, type: str, model: Any, data: dict[str, Any]) -> None:
        """Write an event of a model, or of the prompt that it is."""
        self._emit_of(type, model, f"{model.name}", data)

    def _emit_version(self, type: str, model: Any, number: int, data: dict[str, Any]) -> None:
        """Write an event of a version, which names the model and the version in its data too."""
        named = {"name": model.name, "version": str(number), **data}
        self._emit_of(type, model, f"{model.name}/{number}", named)

    def _emit_of(self, type: str, model: Any, id: str, data: dict[str, Any]) -> None:
        if self._is_prompt(model):
            type = _OF_PROMPTS[type]
        self.emit(type, f"{type.partition('.')[0]}/{id}", data)


def is_prompt(tags: dict[str, str]) -> bool:
    """Whether tags are those of a prompt."""
    return tags.get(PROMPT_TAG, "").lower() == "true"


def told_tags(tags: dict[str, str]) -> dict[str, str]:
    """Tags as events have them: of a prompt without those that make it one, as in MLflow's webhooks."""
    if not is_prompt(tags):
        return tags
    inner = (PROMPT_TAG, PROMPT_TEXT, _PROMPT_KIND)
    return {key: value for key, value in tags.items() if key not in inner}
