"""Rules: their storage, and their evaluation as a pure function of state, observations and time.

`headrace.events.rules` feeds it with what happens; `headrace.engine.rules.replay` with what happened.
docs/internals/rules.md tells how the parts work together.
"""
