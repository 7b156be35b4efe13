"""Measures this package beside named baselines: ``python -m benchmarks``, from a checkout of the repository."""
