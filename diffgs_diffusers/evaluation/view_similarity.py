"""How alike two objects look to a vision model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionModel

from .clip_scores import ClipTowers
from .image_distributions import VisionFeatures

ViewFeatures = Callable[[Tensor], Tensor]


def view_features(
    clip: ClipTowers | None, image_encoder: CLIPVisionModel | None, image_processor: CLIPImageProcessor | None
) -> ViewFeatures | None:
    """The features in use, a function of images [B, H, W, 3] in [0, 1] to [B, D].

    Args:
        clip: a CLIP model, whose image embeddings come first.
        image_encoder: a pipeline's vision model, whose mean last states serve without it; None for none.
        image_processor: of the image encoder.

    Returns:
        None where there is neither.
    """
    if clip is not None:
        return clip.images
    if image_encoder is None or image_processor is None:
        return None
    features = VisionFeatures(image_encoder, image_processor)
    return lambda views: features(views.movedim(-1, 1))


@torch.no_grad()
def view_similarity(views: Tensor, others: Tensor, features: ViewFeatures) -> float:
    """The cosine of both objects' features in each view, mean over the views; 1 for equal images.

    Args:
        views: [C, H, W, 3] in [0, 1].
        others: [C, H, W, 3] from the same cameras.
        features: from :func:`view_features`.
    """
    return float(torch.nn.functional.cosine_similarity(features(views), features(others), dim=-1).mean())
