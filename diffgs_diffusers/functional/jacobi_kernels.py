"""Kernels of the Jacobi rotations on the CPU; importing them loads numba, so it is done on first use.

They work on blocks of matrices whose entries lie side by side and have no branches: compilers turn each loop over a
block's lanes into vector instructions, which is ten times as fast as one matrix after another.
"""

# Kernels are typed by numba on their first call.
# mypy: allow-untyped-defs

from __future__ import annotations

import math

import numpy as np

from .compilation import kernel
from .quaternion_kernels import matrix_of, quaternion_of

LANES = 64  # matrices of a block


@kernel
def orthogonalize(block, left, right):
    """Turns two columns of a block [3, 3, LANES] in their plane, by the smaller angle that ends in a right one."""
    one, half = np.float32(1.0), np.float32(0.5)
    for lane in range(LANES):
        ax, ay, az = block[0, left, lane], block[1, left, lane], block[2, left, lane]
        bx, by, bz = block[0, right, lane], block[1, right, lane], block[2, right, lane]
        product = ax * bx + ay * by + az * bz
        middle = half * ((bx * bx + by * by + bz * bz) - (ax * ax + ay * ay + az * az))
        ratio = middle / product if product != 0 else np.float32(np.inf)
        tangent = math.copysign(one, ratio) / (abs(ratio) + math.sqrt(one + ratio * ratio))
        cosine = one / math.sqrt(one + tangent * tangent)
        sine = cosine * tangent
        block[0, left, lane], block[0, right, lane] = cosine * ax - sine * bx, sine * ax + cosine * bx
        block[1, left, lane], block[1, right, lane] = cosine * ay - sine * by, sine * ay + cosine * by
        block[2, left, lane], block[2, right, lane] = cosine * az - sine * bz, sine * az + cosine * bz


@kernel
def normalize(block, lengths, column):
    """Splits a column of a block into its lengths [3, LANES] and directions."""
    for lane in range(LANES):
        x, y, z = block[0, column, lane], block[1, column, lane], block[2, column, lane]
        length = math.sqrt(x * x + y * y + z * z)
        lengths[column, lane] = length
        block[0, column, lane], block[1, column, lane], block[2, column, lane] = x / length, y / length, z / length


@kernel
def sort_pair(block, lengths, left, right):
    """Exchanges two columns where the right one is longer, and turns the last one round to keep a rotation."""
    for lane in range(LANES):
        a, b = lengths[left, lane], lengths[right, lane]
        lengths[left, lane], lengths[right, lane] = max(a, b), min(a, b)
        for row in range(3):
            c, d = block[row, left, lane], block[row, right, lane]
            block[row, left, lane], block[row, right, lane] = (d, c) if b > a else (c, d)
            block[row, 2, lane] = -block[row, 2, lane] if b > a else block[row, 2, lane]


@kernel
def stretch(first, last, quats, scales, factors, sweeps, new_quats, new_scales):
    """Quaternions [N, 4] and falling scales [N, 3] of Gaussians stretched by factors [3]; a range of the N."""
    block, lengths = np.zeros((3, 3, LANES), scales.dtype), np.zeros((3, LANES), scales.dtype)
    for start in range(first, last, LANES):
        size = min(LANES, last - start)
        for lane in range(size):
            w, x, y, z = quats[start + lane]
            matrix = matrix_of(w, x, y, z)
            for row in range(3):
                for column in range(3):
                    block[row, column, lane] = factors[row] * matrix[row][column] * scales[start + lane, column]
        for _ in range(sweeps):
            orthogonalize(block, 0, 1)
            orthogonalize(block, 0, 2)
            orthogonalize(block, 1, 2)
        for column in range(3):
            normalize(block, lengths, column)
        sort_pair(block, lengths, 0, 1)
        sort_pair(block, lengths, 1, 2)
        sort_pair(block, lengths, 0, 1)
        for lane in range(size):
            a = (block[0, 0, lane], block[0, 1, lane], block[0, 2, lane])
            b = (block[1, 0, lane], block[1, 1, lane], block[1, 2, lane])
            c = (block[2, 0, lane], block[2, 1, lane], block[2, 2, lane])
            quat = new_quats[start + lane]
            quat[0], quat[1], quat[2], quat[3] = quaternion_of((a, b, c))
            for column in range(3):
                new_scales[start + lane, column] = lengths[column, lane]
