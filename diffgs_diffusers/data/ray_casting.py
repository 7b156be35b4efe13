"""Reference views of a mesh by ray casting, with every transparent layer composited in order."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..cameras import Cameras
from .mesh import SurfaceMesh
from .shading import SurfaceAppearance

RAYS_PER_CHUNK = 1 << 16
MAX_LAYERS = 12
# Light that is left behind the layers seen so far; below this the rest is invisible.
NEGLIGIBLE_TRANSMITTANCE = 0.02
STEP_BEHIND_SURFACE = 1e-4
EDGE_CONTRAST = 0.04
# A rotated grid of four samples about the pixel centre, where the first ray went.
EDGE_OFFSETS = ((-0.375, -0.125), (0.125, -0.375), (0.375, 0.125), (-0.125, 0.375))


class RayScene:
    """A mesh that rays can be sent into.

    Args:
        mesh: in the world frame.
        appearance: the mesh's colours.
    """

    def __init__(self, mesh: SurfaceMesh, appearance: SurfaceAppearance):
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as error:
            raise ImportError("Views of meshes need embreex: pip install 'diffgs-diffusers[data]'.") from error
        self._appearance = appearance
        self._scene = EmbreeScene()
        TriangleMesh(self._scene, mesh.triangles.astype(np.float32))
        corners = mesh.triangles.reshape(-1, 3)
        self._low = (corners.min(axis=0) - 1e-3).astype(np.float32)
        self._high = (corners.max(axis=0) + 1e-3).astype(np.float32)

    def first_hits(self, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, ...]:
        """What rays meet first.

        Args:
            origins: [R, 3].
            directions: [R, 3] unit.

        Returns:
            Ray index [H], face index [H], barycentric coordinates [H, 3] and distance [H] of the rays that hit.
        """
        hits = self._scene.run(
            np.ascontiguousarray(origins, np.float32), np.ascontiguousarray(directions, np.float32), output=1
        )
        rays = np.flatnonzero(hits["primID"] >= 0)
        u, v = hits["u"][rays], hits["v"][rays]
        return rays, hits["primID"][rays], np.stack([1 - u - v, u, v], axis=1), hits["tfar"][rays]

    def transmittance(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """[R] share of light that passes along rays to infinity."""
        return 1.0 - self.colors(origins, directions)[:, 3]

    def colors(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """[R, 4] premultiplied RGBA seen along rays (origins and unit directions [R, 3])."""
        result = np.zeros((len(origins), 4), dtype=np.float32)
        inside = np.flatnonzero(self._meets_box(origins, directions))
        for start in range(0, len(inside), RAYS_PER_CHUNK):
            chunk = inside[start : start + RAYS_PER_CHUNK]
            result[chunk] = self._composite(origins[chunk], directions[chunk])
        return result

    def _composite(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        result = np.zeros((len(origins), 4), dtype=np.float32)
        active = np.arange(len(origins))
        positions = origins
        for _ in range(MAX_LAYERS):
            hits, faces, barycentric, distances = self.first_hits(positions, directions[active])
            active, positions = active[hits], positions[hits]
            color = self._appearance.shaded(faces, barycentric)
            weight = (1.0 - result[active, 3:]) * color[:, 3:]
            result[active] += weight * np.concatenate([color[:, :3], np.ones_like(weight)], axis=1)
            going = result[active, 3] < 1.0 - NEGLIGIBLE_TRANSMITTANCE
            steps = (distances[going] + STEP_BEHIND_SURFACE)[:, None]
            active, positions = active[going], positions[going] + directions[active[going]] * steps
            if not len(active):
                break
        return result

    def _meets_box(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """[R] whether rays meet the mesh's box: entered along every axis before it is left along any."""
        enter, leave = np.zeros(len(origins), np.float32), np.full(len(origins), np.inf, np.float32)
        for axis in range(3):
            with np.errstate(divide="ignore", invalid="ignore"):
                inverse = 1.0 / directions[:, axis]
                a = (self._low[axis] - origins[:, axis]) * inverse
                b = (self._high[axis] - origins[:, axis]) * inverse
            enter, leave = np.fmax(enter, np.fmin(a, b)), np.fmin(leave, np.fmax(a, b))
        return leave >= enter


def render_views(scene: RayScene, cameras: Cameras) -> Tensor:
    """Antialiased views: a ray through every pixel centre, four more where neighbouring pixels differ.

    Args:
        scene: the mesh.
        cameras: C views.

    Returns:
        [C, H, W, 4] premultiplied RGBA.
    """
    views = []
    for eye, viewmat, K in zip(cameras.positions.numpy(), cameras.viewmats.numpy(), cameras.Ks.numpy()):
        rows, columns = np.mgrid[: cameras.height, : cameras.width]
        pixels = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32) + np.float32(0.5)
        view = scene.colors(*_rays(pixels, eye, viewmat, K)).reshape(cameras.height, cameras.width, 4)
        edges = np.flatnonzero(_edges(view).ravel())
        if len(edges):
            offsets = np.array(EDGE_OFFSETS, dtype=np.float32)
            samples = [scene.colors(*_rays(pixels[edges] + offset, eye, viewmat, K)) for offset in offsets]
            view.reshape(-1, 4)[edges] = np.mean(samples, axis=0)
        views.append(torch.from_numpy(view))
    return torch.stack(views)


def halve(views: Tensor) -> Tensor:
    """[C, H, W, 4] → [C, H/2, W/2, 4], averaging 2×2 pixels (premultiplied, so that averaging is right)."""
    return torch.nn.functional.avg_pool2d(views.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1).contiguous()


def _rays(pixels: np.ndarray, eye: np.ndarray, viewmat: np.ndarray, K: np.ndarray) -> tuple[np.ndarray, ...]:
    """Origins and unit directions [R, 3] in the world of rays through pixel positions [R, 2]."""
    x, y = (pixels[:, 0] - K[0, 2]) / K[0, 0], (pixels[:, 1] - K[1, 2]) / K[1, 1]
    directions = np.stack([x, y, np.ones_like(x)], axis=1) @ viewmat[:3, :3]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.broadcast_to(eye, directions.shape), directions


def _edges(view: np.ndarray) -> np.ndarray:
    """[H, W] pixels that differ from a neighbour."""
    edges = np.zeros(view.shape[:2], dtype=bool)
    for channel in np.moveaxis(view, -1, 0):
        across = np.abs(np.diff(channel, axis=1)) > EDGE_CONTRAST
        down = np.abs(np.diff(channel, axis=0)) > EDGE_CONTRAST
        edges[:, 1:] |= across
        edges[:, :-1] |= across
        edges[1:] |= down
        edges[:-1] |= down
    return edges
