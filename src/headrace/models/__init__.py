"""Models: one folder that any tool can open, and that is safe to open. docs/models.md is the guide.

The names are loaded on first use (PEP 562), for scripts and classes of models import this module.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it as true
if TYPE_CHECKING:
    from typing import Any

    from headrace.models.card import render_card as render_card
    from headrace.models.code_model import set_model as set_model
    from headrace.models.diff import diff_models as diff_models
    from headrace.models.evaluation import make_metric as make_metric
    from headrace.models.inference import infer_signature as infer_signature
    from headrace.models.loading import PyFuncModel as PyFuncModel
    from headrace.models.loading import load_folder as load_folder
    from headrace.models.logging import ModelInfo as ModelInfo
    from headrace.models.mlmodel import MLModel as MLModel
    from headrace.models.mlmodel import Model as Model
    from headrace.models.policy import Policy as Policy
    from headrace.models.python_model import PythonModel as PythonModel
    from headrace.models.saving import save_model as save_model
    from headrace.models.signature import ModelSignature as ModelSignature
    from headrace.tracking.evaluating import evaluate as evaluate
    from headrace.tracking.model_facts import get_model_info as get_model_info
    from headrace.tracking.model_facts import scan_model as scan_model
    from headrace.tracking.model_facts import set_signature as set_signature
    from headrace.tracking.models import load_model as load_model
    from headrace.tracking.models import log_model as log_model
    from headrace.tracking.models import register_model as register_model

#: Where each name is. What is in `headrace.tracking` knows the active run and the chosen store: people look for
#: it here, and nothing below calls it.
_MODULES = {
    "MLModel": "headrace.models.mlmodel",
    "Model": "headrace.models.mlmodel",
    "ModelInfo": "headrace.models.logging",
    "ModelSignature": "headrace.models.signature",
    "Policy": "headrace.models.policy",
    "PyFuncModel": "headrace.models.loading",
    "PythonModel": "headrace.models.python_model",
    "diff_models": "headrace.models.diff",
    "evaluate": "headrace.tracking.evaluating",
    "get_model_info": "headrace.tracking.model_facts",
    "infer_signature": "headrace.models.inference",
    "load_folder": "headrace.models.loading",
    "load_model": "headrace.tracking.models",
    "log_model": "headrace.tracking.models",
    "make_metric": "headrace.models.evaluation",
    "register_model": "headrace.tracking.models",
    "render_card": "headrace.models.card",
    "save_model": "headrace.models.saving",
    "scan_model": "headrace.tracking.model_facts",
    "set_model": "headrace.models.code_model",
    "set_signature": "headrace.tracking.model_facts",
}

if not TYPE_CHECKING:  # so that type checkers see the names above and no others

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            from headrace.absent import missing

            raise missing("headrace.models", name)
        import importlib

        value = getattr(importlib.import_module(_MODULES[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_MODULES})
