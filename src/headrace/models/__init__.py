"""Models: one folder that any tool can open, and that is safe to open.

The names are loaded on first use (PEP 562), for scripts and classes of models import this module.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it as true
if TYPE_CHECKING:
    from typing import Any

    from headrace.models.code_model import set_model as set_model
    from headrace.models.loading import PyFuncModel as PyFuncModel
    from headrace.models.loading import load_folder as load_folder
    from headrace.models.policy import Policy as Policy
    from headrace.models.python_model import PythonModel as PythonModel
    from headrace.models.saving import save_model as save_model

_MODULES = {
    "Policy": "policy",
    "PyFuncModel": "loading",
    "PythonModel": "python_model",
    "load_folder": "loading",
    "save_model": "saving",
    "set_model": "code_model",
}

if not TYPE_CHECKING:  # so that type checkers see the names above and no others

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'headrace.models' has no attribute '{name}'")
        import importlib

        value = getattr(importlib.import_module(f"headrace.models.{_MODULES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_MODULES})
