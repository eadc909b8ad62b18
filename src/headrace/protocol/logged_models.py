"""Logged models: declarations."""

from __future__ import annotations

from headrace.entities import KeyValue, LoggedModel, LoggedModelState
from headrace.protocol.limits import Int64, Required
from headrace.protocol.operation import (
    NATIVE_PREFIXES,
    Empty,
    Interface,
    Request,
    Response,
    operation,
)

#: Models of one page, unless the request says otherwise.
PAGE = 50


class CreateLoggedModel(Request, frozen=True, kw_only=True):
    """``name`` defaults to a random one. ``source_run_id`` need not be the id of a run that is there."""

    experiment_id: Required
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: tuple[KeyValue, ...] = ()
    tags: tuple[KeyValue, ...] = ()


class LoggedModelResponse(Response, frozen=True, kw_only=True):
    model: LoggedModel


class LoggedModelId(Request, frozen=True, kw_only=True):
    model_id: Required


class GetLoggedModel(Request, frozen=True, kw_only=True):
    """``allow_deleted``: give a model that is in the trash, too."""

    model_id: Required
    allow_deleted: bool = False


class FinalizeLoggedModel(Request, frozen=True, kw_only=True):
    """``digest``, which MLflow does not have: ``sha256:`` and 64 hexadecimal digits, of the model's folder."""

    model_id: Required
    status: LoggedModelState
    digest: str = ""


class SetLoggedModelTags(Request, frozen=True, kw_only=True):
    model_id: Required
    tags: tuple[KeyValue, ...] = ()


class DeleteLoggedModelTag(Request, frozen=True, kw_only=True):
    model_id: Required
    tag_key: Required


class LogLoggedModelParams(Request, frozen=True, kw_only=True):
    model_id: Required
    params: tuple[KeyValue, ...] = ()


class DatasetChoice(Request, frozen=True, kw_only=True):
    """A data set on which metrics were taken: any of that name, unless there is a digest."""

    dataset_name: str = ""
    dataset_digest: str = ""


class LoggedModelOrder(Request, frozen=True, kw_only=True):
    """What to order by: an attribute, or ``metrics.<key>``, the latter maybe on one data set."""

    field_name: str = ""
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


class SearchLoggedModels(Request, frozen=True, kw_only=True):
    """``max_results`` is at most 50,000; 0 means 50."""

    experiment_ids: tuple[str, ...] = ()
    filter: str = ""
    datasets: tuple[DatasetChoice, ...] = ()
    max_results: Int64 = PAGE
    order_by: tuple[LoggedModelOrder, ...] = ()
    page_token: str = ""


class LoggedModelsPage(Response, frozen=True, kw_only=True):
    models: tuple[LoggedModel, ...] = ()
    next_page_token: str = ""


class LoggedModels(Interface):
    """Models, each with its own artifacts at ``<the experiment's location>/models/<model_id>/artifacts``.

    Every method that takes a model id raises `NotFound` where there is none such. A deleted model can be
    written to until it is purged, as in MLflow; so can one whose experiment is deleted.
    """

    @operation("POST", "/mlflow/logged-models", permission="run:create")
    def create_logged_model(self, request: CreateLoggedModel) -> LoggedModelResponse:
        """Create a logged model, with status PENDING.

        Raises:
            InvalidParameter: A name with one of ``/ : . % " '``, a param twice, or a deleted experiment.
            NotFound: The experiment does not exist.
        """
        raise NotImplementedError

    @operation("GET", "/mlflow/logged-models/{model_id}", permission="run:read", reads=True)
    def get_logged_model(self, request: GetLoggedModel) -> LoggedModelResponse:
        """Get a logged model with params, tags and all metric points.

        Raises:
            NotFound: There is none, or it is deleted and ``allow_deleted`` is not set.
        """
        raise NotImplementedError

    @operation("PATCH", "/mlflow/logged-models/{model_id}", permission="run:edit")
    def finalize_logged_model(self, request: FinalizeLoggedModel) -> LoggedModelResponse:
        """Say how logging a model went: READY or FAILED.

        Raises:
            InvalidParameter: The model has another digest.
        """
        raise NotImplementedError

    @operation("DELETE", "/mlflow/logged-models/{model_id}", permission="run:delete")
    def delete_logged_model(self, request: LoggedModelId) -> Empty:
        """Put a model into the trash. Deleting a deleted one is allowed and changes nothing."""
        raise NotImplementedError

    @operation(
        "POST",
        "/logged-models/{model_id}/restore",
        permission="run:delete",
        prefixes=NATIVE_PREFIXES,
    )
    def restore_logged_model(self, request: LoggedModelId) -> Empty:
        """Take a model out of the trash. Restoring an active one is allowed and changes nothing."""
        raise NotImplementedError

    @operation("PATCH", "/mlflow/logged-models/{model_id}/tags", permission="run:edit")
    def set_logged_model_tags(self, request: SetLoggedModelTags) -> Empty:
        """Set tags; of equal keys the last wins."""
        raise NotImplementedError

    @operation(
        "DELETE", "/mlflow/logged-models/{model_id}/tags/{tag_key:path}", permission="run:edit"
    )
    def delete_logged_model_tag(self, request: DeleteLoggedModelTag) -> Empty:
        """Delete a tag.

        Raises:
            NotFound: The model has no such tag.
        """
        raise NotImplementedError

    @operation("POST", "/mlflow/logged-models/{model_id}/params", permission="run:edit")
    def log_logged_model_params(self, request: LogLoggedModelParams) -> Empty:
        """Record params. The same value again changes nothing.

        Raises:
            InvalidParameter: The model has one of them with another value, or it is given twice.
        """
        raise NotImplementedError

    @operation("POST", "/mlflow/logged-models/search", permission="run:read", reads=True)
    def search_logged_models(self, request: SearchLoggedModels) -> LoggedModelsPage:
        """Search the models of some experiments; unknown experiment ids are ignored.

        A comparison of a metric holds when any point of it does, on one of the ``datasets`` if some are
        given. With data sets and no metric in the filter, models are found that have any metric on them.
        Newest first unless ordered; a metric is ordered by its latest point (time, then step).

        Raises:
            InvalidParameter: No experiment ids, a filter or order that cannot be, a page token that is not
                from this search.
        """
        raise NotImplementedError
