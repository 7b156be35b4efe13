"""Singular value decomposition of many small matrices at once, by one-sided Jacobi rotations."""

from __future__ import annotations

import torch
from torch import Tensor

from .threads import run_ranges

# Stretched frames begin with nearly orthogonal columns: three sweeps exhaust float32.
SWEEPS = 4
_GRAIN = 4096  # matrices worth a thread of their own


def left_singular_frames(matrices: Tensor, sweeps: int = SWEEPS) -> tuple[Tensor, Tensor]:
    """U and σ of M = U diag(σ) Vᵀ for 3×3 matrices of positive determinant.

    Pairs of columns are turned in their plane until all are orthogonal (Hestenes 1958): they are then U diag(σ),
    and small σ keep their relative precision.

    Args:
        matrices: [N, 3, 3], determinant > 0, on the CPU, outside of any autograd graph.
        sweeps: passes over the three pairs of columns.

    Returns:
        U [N, 3, 3], rotations, and σ [N, 3] > 0 in falling order.
    """
    from . import jacobi_kernels

    entries = matrices.movedim(0, -1).contiguous()
    frames, values = torch.empty_like(entries), torch.empty_like(entries[0])
    run_ranges(
        jacobi_kernels.left_singular_frames, len(matrices), _GRAIN,
        entries.numpy(), sweeps, frames.numpy(), values.numpy(),
    )  # fmt: skip
    return frames.movedim(-1, 0), values.T.contiguous()
