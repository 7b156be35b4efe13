"""The CPU rasteriser as one differentiable torch function over the numba kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..functional.threads import run_ranges
from . import binning, blending, blending_backward, projection, projection_backward, shading
from .arguments import RasterOptions

# Gaussians (or camera-Gaussian pairs) and tiles worth a thread of their own. A block of GRAIN Gaussians also is the
# unit in which camera gradients are summed: fixed, so that results do not depend on the number of threads.
GRAIN = 4096
TILE_GRAIN = 16


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


@dataclass(frozen=True)
class _State:
    """What the forward pass leaves for the backward pass; shapes as in the kernels' docstrings."""

    records: np.ndarray
    radii: np.ndarray
    tile_boxes: np.ndarray
    colors: np.ndarray
    tile_starts: np.ndarray
    slot_starts: np.ndarray
    entries: np.ndarray
    slots: np.ndarray
    transmittances: np.ndarray
    last_entries: np.ndarray


def _grid(options: RasterOptions) -> tuple[int, int]:
    """Number of tiles in x and y."""
    return -(-options.width // projection.TILE), -(-options.height // projection.TILE)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _flat(array: np.ndarray) -> np.ndarray:
    """[C,N,X] as [C*N,X]."""
    return array.reshape(array.shape[0] * array.shape[1], array.shape[2])


def _channels(colors: np.ndarray | None, options: RasterOptions) -> int:
    """Rendered channels: colours, if any, then depth, if asked for."""
    if colors is None:
        return int(options.with_depth)
    return (colors.shape[-1] if options.sh_degree is None else 3) + options.with_depth


def _pad(array: np.ndarray, channels: int) -> np.ndarray:
    padded = np.zeros((*array.shape[:-1], channels), np.float64)
    padded[..., : array.shape[-1]] = array
    return padded


def _project_and_shade(inputs: _Inputs, options: RasterOptions, channels: int) -> tuple[np.ndarray, ...]:
    """Screen records, radii, tile boxes and float64 colours [C,N,P] of every Gaussian in every camera."""
    cameras, gaussians = len(inputs.viewmats), len(inputs.means)
    records, radii, tile_boxes = projection.empty_records(cameras, gaussians)
    run_ranges(
        projection.project_forward, gaussians, GRAIN,
        inputs.means, inputs.quats, inputs.scales, inputs.opacities, inputs.viewmats, inputs.intrinsics,
        options.width, options.height, options.near_plane, options.far_plane, options.radius_clip,
        options.eps2d, options.antialiased, records, radii, tile_boxes,
    )  # fmt: skip
    colors = np.zeros((cameras, gaussians, max(channels, blending.MIN_CHANNELS)), np.float64)
    if options.sh_degree is not None and inputs.colors is not None:
        run_ranges(
            shading.shade_harmonics, gaussians, GRAIN,
            options.sh_degree, inputs.means, inputs.centres, inputs.colors, tile_boxes, colors,
        )  # fmt: skip
    elif inputs.colors is not None:
        run_ranges(shading.shade_direct, gaussians, GRAIN, inputs.colors, tile_boxes, colors)
    if options.with_depth:
        run_ranges(shading.shade_depth, gaussians, GRAIN, records, tile_boxes, channels - 1, colors)
    return records, radii, tile_boxes, colors


def _render(inputs: _Inputs, options: RasterOptions, channels: int) -> tuple[np.ndarray, np.ndarray, _State]:
    """Images [C,H,W,channels] and alphas [C,H,W] in the type of `means`, and the state for the backward pass."""
    records, radii, tile_boxes, colors = _project_and_shade(inputs, options, channels)
    cameras, gaussians = tile_boxes.shape[:2]
    tiles_x, tiles_y = _grid(options)
    tile_starts = np.zeros(cameras * tiles_x * tiles_y + 1, np.int64)
    slot_starts = np.empty(cameras * gaussians + 1, np.int64)
    total, visible = binning.count_tiles(tile_boxes, tiles_x, tile_starts, slot_starts)
    entries, slots = np.empty(total, np.int32), np.empty(total, np.int64)
    binning.fill_tiles(records, tile_boxes, tiles_x, visible, tile_starts, slot_starts, entries, slots)
    shape = (cameras, options.height, options.width)
    render_colors = np.empty((*shape, channels), inputs.means.dtype)
    render_alphas = np.empty(shape, inputs.means.dtype)
    transmittances, last_entries = np.empty(shape, np.float64), np.empty(shape, np.int32)
    run_ranges(
        blending.blend_forward, len(tile_starts) - 1, TILE_GRAIN,
        tiles_x, tiles_y, options.width, options.height, tile_starts, entries,
        _flat(records), _flat(colors),
        inputs.backgrounds, render_colors, render_alphas, transmittances, last_entries,
    )  # fmt: skip
    state = _State(
        records, radii, tile_boxes, colors, tile_starts, slot_starts, entries, slots, transmittances, last_entries
    )
    return render_colors, render_alphas, state


def _gather_gradients(
    inputs: _Inputs, options: RasterOptions, state: _State, v_colors: np.ndarray, v_alphas: np.ndarray
) -> np.ndarray:
    """Gradients of every Gaussian's screen record and colour in every camera, float64 [C*N, geometry + P]."""
    cameras, gaussians, padded = state.colors.shape
    tiles_x, tiles_y = _grid(options)
    v_slots = np.zeros((len(state.slots), blending_backward.GEOMETRY_GRADIENTS + padded), np.float64)
    run_ranges(
        blending_backward.blend_backward, len(state.tile_starts) - 1, TILE_GRAIN,
        tiles_x, tiles_y, options.width, options.height, state.tile_starts, state.entries, state.slots,
        _flat(state.records), _flat(state.colors),
        inputs.backgrounds, state.transmittances, state.last_entries, v_colors, v_alphas, v_slots,
    )  # fmt: skip
    gathered = np.empty((cameras * gaussians, v_slots.shape[1]), np.float64)
    run_ranges(blending_backward.gather_slots, cameras * gaussians, GRAIN, state.slot_starts, v_slots, gathered)
    return gathered


def _backward(
    inputs: _Inputs,
    options: RasterOptions,
    state: _State,
    v_render_colors: np.ndarray,
    v_render_alphas: np.ndarray,
) -> dict[str, np.ndarray]:
    """Float64 gradients of every differentiable input, by the names of `_Inputs`."""
    cameras, gaussians, _ = state.colors.shape
    gathered = _gather_gradients(inputs, options, state, v_render_colors, v_render_alphas)
    v_records = gathered.reshape(cameras, gaussians, gathered.shape[1])
    v_shades = v_records[..., blending_backward.GEOMETRY_GRADIENTS :]
    last_channel = v_render_colors.shape[3] - 1
    v_depths = v_shades[..., last_channel].copy() if options.with_depth else np.zeros((cameras, gaussians))
    blocks = -(-gaussians // GRAIN)
    v = {
        "means": np.zeros((gaussians, 3)),
        "quats": np.zeros((gaussians, 4)),
        "scales": np.zeros((gaussians, 3)),
        "opacities": np.zeros(gaussians),
    }
    v_cameras = np.zeros((blocks, cameras, 3, 4))
    run_ranges(
        projection_backward.project_backward, blocks, 1, GRAIN,
        inputs.means, inputs.quats, inputs.scales, inputs.opacities, inputs.viewmats, inputs.intrinsics,
        options.width, options.height, options.eps2d, options.antialiased, state.tile_boxes,
        v_records, v_depths, v["means"], v["quats"], v["scales"], v["opacities"], v_cameras,
    )  # fmt: skip
    v["viewmats"] = np.zeros((cameras, 4, 4))
    v["viewmats"][:, :3] = v_cameras.sum(axis=0)
    v["centres"] = np.zeros((cameras, 3))
    if inputs.colors is not None:
        v["colors"] = np.zeros(inputs.colors.shape)
        if options.sh_degree is not None:
            v_centres = np.zeros((blocks, cameras, 3))
            run_ranges(
                shading.shade_harmonics_backward, blocks, 1, GRAIN,
                options.sh_degree, inputs.means, inputs.centres, inputs.colors, state.tile_boxes, state.colors,
                v_shades, v["means"], v_centres, v["colors"],
            )  # fmt: skip
            v["centres"] = v_centres.sum(axis=0)
        else:
            run_ranges(shading.shade_direct_backward, gaussians, GRAIN, state.tile_boxes, v_shades, v["colors"])
    v["backgrounds"] = np.einsum("chwd,chw->cd", v_render_colors, state.transmittances)
    return v


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
    ) -> tuple[Tensor, ...]:
        """Render.

        Args:
            means [N,3], quats [N,4] wxyz, scales [N,3], opacities [N]: Gaussians, after activation, world frame.
            colors: [1 or C,N,D], or harmonics [1 or C,N,K,3]; None renders depth alone.
            viewmats [C,4,4] world to camera, intrinsics [C,3,3] pixels, centres [C,3] camera centres in the world.
            backgrounds: [C,D'] for all rendered channels, or None for zeros.
            options: everything else.

        Returns:
            render_colors [C,H,W,D'] and render_alphas [C,H,W,1], differentiable; means2d [C,N,2], conics [C,N,3],
            opacities [C,N], depths [C,N] and radii [C,N,2], not differentiable.
        """
        given = None if colors is None else _array(colors)
        channels = _channels(given, options)
        shown = np.zeros((len(viewmats), channels)) if backgrounds is None else _array(backgrounds)
        inputs = _Inputs(
            _array(means), _array(quats), _array(scales), _array(opacities),
            given,
            _array(viewmats), _array(intrinsics), _array(centres),
            _pad(shown, max(channels, blending.MIN_CHANNELS)),
        )  # fmt: skip
        render_colors, render_alphas, state = _render(inputs, options, channels)
        ctx.inputs, ctx.options, ctx.state = inputs, options, state
        ctx.set_materialize_grads(False)
        # Saved only so that torch notices when an input is changed in place before the backward pass.
        ctx.save_for_backward(means, quats, scales, opacities, colors, viewmats, centres, backgrounds)
        records = torch.from_numpy(state.records).to(means.dtype)
        details = (
            records[..., projection.CENTRE_X : projection.CENTRE_Y + 1],
            records[..., projection.CONIC_A : projection.CONIC_C + 1],
            records[..., projection.OPACITY],
            records[..., projection.DEPTH],
            torch.from_numpy(state.radii),
        )
        ctx.mark_non_differentiable(*details)
        return (torch.from_numpy(render_colors), torch.from_numpy(render_alphas)[..., None], *details)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_colors: Tensor | None, v_alphas: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        """Gradients in the order of `forward`'s arguments."""
        saved = ctx.saved_tensors
        inputs, state = ctx.inputs, ctx.state
        dtype = inputs.means.dtype
        channels = _channels(inputs.colors, ctx.options)
        shape = state.transmittances.shape
        render_grads = np.zeros((*shape, channels), dtype) if v_colors is None else _array(v_colors)
        alpha_grads = np.zeros(shape, dtype) if v_alphas is None else _array(v_alphas[..., 0])
        gradients = _backward(inputs, ctx.options, state, render_grads, alpha_grads)
        names = (
            "means",
            "quats",
            "scales",
            "opacities",
            "colors",
            "viewmats",
            "intrinsics",
            "centres",
            "backgrounds",
        )
        return *(
            torch.from_numpy(gradients[name]).to(saved[0].dtype) if needed and name in gradients else None
            for name, needed in zip(names, ctx.needs_input_grad)
        ), None
