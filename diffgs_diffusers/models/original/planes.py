"""Where the original puts points on its planes, and how it reads them.

It differs from :mod:`diffgs_diffusers.functional.triplane` in two ways that its weights have got used to: the box
is a little wider, and features are written to cells but read between cell corners, up to half a cell beside.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...functional.triplane import PLANE_AXES

_MARGIN = 1e-5  # keeps coordinates below 1


def plane_coordinates(points: Tensor, padding: float) -> Tensor:
    """Projections of points onto the three planes.

    Args:
        points: [B, M, 3], object frame.
        padding: how far the planes reach beyond the unit box, as a fraction of its side.

    Returns:
        [B, 3, M, 2] (column, row) in [0, 1); points outside the planes' box are moved to its border.
    """
    unit = points / (1 + padding + _MARGIN) + 0.5
    unit = torch.where(unit >= 1, 1 - _MARGIN, unit.clamp(min=0))
    return torch.stack([unit[..., list(axes)] for axes in PLANE_AXES], dim=1)


def cell_indices(points: Tensor, resolution: int, padding: float) -> Tensor:
    """Row-major index of the cell that each point falls into, [B, 3, M] int64 in [0, R²)."""
    cells = (plane_coordinates(points, padding) * resolution).long()
    return cells[..., 0] + resolution * cells[..., 1]


def scatter_max(features: Tensor, indices: Tensor, num_cells: int) -> Tensor:
    """Greatest value of each feature in every cell of every plane; empty cells are 0.

    Args:
        features: [B, M, C], shared by the planes.
        indices: [B, 3, M] from :func:`cell_indices`.
        num_cells: R².

    Returns:
        [B, 3, R², C].
    """
    batch, num_points, channels = features.shape
    values = features[:, None].expand(batch, 3, num_points, channels)
    cells = features.new_zeros(batch, 3, num_cells, channels)
    return cells.scatter_reduce(2, indices[..., None].expand_as(values), values, "amax", include_self=False)


def summed_features(planes: Tensor, points: Tensor, padding: float) -> Tensor:
    """The sum over the planes of their bilinear features at points.

    Args:
        planes: [B, 3, C, R, R].
        points: [B, M, 3], object frame.
        padding: as in :func:`plane_coordinates`.

    Returns:
        [B, M, C] in the dtype of the planes.
    """
    grid = plane_coordinates(points.float(), padding).flatten(0, 1)[:, None] * 2 - 1
    sampled = torch.nn.functional.grid_sample(
        planes.flatten(0, 1).float(), grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    return sampled[:, :, 0].unflatten(0, planes.shape[:2]).sum(dim=1).transpose(1, 2).to(planes.dtype)
