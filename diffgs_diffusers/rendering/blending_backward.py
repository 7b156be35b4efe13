"""The analytic gradient of `blending.py`: each tile's list again, back to front.

With S_i = sum_{j>i} w_j c_j.v + T_end (background.v - v_alpha), the light from behind i as the loss sees it,
dL/dalpha_i = T_i c_i.v - S_i / (1 - alpha_i). Transmittances are recovered by division, in double precision.
"""

# Kernels are typed by numba on their first call.
# mypy: allow-untyped-defs

from __future__ import annotations

from functools import partial

import numpy as np

from ..functional.compilation import inlined, kernel
from .binning import gradient_row
from .blending import (
    ALPHA_CEILING,
    BATCH,
    LANES,
    MIN_CHANNELS,
    ROW_WINDOWS,
    WINDOWS,
    copy_records,
    falloff,
    row_exponent,
    tile_box,
    touched_windows,
)
from .projection import (
    ALPHA_FLOOR,
    CENTRE_X,
    CENTRE_Y,
    COLORS,
    CONIC_A,
    CONIC_B,
    CONIC_C,
    GRADIENTS,
    OPACITY,
    TILE,
)

# Where the values of a window start: T, S of the equation above, the place that closed the pixel, the weight of the
# last Gaussian, its c.v of the channels from MIN_CHANNELS on, and LANES values per channel of v.
BEHIND, LIMIT, WEIGHT, OTHERS, LIGHT = (field * LANES for field in range(1, 6))


@kernel
def blend_backward(
    first, last, tiles_x, tiles_y, width, height, tile_boxes, tile_starts, entries, records, backgrounds,
    transmittances, limits, v_render_colors, v_render_alphas, starts, v_entries,
):  # fmt: skip
    """Gradients of the tile lists' entries for tiles [first, last), walking each list back to front.

    Args:
        v_render_colors [C,H,W,D], v_render_alphas [C,H,W]: gradients of the images.
        starts: int64 [C*N+1] from `entry_starts`.
        v_entries: out [total, GRADIENTS+P]; every entry has a row of its own, so tiles never share a sum, and those
            of a Gaussian follow each other.
    """
    columns = records.shape[2]
    windows = np.zeros((WINDOWS, LIGHT + (columns - COLORS) * LANES))
    near, v_near = np.empty((BATCH, columns)), np.empty((BATCH, v_entries.shape[1]))
    for tile in range(first, last):
        start, end = tile_starts[tile], tile_starts[tile + 1]
        if start == end:
            continue
        camera, x0, y0, x1, y1 = tile_box(tile, tiles_x, tiles_y, width, height)
        stop = 0
        windows[:] = 0.0
        for y in range(y0, y1):
            v_shown = v_render_colors[camera, y]
            for x in range(x0, x1):
                window = windows[(y - y0) * ROW_WINDOWS + (x - x0) // LANES]
                lane = (x - x0) % LANES
                left, limit = transmittances[camera, y, x], limits[camera, y, x]
                window[lane] = left
                window[LIMIT + lane] = limit
                stop = max(stop, limit)
                shown = -float(v_render_alphas[camera, y, x])
                for channel in range(v_shown.shape[1]):
                    v = float(v_shown[x, channel])
                    window[LIGHT + channel * LANES + lane] = v
                    shown += v * backgrounds[camera, channel]
                window[BEHIND + lane] = left * shown
        row, column = y0 // TILE, x0 // TILE
        for place in range(start + stop, end):
            v_entries[gradient_row(entries[place], camera, row, column, tile_boxes, starts)] = 0.0
        for batch_end in range(start + stop, start, -BATCH):
            batch = max(batch_end - BATCH, start)
            copy_records(records[camera], entries, batch, batch_end, near)
            for place in range(batch_end - 1, batch - 1, -1):
                _blend_entry_backward(
                    near[place - batch], float(place - start), x0, y0, x1, y1, windows, v_near[place - batch]
                )
            for place in range(batch, batch_end):
                to = gradient_row(entries[place], camera, row, column, tile_boxes, starts)
                for field in range(v_near.shape[1]):
                    v_entries[to, field] = v_near[place - batch, field]


# Sums over the lanes of a window become vector sums only where the compiler may reorder them.
@partial(inlined, fastmath={"contract", "reassoc", "nsz"})
def _window_backward(window, opacity, exponent, dx, place, c0, c1, c2):
    """Gradient of one Gaussian in one window: sums of dL/dsigma times 1, dx and dx², and three colours."""
    sum_1 = sum_x = sum_xx = v0 = v1 = v2 = 0.0
    for lane in range(LANES):
        here = dx + lane
        raw = falloff(opacity, exponent, here)
        blended = (raw >= ALPHA_FLOOR) & (place < window[LIMIT + lane])
        alpha = min(raw, ALPHA_CEILING) if blended else 0.0
        inverse = 1.0 / (1.0 - alpha)
        before = window[lane] * inverse
        weight = alpha * before
        g0, g1, g2 = window[LIGHT + lane], window[LIGHT + LANES + lane], window[LIGHT + 2 * LANES + lane]
        shown = c0 * g0 + c1 * g1 + c2 * g2 + window[OTHERS + lane]
        behind = window[BEHIND + lane]
        v_sigma = raw * (behind * inverse - before * shown) if blended & (raw <= ALPHA_CEILING) else 0.0
        window[lane] = before
        window[BEHIND + lane] = behind + weight * shown
        window[WEIGHT + lane] = weight
        sum_1 += v_sigma
        sum_x += v_sigma * here
        sum_xx += v_sigma * here * here
        v0 += weight * g0
        v1 += weight * g1
        v2 += weight * g2
    return sum_1, sum_x, sum_xx, v0, v1, v2


@inlined
def _blend_entry_backward(record, place, x0, y0, x1, y1, windows, v_entry):
    """Gradient of one Gaussian in one tile."""
    opacity = record[OPACITY]
    c0, c1, c2 = record[COLORS], record[COLORS + 1], record[COLORS + 2]
    v0 = v1 = v2 = 0.0
    sum_1 = sum_x = sum_y = sum_xx = sum_xy = sum_yy = 0.0
    v_entry[GRADIENTS + MIN_CHANNELS :] = 0.0
    y_first, y_last, x_first, x_last = touched_windows(record, x0, y0, x1, y1)
    for y in range(y_first, y_last):
        dy = y + y0 + 0.5 - record[CENTRE_Y]
        exponent = row_exponent(record, dy)
        for x in range(x_first, x_last):
            window = windows[y * ROW_WINDOWS + x]
            if record.shape[0] > COLORS + MIN_CHANNELS:
                window[OTHERS : OTHERS + LANES] = 0.0
            for column in range(COLORS + MIN_CHANNELS, record.shape[0]):
                for lane in range(LANES):
                    window[OTHERS + lane] += record[column] * window[LIGHT + (column - COLORS) * LANES + lane]
            dx = x * LANES + x0 + 0.5 - record[CENTRE_X]
            row_1, row_x, row_xx, w0, w1, w2 = _window_backward(window, opacity, exponent, dx, place, c0, c1, c2)
            sum_1 += row_1
            sum_x += row_x
            sum_xx += row_xx
            sum_y += dy * row_1
            sum_xy += dy * row_x
            sum_yy += dy * dy * row_1
            v0 += w0
            v1 += w1
            v2 += w2
            for column in range(MIN_CHANNELS, record.shape[0] - COLORS):
                for lane in range(LANES):
                    v_entry[GRADIENTS + column] += window[WEIGHT + lane] * window[LIGHT + column * LANES + lane]
    v_entry[CENTRE_X] = -(record[CONIC_A] * sum_x + record[CONIC_B] * sum_y)
    v_entry[CENTRE_Y] = -(record[CONIC_B] * sum_x + record[CONIC_C] * sum_y)
    v_entry[CONIC_A], v_entry[CONIC_B], v_entry[CONIC_C] = 0.5 * sum_xx, sum_xy, 0.5 * sum_yy
    v_entry[OPACITY] = -sum_1 / opacity
    v_entry[GRADIENTS], v_entry[GRADIENTS + 1], v_entry[GRADIENTS + 2] = v0, v1, v2


@kernel
def gather_entries(first, last, starts, v_entries, v_records):
    """Sum the entries of Gaussians [first, last) into v_records [C,last-first,GRADIENTS+P].

    Args:
        starts: int64 [C*N+1] from `entry_starts`.
        v_entries: [total, GRADIENTS+P] from `blend_backward`.
    """
    gaussians = (starts.shape[0] - 1) // v_records.shape[0]
    for camera in range(v_records.shape[0]):
        for index in range(first, last):
            flat = camera * gaussians + index
            v_record = v_records[camera, index - first]
            for column in range(v_record.shape[0]):
                v_record[column] = 0.0
            for entry in range(starts[flat], starts[flat + 1]):
                for column in range(v_record.shape[0]):
                    v_record[column] += v_entries[entry, column]


@kernel
def background_backward(first, last, transmittances, v_render_colors, v_rows):
    """Gradients of the background [C*H,D], one sum per row of pixels, for the rows [first, last) of all cameras."""
    height = transmittances.shape[1]
    for row in range(first, last):
        camera, y = row // height, row % height
        for channel in range(v_rows.shape[1]):
            total = 0.0
            for x in range(transmittances.shape[2]):
                total += transmittances[camera, y, x] * v_render_colors[camera, y, x, channel]
            v_rows[row, channel] = total
