"""Front-to-back alpha blending of the tile lists.

Kerbl et al., "3D Gaussian Splatting" (2023), eq. 3: C = sum_i c_i alpha_i T_i + T_end background, with
T_i = prod_{j<i} (1 - alpha_j), alpha_i = min(0.999, o_i exp(-sigma_i)), alpha below 1/255 skipped and the pixel
closed before T falls to 1e-4.

The loops run over a Gaussian's own rows and pixels inside a tile, not over every pixel of the tile. Along a row
exp(-sigma) obeys e(x+1) = e(x) r(x), r(x+1) = r(x) exp(-a), so a row costs two exponentials. Double precision keeps
that recurrence exact to 1e-14 over a tile.
"""

# Kernels are typed by numba on their first call.
# mypy: allow-untyped-defs

from __future__ import annotations

import math

import numpy as np

from ..functional.compilation import kernel
from .projection import (
    ALPHA_FLOOR,
    CENTRE_X,
    CENTRE_Y,
    CONIC_A,
    CONIC_B,
    CONIC_C,
    DETERMINANT,
    HALF_HEIGHT,
    INVERSE_A,
    OPACITY,
    REACH,
    STEP,
    TILE,
)

ALPHA_CEILING = 0.999
TRANSMITTANCE_STOP = 1e-4
# Fewest colour channels in the kernels' buffers: RGB, depth and RGB + depth share one code path without a loop.
MIN_CHANNELS = 4


@kernel
def tile_box(tile, tiles_x, tiles_y, width, height):
    """Camera, first x and y, past-the-last x and y of a tile counted over all cameras."""
    camera = tile // (tiles_x * tiles_y)
    rest = tile - camera * tiles_x * tiles_y
    row = rest // tiles_x
    x_first, y_first = (rest - row * tiles_x) * TILE, row * TILE
    return camera, x_first, y_first, min(x_first + TILE, width), min(y_first + TILE, height)


@kernel
def row_range(record, y_first, y_last):
    """First and past-the-last row of [y_first, y_last) whose pixel centres the visible ellipse may reach."""
    low = record[CENTRE_Y] - record[HALF_HEIGHT] - 0.5 - 1e-6
    high = record[CENTRE_Y] + record[HALF_HEIGHT] - 0.5 + 1e-6
    return math.ceil(max(low, y_first)), math.floor(min(high, y_last - 1.0)) + 1


@kernel
def pixel_range(record, dy, x_first, x_last):
    """First and past-the-last pixel of [x_first, x_last) inside the visible ellipse in the row at offset dy."""
    inside = record[REACH] - record[DETERMINANT] * dy * dy
    half = math.sqrt(max(inside, 0.0)) * record[INVERSE_A] + 1e-6
    middle = record[CENTRE_X] - record[CONIC_B] * dy * record[INVERSE_A] - 0.5
    return math.ceil(max(middle - half, x_first)), math.floor(min(middle + half, x_last - 1.0)) + 1


@kernel
def row_start(record, dx, dy):
    """exp(-sigma) at (dx, dy) and its ratio to the next pixel."""
    a, b, c = record[CONIC_A], record[CONIC_B], record[CONIC_C]
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    return math.exp(-sigma), math.exp(-(a * dx + 0.5 * a + b * dy))


@kernel
def blend_forward(
    first, last, tiles_x, tiles_y, width, height, tile_starts, entries, records, colors, backgrounds,
    render_colors, render_alphas, transmittances, last_entries,
):  # fmt: skip
    """Blend tiles [first, last).

    Args:
        tile_starts [C*tiles+1], entries [total]: tile lists from `fill_tiles`.
        records float64 [C*N,RECORD], colors float64 [C*N,P]: P channels, at least MIN_CHANNELS.
        backgrounds: float64 [C,P].
        render_colors: out [C,H,W,D], D <= P channels are written.
        render_alphas: out [C,H,W].
        transmittances: out, float64 [C,H,W], T_end.
        last_entries: out, int32 [C,H,W], place of the last blended entry in its tile's list, or -1.
    """
    padded, channels = colors.shape[1], render_colors.shape[3]
    light = np.empty((TILE * TILE, padded))
    through = np.empty(TILE * TILE)
    newest = np.empty(TILE * TILE, np.int32)
    open_pixels = np.empty(TILE, np.int64)
    for tile in range(first, last):
        camera, x0, y0, x1, y1 = tile_box(tile, tiles_x, tiles_y, width, height)
        light[:] = 0.0
        through[:] = 1.0
        newest[:] = -1
        open_pixels[:] = x1 - x0
        still_open = (x1 - x0) * (y1 - y0)
        start = tile_starts[tile]
        for place in range(start, tile_starts[tile + 1]):
            flat = entries[place]
            record = records[flat]
            closed = _blend_entry(
                record, colors[flat], np.int32(place - start), x0, y0, x1, y1, light, through, newest, open_pixels
            )
            still_open -= closed
            if still_open == 0:
                break
        for y in range(y0, y1):
            for x in range(x0, x1):
                pixel = (y - y0) * TILE + x - x0
                left = abs(through[pixel])
                transmittances[camera, y, x] = left
                render_alphas[camera, y, x] = 1.0 - left
                last_entries[camera, y, x] = newest[pixel]
                for channel in range(channels):
                    render_colors[camera, y, x, channel] = (
                        light[pixel, channel] + left * backgrounds[camera, channel]
                    )


@kernel
def _blend_entry(record, color, place, x0, y0, x1, y1, light, through, newest, open_pixels):
    """Blend one Gaussian into one tile; the number of pixels it closed. A closed pixel holds -T."""
    opacity, step = record[OPACITY], record[STEP]
    c0, c1, c2, c3 = color[0], color[1], color[2], color[3]
    closed = 0
    y_first, y_last = row_range(record, y0, y1)
    for y in range(y_first, y_last):
        if open_pixels[y - y0] == 0:
            continue
        dy = y + 0.5 - record[CENTRE_Y]
        x_first, x_last = pixel_range(record, dy, x0, x1)
        if x_first >= x_last:
            continue
        value, ratio = row_start(record, x_first + 0.5 - record[CENTRE_X], dy)
        offset = (y - y0) * TILE - x0
        for pixel in range(offset + x_first, offset + x_last):
            alpha = min(opacity * value, ALPHA_CEILING)
            value *= ratio
            ratio *= step
            before = through[pixel]
            if before <= 0.0 or alpha < ALPHA_FLOOR:
                continue
            after = before * (1.0 - alpha)
            if after <= TRANSMITTANCE_STOP:
                through[pixel] = -before
                open_pixels[y - y0] -= 1
                closed += 1
                continue
            weight = before - after
            light[pixel, 0] += weight * c0
            light[pixel, 1] += weight * c1
            light[pixel, 2] += weight * c2
            light[pixel, 3] += weight * c3
            for channel in range(4, color.shape[0]):
                light[pixel, channel] += weight * color[channel]
            through[pixel] = after
            newest[pixel] = place
    return closed
