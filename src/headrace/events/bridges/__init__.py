"""Bridges: the event log, published to message brokers.

`headrace.events.bridges.bridge` reads the log and knows no broker; each broker is one `Publisher` in a file
of its own. docs/bridges.md says how to write one.
"""
