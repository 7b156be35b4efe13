"""The fixed views that all tables look at objects from."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..cameras import Cameras, orbit_cameras
from ..gaussians import GaussianSplats

WHITE = (1.0, 1.0, 1.0)
NUM_VIEWS = 8


def evaluation_cameras(size: int = 256, num_views: int = NUM_VIEWS) -> Cameras:
    """Cameras on a circle 20° above the horizon, none of them straight ahead of a side."""
    return orbit_cameras(num_views, size, elevation=20.0, azimuth=30.0)


def render_on_white(splats: GaussianSplats, cameras: Cameras) -> Tensor:
    """[C, H, W, 3] in [0, 1]."""
    return splats.render(cameras, background=WHITE)[..., :3].clamp(0, 1)


def foreground_colors(views: Tensor, least_alpha: float = 0.5) -> Tensor:
    """Colours of the object alone.

    Args:
        views: [C, H, W, 4] RGBA with premultiplied colour, as rendered without a background.
        least_alpha: pixels that are more transparent belong to the background.

    Returns:
        [P, 3] straight RGB in [0, 1] of the P foreground pixels.
    """
    pixels = views.reshape(-1, 4)
    pixels = pixels[pixels[:, 3] > least_alpha]
    return (pixels[:, :3] / pixels[:, 3:]).clamp(0, 1)


def save_sheet(rows: list[list[Tensor]], path: Path) -> None:
    """Writes rows of images [H, W, 3] of one size, all rows equally long, as one PNG."""
    sheet = torch.cat([torch.cat(row, dim=1) for row in rows], dim=0)
    pixels = (sheet.clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
