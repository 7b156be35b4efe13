"""Which kind of furniture an object is: a small convolutional classifier over several views.

It is trained on renders of the training split alone and shares nothing with the pipeline that it judges.
"""

from __future__ import annotations

import re
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..gaussians import GaussianSplats
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


def shape_views(splats: GaussianSplats, num_views: int = 8, size: int = VIEW_SIZE) -> Tensor:
    """[C, 2, H, W]: silhouette and brightness on white from the evaluation's cameras; hue plays no part."""
    return shape_channels(splats.render(evaluation_cameras(size, num_views)))


def shape_channels(views: Tensor) -> Tensor:
    """The classifier's input from RGBA renders without a background, [C, H, W, 4] → [C, 2, H, W]."""
    alpha = views[..., 3]
    brightness = views[..., :3].mean(dim=-1) + 1 - alpha
    return torch.stack([alpha, brightness], dim=1).clamp(0, 1)


class ViewClassifier(nn.Module):
    """Four strided convolutions, the strongest response of each filter, and a linear layer.

    Args:
        num_classes: K.
        width: filters of the first layer; doubled three times.
    """

    def __init__(self, num_classes: int = len(CLASSES), width: int = 24) -> None:
        super().__init__()
        widths = [2, width, 2 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(2 * widths[-1], num_classes)

    def forward(self, views: Tensor) -> Tensor:
        """Logits [B, K] of views [B, 2, H, W], each judged by itself."""
        features = self.features(views)
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        return self.head(self.dropout(pooled))

    @torch.no_grad()
    def classify(self, views: Tensor) -> Tensor:
        """Probabilities [K] of one object: the geometric mean over its views [C, 2, H, W].

        Raises:
            ValueError: in training mode, where dropout and batch statistics would make the answer random.
        """
        if self.training:
            raise ValueError("`classify` needs the classifier in eval mode: call `.eval()` first.")
        return self(views).log_softmax(dim=1).mean(dim=0).softmax(dim=0)
