"""``mlflow.types.schema`` under its name."""

from headrace.types import *  # noqa: F403
from headrace.types import __all__ as __all__
