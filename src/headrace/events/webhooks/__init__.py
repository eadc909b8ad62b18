"""Delivering events to webhooks: the job of one process per store.

docs/internals/webhooks.md tells how.
"""
