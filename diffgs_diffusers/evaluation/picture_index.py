"""The training object that looks most like a picture, from whatever side: what generating from one must beat.

The search knows what a generator knows, the picture alone; it looks at every object from all around, as
:func:`~diffgs_diffusers.pipelines.choice.likeness` does.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..functional.pictures import centered_renders
from ..gaussians import GaussianSplats
from ..pipelines.likeness import SIDES, SIZE, side_cameras, small_picture


class PictureIndex:
    """Small pictures of objects from all sides, on white.

    Args:
        objects: in the box of side 1 around the origin.
    """

    def __init__(self, objects: Iterable[GaussianSplats]) -> None:
        cameras, white = side_cameras(SIDES), torch.ones(3)
        self.pictures = torch.stack([_bytes(centered_renders(one.render(cameras), SIZE, white)) for one in objects])

    def nearest(self, picture: Image.Image) -> int:
        """The place of the object that has the view of least squared error.

        Args:
            picture: its object in the middle of a white square, as
                :func:`~diffgs_diffusers.functional.pictures.centered_on_white` makes it.
        """
        target = small_picture(picture)
        errors = [float(_errors(views, target).min()) for views in self.pictures]
        return int(np.argmin(errors))


def _bytes(views: Tensor) -> Tensor:
    """[0, 1] as uint8: there are a hundred views of each of some hundred objects."""
    return (views.clamp(0, 1) * 255).round().to(torch.uint8)


def _errors(views: Tensor, target: Tensor) -> Tensor:
    return (views.float() / 255 - target).square().mean(dim=(1, 2, 3))
