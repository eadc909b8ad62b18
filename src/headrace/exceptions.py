"""``mlflow.exceptions`` under its name: the errors of `headrace.errors`."""

from headrace.errors import HeadraceError
from headrace.errors import HeadraceError as MlflowException

__all__ = ["HeadraceError", "MlflowException"]
