"""The two-sample test: against scipy in one dimension, a slow formula in more, and its own promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from diffgs_diffusers.evaluation.two_sample import energy_distance, permutation_test


def normal(count: int, dimensions: int, seed: int, mean: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, (count, dimensions))


def test_in_one_dimension_it_is_scipys() -> None:
    points, others = normal(40, 1, 0), normal(70, 1, 1, mean=0.5)
    assert energy_distance(points, others) == pytest.approx(stats.energy_distance(points[:, 0], others[:, 0]))


def test_in_more_it_is_the_mean_over_all_pairs() -> None:
    points, others = normal(7, 3, 0), normal(5, 3, 1, mean=1.0)

    def mean_distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([np.linalg.norm(p - q) for p in a for q in b]))

    squared = 2 * mean_distance(points, others) - mean_distance(points, points) - mean_distance(others, others)
    assert energy_distance(points, others) == pytest.approx(squared**0.5)


def test_equal_sets_are_at_distance_0_and_never_told_apart() -> None:
    points = normal(30, 2, 0)
    assert energy_distance(points, points) == pytest.approx(0, abs=1e-7)
    assert permutation_test(points, points[::-1], permutations=99) == 1.0


def test_the_p_value_is_that_of_recomputed_permutations() -> None:
    """The share of random divisions of the pool that lie as far apart, each computed by itself."""
    points, others = normal(6, 2, 3), normal(6, 2, 4, mean=0.8)
    pooled, generator = np.concatenate([points, others]), np.random.default_rng(9)
    observed, hits = energy_distance(points, others), 0
    for _ in range(2000):
        order = generator.permutation(12)
        hits += energy_distance(pooled[order[:6]], pooled[order[6:]]) >= observed - 1e-9
    p_value = permutation_test(points, others, permutations=20_000)
    assert p_value == pytest.approx(hits / 2000, abs=0.03)
    assert 0.01 < p_value < 0.5


def test_draws_of_one_distribution_fail_as_often_as_promised() -> None:
    """p is uniform then: of 200 tests about 20 give less than 0.1, and the median is about 0.5."""
    values = [permutation_test(normal(25, 2, i), normal(35, 2, 1000 + i), 99) for i in range(200)]
    assert 8 <= sum(value <= 0.1 for value in values) <= 34
    assert np.median(values) == pytest.approx(0.5, abs=0.12)


def test_other_distributions_are_told_apart_even_with_equal_moments() -> None:
    generator = np.random.default_rng(0)
    points, signs = normal(300, 2, 0), generator.choice([-1.0, 1.0], (300, 2))
    assert permutation_test(points, signs) == pytest.approx(1 / 1000)


@pytest.mark.parametrize("shape", [(0, 2), (4, 3), (4,)])
def test_sets_that_cannot_be_compared_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Two sets of points"):
        energy_distance(np.zeros(shape), np.zeros((5, 2)))


def test_a_test_needs_a_permutation() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        permutation_test(np.zeros((3, 2)), np.ones((3, 2)), permutations=0)
