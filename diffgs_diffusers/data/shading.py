"""The fixed, view-independent light that objects are seen in, so that a colour of SH degree 0 holds all of it."""

from __future__ import annotations

import numpy as np

from .mesh import SurfaceMesh

# Light from above, ahead and a little to the side in the world frame (up is −y): a box shows three tones.
LIGHT_DIRECTION = np.array([0.40, -0.70, 0.59], dtype=np.float32) / np.float32(0.9990)
AMBIENT, SKY, DIRECT = 0.60, 0.15, 0.34
# The darkest surface still reflects this much, so that its shape can be seen and its colour be changed.
DARKEST = 0.05
# Texels per unit of length beyond which a texture is averaged down first: about two per pixel of a 256² view.
TEXEL_DENSITY = 384.0


def shade(normals: np.ndarray) -> np.ndarray:
    """[..., 1] brightness of a surface: ambient, more for what faces up or down, and one two-sided light.

    The sign of a normal does not matter (files get it wrong); the light fades in smoothly where it grazes.

    Args:
        normals: [..., 3] unit, world frame.
    """
    facing = np.sqrt((normals @ LIGHT_DIRECTION) ** 2 + 0.01)
    return np.minimum(AMBIENT + SKY * normals[..., 1] ** 2 + DIRECT * facing, 1.0)[..., None]


class SurfaceAppearance:
    """Colours of points on a mesh, with all textures in one array so that a lookup is one gather.

    Args:
        mesh: in the world frame.
    """

    def __init__(self, mesh: SurfaceMesh):
        self._mesh = mesh
        areas = np.bincount(mesh.face_materials, mesh.areas, len(mesh.materials))
        uv_areas = np.bincount(mesh.face_materials, _uv_areas(mesh.corner_uvs), len(mesh.materials))
        textures = [
            _texels(material.color, material.texture, uv_area, area)
            for material, uv_area, area in zip(mesh.materials, uv_areas, areas)
        ]
        self._heights = np.array([texture.shape[0] for texture in textures])
        self._widths = np.array([texture.shape[1] for texture in textures])
        self._starts = np.cumsum([0] + [texture.shape[0] * texture.shape[1] for texture in textures])[:-1]
        self._texels = np.concatenate([texture.reshape(-1, 4) for texture in textures])

    def albedo(self, face_index: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
        """[P, 4] RGBA before shading, straight alpha, of points given by face [P] and barycentrics [P, 3]."""
        material = self._mesh.face_materials[face_index]
        u, v = np.einsum("pc,pcd->dp", barycentric, self._mesh.corner_uvs[face_index])
        column = np.minimum(((u % 1.0) * self._widths[material]).astype(np.int64), self._widths[material] - 1)
        row = np.minimum(((-v % 1.0) * self._heights[material]).astype(np.int64), self._heights[material] - 1)
        color = self._texels[self._starts[material] + row * self._widths[material] + column]
        if self._mesh.corner_colors is not None:
            color = color * np.einsum("pc,pcd->pd", barycentric, self._mesh.corner_colors[face_index])
        return color

    def normals(self, face_index: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
        """[P, 3] interpolated unit normals; the sign means nothing."""
        normals = np.einsum("pc,pcd->pd", barycentric, self._mesh.corner_normals[face_index])
        return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)

    def shaded(self, face_index: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
        """[P, 4] RGBA as seen under the fixed light, straight alpha."""
        color = self.albedo(face_index, barycentric).astype(np.float32)
        brightness = shade(self.normals(face_index, barycentric))
        color[:, :3] = lit(color[:, :3]) * brightness
        return color


def lit(albedo: np.ndarray) -> np.ndarray:
    """Albedo [..., 3] with the darkest tones lifted: what full light shows."""
    return DARKEST + (1.0 - DARKEST) * albedo


def _uv_areas(corner_uvs: np.ndarray) -> np.ndarray:
    a, b = corner_uvs[:, 1] - corner_uvs[:, 0], corner_uvs[:, 2] - corner_uvs[:, 0]
    return 0.5 * np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def _texels(color: np.ndarray, texture: np.ndarray | None, uv_area: float, area: float) -> np.ndarray:
    """[H, W, 4] float32; a plain colour is one texel, a texture too fine for our views is averaged down."""
    if texture is None:
        return np.asarray(color, dtype=np.float32).reshape(1, 1, 4)
    from PIL import Image

    height, width = texture.shape[:2]
    density = np.sqrt(uv_area * height * width / max(area, 1e-12))
    factor = max(density / TEXEL_DENSITY, 1.0)
    size = max(round(width / factor), 1), max(round(height / factor), 1)
    if size != (width, height):
        texture = np.array(Image.fromarray(texture).resize(size, Image.Resampling.BOX))
    texels = texture.astype(np.float32) / 255
    texels[..., 3] *= color[3]
    return texels
