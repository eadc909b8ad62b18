"""Looks into the files of a model without opening them as one: for the audit and the scan."""
