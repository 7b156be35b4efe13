"""Conversions of one rotation, for use in kernels; importing them loads numba, so it is done on first use.

They take and give numbers, not arrays: a view of an array costs more than the conversion.
"""

# Kernels are typed by numba on their first call.
# mypy: allow-untyped-defs

from __future__ import annotations

import math

import numpy as np

from .compilation import kernel

# numba makes float64 of a float32 and a whole number; these take the precision of what they meet
ONE, TWO = np.float32(1.0), np.float32(2.0)


@kernel
def matrix_of(w, x, y, z):
    """Rows of the rotation matrix of a quaternion of any length but 0."""
    f = TWO / (w * w + x * x + y * y + z * z)
    return (
        (ONE - f * (y * y + z * z), f * (x * y - w * z), f * (x * z + w * y)),
        (f * (x * y + w * z), ONE - f * (x * x + z * z), f * (y * z - w * x)),
        (f * (x * z - w * y), f * (y * z + w * x), ONE - f * (x * x + y * y)),
    )


@kernel
def quaternion_of(matrix):
    """Unit quaternion (w, x, y, z) with w ≥ 0 of the rows of a rotation matrix (Shepperd's method)."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = matrix
    w, x, y, z = ONE + xx + yy + zz, ONE + xx - yy - zz, ONE - xx + yy - zz, ONE - xx - yy + zz
    if w >= max(x, y, z):
        x, y, z = zy - yz, xz - zx, yx - xy
    elif x >= max(y, z):
        w, y, z = zy - yz, xy + yx, xz + zx
    elif y >= z:
        w, x, z = xz - zx, xy + yx, yz + zy
    else:
        w, x, y = yx - xy, xz + zx, yz + zy
    length = math.copysign(math.sqrt(w * w + x * x + y * y + z * z), w)
    return w / length, x / length, y / length, z / length
