"""Three axis-aligned feature planes: points to cells, cells to features, and planes to a 1-D sequence.

A plane set is [B, 3, C, R, R] in the order xz, xy, yz (DiffGS); of each pair the first coordinate runs along the
columns, the second along the rows. Planes cover the box [-(1 + padding) / 2, (1 + padding) / 2]³.
"""

from __future__ import annotations

import torch
from torch import Tensor

PLANE_AXES = ((0, 2), (0, 1), (1, 2))
NORMAL_AXES = (1, 2, 0)
DEFAULT_PADDING = 0.1


def plane_coordinates(points: Tensor, padding: float = DEFAULT_PADDING) -> Tensor:
    """Projections of points onto the three planes.

    Args:
        points: [B, M, 3], object frame.
        padding: how far the planes reach beyond the unit box, as a fraction of its side.

    Returns:
        [B, 3, M, 2] (column, row) in [0, 1]; points outside the planes' box are moved to its border.
    """
    unit = (points / (1 + padding) + 0.5).clamp(0, 1)
    return torch.stack([unit[..., list(axes)] for axes in PLANE_AXES], dim=1)


def cell_indices(points: Tensor, resolution: int, padding: float = DEFAULT_PADDING) -> Tensor:
    """Row-major index of the cell that each point falls into, [B, 3, M] int64 in [0, R²)."""
    cells = (plane_coordinates(points, padding) * resolution).long().clamp(max=resolution - 1)
    return cells[..., 0] + resolution * cells[..., 1]


def scatter_mean(features: Tensor, indices: Tensor, num_cells: int) -> Tensor:
    """Mean of the features in every cell of every plane; empty cells are 0.

    Args:
        features: [B, M, C], shared by the planes.
        indices: [B, 3, M] from :func:`cell_indices`.
        num_cells: R².

    Returns:
        [B, 3, R², C] float32: sums of many bfloat16 values would lose their small terms.
    """
    batch, num_points, channels = features.shape
    offsets = torch.arange(batch * 3, device=features.device).view(batch, 3, 1) * num_cells
    flat = (indices + offsets).reshape(-1)
    values = features.float()[:, None].expand(batch, 3, num_points, channels).reshape(-1, channels)
    sums = values.new_zeros(batch * 3 * num_cells, channels).index_add(0, flat, values)
    counts = values.new_zeros(batch * 3 * num_cells).index_add(0, flat, values.new_ones(flat.shape[0]))
    return (sums / counts.clamp(min=1)[:, None]).view(batch, 3, num_cells, channels)


def depth_occupancy(points: Tensor, indices: Tensor, num_cells: int, num_bins: int, padding: float) -> Tensor:
    """Where along a plane's normal the points of each cell lie.

    Every point is shared out between the two nearest of ``num_bins`` bins across the planes' box.

    Args:
        points: [B, M, 3], object frame.
        indices: [B, 3, M] from :func:`cell_indices`.
        num_cells: R².
        num_bins: bins along the normal, at least 2.
        padding: as in :func:`plane_coordinates`.

    Returns:
        [B, 3, R², num_bins] float32 in [0, 1): 1 - exp(-n) for a bin that holds n points.
    """
    batch = points.shape[0]
    unit = (points.float() / (1 + padding) + 0.5).clamp(0, 1)[..., list(NORMAL_AXES)].transpose(1, 2)
    depth = unit * (num_bins - 1)
    lower = depth.long().clamp(max=num_bins - 2)
    upper_share = depth - lower
    offsets = torch.arange(batch * 3, device=points.device).view(batch, 3, 1) * num_cells
    flat = (indices + offsets) * num_bins + lower
    counts = points.new_zeros(batch * 3 * num_cells * num_bins, dtype=torch.float32)
    counts.index_add_(0, flat.reshape(-1), (1 - upper_share).reshape(-1))
    counts.index_add_(0, flat.reshape(-1) + 1, upper_share.reshape(-1))
    return -torch.expm1(-counts).view(batch, 3, num_cells, num_bins)


def gather_cells(cells: Tensor, indices: Tensor) -> Tensor:
    """Sum over the planes of the features of each point's cell.

    Args:
        cells: [B, 3, R², C].
        indices: [B, 3, M].

    Returns:
        [B, M, C].
    """
    batch, _, num_cells, channels = cells.shape
    offsets = torch.arange(batch * 3, device=cells.device).view(batch, 3, 1) * num_cells
    rows = cells.reshape(-1, channels).index_select(0, (indices + offsets).reshape(-1))
    return rows.view(batch, 3, -1, channels).sum(dim=1)


def sample_planes(planes: Tensor, points: Tensor, padding: float = DEFAULT_PADDING) -> Tensor:
    """Bilinear features of points on each plane.

    Args:
        planes: [B, 3, C, R, R].
        points: [B, M, 3], object frame.
        padding: as in :func:`plane_coordinates`.

    Returns:
        [B, 3, M, C] in the dtype of the planes. Cell centres lie at (i + 0.5) / R, so that a point's own cell in
        :func:`cell_indices` is where it is looked up again.
    """
    batch, num_planes = planes.shape[:2]
    grid = plane_coordinates(points.float(), padding).flatten(0, 1)[:, None] * 2 - 1
    # In float32: half-precision coordinates would round points by more than a Gaussian's size.
    sampled = torch.nn.functional.grid_sample(
        planes.flatten(0, 1).float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[:, :, 0].transpose(1, 2).unflatten(0, (batch, num_planes)).to(planes.dtype)


def morton_order(resolution: int) -> Tensor:
    """Row-major indices [R²] of a plane's cells along the Z-order curve.

    Neighbours on the curve are neighbours on the plane, so that the convolutions of a 1-D U-Net see patches, and
    each halving of the sequence merges cells of one square.

    Raises:
        ValueError: if the resolution is not a power of two.
    """
    bits = resolution.bit_length() - 1
    if resolution != 1 << bits:
        raise ValueError(f"Z-order needs a power of two as resolution, got {resolution}.")
    code = torch.arange(resolution * resolution)
    column, row = torch.zeros_like(code), torch.zeros_like(code)
    for bit in range(bits):
        column |= ((code >> (2 * bit)) & 1) << bit
        row |= ((code >> (2 * bit + 1)) & 1) << bit
    return row * resolution + column


def planes_to_sequence(planes: Tensor) -> Tensor:
    """[B, 3, C, R, R] as a sequence [B, C, 3·R²]: plane after plane, each along the Z-order curve."""
    order = morton_order(planes.shape[-1]).to(planes.device)
    return planes.flatten(3)[..., order].transpose(1, 2).flatten(2)


def sequence_to_planes(sequence: Tensor, resolution: int) -> Tensor:
    """Inverse of :func:`planes_to_sequence`."""
    inverse = torch.argsort(morton_order(resolution)).to(sequence.device)
    planes = sequence.unflatten(2, (3, resolution * resolution)).transpose(1, 2)
    return planes[..., inverse].unflatten(3, (resolution, resolution))
