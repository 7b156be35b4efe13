"""Per-camera colours of the Gaussians: given directly, or from spherical harmonics and the view direction.

Real spherical harmonics of degree 0 to 3 in the order and sign of 3DGS files: within band l, m = -l ... l, with the
Condon-Shortley phase. rgb = max(sum_k sh_k Y_k(direction) + 0.5, 0).
"""

# Kernels are typed by numba on their first call.
# mypy: allow-untyped-defs

from __future__ import annotations

import math

import numpy as np

from ..functional.compilation import inlined, kernel
from .projection import COLORS, DETAIL_DEPTH, GRADIENTS
from .vectors import combine, dot, load

Y0 = 0.28209479177387814  # sqrt(1 / (4 pi))
Y1 = 0.4886025119029199  # sqrt(3 / (4 pi))
Y2 = 1.0925484305920792  # sqrt(15 / (4 pi))
Y2_M0 = 0.31539156525252005  # sqrt(5 / (16 pi))
Y2_M2 = 0.5462742152960396  # sqrt(15 / (16 pi))
Y3_M0 = 0.3731763325901154  # sqrt(7 / (16 pi))
Y3_M1 = 0.4570457994644658  # sqrt(21 / (32 pi))
Y3_M2 = 1.445305721320277  # sqrt(105 / (16 pi))
Y3_M3 = 0.5900435899266435  # sqrt(35 / (32 pi))


@inlined
def _basis(degree, x, y, z, basis):
    """Write the values of the harmonics up to `degree` in the unit direction (x, y, z) into basis [16]."""
    basis[0] = Y0
    if degree > 0:
        basis[1], basis[2], basis[3] = -Y1 * y, Y1 * z, -Y1 * x
    if degree > 1:
        basis[4], basis[5], basis[6] = Y2 * x * y, -Y2 * y * z, Y2_M0 * (3.0 * z * z - 1.0)
        basis[7], basis[8] = -Y2 * x * z, Y2_M2 * (x * x - y * y)
    if degree > 2:
        basis[9], basis[10] = -Y3_M3 * y * (3.0 * x * x - y * y), 2.0 * Y3_M2 * x * y * z
        basis[11], basis[12] = -Y3_M1 * y * (5.0 * z * z - 1.0), Y3_M0 * z * (5.0 * z * z - 3.0)
        basis[13], basis[14] = -Y3_M1 * x * (5.0 * z * z - 1.0), Y3_M2 * z * (x * x - y * y)
        basis[15] = -Y3_M3 * x * (x * x - 3.0 * y * y)


@inlined
def _direction_gradient(degree, x, y, z, g):
    """sum_k g_k grad Y_k at (x, y, z), Y_k taken as the polynomial that `_basis` writes."""
    dx = dy = dz = 0.0
    if degree > 0:
        dx, dy, dz = -Y1 * g[3], -Y1 * g[1], Y1 * g[2]
    if degree > 1:
        dx += Y2 * (y * g[4] - z * g[7]) + 2.0 * Y2_M2 * x * g[8]
        dy += Y2 * (x * g[4] - z * g[5]) - 2.0 * Y2_M2 * y * g[8]
        dz += 6.0 * Y2_M0 * z * g[6] - Y2 * (y * g[5] + x * g[7])
    if degree > 2:
        plane = 5.0 * z * z - 1.0
        squares = 3.0 * (x * x - y * y)
        dx += -6.0 * Y3_M3 * x * y * g[9] + 2.0 * Y3_M2 * (y * z * g[10] + x * z * g[14])
        dx += -Y3_M1 * plane * g[13] - Y3_M3 * squares * g[15]
        dy += -Y3_M3 * squares * g[9] + 2.0 * Y3_M2 * (x * z * g[10] - y * z * g[14])
        dy += -Y3_M1 * plane * g[11] + 6.0 * Y3_M3 * x * y * g[15]
        dz += 2.0 * Y3_M2 * x * y * g[10] + Y3_M2 * (x * x - y * y) * g[14]
        dz += -10.0 * Y3_M1 * z * (y * g[11] + x * g[13]) + Y3_M0 * (15.0 * z * z - 3.0) * g[12]
    return (dx, dy, dz)


@inlined
def _direction(degree, means, index, eye):
    """Unit vector from the camera centre to a Gaussian, and the inverse of the distance; 0 where not needed."""
    if degree == 0:
        return (0.0, 0.0, 0.0), 0.0
    towards = combine(1.0, load(means, index), -1.0, eye)
    length = math.sqrt(dot(towards, towards))
    inverse = 1.0 / length if length > 0.0 else 0.0
    return combine(inverse, towards, 0.0, towards), inverse


@kernel
def shade_harmonics(first, last, degree, means, centres, coefficients, tile_boxes, records):
    """RGB of the visible Gaussians [first, last) in every camera.

    Args:
        means [N,3], centres [C,3]: Gaussians and camera centres, world frame.
        coefficients: [1 or C,N,K,3].
        records: out, [C,N,COLORS+P], the first three colours.
    """
    basis = np.empty(16)
    for camera in range(centres.shape[0]):
        source = coefficients[min(camera, coefficients.shape[0] - 1)]
        eye = load(centres, camera)
        for index in range(first, last):
            if tile_boxes[camera, index, 1] == 0:
                continue
            towards, _ = _direction(degree, means, index, eye)
            _basis(degree, towards[0], towards[1], towards[2], basis)
            red = green = blue = 0.5
            for k in range((degree + 1) * (degree + 1)):
                red += basis[k] * source[index, k, 0]
                green += basis[k] * source[index, k, 1]
                blue += basis[k] * source[index, k, 2]
            for channel, value in enumerate((red, green, blue)):
                records[camera, index, COLORS + channel] = max(value, 0.0)


@kernel
def shade_harmonics_backward(
    first, last, grain, degree, means, centres, coefficients, tile_boxes, records,
    v_records, v_means, v_centres, v_coefficients,
):  # fmt: skip
    """Gradients of `shade_harmonics` for the Gaussians in blocks [first, last) of `grain`.

    Args:
        v_records: float64 [C,M,GRADIENTS+P] from `gather_entries`, of the M Gaussians of these blocks.
        v_means [N,3], v_coefficients [1 or C,N,K,3]: in and out, added to.
        v_centres: out, float64 [blocks,C,3], one sum per block.
    """
    basis, along = np.empty(16), np.empty(16)
    for block in range(first, last):
        for camera in range(centres.shape[0]):
            source = coefficients[min(camera, coefficients.shape[0] - 1)]
            target = v_coefficients[min(camera, coefficients.shape[0] - 1)]
            eye = load(centres, camera)
            total = (0.0, 0.0, 0.0)
            for index in range(block * grain, min(block * grain + grain, means.shape[0])):
                if tile_boxes[camera, index, 1] == 0:
                    continue
                towards, inverse = _direction(degree, means, index, eye)
                _basis(degree, towards[0], towards[1], towards[2], basis)
                along[:] = 0.0
                for channel in range(3):
                    # The clamp at zero passes no gradient below it.
                    shown = records[camera, index, COLORS + channel] > 0.0
                    v = v_records[camera, index - first * grain, GRADIENTS + channel] if shown else 0.0
                    for k in range((degree + 1) * (degree + 1)):
                        target[index, k, channel] += v * basis[k]
                        along[k] += v * source[index, k, channel]
                if degree > 0:
                    v_unit = _direction_gradient(degree, towards[0], towards[1], towards[2], along)
                    v_mean = combine(inverse, v_unit, -inverse * dot(v_unit, towards), towards)
                    total = combine(1.0, total, 1.0, v_mean)
                    for axis in range(3):
                        v_means[index, axis] += v_mean[axis]
            for axis in range(3):
                v_centres[block, camera, axis] = -total[axis]


@kernel
def shade_direct(first, last, source, tile_boxes, records):
    """Copy given colours [1 or C,N,D] of the visible Gaussians [first, last) into records [C,N,COLORS+P]."""
    for camera in range(tile_boxes.shape[0]):
        given = source[min(camera, source.shape[0] - 1)]
        for index in range(first, last):
            if tile_boxes[camera, index, 1] > 0:
                for channel in range(given.shape[1]):
                    records[camera, index, COLORS + channel] = given[index, channel]


@kernel
def shade_direct_backward(first, last, tile_boxes, v_records, v_source):
    """Add gradients v_records [C,last-first,GRADIENTS+P] of Gaussians [first, last) to v_source [1 or C,N,D]."""
    for camera in range(tile_boxes.shape[0]):
        target = v_source[min(camera, v_source.shape[0] - 1)]
        for index in range(first, last):
            if tile_boxes[camera, index, 1] > 0:
                for channel in range(target.shape[1]):
                    target[index, channel] += v_records[camera, index - first, GRADIENTS + channel]


@kernel
def shade_depth(first, last, details, tile_boxes, channel, records):
    """Write the depths of the visible Gaussians [first, last) as one colour of records [C,N,COLORS+P]."""
    for camera in range(tile_boxes.shape[0]):
        for index in range(first, last):
            if tile_boxes[camera, index, 1] > 0:
                records[camera, index, COLORS + channel] = details[camera, index, DETAIL_DEPTH]
