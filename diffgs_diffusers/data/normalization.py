"""Bringing a mesh into the world frame: real proportions, centred, longest side 1, up is −y."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .mesh import SurfaceMesh

Y_UP_TO_WORLD = np.diag([-1.0, -1.0, 1.0])


def normalize_mesh(
    mesh: SurfaceMesh,
    *,
    size: Sequence[float] | None = None,
    rotation: Sequence[float] | None = None,
) -> SurfaceMesh:
    """The mesh in the world frame of ``docs/conventions.md``.

    Args:
        mesh: y up, front towards +z, any units.
        size: width, height and depth (x, y, z) that the rotated mesh is stretched to; None keeps its proportions.
        rotation: row-major 3×3 matrix applied first.

    Returns:
        The same surface with its box centred on the origin and its longest side 1; (x, y, z) → (−x, −y, z).

    Raises:
        ValueError: if the mesh has no extent or a size is not positive.
    """
    linear = np.eye(3) if rotation is None else np.asarray(rotation, dtype=np.float64).reshape(3, 3)
    used = mesh.vertices[np.unique(mesh.faces)] @ linear.T
    low, high = used.min(axis=0), used.max(axis=0)
    extent = high - low
    if extent.max() <= 0:
        raise ValueError("The mesh is a single point: it has no surface.")
    target = extent
    if size is not None:
        target = np.asarray(size, dtype=np.float64)
        if not (target > 0).all():
            raise ValueError(f"Width, height and depth must be positive, got {list(size)}.")
    # a side without extent cannot be stretched; it stays flat
    factors = np.where(extent > 1e-6 * extent.max(), target / np.maximum(extent, 1e-30), 1.0)
    factors /= (extent * factors).max()
    linear = Y_UP_TO_WORLD @ np.diag(factors) @ linear
    center = Y_UP_TO_WORLD @ (factors * (low + high) / 2)
    normals = mesh.corner_normals @ np.linalg.inv(linear)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-20)
    return replace(mesh, vertices=mesh.vertices @ linear.T - center, corner_normals=normals.astype(np.float32))
