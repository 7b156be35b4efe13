"""Kernels of the lookup in folded planes on the CPU; importing them loads numba, so it is done on first use."""

# Kernels are typed by numba on their first call.
# mypy: allow-untyped-defs

from __future__ import annotations

from functools import partial

import numpy as np

from .compilation import kernel
from .plane_lookup_kernels import add_gradient, locate_axes, round_bits


# Taken in before it is compiled, or else the views of every row are arrays to numba.
@partial(kernel, inline="always")
def hidden(cells, point, side, own, bias, floor, row):
    """A row [H] of one point: what cells [3, R, R, H] hold, the point's own part, the bias; at least the floor."""
    (x0, x1, u, _), (y0, y1, v, _), (z0, z1, w, _) = locate_axes(point, side, cells.shape[1])
    one = np.float32(1.0)
    a0, b0, c0, d0 = cells[0, z0, x0], cells[0, z0, x1], cells[0, z1, x0], cells[0, z1, x1]
    a1, b1, c1, d1 = cells[1, y0, x0], cells[1, y0, x1], cells[1, y1, x0], cells[1, y1, x1]
    a2, b2, c2, d2 = cells[2, z0, y0], cells[2, z0, y1], cells[2, z1, y0], cells[2, z1, y1]
    wa0, wb0, wc0, wd0 = (one - u) * (one - w), u * (one - w), (one - u) * w, u * w
    wa1, wb1, wc1, wd1 = (one - u) * (one - v), u * (one - v), (one - u) * v, u * v
    wa2, wb2, wc2, wd2 = (one - v) * (one - w), v * (one - w), (one - v) * w, v * w
    for i in range(row.size):  # the planes in one pass: the row is written once
        value = bias[i] + point[0] * own[0, i] + point[1] * own[1, i] + point[2] * own[2, i]
        value += wa0 * a0[i] + wb0 * b0[i] + wc0 * c0[i] + wd0 * d0[i]
        value += wa1 * a1[i] + wb1 * b1[i] + wc1 * c1[i] + wd1 * d1[i]
        value += wa2 * a2[i] + wb2 * b2[i] + wc2 * c2[i] + wd2 * d2[i]
        row[i] = max(value, floor)


@kernel
def read(first, last, cells, points, side, own, bias, floor, rows):
    """Rows [M, H] of points [M, 3]; a range of them."""
    for index in range(first, last):
        hidden(cells, points[index], side, own, bias, floor, rows[index])


@kernel
def read_rounded(first, last, cells, points, side, own, bias, floor, rows):
    """As :func:`read`, rounded to bfloat16: rows of uint16 hold the bits."""
    row = np.empty(rows.shape[1], dtype=np.float32)
    bits = row.view(np.uint32)
    for index in range(first, last):
        hidden(cells, points[index], side, own, bias, floor, row)
        round_bits(bits, rows[index])


@partial(kernel, inline="always", fastmath=True)
def gradient(cells, point, side, own, v_hidden, v_point):
    """The gradient [3] of one point from that of its row [H], before its activation."""
    resolution = cells.shape[1]
    per_unit = np.float32(resolution) / side
    for axis in range(3):
        total = np.float32(0.0)
        for i in range(v_hidden.size):
            total += v_hidden[i] * own[axis, i]
        v_point[axis] = total
    places = locate_axes(point, side, resolution)
    for plane in range(3):
        add_gradient(plane, cells[plane], places, per_unit, v_hidden, v_point)


# Sums over channels are vectorised only if they may be re-associated.
@partial(kernel, fastmath=True)
def read_backward(first, last, cells, points, side, own, is_bent, rows, v_rows, v_points):
    """Gradients of the points; a range of them. Rows, where their activation is one, are those of a ReLU."""
    v_hidden = np.empty(rows.shape[1], dtype=np.float32)
    zero = np.float32(0.0)
    for index in range(first, last):
        row, v_row = rows[index], v_rows[index]
        for i in range(v_hidden.size):
            v_hidden[i] = v_row[i] if row[i] > zero or not is_bent else zero
        gradient(cells, points[index], side, own, v_hidden, v_points[index])


@partial(kernel, fastmath=True)
def read_rounded_backward(first, last, cells, points, side, own, is_bent, rows, v_rows, v_points):
    """As :func:`read_backward`, for bits of bfloat16 in uint16."""
    v_hidden = np.empty(rows.shape[1], dtype=np.float32)
    bits = v_hidden.view(np.uint32)
    zero, upper = np.uint32(0), np.uint32(16)
    for index in range(first, last):
        row, v_row = rows[index], v_rows[index]
        for i in range(bits.size):  # a ReLU's value is never negative: it is above 0 if a bit is set
            bits[i] = np.uint32(v_row[i]) << upper if row[i] or not is_bent else zero
        gradient(cells, points[index], side, own, v_hidden, v_points[index])
