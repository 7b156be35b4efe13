"""How like a picture an object looks, from wherever the picture may have been taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..cameras import Cameras, orbit_cameras
from ..functional.pictures import centered_renders
from ..gaussians import GaussianSplats

SIZE = 32  # pixels a side that are compared
_RENDERED = 64  # before the object is brought to the middle
# Elevation and azimuth in degrees, as pictures are mostly taken.
SIDES = tuple(product((-5.0, 12.0, 29.0, 46.0), np.arange(0.0, 360.0, 15.0).tolist()))
_FINER_STEPS = (7.5, 3.5)  # degrees
_KEPT = 3  # of the first views, whose neighbours are tried
_LOWEST, _HIGHEST = -30.0, 80.0  # degrees


@dataclass(frozen=True)
class Likeness:
    """How like a picture an object looks from the best side.

    Args:
        error: mean squared difference of pixels, colours in [0, 1].
        elevation: of the camera from where it does, degrees above the horizon.
        azimuth: degrees from the front towards the right.
    """

    error: float
    elevation: float
    azimuth: float


@torch.no_grad()
def likeness(splats: GaussianSplats, picture: Image.Image) -> Likeness:
    """Looks at an object from all around and compares it with a picture.

    Args:
        splats: in the box of side 1 around the origin.
        picture: its object in the middle, as
            :func:`~diffgs_diffusers.functional.pictures.centered_on_white` makes it.
    """
    target = small_picture(picture)
    border = torch.cat([target[0], target[-1], target[:, 0], target[:, -1]])
    background = border.median(dim=0).values

    def compared(sides: Iterable[tuple[float, float]]) -> list[Likeness]:
        sides = list(sides)
        renders = splats.to("cpu").render(side_cameras(sides))
        errors = (centered_renders(renders, SIZE, background) - target).square().mean(dim=(1, 2, 3))
        found = [Likeness(error, *side) for error, side in zip(errors.tolist(), sides, strict=True)]
        return sorted(found, key=lambda one: one.error)

    best = compared(SIDES)[:_KEPT]
    for step in _FINER_STEPS:
        moves = list(product((-step, 0.0, step), repeat=2))
        near = {
            (min(max(one.elevation + up, _LOWEST), _HIGHEST), (one.azimuth + around) % 360)
            for one in best
            for up, around in moves
        }
        best = compared(sorted(near))[:1]
    return best[0]


def small_picture(picture: Image.Image) -> Tensor:
    """[32, 32, 3] in [0, 1], what of a picture is compared."""
    small = picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX)
    return torch.from_numpy(np.array(small)).float() / 255


def side_cameras(sides: Iterable[tuple[float, float]]) -> Cameras:
    """One camera of 64² pixels for each elevation and azimuth, in degrees."""
    each = [orbit_cameras(1, _RENDERED, elevation=up, azimuth=around) for up, around in sides]
    views, intrinsics = (torch.cat([getattr(one, name) for one in each]) for name in ("viewmats", "Ks"))
    return Cameras(views, intrinsics, _RENDERED, _RENDERED)
