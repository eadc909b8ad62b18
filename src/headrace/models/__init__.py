"""Models: one folder that any tool can open, and that is safe to open.

Everything here is loaded on first use (PEP 562). docs/models.md is the guide.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.models.card import render_card as render_card
    from headrace.models.diff import diff_models as diff_models
    from headrace.models.inference import infer_signature as infer_signature
    from headrace.models.loading import PyFuncModel as PyFuncModel
    from headrace.models.logging import ModelInfo as ModelInfo
    from headrace.models.mlmodel import MLModel as MLModel
    from headrace.models.policy import Policy as Policy
    from headrace.models.python_model import PythonModel as PythonModel
    from headrace.models.python_model import PythonModelContext as PythonModelContext
    from headrace.models.python_model import set_model as set_model
    from headrace.models.saving import save_model as save_model
    from headrace.models.scan import scan as scan
    from headrace.models.signature import ModelSignature as ModelSignature
    from headrace.tracking.evaluating import evaluate as evaluate
    from headrace.tracking.models import load_model as load_model
    from headrace.tracking.models import log_model as log_model
    from headrace.tracking.models import register_model as register_model

#: Where each name is. Those of `headrace.tracking` know the active run and the chosen store: they are here because
#: people look for them here, and nothing below calls them.
_PLACES = {
    "MLModel": "headrace.models.mlmodel",
    "ModelInfo": "headrace.models.logging",
    "ModelSignature": "headrace.models.signature",
    "Policy": "headrace.models.policy",
    "PyFuncModel": "headrace.models.loading",
    "PythonModel": "headrace.models.python_model",
    "PythonModelContext": "headrace.models.python_model",
    "diff_models": "headrace.models.diff",
    "evaluate": "headrace.tracking.evaluating",
    "infer_signature": "headrace.models.inference",
    "load_model": "headrace.tracking.models",
    "log_model": "headrace.tracking.models",
    "register_model": "headrace.tracking.models",
    "render_card": "headrace.models.card",
    "save_model": "headrace.models.saving",
    "scan": "headrace.models.scan",
    "set_model": "headrace.models.python_model",
}

__all__ = sorted(_PLACES)

if not TYPE_CHECKING:  # so that type checkers see the names above and no others

    def __getattr__(name: str) -> Any:
        if name in _PLACES:
            return getattr(importlib.import_module(_PLACES[name]), name)
        raise AttributeError(f"module 'headrace.models' has no attribute '{name}'")
