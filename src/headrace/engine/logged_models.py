"""Logged models, implemented as far as there are any."""

from __future__ import annotations

from headrace.engine.session import SessionBase
from headrace.protocol.logged_models import LoggedModels, LoggedModelsPage, SearchLoggedModels


class LoggedModelOperations(SessionBase, LoggedModels):
    """`LoggedModels`. Nothing creates one yet, so no search finds one."""

    def search_logged_models(self, request: SearchLoggedModels) -> LoggedModelsPage:
        return LoggedModelsPage()
