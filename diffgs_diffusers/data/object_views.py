"""Pictures of objects, as somebody might take them: what the image condition is trained and measured on."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..cameras import Cameras, orbit_cameras
from ..functional.pictures import LEAST_DIFFERENCE, centered_on_white
from ..gaussians import GaussianSplats

ELEVATIONS = (-10.0, 45.0)  # degrees
_MOST_TRIES = 100


def random_side(generator: np.random.Generator) -> tuple[float, float]:
    """Elevation and azimuth in degrees: all around the object, from a little below the horizon to well above it."""
    return float(generator.uniform(*ELEVATIONS)), float(generator.uniform(0, 360))


def random_camera(size: int, generator: np.random.Generator) -> Cameras:
    """One camera on a :func:`random_side`."""
    return side_camera(random_side(generator), size)


def side_camera(side: tuple[float, float], size: int) -> Cameras:
    """One camera that looks at the object from an elevation and azimuth, in degrees."""
    return orbit_cameras(1, size, elevation=side[0], azimuth=side[1])


def picture(splats: GaussianSplats, cameras: Cameras) -> Image.Image:
    """What the first camera sees, with transparency."""
    rgba = splats.render(cameras)[0].detach().cpu().clamp(0, 1)
    straight = torch.cat([rgba[..., :3] / rgba[..., 3:].clamp(min=1e-6), rgba[..., 3:]], dim=-1)
    return Image.fromarray((straight.clamp(0, 1) * 255).round().byte().numpy(), "RGBA")


def random_picture(
    splats: GaussianSplats, size: int, generator: np.random.Generator
) -> tuple[Image.Image, tuple[float, float]]:
    """A picture of size² pixels from the first :func:`random_side` that shows something, and that side.

    A sheet of paper seen from its edge covers no pixel.

    Raises:
        ValueError: if nothing is seen from a hundred sides.
    """
    for _ in range(_MOST_TRIES):
        side = random_side(generator)
        seen = picture(splats, side_camera(side, size))
        if np.asarray(seen.getchannel("A")).max() > LEAST_DIFFERENCE:
            return seen, side
    raise ValueError(f"The object cannot be seen from any of {_MOST_TRIES} sides: it has no opaque Gaussians.")


def small_view(seen: Image.Image, size: int) -> Tensor:
    """A picture as [size, size, 3] uint8, its object brought to the middle of a white square."""
    small = centered_on_white(seen).resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(small))
