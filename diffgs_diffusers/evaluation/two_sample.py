"""Whether two sets of points come from one distribution (Székely & Rizzo 2013)."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

_AT_ONCE = 64  # permutations whose sums are formed in one product


def energy_distance(points: np.ndarray, others: np.ndarray) -> float:
    """√(2 E|X − Y| − E|X − X′| − E|Y − Y′|) of the two sets: 0 for equal ones, in the unit of the coordinates.

    In one dimension it is ``scipy.stats.energy_distance``.

    Args:
        points: [N, D].
        others: [M, D].

    Raises:
        ValueError: if a set is empty or the points have different numbers of coordinates.
    """
    distances = _pooled_distances(points, others)
    is_point = np.arange(len(distances)) < len(points)
    return float(np.sqrt(max(_squared_energies(distances, is_point[None])[0], 0.0)))


def permutation_test(points: np.ndarray, others: np.ndarray, permutations: int = 999, seed: int = 0) -> float:
    """p-value of the hypothesis that both sets are drawn from one distribution.

    The energy distance is compared with that of sets of the same sizes drawn from both together: the share of those
    that lie at least as far apart, the given sets counted among them.

    Args:
        points: [N, D].
        others: [M, D].
        permutations: how many such sets; the smallest p-value is 1 / (permutations + 1).
        seed: of their draws.

    Raises:
        ValueError: as :func:`energy_distance`, or if there is no permutation.
    """
    if permutations < 1:
        raise ValueError(f"permutations must be at least 1, got {permutations}.")
    distances = _pooled_distances(points, others)
    is_point = np.arange(len(distances)) < len(points)
    observed = _squared_energies(distances, is_point[None])[0]
    generator = np.random.default_rng(seed)
    drawn = generator.permuted(np.tile(is_point, (permutations, 1)), axis=1)
    energies = np.concatenate(
        [
            _squared_energies(distances, drawn[start : start + _AT_ONCE])
            for start in range(0, permutations, _AT_ONCE)
        ]
    )
    # Sums of another order differ in their last digits: equal sets must count as equally far apart.
    return float((1 + (energies >= observed - 1e-12).sum()) / (permutations + 1))


def _pooled_distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[N + M, N + M] Euclidean distances among all points of both sets."""
    if points.ndim != 2 or others.ndim != 2 or points.shape[1] != others.shape[1] or not len(points) * len(others):
        shapes = f"{list(points.shape)} and {list(others.shape)}"
        raise ValueError(f"Two sets of points must be [N, D] and [M, D] with N and M above 0, got {shapes}.")
    pooled = np.concatenate([points, others]).astype(np.float64)
    return cdist(pooled, pooled)


def _squared_energies(distances: np.ndarray, is_point: np.ndarray) -> np.ndarray:
    """[P] squared energy distances for P ways to divide the pool, [P, N + M] bool."""
    first, second = is_point.astype(np.float64), (~is_point).astype(np.float64)
    first /= first.sum(axis=1, keepdims=True)
    second /= second.sum(axis=1, keepdims=True)
    # With weights w = 1/N on the first and −1/M on the second set, the energy is −wᵀ D w.
    weights = first - second
    return -np.einsum("pi,pi->p", weights @ distances, weights)
