"""One small file per ML library; found by entry points of the group ``headrace.flavors``."""
