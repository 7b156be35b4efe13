from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from diffgs_diffusers.functional.poisson_disk import SHRINK, START_RADIUS, progressive_poisson_disk


def sphere_points(count: int) -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True) * 0.4


def gaps(chosen: np.ndarray, everything: np.ndarray) -> tuple[float, float]:
    """Smallest distance inside the set, and largest distance from any point to the set."""
    inside = cKDTree(chosen).query(chosen, k=2)[0][:, 1].min()
    return inside, cKDTree(chosen).query(everything)[0].max()


def test_every_prefix_is_even_and_covers():
    points = sphere_points(20_000)
    order = progressive_poisson_disk(points, 4000)
    assert len(set(order.tolist())) == 4000
    for count in (250, 1000, 4000):
        ideal = np.sqrt(4 * np.pi * 0.4**2 / count)  # spacing of a square lattice on the sphere
        inside, covering = gaps(points[order[:count]], points)
        assert inside > 0.55 * ideal
        assert covering < 1.5 * ideal
        random_inside, random_covering = gaps(points[:count], points)
        assert random_inside < 0.3 * inside and random_covering > 1.3 * covering


def test_order_is_that_of_darts_thrown_one_by_one():
    points = sphere_points(600).astype(np.float32)
    taken: list[int] = []
    radius = START_RADIUS
    while len(taken) < 200:
        for index in range(len(points)):
            gaps_squared = ((points[taken] - points[index]) ** 2).sum(axis=1)
            if len(taken) < 200 and index not in taken and (gaps_squared >= radius**2).all():
                taken.append(index)
        radius *= SHRINK
    assert progressive_poisson_disk(points, 200).tolist() == taken


def test_deterministic():
    points = sphere_points(3000)
    assert np.array_equal(progressive_poisson_disk(points, 500), progressive_poisson_disk(points.copy(), 500))


def test_coincident_points_still_give_the_exact_number():
    points = np.repeat(sphere_points(10), 5, axis=0)
    assert sorted(progressive_poisson_disk(points, 50).tolist()) == list(range(50))


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="Cannot take 4 of 3 points"):
        progressive_poisson_disk(np.zeros((3, 3)), 4)
