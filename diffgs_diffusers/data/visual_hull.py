"""The visual hull: the space that every silhouette covers, as points with normals and colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage

from ..functional.neighbourhoods import surface_frames
from .multi_view import PosedViews
from .surfels import SurfacePoints

COARSE_GRID, FINE_GRID = 48, 96
SILHOUETTE_ALPHA = 0.5
# Thin parts fall between the cells of the first pass; their surroundings are kept.
COARSE_MARGIN = 2


def hull_points(
    views: PosedViews, num_points: int, generator: np.random.Generator
) -> tuple[SurfacePoints, np.ndarray, float]:
    """Points on the surface of the visual hull.

    Args:
        views: of one object, in any units.
        num_points: how many.
        generator: draws them.

    Returns:
        The points, in the frame of the views; the centre [3] of their box, and the factor that makes its longest
        side 1.

    Raises:
        ValueError: if no part of space is covered by all silhouettes.
    """
    center, half = _common_view(views)
    low, high = _occupied_box(views, center - half, center + half, COARSE_GRID)
    axes, cell = _grid(low, high, FINE_GRID)
    occupied = _covered(views, axes)
    smooth = ndimage.gaussian_filter(occupied.astype(np.float32), 1.5, mode="constant")
    gradient = np.stack(np.gradient(smooth), axis=-1)
    shell = occupied & ~ndimage.binary_erosion(occupied)
    index = np.argwhere(shell)
    if not len(index):
        raise ValueError(
            "The silhouettes of the views have no common space: check the poses and the alpha channels."
        )
    chosen = index[generator.integers(len(index), size=num_points)]
    positions = np.stack([axes[d][chosen[:, d]] for d in range(3)], axis=1)
    positions += generator.uniform(-0.5, 0.5, positions.shape) * cell
    outward = -gradient[tuple(chosen.T)]
    lengths = np.linalg.norm(outward, axis=1, keepdims=True)
    normals = np.where(lengths > 1e-9, outward / np.maximum(lengths, 1e-9), [[0.0, -1.0, 0.0]])
    points = plain_points(positions, normals, view_colors(views, positions, normals))
    box_low, box_high = positions.min(axis=0), positions.max(axis=0)
    return points, (box_low + box_high) / 2, 1.0 / float((box_high - box_low).max())


def cloud_points(
    positions: np.ndarray, colors: np.ndarray | None, views: PosedViews
) -> tuple[SurfacePoints, np.ndarray, float]:
    """Points of a given cloud, with the normals of their neighbourhoods; the rest as :func:`hull_points`.

    Args:
        positions: [P, 3] in the frame of the views.
        colors: [P, 3] in [0, 1], or None to take them from the views.
        views: of the object.
    """
    normals = surface_frames(positions)[:, :, 2]
    low, high = positions.min(axis=0), positions.max(axis=0)
    outward = np.sign((normals * (positions - (low + high) / 2)).sum(axis=1, keepdims=True))
    normals = normals * np.where(outward == 0, 1.0, outward)
    if colors is None:
        colors = view_colors(views, positions, normals)
    return plain_points(positions, normals, colors), (low + high) / 2, 1.0 / max(float((high - low).max()), 1e-9)


def plain_points(positions: np.ndarray, normals: np.ndarray, colors: np.ndarray) -> SurfacePoints:
    """Opaque points of one material from positions, normals and colours [P, 3]."""
    rgba = np.concatenate([colors, np.ones((len(colors), 1))], axis=1).astype(np.float32)
    count = len(positions)
    return SurfacePoints(positions, normals, rgba, rgba, np.zeros(count, dtype=np.int64), np.ones(count))


def normalize_points(points: SurfacePoints, center: np.ndarray, scale: float) -> SurfacePoints:
    """The points moved by −``center`` [3], then scaled."""
    return replace(points, positions=(points.positions - center) * scale)


def view_colors(views: PosedViews, positions: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """[P, 3] mean colour in the views that a point faces, the more straight the more it counts."""
    eyes = views.cameras.positions.numpy()
    total, weights = np.zeros((len(positions), 3)), np.full((len(positions), 1), 1e-9)
    for view in range(len(views)):
        seen = _sample(views, view, positions)
        to_eye = eyes[view] - positions
        facing = (normals * to_eye).sum(axis=1) / np.linalg.norm(to_eye, axis=1)
        weight = (np.maximum(facing, 0.02) ** 4 * seen[:, 3])[:, None]
        total += weight * seen[:, :3] / np.maximum(seen[:, 3:], 1e-3)
        weights += weight
    return np.clip(total / weights, 0.0, 1.0)


def _common_view(views: PosedViews) -> tuple[np.ndarray, float]:
    """The point nearest to all optical axes, and half the side of a cube about it that the views show."""
    eyes = views.cameras.positions.double().numpy()
    forward = views.cameras.viewmats[:, 2, :3].double().numpy()
    projectors = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    # without any parallax the point is not determined; the least-norm one serves
    center = np.linalg.lstsq(projectors.sum(axis=0), (projectors @ eyes[:, :, None]).sum(axis=0)[:, 0], rcond=None)[
        0
    ]
    distances = np.linalg.norm(eyes - center, axis=1)
    tangents = views.cameras.width / (2 * views.cameras.Ks[:, 0, 0].double().numpy())
    return center, float(np.max(distances * tangents))


def _occupied_box(views: PosedViews, low: np.ndarray, high: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    axes, cell = _grid(low, high, size)
    index = np.argwhere(_covered(views, axes))
    if not len(index):
        raise ValueError(
            "The silhouettes of the views have no common space: check the poses and the alpha channels."
        )
    first, last = index.min(axis=0) - COARSE_MARGIN, index.max(axis=0) + COARSE_MARGIN
    return low + (first + 0.5) * cell, low + (last + 0.5) * cell


def _grid(low: np.ndarray, high: np.ndarray, size: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Cell centres along each axis, and the cell's sides [3]."""
    cell = (high - low) / size
    return [low[d] + (np.arange(size) + 0.5) * cell[d] for d in range(3)], cell


def _covered(views: PosedViews, axes: list[np.ndarray]) -> np.ndarray:
    """[X, Y, Z] cells whose centre lies in every silhouette that could show it."""
    positions = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    remaining = np.arange(len(positions))
    for view in range(len(views)):
        if len(remaining):
            remaining = remaining[_sample(views, view, positions[remaining])[:, 3] > SILHOUETTE_ALPHA]
    covered = np.zeros(len(positions), dtype=bool)
    covered[remaining] = True
    return covered.reshape([len(axis) for axis in axes])


def _sample(views: PosedViews, view: int, positions: np.ndarray) -> np.ndarray:
    """[P, 4] premultiplied RGBA of one view where points are projected to; 0 outside of the picture."""
    viewmat, K = views.cameras.viewmats[view].double().numpy(), views.cameras.Ks[view].double().numpy()
    camera = positions @ viewmat[:3, :3].T + viewmat[:3, 3]
    depth = np.maximum(camera[:, 2:], 1e-6)
    pixels = (camera[:, :2] / depth) @ K[:2, :2].T + K[:2, 2]
    size = torch.tensor([views.cameras.width, views.cameras.height])
    grid = (torch.from_numpy(pixels).float() / size * 2 - 1)[None, None]
    image = views.images[view].permute(2, 0, 1)[None]
    sampled = torch.nn.functional.grid_sample(image, grid, align_corners=False, padding_mode="zeros")[0, :, 0].T
    return np.where(camera[:, 2:] > 1e-6, sampled.numpy(), 0.0)
