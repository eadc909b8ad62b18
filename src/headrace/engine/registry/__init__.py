"""The model registry: registered models, versions, aliases with history and guards, lineage, searches.

docs/internals/registry.md tells what holds it together.
"""
