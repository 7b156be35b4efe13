"""One object's way from a surface to Gaussians: views, surfels, refinement, measurement."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..cameras import Cameras, sphere_cameras
from ..gaussians import GaussianSplats
from .canonical import canonicalize
from .colors import nearest_color_name, rgb_to_lab
from .mesh import SurfaceMesh
from .multi_view import read_fit_and_unseen_views, read_points
from .ray_casting import RayScene, halve, render_views
from .refinement import RefinementSettings, ViewPyramid, fit_psnr, refine
from .shading import SurfaceAppearance
from .surfels import CANDIDATES_PER_SURFEL, SurfacePoints, make_surfels, visible_points
from .visual_hull import cloud_points, hull_points, normalize_points

FIT_ELEVATIONS = (-45.0, 80.0)
# How much longer, and how much farther, Gaussians may move that do not begin on the surface itself.
VIEWS_PATIENCE, VIEWS_FREEDOM = 3, 4.0


@dataclass(frozen=True)
class PreparationSettings:
    """How objects are turned into Gaussians.

    Args:
        num_gaussians: per object.
        resolution: width and height in pixels of the views; half of it is used too, so it is even.
        num_views: views that are fitted.
        num_unseen_views: views that only measure.
        seed: of everything random.
        refinement: how the fit goes.
    """

    num_gaussians: int = 8192
    resolution: int = 256
    num_views: int = 40
    num_unseen_views: int = 8
    seed: int = 0
    refinement: RefinementSettings = field(default_factory=RefinementSettings)

    def __post_init__(self) -> None:
        if self.num_gaussians < 1:
            raise ValueError(f"`num_gaussians` must be at least 1, got {self.num_gaussians}.")
        if self.resolution < 16 or self.resolution % 2:
            raise ValueError(f"`resolution` must be even and at least 16, got {self.resolution}.")
        if self.num_views < 1 or self.num_unseen_views < 1:
            raise ValueError("`num_views` and `num_unseen_views` must be at least 1.")


@dataclass(frozen=True)
class PreparedObject:
    """The result for one object.

    Args:
        splats: N Gaussians of SH degree 0, every prefix evenly spread.
        material_ids: [N] int16.
        materials: ``index``, ``rgb``, ``color`` and ``share`` of each visible material.
        psnr: mean dB over unseen views at half resolution, on white.
        psnr_256: the same at full resolution.
    """

    splats: GaussianSplats
    material_ids: np.ndarray
    materials: list[dict[str, Any]]
    psnr: float
    psnr_256: float


def prepare_mesh(mesh: SurfaceMesh, name: str, settings: PreparationSettings) -> PreparedObject:
    """Gaussians that look like a mesh under the fixed light.

    Args:
        mesh: in the world frame.
        name: of the object; with the settings' seed it fixes every random draw.
        settings: sizes and step counts.

    Raises:
        ValueError: if nothing of the mesh can be seen.
    """
    seed = object_seed(name, settings.seed)
    generator, torch_generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    appearance = SurfaceAppearance(mesh)
    scene = RayScene(mesh, appearance)
    count = settings.num_gaussians
    points = visible_points(mesh, appearance, scene, CANDIDATES_PER_SURFEL * count, generator)
    surfels, material_ids, spacing = make_surfels(points, count, generator)
    cameras = sphere_cameras(
        settings.num_views, settings.resolution, generator=torch_generator, elevations=FIT_ELEVATIONS
    )
    fine = render_views(scene, cameras)
    views = ViewPyramid(cameras, fine, halve(fine))
    splats = refine(surfels, torch.from_numpy(spacing).float(), views, settings.refinement, torch_generator)
    splats = canonicalize(splats).validate()
    # a turn of the spiral that no fitted view shares
    unseen = sphere_cameras(settings.num_unseen_views, settings.resolution, generator=torch_generator)
    psnr, psnr_256 = measure(splats, unseen, render_views(scene, unseen))
    return PreparedObject(splats, material_ids, describe_materials(points), psnr, psnr_256)


def prepare_views(folder: Path, name: str, settings: PreparationSettings) -> PreparedObject:
    """Gaussians that look like the pictures in a folder.

    They begin on the visual hull, or on the point cloud beside the pictures, and may move farther and for longer
    than those of a mesh, as neither lies on the surface exactly.

    Args:
        folder: with `transforms_train.json` or `transforms.json`.
        name: of the object; with the settings' seed it fixes every random draw.
        settings: sizes and step counts.

    Raises:
        ValueError: if the folder does not hold what the convention asks for.
    """
    seed = object_seed(name, settings.seed)
    generator, torch_generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    fitted, unseen = read_fit_and_unseen_views(folder, settings.resolution)
    points, center, scale = hull_points(fitted, CANDIDATES_PER_SURFEL * settings.num_gaussians, generator)
    cloud = read_points(folder)
    if cloud is not None:
        points, center, scale = cloud_points(*cloud, fitted)
    points = normalize_points(points, center, scale)
    fitted, unseen = fitted.normalized(center, scale), unseen.normalized(center, scale)
    surfels, material_ids, spacing = make_surfels(points, settings.num_gaussians, generator)
    views = ViewPyramid(fitted.cameras, fitted.images, halve(fitted.images))
    base = settings.refinement
    refinement = replace(
        base,
        iterations=base.iterations * VIEWS_PATIENCE,
        means_lr=base.means_lr * VIEWS_FREEDOM,
        max_drift=base.max_drift * VIEWS_FREEDOM,
        max_thickness=base.max_width,
    )
    splats = refine(surfels, torch.from_numpy(spacing).float(), views, refinement, torch_generator)
    splats = canonicalize(splats).validate()
    psnr, psnr_256 = measure(splats, unseen.cameras, unseen.images)
    return PreparedObject(splats, material_ids, describe_materials(points), psnr, psnr_256)


def measure(splats: GaussianSplats, cameras: Cameras, views: torch.Tensor) -> tuple[float, float]:
    """PSNR in dB at half and at full resolution against premultiplied views [C, H, W, 4]."""
    coarse = halve(views)
    return (
        fit_psnr(splats, cameras.resized(coarse.shape[2], coarse.shape[1]), coarse),
        fit_psnr(splats, cameras, views),
    )


def object_seed(name: str, seed: int) -> int:
    """A seed for one object that does not depend on the order of work."""
    return zlib.crc32(f"{seed}/{name}".encode())


def describe_materials(points: SurfacePoints) -> list[dict[str, Any]]:
    """Colour and share of each material, weighed by how much of it is seen; the largest share first."""
    weights = points.exposure * points.albedo[:, 3]
    described = []
    for index in np.unique(points.materials):
        mine = points.materials == index
        rgb = _typical_color(points.albedo[mine, :3])
        described.append(
            {
                "index": int(index),
                "rgb": [round(float(value), 4) for value in rgb],
                "color": nearest_color_name(rgb),
                "share": round(float(weights[mine].sum() / weights.sum()), 5),
            }
        )
    return sorted(described, key=lambda material: -material["share"])


def _typical_color(albedo: np.ndarray) -> np.ndarray:
    """[3] the colour of the points that is nearest to their median in CIELAB: one that does occur."""
    lab = rgb_to_lab(albedo)
    return albedo[np.linalg.norm(lab - np.median(lab, axis=0), axis=1).argmin()]
