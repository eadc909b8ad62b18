"""Rules at work: what happens is shown to the evaluator, and what fires is carried out."""
