"""The analytic gradient of `blending.py`: each tile's list again, back to front.

With S_i = sum_{j>i} w_j c_j.v + T_end (background.v - v_alpha), the light from behind i as the loss sees it,
dL/dalpha_i = T_i c_i.v - S_i / (1 - alpha_i). Transmittances are recovered by division, in double precision.
"""

# Kernels are typed by numba on their first call.
# mypy: allow-untyped-defs

from __future__ import annotations

import numpy as np

from ..functional.compilation import kernel
from .blending import ALPHA_CEILING, pixel_range, row_range, row_start, tile_box
from .projection import (
    ALPHA_FLOOR,
    CENTRE_X,
    CENTRE_Y,
    CONIC_A,
    CONIC_B,
    CONIC_C,
    OPACITY,
    STEP,
    TILE,
)

# Columns of a gradient slot before its colours: centre, conic, opacity, as in a screen record.
GEOMETRY_GRADIENTS = 6


@kernel
def blend_backward(
    first, last, tiles_x, tiles_y, width, height, tile_starts, entries, slots, records, colors, backgrounds,
    transmittances, last_entries, v_render_colors, v_render_alphas, v_slots,
):  # fmt: skip
    """Gradients of the tile lists' entries for tiles [first, last), walking each list back to front.

    Args:
        slots: int64 [total] from `fill_tiles`; every entry has a slot of its own, so tiles never share a sum.
        v_render_colors [C,H,W,D], v_render_alphas [C,H,W]: gradients of the images.
        v_slots: in and out, float64 [total, GEOMETRY_GRADIENTS+P], zeros on entry.
    """
    padded, channels = colors.shape[1], v_render_colors.shape[3]
    v_light = np.zeros((TILE * TILE, padded))
    through = np.empty(TILE * TILE)
    behind = np.empty(TILE * TILE)
    newest = np.empty(TILE * TILE, np.int32)
    row_newest = np.empty(TILE, np.int32)
    for tile in range(first, last):
        camera, x0, y0, x1, y1 = tile_box(tile, tiles_x, tiles_y, width, height)
        start = tile_starts[tile]
        if start == tile_starts[tile + 1]:
            continue
        tile_newest = np.int32(-1)
        for y in range(y0, y1):
            row_newest[y - y0] = -1
            for x in range(x0, x1):
                pixel = (y - y0) * TILE + x - x0
                left = transmittances[camera, y, x]
                through[pixel] = left
                newest[pixel] = last_entries[camera, y, x]
                row_newest[y - y0] = max(row_newest[y - y0], newest[pixel])
                shown = -float(v_render_alphas[camera, y, x])
                for channel in range(channels):
                    v_light[pixel, channel] = v_render_colors[camera, y, x, channel]
                    shown += v_light[pixel, channel] * backgrounds[camera, channel]
                behind[pixel] = left * shown
            tile_newest = max(tile_newest, row_newest[y - y0])
        for place in range(start + tile_newest, start - 1, -1):
            flat = entries[place]
            _blend_entry_backward(
                records[flat], colors[flat], np.int32(place - start), x0, y0, x1, y1,
                v_light, through, behind, newest, row_newest, v_slots[slots[place]],
            )  # fmt: skip


@kernel
def _blend_entry_backward(
    record, color, place, x0, y0, x1, y1, v_light, through, behind, newest, row_newest, v_slot
):  # fmt: skip
    """Gradient of one Gaussian in one tile; `behind` holds S of the equation above for every pixel."""
    opacity, step = record[OPACITY], record[STEP]
    c0, c1, c2, c3 = color[0], color[1], color[2], color[3]
    v0 = v1 = v2 = v3 = 0.0
    sum_1 = sum_x = sum_y = sum_xx = sum_xy = sum_yy = 0.0
    y_first, y_last = row_range(record, y0, y1)
    for y in range(y_first, y_last):
        if row_newest[y - y0] < place:
            continue
        dy = y + 0.5 - record[CENTRE_Y]
        x_first, x_last = pixel_range(record, dy, x0, x1)
        if x_first >= x_last:
            continue
        dx = x_first + 0.5 - record[CENTRE_X]
        value, ratio = row_start(record, dx, dy)
        row_1 = row_x = row_xx = 0.0
        offset = (y - y0) * TILE - x0
        for pixel in range(offset + x_first, offset + x_last):
            raw = opacity * value
            value *= ratio
            ratio *= step
            here = dx
            dx += 1.0
            if newest[pixel] < place or raw < ALPHA_FLOOR:
                continue
            alpha = min(raw, ALPHA_CEILING)
            inverse = 1.0 / (1.0 - alpha)
            before = through[pixel] * inverse
            through[pixel] = before
            weight = alpha * before
            g0, g1, g2, g3 = v_light[pixel, 0], v_light[pixel, 1], v_light[pixel, 2], v_light[pixel, 3]
            shown = c0 * g0 + c1 * g1 + c2 * g2 + c3 * g3
            v0 += weight * g0
            v1 += weight * g1
            v2 += weight * g2
            v3 += weight * g3
            for channel in range(4, color.shape[0]):
                shown += color[channel] * v_light[pixel, channel]
                v_slot[GEOMETRY_GRADIENTS + channel] += weight * v_light[pixel, channel]
            v_sigma = raw * (behind[pixel] * inverse - before * shown) if raw <= ALPHA_CEILING else 0.0
            behind[pixel] += weight * shown
            row_1 += v_sigma
            row_x += v_sigma * here
            row_xx += v_sigma * here * here
        sum_1 += row_1
        sum_x += row_x
        sum_xx += row_xx
        sum_y += dy * row_1
        sum_xy += dy * row_x
        sum_yy += dy * dy * row_1
    v_slot[CENTRE_X] = -(record[CONIC_A] * sum_x + record[CONIC_B] * sum_y)
    v_slot[CENTRE_Y] = -(record[CONIC_B] * sum_x + record[CONIC_C] * sum_y)
    v_slot[CONIC_A], v_slot[CONIC_B], v_slot[CONIC_C] = 0.5 * sum_xx, sum_xy, 0.5 * sum_yy
    v_slot[OPACITY] = -sum_1 / opacity
    for channel, value in enumerate((v0, v1, v2, v3)):
        v_slot[GEOMETRY_GRADIENTS + channel] = value


@kernel
def gather_slots(first, last, slot_starts, v_slots, v_records):
    """Sum the slots of the (camera, Gaussian) pairs [first, last) into v_records [C*N, GEOMETRY_GRADIENTS+P]."""
    for flat in range(first, last):
        for column in range(v_slots.shape[1]):
            v_records[flat, column] = 0.0
        for slot in range(slot_starts[flat], slot_starts[flat + 1]):
            for column in range(v_slots.shape[1]):
                v_records[flat, column] += v_slots[slot, column]
