"""Performance claims, each measurable side by side with MLflow: ``python -m benchmarks --help``."""
