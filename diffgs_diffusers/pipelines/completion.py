"""A partial object completed: its own Gaussians stay as they are, generated ones are added where it has none."""

from __future__ import annotations

import math

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..extraction import extract_gaussians
from ..functional.spacing import local_spacing
from ..gaussians import GaussianSplats
from ..models.base_vae import BaseGaussianVAE

PROBE = 8192  # Gaussians that tell which share of the object is missing
REACH = 1.0  # a Gaussian of the input covers its surroundings up to so many local spacings
_LEAST_SHARE = 0.02  # of the surface missing: below that, what is farthest from the input is added


def complete(
    vae: BaseGaussianVAE,
    planes: Tensor,
    partial: GaussianSplats,
    num_gaussians: int,
    *,
    generator: torch.Generator | None = None,
) -> GaussianSplats:
    """The Gaussians of ``partial``, bit by bit as they were, and after them those of the functions around it.

    Args:
        vae: whose heads read the planes.
        planes: [3, C, R, R] of the whole object.
        partial: M Gaussians on the CPU.
        num_gaussians: N > M in all.
        generator: draws the extraction's candidates.

    Returns:
        N Gaussians, those of the input first.

    Raises:
        EmptySurfaceError: if the functions describe no surface.
    """
    missing = num_gaussians - len(partial)
    known = partial.means.numpy()
    tree = cKDTree(known)
    covered = REACH * local_spacing(known, known, tree)
    seed = int(torch.randint(2**62, (1,), generator=generator))

    def distances(splats: GaussianSplats) -> Tensor:
        """How far each Gaussian lies from the input, in units of what it covers there."""
        found, nearest = tree.query(splats.means.cpu().numpy())
        return torch.from_numpy(found / covered[nearest])

    probe = extract_gaussians(vae, planes, min(PROBE, 4 * missing), generator=torch.Generator().manual_seed(seed))
    share = max(float((distances(probe) > 1).float().mean()), _LEAST_SHARE)
    whole = extract_gaussians(
        vae, planes, math.ceil(1.05 * missing / share), generator=torch.Generator().manual_seed(seed)
    )
    away = distances(whole)
    # The first ones of a progressive order are spread evenly; where too few are away, the farthest fill up.
    ranks = torch.where(away > 1, torch.arange(len(whole)).double(), len(whole) + 1 / (1e-9 + away.double()))
    chosen = ranks.argsort()[:missing].sort().values
    added = whole.select(chosen.to(whole.device)).to("cpu", torch.float32)
    return GaussianSplats.concatenate([partial, added])
