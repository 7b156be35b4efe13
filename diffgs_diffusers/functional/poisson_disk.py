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
    taken = np.empty(num_points, np.int64)
    free = np.arange(len(points))
    count, radius = 0, START_RADIUS
    points = np.ascontiguousarray(points, np.float64)
    while count < num_points and radius > 1e-6:
        count, free = _kernel()(points, free, taken, count, radius)
        radius *= SHRINK
    missing = num_points - count  # only coincident points are left
    taken[count:] = free[:missing]
    return taken


@cache
def _kernel() -> Callable[..., Any]:
    """The compiled pass; numba is imported on first use."""
    from .compilation import kernel

    # Without fused multiply-add: whether a point is taken must not depend on the machine.
    return kernel(_dart_pass, fastmath=False)


def _dart_pass(points, free, taken, count, radius):  # type: ignore[no-untyped-def]
    """One pass over the free points; returns the new count and the points still free."""
    size = 1
    while size < 2 * taken.shape[0]:
        size *= 2
    head = np.full(size, -1, np.int64)
    following = np.full(taken.shape[0], -1, np.int64)
    inverse, radius2 = 1.0 / radius, radius * radius
    for slot in range(count):
        point = points[taken[slot]]
        x = np.int64(np.floor(point[0] * inverse))
        y = np.int64(np.floor(point[1] * inverse))
        z = np.int64(np.floor(point[2] * inverse))
        key = ((x * 73856093) ^ (y * 19349663) ^ (z * 83492791)) & (size - 1)
        following[slot] = head[key]
        head[key] = slot
    left = 0
    rest = np.empty_like(free)
    for position in range(free.shape[0]):
        index = free[position]
        if count == taken.shape[0]:
            rest[left] = index
            left += 1
            continue
        px, py, pz = points[index, 0], points[index, 1], points[index, 2]
        x, y, z = (
            np.int64(np.floor(px * inverse)),
            np.int64(np.floor(py * inverse)),
            np.int64(np.floor(pz * inverse)),
        )
        near = False
        for cell in range(27):
            cx, cy, cz = x + cell // 9 - 1, y + (cell // 3) % 3 - 1, z + cell % 3 - 1
            slot = head[((cx * 73856093) ^ (cy * 19349663) ^ (cz * 83492791)) & (size - 1)]
            while slot >= 0 and not near:
                other = points[taken[slot]]
                dx, dy, dz = other[0] - px, other[1] - py, other[2] - pz
                near = dx * dx + dy * dy + dz * dz < radius2
                slot = following[slot]
            if near:
                break
        if near:
            rest[left] = index
            left += 1
        else:
            key = ((x * 73856093) ^ (y * 19349663) ^ (z * 83492791)) & (size - 1)
            taken[count] = index
            following[count] = head[key]
            head[key] = count
            count += 1
    return count, rest[:left].copy()
