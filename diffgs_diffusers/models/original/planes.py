"""Where the original puts points on its planes, and how it reads them.

It differs from :mod:`diffgs_diffusers.functional.triplane` in two ways that its weights have got used to: the box
is a little wider, and features are written to cells but read between cell corners, up to half a cell beside.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...functional.plane_lookup import plane_features
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


def read_padding(resolution: int, padding: float) -> float:
    """The padding with which others read what the original reads.

    It reads between the corners of cells: as if planes whose cells' centres lie there reached a little farther.
    """
    return (1 + padding + _MARGIN) * resolution / (resolution - 1) - 1


def summed_features(planes: Tensor, points: Tensor, padding: float) -> Tensor:
    """The sum over the planes of their bilinear features at points.

    Args:
        planes: [B, 3, C, R, R].
        points: [B, M, 3], object frame.
        padding: as in :func:`plane_coordinates`.

    Returns:
        [B, M, C] in the dtype of the planes.
    """
    side = 1 + padding + _MARGIN
    inside = torch.where(points >= side / 2, (0.5 - _MARGIN) * side, points)
    rows = plane_features(planes, inside, read_padding(planes.shape[-1], padding))
    return rows[..., :-3].unflatten(-1, (3, -1)).sum(dim=-2)
