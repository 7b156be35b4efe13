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

LANES = 64  # matrices of a block


@kernel
def orthogonalize(block, left, right):
    """Turns two columns of a block [3, 3, LANES] in their plane, by the smaller angle that ends in a right one."""
    one, half = block.dtype.type(1.0), block.dtype.type(0.5)
    for lane in range(LANES):
        ax, ay, az = block[0, left, lane], block[1, left, lane], block[2, left, lane]
        bx, by, bz = block[0, right, lane], block[1, right, lane], block[2, right, lane]
        product = ax * bx + ay * by + az * bz
        middle = half * ((bx * bx + by * by + bz * bz) - (ax * ax + ay * ay + az * az))
        ratio = middle / product if product != 0 else block.dtype.type(np.inf)
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
def left_singular_frames(first, last, matrices, sweeps, frames, values):
    """U [3, 3, N] and falling σ [3, N] of matrices [3, 3, N]; a range of the N."""
    block, lengths = np.zeros((3, 3, LANES), matrices.dtype), np.zeros((3, LANES), matrices.dtype)
    for start in range(first, last, LANES):
        size = min(LANES, last - start)
        block[..., :size] = matrices[..., start : start + size]
        for _ in range(sweeps):
            orthogonalize(block, 0, 1)
            orthogonalize(block, 0, 2)
            orthogonalize(block, 1, 2)
        for column in range(3):
            normalize(block, lengths, column)
        sort_pair(block, lengths, 0, 1)
        sort_pair(block, lengths, 1, 2)
        sort_pair(block, lengths, 0, 1)
        frames[..., start : start + size] = block[..., :size]
        values[:, start : start + size] = lengths[:, :size]
