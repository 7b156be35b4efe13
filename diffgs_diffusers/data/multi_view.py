"""Objects given by pictures: folders in the convention of NeRF-synthetic and Blender, `transforms.json`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cameras import Cameras
from .sources import TRANSFORMS_NAMES

# Blender's world (z up, front towards −y) in ours (up is −y, front towards +z): (x, y, z) → (−x, −z, −y).
BLENDER_TO_WORLD = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]])
# A camera's axes in Blender and OpenGL (x right, y up, z back) in OpenCV's.
OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0])
POINT_CLOUD_NAMES = ("points3d.ply", "points3D.ply", "point_cloud.ply")
HELD_OUT_EVERY = 8


@dataclass(frozen=True)
class PosedViews:
    """Pictures of an object with their cameras.

    Args:
        cameras: C cameras, in our orientation but in the units and about the origin of the file.
        images: [C, H, W, 4] premultiplied RGBA in [0, 1].
    """

    cameras: Cameras
    images: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def select(self, index: Tensor | slice) -> PosedViews:
        """Some of the views."""
        return PosedViews(self.cameras.select(index), self.images[index])

    def normalized(self, center: np.ndarray, scale: float) -> PosedViews:
        """The views of the object moved by −``center`` [3], then scaled."""
        viewmats = self.cameras.viewmats.double().clone()
        shift = torch.from_numpy(np.asarray(center, dtype=np.float64))
        viewmats[:, :3, 3] = scale * (viewmats[:, :3, 3] + viewmats[:, :3, :3] @ shift)
        cameras = Cameras(viewmats.float(), self.cameras.Ks, self.cameras.width, self.cameras.height)
        return PosedViews(cameras, self.images)


def read_fit_and_unseen_views(folder: str | Path, resolution: int) -> tuple[PosedViews, PosedViews]:
    """The views to fit, and others to measure with.

    ``transforms_test.json`` gives the latter where it exists; else every eighth view is kept from the fit.

    Args:
        folder: holds `transforms_train.json` or `transforms.json`.
        resolution: longer side in pixels that larger images are reduced to.

    Raises:
        ValueError: if there are fewer than two views, or a file is not what the convention asks for.
    """
    folder = Path(folder)
    name = next(name for name in TRANSFORMS_NAMES if (folder / name).is_file())
    views = read_views(folder / name, resolution)
    if (folder / "transforms_test.json").is_file():
        return views, read_views(folder / "transforms_test.json", resolution)
    if len(views) < 2:
        raise ValueError(f"{folder / name} lists {len(views)} view; at least 2 are needed to fit and to measure.")
    index = torch.arange(len(views))
    unseen = index % HELD_OUT_EVERY == min(HELD_OUT_EVERY, len(views)) - 1
    return views.select(~unseen), views.select(unseen)


def read_views(path: Path, resolution: int) -> PosedViews:
    """All views of one transforms file.

    Raises:
        ValueError: naming the file and what is wrong with it.
    """
    try:
        content = json.loads(path.read_text())
        frames = content["frames"]
    except (json.JSONDecodeError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a transforms file with a list of frames ({error}).") from error
    if not frames:
        raise ValueError(f"{path} lists no frames.")
    images, Ks, viewmats = [], [], []
    for number, frame in enumerate(frames):
        image, K = _image_and_intrinsics(path, content, frame, number, resolution)
        images.append(image)
        Ks.append(K)
        viewmats.append(_viewmat(path, frame, number))
    if len({image.shape for image in images}) > 1:
        raise ValueError(f"The images of {path} differ in size; make them equal.")
    height, width = images[0].shape[:2]
    cameras = Cameras(torch.stack(viewmats), torch.stack(Ks), width, height)
    return PosedViews(cameras, torch.stack(images))


def read_points(folder: Path) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Positions [P, 3] in our orientation and colours [P, 3] of a point cloud beside the views, if there is one."""
    import trimesh

    path = next((folder / name for name in POINT_CLOUD_NAMES if (folder / name).is_file()), None)
    if path is None:
        return None
    cloud = trimesh.load(path, process=False)
    positions = np.asarray(cloud.vertices, dtype=np.float64)
    if not len(positions) or not np.isfinite(positions).all():
        raise ValueError(f"{path} holds no points, or points that are not finite.")
    colors = np.asarray(getattr(cloud, "colors", np.zeros((0, 4))))
    known = colors[:, :3] / 255 if len(colors) == len(positions) else None
    return positions @ BLENDER_TO_WORLD.T, known


def _viewmat(path: Path, frame: dict[str, Any], number: int) -> Tensor:
    matrix = np.asarray(frame.get("transform_matrix", []), dtype=np.float64)
    if matrix.shape not in ((4, 4), (3, 4)) or not np.isfinite(matrix).all():
        raise ValueError(f"Frame {number} of {path} lacks a finite 4×4 transform_matrix.")
    rotation = BLENDER_TO_WORLD @ matrix[:3, :3] @ OPENGL_TO_OPENCV
    # exporters leave a scale in the matrix
    rotation /= np.linalg.norm(rotation, axis=0)
    viewmat = np.eye(4)
    viewmat[:3, :3] = rotation.T
    viewmat[:3, 3] = -rotation.T @ (BLENDER_TO_WORLD @ matrix[:3, 3])
    return torch.from_numpy(viewmat).float()


def _image_and_intrinsics(
    path: Path, content: dict[str, Any], frame: dict[str, Any], number: int, resolution: int
) -> tuple[Tensor, Tensor]:
    """One image [H, W, 4], premultiplied and reduced, and its intrinsics [3, 3]."""
    from PIL import Image

    name = frame.get("file_path")
    if not isinstance(name, str):
        raise ValueError(f"Frame {number} of {path} has no file_path.")
    file = path.parent / name
    file = file if file.suffix else file.with_suffix(".png")
    try:
        with Image.open(file) as opened:
            if "A" not in opened.getbands():
                raise ValueError(f"{file} has no alpha channel; render the object over a transparent background.")
            pixels = np.asarray(opened.convert("RGBA"), dtype=np.float32) / 255
    except OSError as error:
        raise ValueError(f"Frame {number} of {path}: {file} cannot be read ({error}).") from error
    height, width = pixels.shape[:2]
    settings = {**content, **frame}
    if "fl_x" in settings:
        fx, fy = float(settings["fl_x"]), float(settings.get("fl_y", settings["fl_x"]))
    elif "camera_angle_x" in settings:
        fx = fy = 0.5 * width / math.tan(0.5 * float(settings["camera_angle_x"]))
    else:
        raise ValueError(f"{path} gives neither camera_angle_x nor fl_x: the field of view is unknown.")
    K = torch.tensor(
        [
            [fx, 0.0, float(settings.get("cx", width / 2))],
            [0.0, fy, float(settings.get("cy", height / 2))],
            [0.0, 0.0, 1.0],
        ]
    )
    pixels[..., :3] *= pixels[..., 3:]
    factor = min(resolution / max(width, height), 1.0)
    size = max(2 * round(height * factor / 2), 2), max(2 * round(width * factor / 2), 2)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    if size != (height, width):
        image = torch.nn.functional.interpolate(image, size=size, mode="area")
    scale = torch.tensor([[size[1] / width], [size[0] / height], [1.0]])
    return image[0].permute(1, 2, 0).contiguous(), K * scale
