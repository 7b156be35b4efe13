"""Meshes of several formats with their ways of colouring, and the ways in which they are broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from diffgs_diffusers.data.mesh import FALLBACK_COLOR, load_mesh
from diffgs_diffusers.data.normalization import normalize_mesh
from diffgs_diffusers.data.shading import SurfaceAppearance
from diffgs_diffusers.data.sources import find_sources

CENTER = np.array([[1 / 3, 1 / 3, 1 / 3]])


def albedo_of_first_face(mesh: object) -> np.ndarray:
    return SurfaceAppearance(mesh).albedo(np.array([0]), CENTER)[0]  # type: ignore[arg-type]


def test_materials_of_a_library_object(cube_library: Path) -> None:
    red, textured, _ = find_sources([cube_library])
    np.testing.assert_allclose(albedo_of_first_face(red.load()), [0.8, 0.1, 0.1, 1.0], atol=1e-6)
    np.testing.assert_allclose(albedo_of_first_face(textured.load()), [0, 0, 200 / 255, 1.0], atol=1e-6)


def test_a_library_object_is_stretched_to_its_size(cube_library: Path) -> None:
    mesh = find_sources([cube_library])[0].load()
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [1.0, 0.5, 0.25], atol=1e-12)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), [0.5, 0.25, 0.125], atol=1e-12)


def test_normalizing_turns_y_up_into_the_world_frame(tmp_path: Path) -> None:
    # one triangle: the corner that is up, the one to the right, the one ahead
    (tmp_path / "a.obj").write_text("v 0 2 0\nv 2 0 0\nv 0 0 2\nf 1 2 3\n")
    up, right, ahead = normalize_mesh(load_mesh(tmp_path / "a.obj")).vertices
    assert up[1] == -0.5
    assert right[0] == -0.5
    assert ahead[2] == 0.5


def test_normalizing_applies_the_rotation_before_the_size() -> None:
    box = trimesh.creation.box(extents=(1, 2, 3))
    mesh = load_mesh(box.export(file_type="ply"), file_type="ply")
    quarter_turn = [0, 0, 1, 0, 1, 0, -1, 0, 0]
    turned = normalize_mesh(mesh, rotation=quarter_turn)
    np.testing.assert_allclose(np.ptp(turned.vertices, axis=0), [1, 2 / 3, 1 / 3], atol=1e-6)
    cosines = (turned.corner_normals[:, 0] * np.cross(*np.diff(turned.triangles, axis=1).swapaxes(0, 1))).sum(1)
    assert (cosines > 0).all(), "normals turn along with the faces"


def test_a_flat_mesh_keeps_its_flat_side(tmp_path: Path) -> None:
    (tmp_path / "rug.obj").write_text("v 0 0 0\nv 2 0 0\nv 0 0 1\nf 1 2 3\n")
    mesh = normalize_mesh(load_mesh(tmp_path / "rug.obj"), size=(200, 5, 100))
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [1, 0, 0.5], atol=1e-12)


def test_vertex_and_face_colors_and_gltf_materials(tmp_path: Path) -> None:
    box = trimesh.creation.box()
    box.visual.vertex_colors = [10, 200, 30, 255]
    np.testing.assert_allclose(
        albedo_of_first_face(load_mesh(box.export(file_type="ply"), "ply"))[:3],
        np.array([10, 200, 30]) / 255,
        atol=1e-6,
    )
    painted = trimesh.creation.box()
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[0, 0, 255, 128], alphaMode="BLEND")
    painted.visual = trimesh.visual.TextureVisuals(uv=np.zeros((8, 2)), material=material)
    painted.export(tmp_path / "box.glb")
    np.testing.assert_allclose(
        albedo_of_first_face(load_mesh(tmp_path / "box.glb")), [0, 0, 1, 128 / 255], atol=2e-3
    )


def test_missing_materials_and_textures_leave_a_plain_color(tmp_path: Path) -> None:
    faces = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\n"
    (tmp_path / "none.obj").write_text(faces + "f 1/1 2/2 3/3\n")
    np.testing.assert_allclose(albedo_of_first_face(load_mesh(tmp_path / "none.obj")), FALLBACK_COLOR)
    (tmp_path / "lost.mtl").write_text("newmtl paint\nKd 0.2 0.4 0.6\nd 0.5\nmap_Kd nowhere.png\n")
    (tmp_path / "lost.obj").write_text("mtllib lost.mtl\n" + faces + "usemtl paint\nf 1/1 2/2 3/3\n")
    np.testing.assert_allclose(
        albedo_of_first_face(load_mesh(tmp_path / "lost.obj")), [0.2, 0.4, 0.6, 0.5], atol=1e-6
    )


def test_textures_wrap_and_begin_at_the_lower_left(tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.zeros((2, 2, 3), dtype=np.uint8)
    pixels[1, 0] = 255  # lower left in the image
    Image.fromarray(pixels).save(tmp_path / "t.png")
    (tmp_path / "t.mtl").write_text("newmtl m\nmap_Kd t.png\n")
    # all three corners in the lower left quarter, two and three periods away
    uvs = "vt 2.2 3.2\nvt 2.3 3.2\nvt 2.2 3.3\n"
    (tmp_path / "t.obj").write_text(f"mtllib t.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\n{uvs}usemtl m\nf 1/1 2/2 3/3\n")
    np.testing.assert_allclose(albedo_of_first_face(load_mesh(tmp_path / "t.obj")), [1, 1, 1, 1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("v 0 0 0\nv 1 0 0\n", "no faces"),
        ("v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
        ("", "no faces|cannot be read"),
    ],
)
def test_broken_meshes_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "broken.obj"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_mesh(path)
    assert "broken.obj" in str(caught.value)


def test_sizes_and_points_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n")
    with pytest.raises(ValueError, match="single point"):
        normalize_mesh(load_mesh(tmp_path / "a.obj"))
    box = load_mesh(trimesh.creation.box().export(file_type="ply"), "ply")
    with pytest.raises(ValueError, match="must be positive"):
        normalize_mesh(box, size=(1, 0, 1))
