"""Versions of registered models, implemented."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.registry.assemble import version_entities
from headrace.engine.registry.base import PROMPT_TEXT, is_prompt, told_tags
from headrace.engine.registry.guarding import VERSION_DELETED
from headrace.engine.registry.limits import (
    MAX_SOURCE,
    check_digest,
    check_model_name,
    check_tag,
    check_text,
    checked_tags,
    stage_number,
    version_number,
)
from headrace.engine.registry.registered_models import tag_change
from headrace.engine.registry.sources import Origin, SourceOperations
from headrace.engine.session import shortened
from headrace.errors import InvalidParameter
from headrace.protocol.limits import check_key
from headrace.protocol.model_aliases import CHECK_TAG
from headrace.protocol.model_versions import (
    ACTIVE_STAGES,
    STAGES,
    CreateModelVersion,
    DeleteModelVersionTag,
    DownloadUri,
    ModelVersionKey,
    ModelVersionResponse,
    ModelVersions,
    SetModelVersionTag,
    TransitionModelVersionStage,
    UpdateModelVersion,
)
from headrace.protocol.operation import Empty

_model = schema.registered_model
_version = schema.model_version
_tag = schema.model_version_tag
_ARCHIVED = STAGES.index("Archived")


class ModelVersionOperations(SourceOperations, ModelVersions):
    """`ModelVersions` but for its search."""

    def create_model_version(self, request: CreateModelVersion) -> ModelVersionResponse:
        check_model_name(request.name)
        given = checked_tags(request.tags)
        # A check is said of a version that is there, by somebody; see headrace.protocol.model_aliases.
        tags = {key: value for key, value in given.items() if not key.startswith(CHECK_TAG)}
        check_text(request.description, "description")
        check_text(request.run_link, "run_link", MAX_SOURCE)
        if request.digest:
            check_digest(request.digest)
        model = self._registered_model(request.name, lock=True)
        origin = self._origin(request, prompt=is_prompt(tags))
        row = self._insert_version(model, request, origin, tags)
        self._emit_version(
            "model_version.created",
            model,
            row.version,
            {
                "source": row.source,
                "run_id": row.run_uuid,
                "tags": shortened(told_tags(tags)),
                "description": row.description,
                "model_id": row.logged_model_id,
                "digest": row.digest,
                **({"template": tags[PROMPT_TEXT]} if PROMPT_TEXT in tags else {}),
            },
        )
        if row.logged_model_id:
            self._note_registration(row.logged_model_id, model.name, row.version)
        return self._version_response(model, row)

    def _insert_version(
        self, model: Any, request: CreateModelVersion, origin: Origin, tags: dict[str, str]
    ) -> Any:
        number = model.last_version + 1
        self._update_model(model, last_version=number)
        row = self.connection.execute(
            _version.insert().returning(*_version.c),
            {
                "model_id": model.id,
                "version": number,
                "stage": 0,
                "description": request.description or None,
                "user_id": self.actor or None,
                "creation_time": self.now,
                "last_update_time": self.now,
                "source": origin.source,
                "location": origin.location,
                "run_uuid": origin.run_uuid,
                "run_link": request.run_link or None,
                "logged_model_id": origin.logged_model_id,
                "digest": request.digest or origin.digest,
                "parent_id": origin.parent_id,
            },
        ).one()
        if tags:
            self.connection.execute(
                _tag.insert(),
                [{"version_id": row.id, "key": key, "value": tags[key]} for key in tags],
            )
        return row

    def get_model_version(self, request: ModelVersionKey) -> ModelVersionResponse:
        return self._version_response(*self._model_version(request.name, request.version))

    def get_model_version_download_uri(self, request: ModelVersionKey) -> DownloadUri:
        _model_row, version = self._model_version(request.name, request.version)
        return DownloadUri(artifact_uri=version.location or version.source)

    def update_model_version(self, request: UpdateModelVersion) -> ModelVersionResponse:
        check_text(request.description, "description")
        model, version = self._model_version(request.name, request.version, lock=True)
        after = request.description or None
        row = self._change_version(version, description=after)
        if after != version.description:
            self._emit_version(
                "model_version.updated",
                model,
                version.version,
                {"before": {"description": version.description}, "after": {"description": after}},
            )
        return self._version_response(model, row)

    def delete_model_version(self, request: ModelVersionKey) -> Empty:
        model, version = self._model_version(request.name, request.version, lock=True)
        alias = schema.model_alias
        aliases = list(
            self.connection.execute(
                sa.select(alias.c.alias)
                .where(alias.c.model_id == model.id, alias.c.version == version.version)
                .order_by(alias.c.alias)
            ).scalars()
        )
        if aliases:
            self._refuse_if_guarded(model, f"deleted, version {version.version}", aliases)
        for one in aliases:
            self._drop_alias(model, one, version.version, VERSION_DELETED)
        approval = schema.model_approval
        self.connection.execute(
            sa.delete(approval).where(
                approval.c.model_id == model.id, approval.c.version == version.version
            )
        )
        self.connection.execute(sa.delete(_tag).where(_tag.c.version_id == version.id))
        self.connection.execute(sa.delete(_version).where(_version.c.id == version.id))
        self._update_model(model)
        self._emit_version(
            "model_version.deleted",
            model,
            version.version,
            {"source": version.source, "run_id": version.run_uuid, "aliases": aliases},
        )
        return Empty()

    def transition_model_version_stage(
        self, request: TransitionModelVersionStage
    ) -> ModelVersionResponse:
        check_model_name(request.name)
        version_number(request.version, request.name)
        stage = stage_number(request.stage)
        if request.archive_existing_versions and STAGES[stage] not in ACTIVE_STAGES:
            raise InvalidParameter(
                "Model version transition cannot archive existing model versions because "
                f"'{request.stage}' is not an Active stage. Valid stages are {', '.join(ACTIVE_STAGES)}."
            )
        model, version = self._model_version(request.name, request.version, lock=True)
        if request.archive_existing_versions:
            there = self.connection.execute(
                sa.select(_version)
                .where(
                    _version.c.model_id == model.id,
                    _version.c.stage == stage,
                    _version.c.id != version.id,
                )
                .order_by(_version.c.version)
            ).all()
            for other in there:
                self._move_stage(model, other, _ARCHIVED)
        row = self._move_stage(model, version, stage)
        self._update_model(model)
        return self._version_response(model, row)

    def _move_stage(self, model: Any, version: Any, stage: int) -> Any:
        row = self._change_version(version, stage=stage)
        if stage != version.stage:
            self._emit_version(
                "model_version.stage.changed",
                model,
                version.version,
                {"before": STAGES[version.stage], "after": STAGES[stage]},
            )
        return row

    def set_model_version_tag(self, request: SetModelVersionTag) -> Empty:
        check_model_name(request.name)
        check_tag(request.key, request.value)
        model, version = self._model_version(request.name, request.version, lock=True)
        where = (_tag.c.version_id == version.id) & (_tag.c.key == request.key)
        before = self.connection.execute(sa.select(_tag.c.value).where(where)).scalar()
        if before == request.value:
            return Empty()
        statement = self.insert(_tag).values(
            version_id=version.id, key=request.key, value=request.value
        )
        self.connection.execute(
            statement.on_conflict_do_update(
                index_elements=[_tag.c.version_id, _tag.c.key],
                set_={"value": statement.excluded.value},
            )
        )
        self._emit_version(
            "model_version.tag.set",
            model,
            version.version,
            tag_change(request.key, before, request.value),
        )
        return Empty()

    def delete_model_version_tag(self, request: DeleteModelVersionTag) -> Empty:
        check_key(request.key, "tag")
        model, version = self._model_version(request.name, request.version, lock=True)
        before = self.connection.execute(
            sa.delete(_tag)
            .where(_tag.c.version_id == version.id, _tag.c.key == request.key)
            .returning(_tag.c.value)
        ).scalar()
        if before is not None:
            self._emit_version(
                "model_version.tag.deleted",
                model,
                version.version,
                tag_change(request.key, before),
            )
        return Empty()

    def _change_version(self, version: Any, **values: Any) -> Any:
        """Change columns of a version, and note when; its row as it is now."""
        return self.connection.execute(
            sa.update(_version)
            .where(_version.c.id == version.id)
            .values(last_update_time=self.now, **values)
            .returning(*_version.c)
        ).one()

    def _version_response(self, model: Any, row: Any) -> ModelVersionResponse:
        found = version_entities(self, [row], {model.id: model.name})
        return ModelVersionResponse(model_version=found[0])
