"""Registered models, implemented."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.registry.assemble import latest_rows, model_entities, version_entities
from headrace.engine.registry.base import RegistryBase, is_prompt, told_tags
from headrace.engine.registry.guarding import GuardedAliases
from headrace.engine.registry.limits import (
    check_model_name,
    check_tag,
    check_text,
    checked_tags,
    stage_number,
)
from headrace.engine.session import shortened
from headrace.errors import AlreadyExists
from headrace.protocol.limits import check_key
from headrace.protocol.model_versions import STAGES
from headrace.protocol.operation import Empty
from headrace.protocol.registered_models import (
    PROMPT_TAG,
    CreateRegisteredModel,
    DeleteRegisteredModelTag,
    GetLatestVersions,
    LatestVersions,
    RegisteredModelName,
    RegisteredModelResponse,
    RegisteredModels,
    RenameRegisteredModel,
    SetRegisteredModelTag,
    UpdateRegisteredModel,
)

_model = schema.registered_model
_tag = schema.registered_model_tag


class RegisteredModelOperations(GuardedAliases, RegistryBase, RegisteredModels):
    """`RegisteredModels` but for its aliases and its search."""

    def create_registered_model(self, request: CreateRegisteredModel) -> RegisteredModelResponse:
        check_model_name(request.name)
        tags = checked_tags(request.tags)
        check_text(request.description, "description")
        try:
            with self.connection.begin_nested():
                number = self.connection.execute(
                    _model.insert().returning(_model.c.id),
                    {
                        "name": request.name,
                        "description": request.description or None,
                        "user_id": self.actor or None,
                        "creation_time": self.now,
                        "last_update_time": self.now,
                        "last_version": 0,
                    },
                ).scalar_one()
        except sa.exc.IntegrityError:
            raise self._name_taken(request.name, prompt=is_prompt(tags)) from None
        if tags:
            self.connection.execute(
                _tag.insert(),
                [{"model_id": number, "key": key, "value": tags[key]} for key in tags],
            )
        model = self._registered_model(request.name)
        self._emit_model(
            "registered_model.created",
            model,
            {
                "name": model.name,
                "tags": shortened(told_tags(tags)),
                "description": model.description,
            },
        )
        return self._model_response(model)

    def get_registered_model(self, request: RegisteredModelName) -> RegisteredModelResponse:
        return self._model_response(self._registered_model(request.name))

    def update_registered_model(self, request: UpdateRegisteredModel) -> RegisteredModelResponse:
        check_text(request.description, "description")
        model = self._registered_model(request.name, lock=True)
        after = request.description or None
        self._update_model(model, description=after)
        if after != model.description:
            self._emit_model(
                "registered_model.updated",
                model,
                {
                    "before": {"description": model.description},
                    "after": {"description": after},
                },
            )
        return self._model_response(self._registered_model(request.name))

    def rename_registered_model(self, request: RenameRegisteredModel) -> RegisteredModelResponse:
        check_model_name(request.name)
        check_model_name(request.new_name, "new_name")
        model = self._registered_model(request.name, lock=True)
        if request.new_name == model.name:
            return self._model_response(model)
        self._refuse_if_guarded(model, "renamed")
        try:
            with self.connection.begin_nested():
                self._update_model(model, name=request.new_name)
        except sa.exc.IntegrityError:
            raise self._name_taken(request.new_name, prompt=self._is_prompt(model)) from None
        version = schema.model_version
        self.connection.execute(
            sa.update(version)
            .where(version.c.model_id == model.id)
            .values(last_update_time=self.now)
        )
        self._emit_model(
            "registered_model.renamed",
            model,
            {"before": {"name": model.name}, "after": {"name": request.new_name}},
        )
        return self._model_response(self._registered_model(request.new_name))

    def delete_registered_model(self, request: RegisteredModelName) -> Empty:
        model = self._registered_model(request.name, lock=True)
        self._refuse_if_guarded(model, "deleted")
        version, alias = schema.model_version, schema.model_alias
        versions = self.connection.execute(
            sa.select(sa.func.count()).select_from(version).where(version.c.model_id == model.id)
        ).scalar_one()
        aliases = self.connection.execute(
            sa.select(alias.c.alias, alias.c.version)
            .where(alias.c.model_id == model.id)
            .order_by(alias.c.alias)
        )
        self._emit_model(
            "registered_model.deleted",
            model,
            {
                "name": model.name,
                "versions": versions,
                "aliases": {name: str(number) for name, number in aliases},
            },
        )
        # Only now: by its tags the event knew whether it is a prompt.
        tag = schema.model_version_tag
        own = sa.select(version.c.id).where(version.c.model_id == model.id)
        self.connection.execute(sa.delete(tag).where(tag.c.version_id.in_(own)))
        for table in schema.REGISTERED_MODEL_TABLES:
            self.connection.execute(sa.delete(table).where(table.c.model_id == model.id))
        self.connection.execute(sa.delete(_model).where(_model.c.id == model.id))
        return Empty()

    def get_latest_versions(self, request: GetLatestVersions) -> LatestVersions:
        model = self._registered_model(request.name)
        stages = {stage_number(stage) for stage in request.stages or STAGES}
        rows = [row for row in latest_rows(self, [model.id]) if row.stage in stages]
        found = version_entities(self, rows, {model.id: model.name})
        return LatestVersions(model_versions=tuple(found))

    def set_registered_model_tag(self, request: SetRegisteredModelTag) -> Empty:
        check_model_name(request.name)
        check_tag(request.key, request.value)
        model = self._registered_model(request.name, lock=True)
        where = (_tag.c.model_id == model.id) & (_tag.c.key == request.key)
        before = self.connection.execute(sa.select(_tag.c.value).where(where)).scalar()
        if before == request.value:
            return Empty()
        statement = self.insert(_tag).values(
            model_id=model.id, key=request.key, value=request.value
        )
        self.connection.execute(
            statement.on_conflict_do_update(
                index_elements=[_tag.c.model_id, _tag.c.key],
                set_={"value": statement.excluded.value},
            )
        )
        self._emit_model(
            "registered_model.tag.set", model, tag_change(request.key, before, request.value)
        )
        return Empty()

    def delete_registered_model_tag(self, request: DeleteRegisteredModelTag) -> Empty:
        check_model_name(request.name)
        check_key(request.key, "tag")
        model = self._registered_model(request.name, lock=True)
        before = self.connection.execute(
            sa.delete(_tag)
            .where(_tag.c.model_id == model.id, _tag.c.key == request.key)
            .returning(_tag.c.value)
        ).scalar()
        if before is not None:
            self._emit_model("registered_model.tag.deleted", model, tag_change(request.key, before))
        return Empty()

    def _model_response(self, row: Any) -> RegisteredModelResponse:
        return RegisteredModelResponse(registered_model=model_entities(self, [row])[0])

    def _prompt_named(self, name: str) -> bool:
        """Whether a prompt has a name; no, when it was freed meanwhile."""
        value = self.connection.execute(
            sa.select(_tag.c.value)
            .join(_model, _model.c.id == _tag.c.model_id)
            .where(_model.c.name == name, _tag.c.key == PROMPT_TAG)
        ).scalar()
        return is_prompt({PROMPT_TAG: value or ""})

    def _name_taken(self, name: str, *, prompt: bool) -> AlreadyExists:
        taken = self._prompt_named(name)
        new, old = ("prompt" if one else "model" for one in (prompt, taken))
        if new != old:
            return AlreadyExists(
                f"Tried to create a {new} with name '{name}', but the name is already taken by a {old}; "
                "a model and a prompt cannot have the same name."
            )
        word = "Prompt" if prompt else "Registered Model"
        return AlreadyExists(f"{word} (name={name}) already exists; choose another name.")


def tag_change(key: str, before: str | None, after: str | None = None) -> dict[str, Any]:
    """The data of an event of a tag; after is None when the tag was deleted."""
    values = {} if before is None else {"before": before}
    cut = shortened(values if after is None else {**values, "after": after})
    data = {"key": key, "before": cut.get("before")}
    return data if after is None else {**data, "after": cut["after"]}
