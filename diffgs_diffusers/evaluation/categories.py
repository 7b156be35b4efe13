"""Which kind of furniture an object is: a linear classifier on the silhouettes and edges of several views.

It is trained on renders of the training split alone and shares nothing with the pipeline that it judges.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from ..gaussians import GaussianSplats
from .shape_features import shape_features
from .views import evaluation_cameras

CATEGORIES = ("chair", "table", "sofa", "lamp", "bed", "cabinet")
OTHER = "other"
CLASSES = (*CATEGORIES, OTHER)
VIEW_SIZE = 64

# Called by one kind's name and built like another, or named by none of the six words: neither taught nor tested.
_UNCLEAR = re.compile(
    r"\b(stool|bench|pouf|ottoman|lounger|wheelchair|candle|flashlight|spotlight|hammock|mattress|sleeping bag|"
    r"sofa bed|day bed|futon|bunk bed|mezzanine bed|tennis|living room|technical table|island|vanity|"
    r"stand|screen)\b"
)


def judged_category(noun: str, category: str) -> str | None:
    """The class of an object.

    Args:
        noun: such as "coffee table".
        category: the dataset's coarse category of it.

    Returns:
        one of ``CLASSES``, or None where the name does not settle it.
    """
    if _UNCLEAR.search(noun):
        return None
    return category if category in CATEGORIES else OTHER


def shape_views(splats: GaussianSplats) -> Tensor:
    """[C, 2, H, W]: silhouette and brightness on white from the evaluation's cameras; hue plays no part."""
    return shape_channels(splats.render(evaluation_cameras(VIEW_SIZE)))


def shape_channels(views: Tensor) -> Tensor:
    """The classifier's input from RGBA renders without a background, [C, H, W, 4] → [C, 2, H, W]."""
    alpha = views[..., 3]
    brightness = views[..., :3].mean(dim=-1) + 1 - alpha
    return torch.stack([alpha, brightness], dim=1).clamp(0, 1)


@dataclass(frozen=True)
class CategoryClassifier:
    """Multinomial logistic regression on the principal components of shape features.

    Objects stand upright and face one way, as the dataset's and the pipeline's do, so every view has its own
    features; with tens of objects a class this beats a convolutional network by far.

    Args:
        mean: [F] of the training features.
        components: [F, D] principal directions, scaled to unit variance overall.
        weight: [D, K] for the K classes of ``CLASSES``.
        bias: [K].
    """

    mean: Tensor
    components: Tensor
    weight: Tensor
    bias: Tensor

    def probabilities(self, views: Tensor) -> Tensor:
        """[K] of one object, from its views [C, 2, H, W]; all classes are equally likely beforehand."""
        features = shape_features(views[None])[0]
        return ((features - self.mean) @ self.components @ self.weight + self.bias).softmax(dim=0)

    def judge(self, views: Tensor) -> tuple[str, str]:
        """The most likely of the six categories, and of these and "other"."""
        probabilities = self.probabilities(views)
        return CATEGORIES[int(probabilities[: len(CATEGORIES)].argmax())], CLASSES[int(probabilities.argmax())]
