"""Surfaces with materials: what is left of a mesh file once every format's ways of colouring are made one."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

FALLBACK_COLOR = (0.7, 0.7, 0.7, 1.0)
MESH_SUFFIXES = (".obj", ".glb", ".gltf", ".ply", ".stl", ".off", ".3mf")


@dataclass(frozen=True)
class SurfaceMaterial:
    """What a face looks like before shading.

    Args:
        name: as in the file.
        color: [4] RGBA in [0, 1]; where there is a texture only its alpha counts.
        texture: [H, W, 4] uint8 RGBA, first row at the top, or None.
    """

    name: str
    color: np.ndarray
    texture: np.ndarray | None = None


@dataclass(frozen=True)
class SurfaceMesh:
    """Triangles with per-corner attributes, in any frame.

    Args:
        vertices: [V, 3] float64.
        faces: [F, 3] vertex indices.
        corner_normals: [F, 3, 3] unit normals, on the side of the face normal; their common sign means nothing.
        corner_uvs: [F, 3, 2] texture coordinates, v upwards, wrapping.
        corner_colors: [F, 3, 4] RGBA in [0, 1] that multiply the material, or None.
        face_materials: [F] index into ``materials``.
        materials: at least one.
    """

    vertices: np.ndarray
    faces: np.ndarray
    corner_normals: np.ndarray
    corner_uvs: np.ndarray
    corner_colors: np.ndarray | None
    face_materials: np.ndarray
    materials: list[SurfaceMaterial]

    @property
    def triangles(self) -> np.ndarray:
        """[F, 3, 3] corner positions."""
        return self.vertices[self.faces]

    @property
    def areas(self) -> np.ndarray:
        """[F] face areas."""
        return 0.5 * np.linalg.norm(_face_cross(self.triangles), axis=-1)


def load_mesh(file: str | Path | bytes, file_type: str | None = None, resolver: Any = None) -> SurfaceMesh:
    """Reads a mesh with its materials.

    Args:
        file: a path, or the bytes of a file.
        file_type: suffix without the dot; needed with bytes.
        resolver: finds materials and textures for bytes (``get(name) -> bytes``).

    Raises:
        ValueError: if the file has no faces or its vertices are not finite.
        ImportError: without trimesh.
    """
    try:
        import trimesh
    except ImportError as error:
        raise ImportError("Reading meshes needs trimesh: pip install 'diffgs-diffusers[data]'.") from error

    name = file if isinstance(file, str | Path) else f"this {file_type} mesh"
    source = io.BytesIO(file) if isinstance(file, bytes) else str(file)
    if resolver is None and not isinstance(file, bytes):
        resolver = trimesh.resolvers.FilePathResolver(str(file))
    try:
        scene = trimesh.load_scene(source, file_type=file_type, resolver=resolver, process=False)
    except (ValueError, TypeError, KeyError, IndexError, NotImplementedError) as error:
        raise ValueError(f"{name} cannot be read as a mesh ({type(error).__name__}: {error}).") from error
    parts = []
    for node in scene.graph.nodes_geometry:
        transform, geometry_name = scene.graph[node]
        geometry = scene.geometry[geometry_name]
        if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
            parts.append(_part(geometry, transform, resolver))
    if not parts:
        raise ValueError(f"{name} has no faces: only surfaces can become Gaussians.")
    mesh = _join(parts)
    if not np.isfinite(mesh.vertices[mesh.faces]).all():
        raise ValueError(f"{name} has vertices that are not finite numbers.")
    return mesh


def _part(geometry: Any, transform: np.ndarray, resolver: Any) -> SurfaceMesh:
    faces = np.asarray(geometry.faces, dtype=np.int64)
    vertices = np.asarray(geometry.vertices, dtype=np.float64) @ transform[:3, :3].T + transform[:3, 3]
    # trimesh computes normals when a file has none, smoothing over sharp edges: only stored ones are of use.
    stored = "vertex_normals" in geometry._cache
    normals = np.asarray(geometry.vertex_normals) @ np.linalg.pinv(transform[:3, :3]) if stored else None
    uvs = np.zeros((len(faces), 3, 2), dtype=np.float32)
    colors = None
    material = SurfaceMaterial("default", np.array(FALLBACK_COLOR))
    kind = geometry.visual.kind
    if kind == "texture":
        if geometry.visual.uv is not None and len(geometry.visual.uv) == len(vertices):
            uvs = np.nan_to_num(np.asarray(geometry.visual.uv, dtype=np.float32)[:, :2])[faces]
        material = _material(geometry.visual.material, resolver, has_uvs=bool(uvs.any()))
    elif kind == "vertex":
        colors = np.asarray(geometry.visual.vertex_colors, dtype=np.float32)[faces] / 255
    elif kind == "face":
        face_colors = np.asarray(geometry.visual.face_colors, dtype=np.float32) / 255
        colors = np.repeat(face_colors[:, None], 3, axis=1)
    if colors is not None:
        material = replace(material, color=np.ones(4))
    return SurfaceMesh(
        vertices=vertices,
        faces=faces,
        corner_normals=_corner_normals(vertices[faces], None if normals is None else normals[faces]),
        corner_uvs=uvs,
        corner_colors=colors,
        face_materials=np.zeros(len(faces), dtype=np.int64),
        materials=[material],
    )


def _material(material: Any, resolver: Any, has_uvs: bool) -> SurfaceMaterial:
    """One material of trimesh (MTL or glTF) as ours; a missing or unreadable texture leaves the plain colour."""
    import trimesh

    name = str(material.name or "default")
    extra = getattr(material, "kwargs", None) or {}
    if isinstance(material, trimesh.visual.material.PBRMaterial):
        factor = material.baseColorFactor
        color = np.ones(4) if factor is None else np.asarray(factor, dtype=np.float64).ravel() / 255
        color = np.append(color, 1.0)[:4]
        if material.alphaMode in (None, "OPAQUE"):
            color[3] = 1.0
        texture = _pixels(material.baseColorTexture) if has_uvs else None
        if texture is not None and material.alphaMode in (None, "OPAQUE"):
            texture[..., 3] = 255
        if texture is not None and factor is not None:
            texture[..., :3] = texture[..., :3] * color[:3]
        return SurfaceMaterial(name, color, texture)
    if not extra and getattr(material.image, "format", None) is None:
        # not read from any file: what the loader invents for faces without a material
        return SurfaceMaterial("default", np.array(FALLBACK_COLOR))
    # the loader's own default is a mid grey, and a Kd next to a texture makes it far too dark
    color = np.array(FALLBACK_COLOR) if "kd" not in extra else np.append(extra["kd"], 1.0)[:4].astype(float)
    color[3] = _dissolve(extra)
    texture = _pixels(material.image) if has_uvs else None
    if texture is not None and "map_d" in extra:
        texture = _with_alpha_map(texture, extra["map_d"], resolver)
    return SurfaceMaterial(name, np.clip(color, 0.0, 1.0), texture)


def _dissolve(extra: dict[str, Any]) -> float:
    """Opacity of an MTL material; a value of 0 hides a part for no reason and is taken as a slip."""
    try:
        value = float(extra["d"][-1]) if "d" in extra else 1.0 - float(extra.get("tr", ["0"])[-1])
    except ValueError:
        return 1.0
    return value if 0.0 < value <= 1.0 else 1.0


def _pixels(image: Any) -> np.ndarray | None:
    if image is None:
        return None
    try:
        return np.array(image.convert("RGBA"))
    except (OSError, ValueError, SyntaxError):
        return None


def _with_alpha_map(texture: np.ndarray, words: list[str], resolver: Any) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(resolver.get(" ".join(words)))) as image:
            # an alpha channel where there is one, else how bright the map is
            channel = image.getchannel("A") if "A" in image.getbands() else image.convert("L")
            alpha = np.array(channel.resize((texture.shape[1], texture.shape[0])))
    except (OSError, ValueError, KeyError, AttributeError):
        return texture
    texture = texture.copy()
    texture[..., 3] = alpha
    return texture


def _corner_normals(triangles: np.ndarray, normals: np.ndarray | None) -> np.ndarray:
    """[F, 3, 3] stored normals turned to the side of their face; where they disagree with it, the face's."""
    cross = _face_cross(triangles)
    face_normals = cross / np.maximum(np.linalg.norm(cross, axis=-1, keepdims=True), 1e-20)
    flat = np.repeat(face_normals[:, None], 3, axis=1)
    if normals is None:
        return flat.astype(np.float32)
    lengths = np.linalg.norm(normals, axis=-1, keepdims=True)
    unit = normals / np.maximum(lengths, 1e-20)
    cosine = (unit * flat).sum(-1, keepdims=True)
    unit = unit * np.where(cosine < 0, -1.0, 1.0)
    return np.where((np.abs(cosine) > 0.5) & (lengths > 1e-6), unit, flat).astype(np.float32)


def _face_cross(triangles: np.ndarray) -> np.ndarray:
    return np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])


def _join(parts: list[SurfaceMesh]) -> SurfaceMesh:
    vertex_starts = np.cumsum([0] + [len(part.vertices) for part in parts])
    colored = any(part.corner_colors is not None for part in parts)
    colors = [
        np.ones((len(part.faces), 3, 4), np.float32) if part.corner_colors is None else part.corner_colors
        for part in parts
    ]
    return SurfaceMesh(
        vertices=np.concatenate([part.vertices for part in parts]),
        faces=np.concatenate([part.faces + start for part, start in zip(parts, vertex_starts)]),
        corner_normals=np.concatenate([part.corner_normals for part in parts]),
        corner_uvs=np.concatenate([part.corner_uvs for part in parts]),
        corner_colors=np.concatenate(colors) if colored else None,
        face_materials=np.repeat(np.arange(len(parts)), [len(part.faces) for part in parts]),
        materials=[part.materials[0] for part in parts],
    )
