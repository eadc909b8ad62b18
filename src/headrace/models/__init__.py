"""Models: one folder that any tool can open, and that is safe to open."""
