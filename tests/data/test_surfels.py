"""Surfels cover what is seen, evenly, flat on the surface; refinement brings them nearer to the views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from diffgs_diffusers.cameras import sphere_cameras
from diffgs_diffusers.data.canonical import canonicalize
from diffgs_diffusers.data.mesh import SurfaceMaterial, SurfaceMesh, load_mesh
from diffgs_diffusers.data.preparation import describe_materials
from diffgs_diffusers.data.ray_casting import RayScene, halve, render_views
from diffgs_diffusers.data.refinement import RefinementSettings, ViewPyramid, fit_psnr, refine
from diffgs_diffusers.data.shading import SurfaceAppearance
from diffgs_diffusers.data.surfels import SurfacePoints, make_surfels, visible_points
from diffgs_diffusers.functional.quaternions import quaternions_to_matrices, symmetric_square_roots
from diffgs_diffusers.functional.spherical_harmonics import sh0_to_rgb
from diffgs_diffusers.gaussians import GaussianSplats
from tests.factories import random_splats


def ball(radius: float, color: list[int]) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    mesh.visual.vertex_colors = color
    return mesh


def loaded(mesh: trimesh.Trimesh) -> SurfaceMesh:
    return load_mesh(mesh.export(file_type="ply"), "ply")


def points_on(mesh: SurfaceMesh, count: int = 2000) -> SurfacePoints:
    appearance = SurfaceAppearance(mesh)
    return visible_points(mesh, appearance, RayScene(mesh, appearance), count, np.random.default_rng(0))


def test_only_what_can_be_seen_from_outside_is_sampled() -> None:
    hidden, shell = ball(0.2, [255, 0, 0, 255]), ball(0.5, [0, 0, 255, 255])
    points = points_on(loaded(trimesh.util.concatenate([shell, hidden])))
    assert len(points.positions) >= 2000
    assert np.linalg.norm(points.positions, axis=1).min() > 0.45, "nothing inside of the shell"
    assert (points.exposure > 0).all()


def test_what_lies_behind_glass_is_sampled_too() -> None:
    hidden, shell = ball(0.2, [255, 0, 0, 255]), ball(0.5, [0, 0, 255, 90])
    points = points_on(loaded(trimesh.util.concatenate([shell, hidden])))
    inner = np.linalg.norm(points.positions, axis=1) < 0.3
    assert 0.02 < inner.mean() < 0.5
    splats, _, _ = make_surfels(points, 300, np.random.default_rng(0))
    inside = splats.means.norm(dim=-1) < 0.3
    assert splats.opacities[~inside].max() < 0.5 < splats.opacities[inside].min(), "glass stays clear"


def test_surfels_are_even_flat_and_of_the_surface_color() -> None:
    points = points_on(loaded(ball(0.5, [200, 100, 50, 255])), 4000)
    splats, material_ids, spacing = make_surfels(points, 500, np.random.default_rng(0))
    splats.validate()
    assert len(splats) == len(material_ids) == len(spacing) == 500
    assert material_ids.dtype == np.int16
    nearest = cKDTree(splats.means.numpy()).query(splats.means.numpy(), k=2)[0][:, 1]
    assert nearest.min() > 0.4 * np.median(nearest), "no clumps"
    outward = splats.means / splats.means.norm(dim=-1, keepdim=True)
    normals = quaternions_to_matrices(splats.quats)[..., 2]
    assert (normals * outward).sum(-1).abs().median() > 0.99, "the third axis is the normal"
    assert (splats.scales[:, 2] < splats.scales[:, 1]).all()
    hue = sh0_to_rgb(splats.sh0[:, 0]).mean(dim=0)
    assert hue[0] > 1.5 * hue[1] > 2 * hue[2]
    shape = np.median(splats.scales[:, :2].numpy() / spacing[:, None])
    assert 0.35 < shape < 0.5, "about 0.42 spacings"


def test_rods_get_narrow_surfels() -> None:
    rod = trimesh.creation.cylinder(radius=0.004, height=1.0)
    splats, _, spacing = make_surfels(points_on(loaded(rod), 1000), 100, np.random.default_rng(0))
    assert np.median(splats.scales[:, 1].numpy() / spacing) < 0.3


def test_fewer_points_than_gaussians_are_repeated() -> None:
    points = points_on(loaded(ball(0.5, [9, 9, 9, 255])), 100)
    splats, _, _ = make_surfels(points, len(points.positions) + 50, np.random.default_rng(0))
    splats.validate()


def test_invisible_meshes_are_refused() -> None:
    mesh = loaded(ball(0.5, [255, 255, 255, 5]))
    with pytest.raises(ValueError, match="can be seen"):
        points_on(mesh)
    flat = SurfaceMesh(
        np.zeros((3, 3)), np.array([[0, 1, 2]]), np.zeros((1, 3, 3), np.float32), np.zeros((1, 3, 2), np.float32),
        None, np.zeros(1, dtype=np.int64), [SurfaceMaterial("m", np.ones(4))],
    )  # fmt: skip
    with pytest.raises(ValueError, match="no area"):
        points_on(flat)


def test_materials_are_described_by_what_is_seen() -> None:
    count = 100
    albedo = np.tile([[0.8, 0.1, 0.1, 1.0]], (count, 1))
    albedo[80:] = [0.02, 0.02, 0.02, 1.0]
    points = SurfacePoints(
        np.zeros((count, 3)), np.zeros((count, 3)), albedo, albedo, np.repeat([2, 5], [80, 20]), np.ones(count)
    )
    red, black = describe_materials(points)
    assert (red["index"], red["color"], red["share"]) == (2, "red", 0.8)
    assert (black["index"], black["color"], black["share"]) == (5, "black", 0.2)


def test_refinement_gains_and_keeps_its_bounds() -> None:
    mesh = loaded(ball(0.5, [200, 100, 50, 255]))
    appearance = SurfaceAppearance(mesh)
    scene = RayScene(mesh, appearance)
    cameras = sphere_cameras(8, 48)
    fine = render_views(scene, cameras)
    splats, _, spacing = make_surfels(points_on(mesh), 300, np.random.default_rng(0))
    settings = RefinementSettings(iterations=60)
    step = torch.from_numpy(spacing).float()
    views = ViewPyramid(cameras, fine, halve(fine))
    results = [refine(splats, step, views, settings, torch.Generator().manual_seed(0)) for _ in range(2)]
    fitted = results[0].validate()
    unseen = sphere_cameras(4, 48, generator=torch.Generator().manual_seed(5))
    targets = render_views(scene, unseen)
    assert fit_psnr(fitted, unseen, targets) > fit_psnr(splats, unseen, targets) + 3
    assert torch.equal(fitted.means, results[1].means), "one seed, one result"
    drift = (fitted.means - splats.means).norm(dim=-1) / step
    assert drift.max() <= settings.max_drift + 1e-3
    assert (fitted.scales[:, 2] <= settings.max_thickness * step * 1.001).all()


def test_the_canonical_form_is_the_same_gaussian() -> None:
    splats = random_splats(50, seed=3)
    flipped = GaussianSplats(splats.means, -splats.quats, splats.scales, splats.opacities, splats.sh0)
    for given in (splats, flipped):
        canonical = canonicalize(given)
        assert (canonical.quats[:, 0] >= 0).all()
        assert (canonical.scales.diff(dim=-1) <= 0).all()
        torch.testing.assert_close(
            symmetric_square_roots(canonical.quats, canonical.scales),
            symmetric_square_roots(given.quats, given.scales),
            atol=1e-6,
            rtol=1e-4,
        )
