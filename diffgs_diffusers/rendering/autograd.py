"""The CPU rasteriser as one differentiable torch function over the numba kernels."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..functional.threads import count_parts, run_all, run_ranges, split
from . import binning, blending, blending_backward, projection, projection_backward, shading
from .arguments import RasterOptions

# Camera-Gaussian pairs rendered in one go. It bounds the memory of many cameras; and what is freed after one group
# of cameras is small enough for the allocator to hand to the next, instead of clearing new pages for it.
PAIRS_AT_ONCE = 1 << 18
# Pairs, entries of tile lists and rows of pixels worth a thread of their own.
GRAIN = 2048
ROW_GRAIN = 64
# Gaussians whose camera gradients are summed by one thread: fixed, so that no number of threads changes the sums.
BLOCK = 512


@dataclass(frozen=True)
class _Inputs:
    """The function's tensors as contiguous numpy arrays, cameras made explicit in `colors` [1 or C,N,...]."""

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    colors: np.ndarray | None
    viewmats: np.ndarray
    intrinsics: np.ndarray
    centres: np.ndarray
    backgrounds: np.ndarray

    def select(self, cameras: slice) -> _Inputs:
        """The same Gaussians in some of the cameras."""
        if cameras == slice(0, len(self.viewmats)):
            return self
        colors = self.colors
        return replace(
            self,
            colors=colors if colors is None or len(colors) == 1 else colors[cameras],
            viewmats=self.viewmats[cameras],
            intrinsics=self.intrinsics[cameras],
            centres=self.centres[cameras],
            backgrounds=self.backgrounds[cameras],
        )

    def zeros(self) -> _Inputs:
        """Arrays of the same shapes and types for the gradients."""
        arrays = ((field.name, getattr(self, field.name)) for field in fields(self))
        return replace(self, **{name: np.zeros(a.shape, a.dtype) for name, a in arrays if a is not None})


class _Outputs(NamedTuple):
    """What the kernels write for the caller, in the type of `means` but for the radii."""

    colors: np.ndarray  # [C,H,W,D']
    alphas: np.ndarray  # [C,H,W]
    details: np.ndarray  # [C,N,DETAILS]
    radii: np.ndarray  # int32 [C,N,2]


@dataclass(frozen=True)
class _State:
    """What the forward pass leaves for the backward pass; shapes as in the kernels' docstrings."""

    records: np.ndarray
    tile_boxes: np.ndarray
    tile_starts: np.ndarray
    ranges: list[tuple[int, int]]  # of tiles, about equal in work
    entries: np.ndarray
    transmittances: np.ndarray
    limits: np.ndarray


def _grid(options: RasterOptions) -> tuple[int, int]:
    """Number of tiles in x and y."""
    return -(-options.width // projection.TILE), -(-options.height // projection.TILE)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _channels(colors: np.ndarray | None, options: RasterOptions) -> int:
    """Rendered channels: colours, if any, then depth, if asked for."""
    if colors is None:
        return int(options.with_depth)
    return (colors.shape[-1] if options.sh_degree is None else 3) + options.with_depth


def _camera_groups(cameras: int, gaussians: int) -> list[slice]:
    """The cameras in groups of about PAIRS_AT_ONCE pairs."""
    size = max(1, PAIRS_AT_ONCE // max(gaussians, 1))
    return [slice(first, min(first + size, cameras)) for first in range(0, cameras, size)]


def _render(inputs: _Inputs, options: RasterOptions, outputs: _Outputs, needs_gradient: bool) -> _State:
    """Write the outputs."""
    cameras, gaussians = outputs.radii.shape[:2]
    channels = outputs.colors.shape[3]
    tiles_x, tiles_y = _grid(options)
    records = np.empty((cameras, gaussians, projection.COLORS + inputs.backgrounds.shape[1]), inputs.means.dtype)
    tile_boxes = np.empty((cameras, gaussians, 4), np.int32)
    parts = [(part, *ends) for part, ends in enumerate(split(gaussians, max(1, GRAIN // cameras)))]
    places = np.zeros((len(parts), cameras, tiles_x * tiles_y), np.int64)

    def prepare(part: int, first: int, last: int) -> None:
        projection.project_forward(
            first, last,
            inputs.means, inputs.quats, inputs.scales, inputs.opacities, inputs.viewmats, inputs.intrinsics,
            options.width, options.height, options.near_plane, options.far_plane, options.radius_clip,
            options.eps2d, options.antialiased, records, outputs.details, outputs.radii, tile_boxes,
        )  # fmt: skip
        if inputs.colors is not None and options.sh_degree is not None:
            shading.shade_harmonics(
                first, last, options.sh_degree, inputs.means, inputs.centres, inputs.colors, tile_boxes, records
            )
        elif inputs.colors is not None:
            shading.shade_direct(first, last, inputs.colors, tile_boxes, records)
        if options.with_depth:
            shading.shade_depth(first, last, outputs.details, tile_boxes, channels - 1, records)
        binning.count_tiles(first, last, tile_boxes, tiles_x, places[part])

    def fill(part: int, first: int, last: int) -> None:
        binning.fill_tiles(first, last, outputs.details, tile_boxes, tiles_x, places[part], entries)

    def blend(first: int, last: int) -> None:
        binning.sort_tiles(first, last, tile_starts, entries)
        blending.blend_forward(
            first, last, tiles_x, tiles_y, options.width, options.height, tile_starts, entries, records,
            inputs.backgrounds, outputs.colors, outputs.alphas, transmittances, limits,
        )  # fmt: skip

    run_all(prepare, parts)
    tile_starts = np.empty(cameras * tiles_x * tiles_y + 1, np.int64)
    binning.place_parts(places.reshape(len(parts), -1), tile_starts)
    ends = np.empty(count_parts(int(tile_starts[-1]), GRAIN) + 1, np.int64)
    binning.share_tiles(tile_starts, ends)
    ranges = list(pairwise(ends.tolist()))
    entries = np.empty(tile_starts[-1], np.uint64)
    run_all(fill, parts)
    kept = outputs.alphas.shape if needs_gradient else (0, 0, 0)
    transmittances, limits = np.empty(kept, np.float64), np.empty(kept, np.int32)
    run_all(blend, ranges)
    return _State(records, tile_boxes, tile_starts, ranges, entries, transmittances, limits)


def _add_gradients(
    inputs: _Inputs,
    options: RasterOptions,
    state: _State,
    v_colors: np.ndarray,
    v_alphas: np.ndarray,
    v: _Inputs,
) -> tuple[np.ndarray, np.ndarray]:
    """Add a group of cameras' gradients of Gaussians to v.

    Returns:
        Gradients of the view matrices' upper rows [blocks,C,3,4] and of the centres [blocks,C,3], to be summed.
    """
    cameras, gaussians, columns = state.records.shape
    columns += projection.GRADIENTS - projection.COLORS
    tiles_x, tiles_y = _grid(options)
    starts = np.empty(cameras * gaussians + 1, np.int64)
    binning.entry_starts(state.tile_boxes, starts)
    v_entries = np.empty((len(state.entries), columns), inputs.means.dtype)
    blocks = -(-gaussians // BLOCK)
    v_viewmats, v_centres = np.empty((blocks, cameras, 3, 4)), np.zeros((blocks, cameras, 3))

    def blend(first: int, last: int) -> None:
        blending_backward.blend_backward(
            first, last, tiles_x, tiles_y, options.width, options.height,
            state.tile_boxes, state.tile_starts, state.entries, state.records, inputs.backgrounds,
            state.transmittances, state.limits, v_colors, v_alphas, starts, v_entries,
        )  # fmt: skip

    def project(first: int, last: int) -> None:
        ends = first * BLOCK, min(last * BLOCK, gaussians)
        v_records = np.empty((cameras, ends[1] - ends[0], columns), np.float64)
        blending_backward.gather_entries(*ends, starts, v_entries, v_records)
        projection_backward.project_backward(
            first, last, BLOCK,
            inputs.means, inputs.quats, inputs.scales, inputs.opacities, inputs.viewmats, inputs.intrinsics,
            options.width, options.height, options.eps2d, options.antialiased, state.tile_boxes,
            v_records, projection.GRADIENTS + v_colors.shape[3] - 1 if options.with_depth else -1,
            v.means, v.quats, v.scales, v.opacities, v_viewmats,
        )  # fmt: skip
        if inputs.colors is not None and options.sh_degree is not None:
            shading.shade_harmonics_backward(
                first, last, BLOCK,
                options.sh_degree, inputs.means, inputs.centres, inputs.colors, state.tile_boxes, state.records,
                v_records, v.means, v_centres, v.colors,
            )  # fmt: skip
        elif inputs.colors is not None:
            shading.shade_direct_backward(*ends, state.tile_boxes, v_records, v.colors)

    run_all(blend, state.ranges)
    # Few enough at a time that their records stay in the cache, unless there are many cameras.
    step = max(1, GRAIN // (BLOCK * cameras))
    run_all(project, [(first, min(first + step, blocks)) for first in range(0, blocks, step)])
    return v_viewmats, v_centres


def _background_gradients(state: _State, v_colors: np.ndarray) -> np.ndarray:
    """Gradients [C,D] of the backgrounds."""
    cameras, height, _, channels = v_colors.shape
    v_rows = np.empty((cameras * height, channels), np.float64)
    run_ranges(
        blending_backward.background_backward, len(v_rows), ROW_GRAIN, state.transmittances, v_colors, v_rows
    )
    return v_rows.reshape(cameras, height, channels).sum(axis=1)


class Rasterize(torch.autograd.Function):
    """Images and alphas of Gaussians on the CPU, with gradients for every floating input but the intrinsics."""

    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        colors: Tensor | None,
        viewmats: Tensor,
        intrinsics: Tensor,
        centres: Tensor,
        backgrounds: Tensor | None,
        options: RasterOptions,
        needs_gradient: bool,
    ) -> tuple[Tensor, ...]:
        """Render.

        Args:
            means [N,3], quats [N,4] wxyz, scales [N,3], opacities [N]: Gaussians, after activation, world frame.
            colors: [1 or C,N,D], or harmonics [1 or C,N,K,3]; None renders depth alone.
            viewmats [C,4,4] world to camera, intrinsics [C,3,3] pixels, centres [C,3] camera centres in the world.
            backgrounds: [C,D'] for all rendered channels, or None for zeros.
            options: everything else.
            needs_gradient: whether a backward pass may follow.

        Returns:
            render_colors [C,H,W,D'] and render_alphas [C,H,W,1], differentiable; means2d [C,N,2], conics [C,N,3],
            opacities [C,N], depths [C,N] and radii [C,N,2], not differentiable.
        """
        given = None if colors is None else _array(colors)
        cameras, gaussians, channels = len(viewmats), len(means), _channels(given, options)
        behind = np.zeros((cameras, max(channels, blending.MIN_CHANNELS)), np.float64)
        if backgrounds is not None:
            behind[:, :channels] = _array(backgrounds)
        inputs = _Inputs(
            _array(means), _array(quats), _array(scales), _array(opacities), given,
            _array(viewmats), _array(intrinsics), _array(centres), behind,
        )  # fmt: skip
        size, dtype = (cameras, options.height, options.width), inputs.means.dtype
        outputs = _Outputs(
            np.empty((*size, channels), dtype),
            np.empty(size, dtype),
            np.empty((cameras, gaussians, projection.DETAILS), dtype),
            np.empty((cameras, gaussians, 2), np.int32),
        )
        ctx.inputs, ctx.options, ctx.states = inputs, options, []
        for group in _camera_groups(cameras, gaussians):
            part = _Outputs(*(array[group] for array in outputs))
            state = _render(inputs.select(group), options, part, needs_gradient)
            if needs_gradient:
                ctx.states.append((group, state))
        if needs_gradient:
            ctx.set_materialize_grads(False)
            # Only so that torch notices when an input is changed in place before the backward pass.
            ctx.save_for_backward(means, quats, scales, opacities, colors, viewmats, centres, backgrounds)
        shown, alphas, details, radii = (torch.from_numpy(array) for array in outputs)
        means2d, conics, compensated, depths = details.split_with_sizes([2, 3, 1, 1], dim=-1)
        extra = (means2d, conics, compensated[..., 0], depths[..., 0], radii)
        ctx.mark_non_differentiable(*extra)
        return (shown, alphas[..., None], *extra)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_colors: Tensor | None, v_alphas: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        """Gradients in the order of `forward`'s arguments."""
        _ = ctx.saved_tensors  # raises where an input was changed in place
        inputs, options, dtype = ctx.inputs, ctx.options, ctx.inputs.means.dtype
        size, channels = (len(inputs.viewmats), options.height, options.width), _channels(inputs.colors, options)
        v_shown = np.zeros((*size, channels), dtype) if v_colors is None else _array(v_colors)
        v_opaque = np.zeros(size, dtype) if v_alphas is None else _array(v_alphas[..., 0])
        v: _Inputs = inputs.zeros()
        for group, state in ctx.states:
            v_group = v.select(group)
            v_viewmats, v_centres = _add_gradients(
                inputs.select(group), options, state, v_shown[group], v_opaque[group], v_group
            )
            if ctx.needs_input_grad[5]:
                v_group.viewmats[:, :3] = v_viewmats.sum(axis=0)
            if ctx.needs_input_grad[7]:
                v_group.centres[:] = v_centres.sum(axis=0)
            if ctx.needs_input_grad[8]:
                v_group.backgrounds[:, :channels] = _background_gradients(state, v_shown[group])
        gradients = (
            v.means, v.quats, v.scales, v.opacities, v.colors, v.viewmats, None, v.centres,
            v.backgrounds[:, :channels],
        )  # fmt: skip
        wanted = [
            torch.from_numpy(gradient.astype(dtype, copy=False)) if needed and gradient is not None else None
            for needed, gradient in zip(ctx.needs_input_grad, gradients)
        ]
        return *wanted, None, None
