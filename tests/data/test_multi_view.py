"""Folders of views: cameras against the formula, and an object that comes back out of its own pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from diffgs_diffusers.cameras import sphere_cameras
from diffgs_diffusers.data.mesh import load_mesh
from diffgs_diffusers.data.multi_view import read_fit_and_unseen_views, read_views
from diffgs_diffusers.data.preparation import PreparationSettings
from diffgs_diffusers.data.ray_casting import RayScene, render_views
from diffgs_diffusers.data.runner import prepare_dataset
from diffgs_diffusers.data.shading import SurfaceAppearance
from diffgs_diffusers.data.sources import find_sources
from diffgs_diffusers.data.validation import validate_dataset
from diffgs_diffusers.data.visual_hull import hull_points
from diffgs_diffusers.functional.spherical_harmonics import sh0_to_rgb

SIZE = 48
# our world from Blender's, written out once more: x left, y down, z to the front
TO_BLENDER = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]]).T


@pytest.fixture
def views_folder(tmp_path: Path) -> Path:
    """A green box of sides 2, 1 and 1 about (5, 6, 7) of a Blender world, seen from 16 sides."""
    box = trimesh.creation.box(extents=(1.0, 0.5, 0.5))
    box.visual.vertex_colors = [30, 160, 40, 255]
    mesh = load_mesh(box.export(file_type="ply"), "ply")
    cameras = sphere_cameras(16, SIZE, elevations=(-50, 70))
    images = render_views(RayScene(mesh, SurfaceAppearance(mesh)), cameras)
    folder = tmp_path / "green_box"
    folder.mkdir()
    frames = []
    for number, (image, viewmat) in enumerate(zip(images.numpy(), cameras.viewmats.double().numpy())):
        straight = np.concatenate([image[..., :3] / np.maximum(image[..., 3:], 1e-6), image[..., 3:]], axis=-1)
        Image.fromarray((straight.clip(0, 1) * 255).round().astype(np.uint8)).save(folder / f"r_{number}.png")
        pose = np.linalg.inv(viewmat)
        matrix = np.eye(4)
        matrix[:3, :3] = TO_BLENDER @ pose[:3, :3] @ np.diag([1, -1, -1])
        matrix[:3, 3] = TO_BLENDER @ pose[:3, 3] * 2 + [5, 6, 7]
        frames.append({"file_path": f"./r_{number}", "transform_matrix": matrix.tolist()})
    content = {"camera_angle_x": math.radians(40), "frames": frames}
    (folder / "transforms_train.json").write_text(json.dumps(content))
    return folder


def test_cameras_are_read_into_our_axes(views_folder: Path) -> None:
    views = read_views(views_folder / "transforms_train.json", SIZE)
    center = np.linalg.inv(TO_BLENDER) @ [5, 6, 7]
    normalized = views.normalized(center, 0.5)
    expected = sphere_cameras(16, SIZE, elevations=(-50, 70))
    torch.testing.assert_close(normalized.cameras.viewmats, expected.viewmats, atol=1e-5, rtol=0)
    torch.testing.assert_close(normalized.cameras.Ks, expected.Ks)
    assert (views.images[..., :3] <= views.images[..., 3:] + 1e-6).all(), "premultiplied"
    reduced = read_views(views_folder / "transforms_train.json", SIZE // 2)
    assert tuple(reduced.images.shape[1:]) == (SIZE // 2, SIZE // 2, 4)
    torch.testing.assert_close(reduced.cameras.Ks[:, 0, 0], expected.Ks[:, 0, 0] / 2)


def test_the_hull_encloses_the_object(views_folder: Path) -> None:
    views = read_views(views_folder / "transforms_train.json", SIZE)
    points, center, scale = hull_points(views, 2000, np.random.default_rng(0))
    np.testing.assert_allclose(center, np.linalg.inv(TO_BLENDER) @ [5, 6, 7], atol=0.1)
    assert abs(1 / scale - 2.0) < 0.25
    box = np.ptp(points.positions, axis=0)
    np.testing.assert_allclose(box, [2, 1, 1], atol=0.35)
    outward = ((points.positions - center) * points.normals).sum(axis=1)
    assert (outward > 0).mean() > 0.9
    assert np.median(points.albedo[:, 1]) > 2 * np.median(points.albedo[:, 0])


def test_unseen_views_are_kept_from_the_fit(views_folder: Path) -> None:
    fitted, unseen = read_fit_and_unseen_views(views_folder, SIZE)
    assert (len(fitted), len(unseen)) == (14, 2)
    (views_folder / "transforms_test.json").write_text((views_folder / "transforms_train.json").read_text())
    fitted, unseen = read_fit_and_unseen_views(views_folder, SIZE)
    assert (len(fitted), len(unseen)) == (16, 16)


@pytest.mark.parametrize("with_points", [False, True])
def test_an_object_comes_back_out_of_its_pictures(
    views_folder: Path, tiny_settings: PreparationSettings, tmp_path: Path, with_points: bool
) -> None:
    if with_points:
        box = trimesh.creation.box(extents=(2.0, 1.0, 1.0))
        samples = trimesh.sample.sample_surface(box, 1500, seed=0)[0] + [5, 6, 7]
        trimesh.PointCloud(samples).export(views_folder / "points3d.ply")
    root = tmp_path / "data"
    settings = PreparationSettings(num_gaussians=400, resolution=SIZE, refinement=tiny_settings.refinement)
    (record,) = prepare_dataset(find_sources([views_folder]), root, settings)
    assert record.status == "ok", record.reason
    assert (record.id, record.noun, record.caption) == ("green-box", "green_box", "a green green_box")
    assert record.psnr > 19
    report = validate_dataset(root)
    assert report.valid, report.problems
    from diffgs_diffusers.data.dataset import GaussianObjectDataset

    splats = GaussianObjectDataset(root, None).splats(0)
    rgb = sh0_to_rgb(splats.sh0[:, 0]).median(dim=0).values
    assert rgb[1] > 1.5 * rgb[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": []}, "no frames"),
        ({"camera_angle_x": None}, "field of view"),
        ({"frames": [{"file_path": "r_0"}]}, "transform_matrix"),
        ({"frames": [{"file_path": "gone", "transform_matrix": np.eye(4).tolist()}]}, "cannot be read"),
        ({"frames": [{"transform_matrix": np.eye(4).tolist()}]}, "no file_path"),
        ({"frames": [{"file_path": "opaque", "transform_matrix": np.eye(4).tolist()}]}, "no alpha"),
    ],
)
def test_broken_folders_are_refused(views_folder: Path, change: dict[str, object], message: str) -> None:
    path = views_folder / "transforms_train.json"
    content = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    Image.new("RGB", (SIZE, SIZE)).save(views_folder / "opaque.png")
    with pytest.raises(ValueError, match=message):
        read_fit_and_unseen_views(views_folder, SIZE)


def test_silhouettes_without_common_space_are_refused(views_folder: Path) -> None:
    views = read_views(views_folder / "transforms_train.json", SIZE)
    views.images[3] = 0
    with pytest.raises(ValueError, match="no common space"):
        hull_points(views, 100, np.random.default_rng(0))
