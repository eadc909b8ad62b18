"""All operations of the registry together."""

from __future__ import annotations

from headrace.engine.registry.aliases import AliasOperations
from headrace.engine.registry.lineage import LineageOperations
from headrace.engine.registry.model_versions import ModelVersionOperations
from headrace.engine.registry.registered_models import RegisteredModelOperations
from headrace.engine.registry.search import RegistrySearch


class RegistryOperations(
    RegisteredModelOperations,
    ModelVersionOperations,
    AliasOperations,
    RegistrySearch,
    LineageOperations,
):
    """The registry's operations."""
