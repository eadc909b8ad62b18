"""The event log: numbering, reading, and waking those who wait for more.

docs/internals/events.md tells how numbers come to be, and why a reader misses nothing.
"""
