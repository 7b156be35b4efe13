"""Is a set of samples distributed as a set of objects? (PointFlow, Yang et al. 2019, section 4.1.)"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from .metrics import chamfer_distance

SET_POINTS = 1024  # of each object, where all pairs are compared


def pairwise_chamfer(clouds: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> np.ndarray:
    """Chamfer distances [A, B] of all pairs of two lists of points [P, 3], in object units."""
    trees, other_trees = [cKDTree(cloud) for cloud in clouds], [cKDTree(cloud) for cloud in others]
    return np.array(
        [[chamfer_distance(cloud, other, tree) for other in other_trees] for cloud, tree in zip(clouds, trees)]
    )


def coverage(between: np.ndarray) -> float:
    """The share of the objects that are the nearest one of some sample; 1 if no kind of object is left out.

    Args:
        between: [S, R] distances from samples to objects.
    """
    return len(np.unique(between.argmin(axis=1))) / between.shape[1]


def minimum_matching_distance(between: np.ndarray) -> float:
    """The mean distance from an object to its nearest sample.

    Args:
        between: [S, R] distances from samples to objects.
    """
    return float(between.min(axis=0).mean())


def nearest_neighbor_accuracy(among_samples: np.ndarray, between: np.ndarray, among_objects: np.ndarray) -> float:
    """How often the nearest other one of both sets is of the same set (1-NNA; Lopez-Paz & Oquab 2017).

    One half if both sets are drawn from one distribution, 1 if they lie apart, less if samples are copies.

    Args:
        among_samples: [S, S] distances.
        between: [S, R] distances from samples to objects; S = R, or the larger set would win by its number.
        among_objects: [R, R] distances.

    Raises:
        ValueError: if the sets are not of one size, or of fewer than two.
    """
    count = len(between)
    if count < 2 or {among_samples.shape, between.shape, among_objects.shape} != {(count, count)}:
        shapes = [list(distances.shape) for distances in (among_samples, between, among_objects)]
        raise ValueError(f"Both sets must have the same number of members, at least 2; got distances {shapes}.")
    distances = np.block([[among_samples, between], [between.T, among_objects]])
    np.fill_diagonal(distances, np.inf)
    is_sample = np.arange(2 * count) < count
    return float((is_sample[distances.argmin(axis=1)] == is_sample).mean())


def set_comparison(samples: Sequence[np.ndarray], objects: Sequence[np.ndarray]) -> dict[str, float]:
    """All three of two sets of points [P, 3]; of the larger set, as many as the smaller one has.

    Returns:
        ``count`` of each set, ``coverage``, ``mmd`` and ``one_nna``.
    """
    count = min(len(samples), len(objects))
    samples, objects = samples[:count], objects[:count]
    between = pairwise_chamfer(samples, objects)
    accuracy = nearest_neighbor_accuracy(
        pairwise_chamfer(samples, samples), between, pairwise_chamfer(objects, objects)
    )
    return {
        "count": count,
        "coverage": coverage(between),
        "mmd": minimum_matching_distance(between),
        "one_nna": accuracy,
    }
