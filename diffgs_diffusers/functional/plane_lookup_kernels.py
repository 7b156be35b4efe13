"""Kernels of the plane lookup on the CPU; importing them loads numba, so it is done on first use."""

# Kernels are typed by numba on their first call.
# mypy: allow-untyped-defs

from __future__ import annotations

from functools import partial

import numpy as np

from .compilation import inlined, kernel


@inlined
def locate(coordinate, side, resolution):
    """Lower cell, upper cell, weight of the upper one, and whether the coordinate lies between cells' centres.

    The cells are unsigned: for others, numba asks at every access whether they count from the end.
    """
    unclamped = (coordinate / side + np.float32(0.5)) * np.float32(resolution) - np.float32(0.5)
    place = min(max(unclamped, np.float32(0.0)), np.float32(resolution - 1))
    lower = min(int(place), max(resolution - 2, 0))
    weight = np.float32(place - lower)
    return np.uintp(lower), np.uintp(min(lower + 1, resolution - 1)), weight, unclamped == place


@inlined
def locate_axes(point, side, resolution):
    """:func:`locate` for x, y and z: two planes ask for each of them."""
    return (
        locate(point[0], side, resolution),
        locate(point[1], side, resolution),
        locate(point[2], side, resolution),
    )


@inlined
def corners(point, plane, side, resolution):
    """Columns and rows of the four cells about a point on a plane, and the bilinear weights of those cells."""
    left, right, u, _ = locate(point[1 if plane == 2 else 0], side, resolution)
    top, bottom, v, _ = locate(point[1 if plane == 1 else 2], side, resolution)
    one = np.float32(1.0)
    return left, right, top, bottom, (one - u) * (one - v), u * (one - v), (one - u) * v, u * v


# Taken in before it is compiled, or else the views of every row are arrays to numba: a third slower.
@partial(kernel, inline="always")
def features(cells, batch, point, side, row):
    """A row [3C + 3] of one point from cells [B, 3, R, R, C]: the planes xz, xy and yz, and the point itself."""
    resolution, channels = cells.shape[2], cells.shape[4]
    x, y, z = locate_axes(point, side, resolution)
    one = np.float32(1.0)
    for plane in range(3):
        left, right, u, _ = y if plane == 2 else x
        top, bottom, v, _ = y if plane == 1 else z
        wa, wb, wc, wd = (one - u) * (one - v), u * (one - v), (one - u) * v, u * v
        upper, lower = cells[batch, plane, top], cells[batch, plane, bottom]
        a, b, c, d = upper[left], upper[right], lower[left], lower[right]
        part = row[plane * channels : (plane + 1) * channels]
        for channel in range(channels):
            part[channel] = wa * a[channel] + wb * b[channel] + wc * c[channel] + wd * d[channel]
    for axis in range(3):
        row[3 * channels + axis] = point[axis]


@kernel
def read(first, last, cells, points, side, rows):
    """Rows [B, M, 3C + 3] of points [B, M, 3] from cells [B, 3, R, R, C]; a range of the B·M points."""
    for index in range(first, last):
        batch, number = index // points.shape[1], index % points.shape[1]
        features(cells, batch, points[batch, number], side, rows[batch, number])


@inlined
def round_bits(bits, rounded):
    """The bits of float32 numbers to those of bfloat16: to the nearest, ties to the even one."""
    half, one, upper = np.uint32(0x7FFF), np.uint32(1), np.uint32(16)
    for place in range(bits.size):
        value = bits[place]
        rounded[place] = np.uint16((value + half + ((value >> upper) & one)) >> upper)


@kernel
def read_rounded(first, last, cells, points, side, rows):
    """As :func:`read`, rounded to bfloat16: rows of uint16 hold the bits."""
    row = np.empty(rows.shape[2], dtype=np.float32)
    bits = row.view(np.uint32)
    for index in range(first, last):
        batch, number = index // points.shape[1], index % points.shape[1]
        features(cells, batch, points[batch, number], side, row)
        round_bits(bits, rows[batch, number])


@kernel
def read_backward_planes(first, last, points, side, v_rows, v_cells):
    """Adds the cells' gradients to ``v_cells``; a range of the B·3 planes."""
    resolution, channels = v_cells.shape[2], v_cells.shape[4]
    for pair in range(first, last):
        batch, plane = pair // 3, pair % 3
        for number in range(points.shape[1]):
            left, right, top, bottom, wa, wb, wc, wd = corners(points[batch, number], plane, side, resolution)
            a, b = v_cells[batch, plane, top, left], v_cells[batch, plane, top, right]
            c, d = v_cells[batch, plane, bottom, left], v_cells[batch, plane, bottom, right]
            part = v_rows[batch, number, plane * channels : (plane + 1) * channels]
            for channel in range(channels):
                value = part[channel]
                a[channel] += wa * value
                b[channel] += wb * value
                c[channel] += wc * value
                d[channel] += wd * value


# Taken in before it is compiled, like `features`.
@partial(kernel, inline="always", fastmath=True)
def add_gradient(plane, cells, places, per_unit, v_features, v_point):
    """Adds to a point's gradient what the features [C] of one plane, cells [R, R, C], bring to it."""
    x, y, z = places
    column_axis, row_axis = (1 if plane == 2 else 0), (1 if plane == 1 else 2)
    left, right, u, inside_u = y if plane == 2 else x
    top, bottom, v, inside_v = y if plane == 1 else z
    a, b, c, d = cells[top, left], cells[top, right], cells[bottom, left], cells[bottom, right]
    sum_a = sum_b = sum_c = sum_d = np.float32(0.0)
    for channel in range(v_features.size):
        value = v_features[channel]
        sum_a += value * a[channel]
        sum_b += value * b[channel]
        sum_c += value * c[channel]
        sum_d += value * d[channel]
    if inside_u:
        v_point[column_axis] += per_unit * ((sum_b - sum_a) * (1 - v) + (sum_d - sum_c) * v)
    if inside_v:
        v_point[row_axis] += per_unit * ((sum_c - sum_a) * (1 - u) + (sum_d - sum_b) * u)


# Sums over channels are vectorised only if they may be re-associated.
@partial(kernel, fastmath=True)
def read_backward_points(first, last, cells, points, side, v_rows, v_points):
    """Gradients of the points; a range of the B·M points."""
    resolution, channels = cells.shape[2], cells.shape[4]
    per_unit = np.float32(resolution) / side
    for index in range(first, last):
        batch, number = index // points.shape[1], index % points.shape[1]
        point, v_point, v_row = points[batch, number], v_points[batch, number], v_rows[batch, number]
        v_point[:] = v_row[3 * channels :]
        places = locate_axes(point, side, resolution)
        for plane in range(3):
            v_features = v_row[plane * channels : (plane + 1) * channels]
            add_gradient(plane, cells[batch, plane], places, per_unit, v_features, v_point)
