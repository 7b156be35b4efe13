"""Objects of known shape and colour, made of a few hundred Gaussians."""

from __future__ import annotations

import numpy as np
import torch

from diffgs_diffusers.functional.spherical_harmonics import SH_C0
from diffgs_diffusers.gaussians import GaussianSplats


def colored(means: np.ndarray, rgb: np.ndarray | tuple[float, ...], scale: float = 0.02) -> GaussianSplats:
    """Round opaque Gaussians at [N, 3] means with sRGB colours [3] or [N, 3] in [0, 1]."""
    count = len(means)
    colors = torch.from_numpy(np.broadcast_to(np.asarray(rgb, np.float32), (count, 3)).copy())
    return GaussianSplats(
        means=torch.from_numpy(np.asarray(means, np.float32)),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(count, 1),
        scales=torch.full((count, 3), scale),
        opacities=torch.full((count,), 0.95),
        sh0=((colors - 0.5) / SH_C0)[:, None],
    )


def sphere_points(count: int = 600, radius: float = 0.4) -> np.ndarray:
    """[count, 3] even points on a sphere (golden spiral)."""
    index = np.arange(count) + 0.5
    height = 1 - 2 * index / count
    angle = np.pi * (1 + 5**0.5) * index
    ring = np.sqrt(1 - height**2)
    return radius * np.stack([ring * np.cos(angle), height, ring * np.sin(angle)], axis=1)


def box_points(sides: tuple[float, float, float], step: float = 0.035) -> np.ndarray:
    """[N, 3] a grid over the volume of a box about the origin."""
    axes = [np.arange(-side / 2, side / 2 + 1e-6, step) for side in sides]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def shaded(rgb: tuple[float, float, float], means: np.ndarray) -> np.ndarray:
    """[N, 3] a colour under light from above: between 65 % and 100 % of it."""
    height = (means[:, 1] - means[:, 1].min()) / max(np.ptp(means[:, 1]), 1e-6)
    return np.asarray(rgb)[None] * (1.0 - 0.35 * height)[:, None]
