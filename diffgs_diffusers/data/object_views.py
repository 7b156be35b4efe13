"""Pictures of objects, as somebody might take them: what the image condition is trained and measured on."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..cameras import Cameras, orbit_cameras
from ..functional.pictures import centered_on_white
from ..gaussians import GaussianSplats

ELEVATIONS = (-10.0, 45.0)  # degrees


def random_camera(size: int, generator: np.random.Generator) -> Cameras:
    """One camera anywhere around the object, from a little below the horizon to well above it."""
    elevation, azimuth = generator.uniform(*ELEVATIONS), generator.uniform(0, 360)
    return orbit_cameras(1, size, elevation=float(elevation), azimuth=float(azimuth))


def picture(splats: GaussianSplats, cameras: Cameras) -> Image.Image:
    """What the first camera sees, with transparency."""
    rgba = splats.render(cameras)[0].detach().cpu().clamp(0, 1)
    straight = torch.cat([rgba[..., :3] / rgba[..., 3:].clamp(min=1e-6), rgba[..., 3:]], dim=-1)
    return Image.fromarray((straight.clamp(0, 1) * 255).round().byte().numpy(), "RGBA")


def random_view(splats: GaussianSplats, size: int, generator: np.random.Generator) -> Tensor:
    """A view [size, size, 3] uint8 from a random side, its object brought to the middle of a white square."""
    seen = centered_on_white(picture(splats, random_camera(2 * size, generator)))
    return torch.from_numpy(np.array(seen.resize((size, size), Image.Resampling.BICUBIC)))
