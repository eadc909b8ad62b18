"""Metric points as columns: written as batches, compacted to segments, read as one series.

docs/internals/metric-storage.md tells the whole mechanism.
"""
