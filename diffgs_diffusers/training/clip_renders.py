"""Training images for CLIP: recoloured objects, rendered when a batch is made, and captions true of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTokenizer
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from ..cameras import DEFAULT_FOV, fitting_radius, orbit_cameras
from ..data.augmentation import augment
from ..data.captions import COLOR_NAMES, compose_caption
from ..data.dataset import GaussianObjectDataset, ObjectRecord
from ..gaussians import GaussianSplats
from .sampling import SampleKey

_STRETCH = 0.12  # natural logarithm of the largest change of the focal lengths


class CaptionedImage(TypedDict):
    """An image [3, H, W], normalised for CLIP, its caption, and captions that are wrong by the noun alone."""

    pixel_values: Tensor
    caption: str
    wrong_captions: list[str]


class CaptionedRenders:
    """Renders of a dataset's objects from random orbit cameras; an item depends on its key alone.

    Only the first Gaussians are drawn, grown to cover the same surface: every prefix of a prepared object is spread
    evenly, at these sizes nobody sees the difference, and it costs a quarter.

    Args:
        objects: fitted objects.
        image_size: pixels a side.
        num_gaussians: Gaussians drawn per image, at most.
        augmented: False keeps colours and proportions.
        num_wrong_captions: captions per image with the noun of an object of another category. Colours alone tell
            most captions of a batch apart; these make shapes matter.
    """

    def __init__(
        self,
        objects: GaussianObjectDataset,
        image_size: int,
        *,
        num_gaussians: int = 2048,
        augmented: bool = True,
        num_wrong_captions: int = 2,
    ) -> None:
        self.objects, self.image_size = objects, image_size
        self.num_gaussians, self.augmented = num_gaussians, augmented
        self.num_wrong_captions = num_wrong_captions

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
            axis_scaling=False,  # `random_view` stretches the picture instead, at no cost
        )
        image = random_view(splats, self.image_size, generator)
        wrong = self._wrong_captions(caption, self.objects.records[key.index], generator)
        return {"pixel_values": normalize_pixels(image), "caption": caption, "wrong_captions": wrong}

    def _wrong_captions(self, caption: str, record: ObjectRecord, generator: np.random.Generator) -> list[str]:
        """The caption with nouns that the object does not have; fewer where all objects are of one category."""
        noun = max((name for name in (record.noun, *record.names) if name in caption), key=len)
        found: list[str] = []
        for index in generator.permutation(len(self.objects)):
            if len(found) == self.num_wrong_captions:
                break
            other = self.objects.records[index]
            if other.category != record.category:
                found.append(replace_noun(caption, noun, other.names[int(generator.integers(len(other.names)))]))
        return found


def replace_noun(caption: str, noun: str, other: str) -> str:
    """The caption about another thing, with the article that its next word asks for.

    Example:
        >>> replace_noun("a photo of a car in red", "car", "armchair")
        'a photo of an armchair in red'
    """
    changed = caption.replace(noun, other)
    return re.sub(r"\ban? (?=(\w))", lambda m: "an " if m.group(1) in "aeiou" else "a ", changed)


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
    """A collate function that stacks images and pads captions, the wrong ones last, to the longest of the batch."""
    return partial(_collate, tokenizer)  # unlike a local function, it reaches workers that are spawned


def _collate(tokenizer: CLIPTokenizer, items: Sequence[CaptionedImage]) -> dict[str, Any]:
    texts = [item["caption"] for item in items] + [text for item in items for text in item["wrong_captions"]]
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    return {"pixel_values": torch.stack([item["pixel_values"] for item in items]), **tokens}


def vocabulary_texts(objects: GaussianObjectDataset) -> list[str]:
    """Captions of every colour with every noun that augmentation may put together, in all templates."""
    nouns = sorted({name for record in objects.records for name in (record.noun, *record.names)})
    generator = np.random.default_rng(0)
    drawn = [compose_caption(noun, [color], generator) for noun in nouns for color in COLOR_NAMES]
    pairs = [compose_caption(nouns[0], [first, second]) for first in COLOR_NAMES for second in COLOR_NAMES]
    plain = [compose_caption(noun, [color]) for noun in nouns for color in COLOR_NAMES]
    return [record.caption for record in objects.records] + plain + drawn + pairs
