"""Triples of floats inside kernels: numba keeps tuples in registers, small arrays it does not."""

# Kernels are typed by numba on their first call.
# mypy: allow-untyped-defs

from __future__ import annotations

from ..functional.compilation import inlined


@inlined
def dot(a, b):
    """a · b of two triples."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@inlined
def cross(a, b):
    """a x b of two triples."""
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


@inlined
def combine(s, a, t, b):
    """s a + t b of two triples."""
    return (s * a[0] + t * b[0], s * a[1] + t * b[1], s * a[2] + t * b[2])


@inlined
def multiply(a, b):
    """The elementwise product of two triples."""
    return (a[0] * b[0], a[1] * b[1], a[2] * b[2])


@inlined
def row_times(a, m):
    """a^T M, with M given as its three rows."""
    return (
        a[0] * m[0][0] + a[1] * m[1][0] + a[2] * m[2][0],
        a[0] * m[0][1] + a[1] * m[1][1] + a[2] * m[2][1],
        a[0] * m[0][2] + a[1] * m[1][2] + a[2] * m[2][2],
    )


@inlined
def times_column(m, a):
    """M a, with M given as its three rows."""
    return (dot(m[0], a), dot(m[1], a), dot(m[2], a))


@inlined
def load(array, index):
    """Row `index` of an [N, 3] array as a double precision triple."""
    return (float(array[index, 0]), float(array[index, 1]), float(array[index, 2]))


@inlined
def rotation(w, x, y, z):
    """The rows of the rotation matrix of a unit quaternion (wxyz)."""
    return (
        (1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)),
        (2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)),
        (2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)),
    )


@inlined
def rotation_backward(w, x, y, z, g0, g1, g2):
    """Gradient of a unit quaternion (wxyz), given the gradient rows of its rotation matrix."""
    return (
        2.0 * (x * (g2[1] - g1[2]) + y * (g0[2] - g2[0]) + z * (g1[0] - g0[1])),
        2.0 * (y * (g0[1] + g1[0]) + z * (g0[2] + g2[0]) + w * (g2[1] - g1[2]) - 2.0 * x * (g1[1] + g2[2])),
        2.0 * (x * (g0[1] + g1[0]) + z * (g1[2] + g2[1]) + w * (g0[2] - g2[0]) - 2.0 * y * (g0[0] + g2[2])),
        2.0 * (x * (g0[2] + g2[0]) + y * (g1[2] + g2[1]) + w * (g1[0] - g0[1]) - 2.0 * z * (g0[0] + g1[1])),
    )
