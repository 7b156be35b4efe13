"""Reproducible property tests. What tests are made of is in ``factories.py`` and ``tiny_models.py``."""

from __future__ import annotations

import pytest
from hypothesis import settings

# Examples are the same on every run and machine, and a slow machine is no failure.
settings.register_profile("repository", deadline=None, derandomize=True, database=None)
settings.load_profile("repository")


@pytest.fixture
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refinement by pictures of few Gaussians and pixels: a search for many takes seconds, even of a tiny model."""
    from diffgs_diffusers.training.objectives_pictures import PictureSampling

    small = PictureSampling(counts=(60, 300), size=24, num_views=1, num_followed=100)
    monkeypatch.setattr("diffgs_diffusers.latent_refinement._PICTURES", small)
