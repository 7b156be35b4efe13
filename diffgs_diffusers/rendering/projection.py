"""EWA projection of 3D Gaussians to screen ellipses.

Zwicker et al., "EWA Volume Splatting" (2001), eq. 29-31; the compensation of Yu et al., "Mip-Splatting" (2024),
eq. 11. With A = J W R S, the 2x3 half of the projected covariance, det(A A^T) = |a0 x a1|^2 (Cauchy-Binet): flat
and edge-on Gaussians lose no digits. All arithmetic is double precision whatever the input type. What is kept is in
that type: tiles read it from all over memory, and half the bytes took 5 % less time, 15 % less on two threads.
"""

# Kernels are typed by numba on their first call.
# mypy: allow-untyped-defs

from __future__ import annotations

import math

from ..functional.compilation import inlined, kernel
from .vectors import combine, cross, dot, load, multiply, rotation, row_times, times_column

ALPHA_FLOOR = 1.0 / 255.0
# 3.33 standard deviations hold every pixel where a Gaussian of opacity 1 stays above the alpha floor.
MAX_EXTENT = 3.33
MAX_RADIUS = 1e9
TILE = 16
# Columns of a screen record: centre x, y (pixels); conic a, b, c, as factors while it is kept; opacity; half width
# and height of the visible ellipse (pixels); from COLORS on the colours that the shading writes.
CENTRE_X, CENTRE_Y, CONIC_A, CONIC_B, CONIC_C, OPACITY, HALF_WIDTH, HALF_HEIGHT, COLORS = range(9)
# a = p², b = p q, c = q² + r²: along a slanted needle a dx² + 2 b dx dy + c dy² cancels, and rounded to single
# precision it may be negative; (p dx + q dy)² + (r dy)² is not.
FACTOR_P, FACTOR_Q, FACTOR_R = CONIC_A, CONIC_B, CONIC_C
# Columns of the details that callers see: those of a record up to the opacity, and the depth.
DETAIL_DEPTH, DETAILS = 6, 7
# Columns of a record's gradient before those of the colours: centre, conic and opacity, in a record's order.
GRADIENTS = 6


@inlined
def load_camera(viewmats, intrinsics, camera, width, height):
    """Rotation rows, translation, focal lengths and centre, and the ranges of x/z and y/z that J may see."""
    view = viewmats[camera]
    rows = (load(view, 0), load(view, 1), load(view, 2))
    offset = (float(view[0, 3]), float(view[1, 3]), float(view[2, 3]))
    fx, fy = float(intrinsics[camera, 0, 0]), float(intrinsics[camera, 1, 1])
    cx, cy = float(intrinsics[camera, 0, 2]), float(intrinsics[camera, 1, 2])
    margin_x, margin_y = 0.15 * width / fx, 0.15 * height / fy
    range_x = (-cx / fx - margin_x, (width - cx) / fx + margin_x)
    range_y = (-cy / fy - margin_y, (height - cy) / fy + margin_y)
    return rows, offset, (fx, fy, cx, cy), range_x, range_y


@inlined
def half_covariance(point, rows, quat, focal, range_x, range_y):
    """The slopes x/z and y/z inside their ranges, W' = J W (2 rows) and T = J W R (2 rows)."""
    inverse_z = 1.0 / point[2]
    slope_x = min(max(point[0] * inverse_z, range_x[0]), range_x[1])
    slope_y = min(max(point[1] * inverse_z, range_y[0]), range_y[1])
    scale_x, scale_y = focal[0] * inverse_z, focal[1] * inverse_z
    w0 = combine(scale_x, rows[0], -scale_x * slope_x, rows[2])
    w1 = combine(scale_y, rows[1], -scale_y * slope_y, rows[2])
    turned = rotation(quat[0], quat[1], quat[2], quat[3])
    return slope_x, slope_y, w0, w1, row_times(w0, turned), row_times(w1, turned)


@inlined
def unit_quaternion(quats, index):
    """The normalised quaternion (wxyz) and the inverse of its norm."""
    w, x, y, z = float(quats[index, 0]), float(quats[index, 1]), float(quats[index, 2]), float(quats[index, 3])
    inverse_norm = 1.0 / math.sqrt(w * w + x * x + y * y + z * z)
    return (w * inverse_norm, x * inverse_norm, y * inverse_norm, z * inverse_norm), inverse_norm


@inlined
def pixel_range(centre, half, first, last):
    """First and past-the-last pixel of [first, last) whose centre lies within `half` of `centre`."""
    low = math.ceil(max(centre - half - 0.5 - 1e-6, first))
    return low, math.floor(min(centre + half - 0.5 + 1e-6, last - 1.0)) + 1


@kernel
def project_forward(
    first, last, means, quats, scales, opacities, viewmats, intrinsics, width, height, near_plane, far_plane,
    radius_clip, eps2d, antialiased, records, details, radii, tile_boxes,
):  # fmt: skip
    """Project Gaussians [first, last) into every camera.

    Args:
        means [N,3], quats [N,4], scales [N,3], opacities [N]: Gaussians, after activation, world frame.
        viewmats [C,4,4], intrinsics [C,3,3]: cameras.
        records: out, [C,N,COLORS+P] in the type of `means`, written for Gaussians with a radius only, colours 0.
        details: out, [C,N,DETAILS], 0 where culled.
        radii: out, int32 [C,N,2], 0 where culled.
        tile_boxes: out, int32 [C,N,4], first and past-the-last tile in x, then in y; empty where invisible.
    """
    for camera in range(viewmats.shape[0]):
        rows, offset, focal, range_x, range_y = load_camera(viewmats, intrinsics, camera, width, height)
        for index in range(first, last):
            for column in range(DETAILS):
                details[camera, index, column] = 0.0
            radii[camera, index, 0] = radii[camera, index, 1] = 0
            for side in range(4):
                tile_boxes[camera, index, side] = 0
            point = combine(1.0, times_column(rows, load(means, index)), 1.0, offset)
            # Written as "not inside" so that NaN counts as outside, here and below.
            if not (point[2] >= near_plane and point[2] <= far_plane):
                continue
            quat, _ = unit_quaternion(quats, index)
            scale = load(scales, index)
            _, _, _, _, t0, t1 = half_covariance(point, rows, quat, focal, range_x, range_y)
            a0, a1 = multiply(t0, scale), multiply(t1, scale)
            area = cross(a0, a1)
            sharp = dot(area, area)
            xx, xy, yy = dot(a0, a0), dot(a0, a1), dot(a1, a1)
            determinant = sharp + eps2d * (xx + yy) + eps2d * eps2d
            if not (determinant > 0.0 and determinant < math.inf):
                continue
            inverse = 1.0 / determinant
            compensation = math.sqrt(sharp * inverse) if antialiased else 1.0
            opacity = float(opacities[index]) * compensation
            if not (opacity >= ALPHA_FLOOR and opacity < math.inf):
                continue
            # Standard deviations at which the opacity has fallen to the alpha floor.
            reach = math.sqrt(2.0 * math.log(opacity / ALPHA_FLOOR))
            sigma_x, sigma_y = math.sqrt(xx + eps2d), math.sqrt(yy + eps2d)
            extent = min(MAX_EXTENT, reach)
            radius_x = min(math.ceil(extent * sigma_x), MAX_RADIUS)
            radius_y = min(math.ceil(extent * sigma_y), MAX_RADIUS)
            x = focal[0] * point[0] / point[2] + focal[2]
            y = focal[1] * point[1] / point[2] + focal[3]
            if radius_x <= radius_clip and radius_y <= radius_clip:
                continue
            if not (x + radius_x > 0 and x - radius_x < width and y + radius_y > 0 and y - radius_y < height):
                continue
            radii[camera, index, 0], radii[camera, index, 1] = int(radius_x), int(radius_y)
            a, b, c = (yy + eps2d) * inverse, -xy * inverse, (xx + eps2d) * inverse
            detail = details[camera, index]
            detail[CENTRE_X], detail[CENTRE_Y] = x, y
            detail[CONIC_A], detail[CONIC_B], detail[CONIC_C] = a, b, c
            detail[OPACITY], detail[DETAIL_DEPTH] = opacity, point[2]
            half_x, half_y = reach * sigma_x, reach * sigma_y
            record = records[camera, index]
            record[CENTRE_X], record[CENTRE_Y] = x, y
            record[FACTOR_P], record[FACTOR_R] = math.sqrt(a), 1.0 / math.sqrt(yy + eps2d)
            record[FACTOR_Q] = b / math.sqrt(a)
            record[OPACITY], record[HALF_WIDTH], record[HALF_HEIGHT] = opacity, half_x, half_y
            for column in range(COLORS, records.shape[2]):
                record[column] = 0.0
            x_first, x_last = pixel_range(x, half_x, 0, width)
            y_first, y_last = pixel_range(y, half_y, 0, height)
            if x_first < x_last and y_first < y_last:
                box = tile_boxes[camera, index]
                box[0], box[1] = x_first // TILE, (x_last - 1) // TILE + 1
                box[2], box[3] = y_first // TILE, (y_last - 1) // TILE + 1
