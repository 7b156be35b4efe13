"""Singular value decomposition of many small matrices at once, by one-sided Jacobi rotations."""

from __future__ import annotations

import torch
from torch import Tensor

# Stretched frames begin with nearly orthogonal columns: two sweeps exhaust float32.
SWEEPS = 4


def left_singular_frames(matrices: Tensor, sweeps: int = SWEEPS) -> tuple[Tensor, Tensor]:
    """U and σ of M = U diag(σ) Vᵀ for 3×3 matrices of positive determinant.

    Pairs of columns are turned in their plane until all are orthogonal (Hestenes 1958): they are then U diag(σ). A
    few operations on whole columns replace one library call per matrix, and small σ keep their relative precision.

    Args:
        matrices: [N, 3, 3], determinant > 0.
        sweeps: passes over the three pairs of columns.

    Returns:
        U [N, 3, 3], rotations, and σ [N, 3] > 0, in no particular order.
    """
    columns = list(matrices.permute(2, 1, 0).contiguous().unbind(0))
    for _ in range(sweeps):
        for left, right in ((0, 1), (0, 2), (1, 2)):
            columns[left], columns[right] = _orthogonal_pair(columns[left], columns[right])
    lengths = [column.norm(dim=0) for column in columns]
    frames = torch.stack([column / length for column, length in zip(columns, lengths)], dim=0)
    return frames.permute(2, 1, 0), torch.stack(lengths, dim=1)


def _orthogonal_pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Columns [3, N] turned in their plane by the smaller of the angles that make them orthogonal."""
    product = (a * b).sum(dim=0)
    half = ((b * b).sum(dim=0) - (a * a).sum(dim=0)) / 2
    divisor = half + torch.copysign(torch.hypot(half, product), half)
    tangent = product / torch.where(divisor == 0, 1, divisor)
    cosine = (1 + tangent * tangent).rsqrt()
    sine = cosine * tangent
    return cosine * a - sine * b, sine * a + cosine * b
