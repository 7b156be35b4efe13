"""Bilinear features of points on three planes: torch's ``grid_sample``, or kernels on the CPU.

On a CPU ``grid_sample`` wants its channels apart and leaves three tensors to be turned and joined, which took half
of a training step; the kernels read a cell's channels side by side and write each point's row once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .threads import run_ranges
from .triplane import sample_planes

_GRAIN = 4096  # points worth a thread of their own


def plane_features(planes: Tensor, points: Tensor, padding: float, dtype: torch.dtype | None = None) -> Tensor:
    """What the three planes hold at each point, and the point itself.

    Args:
        planes: [B, 3, C, R, R], order xz, xy, yz.
        points: [B, M, 3], object frame; beyond the planes' box the border is read.
        padding: how far the planes reach beyond the unit box, as a fraction of its side.
        dtype: of the result; that of the planes by default.

    Returns:
        [B, M, 3C + 3], differentiable in planes and points.
    """
    dtype = dtype or planes.dtype
    if planes.device.type == "cpu" and planes.dtype in (torch.float32, torch.bfloat16):
        if not torch.is_grad_enabled():
            return _read(_as_read(planes), points.to(torch.float32).contiguous(), padding, dtype)
        rows: Tensor = _PlaneFeatures.apply(planes, points, padding, dtype)
        return rows
    joined = sample_planes(planes, points, padding).transpose(1, 2).flatten(2)
    return torch.cat([joined, points.to(joined.dtype)], dim=-1).to(dtype)


def cell_by_cell(planes: Tensor) -> Tensor:
    """A copy of planes [..., C, R, R] that keeps the channels of a cell side by side, as the kernels read them.

    Others are copied at every lookup, which for a few thousand points takes longer than the lookup itself.
    """
    return planes.movedim(-3, -1).clone(memory_format=torch.contiguous_format).movedim(-1, -3)


class _PlaneFeatures(torch.autograd.Function):
    """The CPU's :func:`plane_features`, computed in float32."""

    @staticmethod
    def forward(ctx: Any, planes: Tensor, points: Tensor, padding: float, dtype: torch.dtype) -> Tensor:
        cells, at = _as_read(planes), points.detach().to(torch.float32).contiguous()
        ctx.save_for_backward(cells, at)
        ctx.side, ctx.dtypes = np.float32(1 + padding), (planes.dtype, points.dtype)
        return _read(cells, at, padding, dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_rows: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        cells, at = ctx.saved_tensors
        v_rows = v_rows.to(torch.float32).contiguous()
        v_planes = v_points = None
        kernels = _kernels()
        batch, num_points = at.shape[:2]
        if ctx.needs_input_grad[0]:
            v_cells = torch.zeros_like(cells)
            run_ranges(
                kernels.read_backward_planes, batch * 3, 1, at.numpy(), ctx.side, v_rows.numpy(), v_cells.numpy()
            )
            v_planes = v_cells.permute(0, 1, 4, 2, 3).to(ctx.dtypes[0])
        if ctx.needs_input_grad[1]:
            v_at = torch.empty_like(at)
            run_ranges(
                kernels.read_backward_points, batch * num_points, _GRAIN,
                cells.numpy(), at.numpy(), ctx.side, v_rows.numpy(), v_at.numpy(),
            )  # fmt: skip
            v_points = v_at.to(ctx.dtypes[1])
        return v_planes, v_points, None, None


def _as_read(planes: Tensor) -> Tensor:
    """[B, 3, R, R, C] float32, what the kernels read."""
    return planes.detach().movedim(2, -1).to(torch.float32).contiguous()


def _read(cells: Tensor, at: Tensor, padding: float, dtype: torch.dtype) -> Tensor:
    """Rows of points [B, M, 3], float32, from cells as :func:`_as_read` has them."""
    batch, num_points = at.shape[:2]
    size = (batch, num_points, 3 * cells.shape[-1] + 3)
    kernels = _kernels()
    if dtype == torch.bfloat16:  # numpy does not know it: the kernel writes its bits
        rows = at.new_empty(size, dtype=dtype)
        read, written = kernels.read_rounded, rows.view(torch.uint16)
    else:
        rows = written = at.new_empty(size)
        read = kernels.read
    run_ranges(
        read, batch * num_points, _GRAIN, cells.numpy(), at.numpy(), np.float32(1 + padding), written.numpy()
    )
    return rows.to(dtype)


def _kernels() -> Any:
    """The module of the kernels, with numba behind it."""
    from . import plane_lookup_kernels

    return plane_lookup_kernels
