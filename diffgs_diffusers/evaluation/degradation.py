"""Making fitted objects look as imperfect as generated ones, so that judges do not lean on clean detail."""

from __future__ import annotations

import math

import numpy as np
import torch

from ..gaussians import GaussianSplats


def thinned(splats: GaussianSplats, num_gaussians: int, generator: np.random.Generator) -> GaussianSplats:
    """A random subset whose Gaussians grow by √(N / n), so that the surface stays closed.

    Args:
        splats: N Gaussians.
        num_gaussians: n ≥ 1; the object itself is returned when n ≥ N.
        generator: draws the subset.
    """
    total = len(splats)
    if num_gaussians >= total:
        return splats
    index = torch.from_numpy(np.sort(generator.permutation(total)[:num_gaussians]))
    part = splats.select(index)
    scales = part.scales * math.sqrt(total / num_gaussians)
    return GaussianSplats(part.means, part.quats, scales, part.opacities, part.sh0, part.shN)


def degraded(splats: GaussianSplats, generator: np.random.Generator, jitter: float = 0.008) -> GaussianSplats:
    """A thinned object with uncertain centres.

    Args:
        splats: a fitted object.
        generator: draws how much.
        jitter: greatest standard deviation of the offset of the centres, object units.
    """
    part = thinned(splats, int(len(splats) * generator.uniform(0.2, 1.0)), generator)
    sigma = generator.uniform(0.0, jitter)
    offsets = torch.from_numpy(generator.normal(0.0, sigma, tuple(part.means.shape)))
    means = part.means + offsets.to(part.means)
    return GaussianSplats(means, part.quats, part.scales, part.opacities, part.sh0, part.shN)
