"""A lookup in planes that the first layer of a head was taken into.

Features are linear in the planes' cells, and up to its activation a layer is linear in the features: the cells go
through it, once for an object, and not the features of every point that is asked about.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .threads import run_ranges

_PRECISIONS = (torch.float32, torch.bfloat16)
_GRAIN = 4096  # points worth a thread of their own


class FoldedLookup:
    """A layer of ``plane_features(planes, points)`` as a function of the points alone, the same up to rounding.

    Planes and weights are copied: what they become later changes nothing. Differentiable in the points.

    Args:
        planes: [3, C, R, R] of one object on the CPU, order xz, xy, yz.
        weight: [H, 3C + 3] of the layer, its columns in the order of
            :func:`~diffgs_diffusers.functional.plane_lookup.plane_features`; its dtype, float32 or bfloat16, is
            that of the values, which are summed in float32.
        bias: [H] of the layer, if it has one.
        padding: how far the planes reach beyond the unit box, as a fraction of its side.
        activation: "none" or "relu".

    Raises:
        ValueError: for another activation.
    """

    def __init__(
        self, planes: Tensor, weight: Tensor, bias: Tensor | None, padding: float, activation: str = "none"
    ) -> None:
        if activation not in ("none", "relu"):
            raise ValueError(f"`activation` must be 'none' or 'relu', got {activation!r}.")
        channels, resolution = planes.shape[1:3]
        self.dtype, self.side, self.is_bent = weight.dtype, np.float32(1 + padding), activation == "relu"
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            weight = weight.float()
            cells = planes.float().movedim(1, -1).reshape(3, -1, channels)
            shares = weight[:, :-3].unflatten(1, (3, channels)).permute(1, 2, 0)
            self.cells = torch.bmm(cells, shares).unflatten(1, (resolution, resolution)).contiguous()
            self.own = weight[:, -3:].t().clone(memory_format=torch.contiguous_format)
            self.bias = weight.new_zeros(len(weight)) if bias is None else bias.float().clone()

    def __call__(self, points: Tensor) -> Tensor:
        """[M, H] of points [M, 3] in the object frame, in the layer's precision."""
        if not torch.is_grad_enabled():
            return self.read(points)
        rows: Tensor = _Read.apply(points, self)
        return rows

    def read(self, points: Tensor) -> Tensor:
        """The values, which know nothing of gradients."""
        rows = torch.empty(len(points), self.bias.numel(), dtype=self.dtype)
        kernel = _kernels().read_rounded if self.dtype == torch.bfloat16 else _kernels().read
        floor = np.float32(0.0 if self.is_bent else -np.inf)
        self._run(kernel, points, self.bias.numpy(), floor, _bits(rows))
        return rows

    def read_backward(self, points: Tensor, rows: Tensor, v_rows: Tensor) -> Tensor:
        """The gradient [M, 3] of points from that of their values, which are only looked at after a ReLU."""
        v_points = torch.empty(len(points), 3)
        kernel = _kernels().read_rounded_backward if self.dtype == torch.bfloat16 else _kernels().read_backward
        self._run(kernel, points, self.is_bent, _bits(rows), _bits(v_rows.contiguous()), v_points.numpy())
        return v_points.to(points.dtype)

    def _run(self, kernel: Any, points: Tensor, *arguments: Any) -> None:
        at = points.detach().float().contiguous()
        run_ranges(
            kernel, len(at), _GRAIN, self.cells.numpy(), at.numpy(), self.side, self.own.numpy(), *arguments
        )  # fmt: skip


def can_fold(planes: Tensor, weight: Tensor) -> bool:
    """Whether there are kernels for it, and no gradient is lost by it.

    On other devices products cost so little, and reading wide cells so much, that it is left to torch.
    """
    is_constant = not (planes.requires_grad or weight.requires_grad)
    known = planes.dtype in _PRECISIONS and weight.dtype in _PRECISIONS
    return is_constant and known and planes.device.type == weight.device.type == "cpu"


class _Read(torch.autograd.Function):
    """:meth:`FoldedLookup.read` and its gradient."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, lookup: FoldedLookup) -> Tensor:
        rows = lookup.read(points)
        ctx.lookup = lookup
        ctx.save_for_backward(points, *([rows] if lookup.is_bent else []))
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_rows: Tensor) -> tuple[Tensor, None]:
        points, *rows = ctx.saved_tensors
        return ctx.lookup.read_backward(points, rows[0] if rows else v_rows, v_rows), None


def _bits(values: Tensor) -> np.ndarray:
    """As an array; numpy does not know bfloat16, of which it has the bits."""
    return (values.view(torch.uint16) if values.dtype == torch.bfloat16 else values).numpy()


def _kernels() -> Any:
    """The module of the kernels, with numba behind it."""
    from . import folded_lookup_kernels

    return folded_lookup_kernels
