"""Front-to-back alpha blending of the tile lists.

Kerbl et al., "3D Gaussian Splatting" (2023), eq. 3: C = sum_i c_i alpha_i T_i + T_end background, with
T_i = prod_{j<i} (1 - alpha_j), alpha_i = min(0.999, o_i exp(-sigma_i)), alpha below 1/255 skipped and the pixel
closed before T falls to 1e-4.

A tile is 32 windows of 8 pixels of a row, each with all its values side by side. The loop over a window has a fixed
length and no branches, so that the compiler makes vector instructions of it, the exponential included; a Gaussian
visits the windows that the box about its visible ellipse touches.
"""

# Kernels are typed by numba on their first call.
# mypy: allow-untyped-defs

from __future__ import annotations

import math

import numpy as np

from ..functional.compilation import inlined, kernel
from .binning import gaussian
from .projection import (
    ALPHA_FLOOR,
    CENTRE_X,
    CENTRE_Y,
    COLORS,
    CONIC_A,
    CONIC_B,
    CONIC_C,
    FACTOR_P,
    FACTOR_Q,
    FACTOR_R,
    HALF_HEIGHT,
    HALF_WIDTH,
    OPACITY,
    TILE,
    pixel_range,
)

ALPHA_CEILING = 0.999
TRANSMITTANCE_STOP = 1e-4
# Fewest colours in a record: RGB and depth share one code path without a loop over channels.
MIN_CHANNELS = 3
LANES = 8
ROW_WINDOWS = TILE // LANES
WINDOWS = TILE * ROW_WINDOWS
# Where the values of a window start: T, or -T once the pixel is closed; the place in the tile's list that closed
# it, or the list's length; the weight of the last Gaussian; and LANES values per channel of light.
LIMIT, WEIGHT, LIGHT = LANES, 2 * LANES, 3 * LANES
# Records are copied this many at a time: they lie all over memory, and the processor overlaps the waits of a plain
# copy, but not those between two Gaussians' arithmetic.
BATCH = 32

LOG2_E = math.log2(math.e)
# Adding it rounds to a whole number and leaves that number in the lowest bits.
ROUNDER = 1.5 * 2.0**52
# 2^x on [-1/2, 1/2] by its Taylor series, to 3e-13.
E1, E2, E3, E4, E5, E6, E7, E8, E9, E10 = (math.log(2.0) ** n / math.factorial(n) for n in range(1, 11))


@inlined
def tile_box(tile, tiles_x, tiles_y, width, height):
    """Camera, first x and y, past-the-last x and y of a tile counted over all cameras."""
    camera = tile // (tiles_x * tiles_y)
    rest = tile - camera * tiles_x * tiles_y
    row = rest // tiles_x
    x_first, y_first = (rest - row * tiles_x) * TILE, row * TILE
    return camera, x_first, y_first, min(x_first + TILE, width), min(y_first + TILE, height)


@inlined
def copy_records(records, entries, first, last, near):
    """Copy the records of entries [first, last) to the start of near [BATCH,COLORS+P], with conics."""
    for place in range(first, last):
        index = gaussian(entries[place])
        record = near[place - first]
        for column in range(near.shape[1]):
            record[column] = records[index, column]
        p, q, r = record[FACTOR_P], record[FACTOR_Q], record[FACTOR_R]
        record[CONIC_A], record[CONIC_B], record[CONIC_C] = p * p, p * q, q * q + r * r


@inlined
def touched_windows(record, x0, y0, x1, y1):
    """First and past-the-last row, and window of each row, of a tile that a Gaussian reaches."""
    y_first, y_last = pixel_range(record[CENTRE_Y], record[HALF_HEIGHT], y0, y1)
    x_first, x_last = pixel_range(record[CENTRE_X], record[HALF_WIDTH], x0, x1)
    return y_first - y0, y_last - y0, (x_first - x0) // LANES, (x_last - 1 - x0) // LANES + 1


@inlined
def row_exponent(record, dy):
    """Coefficients p, q, r of sigma log2(e) = (p dx + q) dx + r in the row at offset dy from the centre."""
    half_a, half_c = 0.5 * LOG2_E * record[CONIC_A], 0.5 * LOG2_E * record[CONIC_C]
    return half_a, LOG2_E * record[CONIC_B] * dy, half_c * dy * dy


@inlined
def falloff(opacity, exponent, dx):
    """opacity exp(-sigma), given `row_exponent`; exponents above 100 count as 100."""
    x = min((exponent[0] * dx + exponent[1]) * dx + exponent[2], 100.0)
    rounded = ROUNDER - x
    r = (ROUNDER - rounded) - x
    series = ((((E10 * r + E9) * r + E8) * r + E7) * r + E6) * r + E5
    series = ((((series * r + E4) * r + E3) * r + E2) * r + E1) * r + 1.0
    power = np.int64((np.float64(rounded).view(np.int64) + 1023) << 52).view(np.float64)
    return opacity * (series * power)


@kernel
def blend_forward(
    first, last, tiles_x, tiles_y, width, height, tile_starts, entries, records, backgrounds,
    render_colors, render_alphas, transmittances, limits,
):  # fmt: skip
    """Blend tiles [first, last).

    Args:
        tile_starts [C*tiles+1], entries [total]: tile lists from `sort_tiles`.
        records: [C,N,COLORS+P] in the type of the Gaussians, P colours, at least MIN_CHANNELS.
        backgrounds: float64 [C,P].
        render_colors: out [C,H,W,D], D <= P channels are written.
        render_alphas: out [C,H,W].
        transmittances: out, float64 [C,H,W], T_end; this and `limits` only where there is room for them.
        limits: out, int32 [C,H,W], the place in the tile's list that closed the pixel, or the list's length.
    """
    columns = records.shape[2]
    windows = np.empty((WINDOWS, LIGHT + (columns - COLORS) * LANES))
    near = np.empty((BATCH, columns))
    keep = limits.shape[0] > 0
    for tile in range(first, last):
        camera, x0, y0, x1, y1 = tile_box(tile, tiles_x, tiles_y, width, height)
        start, end = tile_starts[tile], tile_starts[tile + 1]
        if start == end:
            for y in range(y0, y1):
                render_alphas[camera, y, x0:x1] = 0.0
                for x in range(x0, x1):
                    for channel in range(render_colors.shape[3]):
                        render_colors[camera, y, x, channel] = backgrounds[camera, channel]
                if keep:
                    transmittances[camera, y, x0:x1] = 1.0
                    limits[camera, y, x0:x1] = 0
            continue
        _open_windows(windows, x1 - x0, y1 - y0, end - start)
        still_open = (x1 - x0) * (y1 - y0)
        for batch in range(start, end, BATCH):
            batch_end = min(batch + BATCH, end)
            copy_records(records[camera], entries, batch, batch_end, near)
            for place in range(batch, batch_end):
                still_open -= _blend_entry(near[place - batch], float(place - start), x0, y0, x1, y1, windows)
            if still_open == 0:
                break
        for y in range(y0, y1):
            shown, alphas = render_colors[camera, y], render_alphas[camera, y]
            for x in range(x0, x1):
                window = windows[(y - y0) * ROW_WINDOWS + (x - x0) // LANES]
                lane = (x - x0) % LANES
                through = abs(window[lane])
                alphas[x] = 1.0 - through
                for channel in range(shown.shape[1]):
                    light = window[LIGHT + channel * LANES + lane]
                    shown[x, channel] = light + through * backgrounds[camera, channel]
                if keep:
                    transmittances[camera, y, x] = through
                    limits[camera, y, x] = np.int32(window[LIMIT + lane])


@inlined
def _open_windows(windows, width, height, length):
    """Begin a tile of width x height pixels; pixels beyond them are closed."""
    windows[:] = 0.0
    for y in range(height):
        for left in range(0, width, LANES):
            window = windows[y * ROW_WINDOWS + left // LANES]
            for lane in range(min(LANES, width - left)):
                window[lane] = 1.0
                window[LIMIT + lane] = length


@inlined
def _blend_entry(record, place, x0, y0, x1, y1, windows):
    """Blend one Gaussian into one tile; the number of pixels it closed."""
    opacity = record[OPACITY]
    c0, c1, c2 = record[COLORS], record[COLORS + 1], record[COLORS + 2]
    closed = 0
    y_first, y_last, x_first, x_last = touched_windows(record, x0, y0, x1, y1)
    for y in range(y_first, y_last):
        exponent = row_exponent(record, y + y0 + 0.5 - record[CENTRE_Y])
        for x in range(x_first, x_last):
            window = windows[y * ROW_WINDOWS + x]
            dx = x * LANES + x0 + 0.5 - record[CENTRE_X]
            closing = 0
            for lane in range(LANES):
                alpha = min(falloff(opacity, exponent, dx + lane), ALPHA_CEILING)
                before = window[lane]
                is_open = before > 0.0
                weight = before * (alpha if is_open & (alpha >= ALPHA_FLOOR) else 0.0)
                after = before - weight
                closes = is_open & (after <= TRANSMITTANCE_STOP)
                closing += 1 if closes else 0
                weight = 0.0 if closes else weight
                window[lane] = -before if closes else after
                window[WEIGHT + lane] = weight
                window[LIGHT + lane] += weight * c0
                window[LIGHT + LANES + lane] += weight * c1
                window[LIGHT + 2 * LANES + lane] += weight * c2
            for column in range(COLORS + MIN_CHANNELS, record.shape[0]):
                for lane in range(LANES):
                    window[LIGHT + (column - COLORS) * LANES + lane] += window[WEIGHT + lane] * record[column]
            if closing > 0:
                closed += closing
                for lane in range(LANES):
                    if window[lane] < 0.0:
                        window[LIMIT + lane] = min(window[LIMIT + lane], place)
    return closed
