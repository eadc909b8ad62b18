"""Readers of the event log: webhooks, rules, bridges, and what else follows from events."""
