"""Small real objects that tests are made of."""

from __future__ import annotations

import numpy as np
import torch

from diffgs_diffusers.functional.quaternions import matrices_to_quaternions
from diffgs_diffusers.functional.spherical_harmonics import rgb_to_sh0
from diffgs_diffusers.gaussians import GaussianSplats


def random_splats(count: int = 40, sh_degree: int = 0, seed: int = 0) -> GaussianSplats:
    """Gaussians without any structure, valid in every field."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return GaussianSplats(
        means=normal(count, 3) * 0.2,
        quats=torch.nn.functional.normalize(normal(count, 4), dim=-1),
        scales=(normal(count, 3) * 0.3 - 4).exp(),
        opacities=normal(count).sigmoid(),
        sh0=normal(count, 1, 3),
        shN=normal(count, (sh_degree + 1) ** 2 - 1, 3) * 0.2,
    )


def sphere_splats(
    count: int = 2000, radius: float = 0.4, rgb: tuple[float, float, float] = (0.8, 0.2, 0.1)
) -> GaussianSplats:
    """A closed sphere of flat, outward-facing Gaussians on a Fibonacci lattice."""
    index = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1 - 2 * index / count), np.pi * (1 + 5**0.5) * index
    normals = np.stack([np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], axis=1)
    tangents = np.stack([-np.sin(azimuth), np.cos(azimuth), np.zeros(count)], axis=1)
    rotations = np.stack([tangents, np.cross(normals, tangents), normals], axis=-1)
    spacing = radius * (4 * np.pi / count) ** 0.5
    return GaussianSplats(
        means=torch.tensor(normals * radius, dtype=torch.float32),
        quats=matrices_to_quaternions(torch.tensor(rotations, dtype=torch.float32)),
        scales=torch.tensor([0.5 * spacing, 0.5 * spacing, 0.05 * spacing]).repeat(count, 1),
        opacities=torch.full((count,), 0.95),
        sh0=rgb_to_sh0(torch.tensor(rgb)).expand(count, 1, 3).contiguous(),
    )


def painted_ball(color: tuple[float, float, float], stretch: tuple[float, float, float]) -> GaussianSplats:
    """An ellipsoid of 2,000 Gaussians, white on its right side, so that every azimuth looks different."""
    ball = sphere_splats(2000)
    rgb = torch.tensor(color).repeat(2000, 1)
    rgb[ball.means[:, 0] > 0.1] = 1.0
    rgb[(ball.means[:, 2] > 0.1) & (ball.means[:, 0] < 0)] *= 0.3
    means = ball.means * torch.tensor(stretch)
    return GaussianSplats(means, ball.quats, ball.scales, ball.opacities, rgb_to_sh0(rgb)[:, None], ball.shN)


def planes_and_points(
    batch: int, resolution: int, channels: int, padding: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Planes [B, 3, C, R, R], and points [B, 500, 3] in and beyond their box but not on the edge of a cell."""
    generator = torch.Generator().manual_seed(resolution * channels)
    planes = torch.randn(batch, 3, channels, resolution, resolution, generator=generator)
    cells = torch.randint(-1, resolution + 1, (batch, 500, 3), generator=generator)
    inside = cells + 0.5 + 0.05 + 0.9 * torch.rand(batch, 500, 3, generator=generator)
    return planes, (inside / resolution - 0.5) * (1 + padding)
