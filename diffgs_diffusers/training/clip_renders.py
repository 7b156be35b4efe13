"""Training images for CLIP: recoloured objects, rendered when a batch is made, and captions true of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTokenizer
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from ..cameras import DEFAULT_FOV, fitting_radius, orbit_cameras
from ..data.augmentation import augment
from ..data.captions import COLOR_NAMES, compose_caption
from ..data.dataset import GaussianObjectDataset
from ..gaussians import GaussianSplats
from .sampling import SampleKey

_STRETCH = 0.12  # natural logarithm of the largest change of the focal lengths


class CaptionedImage(TypedDict):
    """An image [3, H, W], normalised for CLIP, and its caption."""

    pixel_values: Tensor
    caption: str


class CaptionedRenders:
    """Renders of a dataset's objects from random orbit cameras; an item depends on its key alone.

    Only the first Gaussians are drawn, grown to cover the same surface: every prefix of a prepared object is spread
    evenly, at these sizes nobody sees the difference, and it costs a quarter.

    Args:
        objects: fitted objects.
        image_size: pixels a side.
        num_gaussians: Gaussians drawn per image, at most.
        augmented: False keeps colours and proportions.
    """

    def __init__(
        self,
        objects: GaussianObjectDataset,
        image_size: int,
        *,
        num_gaussians: int = 2048,
        augmented: bool = True,
    ) -> None:
        self.objects, self.image_size = objects, image_size
        self.num_gaussians, self.augmented = num_gaussians, augmented

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, key: SampleKey) -> CaptionedImage:
        generator = np.random.default_rng(key.seed)
        splats, caption = augment(
            thinned(self.objects.splats(key.index), self.num_gaussians),
            self.objects.records[key.index],
            self.objects.material_ids(key.index)[: self.num_gaussians],
            generator,
            recolor=self.augmented,
            mirror=self.augmented,
            axis_scaling=False,  # an SVD of every Gaussian costs more than the render; see `random_view`
        )
        image = random_view(splats, self.image_size, generator)
        return {"pixel_values": normalize_pixels(image), "caption": caption}


def thinned(splats: GaussianSplats, num_gaussians: int) -> GaussianSplats:
    """The first n of N Gaussians, grown by √(N / n) so that the surface stays closed."""
    part = splats[:num_gaussians]
    scales = part.scales * math.sqrt(len(splats) / max(len(part), 1))
    return GaussianSplats(part.means, part.quats, scales, part.opacities, part.sh0, part.shN)


def random_view(splats: GaussianSplats, size: int, generator: np.random.Generator) -> Tensor:
    """[3, H, W] in [0, 1]: one view from an orbit, slightly stretched, on white, a grey or any colour."""
    kind = generator.random()
    background = (1.0, 1.0, 1.0)
    if kind > 0.75:
        background = tuple(generator.random(3))
    elif kind > 0.5:
        background = (float(generator.random()),) * 3
    cameras = orbit_cameras(
        1,
        size,
        elevation=generator.uniform(-5.0, 50.0),
        azimuth=generator.uniform(0.0, 360.0),
        radius=fitting_radius(DEFAULT_FOV) * generator.uniform(0.8, 1.15),
    )
    focal = cameras.Ks[0, 0, 0] * torch.from_numpy(np.exp(generator.uniform(-_STRETCH, _STRETCH, 2)))
    cameras.Ks[0, 0, 0], cameras.Ks[0, 1, 1] = focal
    return splats.render(cameras, background=background)[0, ..., :3].clamp(0, 1).movedim(-1, 0)


def normalize_pixels(images: Tensor) -> Tensor:
    """[..., 3, H, W] in [0, 1] to the mean and variance that CLIP's image processor gives."""
    mean, std = images.new_tensor(OPENAI_CLIP_MEAN), images.new_tensor(OPENAI_CLIP_STD)
    return (images - mean[:, None, None]) / std[:, None, None]


def caption_collator(tokenizer: CLIPTokenizer) -> Callable[[Sequence[CaptionedImage]], dict[str, Any]]:
    """A collate function that stacks images and pads captions to the longest of the batch."""

    def collate(items: Sequence[CaptionedImage]) -> dict[str, Any]:
        captions = [item["caption"] for item in items]
        tokens = tokenizer(captions, padding=True, truncation=True, return_tensors="pt")
        return {"pixel_values": torch.stack([item["pixel_values"] for item in items]), **tokens}

    return collate


def vocabulary_texts(objects: GaussianObjectDataset) -> list[str]:
    """Captions of every colour with every noun that augmentation may put together, in all templates."""
    nouns = sorted({name for record in objects.records for name in (record.noun, *record.names)})
    generator = np.random.default_rng(0)
    drawn = [compose_caption(noun, [color], generator) for noun in nouns for color in COLOR_NAMES]
    pairs = [compose_caption(nouns[0], [first, second]) for first in COLOR_NAMES for second in COLOR_NAMES]
    plain = [compose_caption(noun, [color]) for noun in nouns for color in COLOR_NAMES]
    return [record.caption for record in objects.records] + plain + drawn + pairs
