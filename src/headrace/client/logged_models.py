"""Logged models: their life, their params and tags, their files, and finding them."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.client.experiments import listed
from headrace.client.files import FileCalls
from headrace.client.paging import PagedList
from headrace.client.values import pairs
from headrace.entities import FileInfo, LoggedModel, LoggedModelState, LoggedModelStatus
from headrace.errors import InvalidParameter
from headrace.protocol.logged_models import LoggedModels

if TYPE_CHECKING:
    from headrace.artifacts import ArtifactStore


class LoggedModelCalls(FileCalls):
    """Models of an experiment, each with its own artifacts."""

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        model_type: str | None = None,
    ) -> LoggedModel:
        """Create a logged model, with status PENDING and no files.

        Args:
            experiment_id: Of an active experiment.
            name: Without any of ``/ : . % " '``; default: a random one.
            source_run_id: The run that made it.
            tags: Values are taken as text.
            params: Values are taken as text.
            model_type: A word for this kind of model, to find it by.
        """
        model: LoggedModel = self._call(
            LoggedModels.create_logged_model,
            experiment_id=str(experiment_id),
            name=name,
            source_run_id=source_run_id,
            tags=pairs(tags),
            params=pairs(params),
            model_type=model_type,
        ).model
        return model

    def get_logged_model(self, model_id: str, allow_deleted: bool = False) -> LoggedModel:
        """A logged model with params, tags and all that was logged about it.

        Raises:
            NotFound: There is none of that id, or it is deleted and ``allow_deleted`` is not set.
        """
        model: LoggedModel = self._call(
            LoggedModels.get_logged_model, model_id=model_id, allow_deleted=allow_deleted or None
        ).model
        return model

    def finalize_logged_model(
        self, model_id: str, status: LoggedModelStatus | str, digest: str | None = None
    ) -> LoggedModel:
        """Say how logging a model went.

        Args:
            model_id: The model.
            status: READY or FAILED.
            digest: ``sha256:…`` of its folder; it can be given once.

        Raises:
            InvalidParameter: Another status, or the model has another digest.
        """
        try:
            state = LoggedModelState[str(status)]
        except KeyError:
            raise InvalidParameter(
                f"Invalid status '{str(status)[:100]}' of a logged model: give READY or FAILED."
            ) from None
        model: LoggedModel = self._call(
            LoggedModels.finalize_logged_model, model_id=model_id, status=state, digest=digest
        ).model
        return model

    def delete_logged_model(self, model_id: str) -> None:
        """Put a logged model into the trash; its files stay until it is purged."""
        self._call(LoggedModels.delete_logged_model, model_id=model_id)

    def restore_logged_model(self, model_id: str) -> None:
        """Take a logged model out of the trash."""
        self._call(LoggedModels.restore_logged_model, model_id=model_id)

    def set_logged_model_tags(self, model_id: str, tags: Mapping[str, Any]) -> None:
        """Set tags, their values as text."""
        self._call(LoggedModels.set_logged_model_tags, model_id=model_id, tags=pairs(tags))

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        """Delete a tag.

        Raises:
            NotFound: The model has no such tag.
        """
        self._call(LoggedModels.delete_logged_model_tag, model_id=model_id, tag_key=key)

    def log_model_params(self, model_id: str, params: Mapping[str, Any]) -> None:
        """Log params of a model, their values as text.

        Raises:
            InvalidParameter: The model has one of them with another value.
        """
        self._call(LoggedModels.log_logged_model_params, model_id=model_id, params=pairs(params))

    def search_logged_models(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None = None,
        datasets: Sequence[Mapping[str, Any]] | None = None,
        max_results: int | None = None,
        order_by: Sequence[Mapping[str, Any]] | None = None,
        page_token: str | None = None,
    ) -> PagedList[LoggedModel]:
        """One page of models, newest first unless ordered.

        Args:
            experiment_ids: Where to look; unknown ids are ignored.
            filter_string: ``metrics.acc > 0.9 AND params.kind = 'tree' AND name = 'm'``.
            datasets: ``[{"dataset_name": …, "dataset_digest": …}]``: metrics count on these only; the
                digest may be left out.
            max_results: Size of the page, 1 to 50,000; default 50.
            order_by: ``[{"field_name": "metrics.acc", "ascending": False}]``, maybe with ``dataset_name``
                and ``dataset_digest``.
            page_token: ``token`` of the page before.

        Raises:
            InvalidParameter: A filter or order that cannot be.
        """
        page = self._call(
            LoggedModels.search_logged_models,
            experiment_ids=listed(experiment_ids),
            filter=filter_string,
            datasets=[_given(one) for one in datasets or ()],
            max_results=max_results,
            order_by=[_given(one) for one in order_by or ()],
            page_token=page_token,
        )
        return PagedList(page.models, page.next_page_token)

    def log_model_artifact(
        self,
        model_id: str,
        local_path: str | os.PathLike[str],
        artifact_path: str | None = None,
    ) -> None:
        """Copy a local file into a model's artifacts; a folder with all in it, under its name.

        Args:
            model_id: The model.
            local_path: What to copy.
            artifact_path: Folder to copy into; default the root.

        Raises:
            FileNotFoundError: No such file here.
        """
        from headrace.client import transfer  # lazily: metrics need no object stores

        path = Path(local_path)
        place = posixpath.join(artifact_path or "", path.resolve().name)
        copy = transfer.upload_dir if path.is_dir() else transfer.upload
        copy(self.artifacts_of_model(model_id), path, place)

    def log_model_artifacts(
        self, model_id: str, local_dir: str | os.PathLike[str], artifact_path: str | None = None
    ) -> None:
        """Copy what is in a local folder, at any depth, into a model's artifacts.

        Raises:
            NotADirectoryError: No such folder here.
        """
        from headrace.client import transfer

        transfer.upload_dir(self.artifacts_of_model(model_id), local_dir, artifact_path or "")

    def list_logged_model_artifacts(self, model_id: str, path: str | None = None) -> list[FileInfo]:
        """The direct children of a folder of a model's artifacts; none when it is not there."""
        return self.artifacts_of_model(model_id).list(path or "")

    def artifacts_of_model(self, model_id: str) -> ArtifactStore:
        """The store of a model's artifacts, for reading and writing them directly."""
        return self.artifacts_at(self.get_logged_model(model_id).artifact_location)


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}
