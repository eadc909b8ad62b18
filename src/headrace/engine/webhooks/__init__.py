"""Webhooks in the database: what they are, their secrets, and the queue of their deliveries.

Who sends is `headrace.events.webhooks`. docs/internals/webhooks.md tells how the queue works.
"""
