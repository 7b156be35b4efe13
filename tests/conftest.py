"""Reproducible property tests. What tests are made of is in ``factories.py`` and ``tiny_models.py``."""

from __future__ import annotations

from hypothesis import settings

# Examples are the same on every run and machine, and a slow machine is no failure.
settings.register_profile("repository", deadline=None, derandomize=True, database=None)
settings.load_profile("repository")
