"""The analytic gradient of `projection.py`, recomputed from the inputs rather than stored."""

# Kernels are typed by numba on their first call.
# mypy: allow-untyped-defs

from __future__ import annotations

import math

from ..functional.compilation import inlined, kernel
from .projection import (
    CENTRE_X,
    CENTRE_Y,
    CONIC_A,
    CONIC_B,
    CONIC_C,
    OPACITY,
    half_covariance,
    load_camera,
    unit_quaternion,
)
from .vectors import combine, cross, dot, load, multiply, rotation, rotation_backward, row_times, times_column


@inlined
def _covariance_backward(a0, a1, eps2d, antialiased, v_record, opacity):
    """Gradients of a0 and a1 and of the uncompensated opacity, given those of conic and compensated opacity."""
    area = cross(a0, a1)
    sharp = dot(area, area)
    xx, xy, yy = dot(a0, a0), dot(a0, a1), dot(a1, a1)
    determinant = sharp + eps2d * (xx + yy) + eps2d * eps2d
    a, b, c = (yy + eps2d) / determinant, -xy / determinant, (xx + eps2d) / determinant
    # d(cov^-1) = -cov^-1 d(cov) cov^-1: the gradient of the blurred covariance is -P V P.
    va, vb, vc = v_record[CONIC_A], 0.5 * v_record[CONIC_B], v_record[CONIC_C]
    pa, pb, qa, qb = a * va + b * vb, a * vb + b * vc, b * va + c * vb, b * vb + c * vc
    g_xx, g_xy, g_yy = -(pa * a + pb * b), -(pa * b + pb * c), -(qa * b + qb * c)
    v_opacity = v_record[OPACITY]
    v_area = (0.0, 0.0, 0.0)
    if antialiased:
        compensation = math.sqrt(sharp / determinant)
        v_compensation = v_opacity * opacity
        v_opacity *= compensation
        half = 0.5 * compensation * v_compensation
        g_xx, g_xy, g_yy = g_xx - half * a, g_xy - half * b, g_yy - half * c
        if sharp > 0.0:
            v_area = combine(v_compensation / math.sqrt(sharp * determinant), area, 0.0, area)
    v0 = combine(1.0, combine(2.0 * g_xx, a0, 2.0 * g_xy, a1), 1.0, cross(a1, v_area))
    v1 = combine(1.0, combine(2.0 * g_xy, a0, 2.0 * g_yy, a1), 1.0, cross(v_area, a0))
    return v0, v1, v_opacity


@kernel
def project_backward(
    first, last, grain, means, quats, scales, opacities, viewmats, intrinsics, width, height, eps2d, antialiased,
    tile_boxes, v_records, depth_column, v_means, v_quats, v_scales, v_opacities, v_viewmats,
):  # fmt: skip
    """Gradients of the Gaussians in blocks [first, last) of `grain`, summed over the cameras.

    Args:
        v_records: float64 [C,M,GRADIENTS+P] from `gather_entries`, of the M Gaussians of these blocks.
        depth_column: the column of v_records with the gradient of the depth, or -1.
        v_means, v_quats, v_scales, v_opacities: in and out, shaped like the inputs; added to.
        v_viewmats: out, float64 [blocks,C,3,4]; a block is summed by one thread, so the split changes nothing.
    """
    for block in range(first, last):
        for camera in range(viewmats.shape[0]):
            rows, offset, focal, range_x, range_y = load_camera(viewmats, intrinsics, camera, width, height)
            r0, r1, r2 = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
            shift = (0.0, 0.0, 0.0)
            for index in range(block * grain, min(block * grain + grain, means.shape[0])):
                if tile_boxes[camera, index, 1] == 0:
                    continue
                mean, scale = load(means, index), load(scales, index)
                point = combine(1.0, times_column(rows, mean), 1.0, offset)
                quat, inverse_norm = unit_quaternion(quats, index)
                slope_x, slope_y, w0, w1, t0, t1 = half_covariance(point, rows, quat, focal, range_x, range_y)
                v_record = v_records[camera, index - first * grain]
                v_a0, v_a1, v_opacity = _covariance_backward(
                    multiply(t0, scale), multiply(t1, scale), eps2d, antialiased, v_record, float(opacities[index])
                )
                v_opacities[index] += v_opacity
                for axis in range(3):
                    v_scales[index, axis] += v_a0[axis] * t0[axis] + v_a1[axis] * t1[axis]
                v_t0, v_t1 = multiply(v_a0, scale), multiply(v_a1, scale)
                _add_quaternion_gradient(v_quats, index, quat, inverse_norm, w0, w1, v_t0, v_t1)
                turned = rotation(quat[0], quat[1], quat[2], quat[3])
                v_w0, v_w1 = times_column(turned, v_t0), times_column(turned, v_t1)
                # W' = J W with J = [[sx, 0, -sx ux], [0, sy, -sy uy]], sx = fx / z, ux = x / z inside its range.
                inverse_z = 1.0 / point[2]
                sx, sy = focal[0] * inverse_z, focal[1] * inverse_z
                r0 = combine(1.0, r0, sx, v_w0)
                r1 = combine(1.0, r1, sy, v_w1)
                r2 = combine(1.0, r2, 1.0, combine(-sx * slope_x, v_w0, -sy * slope_y, v_w1))
                v_ux = -sx * dot(v_w0, rows[2])
                v_uy = -sy * dot(v_w1, rows[2])
                v_sx = dot(v_w0, rows[0]) - slope_x * dot(v_w0, rows[2])
                v_sy = dot(v_w1, rows[1]) - slope_y * dot(v_w1, rows[2])
                ux, uy = point[0] * inverse_z, point[1] * inverse_z
                v_ux = v_ux if range_x[0] <= ux <= range_x[1] else 0.0
                v_uy = v_uy if range_y[0] <= uy <= range_y[1] else 0.0
                # The centre is fx ux + cx, without a limit.
                v_ux += focal[0] * v_record[CENTRE_X]
                v_uy += focal[1] * v_record[CENTRE_Y]
                v_z = -inverse_z * (v_ux * ux + v_uy * uy + v_sx * sx + v_sy * sy)
                if depth_column >= 0:
                    v_z += v_record[depth_column]
                v_point = (v_ux * inverse_z, v_uy * inverse_z, v_z)
                r0, r1 = combine(1.0, r0, v_point[0], mean), combine(1.0, r1, v_point[1], mean)
                r2 = combine(1.0, r2, v_point[2], mean)
                shift = combine(1.0, shift, 1.0, v_point)
                v_mean = row_times(v_point, rows)
                for axis in range(3):
                    v_means[index, axis] += v_mean[axis]
            for axis in range(3):
                v_viewmats[block, camera, 0, axis] = r0[axis]
                v_viewmats[block, camera, 1, axis] = r1[axis]
                v_viewmats[block, camera, 2, axis] = r2[axis]
                v_viewmats[block, camera, axis, 3] = shift[axis]


@inlined
def _add_quaternion_gradient(v_quats, index, quat, inverse_norm, w0, w1, v_t0, v_t1):
    """Add the gradient of the quaternion before normalisation, given that of T = W' R."""
    g0 = combine(w0[0], v_t0, w1[0], v_t1)
    g1 = combine(w0[1], v_t0, w1[1], v_t1)
    g2 = combine(w0[2], v_t0, w1[2], v_t1)
    v = rotation_backward(quat[0], quat[1], quat[2], quat[3], g0, g1, g2)
    along = v[0] * quat[0] + v[1] * quat[1] + v[2] * quat[2] + v[3] * quat[3]
    for axis in range(4):
        v_quats[index, axis] += (v[axis] - along * quat[axis]) * inverse_norm
