"""Logged models: declarations. Only what clients ask for beside runs; the rest comes with the models."""

from __future__ import annotations

from typing import Any

from headrace.protocol.limits import Int64
from headrace.protocol.operation import Interface, Request, Response, operation


class SearchLoggedModels(Request, frozen=True, kw_only=True):
    """Fields as in MLflow's protocol; there is nothing yet that they could choose from."""

    experiment_ids: tuple[str, ...] = ()
    filter: str = ""
    datasets: tuple[dict[str, Any], ...] = ()
    max_results: Int64 = 50
    order_by: tuple[dict[str, Any], ...] = ()
    page_token: str = ""


class LoggedModelsPage(Response, frozen=True, kw_only=True):
    """No model has been logged, so the page is empty."""

    next_page_token: str = ""


class LoggedModels(Interface):
    """Models that runs logged."""

    @operation("POST", "/mlflow/logged-models/search", permission="run:read", reads=True)
    def search_logged_models(self, request: SearchLoggedModels) -> LoggedModelsPage:
        """Search logged models: stock clients do so before they list or load a run's artifacts."""
        raise NotImplementedError
