"""How far centres lie from their neighbours: what their size, their opacity and a seam are measured in."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

SPACING_NEIGHBOURS = 6  # a regular lattice on a surface has six neighbours at one spacing
MOST_SPACING = 3.0  # times the median: on a thin line it is twice, beyond lies a stray point, to be drawn small
_COARSE = 16  # one point in so many
_COARSE_NEIGHBOURS = 4
_QUERIES = 65536  # points asked about at once: an answer takes nine times the memory of its point


def local_spacing(means: np.ndarray, at: np.ndarray | None = None, tree: cKDTree | None = None) -> np.ndarray:
    """Distance between neighbouring centres around each point, in object units.

    The root mean square distance to the six nearest neighbours: averaging over six keeps one coincident pair from
    collapsing it.

    Args:
        means: [N, 3] all centres.
        at: [M, 3] members of ``means`` to answer for; all of them by default.
        tree: KD-tree over ``means``, if there is one.

    Returns:
        [M] float32, > 0.
    """
    tree = cKDTree(means) if tree is None else tree
    at = means if at is None else at
    spacing = np.ones(len(at), np.float32)
    neighbours = min(SPACING_NEIGHBOURS + 1, len(means))
    if neighbours == 1:
        return spacing
    for places in _neighbourhoods(at):
        distances, _ = tree.query(at[places], k=neighbours, workers=torch.get_num_threads())
        squares = (distances[:, 1:] ** 2).mean(axis=1)
        spacing[places] = np.sqrt(squares).clip(min=1e-6)
    return spacing


def even_spacing(means: Tensor) -> Tensor:
    """[N] local spacing of centres [N, 3], that of stray ones kept within three times the median."""
    spacing = torch.from_numpy(local_spacing(means.detach().cpu().numpy())).to(means)
    return spacing.clamp(max=MOST_SPACING * spacing.median())


def coarse_spacing(means: Tensor) -> Tensor:
    """[N] distance from centres [N, 3] in progressive order to the fourth nearest of the first sixteenth.

    Beside the local spacing it says what the points fill: it is about four times that on a surface, more along a
    rod, less in a volume.
    """
    points = means.detach().cpu().numpy()
    few = points[: max(len(points) // _COARSE, min(_COARSE_NEIGHBOURS, len(points)))]
    tree, neighbours = cKDTree(few), min(_COARSE_NEIGHBOURS, len(few))
    spacing = np.empty(len(points))
    for places in _neighbourhoods(points):
        distances, _ = tree.query(points[places], k=[neighbours], workers=torch.get_num_threads())
        spacing[places] = distances[:, 0]
    return torch.from_numpy(spacing).to(means)


def _neighbourhoods(points: np.ndarray) -> list[np.ndarray]:
    """Indices of the points [N, 3] in groups of neighbours, one beside the other.

    A tree answers neighbours twice as fast as points in random order, as it finds their branch in the cache.
    """
    order = cKDTree(points, balanced_tree=False, compact_nodes=False).indices
    return [order[start : start + _QUERIES] for start in range(0, len(order), _QUERIES)]
