"""What a CLIP model in training knows: colours and kinds of objects that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from ..cameras import orbit_cameras
from ..data.augmentation import augment
from ..data.captions import COLOR_NAMES, colors_in, compose_caption, dominant_colors
from ..data.dataset import GaussianObjectDataset
from ..gaussians import GaussianSplats
from .clip_renders import normalize_pixels, thinned

WHITE = (1.0, 1.0, 1.0)
CATEGORY_WORDS = ("chair", "table", "sofa", "lamp", "bed", "cabinet", "plant", "car", "door", "window")
_CATEGORY_OF_WORD = {"car": "vehicle"}


@dataclass(frozen=True)
class Question:
    """Images of one object, and which of several texts is true of them.

    Args:
        images: [V, 3, H, W], normalised.
        texts: candidates.
        answer: index of the true one.
    """

    images: Tensor
    texts: tuple[str, ...]
    answer: int


def color_questions(
    objects: GaussianObjectDataset, size: int, recolored: int = 0, num_gaussians: int = 2048
) -> list[Question]:
    """Which of the palette's colours does the object have, its noun being given?

    Args:
        objects: held-out objects.
        size: pixels a side.
        recolored: recoloured copies asked about for each object; 0 asks about the object as it is.
        num_gaussians: Gaussians drawn.
    """
    questions = []
    for index, record in enumerate(objects.records):
        splats, colors = objects.splats(index), dominant_colors(record.materials)
        copies = [(splats, colors[0])] if colors and not recolored else []
        generator = np.random.default_rng(index)
        for _ in range(recolored):
            copy, caption = augment(splats, record, objects.material_ids(index), generator)
            named = colors_in(caption, [record.noun, *record.names])
            copies += [(copy, named[0])] if named else []
        texts = tuple(compose_caption(record.noun, [name]) for name in COLOR_NAMES)
        for copy, color in copies:
            views = _views(thinned(copy, num_gaussians), size)
            questions.append(Question(views, texts, list(COLOR_NAMES).index(color)))
    return questions


def category_questions(objects: GaussianObjectDataset, size: int, num_gaussians: int = 2048) -> list[Question]:
    """Which of ten kinds of thing is it, its colour being given?"""
    categories = [_CATEGORY_OF_WORD.get(word, word) for word in CATEGORY_WORDS]
    questions = []
    for index, record in enumerate(objects.records):
        if record.category in categories:
            colors = dominant_colors(record.materials)[:1]
            texts = tuple(compose_caption(word, colors) for word in CATEGORY_WORDS)
            views = _views(thinned(objects.splats(index), num_gaussians), size)
            questions.append(Question(views, texts, categories.index(record.category)))
    return questions


@torch.no_grad()
def answer_accuracy(model: CLIPModel, tokenizer: CLIPTokenizer, questions: Sequence[Question]) -> float:
    """Share of objects for which the true text is the most similar one, by the mean over the views."""
    right = []
    for question in questions:
        tokens = tokenizer(list(question.texts), padding=True, return_tensors="pt").to(model.device)
        outputs = model(pixel_values=question.images.to(model.device), **tokens)
        right.append(int(outputs.logits_per_image.float().mean(dim=0).argmax()) == question.answer)
    return sum(right) / len(right) if right else float("nan")


def _views(splats: GaussianSplats, size: int) -> Tensor:
    images = splats.render(orbit_cameras(4, size), background=WHITE)[..., :3].clamp(0, 1)
    return normalize_pixels(images.movedim(-1, 1))
