"""Coverage, matching distance and nearest neighbours of sets whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from diffgs_diffusers.evaluation.set_metrics import (
    coverage,
    minimum_matching_distance,
    nearest_neighbor_accuracy,
    pairwise_chamfer,
    set_comparison,
)
from tests.evaluation.primitives import sphere_points


def on_a_line(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.abs(first[:, None] - second[None])


def accuracy(samples: np.ndarray, objects: np.ndarray) -> float:
    return nearest_neighbor_accuracy(
        on_a_line(samples, samples), on_a_line(samples, objects), on_a_line(objects, objects)
    )


def test_concentric_spheres_are_their_radii_apart() -> None:
    clouds = [sphere_points(600, radius) for radius in (0.2, 0.3, 0.45)]
    expected = on_a_line(np.array([0.2, 0.3]), np.array([0.2, 0.3, 0.45]))
    np.testing.assert_allclose(pairwise_chamfer(clouds[:2], clouds), expected, atol=0.005)


def test_coverage_and_matching_distance() -> None:
    between = on_a_line(np.array([0.0, 0.1, 0.9]), np.array([0.0, 1.0, 5.0]))
    assert coverage(between) == pytest.approx(2 / 3)
    assert minimum_matching_distance(between) == pytest.approx((0 + 0.1 + 4.1) / 3)


def test_sets_that_lie_apart_are_told_apart() -> None:
    generator = np.random.default_rng(0)
    assert accuracy(generator.normal(size=50), 100 + generator.normal(size=50)) == 1


def test_sets_of_one_distribution_are_not_told_apart() -> None:
    generator = np.random.default_rng(0)
    assert accuracy(generator.normal(size=400), generator.normal(size=400)) == pytest.approx(0.5, abs=0.06)


def test_copies_are_nearer_to_their_objects_than_to_each_other() -> None:
    objects = np.arange(20.0)
    assert accuracy(objects + 0.01, objects) == 0


def test_a_collapsed_set_covers_little() -> None:
    clouds = [sphere_points(200, radius) for radius in (0.2, 0.3, 0.4, 0.45)]
    found = set_comparison([clouds[0] + 1e-4 * index for index in range(6)], clouds)
    assert found["count"] == 4
    assert found["coverage"] == 0.25
    assert found["mmd"] == pytest.approx((0 + 0.1 + 0.2 + 0.25) / 4, abs=0.01)
    same = set_comparison(clouds, clouds)
    assert (same["coverage"], same["mmd"]) == (1, 0)


def test_sets_of_different_sizes_are_refused() -> None:
    line = np.arange(5.0)
    with pytest.raises(ValueError, match=r"same number of members, at least 2; got distances \[\[3, 3\], \[3, 5\]"):
        accuracy(line[:3], line)
    with pytest.raises(ValueError, match="at least 2"):
        accuracy(line[:1], line[1:2])
