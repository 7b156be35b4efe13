"""Octree search for the cells that a probability function marks as surface (DiffGS, section 3.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

CHILD_OFFSETS = torch.tensor([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])


@dataclass(frozen=True)
class Cells:
    """Cubic cells of one size.

    Args:
        centers: [M, 3].
        side: length of a cell's side.
    """

    centers: Tensor
    side: float


def surface_cells(
    probability: Callable[[Tensor], Tensor],
    *,
    half_side: float,
    start_resolution: int,
    depth: int,
    threshold: float,
    slope: float,
    device: torch.device | str | None = None,
) -> Cells:
    """The leaf cells in which the probability may reach ``threshold``.

    A cell is kept for its value and not for its rank: if the probability falls by at most ``slope`` per unit of
    length (1 / δ for GauPF), a cell whose centre lies more than half a diagonal's fall below the threshold holds
    no surface, whatever the shape's size. The number of cells asked follows the surface's area.

    Args:
        probability: maps points [M, 3] to values [M].
        half_side: the search box is [-half_side, half_side]³.
        start_resolution: cells along a side at the first level.
        depth: how often the kept cells are halved after it.
        threshold: least value at the surface.
        slope: greatest change of the probability per unit of length.
        device: where the centres are made.

    Returns:
        the kept cells of the last level, in a fixed order; none if nothing reaches the threshold.
    """
    side = 2 * half_side / start_resolution
    axis = (torch.arange(start_resolution, device=device) + 0.5) * side - half_side
    centers = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    for level in range(depth + 1):
        if level > 0:
            side /= 2
            children = CHILD_OFFSETS.to(centers) * side
            centers = (centers[:, None] + children).reshape(-1, 3)
        fall = slope * side * 3**0.5 / 2
        centers = centers[probability(centers) >= threshold - fall]
    return Cells(centers, side)
