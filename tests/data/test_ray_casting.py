"""Reference views against closed forms: coverage of a sphere, stacked glass, light that ignores a normal's sign."""

from __future__ import annotations

import math

import numpy as np
import torch
import trimesh

from diffgs_diffusers.cameras import fitting_radius, orbit_cameras
from diffgs_diffusers.data.mesh import SurfaceMaterial, SurfaceMesh, load_mesh
from diffgs_diffusers.data.ray_casting import RayScene, halve, render_views
from diffgs_diffusers.data.shading import SurfaceAppearance, lit, shade


def scene_of(mesh: SurfaceMesh) -> RayScene:
    return RayScene(mesh, SurfaceAppearance(mesh))


def panes(colors: list[tuple[float, float, float, float]]) -> SurfaceMesh:
    """Square panes that face +z, the first one in front, 0.1 apart."""
    corners = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]], dtype=float)
    vertices = np.concatenate([corners - [0, 0, 0.1 * index] for index in range(len(colors))])
    faces = np.concatenate([np.array([[0, 1, 2], [0, 2, 3]]) + 4 * index for index in range(len(colors))])
    normals = np.zeros((len(faces), 3, 3), dtype=np.float32)
    normals[..., 2] = 1
    return SurfaceMesh(
        vertices=vertices,
        faces=faces,
        corner_normals=normals,
        corner_uvs=np.zeros((len(faces), 3, 2), dtype=np.float32),
        corner_colors=None,
        face_materials=np.repeat(np.arange(len(colors)), 2),
        materials=[SurfaceMaterial(str(index), np.array(color)) for index, color in enumerate(colors)],
    )


def test_layers_of_glass_are_composited_front_to_back() -> None:
    scene = scene_of(panes([(1, 0, 0, 0.25), (0, 1, 0, 0.5), (0, 0, 1, 1.0)]))
    ray = np.array([[0.1, 0.2, 2.0]]), np.array([[0.0, 0.0, -1.0]])
    brightness = float(shade(np.array([0.0, 0.0, 1.0])).item())
    floor = float(lit(np.zeros(1)).item())
    weights = np.array([0.25, 0.75 * 0.5, 0.75 * 0.5])
    expected = brightness * (weights + floor * (weights.sum() - weights))
    np.testing.assert_allclose(scene.colors(*ray)[0], [*expected, 1.0], atol=1e-5)


def test_rays_that_miss_or_see_only_glass_are_transparent() -> None:
    scene = scene_of(panes([(1, 1, 1, 0.5)]))
    origins = np.array([[0.0, 0.0, 2.0], [3.0, 0.0, 2.0]])
    alpha = scene.colors(origins, np.array([[0.0, 0.0, -1.0]] * 2))[:, 3]
    np.testing.assert_allclose(alpha, [0.5, 0.0], atol=1e-6)
    np.testing.assert_allclose(
        scene.transmittance(origins, np.array([[0.0, 0.0, -1.0]] * 2)), [0.5, 1.0], atol=1e-6
    )


def test_a_sphere_covers_the_disc_that_its_cone_of_tangents_cuts_out() -> None:
    radius, size, fov = 0.5, 128, 40.0
    ball = load_mesh(trimesh.creation.icosphere(subdivisions=5, radius=radius).export(file_type="ply"), "ply")
    view = render_views(scene_of(ball), orbit_cameras(1, size, fov=fov, elevation=33))[0]
    tangent = math.tan(math.asin(radius / fitting_radius(fov)))
    disc = math.pi * (tangent / math.tan(math.radians(fov / 2)) * size / 2) ** 2
    assert abs(float(view[..., 3].sum()) / disc - 1) < 0.005
    partial = (view[..., 3] > 0.01) & (view[..., 3] < 0.99)
    assert partial.any(), "edges are antialiased"
    assert (view[..., :3] <= view[..., 3:] + 1e-5).all(), "colour is premultiplied"


def test_light_ignores_the_sign_of_normals_and_leaves_no_black() -> None:
    normals = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    np.testing.assert_array_equal(shade(normals), shade(-normals))
    assert shade(normals).min() > 0.5
    assert shade(normals).max() <= 1.0
    front, side, top = shade(np.eye(3, dtype=np.float32)[[2, 0, 1]])[:, 0]
    assert top > front > side, "a box shows three tones"
    assert lit(np.zeros(3)).min() > 0


def test_halving_averages_premultiplied_pixels() -> None:
    view = torch.zeros(1, 2, 2, 4)
    view[0, 0, 0] = 1.0
    assert halve(view).tolist() == [[[[0.25] * 4]]]
