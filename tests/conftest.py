"""What all tests share: reproducible property tests and a source of small random splats."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import settings

from diffgs_diffusers.gaussians import GaussianSplats

# Examples are the same on every run and machine, and a slow machine is no failure.
settings.register_profile("repository", deadline=None, derandomize=True, database=None)
settings.load_profile("repository")


@pytest.fixture
def make_splats() -> Callable[..., GaussianSplats]:
    """A function (count, sh_degree=0, seed=0) -> random splats that fill the unit box."""

    def make(count: int, sh_degree: int = 0, seed: int = 0) -> GaussianSplats:
        generator = torch.Generator().manual_seed(seed)

        def uniform(*shape: int) -> torch.Tensor:
            return torch.rand(*shape, generator=generator)

        quats = torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=-1)
        return GaussianSplats(
            means=uniform(count, 3) - 0.5,
            quats=quats,
            scales=0.01 + 0.05 * uniform(count, 3),
            opacities=uniform(count),
            sh0=uniform(count, 1, 3) - 0.5,
            shN=0.2 * (uniform(count, (sh_degree + 1) ** 2 - 1, 3) - 0.5),
        )

    return make
