"""Frames of the surface that points lie on, from the spread of their neighbours."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

NEIGHBOURS = 12  # a point itself and eleven more: enough that noise of one of them hardly turns a plane


def surface_frames(positions: np.ndarray) -> np.ndarray:
    """Principal axes of the nearest points around each point, by principal component analysis.

    Args:
        positions: [N, 3].

    Returns:
        [N, 3, 3] proper rotations whose columns are the axes of largest, middle and least spread; the last one is
        the normal, of either sign.
    """
    count = min(NEIGHBOURS, len(positions))
    neighbours = positions[cKDTree(positions).query(positions, k=count)[1].reshape(len(positions), -1)]
    offsets = neighbours - neighbours.mean(axis=1, keepdims=True)
    axes = np.linalg.eigh(offsets.transpose(0, 2, 1) @ offsets)[1][:, :, ::-1]
    turned = np.linalg.det(axes) < 0
    return axes * np.where(turned, -1.0, 1.0)[:, None, None]
