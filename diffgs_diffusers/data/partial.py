"""Parts of objects, as they are left when something is missing: what completion is trained and measured on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..gaussians import GaussianSplats

LEAST_SHARE = 0.02  # of the Gaussians: a chunk that is empty but for a corner says nothing
CELL_TOLERANCE = 4  # a surface that is seen as obliquely as this, in cells of depth a cell, hides nothing of itself


def one_chunk(splats: GaussianSplats, generator: np.random.Generator) -> Tensor:
    """One of the eight chunks that the middle of the bounding box makes (DiffGS, section 4.3).

    Args:
        splats: N Gaussians.
        generator: draws the chunk, among those that hold at least a fiftieth of the object.

    Returns:
        [N] bool, True for what is left.
    """
    low, high = splats.means.amin(dim=0), splats.means.amax(dim=0)
    octant = ((splats.means > (low + high) / 2) * torch.tensor([1, 2, 4], device=splats.device)).sum(dim=1)
    counts = torch.bincount(octant, minlength=8)
    filled = torch.nonzero(counts >= LEAST_SHARE * len(splats))[:, 0]
    return octant == filled[int(generator.integers(len(filled)))]


def half_space(splats: GaussianSplats, generator: np.random.Generator) -> Tensor:
    """What lies on one side of a random plane: an eighth to three quarters of the Gaussians; [N] bool."""
    direction = torch.from_numpy(generator.standard_normal(3)).to(splats.means)
    heights = splats.means @ direction
    return heights <= torch.quantile(heights, float(generator.uniform(0.125, 0.75)))


def seen_from_one_side(splats: GaussianSplats, generator: np.random.Generator) -> Tensor:
    """What a scan from a random direction, not from below, finds: the Gaussians that nothing hides; [N] bool.

    Seen from infinitely far away, in a view of so many cells that neighbours on a closed surface fall into
    neighbouring ones; a Gaussian is hidden if another in its cell, or in one beside it, is clearly nearer.
    """
    toward = generator.standard_normal(3)
    toward[1] = -abs(toward[1])  # the world's up is −y
    toward /= np.linalg.norm(toward)
    across = np.linalg.svd(toward[None])[2][1:]
    means = splats.means.detach().cpu().numpy().astype(np.float64)
    plane, depth = means @ across.T, means @ -toward
    cells = max(4, round(0.5 * len(means) ** 0.5))
    side = np.ptp(plane, axis=0).max() / cells + 1e-9
    row, column = ((plane - plane.min(axis=0)) / side).astype(np.int64).T + 1
    nearest = np.full((cells + 3, cells + 3), np.inf)
    np.minimum.at(nearest, (row, column), depth)
    around = [nearest[row + i, column + j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return torch.from_numpy(depth <= np.minimum.reduce(around) + CELL_TOLERANCE * side).to(splats.device)


CUTS: dict[str, Callable[[GaussianSplats, np.random.Generator], Tensor]] = {
    "chunk": one_chunk,
    "half_space": half_space,
    "one_side": seen_from_one_side,
}


def random_part(splats: GaussianSplats, generator: np.random.Generator) -> GaussianSplats:
    """A part of an object, cut in one of the ways of ``CUTS``; never empty."""
    cut = CUTS[list(CUTS)[int(generator.integers(len(CUTS)))]]
    return splats.select(cut(splats, generator))
