"""Surfels: an even covering of what can be seen of a mesh, the start of a fit without any optimisation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from ..functional.poisson_disk import progressive_poisson_disk
from ..functional.quaternions import matrices_to_quaternions
from ..functional.spherical_harmonics import rgb_to_sh0
from ..gaussians import GaussianSplats
from .mesh import SurfaceMesh
from .ray_casting import RayScene
from .shading import SurfaceAppearance

CANDIDATES_PER_SURFEL = 5
MAX_ROUNDS = 12
VISIBILITY_RAYS = 14
# Directions of escape go from well below the horizon to nearly straight up.
LOWEST_ESCAPE, HIGHEST_ESCAPE = -0.75, 0.98
VISIBLE_TRANSMITTANCE = 0.3
LIFT = 4e-4
MIN_ALPHA = 0.1
# An in-plane σ of 0.42 spacings; the standard deviation of points in a hexagonal cell is 0.264 spacings.
SIGMA_PER_CELL_DEVIATION = 0.42 / 0.264
THICKNESS = 0.12  # σ along the normal, in spacings
OPACITY = 0.95
# Overlap of neighbours: an optical depth of one surfel adds up to this many on a covered plane.
LAYERS_ON_A_PLANE = 1.28


@dataclass(frozen=True)
class SurfacePoints:
    """P points on a mesh that can be seen from outside.

    Args:
        positions: [P, 3] world frame.
        normals: [P, 3] unit, of either sign.
        shaded: [P, 4] RGBA under the fixed light, straight alpha.
        albedo: [P, 4] RGBA before shading.
        materials: [P] index of the material.
        exposure: [P] share of the directions in which light escapes, in (0, 1].
    """

    positions: np.ndarray
    normals: np.ndarray
    shaded: np.ndarray
    albedo: np.ndarray
    materials: np.ndarray
    exposure: np.ndarray


def visible_points(
    mesh: SurfaceMesh,
    appearance: SurfaceAppearance,
    scene: RayScene,
    num_points: int,
    generator: np.random.Generator,
) -> SurfacePoints:
    """Points spread uniformly over the area that is visible from outside.

    Args:
        mesh: in the world frame.
        appearance: its colours.
        scene: its ray-casting structure.
        num_points: how many are wanted; fewer come back where nearly everything is hidden.
        generator: draws the points.

    Raises:
        ValueError: if no point of the mesh can be seen.
    """
    cumulative = np.cumsum(mesh.areas)
    if not cumulative[-1] > 0:
        raise ValueError("The mesh has no area: nothing of it can be seen.")
    kept: list[SurfacePoints] = []
    for _ in range(MAX_ROUNDS):
        missing = num_points - sum(len(part.positions) for part in kept)
        if missing <= 0:
            break
        kept.append(_visible_round(mesh, appearance, scene, cumulative, num_points // 2, generator))
    names = SurfacePoints.__dataclass_fields__
    points = SurfacePoints(**{name: np.concatenate([getattr(part, name) for part in kept]) for name in names})
    if not len(points.positions):
        raise ValueError("Nothing of the mesh can be seen: every surface is transparent or enclosed.")
    return points


def _visible_round(
    mesh: SurfaceMesh,
    appearance: SurfaceAppearance,
    scene: RayScene,
    cumulative: np.ndarray,
    num_points: int,
    generator: np.random.Generator,
) -> SurfacePoints:
    faces = np.searchsorted(cumulative, generator.random(num_points) * cumulative[-1], side="right")
    faces = np.minimum(faces, len(mesh.faces) - 1)
    a, b = np.sqrt(generator.random(num_points)), generator.random(num_points)
    barycentric = np.stack([1 - a, a * (1 - b), a * b], axis=1)
    albedo = appearance.albedo(faces, barycentric)
    solid = albedo[:, 3] > MIN_ALPHA
    faces, barycentric, albedo = faces[solid], barycentric[solid], albedo[solid]
    positions = np.einsum("pc,pcd->pd", barycentric, mesh.triangles[faces])
    normals = appearance.normals(faces, barycentric)
    exposure = _exposure(positions, normals, scene, generator)
    seen = exposure > 0
    return SurfacePoints(
        positions=positions[seen],
        normals=normals[seen],
        shaded=appearance.shaded(faces[seen], barycentric[seen]),
        albedo=albedo[seen],
        materials=mesh.face_materials[faces[seen]],
        exposure=exposure[seen],
    )


def _exposure(
    positions: np.ndarray, normals: np.ndarray, scene: RayScene, generator: np.random.Generator
) -> np.ndarray:
    """[P] share of a set of directions, turned at random for each point, in which a point is seen."""
    index = np.arange(VISIBILITY_RAYS)
    turns = generator.random(len(positions)) * 2 * math.pi
    up = LOWEST_ESCAPE + (HIGHEST_ESCAPE - LOWEST_ESCAPE) * (index + 0.5) / VISIBILITY_RAYS
    escaped = np.zeros(len(positions))
    for height, turn in zip(up, index * 2.39996323):
        flat = math.sqrt(1 - height * height)
        angles = turns + turn
        directions = np.stack([flat * np.cos(angles), np.full_like(angles, -height), flat * np.sin(angles)], axis=1)
        side = np.sign((directions * normals).sum(axis=1, keepdims=True))
        origins = positions + LIFT * (side * normals + directions)
        escaped += scene.transmittance(origins, directions) > VISIBLE_TRANSMITTANCE
    return escaped / VISIBILITY_RAYS


def make_surfels(
    points: SurfacePoints, num_gaussians: int, generator: np.random.Generator
) -> tuple[GaussianSplats, np.ndarray, np.ndarray]:
    """Flat Gaussians, evenly spread, each shaped like the patch of surface that is nearest to it.

    Every point is given to its nearest surfel; the patch's mean, its spread within the tangent plane, its mean
    colour and opacity become the Gaussian's. So rods get narrow Gaussians and fine textures their average.

    Args:
        points: candidates on the surface.
        num_gaussians: how many Gaussians to make.
        generator: shuffles the candidates, and repeats some of them if there are too few.

    Returns:
        The splats (SH degree 0, every prefix evenly spread), the material ids [N] int16, and the spacing [N] about
        each Gaussian in object units.
    """
    order = generator.permutation(len(points.positions))
    if len(order) < num_gaussians:
        order = np.concatenate([order, generator.choice(order, num_gaussians - len(order))])
    chosen = order[progressive_poisson_disk(points.positions[order], num_gaussians)]
    centers, normals = points.positions[chosen], points.normals[chosen]
    tree = cKDTree(centers)
    owner = tree.query(points.positions)[1]
    spacing = _spacing(tree, centers)
    facing = np.abs((points.normals * normals[owner]).sum(axis=1)) > 0.7
    owner, patch = owner[facing], points.positions[facing]
    counts = np.maximum(np.bincount(owner, minlength=num_gaussians), 1)
    means = _sum_by(owner, patch, num_gaussians) / counts[:, None]
    # a repeated candidate owns nothing
    means = np.where(np.bincount(owner, minlength=num_gaussians)[:, None] > 0, means, centers)
    rotations, deviations = _patch_frames(patch - means[owner], normals, owner, counts, spacing)
    color = _sum_by(owner, points.shaded[facing], num_gaussians) + 1e-6 * points.shaded[chosen]
    color /= (np.bincount(owner, minlength=num_gaussians) + 1e-6)[:, None]
    opacity = np.minimum(-np.log(np.maximum(1 - color[:, 3], 1e-4)) / LAYERS_ON_A_PLANE, OPACITY)
    scales = np.concatenate([deviations * SIGMA_PER_CELL_DEVIATION, THICKNESS * spacing[:, None]], axis=1)
    splats = GaussianSplats(
        means=_float(means),
        quats=matrices_to_quaternions(_float(rotations)),
        scales=_float(scales),
        opacities=_float(opacity),
        sh0=rgb_to_sh0(_float(color[:, None, :3])),
    )
    return splats, points.materials[chosen].astype(np.int16), spacing


def _spacing(tree: cKDTree, centers: np.ndarray) -> np.ndarray:
    """[N] mean distance to the four nearest neighbours, kept within a factor of two of the typical one."""
    count = min(5, len(centers))
    spacing = tree.query(centers, k=count)[0].reshape(len(centers), -1)[:, 1:].mean(axis=1)
    typical = np.median(spacing)
    return np.clip(spacing, 0.5 * typical, 2.0 * typical)


def _patch_frames(
    offsets: np.ndarray, normals: np.ndarray, owner: np.ndarray, counts: np.ndarray, spacing: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rotations [N, 3, 3] whose columns are the wide axis, the narrow axis and the normal; deviations [N, 2]."""
    helper = np.where(np.abs(normals[:, :1]) < 0.7, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    first = np.cross(normals, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(normals, first)
    x, y = (offsets * first[owner]).sum(axis=1), (offsets * second[owner]).sum(axis=1)
    # two points' worth of a round cell steadies the estimate from a handful of points
    prior = 2 * (0.264 * spacing) ** 2
    xx, xy, yy = (_sum_by(owner, value, len(counts)) for value in (x * x, x * y, y * y))
    xx, xy, yy = (xx + prior) / (counts + 2), xy / (counts + 2), (yy + prior) / (counts + 2)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)[:, None]
    wide = np.cos(angle) * first + np.sin(angle) * second
    narrow = np.cross(normals, wide)
    middle, radius = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    deviations = np.sqrt(np.stack([middle + radius, np.maximum(middle - radius, 0.0)], axis=1))
    deviations = np.clip(deviations, 0.05 * spacing[:, None], 0.6 * spacing[:, None])
    return np.stack([wide, narrow, normals], axis=2), deviations


def _sum_by(owner: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sums of the values [P, ...] of each owner."""
    if values.ndim == 1:
        return np.bincount(owner, values, count)
    return np.stack([np.bincount(owner, column, count) for column in values.T], axis=1)


def _float(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
