"""Even subsets of scattered points."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

START_RADIUS = 0.25  # object units; a handful of points of a unit object lie so far apart
SHRINK = 0.9  # of the radius from pass to pass


def progressive_poisson_disk(points: np.ndarray, num_points: int) -> np.ndarray:
    """Indices of ``num_points`` evenly spread points, every prefix of them evenly spread as well.

    Dart throwing in passes: a point is taken if no taken point lies within the radius, and the radius shrinks
    from pass to pass until enough are taken. Points are tried in the given order, so shuffled points give an
    unbiased set and equal input gives equal output.

    Args:
        points: [M, 3], M ≥ num_points; coincident ones are taken last.
        num_points: how many to take.

    Returns:
        [num_points] int64.

    Raises:
        ValueError: if there are fewer points than asked for.
    """
    if len(points) < num_points:
        raise ValueError(f"Cannot take {num_points} of {len(points)} points.")
    # A million points come with millions of candidates: 32-bit numbers, and one set of buffers for all passes.
    index_type = np.int32 if len(points) < 2**31 else np.int64
    points = np.ascontiguousarray(points, np.float32)
    free, taken = np.arange(len(points), dtype=index_type), np.empty(num_points, index_type)
    blockers = np.full(len(points), np.inf, np.float32)
    head = np.empty(1 << (2 * num_points - 1).bit_length(), index_type)
    following = np.empty(num_points, index_type)
    count, radius = 0, START_RADIUS
    while count < num_points and radius > 1e-6:
        count, left = _kernel()(points, free, taken, count, radius, blockers, head, following)
        free = free[:left]
        radius *= SHRINK
    missing = num_points - count  # only coincident points are left
    taken[count:] = free[:missing]
    return taken.astype(np.int64)


@cache
def _kernel() -> Callable[..., Any]:
    """The compiled pass; numba is imported on first use."""
    from .compilation import kernel

    # Without fused multiply-add: whether a point is taken must not depend on the machine.
    return kernel(_dart_pass, fastmath=False)


def _dart_pass(points, free, taken, count, radius, blockers, head, following):  # type: ignore[no-untyped-def]
    """One pass over the free points, which moves those still free to the front; counts of taken and free points.

    ``blockers`` holds the squared distance from each point to some taken one: until the radius falls below it, in
    several passes, nobody need look around again. ``head`` and ``following`` are a hash table of the taken points
    by grid cell, one list for each hash.
    """
    mask = head.shape[0] - 1
    head[:] = -1
    inverse, radius2 = 1.0 / radius, radius * radius
    for slot in range(count):
        point = points[taken[slot]]
        x = np.int64(np.floor(point[0] * inverse))
        y = np.int64(np.floor(point[1] * inverse))
        z = np.int64(np.floor(point[2] * inverse))
        key = ((x * 73856093) ^ (y * 19349663) ^ (z * 83492791)) & mask
        following[slot] = head[key]
        head[key] = slot
    left = 0
    for position in range(free.shape[0]):
        index = free[position]
        if count == taken.shape[0] or blockers[index] < radius2:
            free[left] = index
            left += 1
            continue
        px, py, pz = points[index, 0], points[index, 1], points[index, 2]
        x, y, z = (
            np.int64(np.floor(px * inverse)),
            np.int64(np.floor(py * inverse)),
            np.int64(np.floor(pz * inverse)),
        )
        near = False
        for turn in range(27):
            cell = (turn + 13) % 27  # the point's own cell first: most blockers lie there
            cx, cy, cz = x + cell // 9 - 1, y + (cell // 3) % 3 - 1, z + cell % 3 - 1
            slot = head[((cx * 73856093) ^ (cy * 19349663) ^ (cz * 83492791)) & mask]
            while slot >= 0 and not near:
                other = points[taken[slot]]
                dx, dy, dz = other[0] - px, other[1] - py, other[2] - pz
                distance2 = dx * dx + dy * dy + dz * dz
                near = distance2 < radius2
                if near:
                    blockers[index] = distance2
                slot = following[slot]
            if near:
                break
        if near:
            free[left] = index
            left += 1
        else:
            key = ((x * 73856093) ^ (y * 19349663) ^ (z * 83492791)) & mask
            taken[count] = index
            following[count] = head[key]
            head[key] = count
            count += 1
    return count, left
