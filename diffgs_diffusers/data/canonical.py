"""One way of writing each Gaussian: a covariance has 24 rotations and axis orders that mean the same."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..functional.quaternions import matrices_to_quaternions, quaternions_to_matrices
from ..gaussians import GaussianSplats


def canonicalize(splats: GaussianSplats) -> GaussianSplats:
    """The same Gaussians with scales in falling order and w ≥ 0, so that the third axis is the normal.

    Args:
        splats: N Gaussians.
    """
    scales, order = splats.scales.sort(dim=-1, descending=True)
    matrices = quaternions_to_matrices(splats.quats).gather(2, order[:, None, :].expand(-1, 3, -1))
    # a swap of axes mirrors; turning one axis round makes it a rotation again
    handedness = torch.linalg.det(matrices).sign()[:, None]
    matrices = torch.cat([matrices[..., :2], matrices[..., 2:] * handedness[..., None]], dim=2)
    return replace(splats, quats=matrices_to_quaternions(matrices), scales=scales)
